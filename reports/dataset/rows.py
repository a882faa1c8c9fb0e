"""The clips of a data set as its page holds them: as many as fit, and of all of them those to look at first."""

import heapq
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reports.dataset.clip_brief import ClipBrief

MOST_BYTES = 2_200_000
"""So large may the rows of a page be (about 14,000 clips), and a tenth of it more for clips that failed after those."""
MOST_OUTLIERS = 10
LONGEST = 400
"""Characters of a reason that the page shows; all of it stands in status.csv."""
MADE = re.compile(r"-(?:[0-9a-f]{8}(?:-[0-9a-f]{6})?|[0-9a-f]{12})$")
"""How clip ids end that the manifest does not give."""
KINDS = ("wrong", "unsure", "apart", "slow")


@dataclass(frozen=True)
class ClipRow:
    """A clip of a data set: what the manifest says, how it ended, its answer in short (`flows.batch.one_clip.answer_of`).

    file: the name of its media file, and of a segment its times; seconds: of each stage.
    """

    clip_id: str
    file: str
    state: str
    reason: str = ""
    label: str = ""
    split: str = ""
    answer: ClipBrief = field(default_factory=ClipBrief)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, str]:
        """What people know it by and what else names it: the file before an id that was made from it, else the id."""
        stem = MADE.sub("", self.clip_id)
        is_made = stem not in ("", self.clip_id) and self.file.startswith(stem)
        return (self.file, self.clip_id) if is_made else (self.clip_id, self.file)

    def said(self, compounds: tuple[str, ...]) -> tuple[str, float | None]:
        """The answer that is compared with the label, and how sure it was: the strongest emotion where that is what the label
        names, else the compound; '' is none of the compounds."""
        if self.label and self.label not in compounds:
            return self.answer.get("emotion") or "", self.answer.get("likely")
        top = self.answer.get("top") or ""
        return top, self.answer.get("sureness") if top else self.answer.get("none")

    def right(self, compounds: tuple[str, ...]) -> bool | None:
        """Whether answer and label agree; None without a label, or without evidence for an answer."""
        answered = self.answer.get("top") or self.answer.get("emotion")
        return self.said(compounds)[0] == self.label if self.label and answered else None


class Names(dict[str, int]):
    """Gives each name a number, in the order in which they come; '' has -1."""

    def number(self, name: str) -> int:
        """The name's number."""
        return self.setdefault(name, len(self)) if name else -1


@dataclass(frozen=True)
class Outlier:
    """A clip to look at: how much it stands out, and the words for it."""

    clip: ClipRow
    value: float
    words: str


class ClipRows:
    """Takes clips as they come by; memory is bounded whatever their number. `is_there` tells whether a clip (by its id) has its
    report.html."""

    def __init__(self, compounds: Sequence[str], stages: Sequence[str], is_there: Callable[[str], bool]) -> None:
        self.compounds, self.stages, self._is_there = tuple(compounds), tuple(stages), is_there
        self.rows: list[list[object]] = []
        self.ids: list[str] = []
        self.names = {kind: Names() for kind in ("states", "reasons", "labels", "splits", "answers", "emotions", "shown")}
        self.total = self.bytes = 0
        self._tops: dict[str, list[tuple[float, int, Outlier]]] = {kind: [] for kind in KINDS}
        for name in compounds:
            self.names["answers"].number(name)

    def add(self, clip: ClipRow) -> None:
        """Take a clip."""
        self.total += 1
        for kind, outlier in self._outlying(clip):
            heap = self._tops[kind]
            (heapq.heappush if len(heap) < MOST_OUTLIERS else heapq.heappushpop)(heap, (outlier.value, -self.total, outlier))
        most = MOST_BYTES * (1.1 if clip.state in ("failed", "rejected") else 1.0)
        if self.bytes < most:
            row = self._row(clip)
            self.bytes += len(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()) + 1
            self.rows.append(row)
            self.ids.append(clip.clip_id)

    @property
    def left_out(self) -> int:
        """How many clips the page has no row for."""
        return self.total - len(self.rows)

    def outliers(self, kind: str) -> list[Outlier]:
        """The clips that stand out most, the first one the most: `wrong` (label and answer disagree, surely), `unsure`, `apart`
        (two modalities disagree), `slow`."""
        return [outlier for _, _, outlier in sorted(self._tops[kind], key=lambda item: item[:2], reverse=True)]

    def has_page(self, clip: ClipRow) -> bool:
        """Whether there is a page to link a clip to."""
        return bool(clip.answer) and self._is_there(clip.clip_id)

    def _row(self, clip: ClipRow) -> list[object]:
        answer, number = clip.answer, {kind: names.number for kind, names in self.names.items()}
        right = clip.right(self.compounds)
        reason = clip.reason if len(clip.reason) <= LONGEST else clip.reason[: LONGEST - 1] + "…"
        before = len(self.names["reasons"])
        why = number["reasons"](reason)
        self.bytes += len(reason.encode()) * (len(self.names["reasons"]) - before)
        return [
            clip.clip_id, clip.file, int(self.has_page(clip)) + 2 * (clip.names[0] == clip.file),
            number["states"](clip.state), why,
            number["labels"](clip.label), number["splits"](clip.split),
            number["answers"](answer.get("top") or "") if answer else -2,
            _short(answer.get("sureness")), _short(answer.get("none")),
            number["emotions"](answer.get("emotion") or ""), _short(answer.get("likely")),
            None if right is None else int(right), _short(answer.get("duration"), 1),
            [_short(clip.seconds.get(stage), 2) for stage in self.stages] if clip.seconds else [],
            [part for name, cells in answer.get("ribbon", ()) for part in (number["shown"](name), cells)],
        ]  # fmt: skip

    def _outlying(self, clip: ClipRow) -> list[tuple[str, Outlier]]:
        answer, top, spoken = clip.answer, clip.answer.get("top"), clip.answer.get("sureness")
        found = []
        if clip.right(self.compounds) is False:
            said, sure = clip.said(self.compounds)
            words = f"{said or 'none of the compounds'} for {clip.label}"
            found.append(("wrong", Outlier(clip, sure or 0.0, words)))
        if spoken is not None:
            found.append(("unsure", Outlier(clip, 1.0 - spoken, top or answer.get("emotion") or "")))
        if apart := answer.get("apart"):
            words = ", ".join(f"{name}: {emotion}" for name, emotion in apart.items() if name != "distance")
            found.append(("apart", Outlier(clip, float(apart["distance"]), words)))
        if clip.seconds:
            most = max(clip.seconds, key=lambda stage: clip.seconds[stage])
            found.append(("slow", Outlier(clip, sum(clip.seconds.values()), f"{most} {clip.seconds[most]:.1f} s")))
        return found


def _short(value: float | None, digits: int = 3) -> float | int | None:
    """A number with few digits; whole ones without a point."""
    if value is None:
        return None
    found = round(value, digits)
    return int(found) if found == int(found) else found
