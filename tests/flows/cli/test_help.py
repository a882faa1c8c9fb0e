"""What the command line tells: an example that works for every command, fast, and completion in shells."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli.app import app
from reports.exports.formats import FORMATS

ROOT = Path(__file__).resolve().parents[3]
DYAD = typer.main.get_command(app)
HERE = {**os.environ, "PYTHONPATH": str(ROOT), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
HEAVY = ["torch", "pandas", "numpy", "scipy", "prefect", "pyarrow", "cv2", "av", "transformers", "openpyxl", "fsspec", "pydantic"]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the tree with the words that lead to it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


TREE = dict(commands(DYAD))


def parsed(arguments: list[str]) -> tuple[str, ...]:
    """The command that a line leads to; fails where its arguments are not those that the command takes."""
    command, path, context = DYAD, (), None
    while True:
        context = command.make_context(command.name or "dyad", list(arguments), parent=context)
        if not hasattr(command, "commands"):
            return path
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        path = (*path, name)


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_command_shows_an_example_that_works(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.findall(r"^\s*Example: (?:[A-Z_]+=\S+ )*dyad (.+)$", TREE[path].help or "", re.MULTILINE)
    assert found, f"dyad {' '.join(path)} --help shows no example"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "incoming").mkdir()  # 'dyad watch' wants a folder that is there
    for line in found:
        assert parsed(shlex.split(line.split(" > ")[0]))[: len(path)] == path, line


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    for parameter in TREE[path].params:
        assert getattr(parameter, "help", None), f"{parameter.name} of dyad {' '.join(path)}"


def test_help_loads_none_of_the_heavy_libraries() -> None:
    """They take seconds to load; the command line answers without them."""
    script = (
        "import sys; sys.argv = ['dyad', '--help']\nimport typer.rich_utils\nbefore = len(sys.modules)\n"
        "from flows.cli.app import app\ntry: app()\nexcept SystemExit: "
        f"print([name for name in {HEAVY} if name in sys.modules], before, len(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=HERE, check=True)
    assert "dyad run clip.mp4" in done.stdout
    heavy, before, after = done.stdout.splitlines()[-1].rsplit(" ", 2)
    assert heavy == "[]"
    assert int(after) < 1.6 * int(before), "little more than the library that prints it"


def completions(line: str, shell: str = "bash") -> list[str]:
    """What the program offers for the last word of a line when a shell asks it."""
    words = line.split(" ")
    asked = {"_DYAD_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    asked |= {"_TYPER_COMPLETE_ARGS": line}
    done = subprocess.run([sys.executable, "-P", "-m", "flows"], capture_output=True, text=True, env=HERE | asked)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_shells_complete_commands_options_and_formats() -> None:
    assert completions("dyad exp") == ["export"]
    assert completions("dyad run clip.mp4 --expl")[0] == "--explain"
    assert set(completions("dyad export runs --to ")) == set(FORMATS)
    assert completions("dyad export runs --to abaw-") == ["abaw-expr"]
    assert "eaf,csv-long" in completions("dyad run clip.mp4 --export eaf,csv")
    assert any("export" in line for line in completions("dyad exp", "zsh"))


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_installs_itself(shell: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "flows", "--install-completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, env=HERE | {"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "completion installed" in done.stdout
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_DYAD_COMPLETE" in text and "dyad" in text for text in written)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_itself_completes(tmp_path: Path) -> None:
    """The script that is installed, in a real bash, with `dyad` on its path."""
    program = tmp_path / "dyad"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -P -m flows "$@"\n')
    program.chmod(0o755)
    script = 'eval "$(dyad --show-completion bash)"; COMP_WORDS=(dyad mod); COMP_CWORD=1; _dyad_completion dyad; echo $COMPREPLY'
    environment = HERE | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["models"], done.stderr


SNAPSHOT = Path(__file__).with_name("help.txt")
RENEW = "python -m tests.flows.cli.test_help > tests/flows/cli/help.txt"


def every_help() -> str:
    """What `--help` of every command prints on a terminal of 80 columns."""
    contexts: dict[tuple[str, ...], Any] = {(): None}
    for path, command in TREE.items():
        name, parent = (path[-1], contexts[path[:-1]]) if path else ("dyad", None)
        contexts[path] = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=80)
    shown = (f"$ dyad {' '.join((*path, '--help'))}\n{TREE[path].get_help(context)}\n" for path, context in contexts.items())
    return "\n".join(shown)


def test_the_help_of_every_command_is_as_it_was() -> None:
    """What is meant to change is looked over in the difference: renew the file and commit it."""
    shown = every_help()
    assert max(len(line) for line in shown.splitlines() if "$ dyad" not in line) <= 80
    assert not re.search(r"[a-z,]\.\.\.$", shown, re.MULTILINE), "no line is cut"
    assert shown == SNAPSHOT.read_text(encoding="utf-8"), f"the help has changed; if that is meant: {RENEW}"


if __name__ == "__main__":
    sys.stdout.write(every_help())
