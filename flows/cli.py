"""The command line. Heavy libraries are imported inside the commands, so that `dyad --help` answers at once."""

import os
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.batch_commands import batch, corpus
from flows.cutting import faces
from flows.export_commands import Exports, export, exports_named, schema, write_exports
from flows.face_options import Dynamic, Static, face_overrides
from flows.model_commands import models_app
from flows.pretraining_commands import train_s4d_pretraining
from flows.render_commands import render
from flows.report_commands import report
from flows.server_commands import register as register_server_commands
from flows.train_commands import train_dynamic_face, train_static_face

app = typer.Typer(
    name="dyad",
    help="Which compound expressions does a video show, when, and what says so.\n\nExample: dyad run clip.mp4",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train_app = typer.Typer(
    help="Train the networks that Dyad ships.\n\nExample: dyad train voice --data datasets", no_args_is_help=True
)
app.add_typer(train_app, name="train")
fuse_app = typer.Typer(
    help="Fuse anybody's probabilities: CSV with clip, model, label, split, fold, and a column a class.\n\n"
    "Example: dyad fuse fit mine.csv -o weights.json",
    no_args_is_help=True,
)
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


Output = Annotated[Path, typer.Option("-o", "--output", help="Folder that gets a run folder for each clip.")]
Profile = Annotated[str, typer.Option(help="A profile in configs/, or a YAML file with settings.")]
Face = Annotated[Which | None, typer.Option(help="Answer about the main face, or about all faces.")]
Detector = Annotated[str | None, typer.Option(help="Face detector: auto, mediapipe or opencv.")]
Compounds = Annotated[str | None, typer.Option(help="The pairs to tell apart: a file in configs/compounds, or a YAML file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document a clip on stdout and nothing else there.")]
Explain = Annotated[bool, typer.Option(help="Say in words what made each window's answer.")]
Strict = Annotated[bool, typer.Option(help="Fail when a modality fails or lacks its model.")]
Device = Annotated[str | None, typer.Option(help="Where networks run: auto (the best there is), cpu, cuda:0 or mps.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=64, help="Clips under way at once, sharing the models; 1 on a CPU, else 2.")
]
Fresh = Annotated[bool, typer.Option(help="Do everything again, also what is already done.")]


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
        from flows.faults import sentence

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
    from flows.jobs import Brought
    from flows.running import run_clips
    from flows.settings import load_settings

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
    from data.sample import sample_clip
    from flows.jobs import Brought
    from flows.running import run_clips
    from flows.settings import load_settings

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
    from flows.scoring import labels_of, reached, score_table
    from flows.settings import load_settings

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

    from flows.settings import load_settings

    print(yaml.safe_dump(load_settings(profile).model_dump(mode="json"), sort_keys=False), end="")


@app.command()
def doctor() -> None:
    """Check the installation, devices and weights, and say what to do.

    Example: dyad doctor
    """
    from flows.doctor import examine

    sys.exit(examine())


Data = Annotated[Path, typer.Option(help="The folder with the data sets.")]
Weights = Annotated[Path, typer.Option("-o", "--output", help="Folder for the weights and the card.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the data; the recipe's own number when not given.")]
Limit = Annotated[int | None, typer.Option(help="Use so many examples only: a trial.")]


def _train_command(name: str, network: str, what: str) -> Any:
    def command(
        data: Data, output: Weights = Path("weights"), seed: Seed = 7, epochs: Epochs = None, limit: Limit = None
    ) -> None:
        from flows.training import train_on_terminal

        sys.exit(train_on_terminal(network, data, output, seed, epochs, limit))

    command.__doc__ = f"Train {what}.\n\nExample: dyad train {name} --data ../shared/datasets -o weights"
    return train_app.command(name)(command)


for _name, _network, _what in (
    ("voice", "voice", "the network for voices on RAVDESS, after 'dyad models download speaker-encoder'"),
    ("text", "text", "the network for words on GoEmotions and MELD"),
    ("scene-text", "scene_context", "the network for scene descriptions on AFEW's"),
):
    _train_command(_name, _network, _what)


train_app.command("static-face")(train_static_face)
train_app.command("dynamic-face")(train_dynamic_face)
train_app.command("s4d-pretraining")(train_s4d_pretraining)


@train_app.command("voice-head")
def train_voice_head(
    data: Data,
    encoder: Annotated[str, typer.Option(help="WavLM, HuBERT, wav2vec2 or Whisper: a name of 'dyad models list', or a folder.")],
    output: Weights = Path("weights"),
    seed: Seed = 7,
    epochs: Epochs = None,
    limit: Limit = None,
    device: Device = "auto",
) -> None:
    """Train a head for voices on a large speech encoder that stays as it is, on RAVDESS.

    Example: dyad train voice-head --encoder wavlm-base-plus-sd --data ../shared/datasets -o weights
    """
    from flows.models import device_named
    from flows.training import train_on_terminal
    from modalities.repositories import require_repository

    place = {"encoder": require_repository(encoder), "device": device_named(device or "auto")}
    sys.exit(train_on_terminal("speech_head", data, output, seed, epochs, limit, **place))


Long = Annotated[Path, typer.Argument(help="CSV: clip, model, label, split, fold, group (the last four optional), classes.")]
Split = Annotated[str | None, typer.Option(help="Fit on the rows of this split only.")]


@fuse_app.command("fit")
def fuse_fit(
    table: Long,
    output: Annotated[Path, typer.Option("-o", "--output", help="The JSON file to write.")] = Path("weights.json"),
    method: Annotated[str, typer.Option(help="auto, or one of those that 'dyad fuse compare' shows.")] = "auto",
    split: Split = None,
) -> None:
    """Calibrate the models of a table and fit their fusion.

    Example: dyad fuse fit mine.csv -o weights.json
    """
    from flows.fusing import fit_table

    sys.stderr.write(fit_table(table, output, method, split) + "\n")


@fuse_app.command("apply")
def fuse_apply(
    weights: Annotated[Path, typer.Argument(help="What 'dyad fuse fit' wrote.")],
    table: Long,
    output: Annotated[Path, typer.Option("-o", "--output", help="The CSV to write: one row a clip.")],
) -> None:
    """Fuse a table by fitted weights; where it has labels, say how often the answer is right.

    Example: dyad fuse apply weights.json mine.csv -o fused.csv
    """
    from flows.fusing import apply_table

    sys.stderr.write(apply_table(weights, table, output) + "\n")


@fuse_app.command("compare")
def fuse_compare(table: Long, split: Split = None) -> None:
    """Compare all ways to fuse on rows that their fits did not see.

    Example: dyad fuse compare mine.csv
    """
    from flows.fusing import compare_table

    print(compare_table(table, split))


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
