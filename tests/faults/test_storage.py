"""Storage that is full, read-only, limited or suddenly gone: a sentence, an exit code, and the same command finishes later."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.batches import batch, ended, half_written, journal, make_clips, make_manifest, status
from tests.waiting import wait_until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB of its own, which only root may make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True, text=True)
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
    media, output = make_clips(tmp_path / "media", 2), small_disk / "runs"
    filler = fill(small_disk, but=30)
    code, said = ended(batch(media, output))
    assert code == 1, said
    assert "2 clips: 2 failed." in said
    for row in status(output).values():
        assert "the disk is full; free some space and run the same command again." in row["reason"]
    filler.unlink()
    code, said = ended(batch(media, output, "--retry-failed"))
    assert code == 0, said
    assert {row["state"] for row in status(output).values()} == {"done"}
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
    code, said = ended(batch(manifest, output, workload="quick", before=("prlimit", "--fsize=4000")))
    assert code == 1
    assert "dyad: A file cannot be written or read: it would be larger than is permitted here" in said
    before = len(journal(output))
    assert 10 < before < 60
    code, said = ended(batch(manifest, output, workload="quick"))
    assert code == 0
    assert f"60 clips: 60 done ({before} of them before)." in said


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
    media, output = make_clips(tmp_path / "media", 8), tmp_path / "runs"
    process = batch(media, output, "--workers", 1)
    wait_until(lambda: len(journal(output)) >= 1 or process.poll() is not None)
    shutil.rmtree(output, ignore_errors=True)
    code, said = ended(process)
    assert code == 1
    assert said.endswith(  # a slow machine has told before how far it is
        f"dyad: {output} has been removed, or its storage has gone, while this run wrote to it; see that it is there, then "
        "run the same command again."
    )
