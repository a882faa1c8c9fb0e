"""The command line, put together. Heavy libraries are imported inside the commands, so that `dyad --help` answers at once."""

import os
import sys

import typer

from flows.cli.batch import batch
from flows.cli.corpora import corpus, faces
from flows.cli.export import export, schema
from flows.cli.fuse import fuse_app
from flows.cli.models import models_app
from flows.cli.report import render, report
from flows.cli.run import demo, run, score
from flows.cli.server import deploy, down, retention, status, up, watch, worker
from flows.cli.setup import doctor, settings
from flows.cli.train import train_app

app = typer.Typer(
    name="dyad",
    help="Which compound expressions does a video show, when, and what says so.\n\nExample: dyad run clip.mp4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    run, demo, score, batch, report, render, export, schema, corpus, faces, settings, doctor,
    up, down, status, deploy, worker, watch, retention,
):  # fmt: skip
    app.command()(command)
for group, name in ((train_app, "train"), (fuse_app, "fuse"), (models_app, "models")):
    app.add_typer(group, name=name)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads and forks warn on stderr


def main() -> None:
    """Run the command line; problems end as one sentence on stderr."""
    from data.errors import DyadError, InputError

    try:
        app(prog_name="dyad")
    except InputError as error:
        _fail(str(error), 2)
    except DyadError as error:
        _fail(str(error), 1)
    except OSError as error:
        from flows.runtime.errors import sentence

        _fail(sentence(error), 1)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"dyad: {message}\n")
    sys.exit(code)
