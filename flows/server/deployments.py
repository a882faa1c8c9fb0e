"""Deployments: what the server offers to start, by hand, by the clock, or by an event; `dyad deploy` and `dyad up` make them."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.errors import InputError
from flows.server.client import LANDED, POOL


@dataclass(frozen=True)
class Offer:
    """One deployment: its flow as a module path, when it runs by itself, and what its parameters are unless given."""

    name: str
    entrypoint: str
    cron: str = ""
    active: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    event: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Wanted:
    """What the user asks of the deployments; None keeps what the server has."""

    folder: Path
    manifest: Path | str | None = None
    output: Path | str | None = None
    cron: str | None = None
    timezone: str | None = None


def offers(wanted: Wanted) -> tuple[Offer, ...]:
    """The deployments, with absolute paths for this folder."""
    output = str(wanted.output or wanted.folder / "runs")
    nightly = {"output": output} | ({"manifest": str(wanted.manifest)} if wanted.manifest else {})
    return (
        Offer("recognise-video", "flows.video.recognise_video", parameters={"output": output}, event=LANDED),
        Offer(
            "recognise-dataset", "flows.dataset.recognise_dataset", wanted.cron or "0 2 * * *", wanted.manifest is not None,
            nightly, alone=True,
        ),
        Offer("train", "flows.training.train", parameters={"output": str(wanted.folder / "weights")}),
        Offer("retention", "flows.retention.retention", "30 4 * * *", True, {"outputs": [output]}, alone=True),
    )  # fmt: skip


def deploy(wanted: Wanted, url: str = "") -> list[str]:
    """Create the deployments and their work pool, or bring them up to date; returns the deployments' names.

    Parameters and schedules that the server has and `wanted` does not name stay as they are. The server is the one
    at `url`, else the one that Prefect is set to.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url} if url else {}):
        _make_pool()
        return [_deploy(offer, wanted) for offer in offers(wanted) if _is_here(offer)]


def _is_here(offer: Offer) -> bool:
    return importlib.util.find_spec(offer.entrypoint.rpartition(".")[0]) is not None


def _make_pool() -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    about = "Processes on the machines where 'dyad up' or 'dyad worker' runs."
    pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template, description=about)
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return  # it stays as it is: its limits are the user's


def _deploy(offer: Offer, wanted: Wanted) -> str:
    from prefect.types.entrypoint import EntrypointType

    module, _, name = offer.entrypoint.rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    before = _existing(f"{flow.name}/{offer.name}")
    kept = before.parameters if before else {}
    given = _given(offer, wanted, bool(before))
    deployment = flow.to_deployment(
        name=offer.name,
        parameters={**offer.parameters, **kept, **given},
        schedules=_schedules(offer, wanted, bool(before)),
        triggers=_triggers(offer),
        concurrency_limit=_limit(offer),
        work_pool_name=POOL,
        job_variables={"working_dir": str(wanted.folder)},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply()
    return offer.name


def _existing(name: str) -> Any:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(name)
        except ObjectNotFound:
            return None


def _given(offer: Offer, wanted: Wanted, exists: bool) -> dict[str, Any]:
    """The parameters that the user names now, which come before those that the server has."""
    named = {"output": wanted.output, "outputs": wanted.output, "manifest": wanted.manifest}
    return {name: value for name, value in offer.parameters.items() if named.get(name) is not None}


def _schedules(offer: Offer, wanted: Wanted, exists: bool) -> Sequence[Any] | None:
    """The schedule of an offer that has one; None leaves what the server has."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    asked = offer.name == "recognise-dataset" and (wanted.cron or wanted.manifest or wanted.timezone)
    if not offer.cron or exists and not asked:
        return None
    try:
        cron = CronSchedule(cron=offer.cron, timezone=wanted.timezone or "UTC")
    except ValueError as error:
        raise InputError(f"--cron '{offer.cron}' with --timezone '{wanted.timezone or 'UTC'}' is no schedule: {error}") from error
    return [DeploymentScheduleCreate(schedule=cron, active=offer.active, slug="by-the-clock")]


def _triggers(offer: Offer) -> list[Any]:
    """An automation that starts the deployment on the event's file."""
    from prefect.events import DeploymentEventTrigger

    if not offer.event:
        return []
    video = {"video": {"__prefect_kind": "jinja", "template": "{{ event.payload.path }}"}}
    return [DeploymentEventTrigger(name=f"{offer.name} when a file lands", expect={offer.event}, parameters=video)]


def _limit(offer: Offer) -> Any:
    """One run at a time where two would do the same work: the next is cancelled, not queued."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    return ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW) if offer.alone else None
