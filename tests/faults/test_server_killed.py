"""The Prefect server is killed in the middle of a data set: the clips go on, a sentence says it, the same command finishes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.server.up import server_environment
from tests.faults.batches import batch, ended, journal, make_manifest, status
from tests.faults.workloads import FREE, let_go
from tests.forked import fork
from tests.free_port import free_port
from tests.media_makers import make_sound
from tests.waiting import answers, wait_until

ROOT = Path(__file__).resolve().parents[2]
Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def address() -> str:
    """An address for a server of this test's own."""
    return f"http://127.0.0.1:{free_port()}/api"


@pytest.fixture
def start(address: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the server at the address, as `dyad up` does, each time on the same database."""
    started: list[subprocess.Popen[str]] = []
    given = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = server_environment(address, given) | {"PREFECT_HOME": str(tmp_path / "home")}
    port = address.removesuffix("/api").rpartition(":")[2]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--factory", "flows.server.ui_app:create_app"]
    command += ["--port", port]

    def server() -> "subprocess.Popen[str]":
        with (tmp_path / "server.txt").open("a") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True))
        wait_until(lambda: answers(address))
        return started[-1]

    yield server
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.long
def test_the_server_is_killed_and_the_same_command_finishes(address: str, start: Start, tmp_path: Path) -> None:
    manifest, output = make_manifest(tmp_path / "media", 50), tmp_path / "runs"
    asked = {"PREFECT_API_URL": address}
    server = start()
    process = batch(manifest, output, "--workers", 2, workload="held", **asked)
    wait_until(lambda: len(journal(output)) == FREE or process.poll() is not None)
    server.kill()
    let_go(output)
    wait_until(lambda: len(journal(output)) == 50)
    code, said = ended(process, seconds=40)  # Prefect itself would try for a minute
    assert code == 1, said
    assert said.endswith(  # a slow machine has told before how far it is
        "50 of 50 clips: 50 done. The Prefect server does not answer any more; start it ('dyad up'), then run the same command: "
        "it goes on from here."
    ), f"the clips need no server: {said}"
    server = start()
    code, said = ended(batch(manifest, output, "--workers", 2, workload="held", **asked))
    assert code == 0, said
    assert "50 clips: 50 done (50 of them before)" in said
    assert [(output / f"clip{number}.txt").read_text() for number in range(50)] == ["done\n"] * 50, "each once"
    assert {row["state"] for row in status(output).values()} == {"done"}
    assert_one_clip_ends(address, server, tmp_path)


def assert_one_clip_ends(address: str, server: "subprocess.Popen[str]", tmp_path: Path) -> None:
    """The server is killed while `dyad run` works: the clip has its answer, long before Prefect would give up."""
    clip = make_sound(tmp_path / "tone.wav", codec="pcm_s16le")
    environment = {**os.environ, "PREFECT_API_URL": address}
    process = fork("run", clip, "-o", tmp_path / "one", "--no-words", environment=environment, folder=tmp_path)
    wait_until(lambda: any((tmp_path / "one").glob("tone-*/.stages/decode*")) or process.poll() is not None)
    server.kill()
    code, said = ended(process, seconds=60)
    assert code == 0, said
    assert any((tmp_path / "one").glob("tone-*/result.json"))
