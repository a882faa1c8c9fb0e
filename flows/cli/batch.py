"""`dyad batch`: a whole data set from the command line."""

import contextlib
import re
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn, TypedDict, cast

import typer

from data import terminal
from flows.cli.export import exports_named, write_exports
from flows.cli.options import Asked, RemoteOption, RootOption, file_systems, takes_asked

if TYPE_CHECKING:
    from prefect import Flow, State
    from rich.console import Console

    from configs.settings import Settings
    from flows.batch.counts import Counts

QUIET = 10.0
"""Seconds from one line of progress to the next where there is no terminal."""
STILL = 60.0
"""The same while no clip ends."""


class BatchOptions(TypedDict, total=False):
    """What `flows.dataset.recognise_dataset` may be given beside manifest, output and settings."""

    workers: int | None
    retry_failed: bool
    limit: int | None
    strict: bool
    least_seconds: float
    seconds_per_second: float
    root: str | None
    allow_remote: list[str]
    workload: str
    sample: int | None
    fresh: bool
    descriptions: str | None
    same_people: bool
    keep_embeddings: bool


@takes_asked
def batch(
    manifest: Annotated[
        str, typer.Argument(help="CSV or parquet with a column `path`, a folder, or an address.", show_default=False)
    ],
    *,
    output: Annotated[str, typer.Option("-o", "--output", help="Folder or address (s3://...) for all results.")] = "runs",
    asked: Asked,
    dask: Annotated[
        str | None, typer.Option(help="Run on a Dask cluster: its scheduler's address, or 'local' for --workers processes.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed before.")] = False,
    root: RootOption = None,
    allow_remote: RemoteOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many clips, the first ones.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many clips, evenly by label; the same each time.")] = None,
    patience: Annotated[
        float, typer.Option(min=0.1, help="A clip is given up after ten minutes and so many seconds for each that it lasts.")
    ] = 120.0,
    same_people: Annotated[
        bool, typer.Option("--same-people", help="Say which persons of the clips are one, by faces and voices: same_people.csv.")
    ] = False,
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="With --same-people: keep what faces are recognised by for the next time.")
    ] = False,
) -> None:
    """Recognise a data set; what is done already is left out.

    Example: dyad batch clips.csv -o runs --workers 2
    """
    from flows.job import Brought

    names, settings = exports_named(asked.exports), asked.settings()
    Brought(descriptions=asked.descriptions).check_content()
    options = BatchOptions(
        workers=asked.workers, retry_failed=retry_failed, limit=limit, strict=asked.strict, seconds_per_second=patience,
        root=root, allow_remote=file_systems(allow_remote), sample=sample, fresh=asked.fresh,
        descriptions=str(asked.descriptions) if asked.descriptions else None, same_people=same_people,
        keep_embeddings=keep_embeddings,
    )  # fmt: skip
    with _stages_told(asked.verbose):
        code = run_batch(manifest, output, settings, options, dask)
    if code in (0, 1):
        _tell_answers(output, asked)
        if not write_exports(output, names, run=False):
            code = 1
    sys.exit(code)


@contextlib.contextmanager
def _stages_told(verbose: bool) -> Iterator[None]:
    """When `verbose`, a line for each stage of a clip that ends in this process."""
    from flows.cli.terminal import stage_line
    from flows.runtime.events import Event, listening

    console = terminal.console(stderr=True)

    def tell(event: Event) -> None:
        if event.state in ("done", "absent", "failed"):
            console.print(stage_line(event), markup=False, soft_wrap=True)

    with listening(tell) if verbose else contextlib.nullcontext():
        yield


def _tell_answers(output: str, asked: Asked) -> None:
    """The answers of all clips, where --json, --explain or -v want them, and where the time went."""
    from data.location import is_address
    from data.run_folder import RunFolder
    from flows.cli.terminal import Told, show_error, show_result
    from flows.clip.profile_time import table
    from flows.exports.source import items, source_at
    from reports.exports.clip import Unanswered

    how = Told(asked.json, asked.explain, asked.verbose, several=True)
    if not (how.as_json or how.explained or how.verbose or asked.profile_time):
        return
    source, folders = source_at(output), list[RunFolder]()
    for item in items(source):
        if isinstance(item, Unanswered):
            if how.as_json:
                show_error(item.path, item.reason)
            continue
        folders.append(RunFolder(Path(output) / item.clip_id))
        if how.as_json or how.explained or how.verbose:
            show_result(item.result, str(source.root / item.clip_id), how)
    if asked.profile_time and is_address(output):
        sys.stderr.write(f"Where the time went is noted in the run folders; of those at {output} see status.csv there.\n")
    elif asked.profile_time:
        terminal.console(stderr=True).print(table(*folders))


def run_batch(
    manifest: str, output: str, settings: "Settings", options: BatchOptions, dask: str | None = None
) -> int:
    """Run the flow and show how far it is; returns 0 when all clips are done, 1 when some failed, 130 when interrupted.

    `dask`: the address of a Dask scheduler, or 'local' for a cluster of `workers` processes; else this machine without one.
    """
    from flows.runtime import stop
    from flows.runtime.loaded_models import device_named
    from flows.server import prefect_setup

    console = terminal.console(stderr=True)
    device_named(settings.device)  # one that is not there is told before anything starts
    with _flow(dask, options) as flow, prefect_setup.without_heartbeats(), _stops_on_request(console), prefect_setup.quiet():
        from httpx import TransportError
        from prefect.exceptions import TerminationSignal

        with _shown(console) as told, _asks_once():
            try:
                # Prefect's overloads do not tell apart what a flow of any parameters gives with `return_state`.
                state = cast("State[dict[str, int]]", flow(manifest, output, settings, **options, return_state=True))
            except TransportError:
                _end_without_server(console, told[-1].sentence() if told else "No clip has ended.")
            except TerminationSignal:  # Prefect's own answer to SIGTERM while a flow runs; it hands the signal on to ours as well
                stop.requested.set()
    if stop.requested.is_set():
        return 130
    clips = state.result()
    words = ", ".join(f"{clips[name]} {name}" for name in ("done", "degraded", "failed", "rejected") if clips[name])
    before = f" ({clips['skipped']} of them before)" if clips["skipped"] else ""
    said = f"{clips['total']} clip{'s' * (clips['total'] != 1)}"
    console.print(f"{said}: {words}{before}.", markup=False, soft_wrap=True)
    _print_summary(console, output)
    return 1 if clips["failed"] or clips["rejected"] else 0


def _print_summary(console: "Console", output: str) -> None:
    """What the set shows, and what is to be told about it, such as files of the folder that were left out."""
    import json

    from data.dataset_files import REPORT, SUMMARY
    from data.location import Location
    from reports.terminal import print_set

    summary = json.loads((Location.at(output) / SUMMARY).read_bytes())
    for note in summary["notes"]:
        console.print(f"  {note}", style="dim", markup=False, soft_wrap=True)
    print_set(console, summary, f"{output.rstrip('/')}/{REPORT}")


@contextlib.contextmanager
def _flow(dask: str | None, options: BatchOptions) -> "Iterator[Flow[..., dict[str, int]]]":
    """The flow with a server to run against: on this machine, or on a Dask cluster that answers."""
    from flows.server import prefect_setup

    if dask is None:
        prefect_setup.start_temporary_server()
        from flows.dataset import recognise_dataset

        yield recognise_dataset
        return
    from data.errors import InputError

    try:
        from flows.batch.dask_runner import LOCAL, connected
    except ImportError as error:
        raise InputError(f"--dask needs packages that are not here ({error}): {_install_dask()}") from error
    with connected(dask, options["workers"]) as runner:
        from flows.dataset import recognise_dataset

        options["workers"] = None if dask == LOCAL else options["workers"]
        yield recognise_dataset.with_options(task_runner=runner)  # type: ignore[arg-type]


def _install_dask() -> str:
    """The command that installs what --dask needs: in a clone the versions that it is tested with."""
    lock = Path(__file__).resolve().parents[2] / "requirements-dev.lock"
    pinned = re.findall(r"^(?:prefect-dask|distributed)==[\w.]+", lock.read_text("utf-8"), re.MULTILINE) if lock.is_file() else []
    return " ".join([shlex.quote(sys.executable), "-m pip install", *(pinned or ['"dyad-expressions[dask]"'])])


@contextlib.contextmanager
def _asks_once() -> Iterator[None]:
    """Once the clips have ended, ask a Prefect server that does not answer only once for the run's last states.

    Prefect would ask for each of two states six times, a minute in all, while nothing is left to lose.
    """
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from flows.batch.counts import watching
    from flows.server.artifacts import server_answers

    with contextlib.ExitStack() as until_the_end:

        def look(counts: "Counts") -> None:
            if counts.over and not server_answers():
                until_the_end.enter_context(temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}))

        with watching(look):
            yield


def _end_without_server(console: "Console", so_far: str) -> NoReturn:
    """Say that the server has gone, and end."""
    from flows.runtime import stop
    from flows.server.prefect_setup import end_at_once

    said = "The Prefect server does not answer any more; start it ('dyad up'), then run the same command: it goes on from here"
    console.print(f"{so_far}. {said}.", markup=False, soft_wrap=True)
    end_at_once(130 if stop.requested.is_set() else 1)


@contextlib.contextmanager
def _stops_on_request(console: "Console") -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the run after what each clip is doing now; the second one ends it at once."""
    from flows.runtime import stop
    from flows.runtime.errors import Interrupted, sentence

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.requested.set()
        signal.signal(number, before[number])
        console.print(sentence(Interrupted()), markup=False)

    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        before[number] = signal.getsignal(number)
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _shown(console: "Console") -> "Iterator[deque[Counts]]":
    """A bar on a terminal, a line every ten seconds elsewhere; gives what was told last."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from flows.batch.counts import Counts, watching

    text, on_terminal = TextColumn("{task.description}", markup=False), console.is_terminal
    bars = Progress(BarColumn(), text, TimeElapsedColumn(), console=console, disable=not on_terminal, transient=True)
    bar = bars.add_task("reading the manifest", total=None)
    told, said, last = time.monotonic(), 0, deque[Counts](maxlen=1)

    def show(counts: Counts) -> None:
        nonlocal told, said
        last.append(counts)
        if on_terminal:
            bars.update(bar, total=counts.total, completed=counts.ended, description=counts.sentence())
        elif time.monotonic() - told >= (QUIET if counts.ended != said else STILL):
            console.print(counts.sentence(), markup=False, soft_wrap=True)
            told, said = time.monotonic(), counts.ended

    with watching(show), bars:
        yield last
