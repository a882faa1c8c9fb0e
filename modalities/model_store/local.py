"""What lies on this machine: models of hub repositories, checkpoints of Whisper and CLIP, and where to look. Never downloads."""

import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import WeightsError
from modalities.model_store.table import PinnedModel, model_table

WHISPER_NAMES: tuple[str, ...] = (
    "small", "small.en", "base", "base.en", "medium", "medium.en", "turbo", "large-v3-turbo",
    "large-v3", "large-v2", "large-v1", "large", "tiny", "tiny.en",
)
"""Names of checkpoints in Whisper's cache, the one to use first at the front: good words at a speed a CPU bears."""

WHISPER_ENDINGS = (".safetensors", ".pt")
"""Of a checkpoint as Dyad converts it, and as OpenAI gives it."""

CLIP_REPOSITORIES: tuple[tuple[str, str, str], ...] = (
    ("laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K", "ViT-B-16", "datacomp_xl_s13b_b90k"),
    ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "ViT-B-16", "laion2b_s34b_b88k"),
    ("timm/vit_base_patch16_clip_224.openai", "ViT-B-16-quickgelu", "openai"),
    ("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", "ViT-B-32", "datacomp_xl_s13b_b90k"),
    ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "ViT-B-32", "laion2b_s34b_b79k"),
    ("timm/vit_base_patch32_clip_224.openai", "ViT-B-32-quickgelu", "openai"),
    ("timm/MobileCLIP2-S2-OpenCLIP", "MobileCLIP2-S2", "dfndr2b"),
    ("apple/MobileCLIP-S2-OpenCLIP", "MobileCLIP-S2", "datacompdr"),
    ("timm/MobileCLIP2-S0-OpenCLIP", "MobileCLIP2-S0", "dfndr2b"),
    ("apple/MobileCLIP-S1-OpenCLIP", "MobileCLIP-S1", "datacompdr"),
    ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "ViT-L-14", "laion2b_s32b_b82k"),
    ("timm/vit_large_patch14_clip_224.openai", "ViT-L-14-quickgelu", "openai"),
    ("timm/ViT-B-16-SigLIP", "ViT-B-16-SigLIP", "webli"),
)
"""Hub repositories of CLIP weights, first choice first: repository, open_clip's architecture, its tag for the weights.

OpenAI's weights need the architecture with QuickGELU; the plain one loads them without complaint and answers wrongly.
"""

CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_pytorch_model.safetensors")

WHISPER_ALIASES: Mapping[str, str] = {"turbo": "large-v3-turbo", "large": "large-v3"}
"""Names of Whisper that stand for a file of another name."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names that transformers gives to weights, the safer one first; both are also kept in shards beside NAME.index.json."""


@dataclass(frozen=True)
class LocalModel:
    """A checkpoint on this machine; `architecture` and `tag` in open_clip's words, empty where a config says them."""

    path: Path
    name: str
    architecture: str = ""
    tag: str = ""


@dataclass(frozen=True)
class Search:
    """What was found on the machine: the model to use, or None, and why other files were passed over, in sentences."""

    found: LocalModel | None
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Receipt:
    """What was noted of a model when it was fetched: its commit, and each file's SHA-256."""

    revision: str
    sha256: Mapping[str, str]


# ---- folders


def models_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Dyad's own folder of models: `$DYAD_MODELS`, else `dyad/models` in the platform's folder for application data."""
    if given := environment.get("DYAD_MODELS"):
        return Path(given).expanduser()
    if given := environment.get("XDG_DATA_HOME"):
        return Path(given) / "dyad" / "models"
    home = Path(environment.get("HOME") or Path.home())
    data = home / "Library" / "Application Support" if sys.platform == "darwin" else home / ".local" / "share"
    return data / "dyad" / "models"


def _cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home()) / ".cache")


def whisper_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the openai-whisper package keeps what it downloads."""
    return _cache(environment) / "whisper"


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where huggingface_hub keeps repositories. Asked anew each time: the library's own constant is read at its import."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if given := environment.get(variable):
            return Path(given).expanduser()
    if given := environment.get("HF_HOME"):
        return Path(given).expanduser() / "hub"
    return _cache(environment) / "huggingface" / "hub"


def snapshots(repository: str, pinned: str = "", environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Downloaded revisions of a hub repository, the `pinned` one (a commit, or its beginning) first, then that of `main`."""
    folder = hub_cache(environment) / f"models--{repository.replace('/', '--')}"
    main = folder / "refs" / "main"
    current = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    found = (folder / "snapshots").glob("*")
    return sorted(found, key=lambda path: (not path.name.startswith(pinned), path.name != current, path.name))


def receipt_path(model: PinnedModel, store: Path) -> Path:
    """The receipt of a model in a folder of models."""
    return store / "receipts" / f"{model.name}.json"


def known_path(model: PinnedModel, store: Path) -> Path:
    """What the first download of a model brought for which the table lacks commit or digests; it stays when the model goes."""
    return store / "known" / f"{model.name}.json"


def read_receipt(path: Path) -> Receipt | None:
    """What was noted when a model was fetched into a folder of models; None without a receipt that can be read."""
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        return Receipt(str(noted.get("revision", "")), dict(noted.get("sha256", {})))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


# ---- repositories


def find_repository(model: str, revision: str = "", environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder with config and weights of `model`, or None when it is not on this machine (`missing_sentence` says why).

    `model` is a folder, the name of a row of the table (`qwen3-vl-4b`), or a repository (`Qwen/Qwen3-VL-4B-Instruct`). A name
    is looked for in Dyad's folder of models, in the hub's cache (the pinned revision before others), then as a folder.
    With `revision` (a commit, or the beginning of one) only what is known to be of it is found, except a folder given by path.
    """
    given = Path(model).expanduser().resolve()
    if not model or looks_like_path(model):
        return given if model and is_model_folder(given) else None
    found = next((folder for folder in _folders(model, revision, environment) if is_model_folder(folder)), None)
    return found or (given if is_model_folder(given) else None)


def require_repository(model: str, revision: str = "", environment: Mapping[str, str] = os.environ) -> Path:
    """As `find_repository`; WeightsError with reason and remedy when it is not there."""
    if (found := find_repository(model, revision, environment)) is None:
        raise WeightsError(" ".join(missing_sentence(model, revision)))
    return found


def find_files(model: str, names: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Files of a model of the table, in Dyad's folder of models or the hub's cache; none when one of them is not there."""
    for folder in _folders(model, "", environment):
        if names and all((folder / name).is_file() for name in names):
            return tuple(folder / name for name in names)
    return ()


def missing_sentence(model: str, revision: str = "") -> tuple[str, str]:
    """Why `find_repository` found nothing, and what to do: the command that fetches it, or where to put it."""
    given = Path(model).expanduser()
    if not model:
        return "No model is named.", "Name a folder, a repository (OWNER/NAME), or a model that 'dyad models list' shows."
    if given.is_dir() and not row_of(model):
        return f"The folder {given} holds no model: {what_is_missing(given)}.", "Name a folder as save_pretrained writes it."
    if looks_like_path(model):
        return f"There is no folder {given}.", "Name an existing folder, a repository, or a model that 'dyad models list' shows."
    reason = f"The model {model}{f' of revision {revision}' if revision else ''} is not on this machine."
    if row := row_of(model):
        return reason, f"Get it ({readable_size(row.size)}) with ./dyad models download {row.name}; it is used from then on."
    if "/" in model:
        return reason, (
            f"It is not in Dyad's table: fetch it with 'hf download {model}', or name a folder that holds config.json and "
            f"*.safetensors, or put that folder at {own_folder(model)}."
        )
    return reason, "Name a folder, a repository (OWNER/NAME), or a model that 'dyad models list' shows."


def row_of(model: str) -> PinnedModel | None:
    """The row of the table that has this name or repository, this size of Whisper (`turbo`), or open_clip's `ViT-B-32/openai`."""
    rows = model_table().models
    repository = clip_row(model)[0] or model
    found = rows.get(model) or rows.get(f"whisper-{model}")
    return found or next((row for row in rows.values() if row.repository and row.repository == repository), None)


def own_folder(model: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the model of a row's name or of a repository lies in Dyad's folder of models."""
    row = row_of(model)
    return models_folder(environment) / (row.folder if row else f"hub/{model}")


def looks_like_path(model: str) -> bool:
    """True for what can only be a path: absolute, of `~`, of dots, or with more or fewer parts than a repository has."""
    return model.startswith(("/", "~", ".")) or "\\" in model or model.count("/") > 1 or model.endswith("/")


def is_model_folder(folder: Path) -> bool:
    """True for a folder that holds a config and all files of its weights, of transformers or of open_clip."""
    return not what_is_missing(folder)


def what_is_missing(folder: Path) -> str:
    """What a folder lacks to be a model, as the end of a sentence; '' when it is one."""
    if (folder / "open_clip_config.json").is_file() and any((folder / name).is_file() for name in CLIP_FILES):
        return ""
    if not (folder / "config.json").is_file():
        return "config.json is not there"
    for name in WEIGHTS:
        if (folder / name).is_file():
            return ""
        if (index := folder / f"{name}.index.json").is_file():
            try:
                shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError, TypeError):
                return f"a readable {index.name} of its weights is not there"
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            return f"{missing[0]} of its weights is not there" if missing else ""
    return f"neither {WEIGHTS[0]} nor {WEIGHTS[1]} is there"


def _folders(model: str, revision: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where a model may lie: Dyad's folder, then the hub's cache; with `revision` only what is known to be of it."""
    row, store = row_of(model), models_folder(environment)
    receipt = read_receipt(receipt_path(row, store)) if row else None
    if not revision or (receipt and receipt.revision.startswith(revision)):
        yield own_folder(model, environment)
    repository = row.repository if row else model
    if "/" not in repository:
        return
    for snapshot in snapshots(repository, revision or (row.revision if row else ""), environment):
        if not revision or snapshot.name.startswith(revision):
            yield snapshot


def readable_size(megabytes: int) -> str:
    """Megabytes for people: `605 MB`, `7.8 GB`."""
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def archive_file(name: str, use: str, otherwise: str = "") -> Path:
    """The archive that 'dyad models download' puts into Dyad's folder; WeightsError with that command where it is not.

    `use` begins the sentence ('The training starts from'), `otherwise` says what else can be done.
    """
    row = model_table().models[name]
    path = models_folder() / row.folder / row.files[0].name
    if not path.is_file():
        raise WeightsError(
            f"{use} {name}, which is not on this machine; run 'dyad models download {name}' ({row.size} MB){otherwise}."
        )
    return path


# ---- Whisper and CLIP


def _given(path: Path) -> LocalModel:
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint at {path}; give the path of an existing file.")
    return LocalModel(path, path.stem)


def _whisper_files(environment: Mapping[str, str]) -> Iterator[Path]:
    for folder in (models_folder(environment) / "whisper", whisper_cache(environment)):
        yield from (folder / f"{name}{ending}" for name in WHISPER_NAMES for ending in WHISPER_ENDINGS)
        yield from sorted(path for ending in WHISPER_ENDINGS for path in folder.glob(f"*{ending}"))


def find_whisper(
    given: Path | None = None, name: str = "", environment: Mapping[str, str] = os.environ, preferred: str = ""
) -> Search:
    """The Whisper checkpoint to use: `given`, else the named one, else one in `whisper/` of Dyad's folder or in Whisper's cache.

    `name` is a size (`small`, `turbo`), a row of the table (`whisper-turbo`) or a path; without it the size `preferred` goes
    before others. WeightsError when `given`, or a path, does not exist. A path proves nothing about the content: loading checks
    it.
    """
    if given is not None:
        return Search(_given(given))
    if name.endswith(WHISPER_ENDINGS):
        return Search(_given(Path(name).expanduser()))
    here = [path for path in _whisper_files(environment) if path.is_file()]
    size = name.removeprefix("whisper-")
    names = {size, WHISPER_ALIASES.get(size, size)}
    fitting = sorted((path for path in here if not name or path.stem in names), key=lambda path: path.stem != preferred)
    return Search(next((LocalModel(path, path.stem) for path in fitting), None))


def clip_row(name: str) -> tuple[str, str, str]:
    """Repository, architecture and tag of a CLIP by its repository, its folder's name, or open_clip's `ARCHITECTURE/TAG`.

    Empty strings for any other name. `ViT-B-32/openai` means the architecture with QuickGELU, which those weights need.
    """
    for row in CLIP_REPOSITORIES:
        repository, architecture, tag = row
        plain = architecture.removesuffix("-quickgelu")
        if name in (repository, repository.split("/")[1], f"{architecture}/{tag}", f"{plain}/{tag}"):
            return row
    return ("", "", "")


def known_clip(path: Path) -> tuple[str, str, str]:
    """Repository, architecture and tag of a file in the hub's cache layout; empty strings for any other path."""
    rows = {f"models--{row[0].replace('/', '--')}": row for row in CLIP_REPOSITORIES}
    return next((rows[part] for part in path.parts if part in rows), ("", "", ""))


def _hub_clips(environment: Mapping[str, str]) -> Iterator[LocalModel]:
    for repository, architecture, tag in CLIP_REPOSITORIES:
        for snapshot in snapshots(repository, environment=environment):
            for file in CLIP_FILES:
                yield LocalModel(snapshot / file, repository, architecture, tag)


def _own_clips(environment: Mapping[str, str]) -> Iterator[LocalModel]:
    """Folders in the hub's layout (weights with open_clip_config.json) below `open_clip/` in Dyad's folder."""
    for config in sorted((models_folder(environment) / "open_clip").glob("*/open_clip_config.json")):
        for file in CLIP_FILES:
            yield LocalModel(config.with_name(file), config.parent.name)


def _openai_archives(environment: Mapping[str, str]) -> Iterator[str]:
    for path in sorted((_cache(environment) / "clip").glob("*.pt")):
        if is_torchscript(path):
            yield f"{path} was passed over: it is a TorchScript archive, which carries a program and not weights alone."


def find_clip(given: Path | None = None, name: str = "", environment: Mapping[str, str] = os.environ) -> Search:
    """The CLIP checkpoint to use: `given`, else the named one, else `open_clip/*/` in Dyad's folder or a known one in the cache.

    `name` is a row of the table (`clip-vit-b-32-openai`), open_clip's `ViT-B-32/openai`, a repository or a path.
    OpenAI's own files (`~/.cache/clip/*.pt`) are TorchScript archives and are passed over, with the reason.
    """
    if given is not None:
        return Search(_given(given))
    if name:
        return Search(next((model for model in _named_clips(name, environment) if model.path.is_file()), None))
    found = (model for models in (_own_clips, _hub_clips) for model in models(environment) if model.path.is_file())
    return Search(next(found, None), tuple(_openai_archives(environment)))


def _named_clips(name: str, environment: Mapping[str, str]) -> Iterator[LocalModel]:
    """Where a CLIP of that name may lie: a path, a folder of Dyad's, a snapshot of the hub's cache."""
    path = Path(name).expanduser()
    if path.is_file():
        yield LocalModel(path, path.stem)
    row = model_table().models.get(name)
    repository, architecture, tag = clip_row(row.repository if row else name)
    repository = repository or (row.repository if row else name)
    store = models_folder(environment)
    for folder in (path, store / "open_clip" / repository.split("/")[-1], store / "hub" / repository):
        said = (folder / "open_clip_config.json").is_file()
        for file in CLIP_FILES:
            yield LocalModel(folder / file, folder.name, "" if said else architecture, "" if said else tag)
    pinned = row.revision if row and row.is_pinned else ""
    for snapshot in snapshots(repository, pinned, environment) if "/" in repository else []:
        for file in CLIP_FILES:
            yield LocalModel(snapshot / file, repository, architecture, tag)


def is_torchscript(path: Path) -> bool:
    """True for a TorchScript archive, which carries a program beside its weights."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())
