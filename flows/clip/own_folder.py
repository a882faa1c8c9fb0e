"""The run folder of a clip: what is asked of it in another way does not overwrite an earlier answer."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
from dataclasses import replace

from data.errors import InputError
from data.files import file_digest
from data.run_folder import RunFolder
from flows.backends.transcript import given_transcript
from flows.clip.keys import telling
from flows.job import Job

NO_ANSWER = frozenset({"profile", "device", "limits"})
"""Settings that change no answer, or only whether there is one."""
DIGITS = 6
"""Of the digest of what was asked, in the name of a folder that is not the clip's first."""


def in_own_folder(job: Job, name: str = "", fresh: bool = False) -> Job:
    """The job in the run folder for what is asked: that of the clip's id, or one with a digest behind it where that holds the
    answer to something else (other settings, words, descriptions or scores for the same content).

    Stages that both have in common are taken from there. `name`: the folder's name instead; InputError where it is no name, or
    the folder holds the answer to something else, unless all is done afresh.
    """
    output, digest = job.folder.root.parent, asked(job)
    if name:
        if name != os.path.basename(name) or name.startswith("."):
            raise InputError(f"--name {name}: give a name without slashes, and not with a dot at its beginning.")
        folder = RunFolder(output / name)
        if not _claim(folder, digest, take=fresh):
            raise InputError(
                f"{folder.root} holds an answer to something else (another clip, other settings or words); choose another "
                "--name, or --fresh to do it again."
            )
        return _named(job, folder)
    first = job.folder
    if not first.root.exists() and (before := _of_a_batch(job)):
        continue_from(before, first)
    if _claim(first, digest):
        return job
    folder = RunFolder(output / f"{job.clip.clip_id}-{digest[:DIGITS]}")
    if not folder.root.exists() and first.result.is_file() and not first.work.exists():
        _copy_stages(first, folder)
    if not _claim(folder, digest, take=True):
        raise InputError(f"{folder.root} cannot be used; choose another folder with -o.")
    return _named(job, folder)


def continue_from(source: RunFolder, target: RunFolder) -> None:
    """Give a new run folder what the stages of an ended run about the same content left; stages that differ run again."""
    if not target.root.exists() and source.result.is_file() and not source.work.exists():
        _copy_stages(source, target)


def _of_a_batch(job: Job) -> RunFolder | None:
    """The folder that `dyad batch` gave a clip of the same content in this output: it names clips by their paths."""
    stem = job.clip.clip_id.rpartition("-")[0]
    for result in job.folder.root.parent.glob(f"{glob.escape(stem)}-{'[0-9a-f]' * 12}/result.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(result.read_text(encoding="utf-8"))["clip"]["content_hash"] == job.clip.content_hash:
                return RunFolder(result.parent)
    return None


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


def _named(job: Job, folder: RunFolder) -> Job:
    return replace(job, clip=replace(job.clip, clip_id=folder.root.name), folder=folder)


def _claim(folder: RunFolder, digest: str, take: bool = False) -> bool:
    """Whether the folder is for what is asked, from now on where nobody has said so; `take`: in any case."""
    folder.stages.mkdir(parents=True, exist_ok=True)
    if take:
        folder.asked.write_text(digest, encoding="utf-8")
        return True
    with contextlib.suppress(FileExistsError):
        with folder.asked.open("x", encoding="utf-8") as stream:  # of two that begin at once, one makes the file
            stream.write(digest)
        return True
    return folder.asked.read_text(encoding="utf-8") in (digest, "")


def _copy_stages(source: RunFolder, target: RunFolder) -> None:
    """Give a new folder what the stages of another one left, as the same files where the disk can do that."""

    def copied(file: str, copy: str) -> None:
        try:
            os.link(file, copy)
        except OSError:
            shutil.copy2(file, copy)

    own = {path.name for path in (source.result, source.report, source.log, source.settings, source.asked)}
    shutil.copytree(source.root, target.root, copy_function=copied, ignore=lambda folder, names: own & set(names))
