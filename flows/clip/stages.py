"""The stages of a clip as a table, the key that tells whether one is already done, and which of them must run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from data.added_modalities import added_modalities
from data.run_folder import RunFolder
from flows.backends.transcript import words_inputs
from flows.clip import steps as work
from flows.job import Job

PAGE = ("reports.page",)


@dataclass(frozen=True)
class Stage:
    """One box of the graph.

    settings: sections of the settings that change its outcome; code: modules that do.
    inputs: what else changes it (weights, files that the user brings); outputs: the files it leaves.
    """

    name: str
    run: Callable[[Job], Mapping[str, Any] | None]
    outputs: Callable[[RunFolder], tuple[Path, ...]]
    settings: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    inputs: Callable[[Job], Mapping[str, Any]] = lambda job: {}
    about: str = ""

    @property
    def description(self) -> str:
        """What it does, in a sentence."""
        return self.about or (self.run.__doc__ or "").strip()

    @property
    def title(self) -> str:
        """The name as the Prefect UI shows it: 'static-face'."""
        return self.name.replace("_", "-")


def _modality(name: str, title: str, *others: str) -> Stage:
    """A modality's stage; `others` are further sections of the settings that change its scores."""
    section = "added" if name in added_modalities() else name
    return Stage(
        name,
        partial(work.recognise, modality=name),
        lambda folder: (folder.scores(name),),
        (section, "windows", "precision", *others),
        ("data.scores", "modalities.quality"),
        lambda job: work.modality_inputs(job, name),
        title,
    )


_STAGES = (
    Stage("decode", work.decode, work.decode_outputs, ("decode",), ("data.media.decode", "data.media.probe",
        "data.media.frames", "data.media.segments")),
    Stage(
        "faces", work.faces, lambda f: (f.crops, f.faces), ("faces",),
        ("modalities.faces.find", "modalities.faces.detectors", "modalities.faces.tracks", "modalities.faces.crops",
            "data.media.crops"),
    ),
    _modality("static_face", "Score each face by itself.", "faces"),
    _modality("dynamic_face", "Score each window's faces as a sequence.", "static_face", "faces"),
    _modality("scene_labels", "Match the pictures with CLIP's prompts."),
    _modality("scene_context", "Read the emotion of scene descriptions: given ones, else a vision-language model's."),
    _modality("voice", "Score the sound of the voice."),
    Stage(
        "transcript", work.transcript, lambda f: (f.cues,), ("transcript", "precision"),
        ("modalities.transcript.whisper", "modalities.transcript.decoding", "modalities.transcript.repetitions",
            "modalities.voice.embedded", "data.media.subtitles"),
        words_inputs,
    ),
    _modality("text", "Score the words."),
    *(_modality(name, f"Score what {path.name} looks at.") for name, path in added_modalities().items()),
    Stage("fuse", work.fuse, lambda f: (f.fused,), ("windows",), ("fusion", "data.fused"), work.fusion_inputs),
    Stage(
        "compose", work.compose, lambda f: (f.composed, f.windows), ("fusion", "compounds"),
        ("fusion", "data.fused"), work.composition_inputs,
    ),
    Stage(
        "publish", work.publish, lambda f: (f.result, f.report, f.frames, f.settings), ("profile",),
        ("fusion", "reports.result", *PAGE),
    ),
)  # fmt: skip
STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
"""In an order in which every stage comes after those it depends on."""
