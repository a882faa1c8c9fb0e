"""Files land in a watched folder while worker, run, watcher and server are killed at random moments: is each recognised, once?

    ./dyad benchmark kills [--moments 20] [--seed 0]

A server, a worker and a watcher of their own are started. For each moment a sound of two seconds lands; after a random time, up
to how long one takes that nobody disturbs, some of them are killed with -9, and 'dyad up' is called, as after a crash. The table
says in which state the run was then, and how the runs of the file ended.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

from benchmarks.common import header, make_parser, print_table
from data.errors import DyadError
from flows.server.client import ask

VICTIMS = (("worker",), ("run",), ("worker", "run"), ("watch",), ("worker", "run", "watch"), ("worker", "run", "watch", "server"))
"""What is killed together."""
PATIENCE = 240.0
"""Seconds after which a file counts as lost."""
OVER = ("COMPLETED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class Machine:
    """A machine's Dyad: its state folder, the watched folder, the server's address, and the environment of its commands."""

    state: Path
    watched: Path
    url: str
    environment: dict[str, str]

    def dyad(self, *arguments: object) -> str:
        """Run a command; returns what it says."""
        command = [sys.executable, "-P", "-m", "flows", *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, cwd=self.state, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise DyadError(f"dyad {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stderr

    def up(self) -> str:
        """What 'dyad up' says."""
        port = self.url.removesuffix("/api").rpartition(":")[2]
        return self.dyad("up", "--port", port, "--workers", 1, "--watch", self.watched, "--folder", self.state)

    def runs_of(self, file: Path) -> list[dict[str, Any]]:
        """The runs of a file; none while the server is away."""
        with contextlib.suppress(DyadError):
            return list(ask(self.url, "flow_runs/filter", {"flow_runs": {"name": {"any_": [file.name]}}}))
        return []

    def kill(self, victims: Sequence[str], file: Path) -> None:
        """Kill -9 the worker, the watcher or the server, and the processes of a file's runs."""
        ids = {run["id"] for run in self.runs_of(file)} if "run" in victims else set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                environment = process.environ()
                ours = environment.get("DYAD_BACKGROUND", "").startswith(f"{self.state}#")
                run, line = environment.get("PREFECT__FLOW_RUN_ID"), " ".join(process.cmdline())
                kinds = {"worker": "prefect worker", "watch": "flows watch", "server": "uvicorn"}
                if run in ids or (ours and not run and any(kinds.get(victim, "\0") in line for victim in victims)):
                    process.kill()


def machine(folder: Path) -> Machine:
    """A machine of its own in a folder, with nothing started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    watched = folder / "incoming"
    watched.mkdir(parents=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    code = str(Path(__file__).resolve().parents[1])
    own = {"DYAD_STATE": str(folder), "PYTHONPATH": code, "DYAD_TRANSCRIPT__WORDS": "off"}
    return Machine(folder, watched, url, {**kept, **own})


def land(where: Machine, name: str, seed: int) -> Path:
    """A sound of two seconds, like no other, lands in the watched folder."""
    sound = np.random.default_rng(seed + 1).normal(0, 0.1, 32_000)
    soundfile.write(where.state / name, sound, 16_000)
    (where.state / name).rename(where.watched / name)
    return where.watched / name


def ended(where: Machine, file: Path) -> float:
    """Seconds until every run of a file has ended, and there is one; `PATIENCE` at most."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        runs = where.runs_of(file)
        if runs and all(run["state_type"] in OVER for run in runs):
            break
        time.sleep(0.5)
    return time.monotonic() - began


def survive(where: Machine, number: int, victims: Sequence[str], after: float) -> tuple[str, float, list[str], bool]:
    """Let a file land, kill after so many seconds, call 'dyad up'.

    Returns the run's state then, the seconds until all was well again, how the file's runs ended, and whether it has an answer.
    """
    file = land(where, f"sound{number}.wav", number)
    time.sleep(after)
    then = ", ".join(run["state_name"] for run in where.runs_of(file)) or "none yet"
    where.kill(victims, file)
    where.up()
    seconds = ended(where, file)
    states = [str(run["state_type"]) for run in where.runs_of(file)]
    return then, seconds, states, any((where.state / "runs").glob(f"sound{number}-*/result.json"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chance = random.Random(options.seed)
    print(header(), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        where = machine(Path(folder))
        os.environ["DYAD_STATE"] = folder  # where the password lies that this process says to the server
        try:
            where.up()
            usual = ended(where, land(where, "undisturbed.wav", -1))
            if usual >= PATIENCE:
                raise DyadError(f"A file that nobody disturbs was not recognised in {PATIENCE:.0f} s; see {folder}/logs.")
            rows: list[list[object]] = []
            for number in range(options.moments):
                victims, after = chance.choice(VICTIMS), chance.uniform(0, usual)
                then, seconds, states, answered = survive(where, number, victims, after)
                well = answered and states == ["COMPLETED"]
                shown = " + ".join(victims), f"{after:.1f}", then, f"{seconds:.0f}", ", ".join(states)
                rows.append([*shown, "yes" if well else "NO"])
                print(f"{number + 1}: {rows[-1]}", file=sys.stderr, flush=True)
        finally:
            where.dyad("down")
    print_table(["killed", "after s", "state then", "s until the end", "runs in the end", "recognised once"], rows)
    once = sum(row[-1] == "yes" for row in rows)
    print(f"\n{once} of {len(rows)} files were recognised once; undisturbed it takes {usual:.0f} s.")


if __name__ == "__main__":
    main()
