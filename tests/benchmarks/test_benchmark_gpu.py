"""The benchmark of the large models, on a processor and at tiny sizes: every architecture runs, and its figures add up."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu.measure import (
    Allowance,
    Batched,
    Workload,
    flops_an_item,
    idle_gpu,
    matmul_peak,
    plain_loop,
    sweep,
    through_queue,
)
from benchmarks.gpu.models import CASES, Case
from benchmarks.gpu.run import ModelRow, main, measured, parsed, rows

CASE = {case.name: case for case in CASES}


@pytest.mark.parametrize("name", [case.name for case in CASES if not case.name.startswith("whisper-small")])
def test_every_model_runs_in_the_products_way_and_in_the_plain_loop(name: str) -> None:
    """A batch gives what single items give, in the same type."""
    subject = CASE[name].build("cpu", "float32", True)
    items = list(subject.items(2))
    together, alone = list(subject.work(subject.model, items)), [subject.work(subject.model, [item])[0] for item in items]
    assert len(together) == 2
    for one, other in zip(together, alone, strict=True):
        if isinstance(one, str) or name.startswith("whisper-turbo"):
            assert one == other or name == "whisper-turbo-words"  # near ties of random words
        else:
            np.testing.assert_allclose(np.concatenate([np.ravel(part) for part in one]),
                                       np.concatenate([np.ravel(part) for part in other]), atol=1e-3)  # fmt: skip


@pytest.mark.slow
def test_the_table_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.md"
    assert main(["--device", "cpu", "--only", "video-mamba,clip-b-32", "--seconds", "0.05", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Weights are random" in said
    table = [line for line in out.read_text().splitlines() if line.startswith("| ")]
    assert len(table) == 3
    assert all(line.count("|") == table[0].count("|") for line in table)
    assert "Measured matmul peak" in out.read_text()


def double(factor: float, items: list[float]) -> list[float]:
    """Doubles numbers, at most 16 at once."""
    if len(items) > 16:
        raise torch.OutOfMemoryError("out of memory")
    return [factor * item for item in items]


def test_a_sweep_ends_at_the_memory_and_begins_below_it() -> None:
    for first in (4, 64):
        found = sweep(Workload(2.0, double, [1.0, 2.0], first=first), "cpu", (), 0.1)
        assert found.memory_ended
        assert found.size <= 16


def test_without_room_for_one_item_the_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(device: str, precision: str, tiny: bool) -> Workload:
        raise torch.OutOfMemoryError("out of memory")

    row = measured(Case("full", "Full", "items", None, full), "cpu", True, (), 0.1)
    assert "out of memory" in row.cells()


def test_a_package_that_is_missing_is_a_row_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(device: str, precision: str, tiny: bool) -> Workload:
        raise ModuleNotFoundError("No module named 'open_clip'")

    row = measured(Case("lacking", "Lacking", "items", None, lacking), "cpu", True, (), 0.1)
    assert "failed: ModuleNotFoundError: No module named 'open_clip'" in row.cells()


def test_after_a_device_has_failed_every_row_says_so_and_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def assertion(device: str) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr("benchmarks.gpu.measure.synchronise", assertion)
    found = [row.trouble for row in rows(CASES[:3], "cpu", parsed(["--device", "cpu", "--tiny"]))]
    assert found == ["left out: the device fails until the next start (CUDA error: device-side assert triggered)"] * 3


def test_rows_share_the_time() -> None:
    """160 seconds for ten rows of sixteen measurements are one second each; the last rows are not left out for the first."""
    allowance = Allowance(time.monotonic() + 160, rows=10)
    assert allowance.seconds(3.0) == pytest.approx(1.0, rel=0.2)
    assert allowance.seconds(0.1) == 0.1
    assert "no time left to compile" in Allowance(time.monotonic() + 160, rows=50).refusal_to_compile()
    assert Allowance(time.monotonic() + 1600, rows=2).refusal_to_compile() == ""


def test_a_gpu_that_torch_cannot_use_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.measure.DRIVER", tmp_path / "version")
    assert idle_gpu("cpu") == ""
    (tmp_path / "version").touch()
    assert "This machine has a GPU, but torch" in idle_gpu("cpu")
    assert idle_gpu("cuda:0") == ""


def test_goals_are_judged_by_the_products_own_speed() -> None:
    row = ModelRow(CASE["clip-l-14"], "", "bfloat16", Batched(64, 99.0), rate=10.0, flops=5.0, peak=100.0, plain=2.5)
    assert (row.share, row.ratio) == (0.5, 4.0)
    assert row.goals() == "≥ 5 x missed, ≥ 40% ok"


def test_flop_of_a_known_network_are_counted() -> None:
    """A VideoMamba's projections alone are a known number; whatever else is counted comes on top."""
    subject = CASE["video-mamba"].build("cpu", "float32", True)
    width, frames = subject.model.width, 20
    projections = 2 * frames * (512 * width + 4 * 3 * width * width)
    assert projections < flops_an_item(subject) < 3 * projections


def test_speeds_are_positive_and_the_peak_is_a_peak() -> None:
    subject = CASE["video-mamba"].build("cpu", "float32", True)
    assert plain_loop(subject, "cpu", 0.05) > 0
    assert through_queue(subject, "cpu", Batched(8, 100.0), 0.2) > 0
    assert matmul_peak("cpu", torch.float32, 0.05) > 1e9


@pytest.mark.parametrize("given", [["--only", "clip"], ["--device", "cuda:9"]])
def test_unknown_models_and_devices_that_are_not_there_are_refused(given: list[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(given)
