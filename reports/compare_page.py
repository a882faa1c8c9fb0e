"""Two answers side by side as a page of one file, and in the terminal."""

import base64
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from reports.comparison import Row, Section
from reports.documents import ResultDocument
from reports.figure import drawn
from reports.page.document import PAGE_STYLE, asset, document, escaped

MARK = "≠"
MOST_LINES = 20
"""Rows of a section that a terminal shows."""
STYLE = """
table.sides { width: 100%; border-collapse: collapse; table-layout: fixed; }
table.sides th, table.sides td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; overflow-wrap: anywhere; }
tr.differs { font-weight: 600; background: var(--panel); }
img.figure { width: 100%; background: #fff; }
"""


def compare_page(
    names: tuple[str, str], sections: Sequence[Section], clips: Mapping[str, ResultDocument] | None = None
) -> str:
    """The page: a table a section, differing rows marked; `clips` (title -> result) are drawn one above the other."""
    title = " and ".join(names)
    parts = [f'<header><h1>{escaped(title)}</h1><p class="hint">Rows with {MARK} differ.</p></header>', "<main>"]
    if clips:
        picture = base64.b64encode(drawn(clips, "svg")).decode()
        told = "Compounds, basic emotions and contributions of both over time; the tables below say the same"
        parts.append(f'<img class="figure" alt="{told}" src="data:image/svg+xml;base64,{picture}">')
    parts += [_section(section, names) for section in sections if section.rows or section.note]
    return document(title, "\n".join([*parts, "</main>"]), {}, asset(PAGE_STYLE) + STYLE, "")


def _section(section: Section, names: tuple[str, str]) -> str:
    note = f'<p class="hint">{escaped(section.note)}</p>' if section.note else ""
    heads = "".join(f'<th scope="col">{escaped(name)}</th>' for name in ("What", *names))
    rows = "".join(map(_row, section.rows))
    table = f'<table class="sides"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>' if rows else ""
    return f"<section><h2>{escaped(section.title)}</h2>{note}{table}</section>"


def _row(row: Row) -> str:
    mark, kind = (f"{MARK} ", ' class="differs"') if row.differs else ("", "")
    cells = "".join(f"<td>{escaped(text)}</td>" for text in (row.first, row.second))
    return f'<tr{kind}><th scope="row">{mark}{escaped(row.what)}</th>{cells}</tr>'


def print_comparison(console: Console, names: tuple[str, str], sections: Sequence[Section]) -> None:
    """The same in a terminal: a table, of long sections the first rows."""
    table = Table("", "", *(Column(escape(name), overflow="fold") for name in names), box=None, pad_edge=False)
    for section in sections:
        if section.rows or section.note:
            table.add_row("", f"[bold]{escape(section.title)}[/]", escape(section.note))
        for row in section.rows[:MOST_LINES]:
            mark, style = (MARK, "bold") if row.differs else ("", "")
            table.add_row(mark, *map(escape, (row.what, row.first, row.second)), style=style)
        if len(section.rows) > MOST_LINES:
            table.add_row("", f"... and {len(section.rows) - MOST_LINES} more; -o FILE.html shows all")
        table.add_row()
    console.print(table)
