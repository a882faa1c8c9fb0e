"""A data set's figures as HTML and SVG: the confusion matrix as a table that can be read aloud, the reliability diagram by hand
(a dozen bars and a line, for which a plotting library's picture could be neither restyled for the dark nor read aloud)."""

from collections.abc import Sequence

from reports.documents import Figures, ReliabilityBin, ReliabilityFigures
from reports.page.document import escaped, words_of

SIZE, EDGE = 240, 34
"""The diagram's side and its margin for letters."""


def confusion(figures: Figures, what: str) -> str:
    """The matrix of `figures.Tally.figures`: labels down, answers across, the share of a label's row and the count."""
    rows = [
        _confusion_row(index, name, counts)
        for index, (name, counts) in enumerate(zip(figures["classes"], figures["confusion"], strict=True))
        if sum(counts)
    ]
    heads = "".join(f'<th scope="col">{words_of(name)}</th>' for name in figures["answers"])
    head = f'<thead><tr><th scope="col">Label, then answers</th>{heads}</tr></thead>'
    return scrolling(f"Confusion of {what}", f'<table class="confusion">{head}<tbody>{"".join(rows)}</tbody></table>')


def scrolling(label: str, table: str) -> str:
    """A table that scrolls by itself where it is too wide, also by keyboard."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escaped(label)}">{table}</div>'


def _confusion_row(index: int, name: str, counts: Sequence[int]) -> str:
    cells = "".join(_cell(count, sum(counts), column == index) for column, count in enumerate(counts))
    return f'<tr><th scope="row">{words_of(name)}</th>{cells}</tr>'


def _cell(count: int, total: int, is_hit: bool) -> str:
    inner = f"{100 * count / total:.0f}&nbsp;%<small>{count}</small>" if count else ""
    return f'<td class="h{round(10 * count / total)}{" hit" if is_hit else ""}">{inner}</td>'


def reliability(figures: ReliabilityFigures, kind: str) -> str:
    """The diagram of `reports.dataset.figures.Reliability.figures`: how sure answers were against how often they were right."""
    most = max(one["items"] for one in figures["bins"])
    bars = "".join(_bin(one, most) for one in figures["bins"])
    said = (
        f"Expected calibration error {figures['ece']:.3f} over {figures['items']} {figures['unit']} with labels. On the line, "
        "answers would be right as often as their probability says; the fuller a bar, the more of them it stands for."
    )
    rows = "".join(
        f"<tr><td>{one['from']:.2f} to {one['to']:.2f}</td><td>{one['items']}</td><td>{one['probability']:.3f}</td>"
        f"<td>{one['right']:.3f}</td></tr>"
        for one in figures["bins"]
    )
    even = f'<line class="even" x1="{EDGE}" y1="{EDGE + SIZE}" x2="{EDGE + SIZE}" y2="{EDGE}"/>'
    box = f'viewBox="0 0 {SIZE + 2 * EDGE} {SIZE + 2 * EDGE}" role="img"'
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Probability", figures["unit"].capitalize(), "Mean", "Right"))
    return (
        f'<svg class="reliability" {box} aria-label="Reliability of {escaped(kind)}">{_axes()}{bars}{even}</svg>'
        f'<p class="hint">{escaped(said)}</p><details><summary>Its numbers</summary><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></details>"
    )


def _bin(one: ReliabilityBin, most: int) -> str:
    left, right = EDGE + SIZE * one["from"], EDGE + SIZE * one["to"]
    height = max(SIZE * one["right"], 1.5)
    opacity = 0.25 + 0.75 * one["items"] / most
    title = f"{one['items']} of mean probability {one['probability']:.2f}, {100 * one['right']:.0f} % of them right"
    return (
        f'<rect x="{left + 0.75:.1f}" y="{EDGE + SIZE - height:.1f}" width="{right - left - 1.5:.1f}" height="{height:.1f}" '
        f'fill-opacity="{opacity:.2f}"><title>{title}</title></rect>'
    )


def _axes() -> str:
    end, parts = EDGE + SIZE, []
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = EDGE + SIZE * share
        parts.append(f'<line class="grid" x1="{EDGE}" x2="{end}" y1="{at:.0f}" y2="{at:.0f}"/>')
        parts.append(f'<text x="{at:.0f}" y="{end + 14}" text-anchor="middle">{share:g}</text>')
        parts.append(f'<text x="{EDGE - 6}" y="{end - SIZE * share + 4:.0f}" text-anchor="end">{share:g}</text>')
    middle = EDGE + SIZE / 2
    parts.append(f'<text x="{middle:.0f}" y="{end + 29}" text-anchor="middle">probability of the answer</text>')
    parts.append(f'<text x="{EDGE}" y="{EDGE - 12}">share that is right</text>')
    return "".join(parts)
