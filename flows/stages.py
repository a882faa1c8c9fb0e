"""The stages of a clip as a table, the key that tells whether one is already done, and which of them must run."""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import file_digest
from data.run_folder import RunFolder
from flows import work
from flows.graph import before
from flows.jobs import Job


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

    @property
    def title(self) -> str:
        """The name as the Prefect UI shows it: 'static-face'."""
        return self.name.replace("_", "-")


def _modality(name: str, settings: tuple[str, ...], code: tuple[str, ...]) -> Stage:
    return Stage(
        name,
        getattr(work, name),
        lambda folder: (folder.scores(name),),
        (*settings, "windows", "device"),
        (f"modalities.{name}", "data.scores", *code),
        lambda job: work.modality_inputs(job, name),
    )


_FACE_CODE = ("modalities.static_face", "modalities.networks.static_face", "data.crops")
_SENTENCES = ("modalities.sentence_encoder", "modalities.networks.text")
_STAGES = (
    Stage("decode", work.decode, work.decode_outputs, ("decode",), ("data.decode", "data.media", "data.frames")),
    Stage(
        "faces", work.faces, lambda f: (f.crops, f.faces), ("faces",),
        ("modalities.faces", "modalities.face_detectors", "modalities.face_tracks", "modalities.face_crops", "data.crops"),
    ),
    _modality("static_face", ("static_face", "faces"), _FACE_CODE),
    _modality("dynamic_face", ("dynamic_face", "static_face", "faces"), (*_FACE_CODE, "modalities.networks.dynamic_face")),
    _modality("scene_labels", ("scene_labels",), ()),
    _modality("scene_context", (), (*_SENTENCES, "modalities.vision_language", "modalities.chat_server")),
    _modality("voice", ("voice",), ("modalities.networks.voice",)),
    Stage(
        "transcript", work.transcript, lambda f: (f.cues,), ("transcript", "device"),
        ("modalities.transcript", "data.subtitles"), work.transcript_inputs,
    ),
    _modality("text", ("text",), _SENTENCES),
    Stage("fuse", work.fuse, lambda f: (f.fused,), ("windows",), ("fusion", "data.fused"), work.fusion_inputs),
    Stage(
        "compose", work.compose, lambda f: (f.composed, f.windows), ("fusion", "compounds"),
        ("fusion", "data.fused"),
    ),
    Stage(
        "publish", work.publish, lambda f: (f.result, f.frames, f.settings), ("profile",),
        ("fusion", "reports.result"),
    ),
)  # fmt: skip
STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
"""In an order in which every stage comes after those it depends on."""


def stage_keys(job: Job) -> dict[str, str]:
    """A key for each stage: a digest of the clip's content, the settings, the code, the inputs, and the keys before it."""
    keys: dict[str, str] = {}
    for stage in STAGES.values():
        content = {
            "clip": job.clip.content_hash,
            "settings": {name: job.settings.model_dump(mode="json")[name] for name in stage.settings},
            "code": [_code_digest(module) for module in stage.code],
            "inputs": dict(stage.inputs(job)),
            "before": [keys[name] for name in before(stage.name)],
        }
        keys[stage.name] = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return keys


def stages_to_run(job: Job, keys: Mapping[str, str]) -> set[str]:
    """The stages that are not done for their key, and those before them whose output is needed and gone."""
    wanted: set[str] = set()

    @cache
    def settled(name: str) -> bool:
        return job.folder.is_done(name, keys[name]) and all(settled(earlier) for earlier in before(name))

    def want(name: str, media: bool = True) -> None:
        outputs = STAGES[name].outputs(job.folder)
        there = all(path.exists() for path in outputs if media or job.folder.work not in path.parents)
        if name not in wanted and not (settled(name) and there):
            wanted.add(name)
            for earlier in before(name):
                want(earlier, _reads_media(job, name))

    want("publish")
    return wanted


def _reads_media(job: Job, stage: str) -> bool:
    """False for stages that come after decoding but read none of its intermediate media, which is removed after a run."""
    return work.described_by_server(job) if stage == "scene_context" else stage != "fuse"


@cache
def _code_digest(module: str) -> str:
    """Digest of a module's source; of a package's, all of its files'."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"The module {module} is not installed; install Dyad again.")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()[:16]
