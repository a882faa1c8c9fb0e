"""Deployments: what the server offers to start, by hand, by the clock, or by an event; `dyad deploy` and `dyad up` make them."""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError
from flows.server.client import LANDED, POOL
from flows.server.password import password_for

if TYPE_CHECKING:
    from prefect.client.schemas.actions import DeploymentScheduleCreate


@dataclass(frozen=True)
class DeploymentOptions:
    """What the user asks of the deployments; None keeps what the server has."""

    folder: Path
    manifest: Path | str | None = None
    output: Path | str | None = None
    cron: str | None = None
    timezone: str | None = None
    allow_remote: Sequence[str] | None = None
    root: Path | str | None = None


@dataclass(frozen=True)
class Deployment:
    """A flow that the server offers to start.

    name: its name, which is also that of its flow; entrypoint: the flow as a module path.
    parameters: what they are at first; given: those that the user names now, which go before what the server has.
    cron, active: when it runs by itself, and whether it does from the start; reschedule: the user asks for another time now.
    event: the event that starts it on a file; alone: one run at a time, since two would do the same work.
    """

    name: str
    entrypoint: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    given: Mapping[str, object] = field(default_factory=dict)
    cron: str = ""
    active: bool = True
    reschedule: bool = False
    event: str = ""
    alone: bool = False


def deployments(options: DeploymentOptions) -> tuple[Deployment, ...]:
    """All deployments, with absolute paths for the folder of the options: a new one is an entry here."""
    runs, weights = str(options.folder / "runs"), str(options.folder / "weights")
    output = {"output": str(options.output)} if options.output else {}
    manifest: dict[str, object] = {"manifest": str(options.manifest)} if options.manifest else {}
    manifest |= {"root": str(options.root)} if options.root else {}
    manifest |= {} if options.allow_remote is None else {"allow_remote": list(options.allow_remote)}
    return (
        Deployment("recognise-video", "flows.video.recognise_video", {"output": runs}, output, event=LANDED),
        Deployment(
            "recognise-dataset",
            "flows.dataset.recognise_dataset",
            {"output": runs},
            output | manifest,
            cron=options.cron or "0 2 * * *",
            active=options.manifest is not None,
            reschedule=bool(options.cron or options.manifest or options.timezone),
            alone=True,
        ),
        Deployment("train", "flows.training.train", {"output": weights}),
        Deployment(
            "retention",
            "flows.retention.retention",
            {"outputs": [runs]},
            {"outputs": [output["output"]]} if output else {},
            cron="30 4 * * *",
            alone=True,
        ),
    )


def deploy(options: DeploymentOptions, url: str = "") -> list[str]:
    """Create the deployments and their work pool, or bring them up to date; returns the deployments' names.

    Parameters and schedules that the server has and `options` does not name stay as they are. The server is the one
    at `url`, else the one that Prefect is set to.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    password = password_for(url)
    named = ({PREFECT_API_URL: url} if url else {}) | ({PREFECT_API_AUTH_STRING: password} if url and password else {})
    with temporary_settings(named):
        _make_pool(options.folder)
        here = [one for one in deployments(options) if importlib.util.find_spec(one.entrypoint.rpartition(".")[0])]
        return [_deploy(one, options) for one in here]


def _make_pool(folder: Path) -> None:
    """Create the work pool whose runs begin in `folder`; one that is there keeps its limits, which are the user's."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = fixed_template(ProcessWorker.get_default_base_job_template(), folder)
    about = "Processes on the machines where 'dyad up' or 'dyad worker' runs."
    pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template, description=about)
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            if client.read_work_pool(POOL).base_job_template != template:
                client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))


def fixed_template(template: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A pool's template in which neither command nor environment nor working folder come from the `job_variables` of a run.

    Each of them would have the worker execute what the run says. Runs begin in `folder`.
    """
    fixed = ("command", "env", "working_dir")
    configuration = {name: told for name, told in template["job_configuration"].items() if name not in fixed}
    variables = {**template["variables"]}
    variables["properties"] = {name: told for name, told in variables["properties"].items() if name not in fixed}
    return {**template, "job_configuration": configuration | {"working_dir": str(folder)}, "variables": variables}


def _deploy(deployment: Deployment, options: DeploymentOptions) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.events import DeploymentEventTrigger
    from prefect.exceptions import ObjectNotFound
    from prefect.types.entrypoint import EntrypointType

    module, _, name = deployment.entrypoint.rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    with get_client(sync_client=True) as client:
        try:
            there = client.read_deployment_by_name(f"{flow.name}/{deployment.name}").parameters
        except ObjectNotFound:
            there = None
    # What would do the same work as the run before it is cancelled, not queued.
    alone = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    triggers = []
    if deployment.event:
        video = {"video": {"__prefect_kind": "jinja", "template": "{{ event.payload.path }}"}}
        title = f"{deployment.name} when a file lands"
        triggers = [DeploymentEventTrigger(name=title, expect={deployment.event}, parameters=video)]
    flow.to_deployment(
        name=deployment.name,
        parameters={**deployment.parameters, **(there or {}), **deployment.given},
        schedules=_schedules(deployment, options.timezone or "UTC", is_new=there is None),
        triggers=triggers,
        concurrency_limit=alone if deployment.alone else None,
        work_pool_name=POOL,
        entrypoint_type=EntrypointType.MODULE_PATH,
    ).apply()
    return deployment.name


def _schedules(deployment: Deployment, timezone: str, is_new: bool) -> "list[DeploymentScheduleCreate] | None":
    """The schedule of a deployment that has one; None leaves what the server has."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    if not deployment.cron or not (is_new or deployment.reschedule):
        return None
    try:
        cron = CronSchedule(cron=deployment.cron, timezone=timezone)
    except ValueError as error:
        raise InputError(f"--cron '{deployment.cron}' with --timezone '{timezone}' is no schedule: {error}") from error
    return [DeploymentScheduleCreate(schedule=cron, active=deployment.active, slug="by-the-clock")]
