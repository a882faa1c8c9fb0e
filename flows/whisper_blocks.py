"""Whisper's lower blocks in memory once, though the voice hears with them and the words do, too."""

from pathlib import Path
from typing import TYPE_CHECKING

from configs.settings import Settings
from flows.runtime.loaded_models import loaded, placing

if TYPE_CHECKING:
    from modalities.voice.whisper_states import WhisperStates

WHISPER = "whisper-base"
"""The checkpoint whose states our layer of the voice knows."""


def lower_blocks(whisper: Path, settings: Settings) -> "WhisperStates":
    """The first blocks of a Whisper's encoder, from memory where they are there already."""
    from modalities.voice.whisper_states import load_states

    return loaded(settings, ("whisper's lower blocks", whisper), lambda: load_states(whisper, **placing(settings)))
