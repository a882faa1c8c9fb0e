"""Where the time of a stage went."""

import re
from dataclasses import dataclass

import pytest
import torch

from data.run_folder import RunFolder
from flows.clip.profile_time import shown_before
from flows.runtime import spent as spent_times
from flows.runtime.model_cache import ModelCache
from flows.runtime.spent import loading, spending


@dataclass
class Clock:
    """Both clocks of a thread, which go on when the test says so: how long a real sleep takes is the machine's business."""

    seconds: float = 0.0
    cpu: float = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def thread_time(self) -> float:
        return self.cpu

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def compute(self, seconds: float) -> None:
        self.seconds += seconds
        self.cpu += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(spent_times, "time", made)
    return made


def test_computing_loading_and_waiting_are_told_apart(clock: Clock) -> None:
    with spending() as spent:
        clock.compute(0.25)
        with loading(), loading():  # a model that loads another
            clock.compute(0.5)
            clock.sleep(1.0)
        clock.sleep(2.0)
    assert (spent.computing, spent.loading, spent.waiting, spent.clock) == (0.25, 1.5, 2.0, 3.75)
    with loading():  # outside of a stage it counts for nobody
        clock.sleep(4.0)
    assert spent.loading == 1.5


def test_a_model_is_loaded_once_and_that_is_told(clock: Clock) -> None:
    def load() -> torch.nn.Module:
        clock.sleep(0.5)
        return torch.nn.Identity()

    models = ModelCache("cpu")
    for expected in (0.5, 0.0):
        with spending() as spent:
            models.get("a model", load)
        assert spent.loading == expected


def test_a_run_says_where_its_time_went(sample_run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert not shown_before(lambda folder: folder != sample_run.root)(sample_run.root)
    said = capsys.readouterr().err
    found = re.findall(r"^ *([a-z ]+?) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) *$", said, re.MULTILINE)
    rows = {name: [float(figure) for figure in figures] for name, *figures in found}
    whole, computing, _, _ = rows["faces"]
    assert 0 < computing <= whole
    assert all(sum(row[1:]) == pytest.approx(row[0], abs=0.05) for row in rows.values())
    assert "s of the processor" in said
    assert "computing" in sample_run.log.read_text()
