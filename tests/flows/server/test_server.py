"""`dyad up`, `down` and `status` with real processes: found again, never taken for another, killed and taken up again."""

import json
import os
import signal
import socket
import subprocess
import sys
import timeit
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data.errors import InputError
from flows.runtime.state_folder import state_folder
from flows.server import prefect_setup, processes
from flows.server.client import common_environment
from flows.server.lost_runs import under_way
from flows.server.up import database_address, server_environment
from tests.conftest import ROOT, OwnServer
from tests.free_port import free_port
from tests.media_makers import make_sound
from tests.waiting import answers, wait_until

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of the test's own; what was started in it is stopped."""
    monkeypatch.setenv("DYAD_STATE", str(tmp_path))
    yield tmp_path
    processes.stop_left_behind()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Two seconds of sound, the quickest thing to recognise."""
    return make_sound(tmp_path / "tone.wav", codec="pcm_s16le")


def pid_of(server: OwnServer, name: str) -> int:
    return int(json.loads((server.state / "processes" / f"{name}.json").read_text())["pid"])


def start_sleeper(name: str = "sleeper") -> processes.Background:
    """`python -m timeit` sleeping for ten minutes: a background process that does nothing."""
    return processes.start(name, ["timeit", "-n", "1", "-r", "1", "import time; time.sleep(600)"], os.environ)


def open_to_others(folder: Path) -> list[str]:
    """What in a folder others than its owner may read or write, the folder itself included; what a worker keeps of a run that
    failed lies in a closed folder of its own, and counts as that."""
    paths = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink() and path.parent.name != "storage"]
    return sorted(str(path.relative_to(folder)) for path in paths if path.stat().st_mode & 0o077)


def test_nobody_else_reads_what_the_server_keeps(own_server: OwnServer) -> None:
    """Notes, logs, the database; under the usual umask, by which all may read what a program writes."""
    assert (own_server.state / "prefect" / "prefect.db").is_file()
    assert open_to_others(own_server.state) == []


def test_what_an_earlier_version_left_open_is_closed(state: Path) -> None:
    state.chmod(0o700)
    for name in ("logs/sleeper.log", "processes/sleeper.json"):
        (state / name).parent.mkdir()
        (state / name).touch()
    assert open_to_others(state) != []
    start_sleeper()
    assert open_to_others(state) == []


def test_up_again_leaves_what_runs_alone(own_server: OwnServer) -> None:
    before = pid_of(own_server, "server"), pid_of(own_server, "worker-1")
    again = own_server.dyad("up")
    assert again.returncode == 0, again.stderr
    assert "runs already" in again.stderr
    assert own_server.url.removesuffix("/api") in again.stdout
    assert f"export PREFECT_API_URL={own_server.url} PREFECT_API_AUTH_STRING=" in again.stdout
    assert before == (pid_of(own_server, "server"), pid_of(own_server, "worker-1"))


def test_another_port_while_it_runs_is_refused(own_server: OwnServer) -> None:
    refused = own_server.dyad("up", "--port", 9)
    assert refused.returncode == 2
    assert "already runs on port" in refused.stderr


def test_status_tells_what_is_there(own_server: OwnServer) -> None:
    told = own_server.dyad("status")
    assert told.returncode == 0, told.stdout
    for expected in ("recognise-video", "retention", "30 4 * * *", "worker-1", str(own_server.state)):
        assert expected in told.stdout


def test_a_failed_run_can_be_read_about_and_run_again(own_server: OwnServer, sound: Path) -> None:
    clip = sound.rename(sound.with_name("retried.wav"))
    content = clip.read_bytes()
    clip.write_text("no sound")
    deployment = own_server.ask("deployments/name/recognise-video/recognise-video")["id"]
    parameters = {"video": str(clip), "output": str(own_server.folder / "runs")}
    run = own_server.ask(f"deployments/{deployment}/create_flow_run", {"name": "retried", "parameters": parameters})
    assert own_server.ended(run["id"]) == "FAILED"
    own_server.run_named("retried.wav", "FAILED")
    # What a run logs and prints arrives a little after its end.
    wait_until(lambda: "holds text, not video or sound" in own_server.dyad("logs", "retried.wav").stdout)
    wait_until(lambda: "holds text, not video or sound" in own_server.dyad("logs", "worker-1").stdout)
    assert own_server.dyad("logs", "retried.wav").stdout.startswith("retried.wav: Failed\n")
    assert "no process named nobody" in own_server.dyad("logs", "nobody").stderr
    clip.write_bytes(content)
    again = own_server.dyad("retry", "retried.wav")
    assert "Scheduled again: retried.wav." in again.stderr, again.stdout
    own_server.run_named("retried.wav")
    assert "No run named retried.wav has failed" in own_server.dyad("retry", "retried.wav").stderr


def test_the_ui_calls_its_own_server(own_server: OwnServer) -> None:
    import httpx

    address = own_server.url.removesuffix("/api")
    assert httpx.get(f"{address}/ui-settings").json()["api_url"] == own_server.url
    assert "<div id=" in httpx.get(address, follow_redirects=True).text


def test_pages_talk_to_nobody_else(own_server: OwnServer) -> None:
    import httpx

    place = own_server.url.removeprefix("http://").removesuffix("/api")
    for path in ("", "/v2/dashboard", "/dashboard", "/api/health"):
        answer = httpx.get(f"http://{place}{path}", follow_redirects=True)
        assert answer.headers["content-security-policy"] == f"connect-src 'self' http://{place} ws://{place}"


def test_dyad_run_uses_the_server(own_server: OwnServer, sound: Path) -> None:
    ran = own_server.dyad("run", sound, "-o", "runs-of-the-test")
    assert ran.returncode == 0, ran.stderr
    assert "temporary" not in ran.stderr
    assert own_server.run_named(sound.name)["parameters"]["video"] == str(sound)


def test_a_worker_killed_with_its_run_loses_nothing(own_server: OwnServer, sound: Path) -> None:
    """The run is scheduled again by the next `dyad up`, and ends well."""
    clip = sound.rename(sound.with_name("killed.wav"))
    deployment = own_server.ask("deployments/name/recognise-video/recognise-video")["id"]
    parameters = {"video": str(clip), "output": str(own_server.folder / "runs")}
    with own_server.starting_is_held_up():
        run = own_server.ask(f"deployments/{deployment}/create_flow_run", {"name": "killed", "parameters": parameters})
        wait_until(lambda: bool(own_server.ask(f"flow_runs/{run['id']}")["infrastructure_pid"]))
        child = int(own_server.ask(f"flow_runs/{run['id']}")["infrastructure_pid"])
        for pid in (pid_of(own_server, "worker-1"), child):
            os.kill(pid, signal.SIGKILL)
    assert own_server.dyad("status").returncode == 1, "no worker any more"
    again = own_server.dyad("up")
    assert again.returncode == 0, again.stderr
    assert "scheduled again: killed" in again.stderr
    assert own_server.ended(run["id"]) == "COMPLETED"
    with own_server.as_owner():
        assert not under_way(own_server.url)


def test_a_killed_server_is_noticed_and_started_again(own_server: OwnServer) -> None:
    before = pid_of(own_server, "server")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not answers(own_server.url))
    told = own_server.dyad("status")
    assert told.returncode == 1
    assert "dyad up" in told.stdout
    port = own_server.url.removesuffix("/api").rpartition(":")[2]
    again = own_server.dyad("up", "--port", port)
    assert again.returncode == 0, again.stderr
    assert pid_of(own_server, "server") != before
    assert own_server.dyad("status").returncode == 0


def test_without_a_server_status_says_what_to_do(state: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-P", "-m", "flows", "status"], capture_output=True, text=True,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert told.returncode == 1
    assert "Start it with 'dyad up'" in told.stdout


def test_a_port_that_is_taken_is_a_sentence(state: Path) -> None:
    from flows.server.up import bring_up

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="taken by another program; choose another one with --port"):
            bring_up(taken.getsockname()[1], 1, (), state, print)


def test_other_machines_are_let_in_when_asked(state: Path) -> None:
    """The server answers on every address of this machine, and its pages call it by the machine's name."""
    import httpx

    from flows.server.up import _server

    port = free_port()
    server = _server(port, print, "0.0.0.0")
    try:
        assert httpx.get(f"http://127.0.0.1:{port}/ui-settings").json()["api_url"] == f"http://{socket.gethostname()}:{port}/api"
        with socket.create_connection(("127.0.0.2", port), timeout=5):
            pass  # loopback, but not the address that is the default
    finally:
        processes.stop([server])


def test_a_process_outlives_and_is_found_again(state: Path) -> None:
    started = start_sleeper()
    found = processes.running("sleeper")
    assert found == started
    assert found.process
    processes.stop([found])
    assert processes.running("sleeper") is None
    assert started.process is None


def test_another_program_with_the_noted_pid_is_left_alone(state: Path) -> None:
    started = start_sleeper()
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        note = state / "processes" / "sleeper.json"
        note.write_text(note.read_text().replace(str(started.pid), str(innocent.pid)))
        stale = processes.noted("sleeper")
        assert stale
        processes.stop([stale])
        assert innocent.poll() is None, "it was somebody else's process"
        assert processes.running("sleeper") is None
    finally:
        innocent.kill()
        innocent.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "\x00\x00"])
def test_a_damaged_note_is_no_note(state: Path, content: str) -> None:
    (state / "processes").mkdir()
    (state / "processes" / "server.json").write_text(content)
    assert processes.running("server") is None
    assert prefect_setup.own_server() == ""


def test_who_does_not_listen_is_killed_with_its_children(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.5)
    starts_another = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {STUBBORN!r}])"
    (state / "stubborn.py").write_text(f"{starts_another}\n{STUBBORN}")
    started = processes.start("stubborn", ["stubborn"], {**os.environ, "PYTHONPATH": str(state)})
    wait_until(lambda: processes.log_of("stubborn").read_text().count("ready") == 2)
    family = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
    assert len(family) == 2
    processes.stop([started])
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family)


def test_what_a_killed_process_left_behind_is_found(state: Path) -> None:
    (state / "parent.py").write_text(f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).wait()")
    started = processes.start("parent", ["parent"], {**os.environ, "PYTHONPATH": str(state)})
    wait_until(lambda: "ready" in processes.log_of("parent").read_text())
    os.kill(started.pid, signal.SIGKILL)
    assert processes.stop_left_behind() >= 1


@pytest.mark.timing
def test_looking_for_the_server_takes_no_time(state: Path) -> None:
    started = start_sleeper("server")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        note = state / "processes" / "server.json"
        facts = f'{{"host": "127.0.0.1", "port": {closed.getsockname()[1]}, "url": "http://127.0.0.1:1/api"}}'
        note.write_text(note.read_text().replace("{}", facts))
        assert processes.noted("server").facts["port"]  # type: ignore[union-attr]
        assert prefect_setup.own_server() == "", "its process runs and takes no connections"
        without = min(timeit.repeat(prefect_setup.own_server, number=1))
        closed.listen()
        assert prefect_setup.own_server() == "http://127.0.0.1:1/api"
        assert without < 20 * min(timeit.repeat(prefect_setup.own_server, number=1))
    processes.stop([started])
    assert prefect_setup.own_server() == ""


def test_a_server_that_the_user_names_comes_first(own_server: OwnServer) -> None:
    show = "import flows, os; print(os.environ.get('PREFECT_API_URL'))"

    def chosen(**more: str) -> str:
        environment = {**own_server.environment, **more}
        return subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, text=True).stdout.strip()

    assert chosen() == own_server.url
    assert chosen(PREFECT_API_URL="http://elsewhere/api") == "http://elsewhere/api"
    home = own_server.folder / "with-profile"
    home.mkdir()
    (home / "profiles.toml").write_text('active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://mine/api"\n')
    assert chosen(PREFECT_HOME=str(home)) == "None", "Prefect itself reads the profile"


def test_the_environment_of_a_server(state: Path) -> None:
    built = server_environment("http://127.0.0.1:4300/api", {"DYAD_DATABASE_URL": "postgres://me:secret@db/dyad", "HOME": "/h"})
    assert built["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://me:secret@db/dyad"
    assert built["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert built["PREFECT_HOME"] == str(state_folder() / "prefect")
    assert "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in server_environment("http://x/api", {})
    assert common_environment("http://x/api", {"PYTHONPATH": "/mine"})["PYTHONPATH"] == f"{ROOT}{os.pathsep}/mine"
    assert common_environment("http://x/api", {"PREFECT_SERVER_ANALYTICS_ENABLED": "true"})[
        "PREFECT_SERVER_ANALYTICS_ENABLED"
    ] == "true", "what the user set is kept"


@pytest.mark.parametrize("given", ["mysql://me@db/dyad", "sqlite:///here.db", "db"])
def test_another_kind_of_database_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="PostgreSQL"):
        database_address(given)
