"""What is added up over the clips of a data set: figures for summary.json, and rows for its page; memory flat."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from data.emotions import BASIC_EMOTIONS
from data.manifest import ManifestRow
from flows.journal import Entry
from reports.dataset import Bootstrap, Failures, Reliability, Tally

LEVELS = ("clips", "windows", "frames")
STATES = ("done", "degraded", "failed", "rejected", "waiting")


def state_of(row: ManifestRow, entry: Entry | None) -> str:
    """How a clip ended, or `rejected` (its row has a problem), or `waiting`."""
    return entry.state if entry else "rejected" if row.problem else "waiting"


def reason_of(row: ManifestRow, entry: Entry | None) -> str:
    """The sentence that says what is wrong with a clip; '' when nothing is."""
    return row.problem or (entry.reason if entry else "")


class Totals:
    """What is added up over the clips."""

    def __init__(self, compounds: Sequence[str]) -> None:
        self.names, self.failures = tuple(compounds), Failures()
        self.stages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.shown, self.clips, self.media = Counter[str](), Counter[str](), 0.0
        self.states, self.present = Counter[str](), Counter[str]()
        classes = {"compounds": self.names, "emotions": BASIC_EMOTIONS}
        self.tallies = {(kind, level): Tally(names) for kind, names in classes.items() for level in LEVELS}
        self.sure, self.sure_frames = {kind: Reliability() for kind in classes}, Reliability("frames")
        self._bootstrap = Bootstrap()

    def add(self, row: ManifestRow, entry: Entry | None) -> None:
        """Add a clip."""
        self.states[state_of(row, entry)] += 1
        if (entry is None or entry.state == "failed") and (reason := reason_of(row, entry)):
            self.failures.add(reason, row.clip_id, row.path)
        if entry is None:
            return
        for stage, seconds in entry.seconds.items():
            self.stages[stage][0] += seconds
            self.stages[stage][1] += 1
        answer = entry.answer
        self.media += answer.get("duration") or 0.0
        self.shown.update(answer.get("seconds", {}))
        self.clips[answer.get("top") or ""] += bool(answer)
        self.present.update(answer.get("present", ()))
        if row.label or "frame_pairs" in answer:
            self._compare(row.label, answer)

    def _compare(self, label: str, answer: Mapping[str, Any]) -> None:
        """Count where a clip's label and its answers meet; a failed clip is no answer."""
        kind = "compounds" if label in self.names else "emotions"
        top, windows, frames, sure = {
            "compounds": ("top", "windows", "frames", "window_sure"),
            "emotions": ("emotion", "window_emotions", "frame_emotions", "emotion_sure"),
        }[kind]
        weights = self._bootstrap.weights()
        if label:
            self.tallies[kind, "clips"].add(label, {answer.get(top) or "": 1}, weights)
            self.tallies[kind, "windows"].add(label, answer.get(windows, {}), weights)
            self.sure[kind].add(label, answer.get(sure, {}))
        if "frame_pairs" in answer:
            self.tallies["compounds", "frames"].add_pairs(answer["frame_pairs"], weights)
            self.sure_frames.add_cells(answer.get("frame_sure", ()))
        elif label:
            self.tallies[kind, "frames"].add(label, answer.get(frames, {}), weights)

    def figures(self) -> dict[str, Any]:
        """The part of summary.json that the clips give, but for how many there are."""
        return {
            "seconds": self.seconds(), "compounds": self.compounds(), "modalities": dict(self.present),
            "metrics": self.metrics(), "reliability": self.reliability(), "failures": self.failures.table(),
        }  # fmt: skip

    def seconds(self) -> dict[str, Any]:
        """Seconds of media, and of each stage in all and a clip."""
        stages = {name: {"total": round(s, 3), "mean": round(s / n, 4)} for name, (s, n) in self.stages.items()}
        return {"media": round(self.media, 3), "stages": stages}

    def compounds(self) -> dict[str, Any]:
        """Clips that each compound won, and seconds that it was shown."""
        return {name: {"clips": self.clips[name], "seconds": round(self.shown[name], 3)} for name in self.names}

    def metrics(self) -> dict[str, Any]:
        """Figures by kind of label and by what is counted; only where there are labels."""
        found: dict[str, Any] = {}
        for (kind, level), tally in self.tallies.items():
            if figures := tally.figures():
                found.setdefault(kind, {})[level] = figures
        return found

    def reliability(self) -> dict[str, Any]:
        """By kind of label, how often answers are right that are so sure: windows of labelled clips, else labelled frames."""
        found = {kind: figures for kind, sure in self.sure.items() if (figures := sure.figures())}
        frames = self.sure_frames.figures()
        return ({"compounds": frames} if frames else {}) | found
