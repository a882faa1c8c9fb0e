"""A data set on a Dask cluster: the tasks of clips run in its processes; flow, run folders and journal are the same.

Needs the extra `dask`. A process that dies is no loss: the cluster gives its clips to others, and only the flow's own process
writes down that a clip has ended.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import distributed
from distributed.client import FutureCancelledError
from prefect.states import Failed
from prefect.utilities.annotations import quote
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from data.errors import DyadError, InputError

logger = logging.getLogger(__name__)
LOCAL = "local"
"""The place that means a cluster of this machine's own, which lasts as long as the run."""
LOOK = 5.0
"""Seconds from one look at the cluster to the next."""
SENDING = 10.0
"""Seconds that a process of the cluster may take at the end to send what the Prefect server shall know."""
EMPTY = 120.0
"""Seconds after which a cluster without any process ends the run."""


class ClusterGone(DyadError):
    """The cluster's scheduler, or all of its processes, do not answer any more."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; see that it runs, then start the same command again: it goes on from here.")


class ClipsFuture(PrefectDaskFuture[Any]):
    """A task of the cluster; it has a state of its own also where the processes that ran it died."""

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended; ClusterGone when nobody knows any more how it ended."""
        try:
            self._final_state = self.wrapped_future.result(timeout=timeout)
        except distributed.TimeoutError:
            return
        except distributed.KilledWorker as error:
            self._final_state = Failed(message="Its processes died.", data=DyadError(
                f"The process that worked on this clip died, each of {error.allowed_failures + 1} times, as it does when the "
                "memory is used up; --retry-failed tries it again."
            ))  # fmt: skip
        except (FutureCancelledError, OSError) as error:
            raise ClusterGone("The scheduler of the Dask cluster does not answer any more") from error


class DaskClips(DaskTaskRunner):
    """Submits clips to a Dask cluster, as many at once as its processes have threads.

    None waits in a process behind another: a process that dies is blamed on all that it had.
    """

    _looked = _seen = 0.0
    _room = 1

    def submit(self, task: Any, parameters: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Submit a task; what its parameters quote is sent bare, since Dask takes quotes for the tuples that they are."""
        bare = {name: value.unwrap() if isinstance(value, quote) else value for name, value in parameters.items()}
        future = super().submit(task, bare, *arguments, **options)
        return ClipsFuture(future.task_run_id, future.wrapped_future)

    def room(self) -> int:
        """Clips that may be under way now; ClusterGone when the cluster has had no process for a while."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return self._room
        try:
            threads: dict[str, int] = self.client.nthreads()  # type: ignore[no-untyped-call]
        except (OSError, distributed.TimeoutError) as error:
            raise ClusterGone("The scheduler of the Dask cluster does not answer any more") from error
        self._seen = now if threads or not self._looked else self._seen
        self._looked, self._room = now, max(1, sum(threads.values()))
        if now - self._seen > EMPTY:
            raise ClusterGone("The Dask cluster has had no process for two minutes")
        return self._room

    def __exit__(self, *error: Any) -> None:
        """Leave the cluster, once its processes have sent what Prefect's server shall know.

        Prefect also enters a runner around each task in the cluster's processes; those have no client, and nothing to end.
        """
        try:
            if self._client is not None:
                self._client.run(_all_sent, on_error="ignore")
        except (OSError, RuntimeError, ValueError, distributed.TimeoutError) as lost:
            logger.warning("The last logs of the Dask cluster may be missing in Prefect: %s", lost)
        super().__exit__(*error)


async def _all_sent() -> None:
    """In a process of the cluster: send the states and logs that still wait."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    senders: tuple[Any, ...] = (EventsWorker, APILogWorker)
    for sender in senders:
        await sender.drain_all(timeout=SENDING)


def runner(place: str, workers: int | None) -> DaskClips:
    """The runner for a scheduler's address, or for a cluster of `workers` processes on this machine (half the cores)."""
    if place != LOCAL:
        return DaskClips(address=place)
    processes = workers or max(2, (os.cpu_count() or 2) // 2)
    # Dask's own limit of memory would end processes that merely hold large models.
    options = {"n_workers": processes, "threads_per_worker": 1, "processes": True, "memory_limit": 0, "dashboard_address": None}
    return DaskClips(cluster_class=distributed.LocalCluster, cluster_kwargs=options)


@contextlib.contextmanager
def connected(place: str, workers: int | None) -> Iterator[DaskClips]:
    """A runner whose cluster answers; InputError in a sentence where it does not."""
    made = runner(place, workers)
    if place != LOCAL:
        _try(place)
    with _server():
        yield made


def _try(place: str) -> None:
    try:
        with distributed.Client(place, timeout=5, set_as_default=False):  # type: ignore[no-untyped-call]
            pass
    except (OSError, ValueError, distributed.TimeoutError) as error:
        said = f"--dask {place}: no Dask scheduler answers there ({error}); start one with 'dask scheduler', or say 'local'."
        raise InputError(said) from error


@contextlib.contextmanager
def _server() -> Iterator[None]:
    """Have the cluster's processes use the temporary server, where there is no other; they would start one each."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.server.prefect_setup import has_server, start_temporary_server

    if has_server():
        yield
        return
    start_temporary_server()
    with temporary_settings({PREFECT_API_URL: SubprocessASGIServer().api_url}):
        yield
