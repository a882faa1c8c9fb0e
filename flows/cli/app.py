"""The command line. Heavy libraries are imported inside the commands, so that `dyad --help` answers at once."""

import os
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.batch import batch
from flows.cli.corpora import corpus, faces
from flows.cli.export import Exports, export, exports_named, schema, write_exports
from flows.cli.fuse import fuse_app
from flows.cli.models import models_app
from flows.cli.options import (
    Compounds,
    Detector,
    Device,
    Dynamic,
    Explain,
    Fresh,
    Json,
    Output,
    Profile,
    Static,
    Strict,
    Workers,
    face_overrides,
)
from flows.cli.report import render, report
from flows.cli.server import register as register_server_commands
from flows.cli.train import _train_command, train_app, train_dynamic_face, train_s4d_pretraining, train_static_face

app = typer.Typer(
    name="dyad",
    help="Which compound expressions does a video show, when, and what says so.\n\nExample: dyad run clip.mp4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(train_app, name="train")


app.add_typer(fuse_app, name="fuse")


app.add_typer(models_app, name="models")


app.command()(batch)


app.command()(corpus)


app.command()(faces)


app.command()(export)


app.command()(schema)


app.command()(report)


app.command()(render)


register_server_commands(app)


class Which(StrEnum):
    """Whose face the answer is about."""

    main = "main"
    all = "all"


Face = Annotated[Which | None, typer.Option(help="Answer about the main face, or about all faces.")]


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


@app.command()
def run(
    files: Annotated[list[Path], typer.Argument(help="Media files, or folders of them.", show_default=False)],
    output: Output = Path("runs"),
    profile: Profile = "embedded",
    transcript: Annotated[Path | None, typer.Option(help="The words: .srt, .vtt, .txt or .csv.")] = None,
    descriptions: Annotated[Path | None, typer.Option(help="Scene descriptions: CSV with window or start,end, and text.")] = None,
    scores: Annotated[list[str] | None, typer.Option(help="Ready probabilities: MODALITY=FILE; repeatable.")] = None,
    face: Face = None,
    detector: Detector = None,
    static_face: Static = None,
    dynamic_face: Dynamic = None,
    device: Device = None,
    compounds: Compounds = None,
    workers: Workers = None,
    explain: Explain = False,
    json: Json = False,
    strict: Strict = False,
    fresh: Fresh = False,
    exports: Exports = None,
) -> None:
    """Recognise the compound expressions of videos.

    Example: dyad run clip.mp4 -o runs --transcript clip.srt
    """
    from configs.settings import load_settings
    from flows.cli.terminal import run_clips
    from flows.job import Brought

    brought = Brought(transcript, descriptions, _scores_option(scores or [])).check()
    of_faces = face_overrides(static_face, dynamic_face)
    settings = load_settings(profile, _overrides(face, detector, device, compounds) | of_faces)
    names = exports_named(exports)
    how = {"as_json": json, "explain": explain, "strict": strict, "fresh": fresh}
    then = partial(write_exports, names=names, run=True)
    sys.exit(run_clips(files, output, settings, brought, workers=workers, then=then, **how))


@app.command()
def demo(output: Output = Path("runs"), explain: Explain = False, json: Json = False, fresh: Fresh = False) -> None:
    """Recognise the sample clip that comes with Dyad.

    Example: dyad demo
    """
    from configs.settings import load_settings
    from data.sample import sample_clip
    from flows.cli.terminal import run_clips
    from flows.job import Brought

    clip = sample_clip()
    brought = Brought(descriptions=clip.with_name("sample_descriptions.csv"))
    sys.exit(run_clips([clip], output, load_settings(), brought, as_json=json, explain=explain, fresh=fresh))


@app.command()
def score(
    modality: Annotated[str, typer.Argument(help="text, scene-context, voice, static-face or dynamic-face.")],
    table: Annotated[Path, typer.Argument(help="CSV, folder of files, or .npz with `images`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The CSV to write.")],
    profile: Profile = "embedded",
    static_face: Static = None,
    dynamic_face: Dynamic = None,
    device: Device = None,
) -> None:
    """Run one modality on many inputs at once; one row an input, in order. With a column `label` it says how many are right.

    Example: dyad score text comments.csv -o emotions.csv
    """
    from configs.settings import load_settings
    from flows.backends.score_table import labels_of, reached, score_table

    asked = load_settings(profile, _overrides(None, None, device, None) | face_overrides(static_face, dynamic_face))
    answers = score_table(modality.replace("-", "_"), table, output, asked)
    for name, reason in answers.reasons.items():
        sys.stderr.write(f"{reason}\n" if name in reason else f"{name}: {reason}\n")
    absent = sum(row[0] != row[0] for row in answers.basic)
    sys.stderr.write(f"{len(answers.names)} inputs scored, {absent} without an answer; written to {output}\n")
    if (known := labels_of(table)) is not None:
        sys.stderr.write(f"{reached(answers, known)}\n")


@app.command()
def settings(profile: Profile = "embedded") -> None:
    """Print every setting with its value, as YAML to start your own profile from.

    Example: dyad settings > mine.yaml
    """
    import yaml

    from configs.settings import load_settings

    print(yaml.safe_dump(load_settings(profile).model_dump(mode="json"), sort_keys=False), end="")


@app.command()
def doctor() -> None:
    """Check the installation, devices and weights, and say what to do.

    Example: dyad doctor
    """
    from flows.cli.doctor import examine

    sys.exit(examine())


for _name, _network, _what in (
    ("voice", "voice", "the network for voices on RAVDESS, after 'dyad models download speaker-encoder'"),
    ("text", "text", "the network for words on GoEmotions and MELD"),
    ("scene-text", "scene_context", "the network for scene descriptions on AFEW's"),
):
    _train_command(_name, _network, _what)


train_app.command("static-face")(train_static_face)


train_app.command("dynamic-face")(train_dynamic_face)


train_app.command("s4d-pretraining")(train_s4d_pretraining)


def _scores_option(given: list[str]) -> dict[str, Path]:
    from data.errors import InputError

    pairs: dict[str, Path] = {}
    for item in given:
        modality, equals, path = item.partition("=")
        if not equals or not path:
            raise InputError(f"--scores {item}: write MODALITY=FILE, e.g. --scores voice=voice.csv.")
        pairs[modality.replace("-", "_")] = Path(path)
    return pairs


def _overrides(face: Which | None, detector: str | None, device: str | None, compounds: str | None) -> dict[str, Any]:
    faces = {"which": face.value if face else None, "detector": detector}
    given = {"faces": {key: value for key, value in faces.items() if value is not None}}
    whole = {"device": device, "compounds": compounds}
    return given | {key: value for key, value in whole.items() if value is not None}


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads and forks warn on stderr
