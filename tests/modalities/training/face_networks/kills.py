"""Trainings that are killed at a known moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.forked import ROOT

PRELUDE = """
import os, signal, sys
saves = 0
def at_rename(event, given):
    global saves
    if event == "os.rename" and os.fspath(given[1]) == {resume!r}:
        saves += 1
        if saves == {save}:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(at_rename)
"""


def killed_at_save(program: str, resume: Path, save: int) -> None:
    """Run a training in a process that dies while it puts its `save`-th state into place: the one before it stays."""
    run = [sys.executable, "-c", PRELUDE.format(resume=os.fspath(resume), save=save) + program]
    assert subprocess.run(run, cwd=ROOT, timeout=300).returncode == -signal.SIGKILL, "it was to be killed"
