"""The table of models that Dyad can fetch (`models.yaml`), Whisper's addresses and digests from its own package."""

import ast
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data.errors import InputError

TABLE = Path(__file__).with_name("models.yaml")


@dataclass(frozen=True)
class ModelFile:
    """A file of a model; its SHA-256 where it is known beforehand, else ''."""

    name: str
    sha256: str = ""


@dataclass(frozen=True)
class PinnedModel:
    """One row of the table.

    A model of a hub has `repository` and `revision`, another one `url`. `folder` is its place in Dyad's folder of models;
    size in MB; `unverified` when the row could not be confirmed.
    """

    name: str
    purpose: str
    folder: str
    files: tuple[ModelFile, ...]
    size: int
    licence: str
    repository: str = ""
    revision: str = ""
    url: str = ""
    non_commercial: bool = False
    unverified: bool = False


@dataclass(frozen=True)
class ModelTable:
    """All rows by name, and the names of each profile's."""

    models: Mapping[str, PinnedModel]
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def choose(self, wanted: str) -> tuple[PinnedModel, ...]:
        """The models of a profile, or the one of that name; InputError lists what there is."""
        names = self.profiles.get(wanted) or ((wanted,) if wanted in self.models else ())
        if not names:
            raise InputError(
                f"'{wanted}' is no model and no group of models; give one of: {', '.join((*self.profiles, *self.models))}."
            )
        return tuple(self.models[name] for name in names)


@cache
def model_table() -> ModelTable:
    """The table that comes with Dyad."""
    tree = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    files = tuple(ModelFile(name) for name in tree["clip_files"])
    rows = [_clip(name, row, files) for name, row in tree["clip"].items()]
    addresses = whisper_addresses()
    rows += [_whisper(name, size, addresses[name]) for name, size in tree["whisper"].items() if name in addresses]
    return ModelTable({row.name: row for row in rows}, {name: tuple(rows) for name, rows in tree["profiles"].items()})


def _clip(name: str, row: Mapping[str, Any], files: tuple[ModelFile, ...]) -> PinnedModel:
    defaults: dict[str, Any] = {"revision": "main", "unverified": True, "folder": f"open_clip/{row['repository'].split('/')[-1]}"}
    return PinnedModel(name=name, purpose="scene labels", files=files, **(defaults | dict(row)))


def _whisper(name: str, size: int, url: str) -> PinnedModel:
    """OpenAI's addresses carry the SHA-256 of the file as their last folder."""
    file = ModelFile(url.rsplit("/", 1)[-1], url.split("/")[-2])
    return PinnedModel(f"whisper-{name}", "words from speech", "whisper", (file,), size, "MIT", url=url)


def whisper_addresses() -> dict[str, str]:
    """Name -> address of every checkpoint that openai-whisper lists, read from its source: importing it takes seconds."""
    spec = importlib.util.find_spec("whisper")
    if spec is None or spec.origin is None:
        return {}
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "_MODELS" for target in node.targets):
            return dict(ast.literal_eval(node.value))
    return {}
