"""`dyad train`: Dyad's own small networks, heads for large encoders, and the networks of the literature on one's own corpus."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast, get_args

import typer

from flows.cli.options import DeviceOption, Sections

if TYPE_CHECKING:
    from data.precision import Precision
    from modalities.face_networks.registry import Kind

train_app = typer.Typer(
    name="train", cls=Sections,
    help="Train the networks that Dyad ships.\n\nExample: dyad train voice --data datasets", no_args_is_help=True
)
DataOption = Annotated[Path | None, typer.Option(help="The folder with the data sets: train Dyad's own small network.")]
NetworkOption = Annotated[
    str | None, typer.Option(help="A network that 'dyad models networks' lists, to be trained on --corpus.")
]
CorpusOption = Annotated[
    Path | None, typer.Option(help="Manifest of face crops (pictures, .npy of crops, clips, folders of frames).")
]
ChangesOption = Annotated[
    Path | None, typer.Option(help="YAML with settings: and input: of the network that are not those of networks.yaml.")
]
RootOption = Annotated[Path | None, typer.Option(help="Folder that the manifest's paths start from; else the manifest's.")]
WeightsOption = Annotated[Path, typer.Option("-o", "--output", help="Folder for the weights, the card and the curves.")]
SeedOption = Annotated[int, typer.Option(help="Seed of every random draw.")]
EpochsOption = Annotated[int | None, typer.Option(help="Passes over the data; the recipe's own number when not given.")]
LimitOption = Annotated[int | None, typer.Option(help="Use so many examples only: a trial.")]
FoldOption = Annotated[str, typer.Option(help="Official folds to test, such as 1 or 1,2,3,4,5: one training each.")]
LabelsOption = Annotated[
    str, typer.Option(help="Labels by a name in networks.yaml, such as dfew or affectnet-8; else the network's.")
]
ClipOption = Annotated[Path | None, typer.Option(help="Weights of a CLIP under OpenAI's names, for the networks over CLIP.")]
StartOption = Annotated[
    Path | None,
    typer.Option(help="Weights to start from: a checkpoint (what fits is loaded); for Dyad's own, its archive or 'random'."),
]
PromptsOption = Annotated[
    Path | None, typer.Option(help="YAML with the texts of the labels; else Dyad's own in configs/prompts.")
]
RecipeOption = Annotated[Path | None, typer.Option(help="YAML with changes of modalities/training/face_networks/recipes.yaml.")]
StillsOption = Annotated[
    Path | None, typer.Option(help="Manifest of pictures to train on along with the clips (s4d and others).")
]
StreamsOption = Annotated[bool, typer.Option(help="Draw landmarks and parsing masks for networks that read them.")]
LoraOption = Annotated[
    int, typer.Option(min=0, help="Rank of low-rank adapters in CLIP's image tower instead of all its weights.")
]
PrecisionOption = Annotated[str, typer.Option(help="auto (mixed where the device is made for it), float32, bfloat16 or float16.")]
SaveEveryOption = Annotated[int, typer.Option(min=1, help="Steps after which a killed training loses nothing.")]
DataSetsOption = Annotated[Path, typer.Option(help="The folder with the data sets.")]
CorporaOption = Annotated[list[Path], typer.Option("--corpus", help="Manifest of pictures or clips of faces; repeatable.")]
RootsOption = Annotated[
    list[Path] | None, typer.Option("--root", help="Folder that a corpus's paths start from, in the order of --corpus.")
]
PassesOption = Annotated[int, typer.Option(min=1, help="Passes over the data.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Pictures or clips in a step.")]
LeftOutOption = Annotated[int | None, typer.Option(help="The official fold that is tested later: its faces are left out.")]
TrunkOption = Annotated[Path | None, typer.Option(help="Weights of a ViT to start from (what fits is loaded).")]
RateOption = Annotated[float, typer.Option(min=0, help="Rate of learning; 0: 0.0016 for a batch of 512, and in proportion.")]


@train_app.command()
def voice(
    data: DataSetsOption,
    output: WeightsOption = Path("weights"),
    seed: SeedOption = 7,
    limit: LimitOption = None,
) -> None:
    """Train the layer for voices on RAVDESS and nEMO, after 'dyad models download whisper-base'.

    Example: dyad train voice --data ../shared/datasets -o weights
    """
    _train_own("voice", data, output, seed, None, limit)


@train_app.command()
def text(
    data: DataSetsOption,
    output: WeightsOption = Path("weights"),
    seed: SeedOption = 7,
    epochs: EpochsOption = None,
    limit: LimitOption = None,
) -> None:
    """Train the network for words on GoEmotions and MELD.

    Example: dyad train text --data ../shared/datasets -o weights
    """
    _train_own("text", data, output, seed, epochs, limit)


@train_app.command("scene-text")
def scene_text(
    data: DataSetsOption,
    output: WeightsOption = Path("weights"),
    seed: SeedOption = 7,
    epochs: EpochsOption = None,
    limit: LimitOption = None,
) -> None:
    """Train the network for scene descriptions on AFEW's.

    Example: dyad train scene-text --data ../shared/datasets -o weights
    """
    _train_own("scene_context", data, output, seed, epochs, limit)


def _train_own(
    network: str, data: Path, output: Path, seed: int, epochs: int | None, limit: int | None, **others: object
) -> NoReturn:
    from flows.training import train_on_terminal

    sys.exit(train_on_terminal(network, data, output, seed, epochs, limit, **others))


STATIC = """Train the network for single faces on FER+ votes, or a network of the literature on a corpus.

Dyad's own starts from weights that 'dyad models download mobilenet-vggface2' fetches (29 MB).

Example: dyad train static-face --data ../shared/datasets -o weights
Example: dyad train static-face --network ke-fer --clip ViT-B-16.safetensors --corpus raf-db.csv -o weights"""
DYNAMIC = """Train the network for faces over time on sequences made from stills, or a network of the literature on a corpus.

Example: dyad train dynamic-face --data ../shared/datasets -o weights
Example: dyad train dynamic-face --network dfer-clip --clip ViT-B-32.safetensors --corpus dfew.csv --fold 1,2,3,4,5
Example: dyad train dynamic-face --network s4d --corpus ferv39k.csv --with-stills affectnet.csv --start s4d.pth"""


def _face_command(kind: "Kind") -> Callable[..., None]:
    """The command that trains networks for faces of one kind; both kinds take the same options."""

    def train_face(
        data: DataOption = None,
        output: WeightsOption = Path("weights"),
        seed: SeedOption = 7,
        epochs: EpochsOption = None,
        limit: LimitOption = None,
        device: DeviceOption = None,
        network: NetworkOption = None,
        corpus: CorpusOption = None,
        fold: FoldOption = "",
        labels: LabelsOption = "",
        clip: ClipOption = None,
        start: StartOption = None,
        prompts: PromptsOption = None,
        recipe: RecipeOption = None,
        streams: StreamsOption = False,
        lora: LoraOption = 0,
        precision: PrecisionOption = "auto",
        save_every: SaveEveryOption = 200,
        root: RootOption = None,
        settings: ChangesOption = None,
        with_stills: StillsOption = None,
    ) -> None:
        from data.errors import InputError
        from data.yaml_files import read_yaml
        from flows import face_training
        from flows.runtime.loaded_models import device_named
        from modalities.face_networks.class_texts import read_prompts

        if (network is None) == (data is None) or (network is None) != (corpus is None):
            raise InputError("Give --data FOLDER to train Dyad's own network, or --network NAME with --corpus MANIFEST.")
        if network is None or corpus is None:
            others = {"device": device_named(device or "cpu"), "start": str(start or "")} if kind == "static" else {}
            _train_own(f"{kind}_face", cast("Path", data), output, seed, epochs, limit, **others)
        if with_stills and kind == "static":
            raise InputError("--with-stills adds stills to clips; of pictures name all in one manifest with --corpus.")
        changed = _network_changes(settings)
        options: dict[str, object] = {  # the fields of FaceTrainingOptions
            "labels": labels, "clip": clip, "start": start, "prompts": read_prompts(prompts) if prompts else None,
            "recipe": read_yaml(recipe, "fields of a recipe and their values, such as: rate: 1.0e-4") if recipe else None,
            "streams": streams, "lora": lora, "precision": precision_named(precision), "save_every": save_every,
            "settings": changed.get("settings"), "reads": changed.get("input"), "root": root, "stills": with_stills,
            "device": device_named(device or "auto"),
        }  # fmt: skip
        sys.exit(face_training.train_on_terminal(network, kind, corpus, output, fold, seed, epochs, limit, options))

    return train_face


train_app.command("static-face", help=STATIC)(_face_command("static"))
train_app.command("dynamic-face", help=DYNAMIC)(_face_command("dynamic"))


def precision_named(name: str) -> "Precision":
    """The precision of a name; InputError for none."""
    from data.errors import InputError
    from data.precision import Precision

    if name not in get_args(Precision):
        raise InputError(f"'{name}' is no precision; use one of {', '.join(get_args(Precision))}.")
    return cast(Precision, name)


def _network_changes(file: Path | None) -> dict[str, dict[str, object]]:
    """What a YAML file changes of a network: its `settings` and its `input`, where it names them."""
    from data.errors import InputError
    from data.yaml_files import read_yaml

    if file is None:
        return {}
    example = "settings: and input: of a network, such as: input: {size: 112}"
    tree = read_yaml(file, example)
    changes = {name: value for name, value in tree.items() if name in ("settings", "input") and isinstance(value, dict)}
    if len(changes) < len(tree):
        raise InputError(f"{file} must name {example}")
    return changes


@train_app.command("voice-head")
def train_voice_head(
    data: DataSetsOption,
    encoder: Annotated[str, typer.Option(help="WavLM, HuBERT, wav2vec2 or Whisper: a name of 'dyad models list', or a folder.")],
    output: WeightsOption = Path("weights"),
    seed: SeedOption = 7,
    epochs: EpochsOption = None,
    limit: LimitOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Train a head for voices on a large speech encoder that stays as it is, on RAVDESS.

    Example: dyad train voice-head --encoder wavlm-base-plus-sd --data ../shared/datasets -o weights
    """
    from flows.runtime.loaded_models import device_named
    from modalities.model_store.local import require_repository

    options = {"encoder": require_repository(encoder), "device": device_named(device or "auto")}
    _train_own("speech_head", data, output, seed, epochs, limit, **options)


@train_app.command("s4d-pretraining")
def train_s4d_pretraining(
    corpus: CorporaOption,
    root: RootsOption = None,
    output: WeightsOption = Path("weights"),
    seed: SeedOption = 7,
    epochs: PassesOption = 100,
    limit: LimitOption = None,
    batch: BatchOption = 32,
    rate: RateOption = 0.0,
    fold: LeftOutOption = None,
    start: TrunkOption = None,
    settings: ChangesOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    save_every: SaveEveryOption = 200,
) -> None:
    """Pre-train S4D's trunk on faces without labels: what is hidden is drawn from what is seen.

    Example: dyad train s4d-pretraining --corpus affectnet.csv --corpus voxceleb2.csv -o weights
    """
    from flows.face_training import pretrain_on_terminal
    from flows.runtime.loaded_models import device_named

    options: dict[str, object] = {
        "roots": tuple(root or ()), "fold": fold, "settings": _network_changes(settings).get("settings", {}), "start": start,
        "batch": batch, "rate": rate, "device": device_named(device or "auto"), "precision": precision_named(precision),
        "save_every": save_every,
    }  # fmt: skip
    sys.exit(pretrain_on_terminal(corpus, output, seed, epochs, limit, options))
