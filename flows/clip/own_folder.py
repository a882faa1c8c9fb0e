"""The run folder of a clip: what is asked of it in another way does not overwrite an earlier answer."""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import replace
from typing import NamedTuple

from data.errors import InputError
from data.files import file_digest, write_text
from data.json_files import read_json
from data.run_folder import RunFolder
from flows.backends.transcript import given_transcript
from flows.clip.keys import telling
from flows.clip.known import known_of
from flows.job import Job

NO_ANSWER = frozenset({"profile", "device", "limits"})
"""Settings that change no answer, or only whether there is one."""
DIGITS = 6
"""Of the digest of what was asked, in the name of a folder that is not the clip's first."""


class SetRow(NamedTuple):
    """The row of a data set that a folder is of: its id in the manifest, its file, where a segment begins (s), who speaks."""

    clip_id: str
    path: str
    start: float | None = None
    speaker: str = ""

    def is_of(self, other: "SetRow") -> bool:
        """Whether both are of the same clip: one manifest may lie elsewhere than the other."""
        return self.clip_id == other.clip_id or (self.path, self.start) == (other.path, other.start)


def in_own_folder(job: Job, name: str = "", fresh: bool = False, row: SetRow | None = None) -> Job:
    """The job in the run folder for what is asked: that of the clip's id, or one with a digest behind it where that holds the
    answer to something else (other settings, words, descriptions or scores for the same content).

    Stages that both have in common are taken from there. `name`: the folder's name instead; InputError where it is no name, or
    the folder holds the answer to something else, unless all is done afresh. `row`: of a data set, whose clips have a folder
    each, though two hold the same; a `name` is then what its manifest says, and its folder follows what is asked. What the data
    set tells of the clip is known then, and also when the clip is run alone.
    """
    own = _named_folder(job, name, fresh or row is not None) if name else _folder(job, row)
    if row is not None:
        _claim_for(own, row, take=True)
    return _related(replace(job, clip=replace(job.clip, clip_id=own.root.name), folder=own))


def _named_folder(job: Job, name: str, take: bool) -> RunFolder:
    if name != os.path.basename(name) or name.startswith("."):
        raise InputError(f"--name {name}: give a name without slashes, and not with a dot at its beginning.")
    folder = RunFolder(job.folder.root.parent / name)
    _continue_from(job.folder, folder)
    if not _claim(folder, asked(job), take):
        raise InputError(
            f"{folder.root} holds an answer to something else (another clip, other settings or words); choose another "
            "--name, or --fresh to do it again."
        )
    return folder


def _folder(job: Job, row: SetRow | None) -> RunFolder:
    first, digest = job.folder, asked(job)
    if _claim(first, digest):
        if row is None or _claim_for(first, row):
            return first
        digest = hashlib.sha256(f"{digest} {row.clip_id}".encode()).hexdigest()
    folder = RunFolder(first.root.parent / f"{job.clip.clip_id}-{digest[:DIGITS]}")
    _continue_from(first, folder)
    if not _claim(folder, digest, take=True):
        raise InputError(f"{folder.root} cannot be used; choose another folder with -o.")
    return folder


def _related(job: Job) -> Job:
    """The job with what a data set tells of its clip, where the folder is of one."""
    row = _row_of(job.folder)
    if row is None:
        return job
    known = known_of(job.folder.root, row.speaker, job.settings)
    return replace(job, references=known.references, of_others=known.of_others, shares=known.shares)


def _continue_from(source: RunFolder, target: RunFolder) -> None:
    """Give a new run folder what the stages of an ended run about the same content left; stages that differ run again."""
    if not target.root.exists() and source.result.is_file() and not source.work.exists():
        _copy_stages(source, target)


def asked(job: Job) -> str:
    """A digest of what is asked of a clip: its content, the settings that change answers, and the files that are given."""
    settings: dict[str, object] = {
        name: telling(section) for name, section in job.settings.model_dump(mode="json").items() if name not in NO_ANSWER
    }
    words = given_transcript(job).path
    given = {"transcript": words, "descriptions": job.brought.descriptions, **job.brought.scores}
    files = {name: file_digest(path) for name, path in given.items() if path is not None}
    content = [job.clip.content_hash, settings, files]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _claim(folder: RunFolder, digest: str, take: bool = False) -> bool:
    """Whether the folder is for what is asked, from now on where nobody has said so; `take`: in any case."""
    folder.check_no_links()
    folder.stages.mkdir(parents=True, exist_ok=True)
    if take:
        folder.asked.write_text(digest, encoding="utf-8")
        return True
    with contextlib.suppress(FileExistsError):
        with folder.asked.open("x", encoding="utf-8") as stream:  # of two that begin at once, one makes the file
            stream.write(digest)
        return True
    return folder.asked.read_text(encoding="utf-8") in (digest, "")


def _claim_for(folder: RunFolder, row: SetRow, take: bool = False) -> bool:
    """Whether the folder is this row's, from now on where it is no other's; `take`: in any case."""
    if not take:
        with contextlib.suppress(FileExistsError):
            with folder.set_row.open("x", encoding="utf-8") as stream:
                json.dump(row, stream)
            return True
        before = _row_of(folder)
        return before is not None and row.is_of(before)
    write_text(folder.set_row, json.dumps(row))
    return True


def _row_of(folder: RunFolder) -> SetRow | None:
    """The row whose folder it is; None for that of no data set."""
    try:
        return SetRow(*read_json(folder.set_row))
    except (OSError, ValueError, TypeError):
        return None


def _copy_stages(source: RunFolder, target: RunFolder) -> None:
    """Give a new folder what the stages of another one left, as the same files where the disk can do that."""

    def copied(file: str, copy: str) -> None:
        try:
            os.link(file, copy)
        except OSError:
            shutil.copy2(file, copy)

    own = {path.name for path in (source.result, source.report, source.log, source.settings, source.asked, source.set_row)}
    shutil.copytree(source.root, target.root, copy_function=copied, ignore=lambda folder, names: own & set(names))
