"""Fixtures that several test modules use."""

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

if "PYTEST_XDIST_WORKER" in os.environ:  # as many threads as processes would be twice the cores; torch and BLAS read it once
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import modalities  # noqa: F401 (before any test imports torch: it sets how its threads wait)
from data.run_folder import RunFolder
from data.sample import sample_clip
from tests.browser import open_page  # noqa: F401 (a fixture)
from tests.forked import ROOT, fork
from tests.free_port import free_port

gc.disable()  # until all tests are collected: what they import stays, so that looking through it time and again frees nothing

# Before any test imports flows: a server that 'dyad up' started on this machine is none of the tests' business.
os.environ["DYAD_STATE"] = tempfile.mkdtemp(prefix="dyad-tests-")
# Each client of Prefect reads all authorities of the web, some for each task of a run; servers of the tests need none.
AUTHORITY = Path(os.environ["DYAD_STATE"]) / "authority.pem"
AUTHORITY.write_text(certifi.contents().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
os.environ["PREFECT_API_SSL_CERT_FILE"] = str(AUTHORITY)
os.environ["MPLCONFIGDIR"] = os.environ["DYAD_STATE"]  # what matplotlib found once of fonts, processes that tests start find
os.environ["PYTHONPATH"] = str(ROOT)  # for the processes that tests start, as ./dyad has it
# How long examples take is the machine's business, and which ones are tried is not left to chance.
slowness = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("dyad", deadline=None, derandomize=True, suppress_health_check=slowness)
hypothesis.settings.load_profile("dyad")


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["DYAD_STATE"], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is long or needs `own_server` is slow; in several processes files with slow tests come first, so that none ends long
    after the others."""
    for item in items:
        if item.get_closest_marker("long") or "own_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was captured can be sent from a process to the one that reports: names that are no UTF-8 could not."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


class _ByFile(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests run in one process, and so do those of `flows/server`, which share a server with a worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "server" if file.startswith("tests/flows/server/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile | None:
    return _ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and parity files beside the project; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with real data and parity files is not here")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Sums in one order: what is compared is equal to the last digit, also with another process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def prefect_session() -> Iterator[None]:
    """A real Prefect server with a database of its own, one for the whole session.

    Nothing in it acts on events or reads them later; that is half of what a server computes for a run.
    """
    from flows.server.prefect_setup import without_heartbeats  # isort: skip (Prefect reads its variables at its import)
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch:
        for service in ("TRIGGERS", "EVENT_PERSISTER"):
            patch.setenv(f"PREFECT_SERVER_SERVICES_{service}_ENABLED", "false")
        with prefect_test_harness(server_startup_timeout=180), without_heartbeats():
            yield


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
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with a tiny Whisper, and beside it `voice.safetensors`, a layer of random weights that knows it."""
    from tests.tiny_voice import save_layer, save_whisper

    models = tmp_path_factory.mktemp("whisper")
    save_layer(models / "voice.safetensors", save_whisper(models))
    return models


@pytest.fixture
def tiny_voice(tiny_whisper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A voice that answers by the tiny Whisper, which hears no words."""
    monkeypatch.setenv("DYAD_MODELS", str(tiny_whisper))
    monkeypatch.setenv("DYAD_VOICE__WEIGHTS", str(tiny_whisper / "voice.safetensors"))
    monkeypatch.setenv("DYAD_TRANSCRIPT__WORDS", "off")


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
    from flows.cli.app import main

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


HOLDS_UP = "starting-is-held-up"
SITE = """
import os, time
while "PREFECT__FLOW_RUN_ID" in os.environ and os.path.exists({!r}):
    time.sleep(0.02)
"""
"""Python's own `sitecustomize`, which each process reads first."""


@dataclass(frozen=True)
class OwnServer:
    """What `dyad up` started, with a state folder of its own; `folder` is where its commands run."""

    url: str
    folder: Path
    environment: dict[str, str]

    def dyad(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """Run the command line in a process of its own, which finds the server by itself."""
        return fork(*arguments, environment=self.environment, folder=self.folder).ended(300)

    @property
    def state(self) -> Path:
        """Its state folder."""
        return Path(self.environment["DYAD_STATE"])

    def ask(self, path: str, question: dict[str, Any] | None = None, method: str = "") -> Any:
        """The API's answer."""
        from flows.server.client import ask

        with self.as_owner():
            return ask(self.url, path, question, method)

    @contextlib.contextmanager
    def as_owner(self) -> Iterator[None]:
        """Inside the block this process belongs to the server's owner: it finds the server's notes and its password."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DYAD_STATE", str(self.state))
            yield

    @contextlib.contextmanager
    def starting_is_held_up(self) -> Iterator[None]:
        """Inside the block the processes of runs wait before they do anything, so that they can be killed while they start."""
        (self.folder / HOLDS_UP).touch()
        yield
        (self.folder / HOLDS_UP).unlink()

    @property
    def entrance(self) -> str:
        """The address that lets a browser in, as `dyad up` tells it."""
        return next(word for word in self.dyad("up").stdout.split() if word.startswith("http"))

    @property
    def password(self) -> tuple[str, str]:
        """The user and the password that it asks for."""
        user, _, password = (self.state / "password").read_text().partition(":")
        return user, password

    def run_named(self, name: str, wanted: str = "COMPLETED", seconds: float = 150) -> dict[str, Any]:
        """The last run of this name when it has reached the state."""
        until, found = time.monotonic() + seconds, []
        while time.monotonic() < until:
            of_name = {"flow_runs": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
            found = self.ask("flow_runs/filter", of_name)
            if found and found[0]["state_type"] == wanted:
                return dict(found[0])
            time.sleep(0.3)
        raise AssertionError(f"{name}: {[(run['state_name'], (run['state'] or {}).get('message')) for run in found]}")

    def ended(self, run: str, seconds: float = 150) -> str:
        """How a run ended, waiting for it."""
        until, state = time.monotonic() + seconds, ""
        while time.monotonic() < until and state not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            time.sleep(0.3)
            state = str(self.ask(f"flow_runs/{run}")["state_type"])
        return state


@pytest.fixture(scope="session")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server with a worker, as `dyad up` starts them."""
    folder = tmp_path_factory.mktemp("own-server")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE.format(str(folder / HOLDS_UP)))
    environment = {
        **kept, "DYAD_STATE": str(folder / "state"), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder / 'site'}",
        "PREFECT_HOME": str(folder / "home"),
    }  # fmt: skip
    server = OwnServer(f"http://127.0.0.1:{port}/api", folder, environment)
    try:
        started = server.dyad("up", "--port", port, "--workers", 1)
        assert started.returncode == 0, started.stderr
        yield server
    finally:
        server.dyad("down")
