"""What every backend is made of, and what they share: fetched models, digests of weights."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.files import digest
from data.media.frames import Frame, read_frames
from data.scores import Scores
from flows.job import Job
from flows.runtime import stop
from flows.runtime.code_digest import Entry
from flows.runtime.events import reach
from modalities.model_store.local import find_repository, missing_sentence


@dataclass(frozen=True)
class Backend:
    """One way to recognise a modality.

    recognise: the scores of a clip; inputs: what they depend on besides settings and code (weights, files); media: whether it
    reads pictures or sound, which only exist while a run is under way; code: what it imports by a name.
    """

    recognise: Callable[[Job], Scores]
    inputs: Callable[[Job], Mapping[str, Any]]
    media: bool = True
    code: Callable[[Job], tuple[Entry, ...]] = lambda job: ()


class NotHere(Exception):
    """A model is not on this machine: the modality is absent, with `reason` and `remedy` in sentences."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def fetched(model: str, setting: str) -> Path:
    """The folder of a model that settings name; NotHere when it was not fetched, InputError when none is named."""
    if not model:
        raise InputError(f"The settings name no model for this backend; give {setting} a name that 'dyad models list' shows.")
    found = find_repository(model)
    if found is None:
        raise NotHere(*missing_sentence(model))
    return found


def fingerprint(model: str) -> str:
    """Digest of a fetched model's folder; empty when it is not here."""
    found = find_repository(model) if model else None
    return folder_digest(found) if found else ""


def folder_digest(folder: Path) -> str:
    """Digest of the names and contents (of large files: size, beginning, middle and end) of a folder's files."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    lines = [f"{file.name} {digest(file)}" for file in files if file.suffix != ".md"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def frames_of(job: Job, frames_per_second: float | None = None) -> Iterator[Frame]:
    """The sampled pictures of a job's clip, until the user asks to stop; tells how far the clip was looked at."""
    frames, index = job.work_file("frames"), job.work_file("index")
    if frames is None or index is None:
        return
    for frame in read_frames(frames, index, frames_per_second):
        stop.check()
        yield frame
        reach(frame.time_s)
