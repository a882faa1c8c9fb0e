"""Clips and rows that go wrong are rows with a sentence; the others are done."""

import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from flows.dataset import recognise_dataset
from tests.faults.batches import batch, ended, journal, make_manifest, status
from tests.faults.workloads import FREE
from tests.media_makers import make_clip
from tests.waiting import wait_until


@pytest.mark.slow
def test_two_runs_of_one_manifest_at_once(prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 10), tmp_path / "runs"
    first = batch(manifest, output, "--workers", 1, workload="held")
    wait_until(lambda: len(journal(output)) == FREE)
    code, said = ended(batch(manifest, output, workload="held"))
    assert code == 1
    assert said == (
        f"dyad: Another run writes to {output} now, started on this machine or on one that shares the folder; "
        "wait until it has ended, or choose another output with -o."
    )
    first.send_signal(signal.SIGINT)
    assert ended(first)[0] == 130
    names = [line["clip_id"] for line in journal(output)]
    assert names == [f"clip{number}" for number in range(FREE)]
    assert [path.read_text() for path in output.glob("*.txt")] == ["done\n"] * FREE, "each once"


@pytest.mark.slow
def test_models_that_hang_raise_or_use_up_the_memory(prefect_session: None, tmp_path: Path) -> None:
    """Stages of real clips; the one that hangs sleeps in a loop that never looks whether it should stop."""
    names = ("hangs-decode", "memory-decode", "memory-voice", "raises-decode", "raises-voice", "well")
    clip = make_clip(tmp_path / "clip.mp4", seconds=1)
    for name in names:
        (tmp_path / f"{name}.mp4").write_bytes(clip.read_bytes())
    manifest, output = tmp_path / "clips.csv", tmp_path / "runs"
    manifest.write_text("path,clip_id\n" + "".join(f"{name}.mp4,{name}\n" for name in names))
    code, said = ended(batch(manifest, output, "--workers", 2, workload="faulty"))
    assert code == 1
    assert "6 clips: 1 done, 2 degraded, 3 failed." in said
    rows = {name: (row["state"], row["reason"]) for name, row in status(output).items()}
    assert rows["hangs-decode"][0] == "failed"
    assert re.search("was given up after 1 s, during: decode", rows["hangs-decode"][1])
    assert rows["memory-decode"] == (
        "failed", "The memory is used up; close other programs, or lower decode.longest_side in the settings."
    )  # fmt: skip
    assert rows["raises-decode"][0] == "failed"
    assert "Unexpected ZeroDivisionError: a fault of the code" in rows["raises-decode"][1]
    assert rows["memory-voice"][0] == rows["raises-voice"][0] == "degraded"
    assert "The memory is used up" in rows["memory-voice"][1]
    assert rows["well"] == ("done", "")


def test_a_workload_that_breaks_off_fails_its_clip_only(prefect_session: None, tmp_path: Path) -> None:
    found = recognise_dataset(
        str(make_manifest(tmp_path / "media", 5)), str(tmp_path / "runs"), workload="tests.faults.workloads:raising"
    )
    assert (found["done"], found["failed"]) == (3, 2)
    rows = status(tmp_path / "runs")
    assert "Unexpected ZeroDivisionError" in rows["clip1"]["reason"]
    assert "The memory is used up" in rows["clip2"]["reason"]


@pytest.mark.slow
def test_a_clip_that_takes_the_process_down_is_a_row_in_the_end(prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 6), tmp_path / "runs"
    died = batch(manifest, output, "--workers", 2, workload="deadly")
    assert ended(died)[0] == -9
    notes = output / ".under-way"
    assert (notes / "0 clip2").is_file()
    assert len(list(notes.iterdir())) <= 2, "as many as were under way"
    (notes / "0 clip2").rename(notes / "2 clip2")  # as two more runs leave it, which die with clip2 alone under way
    found = recognise_dataset(str(manifest), str(output), workload="tests.faults.workloads:deadly")
    assert (found["done"], found["failed"]) == (5, 1)
    assert status(output)["clip2"]["reason"].startswith("The process died each time that this clip was under way")
    assert len(journal(output)) == 6
    assert not list(notes.iterdir())


def test_a_clip_that_takes_its_own_process_down_twice_is_a_row(
    prefect_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that only clips run in: the others go on."""
    workload = "tests.faults.workloads:deadly"
    monkeypatch.setattr("flows.dataset.RECOGNITION", workload)
    manifest, output = make_manifest(tmp_path / "media", 6), tmp_path / "runs"
    found = recognise_dataset(str(manifest), str(output), workers=2, workload=workload)
    assert (found["done"], found["failed"]) == (5, 1)
    assert status(output)["clip2"]["reason"].startswith("The process died each time that this clip was under way")
    assert [line["clip_id"] for line in journal(output)][-1] == "clip2", "its second try came when all others had ended"
    assert not list((output / ".under-way").iterdir())


def test_a_clip_with_which_a_process_died_runs_alone(prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 8), tmp_path / "runs"
    (output / ".under-way").mkdir(parents=True)
    (output / ".under-way" / "0 clip3").touch()
    found = recognise_dataset(str(manifest), str(output), workers=4, workload="tests.faults.workloads:timed")
    assert found["done"] == 8
    times = {line["clip_id"]: line["seconds"] for line in journal(output)}
    alone = times.pop("clip3")
    assert all(one["end"] <= alone["begin"] or one["begin"] >= alone["end"] for one in times.values())


@pytest.mark.slow
def test_rows_that_cannot_be_used(prefect_session: None, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 2), tmp_path / "runs"
    with manifest.open("a") as stream:
        stream.write("clip0.mp4,again\nclip1.mp4,clip0\nlost.mp4,lost\n../../etc/passwd,leaves\n,empty\n")
    code, said = ended(batch(manifest, output, workload="quick"))
    assert code == 1
    assert "7 clips: 2 done, 5 rejected." in said
    table = pd.read_csv(output / "status.csv", keep_default_na=False)
    assert table["state"].tolist() == ["done", "done", *["rejected"] * 5]
    reasons = table["reason"].tolist()[2:]
    twice = ("it has the path and segment of line 2", "it has the clip_id of line 2")
    wanted = (*twice, "lost.mp4 is not there", "leaves the root", "the path is empty")
    for reason, sentence in zip(reasons, wanted, strict=True):
        assert sentence in reason, reasons
        assert reason.endswith(".")


def test_a_clock_that_jumps(prefect_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the system is a day ahead in one moment and a day behind in the next."""
    manifest, clock, days = make_manifest(tmp_path / "media", 30), time.time, [1]

    def jumps() -> float:
        days[0] = -days[0]
        return clock() + 86_400 * days[0]

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", jumps)
        for output in (str(tmp_path / "runs"), "memory://clock"):
            found = recognise_dataset(str(manifest), output, workload="tests.faults.workloads:quick")
            assert (found["done"], found["skipped"]) == (30, 0)
    for output in (str(tmp_path / "runs"), "memory://clock"):
        assert recognise_dataset(str(manifest), output, workload="tests.faults.workloads:quick")["skipped"] == 30
