"""Checkpoints of Whisper and CLIP that already lie on this machine: where to look. Never downloads."""

import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.errors import WeightsError
from modalities.model_store.table import model_table

WHISPER_NAMES: tuple[str, ...] = (
    "small", "small.en", "base", "base.en", "medium", "medium.en", "turbo", "large-v3-turbo",
    "large-v3", "large-v2", "large-v1", "large", "tiny", "tiny.en",
)
"""Names of checkpoints in Whisper's cache, the one to use first at the front: good words at a speed a CPU bears."""

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


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())


def models_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Dyad's own folder of models: `$DYAD_MODELS`, else `dyad/models` in the platform's folder for application data."""
    if given := environment.get("DYAD_MODELS"):
        return Path(given).expanduser()
    if given := environment.get("XDG_DATA_HOME"):
        return Path(given) / "dyad" / "models"
    home = _home(environment)
    data = home / "Library" / "Application Support" if sys.platform == "darwin" else home / ".local" / "share"
    return data / "dyad" / "models"


def _cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CACHE_HOME") or _home(environment) / ".cache")


def whisper_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the openai-whisper package keeps what it downloads."""
    return _cache(environment) / "whisper"


def hub_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where huggingface_hub keeps repositories."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if given := environment.get(variable):
            return Path(given).expanduser()
    if given := environment.get("HF_HOME"):
        return Path(given).expanduser() / "hub"
    return _cache(environment) / "huggingface" / "hub"


def is_torchscript(path: Path) -> bool:
    """True for a TorchScript archive, which carries a program beside its weights."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _given(path: Path) -> LocalModel:
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint at {path}; give the path of an existing file.")
    return LocalModel(path, path.stem)


def _whisper_files(environment: Mapping[str, str]) -> Iterator[Path]:
    for folder in (models_folder(environment) / "whisper", whisper_cache(environment)):
        yield from (folder / f"{name}.pt" for name in WHISPER_NAMES)
        yield from sorted(folder.glob("*.pt"))


def find_whisper(given: Path | None = None, name: str = "", environment: Mapping[str, str] = os.environ) -> Search:
    """The Whisper checkpoint to use: `given`, else the named one, else `whisper/*.pt` in Dyad's folder or Whisper's own cache.

    `name` is a size (`small`, `turbo`), a row of the table (`whisper-turbo`) or a path. WeightsError when `given`, or a path,
    does not exist. A path proves nothing about the content: loading checks it.
    """
    if given is not None:
        return Search(_given(given))
    if name.endswith(".pt"):
        return Search(_given(Path(name).expanduser()))
    paths = (path for path in _whisper_files(environment) if path.is_file())
    size = name.removeprefix("whisper-")
    names = {size, WHISPER_ALIASES.get(size, size)}
    return Search(next((LocalModel(path, path.stem) for path in paths if not name or path.stem in names), None))


def snapshots(repository: str, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Downloaded revisions of a hub repository, the one that its branch `main` names first."""
    folder = hub_cache(environment) / f"models--{repository.replace('/', '--')}"
    main = folder / "refs" / "main"
    current = main.read_text(encoding="utf-8").strip() if main.is_file() else ""
    return sorted((folder / "snapshots").glob("*"), key=lambda path: (path.name != current, path.name))


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
        for snapshot in snapshots(repository, environment):
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
    cached = snapshots(repository, environment) if "/" in repository else []
    pinned = row.revision if row and row.is_pinned else ""
    for snapshot in sorted(cached, key=lambda place: not place.name.startswith(pinned)):
        for file in CLIP_FILES:
            yield LocalModel(snapshot / file, repository, architecture, tag)
