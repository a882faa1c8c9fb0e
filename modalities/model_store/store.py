"""Dyad's folder of models: fetches pinned models into it, checked and then renamed; says what is there, verifies, removes."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data.errors import WeightsError
from data.files import file_digest, write_text
from modalities.model_store.local import Receipt, known_path, models_folder, read_receipt, receipt_path
from modalities.model_store.sources import ModelSource, RemoteFile, sources_of
from modalities.model_store.table import ModelFile, PinnedModel

MEGABYTE = 10**6


@dataclass(frozen=True)
class CheckedFile:
    """What `verify` found about one file: `problem` is a sentence, empty when the file is as it was pinned."""

    model: str
    path: Path
    problem: str = ""


def fetch(model: PinnedModel, mirror: Path | None = None, folder: Path | None = None) -> Path:
    """Fetch a model's files from the network, or from a mirror folder; returns their folder, and leaves a complete one as it is.

    Files are gathered aside, where an interrupted download goes on; they get their names only when the digest of each is as
    pinned, or as the hub says. WeightsError in a sentence when there is no network, no such file or no room on the disk, or
    when a file is damaged, or not what the first download brought of a row without commit or digests; of a model with several
    sources each is asked until one has it.
    """
    store = folder or models_folder()
    target = store / model.folder
    if is_here(model, store):
        return target
    problems: list[str] = []
    for source in sources_of(as_known(model, store), mirror):
        try:
            return _fetch_from(source, model, mirror, store)
        except WeightsError as error:
            problems.append(str(error))
    raise WeightsError(" ".join(dict.fromkeys(problems)))


def as_known(model: PinnedModel, store: Path) -> PinnedModel:
    """The row with the commit and digests that its first download into a folder brought, where the table has none."""
    known = read_receipt(known_path(model, store))
    if known is None or (model.is_pinned and known.revision != model.revision):
        return model
    pinned = {file.name for file in model.files if file.sha256}
    files = tuple(ModelFile(name, digest) for name, digest in known.sha256.items() if name not in pinned)
    kept = tuple(file for file in model.files if file.is_pattern or file.name in pinned)
    return replace(model, revision=known.revision or model.revision, files=(*kept, *files))


def _fetch_from(source: ModelSource, model: PinnedModel, mirror: Path | None, store: Path) -> Path:
    target, aside = store / model.folder, store / ".downloads" / model.name
    needed = (sum(file.size for file in source.files) or model.size * MEGABYTE) - _bytes_in(aside)
    if sentence := _no_room(model.name, needed, store):
        raise WeightsError(sentence)
    aside.mkdir(parents=True, exist_ok=True)
    digests: dict[str, str] = {}
    for file in source.files:
        path = aside / file.name
        if not (digest := _digest_if_whole(path, file)):
            source.get(file.name, aside)
            digest = _digest_if_whole(path, file)
        if not digest:
            found = file_digest(path)
            path.unlink()
            known = known_path(model, store)
            remedy = f"; if you trust what is there now, remove {known}, which notes the first one" if known.is_file() else ""
            raise WeightsError(
                f"{file.name} of {model.name} arrived damaged or is another file (SHA-256 {found[:12]}…, not "
                f"{file.digest[:12]}…); run the same command again, or look where it comes from{remedy}."
            )
        digests[file.name] = digest
    receipt = {
        "model": model.name,
        "from": source.origin,
        "through": "mirror" if mirror else "network",
        "revision": source.revision,
        "licence": model.licence,
        "sha256": digests,
    }
    target.mkdir(parents=True, exist_ok=True)
    for file in source.files:  # the weights come last: without them nobody takes the folder for a model
        os.replace(aside / file.name, target / file.name)
    notes = (receipt_path(model, store), *([known_path(model, store)] if model.unpinned else []))
    for note in notes:
        note.parent.mkdir(exist_ok=True)
        write_text(note, json.dumps(receipt, indent=1) + "\n")
    shutil.rmtree(aside)
    return target


def _digest_if_whole(path: Path, file: RemoteFile) -> str:
    """SHA-256 of a file that is there and has the content that its source has; else ''."""
    from huggingface_hub.utils.sha import git_hash

    if not path.is_file():
        return ""
    found = file_digest(path)
    is_git_name = len(file.digest) == 40  # by which the hub knows small files
    content = git_hash(path.read_bytes()) if is_git_name else found
    return found if file.digest in ("", content) else ""


def is_here(model: PinnedModel, folder: Path | None = None) -> bool:
    """True when the model was fetched, at the commit that the table pins now, and its files are still there."""
    store = folder or models_folder()
    receipt = read_receipt(receipt_path(model, store))
    if receipt is None or not receipt.sha256 or _is_outdated(model, receipt):
        return False
    return all(path.is_file() for path in _files(model, receipt, store))


def verify(models: Mapping[str, PinnedModel], folder: Path | None = None) -> Iterator[CheckedFile]:
    """Read every file of the fetched models again and compare its SHA-256 with the pinned one, or the one it had when fetched."""
    store = folder or models_folder()
    for model in models.values():
        if (receipt := read_receipt(receipt_path(model, store))) is None:
            continue
        again = f"run 'dyad models download {model.name}'"
        if _is_outdated(model, receipt):
            problem = f"{model.name} was fetched at revision {receipt.revision}, the table has {model.revision}; {again}."
            yield CheckedFile(model.name, receipt_path(model, store), problem)
        digests = dict(receipt.sha256) | {file.name: file.sha256 for file in model.files if file.sha256}
        for path in _files(model, receipt, store):
            if not path.is_file():
                yield CheckedFile(model.name, path, f"{path} is gone; {again}.")
            elif file_digest(path) != digests[path.name]:
                yield CheckedFile(model.name, path, f"{path} has changed since it was fetched; remove it and {again}.")
            else:
                yield CheckedFile(model.name, path)


def remove(model: PinnedModel, folder: Path | None = None) -> int:
    """Remove a fetched model's files, receipt and half-finished download; returns the bytes that became free."""
    store = folder or models_folder()
    aside = store / ".downloads" / model.name
    receipt = read_receipt(receipt_path(model, store))
    paths = [path for path in (_files(model, receipt, store) if receipt else []) if path.is_file()]
    freed = sum(path.stat().st_size for path in paths) + _bytes_in(aside)
    for path in paths:
        path.unlink()
    receipt_path(model, store).unlink(missing_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    emptied = store / model.folder
    while emptied != store and emptied.is_dir() and not any(emptied.iterdir()):
        emptied.rmdir()
        emptied = emptied.parent
    return freed


def missing_space(models: Iterable[PinnedModel], folder: Path | None = None) -> str:
    """A sentence when the disk of Dyad's folder has no room for those of the models that are not here yet; else ''."""
    store = folder or models_folder()
    absent = [model for model in models if not is_here(model, store)]
    begun = sum(_bytes_in(store / ".downloads" / model.name) for model in absent)
    needed = sum(model.size for model in absent) * MEGABYTE - begun
    return _no_room(" with ".join(model.name for model in absent), needed, store)


def _no_room(names: str, needed: int, store: Path) -> str:
    free = shutil.disk_usage(next(folder for folder in (store, *store.parents) if folder.is_dir())).free
    if needed <= free:
        return ""
    return (
        f"{names} needs {needed / 1e9:.1f} GB and the disk of {store} has {free / 1e9:.1f} GB free; make room, or name a folder "
        "on another disk with DYAD_MODELS."
    )


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_outdated(model: PinnedModel, receipt: Receipt) -> bool:
    return model.is_pinned and receipt.revision != model.revision


def _files(model: PinnedModel, receipt: Receipt, store: Path) -> list[Path]:
    return [store / model.folder / name for name in receipt.sha256]
