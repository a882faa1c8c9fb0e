"""The table of models that Dyad can fetch (`models.yaml`), Whisper's addresses and digests from its own package."""

import ast
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data.errors import InputError

TABLE = Path(__file__).with_name("models.yaml")


@dataclass(frozen=True)
class ModelFile:
    """A file of a model, or a pattern of names (`*.json`); its SHA-256 where it is known beforehand, else ''."""

    name: str
    sha256: str = ""

    @property
    def is_pattern(self) -> bool:
        """True for a pattern, which is resolved against what the repository holds."""
        return any(sign in self.name for sign in "*?[")


@dataclass(frozen=True)
class Package:
    """A wheel of the package index by name, version and SHA-256, and the file in it that holds a part of a model."""

    name: str
    version: str
    sha256: str
    member: str


@dataclass(frozen=True)
class PinnedModel:
    """One row of the table.

    A model of a hub has `repository` and `revision`, another one `url`. `folder` is its place in Dyad's folder of models;
    size in MB; `unverified` when the row could not be confirmed; `unpinned` says which of commit and digests are not known
    beforehand; `weights_only` when pickles among its files are wanted, which
    are loaded as tensors alone. `packages` hold the same weights in CTranslate2's form, one part each; `converted` is the file
    that is made of them.
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
    unpinned: str = ""
    weights_only: bool = False
    note: str = ""
    packages: tuple[Package, ...] = ()
    converted: ModelFile | None = None

    @property
    def is_pinned(self) -> bool:
        """True when the revision is a commit, so that it always means the same files."""
        return bool(re.fullmatch(r"[0-9a-f]{40}", self.revision))


@dataclass(frozen=True)
class ModelTable:
    """All rows by name, and the names of each group's; a profile that needs models has a group of its name."""

    models: Mapping[str, PinnedModel]
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def choose(self, wanted: str) -> tuple[PinnedModel, ...]:
        """The models of a group, or the one of that name or repository; InputError lists what there is."""
        repository = next((row.name for row in self.models.values() if row.repository and row.repository == wanted), wanted)
        names = self.profiles.get(wanted) or ((repository,) if repository in self.models else ())
        if not names:
            raise InputError(
                f"'{wanted}' is no model and no group of models; give one of: {', '.join((*self.profiles, *self.models))}."
            )
        return tuple(self.models[name] for name in names)


@cache
def model_table() -> ModelTable:
    """The table that comes with Dyad."""
    tree = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    rows = [
        _repository(name, purpose, row, tree["files"])
        for purpose, section in tree["repositories"].items()
        for name, row in section.items()
    ]
    rows += [_archive(name, row) for name, row in tree["archives"].items()]
    addresses = whisper_addresses()
    packaged = tree["packages"]
    rows += [_whisper(name, size, addresses[name], packaged.get(f"whisper-{name}"))
             for name, size in tree["whisper"].items() if name in addresses]
    return ModelTable({row.name: row for row in rows}, {name: tuple(rows) for name, rows in tree["groups"].items()})


def _repository(name: str, purpose: str, row: Mapping[str, Any], files: Mapping[str, list[str]]) -> PinnedModel:
    """A row of a hub's repository, completed by what its kind has in common."""
    clip = purpose == "scene labels"
    fields = dict(row)
    names, digests = fields.pop("files", files["open_clip" if clip else "transformers"]), fields.pop("sha256", {})
    known = {file: digest for file, digest in digests.items() if file not in names}
    kept = tuple(ModelFile(file, digests.get(file, "")) for file in names)
    kept += tuple(ModelFile(file, digest) for file, digest in known.items())  # beside the pattern that covers it
    repository = str(fields["repository"])
    folder = f"open_clip/{repository.split('/')[-1]}" if clip else f"hub/{repository}"
    return PinnedModel(name=name, purpose=purpose, files=kept, **({"folder": folder, "revision": "main"} | fields))


def _archive(name: str, row: Mapping[str, Any]) -> PinnedModel:
    """A file at a plain address, with its SHA-256."""
    fields = dict(row)
    file = ModelFile(str(fields["url"]).rsplit("/", 1)[-1], fields.pop("sha256"))
    return PinnedModel(name=name, folder="archives", files=(file,), **fields)


def _whisper(name: str, size: int, url: str, packaged: Mapping[str, Any] | None) -> PinnedModel:
    """OpenAI's addresses carry the SHA-256 of the file as their last folder."""
    file = ModelFile(url.rsplit("/", 1)[-1], url.split("/")[-2])
    model = PinnedModel(f"whisper-{name}", "transcript", "whisper", (file,), size, "MIT", url=url)
    if packaged is None:
        return model
    parts = tuple(Package(**part) for part in packaged["parts"])
    return replace(model, packages=parts, converted=ModelFile(**packaged["converted"]))


def whisper_addresses() -> dict[str, str]:
    """Name -> address of every checkpoint that openai-whisper lists, read from its source: importing it takes seconds."""
    spec = importlib.util.find_spec("whisper")
    if spec is None or spec.origin is None:
        return {}
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "_MODELS" for target in node.targets):
            return dict(ast.literal_eval(node.value))
    return {}
