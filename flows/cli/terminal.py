"""Running clips: a file in, a run folder or an error out; from the command line with progress, tables and an exit code."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from configs.settings import Settings
from data import terminal
from data.errors import MediaError
from flows.clip.graph import NEEDED, NEEDS
from flows.files import Wanted, check_brought, check_name, media_files, run_file, workers_for
from flows.job import Brought
from flows.runtime import stop
from flows.runtime.errors import Interrupted, sentence
from flows.runtime.events import Event, listening
from flows.server import prefect_setup

EVERY = 10.0
"""Seconds between two lines about a stage that takes long, where there is no terminal for bars."""


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
    prefect: bool = False,
    name: str = "",
    workers: int | None = None,
    then: Callable[[Path], bool] = lambda folder: True,
) -> int:
    """Recognise clips, `workers` at a time (see `workers_for`); `prefect`: as flows of Prefect, also where no server is set.

    Returns 0 when all went well, 1 when one failed, 130 when interrupted. `then` is called with each run folder, also of a clip
    that was done before, and says whether it went well.
    """
    console = terminal.console(stderr=True)
    files = media_files(paths, lambda sentence: console.print(sentence, style="dim", markup=False, soft_wrap=True))
    check_brought(files, brought)
    check_name(files, name)
    workers = workers_for(settings, workers)  # a device that is not there is told before anything starts
    if not any(file.exists() for file in files):  # told at once, without waiting for a server
        for file in files:
            _show_failure(console, file, MediaError(f"There is no file {file}; check the name."), as_json)
        return 1
    with_prefect = prefect or prefect_setup.has_server()
    if with_prefect:
        _begin_prefect(console, as_json)
    wanted = Wanted(output, settings, brought, strict, fresh, with_prefect, name)
    code = _run(files, wanted, workers, console, as_json, explain, then)
    if code == 0 and with_prefect and prefect_setup.server_is_gone():
        console.print("The Prefect server does not answer any more; what it lacks is in the run folder.", markup=False)
        prefect_setup.end_at_once(code)
    return code


def _run(
    files: Sequence[Path], wanted: Wanted, workers: int, console: Console, as_json: bool, explain: bool,
    then: Callable[[Path], bool],
) -> int:  # fmt: skip
    """Run the clips and show each answer; the exit code."""
    recognise = partial(run_file, wanted=wanted)
    failed = 0
    quiet = prefect_setup.quiet() if wanted.prefect else contextlib.nullcontext()
    with quiet, _progress(console) as progress, ThreadPoolExecutor(workers, "clip") as pool:
        try:
            for file, folder in zip(files, pool.map(recognise, files), strict=True):
                failed += not isinstance(folder, Path)
                with progress.paused():
                    if isinstance(folder, Path):
                        _show(folder, as_json, explain)
                        failed += not then(folder)
                    else:
                        _show_failure(console, file, folder, as_json)
        except (KeyboardInterrupt, Interrupted):
            stop.requested.set()  # each clip stops after what it is doing, so that nothing is left half-written
            console.print(sentence(Interrupted()), markup=False)
            return 130
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
    """Shows the events of all clips under way: a bar each on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        name = TextColumn("{task.fields[file]}", markup=False)
        stages = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), stages, TimeElapsedColumn())
        self.console = console
        self.bars = Progress(
            *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
        )
        self.clips: dict[str, tuple[TaskID, dict[str, Event]]] = {}
        self.said: dict[tuple[str, str], float] = {}

    def __call__(self, event: Event) -> None:
        if self.console.is_terminal:
            self._move(event)
        elif event.state == "working":
            self._say_how_far(event)
        elif event.state == "started":
            self.said[event.clip_id, event.stage] = time.monotonic()
        elif event.state != "skipped":
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

    def _say_how_far(self, event: Event) -> None:
        """A line every ten seconds of a stage that takes long."""
        now, key = time.monotonic(), (event.clip_id, event.stage)
        if now - self.said.get(key, now) > EVERY:
            self.said[key] = now
            far = f"{event.reached:.0f} of {event.duration:.0f} s"
            self.console.print(f"{event.file}: {event.stage} at {far}", markup=False, soft_wrap=True)

    def _move(self, event: Event) -> None:
        """The bar counts stages that have ended, and of those under way the part that they have worked through."""
        if event.clip_id not in self.clips:
            self.clips[event.clip_id] = (self.bars.add_task("starting", total=len(NEEDS), file=event.file), {})
        task, stages = self.clips[event.clip_id]
        stages[event.stage] = event
        going = {name: last for name, last in stages.items() if last.state in ("started", "working")}
        done = len(stages) - len(going) + sum(_part(last) for last in going.values())
        shown = ", ".join(map(_stage_shown, sorted(going.values(), key=lambda last: last.stage)))
        over = done >= len(NEEDS) or any(last.state == "failed" for name, last in stages.items() if name in NEEDED)
        self.bars.update(task, completed=done, description=shown, visible=not over)


def _part(event: Event) -> float:
    return event.reached / event.duration if event.duration else 0.0


def _stage_shown(event: Event) -> str:
    return event.stage.replace("_", " ") + (f" {_part(event):.0%}" if event.reached else "")


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
        print_result(terminal.console(), result, folder)
        for line in explain(result) if explained else ():
            terminal.console().print(line, markup=False, highlight=False)


def _show_failure(console: Console, file: Path, error: Exception, as_json: bool) -> None:
    message = sentence(error)
    named = message if str(file) in message or file.name in message else f"{file}: {message}"
    console.print(f"dyad: {named}", style="red", markup=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"clip": {"path": str(file)}, "error": message}, ensure_ascii=False) + "\n")
