"""Fixtures that several test modules use."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modalities  # noqa: F401 (before any test imports torch: it sets how its threads wait)
from data.run_folder import RunFolder
from data.sample import sample_clip

ROOT = Path(__file__).resolve().parents[1]
# Before any test imports flows: a server that 'dyad up' started on this machine is none of the tests' business.
os.environ["DYAD_STATE"] = tempfile.mkdtemp(prefix="dyad-tests-")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and parity files beside the project; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with real data and parity files is not here")
    return folder


@pytest.fixture(scope="session")
def prefect_session() -> Iterator[None]:
    """A real Prefect server with a database of its own, one for the whole session."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.prefect_setup import without_heartbeats

    with prefect_test_harness(server_startup_timeout=180), without_heartbeats():
        yield


@pytest.fixture(autouse=True, scope="session")
def _state_folder_removed() -> Iterator[None]:
    yield
    shutil.rmtree(os.environ["DYAD_STATE"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> Iterator[None]:
    """A shell that runs the tests in the background has them ignore Ctrl-C, and so would the processes they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def _no_models_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whisper and CLIP checkpoints that happen to lie on the machine must not change what the tests see."""
    with pytest.MonkeyPatch.context() as patch:
        empty = tmp_path_factory.mktemp("no-models")
        for name in ("DYAD_MODELS", "HF_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(empty))
        patch.delenv("HF_HUB_CACHE", raising=False)
        yield


@pytest.fixture(scope="session")
def sample_run(prefect_session: None, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run folder of the sample clip, recognised once with everything that comes with it. Read it, never write to it."""
    from flows.video import recognise_video

    clip = sample_clip()
    output = tmp_path_factory.mktemp("runs")
    return RunFolder(recognise_video(clip, output=output, descriptions=clip.with_name("sample_descriptions.csv")))


@pytest.fixture
def copied_run(sample_run: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the sample's run folder to go on from."""
    folder = tmp_path / "runs" / sample_run.root.name
    shutil.copytree(sample_run.root, folder)
    return RunFolder(folder)


@pytest.fixture
def dyad(
    prefect_session: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line, run in this process: `dyad('run', 'clip.mp4')` gives exit code, stdout, stderr."""
    from flows.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["dyad", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call


@pytest.fixture(scope="session")
def result_of() -> Callable[[RunFolder], dict[str, Any]]:
    """Reads `result.json` and checks it against the schema."""
    import jsonschema

    schema = json.loads((ROOT / "reports" / "result.schema.json").read_text())

    def read(folder: RunFolder) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(folder.result.read_text(encoding="utf-8"))
        jsonschema.validate(result, schema)
        return result

    return read
