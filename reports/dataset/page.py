"""`report.html` of a data set: its clips in a table that sorts and filters, and what they say together, in one file."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from reports.dataset.charts import confusion, reliability, scrolling
from reports.dataset.figures import trained_on_sentence
from reports.dataset.rows import ClipRows, Outlier
from reports.documents import FailureEntry, Figures, Measure, ModalityEntry, ReliabilityFigures, SummaryDocument
from reports.page.document import PAGE_STYLE, asset, breaking, document, escaped, words_of
from reports.page.svg import COMPOUND_COLOURS, EMOTION_COLOURS

STYLE, SCRIPT = Path(__file__).with_name("page.css"), Path(__file__).with_name("page.js")
FEWEST = 10
"""Of fewer items nothing is drawn: shares of them say nothing yet."""
STATES = ("done", "degraded", "failed", "rejected", "waiting")
OUTLIERS = {
    "wrong": ("Label and answer disagree", "The surest wrong answers first.", "{1:.0f}&nbsp;% sure"),
    "unsure": ("Least sure", "The answers that are likeliest wrong.", "{:.2f}"),
    "apart": (
        "Modalities in disagreement", "The two of a clip that differ most, and what each finds likeliest.",
        "{1:.0f}&nbsp;% apart",
    ),
    "slow": ("Slowest", "Seconds of all stages, and the longest of them.", "{:.1f} s"),
}  # fmt: skip
FIGURES: Mapping[Measure, str] = {"macro_f1": "macro-F1", "uar": "UAR", "war": "WAR", "weighted_f1": "weighted F1"}
HEADS = {
    "clip": "Clip", "ribbon": "Over time", "answer": "Shown", "sureness": "Sureness", "label": "Label", "emotion": "Emotion",
    "none": "None", "split": "Split", "state": "State", "seconds": "Seconds",
}  # fmt: skip


def dataset_page(
    summary: SummaryDocument,
    clips: ClipRows,
    *,
    ran: Mapping[str, ModalityEntry] | None = None,
    thumbnails: Sequence[bytes | None] | None = None,
) -> str:
    """The page for the content of summary.json and the clips.

    `ran` is what result.json tells of each modality (`state`, `source`, `reason`, `remedy`) in a clip that has it; `thumbnails`
    has a JPEG (or None) for each row of `clips`, and is None where there are too many.
    """
    name = summary["manifest"].rstrip("/").rpartition("/")[2] or summary["manifest"]
    body = "\n".join(filter(None, (
        _head(name, summary), _shown(summary), _failures(summary["failures"]), _table(clips, thumbnails), _labels(summary),
        _outliers(clips), _ran(summary, ran or {}), _took(summary), "</main>",
    )))  # fmt: skip
    facts = _facts(clips, thumbnails)
    style = asset(PAGE_STYLE) + asset(STYLE)
    return document(f"{name}: {_many(summary['clips']['total'], 'clip')}", body, facts, style, asset(SCRIPT))


def _facts(clips: ClipRows, thumbnails: Sequence[bytes | None] | None) -> dict[str, object]:
    """What the script needs: names, then a row a clip as `ClipRows` has it."""
    pictures = [None if one is None else base64.b64encode(one).decode() for one in thumbnails or ()]
    pictures = pictures if any(pictures) else []
    kinds = {name: f"k{index % COMPOUND_COLOURS}" for index, name in enumerate(clips.compounds)}
    kinds = {name: f"c{number}" for name, number in EMOTION_COLOURS.items()} | kinds
    return {
        **{kind: list(names) for kind, names in clips.names.items()}, "stages": list(clips.stages),
        "compounds": len(clips.compounds), "rows": clips.rows, "pictures": pictures, "kinds": kinds,
    }  # fmt: skip


def _head(name: str, summary: SummaryDocument) -> str:
    clips = summary["clips"]
    ended = ", ".join(f"{clips[state]} {state}" for state in STATES if clips.get(state)) or "none ended"
    seconds = sum(stage["total"] for stage in summary["seconds"]["stages"].values())
    media = summary["seconds"]["media"]
    pace = f", {seconds / media:.2g} s for each second" if media else ""
    notes = "".join(f"<li>{escaped(note)}</li>" for note in summary["notes"])
    sections = (("failures", "Failures"), ("clips", "All clips"), ("labels", "Labels and answers"), ("look", "Clips to look at"),
              ("ran", "What ran"))  # fmt: skip
    there = {"labels": bool(summary["metrics"]), "failures": bool(summary["failures"])}
    links = "".join(f'<a href="#{to}">{said}</a>' for to, said in sections if there.get(to, True))
    return (
        f'<header><h1>{escaped(name)}</h1><p class="sentence">{_many(clips["total"], "clip")}: {ended}.</p>'
        f'<p class="facts">{_time(media)} of media in {_time(seconds)} of work{pace}; '
        f"{_people(summary)}profile {escaped(summary['profile'])}; "
        f"Dyad {escaped(summary['dyad'])}; {escaped(summary['manifest'])}</p>"
        + (f'<ul class="problems">{notes}</ul>' if notes else "")
        + f'<nav aria-label="On this page">{links}</nav></header>\n<main>'
    )


def _people(summary: SummaryDocument) -> str:
    """'7 persons in them, several in 2 clips; '."""
    people = summary.get("people")
    if not people or not people["total"]:
        return ""
    several = f", several in {_many(people['several'], 'clip')}" if people["several"] else ""
    different = f", {_many(people['different'], 'different person')}" if "different" in people else ""
    return f"{_many(people['total'], 'person')} in them{several}{different}; "


def _shown(summary: SummaryDocument) -> str:
    """How many clips show what: each compound, each emotion alone, nothing that could be judged."""
    alone = summary.get("alone", {})
    counts = {name: row["clips"] for name, row in summary["compounds"].items()}
    persons: Mapping[str, int] = summary["people"]["shown"] if "people" in summary else {}
    alone_shown = (name for name in (*alone, *persons) if name and name not in counts)
    emotions = {name: alone.get(name, 0) for name in alone_shown if alone.get(name) or persons.get(name)}
    total = sum(counts.values()) + sum(alone.values())
    most = max([*counts.values(), *emotions.values()], default=0) or 1
    drawn = total >= FEWEST
    rows = [
        f'<tr><th scope="row"><button type="button" class="link" data-set="answer" data-to="{index}">'
        f"{_swatch(f'k{index % COMPOUND_COLOURS}')}{words_of(name)}</button></th>"
        f"{_cell(counts[name], most, f'k{index % COMPOUND_COLOURS}', drawn)}<td>{_seconds(row['seconds'])}</td>"
        f"<td>{persons.get(name, 0)}</td></tr>"
        for index, (name, row) in enumerate(summary["compounds"].items())
    ]
    rows += [
        f'<tr><th scope="row">{_swatch(f"c{EMOTION_COLOURS.get(name, 7)} alone")}{words_of(name)} alone</th>'
        f"{_cell(count, most, f'c{EMOTION_COLOURS.get(name, 7)}', drawn)}<td></td>"
        f"<td>{persons.get(name, 0)}</td></tr>"
        for name, count in sorted(emotions.items(), key=lambda item: -item[1])
    ]
    rows += [f'<tr><th scope="row">no evidence</th>{_cell(alone[""], most, "", False)}<td></td>'
             f"<td>{persons.get('', 0)}</td></tr>"] if alone.get("") else []
    few = "" if drawn or not total else f" Bars are drawn from {FEWEST} clips on."
    return (
        f'<section id="shown"><h2>What the clips show</h2>{_bars(("Shown", "", "Clips", "In all for", "Persons"), rows)}'
        f'<p class="hint">Each clip counts once, by the compound of its mean, or where none wins by its strongest emotion; '
        f"persons likewise, each in each clip; n = {total}.{few}</p></section>"
    )


def _cell(count: int, most: int, kind: str, drawn: bool) -> str:
    """The bar of a count, and the count."""
    return f"<td>{_bar(count / most, kind) if drawn else ''}</td><td>{count}</td>"


def _took(summary: SummaryDocument) -> str:
    """Seconds by stage."""
    stages = summary["seconds"]["stages"]
    longest = max((stage["total"] for stage in stages.values()), default=0) or 1
    rows = [
        f'<tr><th scope="row">{words_of(name)}</th><td>{_bar(stage["total"] / longest)}</td>'
        f"<td>{stage['total']:.1f} s</td><td>{stage['mean']:.2f} s</td></tr>"
        for name, stage in sorted(stages.items(), key=lambda item: -item[1]["total"])
    ]
    table = _bars(("Stage", "", "In all", "A clip"), rows) if rows else "<p>No stage has run.</p>"
    return f"<section><h2>Seconds by stage</h2>{table}</section>"


def _labels(summary: SummaryDocument) -> str:
    """Metrics with intervals, confusion matrices and reliability; '' without labels."""
    metrics = summary["metrics"]
    if not metrics:
        return ""
    heads = ("Labels", "n", "Clips", "Classes", *FIGURES.values(), "No answer")
    rows = [
        f'<tr><th scope="row">{escaped(kind)} by {level[:-1]}</th>'
        + "".join(f'<td data-head="{head}">{cell}</td>' for head, cell in zip(heads[1:], _cells(found), strict=True))
        + "</tr>"
        for kind, levels in metrics.items()
        for level, found in levels.items()
    ]
    parts = [_drawn(kind, levels, summary.get("reliability", {}).get(kind)) for kind, levels in metrics.items()]
    seen = trained_on_sentence(summary["trained_on"])
    warning = f'<p role="note"><strong>{escaped(seen)}</strong></p>' if seen else ""
    return (
        f'<section id="labels"><h2>Labels and answers</h2>{warning}{_wide("Metrics", heads, rows, "figures")}'
        '<p class="hint">In brackets 95 % of a bootstrap over speakers, or over files where nobody is named. macro-F1 and UAR '
        "are means over the classes that occur as labels; no answer (none of the compounds, or a clip that failed) counts as a "
        "wrong one. The ABAW challenge counts the macro-F1 of its seven compounds by frame.</p>"
        f"{''.join(parts)}</section>"
    )


def _cells(found: Figures) -> Iterator[object]:
    """The figures of a level, a cell each."""
    yield from (found["items"], found.get("clips", "–"), f"{len(found['recall'])} of {len(found['classes'])}")
    yield from (_figure(found, name) for name in FIGURES)
    yield found["unanswered"]


def _drawn(kind: str, levels: Mapping[str, Figures], sure: ReliabilityFigures | None) -> str:
    """The confusion matrix of the first level, the others behind a click, and how far probabilities can be trusted."""
    first, *others = levels
    if levels[first]["items"] < FEWEST:
        told = f"{_many(levels[first]['items'], 'label')}: too few for a matrix and a diagram, which are drawn from {FEWEST} on."
        ece = f" Expected calibration error {sure['ece']:.3f} over {sure['items']} {sure['unit']}." if sure else ""
        unknown = "" if sure else f" How sure the answers were is not known for these {escaped(kind)}."
        return f'<p class="hint">{escaped(kind.capitalize())}, {told}{ece}{unknown}</p>'
    more = "".join(
        f"<details><summary>The same by {level[:-1]}</summary>{confusion(levels[level], f'{kind} by {level[:-1]}')}</details>"
        for level in others
    )
    diagram = reliability(sure, kind) if sure else f"<p>How sure the answers were is not known for these {escaped(kind)}.</p>"
    heading = f"Reliability of {escaped(kind)}" + (f" by {sure['unit'][:-1]}" if sure else "")
    return (
        f'<div class="figures-of"><div><h3>Confusion of {escaped(kind)} by {first[:-1]}</h3>'
        f"{confusion(levels[first], f'{kind} by {first[:-1]}')}{more}</div>"
        f"<div><h3>{heading}</h3>{diagram}</div></div>"
    )


def _figure(found: Figures, name: Measure) -> str:
    low, high = found.get("intervals", {}).get(name, (None, None))
    within = "" if low is None else f' <span class="within">({low:.3f} to {high:.3f})</span>'
    return f"{found[name]:.3f}{within}"


def _outliers(clips: ClipRows) -> str:
    lists = [
        f'<section class="look"><h3>{heading}</h3><p class="hint">{hint}</p><ol class="outliers">'
        + "".join(_outlier(outlier, form, kind, clips.has_page(outlier.clip)) for outlier in found)
        + "</ol></section>"
        for kind, (heading, hint, form) in OUTLIERS.items()
        if (found := clips.outliers(kind))
    ]
    if not lists:
        return '<section id="look"><h2>Clips to look at</h2><p>No clip has an answer.</p></section>'
    return f'<section id="look"><h2>Clips to look at</h2><div class="looks">{"".join(lists)}</div></section>'


def _outlier(outlier: Outlier, form: str, kind: str, has_page: bool) -> str:
    clip = outlier.clip
    value = 1 - outlier.value if kind == "unsure" else outlier.value
    name, address = breaking(clip.names[0]), f"./{quote(clip.clip_id, safe='')}/report.html"
    linked = f'<a href="{escaped(address)}">{name}</a>' if has_page else f"<span>{name}</span>"
    return (
        f'<li class="clip" data-picture="{escaped(clip.clip_id)}">{linked}'
        f"<span class='hint'>{words_of(outlier.words)}, {form.format(value, 100 * value)}</span></li>"
    )


def _failures(failures: Sequence[FailureEntry]) -> str:
    if not failures:
        return ""
    rows = [
        f"<tr><td data-head='Clips'>{row['clips']}</td><td data-head='Reason'>{breaking(row['reason'])}</td>"
        f"<td data-head='For example'><button type='button' class='link' data-set='find' "
        f"data-to='{escaped(row['example'])}'>{breaking(row['example'])}</button></td></tr>"
        for row in failures
    ]
    table = _wide("Failures", ("Clips", "Reason", "For example"), rows, "cards")
    return f'<section id="failures"><h2>Failures</h2>{table}</section>'


def _table(clips: ClipRows, thumbnails: Sequence[bytes | None] | None) -> str:
    """The table's frame, which the script fills, and what filters it."""
    labelled, divided = bool(clips.names["labels"]), len(clips.names["splits"]) > 0
    wanted = {"label": labelled, "split": divided}
    kept = [key for key in HEADS if wanted.get(key, True)]
    heads = "".join(
        f'<th scope="col" data-key="{key}" data-name="{HEADS[key]}"><button type="button" data-sort="{key}">{HEADS[key]}'
        '<span class="arrow" aria-hidden="true"></span></button></th>'
        for key in kept
    )
    left_out = (
        f'<p class="problems">{clips.left_out} of {clips.total} clips have no row here, since the page would become too large; '
        "status.csv has all of them.</p>" if clips.left_out else ""
    )  # fmt: skip
    without = "" if thumbnails is not None else '<p class="hint">Thumbnails are left out, since there are too many clips.</p>'
    return (
        f'<section id="clips"><h2 id="clips-head" tabindex="-1">All clips</h2>{left_out}{without}'
        "<noscript><p>The table needs JavaScript; status.csv holds the same rows.</p></noscript>"
        f'<form id="filters" class="filters">{_filters(clips, labelled, divided)}</form>'
        '<div class="pager"><p role="status" id="count"></p><button type="button" data-page="-1">Previous</button>'
        '<button type="button" data-page="1">Next</button></div>'
        '<div class="wide" tabindex="0" role="region" aria-labelledby="clips-head"><table id="table" class="clips"><thead><tr>'
        f"{heads}</tr></thead><tbody></tbody></table></div></section>"
    )


def _filters(clips: ClipRows, labelled: bool, divided: bool) -> str:
    compounds = [*enumerate(clips.compounds), (-1, "none of the compounds"), (-2, "no answer")]
    numbered = {kind: [(number, name) for name, number in names.items()] for kind, names in clips.names.items()}
    parts = [
        '<label>Find <input type="search" name="find" placeholder="name, label, reason" autocomplete="off"></label>',
        _choice("answer", "Shown", compounds),
        _choice("state", "State", numbered["states"]),
    ]
    if labelled:
        parts.append(_choice("label", "Label", numbered["labels"]))
        parts.append(_choice("right", "Answer", [(1, "as the label"), (0, "not as the label")]))
    if divided:
        parts.append(_choice("split", "Split", numbered["splits"]))
    parts.append(_choice("stage", "Seconds of", list(enumerate(clips.stages)), "all stages"))
    return "".join(parts) + '<button type="reset">Show all</button>'


def _choice(name: str, said: str, options: Iterable[tuple[int, str]], every: str = "all") -> str:
    inner = "".join(f'<option value="{value}">{words_of(text)}</option>' for value, text in options)
    return f'<label>{said} <select name="{name}"><option value="">{every}</option>{inner}</select></label>'


def _ran(summary: SummaryDocument, ran: Mapping[str, ModalityEntry]) -> str:
    """The modalities with their models, and in how many clips each answered."""
    ended = summary["clips"]["done"] + summary["clips"]["degraded"]
    rows = [_model(name, entry, summary.get("modalities", {}).get(name, 0), ended) for name, entry in ran.items()]
    heads = ("Modality", "Answered in", "Backend", "Model", "Revision", "Preprocessing")
    table = _wide("What ran", heads, rows, "cards") if rows else "<p>No clip has an answer that could be read.</p>"
    return (
        f'<section id="ran"><h2>What ran</h2>{table}<p class="hint">Profile {escaped(summary["profile"])}, Dyad '
        f"{escaped(summary['dyad'])}. dataset.parquet has all windows, status.csv all clips, summary.json all figures."
        "</p></section>"
    )


def _model(name: str, entry: ModalityEntry, present: int, ended: int) -> str:
    source = entry.get("source")
    if source:
        told = {"Backend": source["backend"], "Model": source["model"], "Revision": source["revision"],
                "Preprocessing": source["preprocessing"]}  # fmt: skip
        cells = "".join(f'<td data-head="{head}">{escaped(one or "–")}</td>' for head, one in told.items())
    else:
        why = " ".join(filter(None, (entry.get("reason"), entry.get("remedy")))) or "no reason noted"
        cells = f'<td colspan="4" data-head="Why">{escaped(why)}</td>'
    answered = f'<td data-head="Answered in">{present} of {ended}</td>'
    return f'<tr><th scope="row">{words_of(name)}</th>{answered}{cells}</tr>'


def _wide(label: str, heads: Sequence[str], rows: Sequence[str], kind: str = "") -> str:
    header = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return scrolling(label, f'<table class="{kind}"><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>')


def _bars(heads: Sequence[str], rows: Sequence[str]) -> str:
    header = "".join(f'<th scope="col">{head}</th>' if head else "<td></td>" for head in heads)
    return f'<table class="bars"><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _bar(share: float, kind: str = "") -> str:
    coloured = f' class="{kind}"' if kind else ""
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect{coloured} width="{100 * share:.1f}" height="10"/></svg>'
    )


def _swatch(kind: str) -> str:
    return f'<span class="swatch {kind}"></span>'


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value else "–"


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{seconds:.1f} s"
