"""The words of a clip as people read them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from data.files import write_text
from data.media.subtitles import to_vtt
from data.run_folder import RunFolder
from data.tables import read_notes


def write_words(folder: RunFolder, cues: pd.DataFrame) -> None:
    """Write `transcript.vtt`: cues, and in comments where the words are from and what was rejected (the notes of the cues)."""
    notes = read_notes(folder.cues)
    write_text(folder.transcript, to_vtt(cues, [f"Words: {notes['origin']}.", *map(_sentence, notes["rejected"])]))


def _sentence(rejected: Mapping[str, Any]) -> str:
    return f"Rejected, {rejected['start']:.1f} to {rejected['end']:.1f} s, {rejected['reason']}: {rejected['text']}"
