"""Running clips: a file in, a run folder or an error out; from the command line with progress, tables and an exit code."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from data import terminal
from data.errors import MediaError
from data.files import as_it_is_named
from flows.runtime import stop
from flows.runtime.errors import Interrupted, sentence
from flows.runtime.events import Event, listening
from flows.server import prefect_setup

if TYPE_CHECKING:
    from configs.settings import Settings
    from flows.files import Wanted
    from flows.job import Brought
    from reports.documents import ResultDocument

EVERY = 10.0
"""Seconds between two lines about a stage that takes long, where there is no terminal for bars."""


@dataclass(frozen=True)
class Told:
    """How answers are told: as JSON, with an explanation of each window, with everything and every stage, a line each of several
    clips."""

    as_json: bool = False
    explained: bool = False
    verbose: bool = False
    several: bool = False


def run_clips(
    paths: Sequence[Path],
    output: Path,
    settings: "Settings",
    brought: "Brought | None" = None,
    how: Told = Told(),
    *,
    strict: bool = False,
    fresh: bool = False,
    prefect: bool = False,
    name: str = "",
    workers: int | None = None,
    then: Callable[[Path], bool] = lambda folder: True,
) -> int:
    """Recognise clips, `workers` at a time (see `workers_for`); `prefect`: as flows of Prefect, also where no server is set.

    Prints the answers, of several clips a line each and then all in a table.
    Returns 0 when all went well, 1 when one failed, 130 when interrupted. `then` is called with each run folder, also of a clip
    that was done before, and says whether it went well.
    """
    if _none_there(paths, how):  # told at once, without waiting for libraries or a server
        return 1
    from flows.files import Wanted, check_brought, check_name, media_files, workers_for
    from flows.job import Brought

    brought = brought or Brought()
    console = terminal.console(stderr=True)
    files = media_files(paths, lambda sentence: console.print(sentence, style="dim", markup=False, soft_wrap=True))
    check_brought(files, brought)
    check_name(files, name)
    workers = workers_for(settings, workers)  # a device that is not there is told before anything starts
    with_prefect = prefect or prefect_setup.has_server()
    if with_prefect:
        _begin_prefect(console, how.as_json)
    wanted = Wanted(output, settings, brought, strict, fresh, with_prefect, name)
    code = _run(files, wanted, workers, console, replace(how, several=len(files) > 1), then)
    if code == 0 and with_prefect and prefect_setup.server_is_gone():
        console.print("The Prefect server does not answer any more; what it lacks is in the run folder.", markup=False)
        prefect_setup.end_at_once(code)
    return code


def _none_there(files: Sequence[Path], how: Told) -> bool:
    """Whether none of the files is there, which is then told."""
    if any(as_it_is_named(file).exists() for file in files):
        return False
    for file in files:
        _show_failure(terminal.console(stderr=True), file, MediaError(f"There is no file {file}; check the name."), how.as_json)
    return True


def _run(
    files: Sequence[Path], wanted: "Wanted", workers: int, console: Console, how: Told, then: Callable[[Path], bool]
) -> int:
    """Run the clips and show each answer; the exit code."""
    from flows.files import run_file

    recognise = partial(run_file, wanted=wanted)
    failed, folders = 0, list[Path]()
    quiet = prefect_setup.quiet() if wanted.prefect else contextlib.nullcontext()
    with quiet, _progress(console, how.verbose) as progress, ThreadPoolExecutor(workers, "clip") as pool:
        try:
            for file, folder in zip(files, pool.map(recognise, files), strict=True):
                failed += not isinstance(folder, Path)
                with progress.paused():
                    if isinstance(folder, Path):
                        _show(folder, how)
                        folders.append(folder)
                        failed += not then(folder)
                    else:
                        _show_failure(console, file, folder, how.as_json)
        except (KeyboardInterrupt, Interrupted):
            stop.requested.set()  # each clip stops after what it is doing, so that nothing is left half-written
            console.print(sentence(Interrupted()), markup=False)
            return 130
    if how.several and not how.as_json:
        _show_all(folders)
    return 1 if failed else 0


def _begin_prefect(console: Console, as_json: bool) -> None:
    """Start a temporary server where none is set, and load what the stages need while it starts."""
    threading.Thread(target=_warm_up, daemon=True).start()
    if not prefect_setup.has_server() and not as_json:
        console.print("No Prefect server is set (PREFECT_API_URL): starting a temporary one, some seconds.", style="dim")
    prefect_setup.start_temporary_server()


def _warm_up() -> None:
    """Import the heavy libraries early; the temporary server starts in a process of its own meanwhile."""
    for module in ("modalities", "torch", "cv2", "av", "pandas", "pyarrow.parquet", "mediapipe"):
        try:
            __import__(module)
        except ImportError:
            continue  # the stage that needs it says so in a sentence


class _Progress:
    """Shows the events of all clips under way: a bar each on a terminal; elsewhere lines about what begins, takes long or fails,
    and when `verbose` about every stage."""

    def __init__(self, console: Console, verbose: bool = False) -> None:
        self.verbose = verbose
        name = TextColumn("{task.fields[file]}", markup=False)
        stages = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), TaskProgressColumn(), stages, TimeElapsedColumn())
        self.console = console
        self.on_terminal = console.is_terminal  # asked once: some libraries are kept quiet by pointing stderr elsewhere meanwhile
        self.bars = Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=not self.on_terminal)
        self.clips: dict[str, tuple[TaskID, dict[str, Event]]] = {}
        self.begun = set[str]()
        self.said: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        if self.on_terminal:
            self._move(event)
        elif event.state == "working":
            self._say_how_far(event)
        elif event.state == "started":
            if event.clip_id not in self.begun:
                self.console.print(f"{event.file}: recognising", style="dim", markup=False, soft_wrap=True)
            self.begun.add(event.clip_id)
            self.said[event.clip_id, event.stage] = time.monotonic()
        elif event.state == "failed" or (self.verbose and event.state != "skipped"):
            self.console.print(stage_line(event), markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the bars off the terminal while something else is printed there."""
        self.bars.stop()
        try:
            yield
        finally:
            self.bars.start()

    def _say_how_far(self, event: Event) -> None:
        """A line every ten seconds of a stage that takes long."""
        now, key = time.monotonic(), (event.clip_id, event.stage)
        if now - self.said.get(key, now) > EVERY:
            self.said[key] = now
            far = f"{event.reached:.0f} of {event.duration:.0f} s"
            self.console.print(f"{event.file}: {event.stage} at {far}", markup=False, soft_wrap=True)

    def _move(self, event: Event) -> None:
        """The bar counts stages that have ended, and of those under way the part that they have worked through."""
        from flows.clip.graph import NEEDED, NEEDS

        if event.clip_id not in self.clips:
            for ended in [task for task in self.bars.tasks if task.finished]:  # one that has ended is seen until another begins
                self.bars.update(ended.id, visible=False)
            self.clips[event.clip_id] = (self.bars.add_task("starting", total=len(NEEDS), file=event.file), {})
        task, stages = self.clips[event.clip_id]
        stages[event.stage] = event
        going = {name: last for name, last in stages.items() if last.state in ("started", "working")}
        done = len(stages) - len(going) + sum(_part(last) for last in going.values())
        shown = ", ".join(map(_stage_shown, sorted(going.values(), key=lambda last: last.stage)))
        broken = any(last.state == "failed" for name, last in stages.items() if name in NEEDED)
        self.bars.update(task, completed=done, description=shown, visible=not broken)


def stage_line(event: Event) -> str:
    """What is said of a stage that began or ended."""
    return f"{event.file}: {event.stage} {event.state} ({event.seconds:.1f} s) {event.message}".rstrip()


def _part(event: Event) -> float:
    return event.reached / event.duration if event.duration else 0.0


def _stage_shown(event: Event) -> str:
    return event.stage.replace("_", " ") + (f" {100 * _part(event):.0f} %" if event.reached else "")


@contextlib.contextmanager
def _progress(console: Console, verbose: bool) -> Iterator[_Progress]:
    shown = _Progress(console, verbose)
    with listening(shown), shown.bars:
        yield shown


def _show(folder: Path, how: Told) -> None:
    from data.json_files import read_json
    from data.run_folder import RunFolder

    show_result(read_json(RunFolder(folder).result), str(folder), how)


def show_result(result: "ResultDocument", folder: str, how: Told) -> None:
    """Print a clip's answer on stdout; `folder` is where it lies, a path or an address."""
    from reports.explain import explain
    from reports.terminal import print_line, print_result

    if how.as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    if how.several and not (how.verbose or how.explained):
        print_line(terminal.console(), result)
    else:
        print_result(terminal.console(), result, folder, details=how.verbose)
    for line in explain(result) if how.explained else ():
        terminal.console().print(line, markup=False, highlight=False)


def _show_all(folders: Sequence[Path]) -> None:
    """The answers of several clips in a table."""
    from data.json_files import read_json
    from data.run_folder import RunFolder
    from reports.terminal import print_several

    results = [read_json(RunFolder(folder).result) for folder in folders]
    if results:
        print_several(terminal.console(), list(zip(results, folders, strict=True)))


def _show_failure(console: Console, file: Path, error: Exception, as_json: bool) -> None:
    message = sentence(error)
    named = message if str(file) in message or file.name in message else f"{file}: {message}"
    console.print(f"dyad: {named}", style="red", markup=False, soft_wrap=True)
    if as_json:
        show_error(str(file), message)


def show_error(path: str, message: str) -> None:
    """Print on stdout, as JSON, why a clip has no answer."""
    sys.stdout.write(json.dumps({"clip": {"path": path}, "error": message}, ensure_ascii=False) + "\n")
