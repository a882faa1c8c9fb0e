"""What the backends of our own small networks have in common: their weights come with Dyad, or lie in a file of the user's."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from data.errors import WeightsError
from data.files import digest
from flows.backends.base import Description, ScoringBackend
from flows.job import Job
from flows.runtime.loaded_models import device_named, loaded
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Card


class _HasCentroids(Protocol):
    @property
    def centroids(self) -> NDArray[np.float32]: ...


OwnModel = TypeVar("OwnModel", bound=_HasCentroids, covariant=True)


class OwnNetwork(ScoringBackend[OwnModel]):
    """One of our own small networks: its weights come with Dyad, or lie in the file that the settings name."""

    modality: str

    @abstractmethod
    def read_weights(self, weights: Path | None, settings: Settings) -> OwnModel:
        """The network with the weights in a file, or with those that come with Dyad; WeightsError when they are unusable."""

    def load(self, settings: Settings) -> OwnModel:
        """The network, from memory where it is there already."""
        weights = self.weights(settings)
        return loaded(settings, (self.modality, weights, *self.below(settings)), lambda: self.read_weights(weights, settings))

    def below(self, settings: Settings) -> tuple[Path | None, ...]:
        """Further weights that the network stands on."""
        return ()

    def weights(self, settings: Settings) -> Path | None:
        """The file that the settings name; None for the weights that come with Dyad."""
        given: Path | None = getattr(settings, self.modality).weights
        return given

    def describe(self, settings: Settings) -> Description:
        """What it is, and the terms that the model card beside the weights names."""
        given = self.weights(settings)
        weights = given or shipped_weights(self.modality)
        missing = not weights.is_file()
        return Description(
            "Dyad's own network", digest(weights)[:12], terms(weights.with_suffix(".md")),
            device_named(settings.device), {"": "Dyad's own network" + (f", {given}" if given else "")},
            f"There are no weights at {weights}." if missing else "", "Name an existing file." if missing else "",
        )  # fmt: skip

    def inputs(self, job: Job) -> Mapping[str, object]:
        """The digest of the weights."""
        return {"weights": digest(self.weights(job.settings) or shipped_weights(self.modality))}

    def corpora(self, settings: Settings) -> tuple[str, ...]:
        """Those that the card beside the weights names."""
        return corpora(self.weights(settings) or shipped_weights(self.modality))

    def centroids(self, settings: Settings) -> NDArray[np.float32] | None:
        """As they were stored with the weights."""
        return self.load(settings).centroids


def terms(card: Path) -> str:
    """The terms of the weights that a model card names; '' where there is no card."""
    try:
        return Card.read(card).terms
    except WeightsError:  # weights of the user's need no card
        return ""


def corpora(weights: Path) -> tuple[str, ...]:
    """The corpora that weights were trained on, by the card beside them; none where there is no card."""
    try:
        return tuple(Card.read(weights.with_suffix(".md")).corpora)
    except WeightsError:  # weights of the user's need no card
        return ()


def shipped_weights(name: str) -> Path:
    """Where the weights of one of our own networks lie."""
    return WEIGHTS_FOLDER / f"{name}.safetensors"
