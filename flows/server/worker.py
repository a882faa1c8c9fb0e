"""Dyad's worker, `python -P -m flows.server.worker NAME LIMIT`: Prefect's process worker for Dyad's own flows and nothing else.

A deployment may name code of its own (steps that fetch it, a file, a storage), and a run a command, an environment, a folder;
Prefect's worker executes all of them. Ours takes them from nobody: what a run executes lies where Dyad is installed.
"""

import asyncio
import os
import sys
from abc import ABC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS, PREFECT_WORKER_PREFETCH_SECONDS
from prefect.utilities.processutils import command_to_string, setup_signal_handlers_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from data.errors import InputError
from data.terminal import guarded
from flows.server.client import POOL, REFUSED
from flows.server.deployments import DeploymentOptions, deployments

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

RUN = [sys.executable, "-P", "-m", "flows.server.run_process"]


class OwnWorker(ProcessWorker, ABC):  # an ABC, since Prefect registers other subclasses in place of its own worker
    """A process worker for runs of Dyad's deployments."""

    async def run(
        self, flow_run: "FlowRun", configuration: ProcessJobConfiguration, task_status: Any = None
    ) -> ProcessWorkerResult:
        """Run it in a process of our own making; InputError, which Prefect notes as a crash, when its code is not Dyad's."""
        if flow_run.deployment_id is None:
            raise InputError(f"{REFUSED} deployments only.")
        check_own(await self.client.read_deployment(flow_run.deployment_id))
        configuration.command, configuration._command_configured = command_to_string(RUN), True
        configuration.env = {}  # Prefect adds the worker's own environment and its settings
        return await super().run(flow_run, configuration, task_status)

    async def _submit_run(self, flow_run: "FlowRun") -> None:
        """As Prefect's, which keeps the place of a run whose deployment has gone, so that the worker takes no other any more."""
        try:
            if flow_run.deployment_id:
                await self.client.read_deployment(flow_run.deployment_id)
        except ObjectNotFound:
            self._release_limit_slot(flow_run.id)
        await super()._submit_run(flow_run)


def check_own(deployment: "DeploymentResponse") -> None:
    """InputError unless the deployment names one of Dyad's flows by its module and brings no code of its own."""
    if deployment.entrypoint not in {offer.entrypoint for offer in deployments(DeploymentOptions(Path()))}:
        raise InputError(f"{REFUSED} Dyad's flows only, not {deployment.entrypoint}; give it a work pool of its own.")
    if deployment.pull_steps or deployment.storage_document_id:
        raise InputError(f"{REFUSED} no pull steps and fetches no code; leave them out of the deployment.")


async def _work(name: str, limit: int) -> None:
    setup_signal_handlers_worker(os.getpid(), f"the worker {name}", print)
    worker = OwnWorker(
        work_pool_name=POOL,
        name=name,
        limit=limit,
        create_pool_if_not_found=False,
        prefetch_seconds=PREFECT_WORKER_PREFETCH_SECONDS.value(),
        heartbeat_interval_seconds=int(PREFECT_WORKER_HEARTBEAT_SECONDS.value()),
    )
    await worker.start()


if __name__ == "__main__":
    with guarded():
        asyncio.run(_work(sys.argv[1], int(sys.argv[2])))
