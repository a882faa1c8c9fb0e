"""A clip's answer over time for players and annotation tools: WebVTT, SubRip, ELAN and Praat."""

import html
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from reports.answer import said
from reports.documents import ClipEntry, StretchEntry
from reports.exports.clip import ClipAnswer, Span, one_line, tiers_of


def webvtt(clip: ClipAnswer) -> str:
    """WebVTT: a cue a stretch of the timeline, with the answer and how sure it is; markup in names is escaped."""
    cues = [
        f"{_clock(row['start'], '.')} --> {_clock(row['end'], '.')}\n{html.escape(_caption(row), quote=False)}\n"
        for row in _shown(clip)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def subrip(clip: ClipAnswer) -> str:
    """SubRip: numbered cues like those of `webvtt`. The format has no escape: < > { } become ‹ › ( )."""
    harmless = str.maketrans("<>{}", "‹›()")
    return "\n".join(
        f"{number}\n{_clock(row['start'], ',')} --> {_clock(row['end'], ',')}\n{_caption(row).translate(harmless)}\n"
        for number, row in enumerate(_shown(clip), 1)
    )


def textgrid(clip: ClipAnswer) -> str:
    """Praat's TextGrid, long form: an interval tier for the answer, the emotions, each modality and the transcript.

    Tiers have neither gaps nor overlaps.
    """
    tiers = tiers_of(clip)
    end = max([clip.duration, *(span.end for spans in tiers.values() for span in spans)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}",
             "tiers? <exists>", f"size = {len(tiers)}", "item []:"]  # fmt: skip
    for number, (name, spans) in enumerate(tiers.items(), 1):
        intervals = _without_gaps(spans, end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}",
                  "        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(intervals)}"]  # fmt: skip
        for index, span in enumerate(intervals, 1):
            lines += [f"        intervals [{index}]:", f"            xmin = {span.start:.6f}",
                      f"            xmax = {span.end:.6f}", f"            text = {_quoted(span.label)}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def elan(clip: ClipAnswer) -> str:
    """ELAN's .eaf (EAF 3.0): a tier for the answer, the emotions, each modality and the transcript; times in whole milliseconds.

    The media is linked by its path; of a segment of a file TIME_ORIGIN says where it begins.
    """
    tiers = {name: _milliseconds(spans) for name, spans in tiers_of(clip).items()}
    every = [item for spans in tiers.values() for item in spans]
    times = sorted((time, index, side) for index, item in enumerate(every) for side, time in enumerate(item[:2]))
    slots = {(index, side): f"ts{number}" for number, (_, index, side) in enumerate(times, 1)}
    order = [f'<TIME_SLOT TIME_SLOT_ID="ts{number}" TIME_VALUE="{time}"/>' for number, (time, _, _) in enumerate(times, 1)]
    parts, first = [], 0
    for name, spans in tiers.items():
        parts += _tier(name, spans, slots, first)
        first += len(spans)
    created = clip.result["dyad"]["created"] if "dyad" in clip.result else "1970-01-01T00:00:00+00:00"
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<ANNOTATION_DOCUMENT AUTHOR="dyad" DATE={quoteattr(created)} FORMAT="3.0" VERSION="3.0" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">',
        '<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">', _media(clip.result["clip"]),
        f'<PROPERTY NAME="lastUsedAnnotationId">{len(every)}</PROPERTY>', "</HEADER>",
        "<TIME_ORDER>", *order, "</TIME_ORDER>", *parts,
        '<LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>',
        "</ANNOTATION_DOCUMENT>", "",
    ])  # fmt: skip


def _tier(name: str, spans: Sequence[tuple[int, int, str]], slots: dict[tuple[int, int], str], first: int) -> list[str]:
    lines = [f'<TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID={quoteattr(one_line(name))}>']
    for index, (_, _, label) in enumerate(spans, first):
        refs = f'TIME_SLOT_REF1="{slots[index, 0]}" TIME_SLOT_REF2="{slots[index, 1]}"'
        lines += [
            f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{index + 1}" {refs}>'
            f"<ANNOTATION_VALUE>{escape(one_line(label))}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        ]
    return [*lines, "</TIER>"]


def _media(clip: ClipEntry) -> str:
    path = clip["path"]
    address = path if "://" in path else Path(path).absolute().as_uri()
    kind = mimetypes.guess_type(path)[0] or "unknown"
    start = clip.get("start")
    origin = f' TIME_ORIGIN="{round(start * 1000)}"' if start else ""
    return f"<MEDIA_DESCRIPTOR MEDIA_URL={quoteattr(address)} MIME_TYPE={quoteattr(kind)}{origin}/>"


def _milliseconds(spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    rounded = [(round(span.start * 1000), round(span.end * 1000), span.label) for span in spans]
    return [item for item in rounded if item[1] > item[0]]


def _without_gaps(spans: Sequence[Span], end: float) -> list[Span]:
    """Stretches and, between them, empty ones, from 0 to `end` (s); times in whole microseconds."""
    filled: list[Span] = []
    last = 0.0
    for span in spans:
        start, stop = max(round(span.start, 6), last), min(round(span.end, 6), round(end, 6))
        if start >= stop:
            continue
        filled += [Span(last, start, "")] if start > last else []
        filled.append(Span(start, stop, span.label))
        last = stop
    return [*filled, Span(last, end, "")] if last < round(end, 6) else filled


def _quoted(text: str) -> str:
    return '"' + one_line(text).replace('"', '""') + '"'


def _shown(clip: ClipAnswer) -> list[StretchEntry]:
    """Stretches of at least a millisecond: a cue must end after it begins."""
    return [row for row in clip.result["timeline"] if round(row["end"] * 1000) > round(row["start"] * 1000)]


def _caption(row: StretchEntry) -> str:
    return one_line(said(row))


def _clock(seconds: float, point: str) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0) * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
