"""Dyad for Python: `recognise` one clip, `recognise_all` of several; the same stages and run folders as `dyad run`.

Importing this module is cheap: what recognises is imported with the first call.
"""

import contextvars
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from configs import DEFAULT_PROFILE
from data.errors import DyadError
from data.files import as_it_is_named

if TYPE_CHECKING:
    from flows.files import Wanted
    from flows.recognition import Recognition, Recognitions
    from flows.runtime.events import Event

AnyPath: TypeAlias = str | os.PathLike[str]
OnProgress: TypeAlias = Callable[[str, int, int], object]
"""Is told (stage, done, total): up to which second of the clip, of how many, a stage has worked."""
News: TypeAlias = tuple[str, int, int] | None
"""What a clip's threads tell: a stage's progress, or None when the clip has ended."""


def recognise(
    clip: AnyPath,
    *,
    profile: AnyPath = DEFAULT_PROFILE,
    settings: Mapping[str, object] | None = None,
    out: AnyPath = "runs",
    transcript: AnyPath | None = None,
    descriptions: AnyPath | None = None,
    scores: Mapping[str, AnyPath] | None = None,
    people: AnyPath | None = None,
    strict: bool = False,
    fresh: bool = False,
    name: str = "",
    on_progress: OnProgress | None = None,
) -> "Recognition":
    """Recognise the compound expressions of a media file; stages that are done already are not done again.

    `profile`: a name in configs/ or a YAML file; `settings`: a nested mapping that changes some of it, e.g.
    `{"device": "cuda:0", "faces": {"which": "all"}}`; `out`: the folder that gets the run folder. `transcript` (.srt, .vtt, .txt,
    .csv), `descriptions` (CSV) and `scores` (modality -> CSV or parquet) are evidence that replaces the stage which would make
    it; `people` (CSV) says who is who. `strict` fails when a modality fails or lacks its model; `fresh` does everything again;
    `name`: the run folder's, else the clip's id, with a digest of what is asked behind it where that folder answers other things.

    `on_progress(stage, done, total)` is called in the caller's thread, for each stage first with 0 and last with
    `done == total` (whole seconds of the clip, at least 1); a stage that was done before is told once, at its end. An exception
    in it ends the telling with a RuntimeWarning, not the run; raising KeyboardInterrupt there, or pressing stop, ends the run
    cleanly, and the same call goes on from there.

    DyadError, with the sentence that the command line prints, when the clip cannot be recognised: MediaError for the file,
    InputError for what was asked. It may be called inside a running event loop, from several threads, and again and again.
    """
    wanted = replace(_wanted(profile, settings, out, transcript, descriptions, scores, strict, fresh, people), name=name)
    (answer,) = _run([as_it_is_named(Path(clip))], wanted, 1, on_progress)
    if isinstance(answer, DyadError):
        raise answer
    return answer


def recognise_all(
    clips: Iterable[AnyPath] | AnyPath,
    *,
    profile: AnyPath = DEFAULT_PROFILE,
    settings: Mapping[str, object] | None = None,
    out: AnyPath = "runs",
    descriptions: AnyPath | None = None,
    strict: bool = False,
    fresh: bool = False,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> "Recognitions":
    """Recognise several media files, or all in a folder, `workers` at a time; a bad clip is an entry in `errors`.

    Arguments are those of `recognise`. Transcripts lie beside the clips; `descriptions` may name several clips. `on_progress`
    is also told ("clips", clips that have ended, clips). For data sets with thousands of clips see `dyad batch`.
    """
    from flows.files import media_files, workers_for
    from flows.recognition import Recognitions

    given = [clips] if isinstance(clips, str | os.PathLike) else clips
    files = media_files([Path(clip) for clip in given])
    wanted = _wanted(profile, settings, out, None, descriptions, None, strict, fresh)
    answers = _run(files, wanted, workers_for(wanted.settings, workers), on_progress, many=True)
    pairs = list(zip(files, answers, strict=True))
    errors = {file: answer for file, answer in pairs if isinstance(answer, DyadError)}
    return Recognitions(tuple(answer for _, answer in pairs if not isinstance(answer, DyadError)), errors)


def _wanted(
    profile: AnyPath,
    settings: Mapping[str, object] | None,
    out: AnyPath,
    transcript: AnyPath | None,
    descriptions: AnyPath | None,
    scores: Mapping[str, AnyPath] | None,
    strict: bool,
    fresh: bool,
    people: AnyPath | None = None,
) -> "Wanted":
    """What is asked, checked before anything starts."""
    from configs.settings import load_settings
    from flows.files import Wanted, workers_for
    from flows.job import Brought
    from flows.server.prefect_setup import has_server

    asked = load_settings(os.fspath(profile), settings)
    workers_for(asked)
    ready = {name: Path(path) for name, path in (scores or {}).items()}
    words, scenes, known = (Path(path) if path else None for path in (transcript, descriptions, people))
    brought = Brought(words, scenes, ready, known)
    return Wanted(Path(out), asked, brought.check_content(), strict, fresh, has_server())


def _run(
    files: Sequence[Path], wanted: "Wanted", workers: int, on_progress: OnProgress | None, many: bool = False
) -> "list[Recognition | DyadError]":
    """Run clips in threads of their own, whatever runs in this one, and tell the caller here how far they are."""
    from flows.runtime import stop
    from flows.runtime.events import listening

    gone, news = threading.Event(), SimpleQueue[News]()

    def hear(event: "Event") -> None:
        if gone in stop.abandoned.get():  # of this call's clips; others may run in this process
            news.put(_progress_of(event))

    def run(file: Path) -> Path | Exception:
        from flows.files import run_file

        stop.abandoned.set((gone,))
        return run_file(file, wanted)

    telling = _Telling(on_progress)
    pool = ThreadPoolExecutor(workers, "clip")
    try:
        with listening(hear):
            futures = [pool.submit(contextvars.copy_context().run, run, file) for file in files]
            _follow(futures, news, telling, many)
    except BaseException:
        gone.set()  # each clip stops after what it is doing, so that nothing is left half-written
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    telling.warn()
    return [_answer(future.result()) for future in futures]


def _follow(futures: "Sequence[Future[Path | Exception]]", news: SimpleQueue[News], telling: "_Telling", many: bool) -> None:
    """Tell what happens until all clips have ended."""
    for future in futures:
        future.add_done_callback(lambda _: news.put(None))
    ended = 0
    while ended < len(futures):
        told = news.get()
        if told is not None:
            telling(*told)
            continue
        ended += 1
        if many:
            telling("clips", ended, len(futures))


def _progress_of(event: "Event") -> tuple[str, int, int]:
    total = max(round(event.duration), 1)
    if event.state in ("started", "working"):
        return event.stage, min(int(event.reached), total - 1), total
    return event.stage, total, total


def _answer(ended: Path | Exception) -> "Recognition | DyadError":
    from flows.recognition import read_run
    from flows.runtime.errors import sentence

    if isinstance(ended, Path):
        return read_run(ended)
    if isinstance(ended, DyadError):
        return ended
    error = DyadError(sentence(ended))
    error.__cause__ = ended
    return error


class _Telling:
    """Calls the callback until it fails for the first time."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._callback = on_progress
        self._error: Exception | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._callback is not None and self._error is None:
            try:
                self._callback(stage, done, total)
            except Exception as error:
                self._error = error

    def warn(self) -> None:
        """Say, when all is done, that the callback failed."""
        if self._error is not None:
            said = f"{type(self._error).__name__}: {self._error}"
            message = f"on_progress raised {said}; it was not called again, and the run went on."
            warnings.warn(message, RuntimeWarning, stacklevel=4)
