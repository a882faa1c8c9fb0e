"""Where the time of a stage went."""

import re
import time

import pytest
import torch

from data.run_folder import RunFolder
from flows.clip.profile_time import shown_before
from flows.runtime.model_cache import ModelCache
from flows.runtime.spent import loading, spending


def test_computing_loading_and_waiting_are_told_apart() -> None:
    with spending() as spent:
        began = time.thread_time()
        while time.thread_time() - began < 0.05:
            pass
        with loading(), loading():  # a model that loads another
            time.sleep(0.1)
        time.sleep(0.2)
    assert 0.05 <= spent.computing < 0.1
    assert 0.1 <= spent.loading < 0.2
    assert spent.waiting >= 0.2
    assert spent.computing + spent.loading + spent.waiting == pytest.approx(spent.clock, abs=0.01)
    with loading():  # outside of a stage it counts for nobody
        time.sleep(0.01)
    assert spent.loading < spent.clock


def test_a_model_is_loaded_once_and_that_is_told() -> None:
    def load() -> torch.nn.Module:
        time.sleep(0.1)
        return torch.nn.Identity()

    models = ModelCache("cpu")
    for least, most in ((0.1, 0.2), (0.0, 0.01)):
        with spending() as spent:
            models.get("a model", load)
        assert least <= spent.loading < most


def test_a_run_says_where_its_time_went(sample_run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert not shown_before(lambda folder: folder != sample_run.root)(sample_run.root)
    said = capsys.readouterr().err
    found = re.findall(r"^ *([a-z ]+?) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) *$", said, re.MULTILINE)
    rows = {name: [float(figure) for figure in figures] for name, *figures in found}
    whole, computing, _, _ = rows["faces"]
    assert 0.1 < computing <= whole
    assert all(sum(row[1:]) == pytest.approx(row[0], abs=0.05) for row in rows.values())
    assert "s of the processor" in said
    assert "computing" in sample_run.log.read_text()
