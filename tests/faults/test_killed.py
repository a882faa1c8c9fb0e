"""Processes that are killed in the middle of a data set: the same command again finishes it, each clip once."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from data.files import file_digest
from data.manifest.manifest import manifest_of_folder
from data.media.clip import clip_id_of
from tests.faults.batches import assert_all_done_once, batch, ended, half_written, journal, make_clips
from tests.faults.workloads import meet_with
from tests.forked import ROOT

DIES = """
import os, pathlib, sys
from data.files import atomic_path
with atomic_path(pathlib.Path(sys.argv[1])) as aside:
    aside.write_text("half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_the_run_is_killed_and_the_same_command_goes_on(prefect_session: None, tmp_path: Path) -> None:
    media, output = make_clips(tmp_path / "media", 6), tmp_path / "runs"
    killed = partial(meet_with, "killed", "faces", output, ended=2)
    assert ended(batch(media, output, "--workers", 2, before=killed))[0] == -9
    names = [str(line["clip_id"]) for line in journal(output)]
    assert 2 <= len(names) < 6
    file = next(Path(row.path) for row in manifest_of_folder(media).rows() if row.clip_id not in names)
    begun = output / clip_id_of(file.stem, file_digest(file))
    die_while_writing(begun / "result.json", begun / ".stages" / "decode.json", output / "dataset.parquet")
    assert len(half_written(output)) >= 3
    lines = (output / "journal.jsonl").read_bytes()
    (output / "journal.jsonl").write_bytes(lines + lines[:50])  # a line that the end of the process cut off
    ended_before = [output / line["folder"] / "result.json" for line in journal(output)]
    results = {path: path.stat().st_mtime_ns for path in ended_before}
    finished = len(list(output.glob("*/result.json")))  # of which the last ones may be missing in the journal
    code, said = ended(batch(media, output, "--workers", 2))
    assert code == 0, said
    assert any(f"6 clips: 6 done ({before} of them before)" in said for before in range(len(names), finished + 1)), said
    assert_all_done_once(output, 6)
    assert {path: path.stat().st_mtime_ns for path in results} == results, "what was done is not done again"


def die_while_writing(*paths: Path) -> None:
    """For each file, a process that is killed while it writes it as all of Dyad writes."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-c", DIES, str(path)]
        assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode == -9
