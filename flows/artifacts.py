"""What the Prefect UI shows of a clip: its timeline and windows as artifacts."""

import json
import re
from typing import Any

from data.run_folder import RunFolder


def publish_artifacts(folder: RunFolder) -> None:
    """Create the artifact `result-<clip>` (markdown) for the run of this task, from the clip's result.json."""
    from prefect.artifacts import create_markdown_artifact

    from reports.markdown import result_markdown

    result: dict[str, Any] = json.loads(folder.result.read_text(encoding="utf-8"))
    create_markdown_artifact(
        result_markdown(result), key=artifact_key("result", folder.root.name), description=result["summary"]["sentence"]
    )


def artifact_key(kind: str, name: str) -> str:
    """A key that Prefect accepts (lower case, digits, dashes) for `name`."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{kind}-{plain or 'clip'}"
