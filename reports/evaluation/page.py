"""An evaluation as a page of one file: its tables, the confusion matrices, the reliability diagrams."""

from pathlib import Path

from reports.dataset import charts
from reports.evaluation.document import EvaluationDocument, EvaluationFigures
from reports.evaluation.tables import Section, sections
from reports.page.document import PAGE_STYLE, asset, document, escaped

STYLE = Path(charts.__file__).with_name("page.css")


def evaluation_page(evaluation: EvaluationDocument) -> str:
    """The page; it asks nobody for anything and needs no script."""
    names = [one["results"] for one in evaluation["results"]]
    title = f"{' and '.join(names)} against {evaluation['labels']}"
    parts = [f'<header><h1>{escaped(title)}</h1><p class="facts">Dyad {escaped(evaluation["dyad"])}</p></header><main>']
    notes = [note for figures in evaluation["results"] for note in figures["notes"]]
    if notes:
        parts.append(f'<ul class="problems">{"".join(f"<li>{escaped(note)}</li>" for note in notes)}</ul>')
    parts += map(_section, sections(evaluation))
    parts += map(_pictures, evaluation["results"])
    return document(title, "\n".join([*parts, "</main>"]), {}, asset(PAGE_STYLE) + asset(STYLE), "")


def _section(section: Section) -> str:
    heads = "".join(f'<th scope="col">{escaped(head)}</th>' for head in section.heads)
    rows = "".join(
        f'<tr><th scope="row">{escaped(row[0])}</th>{"".join(f"<td>{escaped(cell)}</td>" for cell in row[1:])}</tr>'
        for row in section.rows
    )
    table = f'<table class="figures"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    note = f'<p class="hint">{escaped(section.note)}</p>' if section.note else ""
    return f"<section><h2>{escaped(section.title)}</h2>{charts.scrolling(section.title, table)}{note}</section>"


def _pictures(figures: EvaluationFigures) -> str:
    """Of each kind of label the confusion by what the labels are given for, and how far its sureness holds."""
    parts = []
    for kind, levels in figures["metrics"].items():
        level = figures["level"] if figures["level"] in levels else next(iter(levels))
        what = f"{kind} by {level[:-1]}"
        sure = figures["reliability"].get(kind)
        diagram = f"<div><h3>Reliability of {escaped(kind)}</h3>{charts.reliability(sure, kind)}</div>" if sure else ""
        confusion = f"<div><h3>Confusion of {escaped(what)}</h3>{charts.confusion(levels[level], what)}</div>"
        parts.append(f'<div class="figures-of">{confusion}{diagram}</div>')
    return f"<section><h2>{escaped(figures['results'])}: labels and answers</h2>{''.join(parts)}</section>"
