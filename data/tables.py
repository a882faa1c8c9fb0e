"""Tables on disk: parquet written whole or not at all, and the parquet form of `Scores`."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.emotions import BASIC_EMOTIONS
from data.errors import DyadError
from data.files import atomic_path
from data.scores import Scores, Source


def write_table(path: Path, table: pd.DataFrame, notes: Mapping[str, object] | None = None) -> None:
    """Write a table as parquet; `notes` (JSON values) travel in the file's metadata under 'dyad'."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    if notes is not None:
        arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), b"dyad": json.dumps(notes).encode()})
    with atomic_path(path) as aside:
        pq.write_table(arrow, aside)


def read_table(path: Path) -> pd.DataFrame:
    """Read a parquet table; DyadError for a damaged one."""
    try:
        return pd.read_parquet(path)
    except ValueError as error:
        remedy = "remove the run folder that it is in, and start the same command again"
        raise DyadError(f"{path} is damaged ({error}); {remedy}.") from error


def read_notes(path: Path) -> Mapping[str, Any]:
    """The notes that `write_table` stored with a table; empty without."""
    import pyarrow.parquet as pq

    metadata = pq.read_schema(path).metadata or {}
    notes: Mapping[str, Any] = json.loads(metadata.get(b"dyad", b"{}"))
    return notes


def scores_table(scores: Scores) -> pd.DataFrame:
    """One row a window: start, end, present, the seven probabilities, quality (NaN where unknown), and `features` as a list
    where there are some."""
    table = pd.DataFrame({"start": scores.windows[:, 0], "end": scores.windows[:, 1], "present": scores.present})
    for column, emotion in enumerate(BASIC_EMOTIONS):
        table[emotion] = scores.probabilities[:, column]
    table["quality"] = np.full(len(table), np.nan, np.float32) if scores.quality is None else scores.quality.astype(np.float32)
    if scores.features is not None:
        table["features"] = list(scores.features)
    return table


def write_scores(path: Path, evidence: Path, scores: Scores) -> None:
    """Write scores to `path` and their evidence, where there is some, to `evidence`."""
    notes = {
        "modality": scores.modality,
        "source": asdict(scores.source) if scores.source else None,
        "reason": scores.reason,
        "remedy": scores.remedy,
        "notes": list(scores.notes),
        "expected": scores.expected,
    }
    if scores.evidence.empty:
        evidence.unlink(missing_ok=True)
    else:
        write_table(evidence, scores.evidence)
    write_table(path, scores_table(scores), notes)


def read_scores(path: Path, evidence: Path | None = None) -> Scores:
    """Read what `write_scores` wrote; files of versions without the column `quality` say nothing of it."""
    table, notes = read_table(path), read_notes(path)
    return Scores(
        modality=notes["modality"],
        windows=table[["start", "end"]].to_numpy(np.float64),
        probabilities=table[list(BASIC_EMOTIONS)].to_numpy(np.float32),
        present=table["present"].to_numpy(bool),
        source=Source(**notes["source"]) if notes["source"] else None,
        reason=notes["reason"],
        remedy=notes["remedy"],
        features=np.stack(table["features"].to_list()) if "features" in table else None,
        evidence=read_table(evidence) if evidence and evidence.is_file() else pd.DataFrame(),
        quality=table["quality"].to_numpy(np.float32) if "quality" in table else None,
        notes=tuple(notes.get("notes", ())),
        expected=notes.get("expected"),
    )
