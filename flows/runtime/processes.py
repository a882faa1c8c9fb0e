"""Work in processes of their own on this machine, a piece at a time each, since of the threads of one process Python lets only
one compute at a time.

Where the system allows it they are forked from a process that has imported what they need, so that each of them begins at once
and they share that memory. What happens in one of them (progress, log) is told in the process that waits for it; that one says
when to stop, and when it ends, however it does, they end at once, so that nobody writes to an output that it has let go.
"""

import atexit
import copy
import logging
import logging.handlers
import os
import pickle
import signal
import sys
import threading
import types
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar, cast

from data.errors import DyadError
from flows.runtime import events, stop
from flows.runtime.errors import Interrupted, sentence
from flows.runtime.events import PACKAGES, Event, listening

Result = TypeVar("Result")
Given = ParamSpec("Given")
FORKS = sys.platform == "linux"
"""Elsewhere the systems' own libraries do not bear it."""
LOOK = 0.2
"""Seconds from one look for a request to stop to the next."""
TO_END = 10.0
"""Seconds that a process may take to end."""


class ProcessDied(DyadError):
    """The process ended before its work did."""


class Processes:
    """As many processes as there is work at once, each started when none is free, and kept until the block ends.

    preload: modules to import before others are forked.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = list(preload)
        self._all, self._free = list[_Process](), list[_Process]()
        self._guard = threading.Lock()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *error: object) -> None:
        """End them: those that wait for work do what is done at an end, others end at once."""
        for process in self._all:
            process.connection.close()
        for process in self._all:
            process.handle.join(TO_END)

    def run(self, work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """What `work` returns or raises in a process; ProcessDied when that dies, Interrupted when it does after a request to
        stop. Function, arguments and result must be such that they can be pickled."""
        process = self._taken()
        result = process.run(work, given, named)
        with self._guard:
            self._free.append(process)
        if isinstance(result, BaseException):
            raise result
        return cast(Result, result)

    def _taken(self) -> "_Process":
        with self._guard:
            if self._free:
                return self._free.pop()
            self._all = [process for process in self._all if not process.connection.closed]
            self._all.append(_started(self._preload))
            return self._all[-1]


class _Process:
    """A process, and the connection to it, used by one thread at a time."""

    def __init__(self, handle: BaseProcess, connection: "Connection[Any, Any]") -> None:
        self.handle, self.connection, self._told = handle, connection, False

    def run(self, *work: object) -> object:
        """What a piece of work returned, or the error that it raised."""
        try:
            self.connection.send(("work", work))
            while True:
                if stop.requested.is_set() and not self._told:
                    self._told = True
                    self.connection.send(("stop", None))
                if self.connection.poll(LOOK):
                    kind, content = self.connection.recv()
                    if kind == "ended":
                        return content
                    function, given, waits = content
                    answer = function(*given)
                    if waits:
                        self.connection.send(("answer", answer))
        except (EOFError, OSError):
            self.connection.close()
            self.handle.join(TO_END)
            if stop.requested.is_set():
                raise Interrupted from None
            raise ProcessDied(f"The process that worked on it died ({_how(self.handle.exitcode)}).") from None


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"


def _started(preload: list[str]) -> _Process:
    context: ForkServerContext | SpawnContext = ForkServerContext() if FORKS else SpawnContext()
    context.set_forkserver_preload(preload)
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), name="clips", daemon=True)
    # The program that started this one is none of theirs: without this each would run a script of the user again.
    main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    try:
        resource_tracker.ensure_running()  # when it is started it lets SIGINT through again
        with stop.kept_from_children(signal.SIGINT, signal.SIGTERM):
            process.start()
    finally:
        sys.modules["__main__"] = main
    there.close()
    return _Process(process, here)


# ---- in the processes ----------------------------------------------------------------------------------------------------

_asking: "_Asking | None" = None


def where_it_is_waited_for(function: Callable[..., None], *given: object) -> None:
    """Call a function in the process that waits for this work, and wait until it has returned; here, where that is this one."""
    if _asking is None:
        function(*given)
    else:
        _asking.ask(function, given)


class _Asking:
    """What a process tells the one that waits for it."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection, self._sends, self._asks = connection, threading.Lock(), threading.Lock()
        self.answers: SimpleQueue[object] = SimpleQueue()

    def send(self, kind: str, content: object) -> None:
        """Send a message; where nobody is there any more, end at once."""
        message = pickle.dumps((kind, content))
        with self._sends:
            try:
                self._connection.send_bytes(message)
            except OSError:
                os._exit(1)

    def ask(self, function: Callable[..., None], given: tuple[object, ...]) -> None:
        """Have a function called there, and wait for it."""
        with self._asks:
            self.send("call", (function, given, True))
            self.answers.get()

    def tell(self, function: Callable[..., None], what: object) -> None:
        """Have a function called there."""
        self.send("call", (function, (what,), False))


class _Log(logging.handlers.QueueHandler):
    """Hands each record to the process that waits for this work."""

    def enqueue(self, record: logging.LogRecord) -> None:
        asking: _Asking = cast(Any, self.queue)
        asking.tell(_logged, record)


def _happened(event: Event) -> None:
    events.tell(event)


def _logged(record: logging.LogRecord) -> None:
    logging.getLogger(record.name).handle(record)


def _serve(connection: "Connection[Any, Any]") -> None:
    """Do what is asked until nobody asks any more."""
    global _asking
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the process that waits for this one says when to stop
    asking = _asking = _Asking(connection)
    for package in PACKAGES:
        logging.getLogger(package).addHandler(_Log(cast(Any, asking)))
        logging.getLogger(package).setLevel(logging.INFO)
    work: SimpleQueue[Any] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(connection, work, asking, busy), daemon=True).start()

    def told(event: Event) -> None:
        asking.tell(_happened, event)

    with listening(told):
        while (asked := work.get()) is not None:
            asking.send("ended", _outcome(*asked))
            busy.clear()
    atexit._run_exitfuncs()  # multiprocessing leaves them out


def _listen(connection: "Connection[Any, Any]", work: "SimpleQueue[Any]", asking: _Asking, busy: threading.Event) -> None:
    """Take what comes; without the process that asks, this one ends: at once when it is at work, whatever that is doing."""
    while True:
        try:
            kind, content = connection.recv()
        except (EOFError, OSError):
            if busy.is_set():
                os._exit(1)
            return work.put(None)
        if kind == "work":
            busy.set()
            work.put(content)
        elif kind == "stop":
            stop.requested.set()
        else:
            asking.answers.put(content)


def _outcome(function: Callable[..., object], given: tuple[object, ...], named: dict[str, object]) -> object:
    try:
        return function(*given, **named)
    except BaseException as error:
        return _portable(error)


def _portable(error: BaseException) -> BaseException:
    """The error, or where another process could not read it, its sentence."""
    try:
        pickle.dumps(error)
        copy.copy(error)  # as it is made anew there
    except Exception:
        return DyadError(sentence(error) if isinstance(error, Exception) else repr(error))
    return error
