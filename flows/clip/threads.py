"""Stages as plain functions in threads, and any work within a time limit."""

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from flows.clip.runner import RETRY_DELAYS, TooSlow, Turn, WhenEnded
from flows.runtime import stop
from flows.runtime.errors import worth_retrying

Result = TypeVar("Result")


def in_thread(turn: Turn, ended: WhenEnded) -> None:
    """Begin a stage in a thread of its own; one that is done or blocked needs none."""
    if turn.done:
        turn.run()
    if turn.done or turn.blocked is not None:
        ended(turn.blocked)
    else:
        _start(turn.stage.name, lambda: _attempt(turn, ended))


def _attempt(turn: Turn, ended: WhenEnded) -> None:
    """Run a stage; again after a pause when an error of storage may have passed."""
    for delay in (*RETRY_DELAYS, None):
        try:
            turn.run()
            return ended(None)
        except BaseException as error:
            if delay is None or not worth_retrying(error):
                return ended(error)
            time.sleep(delay)
    return None


def _start(name: str, work: Callable[[], None]) -> None:
    """Start a thread that knows what this one knows: Prefect's run, the clip's log, who may give it up."""
    # A daemon: a stage that hangs must not keep the process from ending.
    threading.Thread(target=contextvars.copy_context().run, args=(work,), name=name, daemon=True).start()


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What `work` returns, computed in a thread of its own; TooSlow when that takes longer."""
    result: Future[Result] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    with stop.until_given_up() as give_up:
        _start("clip", run)
        wait([result], seconds)
        if not result.done():
            give_up.set()
            raise TooSlow(f"It was given up after {seconds:.0f} s; is its storage still there?")
    return result.result()
