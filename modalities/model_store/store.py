"""Dyad's folder of models: fetches pinned models into it, checked and then renamed; says what is there, verifies, removes."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import WeightsError
from data.files import file_digest, write_text
from modalities.model_store.local import models_folder
from modalities.model_store.sources import Origin, Plan, Progress, fetched_revision, gather, plan
from modalities.model_store.table import PinnedModel

__all__ = ["Checked", "Origin", "fetch", "is_here", "missing_space", "remove", "verify"]
MEGABYTE = 10**6


@dataclass(frozen=True)
class Checked:
    """What `verify` found about one file: `problem` is a sentence, empty when the file is as it was pinned."""

    model: str
    path: Path
    problem: str = ""


def fetch(model: PinnedModel, origin: Origin, progress: Progress = lambda done, total: None, folder: Path | None = None) -> Path:
    """Fetch a model's files and return its folder; a model that is complete already is left as it is.

    Files are gathered aside, where an interrupted download goes on; they get their names only when the digest of each is as
    pinned, or as the hub says. WeightsError in a sentence when there is no network, no such file or no room on the disk, or
    when a file is damaged.
    """
    store = folder or models_folder()
    target = store / model.folder
    if is_here(model, store):
        return target
    planned = plan(model, origin)
    aside = store / ".downloads" / model.name
    sentence = _missing_bytes(model.name, (planned.size or model.size * MEGABYTE) - _bytes_in(aside), store)
    if sentence:
        raise WeightsError(sentence)
    aside.mkdir(parents=True, exist_ok=True)
    digests = {file.name: gather(model, file, aside, origin, progress, planned.revision) for file in planned.files}
    _install(model, planned, aside, target)
    _note(model, origin, planned, aside, digests, store)
    shutil.rmtree(aside)
    return target


def _install(model: PinnedModel, planned: Plan, aside: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in planned.files:  # the weights come last: without them nobody takes the folder for a model
        os.replace(aside / file.name, target / file.name)


def _note(model: PinnedModel, origin: Origin, planned: Plan, aside: Path, digests: Mapping[str, str], store: Path) -> None:
    """Write the receipt: where the files came from, their revision and SHA-256."""
    receipt = {
        "model": model.name,
        "from": model.repository or model.url,
        "through": "mirror" if origin.mirror else "network",
        "revision": fetched_revision(aside, planned.files[-1].name, planned.revision),
        "licence": model.licence,
        "sha256": dict(digests),
    }
    _receipt(store, model).parent.mkdir(exist_ok=True)
    write_text(_receipt(store, model), json.dumps(receipt, indent=1) + "\n")


def is_here(model: PinnedModel, folder: Path | None = None) -> bool:
    """True when the model was fetched, at the commit that the table pins now, and its files are still there."""
    store = folder or models_folder()
    noted = _noted(store, model)
    return bool(noted) and not _is_outdated(model, noted) and all(path.is_file() for path in _files(store, model, noted))


def verify(models: Mapping[str, PinnedModel], folder: Path | None = None) -> Iterator[Checked]:
    """Read every file of the fetched models again and compare its SHA-256 with the pinned one, or the one it had when fetched."""
    store = folder or models_folder()
    for model in models.values():
        noted = _noted(store, model)
        again = f"run 'dyad models download {model.name}'"
        if noted and _is_outdated(model, noted):
            problem = f"{model.name} was fetched at revision {noted.get('revision')}, the table has {model.revision}; {again}."
            yield Checked(model.name, _receipt(store, model), problem)
        pinned = {file.name: file.sha256 for file in model.files if file.sha256}
        for path in _files(store, model, noted):
            wanted = pinned.get(path.name) or noted["sha256"].get(path.name, "")
            if not path.is_file():
                yield Checked(model.name, path, f"{path} is gone; {again}.")
            elif file_digest(path) != wanted:
                yield Checked(model.name, path, f"{path} has changed since it was fetched; remove it and {again}.")
            else:
                yield Checked(model.name, path)


def remove(model: PinnedModel, folder: Path | None = None) -> int:
    """Remove a fetched model's files, receipt and half-finished download; returns the bytes that became free."""
    store = folder or models_folder()
    aside = store / ".downloads" / model.name
    paths = [path for path in _files(store, model, _noted(store, model)) if path.is_file()]
    freed = sum(path.stat().st_size for path in paths) + _bytes_in(aside)
    for path in paths:
        path.unlink()
    _receipt(store, model).unlink(missing_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    place = store / model.folder
    while place != store and place.is_dir() and not any(place.iterdir()):
        place.rmdir()
        place = place.parent
    return freed


def missing_space(models: Iterable[PinnedModel], folder: Path | None = None) -> str:
    """A sentence when the disk of Dyad's folder has no room for those of the models that are not here yet; else ''."""
    store = folder or models_folder()
    absent = [model for model in models if not is_here(model, store)]
    begun = sum(_bytes_in(store / ".downloads" / model.name) for model in absent)
    needed = sum(model.size for model in absent) * MEGABYTE - begun
    return _missing_bytes(" with ".join(model.name for model in absent), needed, store)


def _missing_bytes(names: str, needed: int, store: Path) -> str:
    place = next(folder for folder in (store, *store.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if needed <= free:
        return ""
    return (
        f"{names} needs {needed / 1e9:.1f} GB and the disk of {store} has {free / 1e9:.1f} GB free; make room, or name a folder "
        "on another disk with DYAD_MODELS."
    )


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _receipt(store: Path, model: PinnedModel) -> Path:
    return store / "receipts" / f"{model.name}.json"


def _noted(store: Path, model: PinnedModel) -> dict[str, Any]:
    """The receipt of a model that was fetched; empty when there is none that can be read."""
    try:
        noted = json.loads(_receipt(store, model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) and isinstance(noted.get("sha256"), dict) else {}


def _is_outdated(model: PinnedModel, noted: Mapping[str, Any]) -> bool:
    return model.is_pinned and noted.get("revision") != model.revision


def _files(store: Path, model: PinnedModel, noted: Mapping[str, Any]) -> list[Path]:
    """The files that a receipt names; none without a receipt."""
    return [store / model.folder / name for name in noted.get("sha256", {})]
