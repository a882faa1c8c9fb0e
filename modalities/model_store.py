"""Fetches pinned models into Dyad's folder of models: from the hub, an address or a mirror folder; checked, then renamed."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import WeightsError
from data.files import atomic_path, file_digest, write_text
from modalities.local_models import models_folder
from modalities.model_table import ModelFile, PinnedModel

Progress = Callable[[int, int], None]
"""Is told bytes done and bytes in all (0: unknown) of the file under way."""
PIECE = 2**20


@dataclass(frozen=True)
class Origin:
    """Where files may come from: a mirror folder instead of the network; `offline`: the network must not be used."""

    mirror: Path | None = None
    offline: bool = False


@dataclass(frozen=True)
class Checked:
    """What `verify` found about one file: `problem` is a sentence, empty when the file is as it was pinned."""

    model: str
    path: Path
    problem: str = ""


def fetch(model: PinnedModel, origin: Origin, progress: Progress = lambda done, total: None, folder: Path | None = None) -> Path:
    """Fetch a model's files and return its folder; a model that is complete already is left as it is.

    Files are gathered aside, where an interrupted download goes on; they get their names only when the SHA-256 of each is as
    pinned. WeightsError in a sentence when there is no network or no such file, or when a file is damaged.
    """
    store = folder or models_folder()
    target = store / model.folder
    if is_here(model, store):
        return target
    aside = store / ".downloads" / model.name
    aside.mkdir(parents=True, exist_ok=True)
    digests = {file.name: _gathered(model, file, aside, origin, progress) for file in model.files}
    revision = _revision(aside, model)
    target.mkdir(parents=True, exist_ok=True)
    for file in model.files:  # the weights come last: without them nobody takes the folder for a model
        os.replace(aside / file.name, target / file.name)
    receipt = {"model": model.name, "from": model.repository or model.url, "revision": revision, "sha256": digests}
    _receipt(store, model).parent.mkdir(exist_ok=True)
    write_text(_receipt(store, model), json.dumps(receipt, indent=1) + "\n")
    shutil.rmtree(aside)
    return target


def is_here(model: PinnedModel, folder: Path | None = None) -> bool:
    """True when the model was fetched and its files are still there."""
    store = folder or models_folder()
    return bool(_noted(store, model)) and all((store / model.folder / file.name).is_file() for file in model.files)


def verify(models: Mapping[str, PinnedModel], folder: Path | None = None) -> Iterator[Checked]:
    """Read every file of the fetched models again and compare its SHA-256 with the pinned one, or the one it had when fetched."""
    store = folder or models_folder()
    for model in models.values():
        noted = _noted(store, model).get("sha256", {})
        for file in model.files if noted else ():
            path, wanted = store / model.folder / file.name, file.sha256 or noted.get(file.name, "")
            again = f"run 'dyad models download {model.name}'"
            if not path.is_file():
                yield Checked(model.name, path, f"{path} is gone; {again}.")
            elif file_digest(path) != wanted:
                yield Checked(model.name, path, f"{path} has changed since it was fetched; remove it and {again}.")
            else:
                yield Checked(model.name, path)


def _receipt(store: Path, model: PinnedModel) -> Path:
    return store / "receipts" / f"{model.name}.json"


def _noted(store: Path, model: PinnedModel) -> dict[str, Any]:
    try:
        noted = json.loads(_receipt(store, model).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _gathered(model: PinnedModel, file: ModelFile, aside: Path, origin: Origin, progress: Progress) -> str:
    """Bring one file to `aside` and return its SHA-256, which is as pinned or as the hub says."""
    path = aside / file.name
    if origin.mirror is not None:
        copied = _from_mirror(model, file, path, origin.mirror, progress)
        wanted = file.sha256 or copied
    elif origin.offline:
        raise WeightsError(
            f"{model.name} is not on this machine and HF_HUB_OFFLINE forbids the network; unset it, or name a folder that holds "
            "the files with DYAD_MIRROR."
        )
    elif model.url:
        wanted = file.sha256
        _from_address(model, path, progress)
    else:
        _from_hub(model, file, aside)
        wanted = file.sha256 or _hub_digest(aside, file)
    digest = file_digest(path)
    if wanted and digest != wanted:
        path.unlink()
        raise WeightsError(
            f"{file.name} of {model.name} arrived damaged or is another file (SHA-256 {digest[:12]}…, not {wanted[:12]}…); "
            "run the same command again, or look where it comes from."
        )
    return digest


def _from_mirror(model: PinnedModel, file: ModelFile, path: Path, mirror: Path, progress: Progress) -> str:
    """Copy a file from a mirror folder, laid out as REPOSITORY/FILE or FOLDER/FILE; returns the digest of the original."""
    places = [mirror / place / file.name for place in (model.repository, model.folder) if place]
    source = next((place for place in places if place.is_file()), None)
    if source is None:
        raise WeightsError(f"The mirror has no {places[0]} for {model.name}; put it there, or unset DYAD_MIRROR.")
    total, done = source.stat().st_size, 0
    with atomic_path(path) as copy, source.open("rb") as stream, copy.open("wb") as out:
        while piece := stream.read(PIECE):
            done += out.write(piece)
            progress(done, total)
    return file_digest(source)


def _from_address(model: PinnedModel, path: Path, progress: Progress) -> None:
    """Fetch an address to `path`, going on where an earlier try stopped."""
    import httpx

    part = path.with_name(path.name + ".part")
    done = part.stat().st_size if part.is_file() else 0
    try:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with httpx.stream("GET", model.url, headers=headers, timeout=60, follow_redirects=True) as response:
            if response.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # else all of it is here
                response.raise_for_status()
                _append(response, part, done if response.status_code == httpx.codes.PARTIAL_CONTENT else 0, progress)
    except httpx.HTTPError as error:
        raise _unreachable(model, error) from error
    os.replace(part, path)


def _append(response: Any, part: Path, done: int, progress: Progress) -> None:
    total = done + int(response.headers.get("content-length", 0))
    with part.open("ab" if done else "wb") as out:
        for piece in response.iter_raw():  # as they come: what has arrived when the line breaks is kept
            done += out.write(piece)
            progress(done, total)


def _from_hub(model: PinnedModel, file: ModelFile, aside: Path) -> None:
    """Let huggingface_hub fetch a file; it shows its own progress and goes on where an earlier try stopped."""
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        hf_hub_download(
            model.repository, file.name, revision=model.revision, local_dir=aside, endpoint=os.environ.get("HF_ENDPOINT")
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx.HTTPError, ConnectionError) as error:
        raise _unreachable(model, error) from error


def _unreachable(model: PinnedModel, error: Exception) -> WeightsError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return WeightsError(
        f"{model.name} could not be fetched from {model.repository or model.url} ({said}). Check the network and run the same "
        "command again, which goes on where it stopped, or name a folder that holds the files with DYAD_MIRROR."
    )


def _hub_metadata(aside: Path, name: str) -> list[str]:
    """What huggingface_hub noted of a file: its commit, then the hub's tag, which for large files is the SHA-256."""
    note = aside / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    return note.read_text(encoding="utf-8").split() if note.is_file() else []


def _hub_digest(aside: Path, file: ModelFile) -> str:
    tag = [*_hub_metadata(aside, file.name), "", ""][1]
    return tag if re.fullmatch(r"[0-9a-f]{64}", tag) else ""


def _revision(aside: Path, model: PinnedModel) -> str:
    """The commit that was really fetched, where the hub said it."""
    return [*_hub_metadata(aside, model.files[-1].name), model.revision][0]
