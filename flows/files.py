"""Files in, run folders out: through Prefect where runs go to a server, else the same graph in threads of this process."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from configs.settings import Settings
from data.errors import InputError
from data.files import as_it_is_named
from data.manifest.manifest import media_among
from data.media.clip import Clip
from data.run_folder import RunFolder
from flows.clip.own_folder import in_own_folder
from flows.clip.runner import RETRY_DELAYS, recognise_clip
from flows.clip.steps.decode import limits_of
from flows.clip.threads import in_thread
from flows.job import Brought, Job
from flows.runtime import stop
from flows.runtime.errors import Interrupted, check_writable, worth_retrying
from flows.runtime.loaded_models import device_named

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is asked of every clip: the folder for the run folders, settings, given evidence, and how to run.

    prefect: as a flow of Prefect, on the server that is set, else on a temporary one that is running. name: the run folder's; ''
    for one that is made of the clip.
    """

    output: Path
    settings: Settings
    brought: Brought = Brought()
    strict: bool = False
    fresh: bool = False
    prefect: bool = False
    name: str = ""


def media_files(paths: Sequence[Path], tell: Callable[[str], object] = lambda sentence: None) -> list[Path]:
    """The files to run: those named, and the media files in the folders named (sorted, not below them, no hidden ones).

    `tell` is told what a folder holds that is left out.
    """
    found: list[Path] = []
    for path in map(as_it_is_named, paths):
        if path.is_dir():
            inside = (file.name for file in path.iterdir() if not file.name.startswith(".") and file.is_file())
            media, left_out = media_among(inside)
            if not media:
                raise InputError(
                    f"{path} holds no media files; name a file, or a folder with video or audio in it. {left_out}".rstrip()
                )
            if left_out:
                tell(f"{path}: {left_out}")
            if below := [folder.name for folder in sorted(path.iterdir()) if _holds_media(folder)]:
                tell(f"{path}: what lies in folders in it ({', '.join(below)[:80]}) is left out; 'dyad batch' takes that too.")
            found += [path / name for name in media]
        else:
            found.append(path)
    return found


def _holds_media(folder: Path) -> bool:
    """Whether there are media files right in a folder that is not hidden."""
    if folder.name.startswith((".", "__MACOSX")) or not folder.is_dir() or not os.access(folder, os.R_OK | os.X_OK):
        return False
    return bool(media_among(name for name in os.listdir(folder) if not name.startswith("."))[0])


def check_brought(files: Sequence[Path], brought: Brought) -> None:
    """InputError when evidence about one clip is given for several."""
    if len(files) > 1 and (brought.transcript or brought.scores or brought.people):
        raise InputError("--transcript, --scores and --people belong to one clip; name one, or put transcripts beside the clips.")


def check_name(files: Sequence[Path], name: str) -> None:
    """InputError when one name is given for the folders of several clips."""
    if len(files) > 1 and name:
        raise InputError("--name belongs to one clip; name one file.")


def workers_for(settings: Settings, workers: int | None = None) -> int:
    """How many clips are under way at once: as many as asked for; else one on a processor, which one keeps busy, and two
    where networks run on another device: while one is on it the next is decoded. InputError for a device that is not there.
    """
    device = device_named(settings.device)
    return workers or (1 if device == "cpu" else 2)


def run_file(file: Path, wanted: Wanted) -> Path | Exception:
    """The run folder of a clip, or the error that it failed with; Interrupted when somebody asks to stop."""
    try:
        stop.check()
        return _with_prefect(file, wanted) if wanted.prefect else recognise_file(file, wanted)
    except Interrupted:
        raise
    except Exception as error:
        return error


def _with_prefect(file: Path, wanted: Wanted) -> Path:
    from httpx import TransportError

    from flows.server import prefect_setup
    from flows.video import recognise_video

    brought = wanted.brought
    try:
        with prefect_setup.without_heartbeats():
            folder: Path = recognise_video(
                file, wanted.settings, wanted.output, brought.transcript, brought.descriptions, dict(brought.scores),
                brought.people, wanted.strict, wanted.fresh, wanted.name,
            )  # fmt: skip
        return folder
    except TransportError:  # the server that took the run has gone; what is missing is done without it
        logger.warning("The Prefect server does not answer any more, and lacks the end of the run of %s.", file)
        return recognise_file(file, replace(wanted, fresh=False))


def recognise_file(file: Path, wanted: Wanted) -> Path:
    """Recognise a clip in threads of this process; returns its run folder, raises what it fails with."""
    clip = _probe(file, wanted.settings)
    check_writable(wanted.output)
    job = Job(clip, RunFolder(wanted.output / clip.clip_id), wanted.settings, wanted.brought.check())
    job = in_own_folder(job, wanted.name, wanted.fresh)
    recognise_clip(job, in_thread, strict=wanted.strict, fresh=wanted.fresh)
    return job.folder.root


def _probe(file: Path, settings: Settings) -> Clip:
    """Measure the file; again after a pause when an error of storage may have passed."""
    from data.media.probe import probe

    for delay in RETRY_DELAYS:
        try:
            return probe(file, limits_of(settings), settings.decode.audio_track)
        except OSError as error:
            if not worth_retrying(error):
                raise
            time.sleep(delay)
    return probe(file, limits_of(settings), settings.decode.audio_track)
