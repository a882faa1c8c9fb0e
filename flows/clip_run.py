"""One clip without a task a stage: the stages as plain functions in threads, in the order of the graph, with a time limit."""

import contextvars
import errno
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import pandas as pd

from data.decode import Decoded, DecodeOptions, decode
from data.emotions import BASIC_EMOTIONS
from data.errors import DyadError
from data.run_folder import RunFolder
from data.segments import cut, first_frame
from data.tables import read_table, write_table
from flows import stop
from flows.events import Event, tell
from flows.faults import Interrupted, sentence, worth_retrying
from flows.graph import NEEDED, NEEDS, before
from flows.jobs import Job
from flows.journal import Ended
from flows.stages import STAGES, Stage, stage_keys, stages_to_run
from flows.video import prepare_folder, run_stage
from flows.work import failure, lacking
from reports.clip_brief import brief

DELAYS = (1.0, 5.0)
"""Seconds before a stage is tried again after a fault of storage that may pass."""
Result = TypeVar("Result")


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
    """How a clip ended: a sentence for what went wrong, the seconds of each stage, the answer in short (see `answer_of`)."""

    state: Ended
    reason: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)


class TooSlow(DyadError):
    """A clip took longer than it may."""


def run_clip(
    job: Job, *, whole: Callable[[], Decoded] | None = None, limit: float | None = None, strict: bool = False
) -> Outcome:
    """Recognise a clip into its run folder; what fails is an outcome, never an exception, but for Interrupted.

    `whole` gives what was decoded of the file that the clip is a segment of; `limit`: seconds that it may take; `strict`: the
    clip fails when a modality fails or lacks its model. Stages that are done already for this content, these settings and this
    code are left out.
    """
    try:
        prepare_folder(job, fresh=False)
        errors = run_stages(job, _stages(whole), limit or Patience().seconds(job.clip.duration))
        stop.check()
        _raise_failures(job, errors, strict)
        answer = answer_of(job)
        job.folder.clear_work()
    except Interrupted:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            job.folder.clear_work()  # or what it made so far would keep the others from ending too
        return Outcome("failed", sentence(error), stage_seconds(job.folder))
    reason = " ".join(answer.pop("problems"))
    return Outcome("degraded" if answer.pop("degraded") else "done", reason, stage_seconds(job.folder), answer)


def run_stages(job: Job, stages: Mapping[str, Stage], seconds: float) -> dict[str, BaseException]:
    """Run what is not done yet, each stage in a thread of its own once those before it have ended; errors by stage.

    TooSlow after `seconds`: the threads are then on their own. They end at the next point where they look whether
    somebody still waits; one that hangs inside a library stays until the process ends.
    """
    keys = stage_keys(job)
    wanted = stages_to_run(job, keys)
    ended: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()
    errors: dict[str, BaseException] = {}
    over, running = set(stages) - wanted, set[str]()
    deadline, gone = time.monotonic() + seconds, threading.Event()
    for name in over:
        tell(Event(job.clip.clip_id, job.clip.path.name, name, "skipped", duration=job.clip.duration))
    while True:
        for name in _ready(stages, over, running, errors, job.captions):
            running.add(name)
            _start(name, gone, _attempt, stages[name], job, keys[name], ended)
        if not running:
            return errors
        try:
            name, error = ended.get(timeout=max(deadline - time.monotonic(), 0.0))
        except Empty:
            gone.set()
            late = ", ".join(sorted(running)).replace("_", " ")
            raise TooSlow(f"{job.clip.path} was given up after {seconds:.0f} s, during: {late}; see log.txt.") from None
        running.discard(name)
        over.add(name)
        if error is not None:
            errors[name] = error


def _ready(
    stages: Iterable[str], over: set[str], running: set[str], errors: dict[str, BaseException], captions: bool
) -> list[str]:
    """The stages that can start now. One that needs a failed stage is over without having run, with the error of that."""
    ready = []
    for name in stages:
        failed = [errors[needed] for needed in NEEDS[name] if needed in errors]
        if name in over or name in running:
            continue
        if failed:
            over.add(name)
            errors[name] = failed[0]
        elif over.issuperset(before(name, captions)):
            ready.append(name)
    return ready


def _start(name: str, gone: threading.Event, work: Callable[..., None], *arguments: Any) -> None:
    """Start a thread that knows what this one knows (Prefect's run, the clip's log), and by `gone` when nobody waits for it."""
    context = contextvars.copy_context()
    context.run(stop.abandoned.set, gone)
    # A daemon: a stage that hangs must not keep the process from ending.
    threading.Thread(target=context.run, args=(work, *arguments), name=name, daemon=True).start()


def _attempt(stage: Stage, job: Job, key: str, ended: "SimpleQueue[tuple[str, BaseException | None]]") -> None:
    """Run a stage; again after a pause when a fault of storage may have passed."""
    for delay in (*DELAYS, None):
        try:
            run_stage(stage, job, key)
            return ended.put((stage.name, None))
        except BaseException as error:
            if delay is None or not worth_retrying(error):
                return ended.put((stage.name, error))
            time.sleep(delay)
    return None


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What `work` returns, computed in a thread of its own; TooSlow when that takes longer."""
    ended: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
    gone = threading.Event()

    def run() -> None:
        try:
            ended.put((True, work()))
        except BaseException as error:
            ended.put((False, error))

    _start("clip", gone, run)
    try:
        well, result = ended.get(timeout=seconds)
    except Empty:
        gone.set()
        raise TooSlow(f"It was given up after {seconds:.0f} s; is its storage still there?") from None
    if not well:
        raise result
    answer: Result = result
    return answer


def _stages(whole: Callable[[], Decoded] | None) -> Mapping[str, Stage]:
    """The stages; those of a segment are fed from what was decoded of the whole file."""
    if whole is None:
        return STAGES
    return {**STAGES, "decode": replace(STAGES["decode"], run=lambda job: cut_decoded(job, whole()))}


def cut_decoded(job: Job, whole: Decoded) -> Mapping[str, Any]:
    """What `flows.work.decode` does, for a segment."""
    made = cut(whole, job.clip, job.folder.work)
    columns = ["frame", "time_s", "sampled"]
    times = read_table(made.index)[columns] if made.index else pd.DataFrame({name: [] for name in columns})
    write_table(job.folder.frame_times, times)
    files = {kind: getattr(made, kind) for kind in ("frames", "index", "audio", "subtitles")}
    names = {kind: path.name if path else None for kind, path in files.items()}
    return {**names, "problems": list(made.problems), "first_frame": first_frame(made.index) if made.index else 0}


def decode_whole(job: Job, folder: Path) -> Decoded:
    """Decode a file whose segments are clips, into `folder`."""
    return decode(job.clip, folder, DecodeOptions(**job.settings.decode.model_dump()))


def _raise_failures(job: Job, errors: Mapping[str, BaseException], strict: bool) -> None:
    for name in NEEDED:
        if name in errors:
            raise errors[name]
    if strict and (missing := lacking(job)):
        raise DyadError(f"{job.clip.path}: --strict wants every modality. {' '.join(missing)}")


def answer_of(job: Job) -> dict[str, Any]:
    """The answer in short: `top` compound, strongest basic `emotion`, `duration` (s), `windows` and `frames` won by each, and
    what `reports.clip_brief.brief` tells."""
    result = json.loads(job.folder.result.read_text(encoding="utf-8"))
    basic = {name: value for name, value in result["summary"]["basic"].items() if value is not None}
    frames = pd.read_parquet(job.folder.frames, columns=["top", *BASIC_EMOTIONS])
    broken = [name for name in result["modalities"] if failure(job, name)]
    return {
        "degraded": result["degraded"],
        "problems": result["problems"],
        "broken": broken,
        "top": result["summary"]["top"],
        "emotion": max(basic, key=lambda name: basic[name]) if basic else None,
        "duration": round(job.clip.duration, 3),
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
