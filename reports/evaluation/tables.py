"""An evaluation as tables: for the terminal, for the page, and as a CSV with a row a figure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports.answer import title
from reports.documents import Figures, Measure
from reports.evaluation.document import EvaluationDocument, EvaluationFigures, Gains

MEASURES: Mapping[Measure, str] = {"war": "accuracy", "uar": "UAR", "macro_f1": "macro-F1", "weighted_f1": "weighted F1"}
MOST_SPEAKERS = 20
"""So many a terminal shows."""
COUNTED = (
    "In brackets 95 % of a bootstrap over speakers, or over files where nobody is named; there is none with a single one. UAR "
    "and macro-F1 are means over the classes that occur as labels; no answer counts as a wrong one. 'trivial' is the accuracy of "
    "always saying the most frequent label."
)
MODALITIES = (
    "Alone: where it answers, by itself. Adds: UAR of all modalities less that of all but this one, on everything that has a "
    "label; it helps or harms where the interval leaves out 0."
)


@dataclass(frozen=True)
class Section:
    """A table under a heading, with a sentence about it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def sections(document: EvaluationDocument) -> list[Section]:
    """Everything in the order in which people ask."""
    found: list[Section] = []
    for figures in document["results"]:
        parts = (_agreeing(figures), _calibration(figures), _speakers(figures), *_modalities(figures), _agreement(figures))
        found += parts
    if document["differences"]:
        found.append(_differences(document))
    return [section for section in found if section.rows]


def print_evaluation(console: Console, document: EvaluationDocument) -> None:
    """Print the tables and what must be known besides them."""
    for section in sections(document):
        table = Table(*map(escape, section.heads), box=None, pad_edge=False)
        for row in section.rows[:MOST_SPEAKERS]:
            table.add_row(*map(escape, row))
        console.print(f"\n[bold]{escape(section.title)}[/bold]", highlight=False)
        console.print(table)
        if len(section.rows) > MOST_SPEAKERS:
            console.print(f"... and {len(section.rows) - MOST_SPEAKERS} more; -o FILE.csv or FILE.html has all.")
        if section.note:
            console.print(f"[dim]{escape(section.note)}[/dim]", highlight=False)
    for figures in document["results"]:
        for note in figures["notes"]:
            console.print(escape(note), highlight=False)


def _agreeing(figures: EvaluationFigures) -> Section:
    """A column a kind of label and what is counted."""
    columns = {
        f"{kind} by {level[:-1]}": [
            str(found["items"]), str(found["clips"]), f"{len(found['recall'])} of {len(found['classes'])}",
            *(_with_interval(found, name) for name in MEASURES), f"{figures['trivial'][kind][level]:.3f}",
            str(found["unanswered"]),
        ]
        for kind, levels in figures["metrics"].items() for level, found in levels.items()
    }  # fmt: skip
    names = ("labels", "clips", "classes", *MEASURES.values(), "trivial", "no answer")
    rows = [[name, *cells] for name, *cells in zip(names, *columns.values(), strict=True)] if columns else []
    return Section(f"{figures['results']}: {figures['clips']['labelled']} labelled clips", ("", *columns), rows, COUNTED)


def _with_interval(found: Figures, name: Measure) -> str:
    low, high = found["intervals"].get(name, (None, None))
    return f"{found[name]:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _calibration(figures: EvaluationFigures) -> Section:
    rows = []
    for kind, found in figures["reliability"].items():
        right = sum(one["right"] * one["items"] for one in found["bins"]) / found["items"]
        sure = sum(one["probability"] * one["items"] for one in found["bins"]) / found["items"]
        rows.append([kind, found["unit"][:-1], str(found["items"]), f"{found['ece']:.3f}", f"{sure:.3f}", f"{right:.3f}"])
    heads = ("labels", "by", "n", "ECE", "mean sureness", "right")
    note = "Of the answers that there are; ECE is the expected calibration error."
    return Section("How far its sureness holds", heads, rows, note)


def _speakers(figures: EvaluationFigures) -> Section:
    rows = [
        [name, kind, str(found["items"]), *(f"{found[measure]:.3f}" for measure in MEASURES), str(found["unanswered"])]
        for name, kinds in figures["speakers"].items() for kind, found in kinds.items()
    ]  # fmt: skip
    heads = ("speaker", "labels", "n", *MEASURES.values(), "no answer")
    return Section(f"By speaker, {figures['level']}", heads, rows)


def _modalities(figures: EvaluationFigures) -> Iterator[Section]:
    """For each kind of label, what adds most first."""
    for kind, modalities in figures["modalities"].items():
        rows = []
        for name, one in sorted(modalities.items(), key=lambda item: -item[1]["adds"]["uar"][0]):
            alone = one["alone"]
            told = ["0", "–"] if alone is None else [str(alone["items"]), f"{alone['uar']:.3f}"]
            without = "–" if one["without"] is None else f"{one['without']['uar']:.3f}"
            rows.append([title(name), *told, without, _gain(one["adds"], "uar"), verdict(one["adds"])])
        heads = ("modality", "n alone", "UAR alone", "UAR without", "adds", "")
        yield Section(f"With and without each modality: {kind} by {figures['level'][:-1]}", heads, rows, MODALITIES)


def _gain(gains: Gains, name: str) -> str:
    value, *within = gains[name]
    return f"{value:+.3f}" + (f" ({within[0]:+.3f} to {within[1]:+.3f})" if within else "")


def verdict(gains: Gains) -> str:
    """Whether a difference in UAR is shown."""
    _, *within = gains["uar"]
    if not within:
        return "too few to say"
    return "helps" if within[0] > 0 else "harms" if within[1] < 0 else "not shown"


def _agreement(figures: EvaluationFigures) -> Section:
    found = figures["agreement"]
    rows = [] if found is None else [
        [str(len(found["raters"])), f"{found['units']} {found['unit']}", _alpha(found["alpha"]), _alpha(found["alpha_with_dyad"])]
    ]  # fmt: skip
    note = "Krippendorff's alpha, nominal: 1 complete agreement, 0 that of chance. Labels are what most raters say."
    return Section("Agreement of the raters", ("raters", "labelled by two or more", "alpha", "with Dyad as one more"), rows, note)


def _alpha(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _differences(document: EvaluationDocument) -> Section:
    first, second = (one["results"] for one in document["results"])
    rows = [
        [kind, level[:-1], *(_gain(gains, name) for name in MEASURES)]
        for kind, levels in document["differences"].items() for level, gains in levels.items()
    ]  # fmt: skip
    note = "Both are drawn together, clip by clip; a difference is shown where its interval leaves out 0."
    return Section(f"{second} less {first}", ("labels", "by", *MEASURES.values()), rows, note)


# ---- CSV -----------------------------------------------------------------------------------------------------------------


def evaluation_table(document: EvaluationDocument) -> pd.DataFrame:
    """A row a figure: results, labels, by, what (all, a speaker, a modality alone or without it or what it adds, the difference),
    n, measure, value, low, high."""
    rows = [row for figures in document["results"] for row in _rows_of(figures)]
    if document["differences"]:
        name = " less ".join(one["results"] for one in reversed(document["results"]))
        for kind, levels in document["differences"].items():
            for level, gains in levels.items():
                rows += _rows_of_gains((name, kind, level, "difference"), gains)
    table = pd.DataFrame(rows, columns=["results", "labels", "by", "what", "n", "measure", "value", "low", "high"])
    return table.astype({"n": "Int64"})


Key = tuple[str, str, str, str]
_Row = tuple[str, str, str, str, int | None, str, float | None, float | None, float | None]


def _rows_of(figures: EvaluationFigures) -> Iterator[_Row]:
    name, at = figures["results"], figures["level"]
    for kind, levels in figures["metrics"].items():
        for level, found in levels.items():
            yield from _rows_of_figures((name, kind, level, "all"), found)
            yield name, kind, level, "all", found["items"], "trivial accuracy", figures["trivial"][kind][level], None, None
            for label, recall in found["recall"].items():
                yield name, kind, level, "all", found["items"], f"recall of {label}", recall, None, None
    for kind, sure in figures["reliability"].items():
        yield name, kind, sure["unit"], "all", sure["items"], "ECE", sure["ece"], None, None
    for speaker, kinds in figures["speakers"].items():
        for kind, found in kinds.items():
            yield from _rows_of_figures((name, kind, at, f"speaker {speaker}"), found)
    for kind, modalities in figures["modalities"].items():
        for modality, one in modalities.items():
            for how, own in (("alone", one["alone"]), ("without", one["without"])):
                if own is not None:
                    yield from _rows_of_figures((name, kind, at, f"{how} {modality}"), own)
            yield from _rows_of_gains((name, kind, at, f"added by {modality}"), one["adds"])
    if agreed := figures["agreement"]:
        for measure, value in (("alpha", agreed["alpha"]), ("alpha with Dyad", agreed["alpha_with_dyad"])):
            yield name, "all", agreed["unit"], "raters", agreed["units"], measure, value, None, None


def _rows_of_figures(key: Key, found: Figures) -> Iterator[_Row]:
    for measure, said in MEASURES.items():
        low, high = found["intervals"].get(measure, (None, None))
        yield *key, found["items"], said, found[measure], low, high


def _rows_of_gains(key: Key, gains: Gains) -> Iterator[_Row]:
    for measure, said in MEASURES.items():
        value, *within = gains[measure]
        low, high = within or (None, None)
        yield *key, None, said, value, low, high
