"""A result on the terminal: the timeline as a table, and what each modality had to say."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data.people import called
from reports.documents import ResultDocument, StretchEntry
from reports.markdown import figure, seconds, title

STATES = {"present": "green", "absent": "yellow", "failed": "red"}
NARROWEST = 70
"""Letters of a line from which on tables are shown as such."""


def print_result(console: Console, result: ResultDocument, folder: Path) -> None:
    """Print a result for a person."""
    clip = result["clip"]
    console.print(f"\n[bold]{escape(Path(clip['path']).name)}[/bold]  {seconds(clip['duration'])}")
    for problem in result["problems"]:
        console.print(f"[yellow]{escape(problem)}[/yellow]")
    for note in result.get("notes", ()):
        console.print(f"[dim]{escape(note)}[/dim]")
    if result["timeline"]:
        _print_table(console, timeline_table(result))
    _print_table(console, modality_table(result))
    if len(result.get("people", ())) > 1:
        console.print(escape(people_sentence(result)))
    console.print(escape(result["summary"]["sentence"]))
    console.print(f"Result: {escape(str(folder / 'result.json'))}", soft_wrap=True)


def _print_table(console: Console, table: Table) -> None:
    """A table, or on a narrow terminal, where its cells would be columns of single words, a line for each row."""
    if console.width >= NARROWEST:
        console.print(table)
        return
    console.print(f"[italic]{table.title}[/italic]")
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print("  ".join(str(cell) for cell in cells if cell))


def timeline_table(result: ResultDocument) -> Table:
    """When which compound is shown, how surely, and what most of the evidence for it is."""
    table = Table("from", "to", "compound", "confidence", "neutral", "most of it from", title="Timeline", title_justify="left")
    for row in result["timeline"]:
        table.add_row(
            seconds(row["start"]), seconds(row["end"]), title(row["compound"]), figure(row["confidence"]),
            figure(row["neutral"]), _evidence(result, row),
        )
    return table


def modality_table(result: ResultDocument) -> Table:
    """The six kinds of evidence: present or absent, why, and what would help."""
    table = Table("modality", "state", "windows", "model, or why it is absent", title="Evidence", title_justify="left")
    for name, entry in result["modalities"].items():
        state, source = entry["state"], entry["source"]
        what = source["model"] if state == "present" and source else f"{entry['reason']} {entry['remedy']}".strip()
        windows = f"{entry['windows_present']}/{entry['windows']}"
        table.add_row(title(name), f"[{STATES[state]}]{state}[/]", windows, escape(what))
    return table


def people_sentence(result: ResultDocument, most: int = 6) -> str:
    """Who is in the clip, for how long, and who the main person is."""
    people = result.get("people", ())
    told = [
        f"{called(one['person'], one['name'])} ({one['seconds_on_screen']:.0f} s seen, {one['seconds_speaking']:.0f} s heard)"
        for one in people[:most]
    ]
    more = [f"{len(people) - most} more"] if len(people) > most else []
    about = [called(one["person"], one["name"]) for one in people if one["main"]]
    return f"People: {', '.join(told + more)}." + (f" Main person: {about[0]}." if about else "")


def _evidence(result: ResultDocument, stretch: StretchEntry) -> str:
    """The modalities that gave most to this compound in the windows of a stretch, as shares of 1."""
    totals: dict[str, float] = {}
    for window in result["windows"]:
        if window["top"] == stretch["compound"] and window["start"] < stretch["end"] and window["end"] > stretch["start"]:
            for name, value in window["contributions"].items():
                totals[name] = totals.get(name, 0.0) + max(value or 0.0, 0.0)
    whole = sum(totals.values())
    best = sorted(totals, key=lambda name: -totals[name])[:3]
    return ", ".join(f"{title(name)} {totals[name] / whole:.0%}" for name in best if whole and totals[name] > 0)


