"""Where files of pinned models come from: a mirror folder, an address or the hub; what is interrupted goes on later."""

import contextlib
import fnmatch
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import WeightsError
from data.files import atomic_path, file_digest
from modalities.model_store.table import ModelFile, PinnedModel

Progress = Callable[[int, int], None]
"""Is told bytes done and bytes in all (0: unknown) of the file under way."""
PIECE = 2**20
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
CODE = (".py", ".pyc", ".so", ".pkl", ".pickle", ".sh")
"""Endings that are never fetched by a pattern: a model is read, not run."""


@dataclass(frozen=True)
class Origin:
    """Where files may come from: a mirror folder instead of the network; `offline`: the network must not be used."""

    mirror: Path | None = None
    offline: bool = False


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: its name, its digest (SHA-256, or git's name of the content; '' unknown) and its bytes (0 unknown)."""

    name: str
    digest: str = ""
    size: int = 0


@dataclass(frozen=True)
class Plan:
    """The files of a model as its origin has them, and the revision that they are of."""

    files: tuple[Wanted, ...]
    revision: str

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size for file in self.files)


def plan(model: PinnedModel, origin: Origin) -> Plan:
    """Look up what has to be fetched; WeightsError when the network is forbidden or the origin lacks a file."""
    if origin.mirror is not None:
        return Plan(_in_mirror(model, origin.mirror), model.revision)
    if origin.offline:
        raise WeightsError(
            f"{model.name} is not on this machine and HF_HUB_OFFLINE forbids the network; unset it, or name a folder that holds "
            "the files with DYAD_MIRROR."
        )
    if any(file.is_pattern for file in model.files):
        return _on_hub(model)
    return Plan(tuple(Wanted(file.name, file.sha256) for file in model.files), model.revision)


def resolve(model: PinnedModel, there: Sequence[str]) -> tuple[ModelFile, ...]:
    """The files of the top folder that a row's names and patterns mean, configs first and weights last.

    Code is never among them, pickles only where the row wants them. WeightsError when a name or any weights are missing.
    """
    digests = {file.name: file.sha256 for file in model.files if not file.is_pattern}
    missing = sorted(set(digests) - set(there))
    if missing:
        raise WeightsError(f"{model.name} has no file {missing[0]} in {model.repository or model.folder}; report it, please.")
    patterns = [file.name for file in model.files if file.is_pattern]
    for name in there:
        if "/" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns) and _harmless(name, model):
            digests.setdefault(name, "")
    files = [ModelFile(name, digests[name]) for name in sorted(digests, key=lambda name: (is_weights(name), name))]
    if not files or not is_weights(files[-1].name):
        raise WeightsError(f"{model.name} has no weights (*.safetensors) in {model.repository or model.folder}.")
    return tuple(files)


def is_weights(name: str) -> bool:
    """True for files of weights."""
    return name.endswith(WEIGHTS)


def _harmless(name: str, model: PinnedModel) -> bool:
    pickles = is_weights(name) and not name.endswith(".safetensors")
    return not name.endswith(CODE) and "\\" not in name and (model.weights_only or not pickles)


def gather(model: PinnedModel, file: Wanted, aside: Path, origin: Origin, progress: Progress, revision: str) -> str:
    """Bring one file to the folder `aside` and return its SHA-256; WeightsError when its content is not what it must be."""
    path = aside / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if origin.mirror is not None:
        original = _from_mirror(model, file, path, origin.mirror, progress)
        expected = file.digest or original
    elif model.url:
        expected = file.digest
        _from_address(model, path, progress)
    else:
        _from_hub(model, file.name, aside, revision)
        expected = file.digest or _hub_tag(aside, file.name)
    found = file_digest(path)
    if expected not in ("", found) and expected != git_name(path):
        path.unlink()
        raise WeightsError(
            f"{file.name} of {model.name} arrived damaged or is another file (SHA-256 {found[:12]}…, not {expected[:12]}…); "
            "run the same command again, or look where it comes from."
        )
    return found


def git_name(path: Path) -> str:
    """The name that git, and so the hub, gives to a file's content: 40 digits; only small files are known by it."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def fetched_revision(aside: Path, name: str, otherwise: str) -> str:
    """The commit that was really fetched, where the hub said it."""
    return [*_hub_metadata(aside, name), otherwise][0]


def _places(model: PinnedModel, mirror: Path) -> list[Path]:
    """A mirror is laid out as REPOSITORY/FILE, or as Dyad's own folder of models is."""
    return [mirror / place for place in (model.repository, model.folder) if place]


def _in_mirror(model: PinnedModel, mirror: Path) -> tuple[Wanted, ...]:
    literal = [file.name for file in model.files if not file.is_pattern]
    places = _places(model, mirror)
    place = next((place for place in places if place.is_dir() and all((place / name).is_file() for name in literal)), None)
    if place is None:
        lacking = next((name for name in literal if not (places[0] / name).is_file()), "")
        raise WeightsError(f"The mirror has no {places[0] / lacking} for {model.name}; put it there, or unset DYAD_MIRROR.")
    there = [path.name for path in sorted(place.iterdir()) if path.is_file()]
    return tuple(Wanted(file.name, file.sha256, (place / file.name).stat().st_size) for file in resolve(model, there))


def _from_mirror(model: PinnedModel, file: Wanted, path: Path, mirror: Path, progress: Progress) -> str:
    """Copy a file from a mirror folder, unless it is here already; returns the digest of the original."""
    source = next(place / file.name for place in _places(model, mirror) if (place / file.name).is_file())
    total, done = source.stat().st_size, 0
    digest = file_digest(source)
    if path.is_file() and file_digest(path) == digest:
        return digest
    with atomic_path(path) as copy, source.open("rb") as stream, copy.open("wb") as out:
        while piece := stream.read(PIECE):
            done += out.write(piece)
            progress(done, total)
    return digest


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


def _on_hub(model: PinnedModel) -> Plan:
    """What the hub says a repository holds at the revision: names, sizes, digests, and the commit that the revision is."""
    from huggingface_hub import HfApi

    with _hub_errors(model):
        info = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).model_info(
            model.repository, revision=model.revision, files_metadata=True, timeout=60
        )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    wanted = []
    for file in resolve(model, list(siblings)):
        told = siblings[file.name]
        digest = file.sha256 or (told.lfs.sha256 if told.lfs else told.blob_id) or ""
        wanted.append(Wanted(file.name, digest, told.size or 0))
    return Plan(tuple(wanted), info.sha or model.revision)


def _from_hub(model: PinnedModel, name: str, aside: Path, revision: str) -> None:
    """Let huggingface_hub fetch a file; it shows its own progress and goes on where an earlier try stopped."""
    from huggingface_hub import hf_hub_download

    with _hub_errors(model):
        hf_hub_download(model.repository, name, revision=revision, local_dir=aside, endpoint=os.environ.get("HF_ENDPOINT"))


@contextlib.contextmanager
def _hub_errors(model: PinnedModel) -> Iterator[None]:
    """What huggingface_hub and the network raise becomes a sentence."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _unreachable(model, error) from error
    except (httpx.HTTPError, ConnectionError) as error:
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


def _hub_tag(aside: Path, name: str) -> str:
    """The hub's digest of a file: SHA-256 of a large one, git's name of a small one."""
    tag = [*_hub_metadata(aside, name), "", ""][1]
    return tag if re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", tag) else ""
