"""What it costs to tell persons apart in a clip of one: seconds of each stage, one after the other, in one run."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.long_clip import make_long_clip
from configs.settings import load_settings
from data.media.probe import probe
from data.run_folder import RunFolder
from flows.clip.graph import in_order
from flows.clip.stages import STAGES
from flows.job import Job

OF_PERSONS = ("people", "voices")
"""The stages that would not be there without persons."""


def stage_costs(clip: Path, words: bool) -> dict[str, tuple[float, float]]:
    """Seconds, and of them those of the processor, of each stage of a clip; models are loaded within them, as in a first run."""
    settings = load_settings(overrides={} if words else {"transcript": {"words": "off"}})
    with tempfile.TemporaryDirectory() as folder:
        job, costs = Job(probe(clip), RunFolder(Path(folder)), settings), dict[str, tuple[float, float]]()
        job.folder.create()
        for name in in_order():
            begun = time.perf_counter(), time.process_time()
            notes = STAGES[name].run(job)
            costs[name] = time.perf_counter() - begun[0], time.process_time() - begun[1]
            job.folder.mark_done(name, "", costs[name][0], notes)
    return costs


def cost_rows(seconds: float = 60.0) -> Iterator[tuple[object, ...]]:
    """The share of what persons need, with the words heard by Whisper and without."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "minute.mp4"
        make_long_clip(clip, seconds)
        for words in (False, True):
            costs = stage_costs(clip, words)
            own = sum(costs[name][1] for name in OF_PERSONS)
            rest = sum(cost[1] for name, cost in costs.items() if name not in OF_PERSONS)
            yield ("heard" if words else "off", f"{rest:.1f}", f"{own:.1f}", f"{100 * own / rest:.0f}")
