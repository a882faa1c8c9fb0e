"""One clip without a task a stage: the stages as plain functions in threads, in the order of the graph, with a time limit."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from data.emotions import BASIC_EMOTIONS
from data.json_files import read_json
from data.media.decode import Decoded
from data.people import rows_of
from data.run_folder import RunFolder
from flows.batch.journal import Ended
from flows.clip.all_scores import failure
from flows.clip.runner import recognise_clip
from flows.clip.stages import STAGES, Stage
from flows.clip.steps.decode import decode_segment
from flows.clip.threads import in_thread
from flows.job import Job
from flows.runtime.errors import Interrupted, sentence
from reports.dataset.clip_brief import brief


@dataclass(frozen=True)
class Patience:
    """How long a clip may take: `least` seconds, and `per_second` for each second that it lasts."""

    least: float = 600.0
    per_second: float = 120.0

    def seconds(self, duration: float) -> float:
        """The limit for a clip of this duration (s)."""
        return self.least + self.per_second * duration


@dataclass(frozen=True)
class Outcome:
    """How a clip ended: a sentence for what went wrong, the seconds of each stage, the answer in short (see `answer_of`).

    folder: the name of its run folder where that is not the row's clip id; before: it was done already, and nothing ran.
    """

    state: Ended
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    before: bool = False


def run_clip(
    job: Job, *, whole: Callable[[], Decoded] | None = None, limit: float | None = None, strict: bool = False,
    fresh: bool = False,
) -> Outcome:  # fmt: skip
    """Recognise a clip into its run folder; what fails is an outcome, never an exception, but for Interrupted.

    `whole` gives what was decoded of the file that the clip is a segment of; `limit`: seconds that it may take; `strict`: the
    clip fails when a modality fails or lacks its model. Stages that are done already for this content, these settings and this
    code are left out, unless `fresh`.
    """
    earlier = _version(job.folder)
    try:
        seconds = limit or Patience().seconds(job.clip.duration)
        recognise_clip(job, in_thread, stages=_stages(whole), seconds=seconds, strict=strict, fresh=fresh)
        return replace(outcome_of(job.folder), before=earlier is not None and _version(job.folder) == earlier)
    except Interrupted:
        raise
    except Exception as error:
        return Outcome("failed", sentence(error), stage_seconds(job.folder))


def _version(folder: RunFolder) -> int | None:
    """When the answer was written, ns; None without one."""
    return folder.result.stat().st_mtime_ns if folder.result.is_file() else None


def outcome_of(folder: RunFolder) -> Outcome:
    """How a clip ended that has an answer, as its run folder tells."""
    answer = answer_of(folder)
    reason = " ".join(answer.pop("problems"))
    return Outcome("degraded" if answer.pop("degraded") else "done", reason, stage_seconds(folder), answer)


def _stages(whole: Callable[[], Decoded] | None) -> Mapping[str, Stage]:
    """The stages; those of a segment are fed from what was decoded of the whole file."""
    if whole is None:
        return STAGES
    return {**STAGES, "decode": replace(STAGES["decode"], run=lambda job: decode_segment(job, whole()))}


def answer_of(folder: RunFolder) -> dict[str, Any]:
    """The answer in short: `top` compound, strongest basic `emotion`, `duration` (s), `windows` and `frames` won by each, and
    what `reports.dataset.clip_brief.brief` tells."""
    result = read_json(folder.result)
    basic = {name: value for name, value in result["summary"]["basic"].items() if value is not None}
    frames = rows_of(pd.read_parquet(folder.frames, columns=["person", "top", *BASIC_EMOTIONS]))
    broken = [name for name in result["modalities"] if failure(folder, name)]
    return {
        "degraded": result["degraded"],
        "problems": result["problems"],
        "broken": broken,
        "top": result["summary"]["top"],
        "emotion": max(basic, key=lambda name: basic[name]) if basic else None,
        "duration": round(result["clip"]["duration"], 3),
        "seconds": {name: value for name, value in result["summary"]["seconds"].items() if value},
        "windows": dict(Counter(window["top"] or "" for window in result["windows"])),
        "window_emotions": dict(Counter(_strongest(window["basic"]) for window in result["windows"])),
        "frames": {str(name): int(count) for name, count in frames["top"].fillna("").value_counts().items()},
        "frame_emotions": _emotions(frames),
        **brief(result),
    }


def _strongest(basic: Mapping[str, float | None]) -> str:
    known = {name: value for name, value in basic.items() if value is not None}
    return max(known, key=lambda name: known[name]) if known else ""


def _emotions(frames: pd.DataFrame) -> dict[str, int]:
    answered = frames.loc[frames["neutral"].notna(), list(BASIC_EMOTIONS)]
    counts = {str(name): int(count) for name, count in answered.idxmax(axis=1).value_counts().items()} if len(answered) else {}
    rest = len(frames) - len(answered)
    return counts | ({"": rest} if rest else {})


def stage_seconds(folder: RunFolder) -> dict[str, float]:
    """Seconds that each stage took when it last ran."""
    notes = {name: folder.finished(name) for name in STAGES}
    return {name: float(note["seconds"]) for name, note in notes.items() if "seconds" in note}
