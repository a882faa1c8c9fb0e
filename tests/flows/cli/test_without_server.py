"""Runs without a server start none, and load nothing that they do not need; what is started for them ends with them."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import MediaError
from data.run_folder import RunFolder
from flows.cli import app
from flows.server import prefect_setup
from flows.server.client import common_environment
from flows.server.password import password_for, temporary_password
from tests.conftest import ROOT
from tests.waiting import has_ended, wait_until

HEAVY = ("prefect", "torch", "cv2", "mediapipe", "transformers", "whisper", "sklearn", "matplotlib")
COMMANDS = """
import sys
from flows.cli.app import main

for words in {commands}:
    sys.argv = ["dyad", *words]
    try:
        main()
    except SystemExit as ended:
        print("code", ended.code)
print("loaded", *[name for name in {heavy} if name in sys.modules])
"""


def in_a_process(*commands: list[str], home: Path) -> tuple[list[str], str]:
    """What commands print in a process without a server: the lines and the errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)}
    code = COMMANDS.format(commands=list(commands), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout.splitlines(), done.stderr


def test_a_done_clip_and_wrong_arguments_need_neither_server_nor_networks(sample_run: RunFolder, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(sample_run.root, runs / sample_run.root.name)
    lines, errors = in_a_process(["run", "nowhere.mp4"], ["demo", "-o", str(runs), "--json"], home=tmp_path / "home")
    assert [line for line in lines if line.startswith("code")] == ["code 1", "code 0"]
    assert lines[-1] == "loaded"
    assert "There is no file nowhere.mp4" in errors
    assert "done" not in errors, "no stage ran"
    assert not (tmp_path / "home").exists(), "no database of Prefect's"


@pytest.mark.parametrize("moment", ["configs.settings.load_settings", "typer.main.get_command"])
def test_sigterm_while_a_command_starts(
    moment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the command itself, and while Typer puts the commands together."""
    monkeypatch.setattr(moment, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr("sys.argv", ["dyad", "run", "clip.mp4"])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 130
    assert "Stopped at your request" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_command_line_is_imported(number: signal.Signals) -> None:
    code = (
        f"import sys, os; sys.orig_argv = ['python', '-m', 'flows', 'run']; import flows; os.kill(os.getpid(), {int(number)})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (130, "dyad: Stopped at your request, before anything had begun.\n")


@pytest.mark.usefixtures("prefect_session")
def test_a_temporary_server_asks_for_a_password() -> None:
    """The harness starts it as a run without a server does."""
    import httpx
    from prefect.settings import get_current_settings

    told = get_current_settings().api
    assert told.auth_string is not None
    user, _, password = told.auth_string.get_secret_value().partition(":")
    asked = {"url": f"{told.url}/flow_runs/filter", "json": {"limit": 1}}
    assert httpx.post(**asked).status_code == 401
    assert httpx.post(**asked, auth=(user, password[:-1])).status_code == 401
    assert httpx.post(**asked, auth=(user, password)).status_code == 200


def test_the_password_of_a_temporary_server_is_said_to_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", temporary_password())
    assert password_for("https://cloud.example/api") == ""
    assert "PREFECT_API_AUTH_STRING" not in common_environment("https://cloud.example/api", os.environ)


@pytest.mark.skipif(os.name != "posix", reason="it needs a shell")
def test_a_temporary_server_ends_with_its_process() -> None:
    code = (
        "import os, signal, subprocess; from flows.server.prefect_setup import _end_with_us\n"
        "server = subprocess.Popen(['sleep', '600'])\n_end_with_us(server.pid)\nprint(server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    server = int(killed.stdout)
    wait_until(lambda: has_ended(server))


def test_a_temporary_server_that_is_gone_is_known_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the end of a run tries for two minutes to send it what happened."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert not prefect_setup.server_is_gone()
        monkeypatch.setattr(prefect_setup, "_temporary", [SubprocessASGIServer(port=9)])
        assert prefect_setup.server_is_gone()


def test_threads_and_prefect_give_the_same(sample_run: RunFolder, copied_run: RunFolder) -> None:
    """The clip of the sample, done by the flow, is done for the threads too."""
    from configs.settings import load_settings
    from data.sample import sample_clip
    from flows.clip.stages import STAGES
    from flows.files import Wanted, run_file
    from flows.job import Brought
    from flows.runtime.events import Event, listening

    told: list[Event] = []
    clip = sample_clip()
    brought = Brought(descriptions=clip.with_name("sample_descriptions.csv"))
    with listening(told.append):
        folder = run_file(clip, Wanted(copied_run.root.parent, load_settings(), brought))
        missing = run_file(Path("nowhere.mp4"), Wanted(copied_run.root.parent, load_settings()))
    assert folder == copied_run.root
    assert {event.state for event in told} == {"skipped"}
    assert len(told) == len(STAGES)
    assert isinstance(missing, MediaError)
