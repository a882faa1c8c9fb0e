"""What every backend is: one way to recognise a modality, and what can be asked of it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.schema import NetworkSettings, SceneContextSettings
from configs.settings import Settings
from data.emotions import BASIC_EMOTIONS
from data.media.frames import Frame, read_frames
from data.run_folder import RunFolder
from data.scores import Scores
from flows.job import Job
from flows.runtime import stop
from flows.runtime.code_digest import CodeEntry
from flows.runtime.events import reach
from modalities.priors import estimated_shares, training_shares, with_priors

if TYPE_CHECKING:
    from flows.backends.score_inputs import Answers
    from modalities.reference import Known

Medium = Literal["", "picture", "sound", "any"]
NO_PICTURE = "The file has no picture."
NO_SOUND = "The file has no sound."
Model = TypeVar("Model", covariant=True)
Answer = TypeVar("Answer", covariant=True)


class NotHere(Exception):
    """A model is not on this machine: the modality is absent, with `reason` and `remedy` in sentences."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True)
class Description:
    """What a backend is with certain settings, known without loading it.

    model: its name; revision: a commit, or digits of the weights' digest; licence: of the weights, '' where none is known;
    device: where it runs; locations: where its files are, for people, or what to do where there are none, by part ('' is the
    model itself, others are a `head` or a `reader`); reason, remedy: why it is absent and what helps, '' where it is here.
    """

    model: str
    revision: str = ""
    licence: str = ""
    device: str = ""
    locations: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    remedy: str = ""


class Backend(ABC, Generic[Model, Answer]):
    """One way to recognise a modality: loads a `Model`, gives an `Answer` about a clip (scores; the transcript's, words)."""

    @abstractmethod
    def load(self, settings: Settings) -> Model:
        """The model, from memory where it is there already; NotHere when it is not on this machine."""

    @abstractmethod
    def recognise(self, job: Job) -> Answer:
        """The answer about a job's clip; NotHere when a model is not on this machine."""

    @abstractmethod
    def describe(self, settings: Settings) -> Description:
        """What it is with these settings, without loading anything."""

    @abstractmethod
    def inputs(self, job: Job) -> Mapping[str, object]:
        """What its answer depends on besides settings and code: digests of weights, and of files that the user brings."""

    def code(self, job: Job) -> tuple[CodeEntry, ...]:
        """Modules and files that its answer depends on and that no import names: those chosen in a table."""
        return ()

    def corpora(self, settings: Settings) -> tuple[str, ...]:
        """The corpora that it was trained on, by the names of `data.corpora.known`; none where no card of the model's tells."""
        return ()

    def media(self, job: Job) -> Medium:
        """What of the clip's media it reads, which only exist while a run is under way; '' for none."""
        return "any"

    def centroids(self, settings: Settings) -> NDArray[np.float32] | None:
        """The mean features [7, D] of each emotion in training; None where nobody has measured them."""
        return None


class OfPerson(NamedTuple):
    """A person of a data set's clip: who it is over the clips ('' where unknown), the clip's folder, and that of the person."""

    who: str
    clip: RunFolder
    own: RunFolder


class ScoringBackend(Backend[Model, Scores]):
    """A backend that also answers for many inputs at once (`dyad score`)."""

    @abstractmethod
    def score(self, table: Path, settings: Settings) -> "Answers":
        """Names and probabilities of the inputs in a table or a folder; NotHere when a model is not on this machine."""

    def known(self, persons: Iterable[OfPerson], names: Collection[str], settings: Settings) -> "Mapping[str, Known]":
        """What the persons of a data set's clips tell of those with these names ('' for who has none); nothing where it is not
        asked for."""
        return {}


class HearingBackend(ScoringBackend[Model]):
    """A backend of the voice: it hears a clip's sound once, and is asked later for scores by what else is known of the voice."""

    @abstractmethod
    def hear(self, job: Job, audio: Path | None) -> Scores:
        """Scores by themselves of a job's sound (16 kHz mono WAV), or of a part of it."""


def priors_of(modality: str, settings: Settings) -> NetworkSettings | None:
    """The section with the priors that count for a modality; None where not its shipped network answers."""
    asked = getattr(settings, modality, None)
    if not isinstance(asked, NetworkSettings) or asked.weights is not None:
        return None
    # Whoever describes a scene, our network reads it unless another reader is named; elsewhere the backend is who answers.
    own = not asked.reader if isinstance(asked, SceneContextSettings) else getattr(asked, "backend", "") == "embedded"
    return asked if own else None


def estimated_of(basic: NDArray[np.float32], modality: str, settings: Settings) -> Mapping[str, float] | None:
    """The shares of the emotions in answers [N, 7], where the settings want them estimated."""
    asked, learned = priors_of(modality, settings), training_shares(modality)
    if asked is None or asked.priors != "estimated" or learned is None:
        return None
    return dict(zip(BASIC_EMOTIONS, estimated_shares(basic.astype(np.float64), np.array(learned)).tolist(), strict=True))


def by_priors(
    basic: NDArray[np.float32], modality: str, settings: Settings, expected: Mapping[str, float] | None = None
) -> NDArray[np.float32]:
    """Probabilities [N, 7] with the priors that the settings name, or with `expected` ones, where our shipped network answers."""
    asked = priors_of(modality, settings)
    return basic if asked is None else with_priors(basic, modality, expected or asked.priors, asked.prior_strength)


def frames_of(job: Job, frames_per_second: float | None = None) -> Iterator[Frame]:
    """The sampled pictures of a job's clip, until the user asks to stop; tells how far the clip was looked at."""
    frames, index = job.work_file("frames"), job.work_file("index")
    if frames is None or index is None:
        return
    for frame in read_frames(frames, index, frames_per_second):
        stop.check()
        yield frame
        reach(frame.time_s)
