"""The command line, put together. Heavy libraries are imported inside the commands, so that `dyad --help` answers at once."""

import contextlib
import io
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import typer

from data.terminal import guarded, printable
from flows.cli.batch import batch
from flows.cli.corpora import corpus, faces
from flows.cli.export import export, schema
from flows.cli.fuse import fuse_app
from flows.cli.models import models_app
from flows.cli.options import Sections
from flows.cli.render import render
from flows.cli.report import compare, evaluate, figure, report
from flows.cli.run import demo, run, score
from flows.cli.server import deploy, down, logs, retention, retry, status, up, watch, worker
from flows.cli.setup import doctor, settings
from flows.cli.train import train_app
from flows.runtime import starting
from flows.runtime.state_folder import made, opened_privately, state_folder

debugging = threading.Event()
"""Whether unexpected errors are shown with what the code was doing."""

app = typer.Typer(
    name="dyad",
    cls=Sections,
    help="Which compound expressions does a video show, when, and what says so.\n\nExample: dyad run clip.mp4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: Mapping[str, Sequence[Callable[..., None] | typer.Typer]] = {
    "Recognise": (run, demo, batch, score),
    "Look at answers": (report, figure, compare, evaluate, render, export, schema),
    "Data sets": (corpus, faces, fuse_app),
    "Models, training and settings": (models_app, train_app, settings, doctor),
    "Server": (up, down, status, logs, retry, deploy, worker, watch, retention),
}
"""The commands by the section of `dyad --help` that they stand in."""
for section, commands in COMMANDS.items():
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=section)
        else:
            app.command(rich_help_panel=section)(command)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads and forks warn on stderr


def _say_version(asked: bool) -> None:
    if asked:
        from data.version import version

        print(f"dyad {version()}")
        raise typer.Exit


@app.callback()
def _set_up(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_say_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show what the code was doing when an unexpected error occurs.")] = False,
) -> None:
    if debug:
        debugging.set()


def main() -> None:
    """Run the command line; problems end as one sentence on stderr, and what nobody expected is in the log of errors."""
    from data.errors import EmptyTableError, InputError
    from flows.runtime.errors import Interrupted, known_sentence

    debugging.clear()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # UTF-8 whatever the locale; what is no text is shown as in JSON: \udce9
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    threading.excepthook = lambda told: None if told.exc_value is None else _log(told.exc_value)
    with guarded():
        try:
            with _interrupted_by_sigterm():
                app(prog_name="dyad")
        except KeyboardInterrupt:  # while Typer puts the command together, where it sees to nothing
            _fail(known_sentence(Interrupted()), 130)
        except SystemExit as ended:
            if _was_interrupted(ended):
                _fail(known_sentence(Interrupted()), 130)
            raise
        except Exception as error:
            if debugging.is_set():
                sys.excepthook = lambda _, error, __: sys.stderr.writelines(map(printable, traceback.format_exception(error)))
                raise
            wrongly_asked = isinstance(error, InputError) and not isinstance(error, EmptyTableError)
            _fail(known_sentence(error) or _log(error), 2 if wrongly_asked else 1)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does, so that nothing is left behind; a command may do otherwise while it works."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    starting.over()  # only now: there is no moment in which SIGTERM ends the process without a word
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is starting.end else before)


def _was_interrupted(ended: SystemExit) -> bool:
    """Whether a command was interrupted that did not see to it itself: Typer ends it without a word."""
    told = ended.__context__
    return isinstance(told, typer.Exit) and isinstance(told.__cause__, KeyboardInterrupt)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"dyad: {message}\n")
    sys.exit(code)


def _log(error: BaseException) -> str:
    """Append what the code was doing to the log of errors; returns the sentence that says where that is."""
    file = state_folder() / "logs" / "errors.log"
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    try:
        made(file.parent)
        with open(file, "a", encoding="utf-8", opener=opened_privately) as stream:
            lines = [f"{datetime.now():%F %T} {shlex.join(sys.argv)}\n", *traceback.format_exception(error)]
            stream.write(printable("".join([*lines, "\n"])))
    except OSError:
        return f"An error that was not expected: {said}; 'dyad --debug' and the same words show more."
    return f"An error that was not expected: {said}; {file} has the details."
