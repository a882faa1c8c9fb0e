"""The stages of a clip as a table, the key that tells whether one is already done, and which of them must run."""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import file_digest
from data.run_folder import RunFolder
from flows import work
from flows.jobs import Job


@dataclass(frozen=True)
class Stage:
    """One box of the graph.

    needs: stages whose output it reads; joins: stages that may fail without stopping it.
    settings: sections of the settings that change its outcome; code: modules that do.
    inputs: what else changes it (weights, files that the user brings); outputs: the files it leaves.
    """

    name: str
    run: Callable[[Job], Mapping[str, Any] | None]
    outputs: Callable[[RunFolder], tuple[Path, ...]]
    needs: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    inputs: Callable[[Job], Mapping[str, Any]] = lambda job: {}

    @property
    def title(self) -> str:
        """The name as the Prefect UI shows it: 'static-face'."""
        return self.name.replace("_", "-")


def _modality(name: str, **table: Any) -> Stage:
    return Stage(
        name,
        getattr(work, name),
        lambda folder: (folder.scores(name),),
        inputs=lambda job: work.modality_inputs(job, name),
        **table,
    )


_NETWORKS = "modalities.networks"
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "decode", work.decode, lambda f: (f.work / "frames.mjpeg", f.frame_times),
            settings=("decode",), code=("data.decode", "data.frames"),
        ),
        Stage(
            "faces", work.faces, lambda f: (f.crops, f.faces),
            needs=("decode",), settings=("faces",), code=("modalities.faces", "modalities.face_detectors", "data.crops"),
        ),
        _modality(
            "static_face", needs=("faces",), settings=("static_face", "windows", "device"),
            code=("modalities.static_face", f"{_NETWORKS}.static_face"),
        ),
        _modality(
            "dynamic_face", needs=("faces",), settings=("dynamic_face", "static_face", "windows", "device"),
            code=("modalities.dynamic_face", "modalities.static_face", f"{_NETWORKS}.dynamic_face"),
        ),
        _modality(
            "scene_labels", needs=("decode",), settings=("scene_labels", "windows", "device"),
            code=("modalities.scene_labels",),
        ),
        _modality("scene_context", settings=("scene_context", "windows", "device"), code=("modalities.scene_context",)),
        _modality(
            "voice", needs=("decode",), settings=("voice", "windows", "device"),
            code=("modalities.voice", f"{_NETWORKS}.voice"),
        ),
        Stage(
            "transcript", work.transcript, lambda f: (f.cues,),
            needs=("decode",), settings=("transcript", "device"), code=("modalities.transcript", "data.subtitles"),
            inputs=work.transcript_inputs,
        ),
        _modality("text", needs=("transcript",), settings=("text", "windows", "device"), code=("modalities.text",)),
        Stage(
            "fuse", work.fuse, lambda f: (f.fused,),
            needs=("decode",), joins=("static_face", "dynamic_face", "scene_labels", "scene_context", "voice", "text"),
            settings=("fusion", "windows"), code=("fusion.mhpf", "fusion.fuse"), inputs=work.fusion_inputs,
        ),
        Stage(
            "compose", work.compose, lambda f: (f.windows,),
            needs=("fuse",), settings=("fusion", "compounds", "windows"), code=("fusion.compose", "fusion.contributions"),
        ),
        Stage(
            "publish", work.publish, lambda f: (f.result, f.frames, f.settings),
            needs=("compose",), settings=("profile",), code=("reports.result", "fusion.over_time"),
        ),
    )
}
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
            "before": [keys[name] for name in (*stage.needs, *stage.joins)],
        }
        keys[stage.name] = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return keys


def stages_to_run(job: Job, keys: Mapping[str, str]) -> set[str]:
    """The stages without a finished output for their key, and those before them whose output is needed and gone."""
    wanted: set[str] = set()

    def want(name: str) -> None:
        stage = STAGES[name]
        there = all(path.exists() for path in stage.outputs(job.folder))
        if name in wanted or (there and job.folder.is_done(name, keys[name])):
            return
        wanted.add(name)
        for before in (*stage.needs, *stage.joins):
            want(before)

    want("publish")
    return wanted


@lru_cache(maxsize=None)
def _code_digest(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"The module {module} is not installed; install Dyad again.")
    return file_digest(Path(spec.origin))[:16]
