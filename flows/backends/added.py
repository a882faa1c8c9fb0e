"""The backend of a modality that a user adds: its file is imported when it first runs, and asked for scores."""

import importlib.util
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd

from data.added_modalities import added_modalities
from data.errors import InputError
from data.files import file_digest
from data.material import Material
from data.scores import Scores
from data.tables import read_table
from flows.backends.base import Backend, frames_of
from flows.job import Job


def backend(modality: str, path: Path) -> Backend:
    """The backend that a file is; its answer depends on the file and on what that imports of ours."""
    return Backend(partial(_recognise, modality, path), lambda job: {}, code=lambda job: (path,))


def _recognise(modality: str, path: Path, job: Job) -> Scores:
    recognise = getattr(_module(modality, path), "recognise", None)
    if not callable(recognise):
        raise InputError(f"{path} has no function recognise(material); docs/how-to/add-a-modality.md shows one.")
    scores = recognise(material(job, modality))
    if not isinstance(scores, Scores) or scores.modality != modality or len(scores.windows) != len(job.windows):
        raise InputError(f"{path}: recognise must return material.answer(...) or material.absent(...).")
    return scores


def material(job: Job, modality: str) -> Material:
    """What a job's clip was taken apart into."""
    faces, words = (_table(path) for path in (job.folder.faces, job.folder.cues))
    return Material(
        modality, job.clip, job.windows, partial(frames_of, job), job.work_file("audio"), faces,
        job.folder.crops if len(faces) else None, words, job.settings.added.get(modality, {}),
    )  # fmt: skip


def _table(path: Path) -> pd.DataFrame:
    return read_table(path) if path.is_file() else pd.DataFrame()


def _module(modality: str, path: Path) -> ModuleType:
    """The file as a module, imported anew when its text has changed."""
    name = f"dyad_added_{modality}_{file_digest(path)[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{path} cannot be imported; is it a Python file?")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


BACKENDS: Mapping[str, Backend] = {name: backend(name, path) for name, path in added_modalities().items()}
