"""What the backends of large models have in common: these were fetched, and lie where the model store finds them."""

import hashlib
from functools import reduce
from pathlib import Path
from typing import TypeVar

from configs.settings import Settings
from data.errors import InputError
from data.files import digest
from flows.backends.base import Description, NotHere, ScoringBackend
from flows.runtime.loaded_models import device_named
from modalities.model_store.local import LocalModel, find_repository, missing_sentence, row_of
from modalities.model_store.table import model_table

Model = TypeVar("Model", covariant=True)


class FetchedModel(ScoringBackend[Model]):
    """A large model from the folder of a repository, which the settings name in `setting` (`voice.model`)."""

    setting: str

    def named(self, settings: Settings) -> str:
        """The model that the settings name."""
        return str(reduce(getattr, self.setting.split("."), settings))

    def folder(self, settings: Settings) -> Path:
        """Where it lies; NotHere when it was not fetched, InputError when none is named."""
        return fetched(self.named(settings), self.setting)

    def describe(self, settings: Settings) -> Description:
        """What the table of models and the folder say of it."""
        return described_repository(self.named(settings), settings)


def described_repository(model: str, settings: Settings) -> Description:
    """What a model is that lies in the folder of a repository, or why it is not here."""
    found, row = find_repository(model), row_of(model) if model else None
    licence, device = row.licence if row else "", device_named(settings.device)
    if found is None:
        reason, remedy = missing_sentence(model)
        return Description(model, "", licence, device, {"": f"none: {reason} {remedy}"}, reason, remedy)
    commit = found.name if found.parent.name == "snapshots" else folder_digest(found)
    return Description(row.name if row else model, commit[:12], licence, device, {"": str(found)})


def checkpoint_location(found: LocalModel | None, wanted: str) -> str:
    """Where a checkpoint of CLIP or Whisper is, for people, or how to get the model or group of models `wanted`."""
    if found:
        return str(found.path)
    group = wanted in model_table().profiles
    return f"none; run 'dyad models download {wanted}'" if group else "none: " + " ".join(missing_sentence(wanted))


def head_location(head: Path | None, modality: str) -> str:
    """Where a head is, for people, or how to name one: nobody has published any."""
    if head is None:
        return f"none; name one with {modality}.head (docs/models.md)"
    return str(head) if head.is_file() else f"none: there is no file {head}; name an existing one with {modality}.head"


def fetched(model: str, setting: str) -> Path:
    """The folder of a model that settings name; NotHere when it was not fetched, InputError when none is named."""
    if not model:
        raise InputError(f"The settings name no model for this backend; give {setting} a name that 'dyad models list' shows.")
    found = find_repository(model)
    if found is None:
        raise NotHere(*missing_sentence(model))
    return found


def fingerprint(model: str) -> str:
    """Digest of a fetched model's folder; empty when it is not here."""
    found = find_repository(model) if model else None
    return folder_digest(found) if found else ""


def folder_digest(folder: Path) -> str:
    """Digest of the names and contents (of large files: size, beginning, middle and end) of a folder's files."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    lines = [f"{file.name} {digest(file)}" for file in files if file.suffix != ".md"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
