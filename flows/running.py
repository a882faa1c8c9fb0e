"""Running clips from the command line: files and folders in, progress and tables out, an exit code at the end."""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from data.errors import InputError
from flows import prefect_setup, stop
from flows.events import Event, listening
from flows.faults import Interrupted, sentence
from flows.jobs import Brought
from flows.settings import Settings

VIDEO = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv")
SOUND = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac")
MEDIA = frozenset(VIDEO + SOUND)
"""Endings of the files that are taken from a folder; a file that is named itself may have any."""


def media_files(paths: Sequence[Path]) -> list[Path]:
    """The files to run: those named, and the media files in the folders named (sorted, not below them)."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in MEDIA and file.is_file())
            if not inside:
                raise InputError(f"{path} holds no media files; name a file, or a folder with video or audio in it.")
            found += inside
        else:
            found.append(path)
    return found


def run_clips(
    paths: Sequence[Path],
    output: Path,
    settings: Settings,
    brought: Brought,
    *,
    as_json: bool = False,
    strict: bool = False,
    fresh: bool = False,
) -> int:
    """Recognise clips one after the other; returns 0 when all went well, 1 when one failed, 130 when interrupted."""
    files = media_files(paths)
    if len(files) > 1 and (brought.transcript or brought.scores):
        raise InputError("--transcript and --scores belong to one clip; name one file, or put transcripts beside the clips.")
    console = Console(stderr=True)
    _announce(console, as_json)
    failed = 0
    for file in files:
        try:
            with _progress(console, file):
                folder = _recognise(file, output, settings, brought, strict, fresh)
        except (KeyboardInterrupt, Interrupted):
            console.print(sentence(Interrupted()), markup=False)
            return 130
        except Exception as error:
            failed += 1
            _show_failure(console, file, error, as_json)
            continue
        _show(folder, as_json)
    return 1 if failed else 0


def _recognise(file: Path, output: Path, settings: Settings, brought: Brought, strict: bool, fresh: bool) -> Path:
    """Run the flow; Ctrl-C asks it to stop after what it is doing, so that nothing is left half-written."""
    from flows.video import recognise_video

    try:
        with prefect_setup.without_heartbeats():
            folder: Path = recognise_video(
                file, settings, output, brought.transcript, brought.descriptions, dict(brought.scores), strict, fresh
            )
        return folder
    except KeyboardInterrupt:
        stop.requested.set()
        raise


def _announce(console: Console, as_json: bool) -> None:
    """Say why a cold start takes seconds, and load what the stages need while Prefect starts."""
    threading.Thread(target=_warm_up, daemon=True).start()
    if not prefect_setup.has_server() and not as_json:
        console.print("No Prefect server is set (PREFECT_API_URL): starting a temporary one, some seconds.", style="dim")


def _warm_up() -> None:
    """Import the heavy libraries early; the temporary server starts in a process of its own meanwhile."""
    for module in ("modalities", "torch", "cv2", "av", "pandas", "pyarrow.parquet", "mediapipe"):
        try:
            __import__(module)
        except ImportError:
            continue  # the stage that needs it says so in a sentence


class _Progress:
    """Shows the events of one clip: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, file: Path) -> None:
        from flows.stages import STAGES

        self.console, self.file, self.total = console, file, len(STAGES)
        self.running: set[str] = set()
        self.bar: Progress | None = None
        self.task = TaskID(0)
        if console.is_terminal:
            name = TextColumn("{task.fields[file]}", markup=False)
            stages = TextColumn("{task.description}", markup=False)
            self.bar = Progress(name, BarColumn(), stages, TimeElapsedColumn(), console=console, transient=True)
            self.task = self.bar.add_task("starting", total=self.total, file=file.name)

    def __call__(self, event: Event) -> None:
        if event.state == "started":
            self.running.add(event.stage)
        else:
            self.running.discard(event.stage)
        if self.bar:
            step = 0 if event.state == "started" else 1
            self.bar.update(self.task, advance=step, description=", ".join(sorted(self.running)).replace("_", " "))
        elif event.state not in ("started", "skipped"):
            line = f"{self.file.name}: {event.stage} {event.state} ({event.seconds:.1f} s) {event.message}"
            self.console.print(line.rstrip(), markup=False, soft_wrap=True)


@contextlib.contextmanager
def _progress(console: Console, file: Path) -> Iterator[None]:
    shown = _Progress(console, file)
    with listening(shown), shown.bar or contextlib.nullcontext():
        yield


def _show(folder: Path, as_json: bool) -> None:
    from data.run_folder import RunFolder
    from reports.terminal import print_result

    result = json.loads(RunFolder(folder).result.read_text(encoding="utf-8"))
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        print_result(Console(), result, folder)


def _show_failure(console: Console, file: Path, error: Exception, as_json: bool) -> None:
    message = sentence(error)
    named = message if str(file) in message or file.name in message else f"{file}: {message}"
    console.print(f"dyad: {named}", style="red", markup=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"clip": {"path": str(file)}, "error": message}, ensure_ascii=False) + "\n")


