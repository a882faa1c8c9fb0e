"""Retention: old run folders and old Prefect history go, by a policy that the parameters state."""

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from pydantic import Field

from data.run_folder import RunFolder, is_run_folder
from flows.server.deployments import DeploymentOptions, deployments
from flows.server.lost_runs import FlowRun

FLOWS = tuple(deployment.name for deployment in deployments(DeploymentOptions(Path())))
"""The flows whose history is Dyad's to prune; those of others on the same server are left alone."""
DAY = 86400.0
PAGE = 50
"""As many runs as the server deletes at once."""


@dataclass(frozen=True)
class Pruned:
    """What was removed (or would be): how many there were, how many went, megabytes, and the names of what went."""

    what: str
    seen: int = 0
    removed: int = 0
    megabytes: float = 0.0
    names: tuple[str, ...] = ()


@flow(name="retention", flow_run_name="retention", persist_result=False)
def retention(
    outputs: list[Path],
    days: Annotated[int, Field(ge=1)] = 30,
    keep_last: Annotated[int, Field(ge=0)] = 100,
    history_days: Annotated[int, Field(ge=1)] = 30,
    history_keep_last: Annotated[int, Field(ge=0)] = 50,
    dry_run: bool = False,
) -> str:
    """Remove run folders and runs in Prefect's history that are older than the policy allows; returns a sentence.

    That of a dry run is followed by the run folders that would go, a line each.

    What is under way is never removed, nor a folder that is no run folder.

    Args:
        outputs: Folders that hold run folders.
        days: A run folder goes when nothing in it has changed for so many days.
        keep_last: The newest run folders of each output stay whatever their age.
        history_days: A run of Dyad's flows goes from Prefect's history, with its logs and artifacts, so many days after its end.
        history_keep_last: The last finished runs of each flow stay whatever their age.
        dry_run: Remove nothing; say what would be.
    """
    done = [prune_folders(Path(output), days, keep_last, dry_run) for output in outputs]
    done += [prune_history(name, history_days, history_keep_last, dry_run) for name in FLOWS]
    sentence = _sentence(done, dry_run)
    create_markdown_artifact(_summary(done, sentence, days, keep_last, history_days, history_keep_last), key="retention")
    get_run_logger().info(sentence)
    folders = [f"{output}/{name}" for output, item in zip(outputs, done, strict=False) for name in item.names]
    return "\n".join([sentence, *folders]) if dry_run else sentence


@task(name="run-folders", task_run_name="run folders · {output}", cache_policy=NO_CACHE, persist_result=False)
def prune_folders(output: Path, days: int, keep_last: int, dry_run: bool) -> Pruned:
    """Remove the run folders of one output that are old enough, and from old ones that stay what faces are recognised by."""
    if not output.is_dir():
        return Pruned(f"run folders in {output}")
    for remains in [] if dry_run else output.glob(".*.pruned-*"):
        shutil.rmtree(remains, ignore_errors=True)  # of a retention run that was cut off
    folders = sorted(run_folders(output), key=last_change, reverse=True)
    old = [folder for folder in folders[keep_last:] if is_old(folder, days)]
    if not dry_run:
        for folder in folders[:keep_last]:
            if is_old(folder, days):
                RunFolder(folder).face_looks.unlink(missing_ok=True)
    sizes = {folder: _bytes(folder) for folder in old}
    gone = old if dry_run else [folder for folder in old if remove_folder(folder, days)]
    megabytes = sum(sizes[folder] for folder in gone) / 1e6
    return Pruned(f"run folders in {output}", len(folders), len(gone), megabytes, tuple(folder.name for folder in gone))


def run_folders(output: Path) -> Iterator[Path]:
    """The run folders in `output`, whatever their names; hidden folders are none, since no clip's id begins with a dot."""
    yield from (folder for folder in output.iterdir() if not folder.name.startswith(".") and is_run_folder(folder))


def last_change(folder: Path) -> float:
    """When something in a run folder last changed, s since 1970; a run that is under way changes it with every stage."""
    folders = (folder, folder / ".stages", folder / "work")
    files = [file for one in folders if one.is_dir() for file in (one, *one.iterdir())]
    return max((file.lstat().st_mtime for file in files if file.exists()), default=time.time())


def is_old(folder: Path, days: int) -> bool:
    """Whether nothing in the folder has changed for so many days; times that lie in the future count as now."""
    return last_change(folder) < time.time() - days * DAY


def remove_folder(folder: Path, days: int) -> bool:
    """Remove a run folder that is still old; it disappears at once, so that nobody finds half of it."""
    aside = folder.with_name(f".{folder.name}.pruned-{uuid.uuid4().hex[:8]}")
    if not is_old(folder, days):
        return False
    folder.rename(aside)
    shutil.rmtree(aside)
    return True


def _bytes(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


@task(name="history", task_run_name="history · {flow_name}", cache_policy=NO_CACHE, persist_result=False)
def prune_history(flow_name: str, days: int, keep_last: int, dry_run: bool) -> Pruned:
    """Remove the finished runs of one flow that ended long ago, with their task runs, logs and artifacts."""
    before = datetime.now(UTC) - timedelta(days=days)
    with get_client(sync_client=True) as client:
        runs = list(_finished(client, flow_name))
        old = [run for run in runs[keep_last:] if datetime.fromisoformat(run["end_time"]) < before]
        for first in range(0, 0 if dry_run else len(old), PAGE):
            _delete_runs(client, [run["id"] for run in old[first : first + PAGE]])
    return Pruned(f"runs of {flow_name} in Prefect's history", len(runs), len(old), 0.0, tuple(run["name"] for run in old))


def _finished(client: SyncPrefectClient, flow_name: str) -> Iterator[FlowRun]:
    """Finished runs of a flow, the last first."""
    states = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
    question = {
        "flows": {"name": {"any_": [flow_name]}}, "flow_runs": {"state": {"type": {"any_": states}}},
        "sort": "END_TIME_DESC", "limit": 200,
    }  # fmt: skip
    offset = 0
    while page := client.request("POST", "/flow_runs/filter", json={**question, "offset": offset}).json():
        yield from (run for run in page if run["end_time"])
        offset += len(page)


def _delete_runs(client: SyncPrefectClient, runs: Sequence[str]) -> None:
    """Delete runs and their artifacts; the server removes their task runs and logs with them."""
    of_runs = {"artifacts": {"flow_run_id": {"any_": list(runs)}}, "limit": 200}
    while artifacts := client.request("POST", "/artifacts/filter", json=of_runs).json():
        for artifact in artifacts:
            client.request("DELETE", "/artifacts/{id}", path_params={"id": artifact["id"]})
    chosen = {"flow_runs": {"id": {"any_": list(runs)}}, "limit": PAGE}
    client.request("POST", "/flow_runs/bulk_delete", json=chosen)  # type: ignore[arg-type]


def _sentence(done: Sequence[Pruned], dry_run: bool) -> str:
    folders = [item for item in done if item.what.startswith("run folders")]
    history = [item for item in done if not item.what.startswith("run folders")]
    verb = "would be removed" if dry_run else "removed"
    megabytes = sum(item.megabytes for item in folders)
    return (
        f"{sum(item.removed for item in folders)} of {sum(item.seen for item in folders)} run folders ({megabytes:.1f} MB) "
        f"and {sum(item.removed for item in history)} of {sum(item.seen for item in history)} finished runs {verb}."
    )


def _summary(
    done: Sequence[Pruned], sentence: str, days: int, keep_last: int, history_days: int, history_keep_last: int
) -> str:
    rows = [
        f"| {item.what} | {item.seen} | {item.removed} | {item.megabytes:.1f} | {', '.join(item.names[:20])} |" for item in done
    ]
    policy = (
        f"Policy: run folders untouched for {days} days, the newest {keep_last} kept; finished runs older than "
        f"{history_days} days, the last {history_keep_last} of each flow kept."
    )
    heads = ("| what | there | removed | MB | first ones |", "|---|---|---|---|---|")
    return "\n".join((f"# {sentence}", "", policy, "", *heads, *rows))
