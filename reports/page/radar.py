"""The clip's compounds at a glance: a radar, and the same figures as a table for those who read rather than look."""

import math
from collections.abc import Mapping, Sequence

from reports.answer import about, name_of, whole_answer
from reports.documents import ResultDocument
from reports.explain import whole_percents
from reports.page.document import escaped, words_of
from reports.page.svg import answer_kinds

CENTRE, RADIUS = (160.0, 130.0), 92.0
TOPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Where the outermost ring may lie: the smallest that all values fit in."""


def whole_clip(result: ResultDocument) -> str:
    """The section with the radar and the table: how likely none and each compound are on the mean over the clip, and for how long
    each is shown. They add up to 1."""
    shares = whole_answer(result)
    values = {name: value for name, value in shares.items() if name != "none"}
    if not shares:
        return ""
    drawn = radar(values) if len(values) >= 3 else ""
    main = about(result)
    whose = f" of {escaped(name_of(main))}" if main and len(result.get("people", ())) > 1 else ""
    note = f"Means{whose} over the whole clip; none of them and the compounds add up to 100 %."
    glance = f'<div class="glance">{_table(result, shares)}{drawn}</div>'
    return f'<section><h2>The whole clip</h2><p class="hint">{note}</p>{glance}</section>'


def radar(values: Mapping[str, float]) -> str:
    """An axis for each compound, from the middle outwards; the outermost ring is named."""
    top = next((ring for ring in TOPS if ring >= max(values.values())), 1.0)
    angles = [2 * math.pi * index / len(values) - math.pi / 2 for index in range(len(values))]
    circles = (_outline(angles, [share] * len(angles)) for share in (0.25, 0.5, 0.75, 1))
    rings = "".join(f'<polygon class="ring" points="{circle}"/>' for circle in circles)
    spokes = "".join(f'<path class="ring" d="M{CENTRE[0]:g} {CENTRE[1]:g}L{_point(angle, 1)}"/>' for angle in angles)
    shares = [value / top for value in values.values()]
    dots = "".join(
        f'<circle r="3" cx="{x}" cy="{y}"/>' for x, y in (_point(*one).split() for one in zip(angles, shares, strict=True))
    )
    names = "".join(_name(name, angle) for name, angle in zip(values, angles, strict=True))
    said = ", ".join(f"{words_of(name)} {100 * value:.0f} %" for name, value in values.items())
    return (
        f'<svg class="radar" viewBox="0 0 320 260" role="img" aria-label="Radar of the mean probabilities: {said}">'
        f'{rings}{spokes}<polygon class="area" points="{_outline(angles, shares)}"/>{dots}{names}'
        f'<text class="scale" x="{CENTRE[0] + 4:g}" y="{CENTRE[1] - RADIUS + 11:g}">{100 * top:.0f}&nbsp;%</text></svg>'
    )


def _point(angle: float, share: float) -> str:
    return f"{CENTRE[0] + RADIUS * share * math.cos(angle):.1f} {CENTRE[1] + RADIUS * share * math.sin(angle):.1f}"


def _outline(angles: Sequence[float], shares: Sequence[float]) -> str:
    return " ".join(_point(angle, share) for angle, share in zip(angles, shares, strict=True))


def _name(name: str, angle: float) -> str:
    """The two words of a compound above each other, outside the outermost ring."""
    x, y = (float(value) for value in _point(angle, 1.1).split())
    side = "middle" if abs(math.cos(angle)) < 0.2 else "start" if math.cos(angle) > 0 else "end"
    words = name.split("_")
    height = 12 * (len(words) - 1)
    up = math.sin(angle)
    first = y + (4 - height if up < -0.5 else 8 if up > 0.5 else 4 - height / 2)
    rows = ((word, first + 12 * row) for row, word in enumerate(words))
    lines = "".join(f'<tspan x="{x:.1f}" y="{low:.1f}">{escaped(word)}</tspan>' for word, low in rows)
    return f'<text text-anchor="{side}">{lines}</text>'


def _table(result: ResultDocument, shares: Mapping[str, float]) -> str:
    percents = whole_percents(shares)
    kinds = answer_kinds(result)
    alone = sum(result["summary"].get("seconds_of_emotions", {}).values())
    seconds = {"none": alone, **result["summary"]["seconds"]}
    rows = "".join(
        f"<tr><th scope='row'>{_named(name, kinds)}</th><td>{_bar(value)}</td>"
        f"<td>{percents[name]} %</td><td>{f'{seconds[name]:.1f} s' if seconds.get(name) else '–'}</td></tr>"
        for name, value in shares.items()
    )
    head = "<th scope='col'>Compound</th><th scope='col' colspan='2'>Mean probability</th><th scope='col'>Shown for</th>"
    return f"<table class='bars'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _named(name: str, kinds: Mapping[str, str]) -> str:
    if name == "none":
        return "none: one emotion alone, or another pair"
    return f'<span class="swatch {kinds[name]}"></span>{words_of(name)}'


def _bar(value: float) -> str:
    return f'<svg class="bar" aria-hidden="true"><rect width="{100 * value:.1f}%" height="100%"/></svg>'
