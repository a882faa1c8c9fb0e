"""A clip's answer where Python shows values: HTML with the timeline as a picture for notebooks, lines of text elsewhere.

The picture is a PNG inside the HTML, and all style stands in the elements: it also shows where notebooks are displayed without
scripts and style sheets (GitHub, mail).
"""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.answer import answer_name, figure, seconds, surely, title
from reports.documents import ResultDocument, StretchEntry

if TYPE_CHECKING:
    import pandas as pd

MOST_STRETCHES = 12
"""Rows of the timeline shown; all of them are in its table."""


def notebook_html(result: ResultDocument, folder: Path) -> str:
    """The content of `result.json` as HTML for a notebook's cell; everything from media, files and models is escaped."""
    from reports.figure import small_picture

    clip, sentence = result["clip"], result["summary"]["sentence"]
    picture = base64.b64encode(small_picture(result)).decode()
    stretches = [_cells(row) for row in result["timeline"][:MOST_STRETCHES]]
    more = len(result["timeline"]) - len(stretches)
    problems = "".join(f"<p>{_text(problem)}</p>" for problem in (*result["problems"], *result.get("notes", ())))
    return (
        f"<div><p><strong>{_text(Path(clip['path']).name)}</strong>, {seconds(clip['duration'])}: {_text(sentence)}</p>{problems}"
        f'<img style="max-width:100%" alt="{_text(f"Expressions over time. {sentence}")}" src="data:image/png;base64,{picture}">'
        + _table(("from", "to", "shown", "how surely", "blend"), stretches)
        + (f"<p>and {more} more stretches in <code>.timeline</code></p>" if more > 0 else "")
        + _table(("modality", "state", "windows", "model, or why it is absent"), _modalities(result))
        + f"<p>Everything about it: <code>{_text(folder)}</code></p></div>"
    )


def clips_html(table: "pd.DataFrame") -> str:
    """Several clips' answers as an HTML table, a row a clip, escaped."""
    rows = [[_cell(cell) for cell in row] for row in table.astype(object).itertuples(index=False)]
    return f"<div>{_table([str(name) for name in table.columns], rows)}</div>"


def plain_text(result: ResultDocument, folder: Path) -> str:
    """The same in lines of text."""
    clip, sentence = result["clip"], result["summary"]["sentence"]
    head = f"{Path(clip['path']).name} ({seconds(clip['duration'])}, profile {result['profile']}): {sentence}"
    rows = [_cells(row) for row in result["timeline"][:MOST_STRETCHES]]
    lines = [f"  {start:>7} to {end:>7}  {shown}, {sure}" for start, end, shown, sure, _ in rows]
    if (more := len(result["timeline"]) - len(rows)) > 0:
        lines.append(f"  and {more} more stretches")
    for state in ("present", "absent", "failed"):
        if names := [title(name) for name, entry in result["modalities"].items() if entry["state"] == state]:
            lines.append(f"  {state}: {', '.join(names)}")
    told = [f"  {said}" for said in (*result["problems"], *result.get("notes", ()))]
    return "\n".join([head, *told, *lines, f"  in {folder}"])


def _cells(row: StretchEntry) -> tuple[str, ...]:
    sure = surely(row.get("sureness"), row.get("sureness_range"))
    return seconds(row["start"]), seconds(row["end"]), title(answer_name(row)), sure, figure(row.get("blend"))


def _modalities(result: ResultDocument) -> Iterable[tuple[str, ...]]:
    for name, entry in result["modalities"].items():
        source = entry["source"]
        what = source["model"] if entry["state"] == "present" and source else f"{entry['reason']} {entry['remedy']}".strip()
        yield title(name), entry["state"], f"{entry['windows_present']}/{entry['windows']}", what


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table aligned to the left, which notebooks would not do by themselves."""
    left = ' style="text-align:left"'
    top = "".join(f"<th{left}>{_text(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td{left}>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> object:
    """A number with two decimals; a dash for one that is not known."""
    return figure(None if value != value else value) if isinstance(value, float) else "" if value is None else value


def _text(value: object) -> str:
    return html.escape(str(value))
