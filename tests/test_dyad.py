"""`import dyad` costs little and names packages of others in the place of Dyad's; the wheel holds what the clone does."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("configs", "data", "flows", "fusion", "modalities", "reports")


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True)


def test_importing_dyad_imports_nothing_of_it_until_a_call_is_named() -> None:
    done = python("import dyad, sys; assert 'flows' not in sys.modules; print(dyad.recognise.__module__, dir(dyad))", ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("flows.api ")
    assert "'recognise_all'" in done.stdout


@pytest.mark.parametrize("code", ["import dyad", "import data, dyad"])
def test_a_package_of_another_project_in_the_place_of_ours_is_named(code: str, tmp_path: Path) -> None:
    foreign = tmp_path / "data" / "__init__.py"
    foreign.parent.mkdir()
    foreign.touch()
    done = python(code, tmp_path, ROOT)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: Dyad's own packages lie in {ROOT}, but Python finds these instead: 'data' ({foreign}).")
    assert "docs/installation.md" in last


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(tmp_path: Path) -> None:
    folders = [ROOT / name for name in (*PACKAGES, "benchmarks", "tests")]
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dyad.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('built'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "built").glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert held == {"dyad.py", *(path.relative_to(ROOT).as_posix() for path in files)}
