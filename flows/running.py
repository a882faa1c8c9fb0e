"""Running clips from the command line: files and folders in, progress and tables out, an exit code at the end."""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from data.errors import InputError
from data.manifest import MEDIA
from flows import prefect_setup, stop
from flows.events import Event, listening
from flows.faults import Interrupted, sentence
from flows.graph import NEEDS
from flows.jobs import Brought
from flows.models import device_named
from flows.settings import Settings


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
    explain: bool = False,
    strict: bool = False,
    fresh: bool = False,
    workers: int | None = None,
) -> int:
    """Recognise clips, `workers` at a time; returns 0 when all went well, 1 when one failed, 130 when interrupted.

    Without `workers` clips run one by one on a processor, which one keeps busy, and two at a time where networks run on another
    device: while one clip is on the device the next is decoded.
    """
    files = media_files(paths)
    if len(files) > 1 and (brought.transcript or brought.scores):
        raise InputError("--transcript and --scores belong to one clip; name one file, or put transcripts beside the clips.")
    device = device_named(settings.device)  # one that is not there is told before anything starts
    workers = workers or (1 if device == "cpu" else 2)
    console = Console(stderr=True)
    _announce(console, as_json)
    prefect_setup.start_temporary_server()
    recognise = partial(_recognise, output=output, settings=settings, brought=brought, strict=strict, fresh=fresh)
    failed = 0
    with _progress(console) as progress, ThreadPoolExecutor(workers, "clip") as pool:
        try:
            for file, folder in zip(files, pool.map(recognise, files), strict=True):
                failed += not isinstance(folder, Path)
                with progress.paused():
                    if isinstance(folder, Path):
                        _show(folder, as_json, explain)
                    else:
                        _show_failure(console, file, folder, as_json)
        except (KeyboardInterrupt, Interrupted):
            stop.requested.set()  # each clip stops after what it is doing, so that nothing is left half-written
            console.print(sentence(Interrupted()), markup=False)
            return 130
    return 1 if failed else 0


def _recognise(
    file: Path, output: Path, settings: Settings, brought: Brought, strict: bool, fresh: bool
) -> Path | Exception:
    """The run folder of a clip, or the error that it failed with; Interrupted when the user asks to stop."""
    from flows.video import recognise_video

    try:
        stop.check()
        with prefect_setup.without_heartbeats():
            folder: Path = recognise_video(
                file, settings, output, brought.transcript, brought.descriptions, dict(brought.scores), strict, fresh
            )
        return folder
    except Interrupted:
        raise
    except Exception as error:
        return error


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
    """Shows the events of all clips under way: a bar each on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        name = TextColumn("{task.fields[file]}", markup=False)
        stages = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), stages, TimeElapsedColumn())
        self.console = console
        self.bars = Progress(
            *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
        )
        self.clips: dict[str, tuple[TaskID, set[str]]] = {}

    def __call__(self, event: Event) -> None:
        if self.console.is_terminal:
            self._move(event)
        elif event.state not in ("started", "skipped"):
            line = f"{event.file}: {event.stage} {event.state} ({event.seconds:.1f} s) {event.message}"
            self.console.print(line.rstrip(), markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bars off the terminal while something else is printed there."""
        self.bars.stop()
        try:
            yield
        finally:
            self.bars.start()

    def _move(self, event: Event) -> None:
        if event.clip_id not in self.clips:
            self.clips[event.clip_id] = (self.bars.add_task("starting", total=len(NEEDS), file=event.file), set())
        task, running = self.clips[event.clip_id]
        running.add(event.stage) if event.state == "started" else running.discard(event.stage)
        step = 0 if event.state == "started" else 1
        self.bars.update(task, advance=step, description=", ".join(sorted(running)).replace("_", " "))
        self.bars.update(task, visible=not self.bars.tasks[self.bars.task_ids.index(task)].finished)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[_Progress]:
    shown = _Progress(console)
    with listening(shown), shown.bars:
        yield shown


def _show(folder: Path, as_json: bool, explained: bool) -> None:
    from data.run_folder import RunFolder
    from reports.explain import explain
    from reports.terminal import print_result

    result = json.loads(RunFolder(folder).result.read_text(encoding="utf-8"))
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        print_result(Console(), result, folder)
        for line in explain(result) if explained else ():
            Console().print(line, markup=False, highlight=False)


def _show_failure(console: Console, file: Path, error: Exception, as_json: bool) -> None:
    message = sentence(error)
    named = message if str(file) in message or file.name in message else f"{file}: {message}"
    console.print(f"dyad: {named}", style="red", markup=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"clip": {"path": str(file)}, "error": message}, ensure_ascii=False) + "\n")


