"""`dyad train static-face` and `dynamic-face`: Dyad's own small networks, or those of the literature on a corpus of one's own."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import Device

Data = Annotated[Path | None, typer.Option(help="The folder with the data sets: train Dyad's own small network.")]
Network = Annotated[str | None, typer.Option(help="A network that 'dyad models networks' lists, to be trained on --corpus.")]
Corpus = Annotated[Path | None, typer.Option(help="Manifest of face crops (pictures, .npy of crops, clips, folders of frames).")]
Changes = Annotated[
    Path | None, typer.Option(help="YAML with settings: and input: of the network that are not those of networks.yaml.")
]
Root = Annotated[Path | None, typer.Option(help="Folder that the manifest's paths start from; else the manifest's.")]
Weights = Annotated[Path, typer.Option("-o", "--output", help="Folder for the weights, the card and the curves.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the data; the recipe's own number when not given.")]
Limit = Annotated[int | None, typer.Option(help="Use so many examples only: a trial.")]
Fold = Annotated[str, typer.Option(help="Official folds to test, such as 1 or 1,2,3,4,5: one training each.")]
Labels = Annotated[str, typer.Option(help="Labels by a name in networks.yaml, such as dfew or affectnet-8; else the network's.")]
Clip = Annotated[Path | None, typer.Option(help="Weights of a CLIP under OpenAI's names, for the networks over CLIP.")]
Start = Annotated[
    Path | None,
    typer.Option(help="Weights to start from: a checkpoint (what fits is loaded); for Dyad's own, its archive or 'random'."),
]
Prompts = Annotated[Path | None, typer.Option(help="YAML with the texts of the labels; else Dyad's own in configs/prompts.")]
Recipe = Annotated[Path | None, typer.Option(help="YAML with changes of modalities/training/face_networks/recipes.yaml.")]
Stills = Annotated[Path | None, typer.Option(help="Manifest of pictures to train on along with the clips (s4d and others).")]
Streams = Annotated[bool, typer.Option(help="Draw landmarks and parsing masks for networks that read them.")]
Lora = Annotated[int, typer.Option(min=0, help="Rank of low-rank adapters in CLIP's image tower instead of all its weights.")]
Precision = Annotated[str, typer.Option(help="auto (mixed where the device is made for it), float32, bfloat16 or float16.")]
SaveEvery = Annotated[int, typer.Option(min=1, help="Steps after which a killed training loses nothing.")]


def train_static_face(
    data: Data = None, output: Weights = Path("weights"), seed: Seed = 7, epochs: Epochs = None, limit: Limit = None,
    device: Device = None, network: Network = None, corpus: Corpus = None, fold: Fold = "", labels: Labels = "",
    clip: Clip = None, start: Start = None, prompts: Prompts = None, recipe: Recipe = None, streams: Streams = False,
    lora: Lora = 0, precision: Precision = "auto", save_every: SaveEvery = 200, root: Root = None,
    settings: Changes = None,
) -> None:  # fmt: skip
    """Train the network for single faces on FER+ votes, or a network of the literature on a corpus.

    Dyad's own starts from weights that 'dyad models download mobilenet-vggface2' fetches (29 MB).

    Example: dyad train static-face --data ../shared/datasets -o weights
    Example: dyad train static-face --network ke-fer --clip ViT-B-16.safetensors --corpus raf-db.csv -o weights
    """
    given = _given(labels, clip, start, prompts, recipe, streams, lora, precision, save_every) | _place(settings, root)
    sys.exit(_train("static", data, output, seed, epochs, limit, device, network, corpus, fold, given))


def train_dynamic_face(
    data: Data = None, output: Weights = Path("weights"), seed: Seed = 7, epochs: Epochs = None, limit: Limit = None,
    device: Device = None, network: Network = None, corpus: Corpus = None, fold: Fold = "", labels: Labels = "",
    clip: Clip = None, start: Start = None, prompts: Prompts = None, recipe: Recipe = None, streams: Streams = False,
    lora: Lora = 0, precision: Precision = "auto", save_every: SaveEvery = 200, root: Root = None,
    settings: Changes = None, with_stills: Stills = None,
) -> None:  # fmt: skip
    """Train the network for faces over time on sequences made from stills, or a network of the literature on a corpus.

    Example: dyad train dynamic-face --data ../shared/datasets -o weights
    Example: dyad train dynamic-face --network dfer-clip --clip ViT-B-32.safetensors --corpus dfew.csv --fold 1,2,3,4,5
    Example: dyad train dynamic-face --network s4d --corpus ferv39k.csv --with-stills affectnet.csv --start s4d.pth
    """
    given = _given(labels, clip, start, prompts, recipe, streams, lora, precision, save_every) | _place(settings, root)
    given = given | {"stills": with_stills}
    sys.exit(_train("dynamic", data, output, seed, epochs, limit, device, network, corpus, fold, given))


def _given(
    labels: str, clip: Path | None, start: Path | None, prompts: Path | None, recipe: Path | None, streams: bool, lora: int,
    precision: str, save_every: int,
) -> dict[str, Any]:  # fmt: skip
    """The fields of FaceOptions that the command line sets."""
    from modalities.face_networks.class_texts import read_prompts

    texts = read_prompts(prompts) if prompts else None
    changes = _mapping(recipe, "fields of a recipe and their values, such as: rate: 1.0e-4") if recipe else None
    return {
        "labels": labels, "clip": clip, "start": start, "prompts": texts, "recipe": changes, "streams": streams, "lora": lora,
        "precision": precision_named(precision), "save_every": save_every,
    }  # fmt: skip


def precision_named(name: str) -> Any:
    """The precision of a name; InputError for none."""
    from typing import get_args

    from data.errors import InputError
    from data.precision import Precision as Known

    if name not in get_args(Known):
        raise InputError(f"'{name}' is no precision; use one of {', '.join(get_args(Known))}.")
    return name


def network_changes(file: Path | None) -> dict[str, Any]:
    """The settings of a network that a YAML file changes, without those of its input."""
    return dict(_place(file, None).get("settings") or {})


def _place(file: Path | None, root: Path | None) -> dict[str, Any]:
    """The fields of FaceOptions that change the network (its settings and its input), and the folder of the paths."""
    from data.errors import InputError

    if file is None:
        return {"root": root}
    example = "settings: and input: of a network, such as: input: {size: 112}"
    tree = _mapping(file, example)
    if set(tree) - {"settings", "input"} or not all(isinstance(value, dict) for value in tree.values()):
        raise InputError(f"{file} must name {example}")
    return {"settings": tree.get("settings"), "reads": tree.get("input"), "root": root}


def _mapping(file: Path, what: str) -> dict[str, Any]:
    import yaml

    from data.errors import InputError

    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} cannot be read ({error}); give a YAML file that names {what}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{file} must name {what}")
    return tree


def _train(
    kind: Any, data: Path | None, output: Path, seed: int, epochs: int | None, limit: int | None, device: str | None,
    network: str | None, corpus: Path | None, fold: str, given: dict[str, Any],
) -> int:  # fmt: skip
    from data.errors import InputError
    from flows.runtime.loaded_models import device_named

    if (network is None) == (data is None) or (network is None) != (corpus is None):
        raise InputError("Give --data FOLDER to train Dyad's own network, or --network NAME with --corpus MANIFEST.")
    if network is None or corpus is None:
        from flows.training import train_on_terminal

        assert data is not None
        start = str(given["start"] or "")
        others = {"device": device_named(device or "cpu"), "start": start} if kind == "static" else {}
        return train_on_terminal(f"{kind}_face", data, output, seed, epochs, limit, **others)
    from flows import face_training

    given["device"] = device_named(device or "auto")
    return face_training.train_on_terminal(network, kind, corpus, output, fold, seed, epochs, limit, given)


train_app = typer.Typer(
    help="Train the networks that Dyad ships.\n\nExample: dyad train voice --data datasets", no_args_is_help=True
)
DataSets = Annotated[Path, typer.Option(help="The folder with the data sets.")]


def _train_command(name: str, network: str, what: str) -> Any:
    def command(
        data: DataSets, output: Weights = Path("weights"), seed: Seed = 7, epochs: Epochs = None, limit: Limit = None
    ) -> None:
        from flows.training import train_on_terminal

        sys.exit(train_on_terminal(network, data, output, seed, epochs, limit))

    command.__doc__ = f"Train {what}.\n\nExample: dyad train {name} --data ../shared/datasets -o weights"
    return train_app.command(name)(command)


@train_app.command("voice-head")
def train_voice_head(
    data: DataSets,
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
    from flows.runtime.loaded_models import device_named
    from flows.training import train_on_terminal
    from modalities.model_store.local import require_repository

    place = {"encoder": require_repository(encoder), "device": device_named(device or "auto")}
    sys.exit(train_on_terminal("speech_head", data, output, seed, epochs, limit, **place))


Corpora = Annotated[list[Path], typer.Option("--corpus", help="Manifest of pictures or clips of faces; repeatable.")]
Roots = Annotated[
    list[Path] | None, typer.Option("--root", help="Folder that a corpus's paths start from, in the order of --corpus.")
]
Passes = Annotated[int, typer.Option(min=1, help="Passes over the data.")]
Batch = Annotated[int, typer.Option(min=1, help="Pictures or clips in a step.")]
LeftOut = Annotated[int | None, typer.Option(help="The official fold that is tested later: its faces are left out.")]
Trunk = Annotated[Path | None, typer.Option(help="Weights of a ViT to start from (what fits is loaded).")]
Rate = Annotated[float, typer.Option(min=0, help="Rate of learning; 0: 0.0016 for a batch of 512, and in proportion.")]


def train_s4d_pretraining(
    corpus: Corpora, root: Roots = None, output: Weights = Path("weights"), seed: Seed = 7, epochs: Passes = 100,
    limit: Limit = None, batch: Batch = 32, rate: Rate = 0.0, fold: LeftOut = None, start: Trunk = None, settings: Changes = None,
    device: Device = "auto", precision: Precision = "auto", save_every: SaveEvery = 200,
) -> None:  # fmt: skip
    """Pre-train S4D's trunk on faces without labels: what is hidden is drawn from what is seen.

    Example: dyad train s4d-pretraining --corpus affectnet.csv --corpus voxceleb2.csv -o weights
    """
    from flows.face_training import pretrain_on_terminal
    from flows.runtime.loaded_models import device_named

    options: dict[str, Any] = {
        "roots": tuple(root or ()), "fold": fold, "settings": network_changes(settings), "start": start, "batch": batch,
        "rate": rate, "device": device_named(device or "auto"), "precision": precision_named(precision), "save_every": save_every,
    }  # fmt: skip
    sys.exit(pretrain_on_terminal(corpus, output, seed, epochs, limit, options))
