"""Storage that is full, read-only, limited or suddenly gone: a sentence, an exit code, and the same command finishes later."""

import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from data.manifest.manifest import ManifestRow
from flows.batch import run
from flows.batch.clips import BatchPlan
from flows.batch.one_clip import Outcome
from flows.dataset import recognise_dataset
from tests.faults.batches import batch, ended, half_written, journal, make_clips, make_manifest, status
from tests.faults.workloads import meet_with


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1,500 kB of its own, which only root may make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a file system cannot be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, but: int) -> Path:
    """A file that takes all space but so many blocks of 4096 bytes."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - but * 4096))
    return filler


@pytest.mark.slow
def test_the_disk_is_full(prefect_session: None, small_disk: Path, tmp_path: Path) -> None:
    """The pictures of a clip do not fit; once there is space the same command, asked to, runs them again."""
    media, output = make_clips(tmp_path / "media", 1, seconds=3), small_disk / "runs"
    filler = fill(small_disk, but=43)
    code, said = ended(batch(media, output))
    assert code == 1, said
    assert ": 1 failed." in said
    for row in status(output).values():
        assert "the disk is full; free some space and run the same command again." in row["reason"]
    filler.unlink()
    code, said = ended(batch(media, output, "--retry-failed"))
    assert code == 0, said
    assert {row["state"] for row in status(output).values()} == {"done"}
    assert half_written(output) == []


warned = Event()


class Warned(logging.Handler):
    """Keeps what a logger tells, and says so."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.messages.append(record.getMessage())
        warned.set()


def filling(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Iterator[tuple[str, Outcome]]:
    """Takes all space of the disk until the run has told of it, as pictures that do not fit do until their clip fails."""
    filler = fill(plan.output.folder, but=0)
    warned.wait(120)
    filler.unlink()
    yield from ((row.clip_id, Outcome("done")) for row in rows)


def test_the_disk_is_full_when_status_csv_is_due(
    prefect_session: None, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run says so and goes on; the next status.csv is as it should be."""
    monkeypatch.setattr(run, "STATUS_EVERY", 0.1)
    listener = Warned()
    run.logger.addHandler(listener)
    manifest, output = make_manifest(tmp_path / "media", 2), small_disk / "runs"
    try:
        counts = recognise_dataset(str(manifest), str(output), workers=1, workload="tests.faults.test_storage:filling")
    finally:
        run.logger.removeHandler(listener)
    assert (counts["total"], counts["done"]) == (2, 2)
    assert {row["state"] for row in status(output).values()} == {"done"}
    assert listener.messages[0] == (
        "status.csv is older than the run for now. A file cannot be written or read: the disk is full; free some space and run "
        "the same command again."
    )
    assert half_written(output) == []


@pytest.mark.slow
def test_the_disk_is_full_before_the_journal_is(prefect_session: None, small_disk: Path, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 300), small_disk / "runs"
    filler = fill(small_disk, but=5)
    code, said = ended(batch(manifest, output, workload="quick"))
    assert code == 1
    assert "dyad: " in said
    assert "the disk is full; free some space and run the same command again." in said
    filler.unlink()
    before = len(journal(output))
    code, said = ended(batch(manifest, output, workload="quick"))
    assert code == 0, said
    assert f"300 clips: 300 done ({before} of them before)." in said
    assert len(journal(output)) == 300


@pytest.mark.slow
def test_files_may_only_be_so_large(prefect_session: None, tmp_path: Path) -> None:
    """A limit of the shell (`ulimit -f`), which the journal reaches."""
    manifest, output = make_manifest(tmp_path / "media", 60), tmp_path / "runs"
    code, said = ended(batch(manifest, output, workload="quick", most_bytes=4000))
    assert code == 1
    assert "dyad: A file cannot be written or read: it would be larger than is permitted here" in said
    before = len(journal(output))
    assert 10 < before < 60
    found = recognise_dataset(str(manifest), str(output), workload="tests.faults.workloads:quick")
    assert (found["done"], found["skipped"]) == (60, before)


@pytest.mark.parametrize("place", ["file.txt/runs", "/proc/runs", "read-only/runs"])
def test_an_output_that_cannot_be_written(
    dyad: Callable[..., tuple[int, str, str]], tmp_path: Path, small_disk: Path, place: str
) -> None:
    (tmp_path / "file.txt").write_text("no folder")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    (tmp_path / "read-only").symlink_to(small_disk)
    code, _, said = dyad("batch", make_manifest(tmp_path / "media", 2), "-o", tmp_path / place)
    assert code == 1
    assert said.startswith("dyad: ")
    assert "cannot be written or read: " in said


@pytest.mark.slow
def test_the_output_is_removed_in_the_middle(prefect_session: None, tmp_path: Path) -> None:
    """Clips that are under way make folders again; the run must not go on in those."""
    media, output = make_clips(tmp_path / "media", 4), tmp_path / "runs"
    removed = partial(meet_with, "output removed", "decode", output, ended=1)
    code, said = ended(batch(media, output, "--workers", 1, before=removed))
    assert code == 1
    assert journal(output.with_name("removed"))[0]["state"] == "done"
    assert said.endswith(  # a slow machine has told before how far it is
        f"dyad: {output} has been removed, or its storage has gone, while this run wrote to it; see that it is there, then "
        "run the same command again."
    )
