"""A result on the terminal: the answer first, then when what is shown, and where everything is."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from data.people import called
from reports.answer import NO_EVIDENCE, answer_name, out_of_step, seconds, surely, title
from reports.documents import ResultDocument, StretchEntry, SummaryDocument

STATES = {"present": "green", "absent": "yellow", "failed": "red"}
NARROWEST = 70
"""Letters of a line from which on tables are shown as such."""
MOST_FAILURES = 3
MOST_STRETCHES = 8
"""Stretches of the timeline that are told without -v."""


def print_result(console: Console, result: ResultDocument, folder: str, *, details: bool = False) -> None:
    """Print a result for a person: the answer and how sure it is, when what is shown, what is absent, where its page is.

    `folder`: the path or address of the run folder. `details`: all of the timeline, the evidence of each stretch, why each
    modality is absent, and the people.
    """
    clip, summary = result["clip"], result["summary"]
    sure = surely(summary.get("sureness"), summary.get("sureness_range"))
    console.print(f"\n[bold]{escape(Path(clip['path']).name)}[/bold]: {escape(summary['sentence'])}", highlight=False)
    if sure:
        console.print(f"  {escape(title(summary['top'] or summary.get('emotion')).capitalize())}: {sure}.", highlight=False)
    _print_problems(console, result)
    if details:
        _print_details(console, result)
    else:
        _print_stretches(console, result)
    console.print(f"  {escape(folder)}/report.html", soft_wrap=True, highlight=False)


def _print_problems(console: Console, result: ResultDocument) -> None:
    for problem in (*result["problems"], *out_of_step(result.get("people", ()))):
        console.print(f"[yellow]  {escape(problem)}[/yellow]", highlight=False)


def _print_stretches(console: Console, result: ResultDocument) -> None:
    """The first stretches, a line each, where there are several; and in a line what is not there."""
    rows = result["timeline"]
    for row in rows[:MOST_STRETCHES] if len(rows) > 1 else ():
        sure = surely(row.get("sureness"))
        said = f"  {seconds(row['start'])} to {seconds(row['end'])}  {title(answer_name(row))}"
        console.print(escape(said) + (f"  [dim]{sure}[/dim]" if sure else ""), highlight=False)
    if len(rows) > MOST_STRETCHES:
        console.print(f"  [dim]and {len(rows) - MOST_STRETCHES} more[/dim]", highlight=False)
    absent = [title(name) for name, entry in result["modalities"].items() if entry["state"] == "absent"]
    failed = [title(name) for name, entry in result["modalities"].items() if entry["state"] == "failed"]
    told = [f"{said}: {', '.join(names)}" for said, names in (("Failed", failed), ("Not there", absent)) if names]
    if told:
        console.print(f"[dim]  {escape('. '.join(told))} (-v says why).[/dim]", highlight=False)


def _print_details(console: Console, result: ResultDocument) -> None:
    """Everything that a terminal can show well."""
    for note in result.get("notes", ()):
        console.print(f"[dim]{escape(note)}[/dim]")
    if result["timeline"]:
        _print_table(console, timeline_table(result))
    _print_table(console, modality_table(result))
    if len(result.get("people", ())) > 1:
        console.print(escape(people_sentence(result)))


def print_line(console: Console, result: ResultDocument) -> None:
    """One of several clips in a line, and what could not be used of it."""
    sure = surely(result["summary"].get("sureness"))
    name, said = escape(Path(result["clip"]["path"]).name), escape(result["summary"]["sentence"].rstrip("."))
    console.print(f"[bold]{name}[/bold]: {said}" + (f" [dim]({sure})[/dim]" if sure else ""), highlight=False)
    _print_problems(console, result)


def print_several(console: Console, results: Sequence[tuple[ResultDocument, Path]]) -> None:
    """Several clips in a table: what each shows, how surely, and the folder with its page."""
    table = Table("clip", "shown", "how surely", Column("folder, with report.html", overflow="fold"))
    for result, folder in results:
        summary = result["summary"]
        shown = title(summary["top"] or summary.get("emotion")) if result["timeline"] else NO_EVIDENCE
        told = (Path(result["clip"]["path"]).name, shown, surely(summary.get("sureness")) or "–", str(folder))
        table.add_row(*map(escape, told))
    console.print()
    _print_table(console, table)


def print_set(console: Console, summary: SummaryDocument, page: str) -> None:
    """What a data set shows, how far labels and answers agree, what failed most, and where its page is."""
    shown = [f"{title(name)} {row['clips']}" for name, row in summary["compounds"].items() if row["clips"]]
    alone = [f"{name} alone {count}" for name, count in summary.get("alone", {}).items() if name and count]
    nothing = summary.get("alone", {}).get("", 0)
    told = [*shown, *alone, *([f"{NO_EVIDENCE} {nothing}"] if nothing else [])]
    lines = [f"Clips that show: {', '.join(told)}."] if told else []
    for kind, levels in summary["metrics"].items():
        level, found = next(iter(levels.items()))
        figures = f"macro-F1 {found['macro_f1']:.3f}, UAR {found['uar']:.3f}, WAR {found['war']:.3f}"
        lines.append(f"Labels, {kind} by {level[:-1]}: {figures} (n = {found['items']}).")
    lines += [f"{row['clips']}: {row['reason']}" for row in summary["failures"][:MOST_FAILURES]]
    more = len(summary["failures"]) - MOST_FAILURES
    lines += [f"and {more} more reasons"] if more > 0 else []
    for line in lines:
        console.print(f"  {line}", markup=False, highlight=False)
    console.print(f"  {page}", markup=False, highlight=False, soft_wrap=True)


def _print_table(console: Console, table: Table) -> None:
    """A table, or on a narrow terminal, where its cells would be columns of single words, a line for each row."""
    if console.width >= NARROWEST:
        console.print(table)
        return
    if table.title:
        console.print(f"[italic]{table.title}[/italic]")
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print("  ".join(str(cell) for cell in cells if cell))


def timeline_table(result: ResultDocument) -> Table:
    """When what is shown, how surely, and what most of the evidence for it is."""
    table = Table("from", "to", "shown", "how surely", "most of it from", title="Timeline", title_justify="left")
    for row in result["timeline"]:
        sure = surely(row.get("sureness"), row.get("sureness_range")) or "–"
        table.add_row(seconds(row["start"]), seconds(row["end"]), title(answer_name(row)), sure, _evidence(result, row))
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
    """The modalities that gave most to this answer in the windows of a stretch, as shares of 1."""
    totals: dict[str, float] = {}
    for window in result["windows"]:
        if window["top"] == stretch["compound"] and window["start"] < stretch["end"] and window["end"] > stretch["start"]:
            for name, value in window["contributions"].items():
                totals[name] = totals.get(name, 0.0) + max(value or 0.0, 0.0)
    whole = sum(totals.values())
    best = sorted(totals, key=lambda name: -totals[name])[:3]
    return ", ".join(f"{title(name)} {100 * totals[name] / whole:.0f} %" for name in best if whole and totals[name] > 0)
