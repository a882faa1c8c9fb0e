"""Two answers side by side: of clips, of one clip with two settings, of two data sets; as rows with the differences marked."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data.emotions import BASIC_EMOTIONS
from reports.answer import NO_EVIDENCE, said, surely, title, whole_answer
from reports.documents import ModalityEntry, Numbers, ResultDocument, SummaryDocument
from reports.exports.clip import ClipAnswer, Item

MOST_CLIPS = 2000
"""So many clips whose answers differ are listed."""
UNKNOWN = "–"


@dataclass(frozen=True)
class Row:
    """One thing that both tell, as people read it."""

    what: str
    first: str
    second: str

    @property
    def differs(self) -> bool:
        """Whether the two say different things, as far as they are shown."""
        return self.first != self.second


@dataclass(frozen=True)
class Section:
    """Rows under a heading; `note` is a sentence about them."""

    title: str
    rows: Sequence[Row]
    note: str = ""


def compare_clips(
    first: ResultDocument, second: ResultDocument, settings: tuple[Mapping[str, object], Mapping[str, object]] = ({}, {})
) -> list[Section]:
    """What two results say of clips, and the settings (trees of settings.yaml) that differ."""
    one, other = first["summary"], second["summary"]
    return [
        Section("Answer", [
            Row("clip", first["clip"]["path"], second["clip"]["path"]),
            Row("in a sentence", one["sentence"], other["sentence"]),
            Row("compound", title(one["top"]), title(other["top"])),
            Row("emotion", title(one.get("emotion")), title(other.get("emotion"))),
            Row("how sure", surely(one.get("sureness")) or UNKNOWN, surely(other.get("sureness")) or UNKNOWN),
            Row("seconds long", f"{first['clip']['duration']:.1f}", f"{second['clip']['duration']:.1f}"),
            Row("Dyad", first["dyad"]["version"], second["dyad"]["version"]),
            Row("profile", first["profile"], second["profile"]),
        ]),
        Section("When", list(_stretches(first, second)), "The answer of each stretch of time (s)."),
        Section("Basic emotions", _numbers(one["basic"], other["basic"]), "Means over the clip."),
        Section("Compounds", _numbers(whole_answer(first), whole_answer(second)), "Means over the clip; they add up to 1."),
        Section("Seconds", _numbers(one["seconds"], other["seconds"], "{:.1f}"), "How long each compound is the answer."),
        Section("Evidence", _evidence(first["modalities"], second["modalities"])),
        _settings(*settings),
    ]  # fmt: skip


def _stretches(first: ResultDocument, second: ResultDocument) -> Iterator[Row]:
    """The stretches of time in which both have one answer."""
    both = (first, second)
    ends = {max(float(result["clip"]["duration"]), 0.0) for result in both}
    times = sorted({0.0, *ends, *(float(row[end]) for one in both for row in one["timeline"] for end in ("start", "end"))})
    for start, end in zip(times, times[1:], strict=False):
        if end - start > 1e-3:
            yield Row(f"{start:.1f} to {end:.1f}", _answer_at(first, (start + end) / 2), _answer_at(second, (start + end) / 2))


def _answer_at(result: ResultDocument, time: float) -> str:
    found = (said(row) for row in result["timeline"] if row["start"] <= time < row["end"])
    return next(found, NO_EVIDENCE if time < result["clip"]["duration"] else UNKNOWN)


def _numbers(first: Numbers, second: Numbers, form: str = "{:.2f}") -> list[Row]:
    """Numbers by name; those that are 0 in both are left out."""
    names = dict.fromkeys([*first, *second])
    return [Row(title(name), _number(first.get(name), form), _number(second.get(name), form))
            for name in names if first.get(name) or second.get(name)]  # fmt: skip


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else form.format(value)


def _evidence(first: Mapping[str, ModalityEntry], second: Mapping[str, ModalityEntry]) -> list[Row]:
    return [Row(title(name), _told(first.get(name)), _told(second.get(name))) for name in dict.fromkeys([*first, *second])]


def _told(entry: ModalityEntry | None) -> str:
    """What answered for a modality, and where."""
    if entry is None or entry["source"] is None:
        return UNKNOWN if entry is None else entry["state"]
    return f"{entry['windows_present']} of {entry['windows']} windows, {entry['source']['model']}"


def _settings(first: Mapping[str, object], second: Mapping[str, object]) -> Section:
    one, other = dict(_flat(first)), dict(_flat(second))
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    rows = [Row(name, one.get(name, UNKNOWN), other.get(name, UNKNOWN)) for name in names]
    note = "" if rows else "All settings are the same." if one or other else "No settings.yaml is there."
    return Section("Settings that differ", rows, note)


def _flat(tree: Mapping[str, object], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)


@dataclass
class SetAnswers:
    """The answers of a data set, clip by clip, in short: of each clip its answer and mean basic emotions."""

    name: str
    summary: SummaryDocument | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    basic: dict[str, list[float]] = field(default_factory=dict)

    def take(self, clips: Iterable[tuple[str, Item]]) -> "SetAnswers":
        """Take in clips as they come by, each with the name of its folder."""
        for name, clip in clips:
            if isinstance(clip, ClipAnswer):
                told = clip.result["summary"]
                means = [told["basic"].get(name) for name in BASIC_EMOTIONS]
                known = [value for value in means if value is not None]
                self.answers[name] = title(told["top"] or told.get("emotion")) if known else NO_EVIDENCE
                if len(known) == len(means):
                    self.basic[name] = known
            else:
                self.answers[name or clip.path] = clip.state
        return self


def compare_sets(first: SetAnswers, second: SetAnswers) -> list[Section]:
    """What two data sets say; clips are the same where their ids are."""
    shared = [clip_id for clip_id in first.answers if clip_id in second.answers]
    shared_ids = set(shared)
    changed = [clip_id for clip_id in shared if first.answers[clip_id] != second.answers[clip_id]]
    alone = [clip_id for clip_id in {**first.answers, **second.answers} if clip_id not in shared_ids]
    counts = [Counter(one.answers.values()) for one in (first, second)]
    listed = [Row(clip_id, first.answers.get(clip_id, UNKNOWN), second.answers.get(clip_id, UNKNOWN))
              for clip_id in (*changed, *alone)[:MOST_CLIPS]]  # fmt: skip
    return [
        Section("Data sets", [
            Row("folder", first.name, second.name),
            Row("clips", str(len(first.answers)), str(len(second.answers))),
            Row("clips that only one has", str(len(first.answers) - len(shared)), str(len(second.answers) - len(shared))),
        ], _agreement(first, second, shared, len(changed))),
        Section("Answers", [Row(name, str(counts[0][name]), str(counts[1][name])) for name in sorted({*counts[0], *counts[1]})],
                "Clips with each answer."),
        Section("Labels and answers", list(_metrics(first.summary, second.summary))),
        _settings(first.settings, second.settings),
        Section("Clips that differ", listed, "" if listed else "None."),
    ]  # fmt: skip


def _agreement(first: SetAnswers, second: SetAnswers, shared: Sequence[str], changed: int) -> str:
    """How far the clips that both have agree."""
    if not shared:
        return "No clip is in both."
    told = f"{len(shared) - changed} of {len(shared)} clips that both have show the same answer."
    both = [clip_id for clip_id in shared if clip_id in first.basic and clip_id in second.basic]
    if not both:
        return told
    apart = np.array([np.array(first.basic[one]) - np.array(second.basic[one]) for one in both])
    return f"{told} Their mean emotions differ by {np.abs(apart).sum(1).mean() / 2:.3f} (0: equal, 1: nothing in common)."


def _metrics(first: SummaryDocument | None, second: SummaryDocument | None) -> Iterator[Row]:
    one, other = (summary["metrics"] if summary else {} for summary in (first, second))
    for kind, levels in (one or other).items():
        for level in levels:
            pair = [metrics.get(kind, {}).get(level) for metrics in (one, other)]
            for figure, words in (("macro_f1", "macro-F1"), ("uar", "UAR"), ("war", "WAR")):
                told = [UNKNOWN if found is None else f"{found[figure]:.3f} (n {found['items']})" for found in pair]  # type: ignore[literal-required]
                yield Row(f"{words} of {kind} by {level[:-1]}", told[0], told[1])
