"""The backend of a modality that a user adds: its file is imported when it first runs, and asked for scores."""

import importlib.util
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd

from configs.settings import Settings
from data.added_modalities import added_modalities
from data.errors import InputError
from data.files import file_digest
from data.material import Material
from data.scores import Scores
from data.tables import read_table
from flows.backends.base import Backend, Description, frames_of
from flows.evidence import faces_table, sound_of, words_of
from flows.job import Job
from flows.runtime.code_digest import CodeEntry


class AddedModality(Backend[ModuleType, Scores]):
    """What a file of the user's answers; the answer depends on the file and on what that imports of ours."""

    def __init__(self, modality: str, path: Path) -> None:
        self.modality, self.path = modality, path

    def load(self, settings: Settings) -> ModuleType:
        """The file as a module, imported anew when its text has changed."""
        name = f"dyad_added_{self.modality}_{file_digest(self.path)[:12]}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, self.path)
            if spec is None or spec.loader is None:
                raise InputError(f"{self.path} cannot be imported; is it a Python file?")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]

    def recognise(self, job: Job) -> Scores:
        """What the file's function `recognise` returns; InputError when that is no answer."""
        recognise = getattr(self.load(job.settings), "recognise", None)
        if not callable(recognise):
            raise InputError(f"{self.path} has no function recognise(material); docs/how-to/add-a-modality.md shows one.")
        scores = recognise(material(job, self.modality))
        if not isinstance(scores, Scores) or scores.modality != self.modality or len(scores.windows) != len(job.windows):
            raise InputError(f"{self.path}: recognise must return material.answer(...) or material.absent(...).")
        return scores

    def describe(self, settings: Settings) -> Description:
        """The file; what it uses and where it runs only itself knows."""
        here = self.path.is_file()
        return Description(
            self.path.name, file_digest(self.path)[:12] if here else "", locations={"": str(self.path)},
            reason="" if here else f"There is no file {self.path}.", remedy="" if here else "Put it back.",
        )  # fmt: skip

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Nothing besides the file, which is code."""
        return {}

    def code(self, job: Job) -> tuple[CodeEntry, ...]:
        """The file, and what it imports of ours."""
        return (self.path,)


def material(job: Job, modality: str) -> Material:
    """What a job's clip was taken apart into, as far as it is of whom the job is about."""
    faces, words = faces_table(job), words_of(job, _table(job.folder.cues))
    return Material(
        modality, job.clip, job.windows, partial(frames_of, job), sound_of(job), faces,
        job.folder.crops if len(faces) else None, words, job.settings.added.get(modality, {}),
    )  # fmt: skip


def _table(path: Path) -> pd.DataFrame:
    return read_table(path) if path.is_file() else pd.DataFrame()


BACKENDS: Mapping[str, Backend[object, Scores]] = {
    name: AddedModality(name, path) for name, path in added_modalities().items()
}
