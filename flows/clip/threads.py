"""One clip without a task a stage: the stages as plain functions in threads, in the order of the graph, with a time limit."""

import contextvars
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from data.errors import DyadError
from flows.clip.graph import NEEDS, before
from flows.clip.keys import stage_keys, stages_to_run
from flows.clip.run_stage import run_stage
from flows.clip.stages import Stage
from flows.job import Job
from flows.runtime import stop
from flows.runtime.errors import worth_retrying
from flows.runtime.events import Event, tell

DELAYS = (1.0, 5.0)
"""Seconds before a stage is tried again after a fault of storage that may pass."""
Result = TypeVar("Result")


class TooSlow(DyadError):
    """A clip took longer than it may."""


def run_stages(job: Job, stages: Mapping[str, Stage], seconds: float) -> dict[str, BaseException]:
    """Run what is not done yet, each stage in a thread of its own once those before it have ended; errors by stage.

    TooSlow after `seconds`: the threads are then on their own. They end at the next point where they look whether
    somebody still waits; one that hangs inside a library stays until the process ends.
    """
    keys = stage_keys(job)
    wanted = stages_to_run(job, keys)
    ended: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()
    errors: dict[str, BaseException] = {}
    over, running = set(stages) - wanted, set[str]()
    deadline, gone = time.monotonic() + seconds, threading.Event()
    for name in over:
        tell(Event(job.clip.clip_id, job.clip.path.name, name, "skipped", duration=job.clip.duration))
    while True:
        for name in _ready(stages, over, running, errors, job.captions):
            running.add(name)
            _start(name, gone, _attempt, stages[name], job, keys[name], ended)
        if not running:
            return errors
        try:
            name, error = ended.get(timeout=max(deadline - time.monotonic(), 0.0))
        except Empty:
            gone.set()
            late = ", ".join(sorted(running)).replace("_", " ")
            raise TooSlow(f"{job.clip.path} was given up after {seconds:.0f} s, during: {late}; see log.txt.") from None
        running.discard(name)
        over.add(name)
        if error is not None:
            errors[name] = error


def _ready(
    stages: Iterable[str], over: set[str], running: set[str], errors: dict[str, BaseException], captions: bool
) -> list[str]:
    """The stages that can start now. One that needs a failed stage is over without having run, with the error of that."""
    ready = []
    for name in stages:
        failed = [errors[needed] for needed in NEEDS[name] if needed in errors]
        if name in over or name in running:
            continue
        if failed:
            over.add(name)
            errors[name] = failed[0]
        elif over.issuperset(before(name, captions)):
            ready.append(name)
    return ready


def _start(name: str, gone: threading.Event, work: Callable[..., None], *arguments: Any) -> None:
    """Start a thread that knows what this one knows (Prefect's run, the clip's log), and by `gone` when nobody waits for it."""
    context = contextvars.copy_context()
    context.run(stop.abandoned.set, gone)
    # A daemon: a stage that hangs must not keep the process from ending.
    threading.Thread(target=context.run, args=(work, *arguments), name=name, daemon=True).start()


def _attempt(stage: Stage, job: Job, key: str, ended: "SimpleQueue[tuple[str, BaseException | None]]") -> None:
    """Run a stage; again after a pause when a fault of storage may have passed."""
    for delay in (*DELAYS, None):
        try:
            run_stage(stage, job, key)
            return ended.put((stage.name, None))
        except BaseException as error:
            if delay is None or not worth_retrying(error):
                return ended.put((stage.name, error))
            time.sleep(delay)
    return None


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What `work` returns, computed in a thread of its own; TooSlow when that takes longer."""
    ended: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    gone = threading.Event()

    def run() -> None:
        try:
            ended.put((True, work()))
        except BaseException as error:
            ended.put((False, error))

    _start("clip", gone, run)
    try:
        well, result = ended.get(timeout=seconds)
    except Empty:
        gone.set()
        raise TooSlow(f"It was given up after {seconds:.0f} s; is its storage still there?") from None
    if not well:
        raise result
    answer: Result = result
    return answer
