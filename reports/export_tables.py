"""The windows of clips as tables: CSV with a row a window or a probability, JSON Lines, and segments in the form of RTTM."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any

from data.errors import InputError
from reports.export_clip import ClipAnswer, one_line, timeline

LONG_COLUMNS = ("clip_id", "window", "start", "end", "source", "name", "probability")


def csv_wide(clips: Iterable[ClipAnswer]) -> Iterator[str]:
    """CSV with a row a window: clip_id, the columns of windows.parquet, reason; unknown numbers are empty.

    InputError when a clip has columns that the first one lacks (another set of compounds).
    """
    columns: list[str] = []
    for clip in clips:
        for window in clip.result["windows"]:
            row = {"clip_id": clip.clip_id, **_flat(window)}
            if not columns:
                columns = list(row)
                yield _line(columns)
            if extra := [name for name in row if name not in columns]:
                raise InputError(
                    f"{clip.clip_id} was recognised with other settings than the clips before it (it alone has "
                    f"{', '.join(extra)}); export as csv-long or jsonl, which hold any."
                )
            yield _line([row.get(name) for name in columns])


def csv_long(clips: Iterable[ClipAnswer]) -> Iterator[str]:
    """CSV with a row a probability that is known: `source` is fused, compound, or a modality, `name` the emotion or compound."""
    yield _line(LONG_COLUMNS)
    for clip in clips:
        for place, window in enumerate(clip.result["windows"]):
            sources = {"fused": window["basic"], "compound": window["compound"], **_modalities(clip, place)}
            own = (clip.clip_id, place, window["start"], window["end"])
            for source, shares in sources.items():
                yield from (_line([*own, source, name, value]) for name, value in (shares or {}).items() if value is not None)


def json_lines(clips: Iterable[ClipAnswer]) -> Iterator[str]:
    """A JSON object a window: clip_id, path, window, the window of result.json, and what each modality says (or null)."""
    for clip in clips:
        for place, window in enumerate(clip.result["windows"]):
            own = {"clip_id": clip.clip_id, "path": clip.result["clip"]["path"], "window": place}
            row = {**own, **window, "modalities": _modalities(clip, place)}
            yield json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def segments(clips: Iterable[ClipAnswer]) -> Iterator[str]:
    """A line a stretch in the ten fields of RTTM: SPEAKER clip 1 start duration <NA> <NA> compound <NA> <NA>; times in s."""
    for clip in clips:
        for span in timeline(clip):
            times = f"{span.start:.3f} {span.end - span.start:.3f}"
            yield f"SPEAKER {_token(clip.clip_id)} 1 {times} <NA> <NA> {_token(span.label)} <NA> <NA>\n"


def _token(text: str) -> str:
    return one_line(text).replace(" ", "_") or "<NA>"


def _flat(window: Mapping[str, Any]) -> dict[str, Any]:
    given = {f"contribution_{name}": value for name, value in window["contributions"].items()}
    own = {name: window[name] for name in ("start", "end", "present")}
    rest = {name: window.get(name) for name in ("top", "confidence", "none")}
    return {**own, **window["basic"], **window["compound"], **rest, **given, "reason": window["reason"]}


def _modalities(clip: ClipAnswer, place: int) -> dict[str, dict[str, float] | None]:
    rows = {name: entry["probabilities"][place] for name, entry in clip.result["modalities"].items()}
    names = clip.result["emotions"]
    return {name: None if row[0] is None else dict(zip(names, row, strict=True)) for name, row in rows.items()}


def _line(values: Sequence[Any]) -> str:
    stream = StringIO()
    csv.writer(stream, lineterminator="\n").writerow(values)
    return stream.getvalue()
