"""The command line started by torchrun: two processes share a training, the first of them alone tells and writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modalities.face_networks.own_checkpoints import load_trained
from tests.face_corpora import write_clips

SIZES = {"size": 32, "patch": 8, "frames": 4, "width": 32, "depth": 2, "heads": 4, "expert_blocks": [1]}


@pytest.mark.long
def test_two_processes_train_by_the_command_line(prefect_session: None, tmp_path: Path) -> None:
    from prefect.settings import get_current_settings

    manifest = write_clips(tmp_path / "clips", 16)
    small, recipe = tmp_path / "small.yaml", tmp_path / "recipe.yaml"
    small.write_text(f"settings: {json.dumps(SIZES)}\ninput: {{size: 32, frames: 4}}\n")
    recipe.write_text("batch: 4\nstill_steps: 0.0\n")
    root = Path(__file__).parents[4]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "flows"]
    command = ["train", "dynamic-face", "--network", "s4d", "--corpus", manifest, "--fold", "1", "--labels", "basic"]
    options = ["--settings", small, "--recipe", recipe, "--epochs", "1", "--device", "cpu", "-o", tmp_path / "out"]
    place = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PREFECT_API_URL": str(get_current_settings().api.url)}
    done = subprocess.run(
        list(map(str, [*torchrun, *command, *options])), cwd=tmp_path, env=os.environ | place, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("uar (fold 1):") == 1
    assert done.stderr.count("dynamic-s4d-fold1 1/1") == 1
    written = load_trained(tmp_path / "out" / "dynamic-s4d-fold1.safetensors")
    assert (written.row.name, written.kind) == ("s4d", "dynamic")
    assert "8 to test" in (tmp_path / "out" / "dynamic-s4d-fold1.md").read_text(encoding="utf-8")
    assert not list((tmp_path / "out").glob("*.resume.pt"))
