"""Folders of hub repositories that lie on this machine: found by path, by a row's name, or by repository. Never downloads."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data.errors import WeightsError
from modalities.model_store.local import CLIP_FILES, clip_row, models_folder, snapshots
from modalities.model_store.table import PinnedModel, model_table

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names that transformers gives to weights, the safer one first; both are also kept in shards beside NAME.index.json."""


def find_repository(model: str, revision: str = "", environment: Mapping[str, str] = os.environ) -> Path | None:
    """The folder with config and weights of `model`, or None when it is not on this machine (`missing_sentence` says why).

    `model` is a folder, the name of a row of the table (`qwen3-vl-4b`), or a repository (`Qwen/Qwen3-VL-4B-Instruct`). A name
    is looked for in Dyad's folder of models, in the hub's cache (the pinned revision before others), then as a folder.
    With `revision` (a commit, or the beginning of one) only what is known to be of it is found, except a folder given by path.
    """
    given = Path(model).expanduser().resolve()
    if not model or looks_like_path(model):
        return given if model and is_model_folder(given) else None
    found = next((place for place in _places(model, revision, environment) if is_model_folder(place)), None)
    return found or (given if is_model_folder(given) else None)


def require_repository(model: str, revision: str = "", environment: Mapping[str, str] = os.environ) -> Path:
    """As `find_repository`; WeightsError with reason and remedy when it is not there."""
    if (found := find_repository(model, revision, environment)) is None:
        raise WeightsError(" ".join(missing_sentence(model, revision)))
    return found


def find_files(model: str, names: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Files of a model of the table, in Dyad's folder of models or the hub's cache; none when one of them is not there."""
    for place in _places(model, "", environment):
        if names and all((place / name).is_file() for name in names):
            return tuple(place / name for name in names)
    return ()


def missing_sentence(model: str, revision: str = "") -> tuple[str, str]:
    """Why `find_repository` found nothing, and what to do: the command that fetches it, or where to put it."""
    given = Path(model).expanduser()
    if not model:
        return "No model is named.", "Name a folder, a repository (OWNER/NAME), or a model that 'dyad models list' shows."
    if given.is_dir() and not row_of(model):
        return f"The folder {given} holds no model: {fault(given)}.", "Name a folder as save_pretrained writes it."
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
    return not fault(folder)


def fault(folder: Path) -> str:
    """What a folder lacks to be a model, as the end of a sentence; '' when it is one."""
    if (folder / "open_clip_config.json").is_file() and any((folder / name).is_file() for name in CLIP_FILES):
        return ""
    if not (folder / "config.json").is_file():
        return "config.json is not there"
    return _fault_of_weights(folder)


def _fault_of_weights(folder: Path) -> str:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return ""
        if (index := folder / f"{name}.index.json").is_file():
            missing = [shard for shard in _shards(index) if not (folder / shard).is_file()]
            return f"{missing[0]} of its weights is not there" if missing else ""
    return f"neither {WEIGHTS[0]} nor {WEIGHTS[1]} is there"


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return [f"a readable {index.name}"]


def _places(model: str, revision: str, environment: Mapping[str, str]) -> Iterator[Path]:
    row = row_of(model)
    own = own_folder(model, environment)
    if not revision or (row and noted_revision(row, environment).startswith(revision)):
        yield own
    repository = row.repository if row else model
    if "/" not in repository:
        return
    pinned = revision or (row.revision if row else "")
    for snapshot in sorted(snapshots(repository, environment), key=lambda path: not path.name.startswith(pinned or path.name)):
        if not revision or snapshot.name.startswith(revision):
            yield snapshot


def noted_revision(row: PinnedModel, environment: Mapping[str, str] = os.environ) -> str:
    """The commit that the receipt of a fetched model notes; '' when there is none."""
    receipt = models_folder(environment) / "receipts" / f"{row.name}.json"
    try:
        return str(json.loads(receipt.read_text(encoding="utf-8")).get("revision", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def readable_size(megabytes: int) -> str:
    """Megabytes for people: `605 MB`, `7.8 GB`."""
    return f"{megabytes} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
