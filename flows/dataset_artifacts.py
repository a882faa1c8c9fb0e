"""What the Prefect UI shows of a data set's run: a progress bar that moves, and at the end the summary."""

import base64
import logging
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from flows.artifacts import artifact_key
from reports.dataset import confusion_picture, dataset_markdown, main_figures

logger = logging.getLogger(__name__)
ANSWER, ANSWER_AT_END = 2.0, 15.0
"""Seconds in which a server must answer to be told of the progress, and of the summary."""


def server_answers(seconds: float = ANSWER) -> bool:
    """Whether this run's server answers now: Prefect asks one that does not for a minute, for which every clip would wait."""
    import httpx
    from prefect.context import FlowRunContext, TaskRunContext

    context = TaskRunContext.get() or FlowRunContext.get()
    if context is None:
        return True
    try:
        return httpx.get(f"{str(context.client.api_url).rstrip('/')}/health", timeout=seconds).is_success
    except httpx.HTTPError:
        return False


def publish_progress(artifact: UUID | None, manifest: str, share: float, text: str) -> UUID | None:
    """Create the flow run's progress bar, or move it to `share` (0..1); a server that does not answer is no reason to stop."""
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    if not server_answers():
        return artifact
    try:
        if artifact is None:
            key = artifact_key("progress", _name(manifest))
            return cast(UUID, create_progress_artifact(100 * share, key=key, description=text))
        update_progress_artifact(artifact, progress=100 * share, description=text)
    except Exception as error:
        logger.warning("The progress could not be shown in Prefect: %s", error)
    return artifact


def publish_summary(summary: Mapping[str, Any]) -> None:
    """Create the artifact `dataset-<manifest>` (markdown) from the content of summary.json and, where there are labels,
    `confusion-<manifest>` (a picture)."""
    from prefect.artifacts import create_image_artifact, create_markdown_artifact

    name = _name(str(summary["manifest"]))
    if not server_answers(ANSWER_AT_END):
        logger.warning("The summary is not shown in Prefect: its server does not answer.")
        return
    try:
        create_markdown_artifact(dataset_markdown(summary), key=artifact_key("dataset", name), description=f"Data set {name}")
        if shown := main_figures(summary["metrics"]):
            picture = base64.b64encode(confusion_picture(shown[1], shown[0])).decode()
            told = f"Confusion of {shown[0]}, {name}"
            create_image_artifact(f"data:image/png;base64,{picture}", key=artifact_key("confusion", name), description=told)
    except Exception as error:
        logger.warning("The summary could not be shown in Prefect: %s", error)


def _name(manifest: str) -> str:
    return manifest.rstrip("/").rpartition("/")[2]
