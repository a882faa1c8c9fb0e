"""The stages of a clip as a table, the key that tells whether one is already done, and which of them must run."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from data.added import added_modalities
from data.errors import DyadError
from data.run_folder import RunFolder
from data.scores import MODALITIES
from flows import work
from flows.backends import backend_of
from flows.backends.base import code_digest
from flows.backends.words import given_transcript, words_inputs
from flows.graph import before, in_order
from flows.jobs import Job

PAGE = tuple(f"reports.page{part}" for part in ("", "_document", "_drawing", "_faces", "_radar", "_timeline"))


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
    Stage("decode", work.decode, work.decode_outputs, ("decode",), ("data.decode", "data.media", "data.frames", "data.segments")),
    Stage(
        "faces", work.faces, lambda f: (f.crops, f.faces), ("faces",),
        ("modalities.faces", "modalities.face_detectors", "modalities.face_tracks", "modalities.face_crops", "data.crops"),
    ),
    _modality("static_face", "Score each face by itself.", "faces"),
    _modality("dynamic_face", "Score each window's faces as a sequence.", "static_face", "faces"),
    _modality("scene_labels", "Match the pictures with CLIP's prompts."),
    _modality("scene_context", "Read the emotion of scene descriptions: given ones, else a vision-language model's."),
    _modality("voice", "Score the sound of the voice."),
    Stage(
        "transcript", work.transcript, lambda f: (f.cues,), ("transcript", "precision"),
        ("modalities.transcript", "modalities.whisper_decoding", "modalities.repetitions", "modalities.voice", "data.subtitles"),
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
SPEED = frozenset({"batch", "concurrency", "timeout", "retries", "backoff", "longest_wait"})
"""Fields of the settings that change no answer."""


def stage_keys(job: Job) -> dict[str, str]:
    """A key for each stage: a digest of the clip's content, the settings, the code, the inputs, and the keys before it."""
    keys: dict[str, str] = {}
    for stage in (STAGES[name] for name in in_order(job.captions)):
        content = {
            "clip": job.clip.content_hash,
            "settings": {name: telling(job.settings.model_dump(mode="json")[name]) for name in stage.settings},
            "code": [code_digest(module) for module in stage.code],
            "inputs": _inputs(stage, job),
            "before": [keys[name] for name in before(stage.name, job.captions)],
        }
        keys[stage.name] = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return keys


def telling(section: Any) -> Any:
    """A section of the settings without those that change how fast it goes and not what comes out."""
    if not isinstance(section, Mapping):
        return section
    return {name: telling(value) for name, value in section.items() if name not in SPEED}


def _inputs(stage: Stage, job: Job) -> dict[str, Any]:
    """What else the stage depends on; what is wrong with it, the stage itself will tell, and the others go on."""
    try:
        return dict(stage.inputs(job))
    except (DyadError, OSError) as error:
        return {"fault": str(error)}


def stages_to_run(job: Job, keys: Mapping[str, str]) -> set[str]:
    """The stages that are not done for their key, and those before them whose output is needed and gone."""
    wanted: set[str] = set()

    @cache
    def settled(name: str) -> bool:
        return job.folder.is_done(name, keys[name]) and all(settled(earlier) for earlier in before(name, job.captions))

    def want(name: str, media: bool = True) -> None:
        outputs = STAGES[name].outputs(job.folder)
        there = all(path.exists() for path in outputs if media or job.folder.work not in path.parents)
        if name not in wanted and not (settled(name) and there):
            wanted.add(name)
            for earlier in before(name, job.captions):
                want(earlier, _reads_media(job, name))

    want("publish")
    return wanted


def _reads_media(job: Job, stage: str) -> bool:
    """False for stages that come after decoding but read none of its intermediate media, which is removed after a run."""
    if stage == "transcript":
        return given_transcript(job) is None
    return backend_of(job, stage).media if stage in MODALITIES else stage != "fuse"
