"""What the Prefect UI shows of a clip and of a data set, as artifacts of their runs."""

import base64
import logging
import os
import re
from pathlib import Path
from typing import cast
from urllib.parse import quote
from uuid import UUID

from data.json_files import read_json
from data.run_folder import RunFolder
from reports.dataset.figures import confusion_picture, dataset_markdown, main_figures
from reports.documents import ResultDocument, SummaryDocument

logger = logging.getLogger(__name__)
ANSWER, ANSWER_AT_END = 2.0, 15.0
"""Seconds in which a server must answer to be told of the progress, and of the summary."""


def show_clip(folder: RunFolder) -> None:
    """The clip's result in Prefect's UI; a server that does not answer is no reason for the clip to fail."""
    if not server_answers():
        return
    try:
        publish_artifacts(folder)
    except Exception as error:
        logger.warning("The result could not be shown in Prefect: %s", error)


def publish_artifacts(folder: RunFolder) -> None:
    """Show a clip's result.json as artifacts of this task's run: `timeline-<clip>`, `windows-<clip>` and `result-<clip>`."""
    from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

    from reports.figure import small_picture
    from reports.markdown import result_markdown

    result: ResultDocument = read_json(folder.result)
    name, sentence = folder.root.name, result["summary"]["sentence"]
    image = base64.b64encode(small_picture(result)).decode()
    create_image_artifact(f"data:image/png;base64,{image}", key=artifact_key("timeline", name), description=sentence)
    create_table_artifact(window_rows(result), key=artifact_key("windows", name), description=f"The windows of {name}")
    markdown = f"{result_markdown(result)}\n{links_markdown(folder.root, Path(result['clip']['path']))}"
    create_markdown_artifact(markdown, key=artifact_key("result", name), description=sentence)


def window_rows(result: ResultDocument) -> list[dict[str, object]]:
    """A row a window (the first thousand): times, answer, how sure it is, blend, and what each modality gave to it."""
    from reports.answer import window_answer

    return [
        {
            "from": row["start"], "to": row["end"], "shown": (window_answer(row) or "–").replace("_", " "),
            "sureness": _rounded(row.get("sureness")), "blend": _rounded(row.get("blend")),
        } | {name.replace("_", " "): _rounded(row["contributions"].get(name)) for name in result["modalities"]}
        for row in result["windows"][:1000]
    ]  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def links_markdown(folder: Path, media: Path) -> str:
    """Where the files of a clip are: links where DYAD_LINKS tells the address of a folder, else paths.

    `DYAD_LINKS` is FOLDER=ADDRESS, several parted by spaces: `/data/runs=https://files.example/runs`. A browser follows no link
    from a page to a file of the machine, so paths are shown as text.
    """
    files = {"media": media, "run folder": folder, "result": RunFolder(folder).result, "log": RunFolder(folder).log}
    lines = (f"- {what}: {_link_or_path(path.absolute())}" for what, path in files.items())
    return "\n".join(("## Files", "", *lines, ""))


def _link_or_path(path: Path) -> str:
    from reports.markdown import escape

    for pair in os.environ.get("DYAD_LINKS", "").split():
        root, _, address = pair.partition("=")
        if address and path.is_relative_to(root):
            return f"[{escape(path.name)}]({address.rstrip('/')}/{quote(str(path.relative_to(root)))})"
    return escape(str(path))


def artifact_key(kind: str, name: str) -> str:
    """A key that Prefect accepts (lower case, digits, dashes) for `name`."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{kind}-{plain or 'clip'}"


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


def publish_summary(summary: SummaryDocument) -> None:
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
            image = base64.b64encode(confusion_picture(shown[1], shown[0])).decode()
            told = f"Confusion of {shown[0]}, {name}"
            create_image_artifact(f"data:image/png;base64,{image}", key=artifact_key("confusion", name), description=told)
    except Exception as error:
        logger.warning("The summary could not be shown in Prefect: %s", error)


def _name(manifest: str) -> str:
    return manifest.rstrip("/").rpartition("/")[2]
