"""The flow for a whole data set: a manifest in, a run folder a clip out, a bounded number of clips under way at once."""

import contextlib
import logging
import pkgutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from data.dataset_files import JOURNAL
from data.errors import DyadError
from data.location import StorageError
from data.manifest.manifest import Manifest, ManifestRow
from data.run_folder import RunFolder
from flows.batch import counts as batch_progress
from flows.batch.clips import BatchPlan, fingerprint, plan_digest
from flows.batch.counts import Counts
from flows.batch.crash_notes import BLAMED, MOST_DEATHS, UnderWay
from flows.batch.journal import Entry, Journal
from flows.batch.lease import check_there
from flows.batch.one_clip import Outcome
from flows.batch.outputs import write_results, write_status
from flows.batch.references import gather, related_to
from flows.batch.storage import clear_left_behind
from flows.clip.known import Told
from flows.runtime import stop
from flows.runtime.errors import Interrupted, sentence
from flows.runtime.processes import ProcessDied, Processes
from flows.server.artifacts import publish_progress, publish_summary

logger = logging.getLogger(__name__)
Workload = Callable[[BatchPlan, Sequence[ManifestRow]], Iterator[tuple[str, Outcome]]]
"""What is done with the clips of one file: gives each clip's id and how it ended."""
Outcomes = list[tuple[str, Outcome]]
RECOGNITION = "flows.batch.clips:run_file"
MOST_GIVEN_UP = 8
"""So many clips that took too long end the run: their threads still hold memory, and the device or the storage hangs."""
SHOWN = 100
"""So many clips of a run show their result as artifacts in Prefect's UI: a million would fill its database."""
PROGRESS_EVERY, STATUS_EVERY = 2.0, 5.0
"""Seconds from one progress artifact to the next, and from one status.csv to the next (longer where writing it takes long)."""


class ClipFailed(DyadError):
    """Clips of one file that failed, as a task's error; `outcomes` are those of all its clips."""

    def __init__(self, message: str, outcomes: Outcomes) -> None:
        super().__init__(message, outcomes)
        self.outcomes = outcomes

    def __str__(self) -> str:
        return str(self.args[0])


@task(name="recognise-clip", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def recognise_clip(
    name: str, plan: BatchPlan, rows: tuple[ManifestRow, ...], workload: str, processes: Processes | None = None
) -> Outcomes:
    """Recognise the clips of one file (one clip, or its segments), in one of `processes` where there are some; the task fails
    when one of them fails."""
    outcomes = processes.run(outcomes_of, plan, rows, workload) if processes else outcomes_of(plan, rows, workload)
    failed = [outcome.reason for _, outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise ClipFailed(" ".join(dict.fromkeys(failed)), outcomes)
    return outcomes


def outcomes_of(plan: BatchPlan, rows: tuple[ManifestRow, ...], workload: str) -> Outcomes:
    """How the clips of one file ended, once a workload has run them."""
    work: Workload = pkgutil.resolve_name(workload)
    return list(work(replace(plan, output=plan.output.here()), rows))


class ClipThreads(ThreadPoolTaskRunner):  # type: ignore[type-arg]
    """Threads that start as they are needed; keeps nothing of a task that has ended, so that memory stays flat over a million.

    Another runner may take its place (`with_options(task_runner=...)`) when it has a method `room`, too.
    """

    def submit(self, *arguments: Any, **options: Any) -> Any:
        """Submit a task; forget the event for cancelling it once it has ended (Prefect keeps them all)."""
        future = super().submit(*arguments, **options)
        future.add_done_callback(self._forget)
        return future

    def room(self) -> int | None:
        """How many clips there is room for at once; None: as many as is asked for."""
        return None

    def _forget(self, ended: PrefectFuture[Outcomes]) -> None:
        self._cancel_events.pop(ended.task_run_id, None)


@dataclass(frozen=True)
class Flight:
    """Clips of one file under way: their rows, and each one's fingerprint by its id. again: a process has died with them."""

    rows: tuple[ManifestRow, ...]
    prints: Mapping[str, str]
    again: bool = False

    @property
    def first(self) -> str:
        """The id of the first one, which stands for all of them."""
        return next(iter(self.prints))


Flying = dict[UUID, Flight]
EndedTasks = SimpleQueue[PrefectFuture[Outcomes]]


@dataclass
class BatchRun:
    """A run under way: what it was asked for, and the little it remembers of the clips.

    known: in the second pass, what is known of the persons of all clips (`flows.batch.references`); processes: what clips run in,
    None for threads of this one; died: what was under way when its process died, to be run once more with nothing beside it.
    """

    plan: BatchPlan
    clips: Manifest
    journal: Journal
    retry_failed: bool
    workload: str
    lost: Event
    under_way: UnderWay
    processes: Processes | None = None
    counts: Counts = field(default_factory=Counts)
    given_up: int = 0
    shown: int = 0
    artifact: UUID | None = None
    told: float = 0.0
    known: Told | None = None
    next_status: float = 0.0
    died: list[Flight] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.digest = plan_digest(self.plan.settings, self.plan.strict, self.workload)
        self.counts.total = len(self.clips)
        self.counts.rejected = len(self.clips.problems)
        self.next_status = time.monotonic() + STATUS_EVERY


def work_off(run: BatchRun, most: Callable[[], int]) -> None:
    """Run what must run, at most so many files at once: the next one is given when one has ended."""
    ended, flying = EndedTasks(), Flying()

    def none() -> int:
        return min(1, most())

    _tell(run, at_once=True)
    for _, rows in run.clips.files():
        if stop.requested.is_set():
            break
        fresh = {row.clip_id: print_ for row in rows if (print_ := _to_run(run, row))}
        if not fresh:
            _collect(run, ended, flying, most)
            continue
        deaths = run.under_way.deaths(next(iter(fresh)))
        if deaths is not None:
            _collect(run, ended, flying, none)
            if deaths >= MOST_DEATHS:
                _note(run, fresh, [(clip_id, Outcome("failed", BLAMED)) for clip_id in fresh])
                continue
        _begin(run, Flight(tuple(row for row in rows if row.clip_id in fresh), fresh), ended, flying)
        _collect(run, ended, flying, most if deaths is None else none)
    _collect(run, ended, flying, none)
    while run.died and not stop.requested.is_set():
        _begin(run, run.died.pop(), ended, flying)
        _collect(run, ended, flying, none)


def _begin(run: BatchRun, flight: Flight, ended: EndedTasks, flying: Flying) -> None:
    run.under_way.begin(flight.first)
    future = _submitted(run, flight.rows)
    flying[future.task_run_id] = flight
    future.add_done_callback(ended.put)


def _submitted(run: BatchRun, rows: tuple[ManifestRow, ...]) -> PrefectFuture[Outcomes]:
    """The task for clips of one file, on its way."""
    name = rows[0].clip_id if len(rows) == 1 else f"{Path(rows[0].path).name} ({len(rows)} segments)"
    plan = replace(run.plan, show=run.shown < SHOWN)
    run.shown += len(rows)
    # Quoted, so that Prefect does not look through every row of them for futures.
    return recognise_clip.submit(name, quote(plan), quote(rows), run.workload, quote(run.processes), return_state=False)


def _to_run(run: BatchRun, row: ManifestRow) -> str:
    """The fingerprint of a clip that must run; empty, and the clip counted, when it is done already."""
    found, before = fingerprint(row, run.digest), run.journal.latest(row.clip_id)
    if run.known is not None:
        return _to_relate(run, row, found, before)
    if run.plan.fresh or before is None or before.fingerprint.partition("+")[0] != found or _is_gone(run, before):
        return found
    if run.retry_failed and (before.state == "failed" or before.answer.get("broken")):
        return found
    run.counts.add(before.state, skipped=True)
    return ""


def _to_relate(run: BatchRun, row: ManifestRow, found: str, before: Entry | None) -> str:
    """The fingerprint of a clip that must be related anew to what is known of its persons; empty when it is, or has failed."""
    known = related_to(run.known, before.run_folder, row.speaker) if before and run.known else ""
    related = f"{found}+{known}" if known else found
    if before is None or before.state == "failed" or before.fingerprint == related:
        run.counts.add(before.state if before else "failed", skipped=True)
        return ""
    return related


def relate(run: BatchRun, most: Callable[[], int]) -> None:
    """Once all clips were heard, run again what depends on how their persons and the whole data set usually sound and look.

    Only where the results stay in a folder: clips at an address would have to be fetched again.
    """
    if run.plan.output.address or run.workload != RECOGNITION or stop.requested.is_set():
        return
    run.known = gather(run.plan.output.folder, run.clips, run.journal, run.plan.settings)
    if run.known is not None:
        run.plan = replace(run.plan, fresh=False)
        first, run.counts = run.counts, Counts(total=len(run.clips), rejected=len(run.clips.problems), of="voices")
        work_off(run, most)
        run.counts = first


def _is_gone(run: BatchRun, before: Entry) -> bool:
    """Whether the answer of a clip that was recognised has been removed since (at an address nobody looks)."""
    if run.plan.output.address or run.workload != RECOGNITION or before.state == "failed":
        return False
    return not RunFolder(run.plan.output.folder / before.run_folder).result.is_file()


def _collect(run: BatchRun, ended: EndedTasks, flying: Flying, most: Callable[[], int]) -> None:
    """Take in what has ended until fewer than `most` are under way; tell how far the run is meanwhile."""
    while True:
        room = most()
        with contextlib.suppress(Empty):
            while flying:
                future = ended.get(timeout=0.5 if len(flying) >= room else 0.0)
                future.wait()  # it has ended; only so does it know its state without asking the server
                _take(run, flying.pop(future.task_run_id), future.state)
        _tell(run)
        if len(flying) < room:
            return


def _take(run: BatchRun, flight: Flight, state: State[Outcomes]) -> None:
    """Take in how the clips of a file ended; those whose process died may have a second try."""
    error = None if state.is_completed() else state.result(raise_on_failure=False)
    if isinstance(error, ProcessDied) and not flight.again:
        logger.warning("%s: %s It is tried once more, alone.", flight.first, error)
        run.died.append(replace(flight, again=True))
    else:
        _note(run, flight.prints, _outcomes(run, state, flight.prints))
    context = FlowRunContext.get()
    if context is not None:
        # Prefect would keep these of every task until the flow ends; nothing here depends on them.
        context.run_results.clear()
        context.task_run_assets.clear()
    _check(run)


def _note(run: BatchRun, prints: Mapping[str, str], outcomes: Iterable[tuple[str, Outcome]]) -> None:
    """Write down how clips of a file ended."""
    for clip_id, outcome in outcomes:
        entry = Entry(
            clip_id, prints[clip_id], outcome.state, outcome.reason, outcome.seconds, outcome.answer, round(time.time(), 3),
            outcome.folder,
        )  # fmt: skip
        run.journal.add(entry)
        run.counts.add(outcome.state, skipped=outcome.before)
        run.given_up += "was given up after" in outcome.reason
    run.under_way.end(next(iter(prints)))


def _outcomes(run: BatchRun, state: State[Outcomes], prints: Mapping[str, str]) -> Outcomes:
    """What a task tells of its clips; where it broke off, that of all of them, and none where it was asked to stop."""
    if state.is_completed():
        return state.result()
    error = state.result(raise_on_failure=False)
    if isinstance(error, ClipFailed):
        return error.outcomes
    if isinstance(error, Interrupted):
        return []
    if isinstance(error, ProcessDied):
        return [(clip_id, Outcome("failed", BLAMED)) for clip_id in prints]
    if isinstance(error, StorageError):
        run.plan.output.put(JOURNAL)  # which raises, and so ends the run, unless that clip alone could not be put there
    reason = sentence(error) if isinstance(error, Exception) else f"The task ended before its clip: {state.message}"
    return [(clip_id, Outcome("failed", reason)) for clip_id in prints]


def _check(run: BatchRun) -> None:
    """End the run where going on makes no sense."""
    if run.given_up >= MOST_GIVEN_UP:
        raise DyadError(
            f"{run.given_up} clips took too long and were given up; see whether the storage or the device hangs, "
            "then start the same command again: it goes on from here."
        )
    check_there(run.plan.output)
    if run.lost.is_set():
        raise DyadError(f"Another run has taken over {run.plan.output.address}; this one ends.")


def _tell(run: BatchRun, at_once: bool = False) -> None:
    """Tell the listeners, the progress artifact and status.csv how far the run is, each as often as it may be."""
    batch_progress.tell(run.counts)
    now = time.monotonic()
    if at_once or now - run.told >= PROGRESS_EVERY:
        run.artifact = publish_progress(run.artifact, run.clips.source, run.counts.share, run.counts.sentence())
        run.told = time.monotonic()
    if now >= run.next_status:
        run.journal.sync()
        try:
            write_status(run.plan.output, run.clips, run.journal)
            run.plan.output.put(JOURNAL)
        except StorageError as error:  # the next clip that is put there tells whether it has gone for good
            logger.warning("%s", error)
        except OSError as error:  # a disk that a clip has filled has room again when the clip has failed
            check_there(run.plan.output)
            logger.warning("status.csv is older than the run for now. %s", sentence(error))
        took = time.monotonic() - now
        run.next_status = time.monotonic() + max(STATUS_EVERY, 50 * took)  # never more than 2 % of the time


def finish(run: BatchRun) -> dict[str, int]:
    """Write what the data set gives as a whole; gives the counts. For a run that was asked to stop, Prefect's state of it."""
    run.journal.sync()
    run.plan.output.put(JOURNAL)
    run.counts.over = True
    batch_progress.tell(run.counts)
    if stop.requested.is_set():
        write_status(run.plan.output, run.clips, run.journal)
        return Cancelled(message=sentence(Interrupted()))  # type: ignore[return-value]
    clear_left_behind(run.plan.output.folder)  # of a cluster's processes that died
    summary = write_results(run.plan, run.clips, run.journal, run.counts)
    publish_progress(run.artifact, run.clips.source, run.counts.share, run.counts.sentence())
    publish_summary(summary)
    return dict(summary["clips"])
