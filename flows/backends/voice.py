"""Backends of the voice: our own network, audio classifiers, speech encoders with a head."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from data.files import digest
from data.manifest.manifest import MEDIA
from data.scores import Scores
from flows.backends.base import Backend, Description, Medium, NotHere, ScoringBackend
from flows.backends.fetched_models import FetchedModel, fingerprint, head_location
from flows.backends.own_networks import OwnNetwork
from flows.backends.score_inputs import Answers, Probabilities, files_in, in_chunks
from flows.job import Job
from flows.runtime.loaded_models import device_named, feeding, loaded, placing

if TYPE_CHECKING:
    from modalities.speech.windows import AudioScores
    from modalities.voice.audio_classifier import AudioClassifier
    from modalities.voice.embedded import Voice
    from modalities.voice.speech_encoder import SpeechModel

Model = TypeVar("Model", covariant=True)
NO_HEAD = "The settings name no head for the speech encoder, and Team RAS published none."
NO_HEAD_REMEDY = (
    "Train one with ./dyad train voice-head --encoder {model} --data FOLDER and name it with voice.head, or set voice.backend to "
    "embedded."
)


class VoiceBackend(ScoringBackend[Model]):
    """What all backends of the voice have in common: they hear the clip's sound, and score files with speech."""

    @abstractmethod
    def score_files(self, files: Sequence[Path], settings: Settings) -> "AudioScores":
        """Probabilities [B, 7] of media files, cut into the windows of the settings."""

    def score(self, table: Path, settings: Settings) -> Answers:
        """Of a folder of media files, or a table that names some."""
        files = files_in(table, MEDIA)
        reasons: dict[str, str] = {}
        shares: list[NDArray[np.float32]] = []

        def score(part: Sequence[Path]) -> Probabilities:
            heard = self.score_files(part, settings)
            reasons.update({str(file): reason for file, reason in zip(part, heard.reasons, strict=True) if reason})
            shares.append(heard.quality)
            return heard.probabilities

        basic = in_chunks(files, score)
        names, quality = [str(file) for file in files], np.concatenate(shares)
        broken = frozenset(name for name, share in zip(names, quality.tolist(), strict=True) if share != share)
        return Answers(names, basic, reasons, quality, broken)

    def media(self, job: Job) -> Medium:
        """The sound."""
        return "sound"


class OwnVoice(VoiceBackend["Voice"], OwnNetwork["Voice"]):
    """The speech detector and our network for voices."""

    modality = "voice"

    def read_weights(self, weights: Path | None, settings: Settings) -> "Voice":
        """The network; see `modalities.voice.embedded.load`."""
        from modalities.voice.embedded import load

        return load(weights, device_named(settings.device))

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's sound."""
        from modalities.voice.embedded import recognise

        return recognise(self.load(job.settings), job.work_file("audio"), job.windows)

    def score_files(self, files: Sequence[Path], settings: Settings) -> "AudioScores":
        """Probabilities of media files."""
        from modalities.voice.embedded import score_audio

        return score_audio(self.load(settings), files, settings.windows.cut)


class VoiceClassifier(VoiceBackend["AudioClassifier"], FetchedModel["AudioClassifier"]):
    """An audio classifier of transformers."""

    setting = "voice.model"

    def load(self, settings: Settings) -> "AudioClassifier":
        """The classifier, from memory where it is there already."""
        from modalities.voice.audio_classifier import load_audio_classifier

        folder, asked = self.folder(settings), settings.voice
        return loaded(
            settings, ("audio_classifier", folder, asked.labels, asked.seconds),
            lambda: load_audio_classifier(folder, labels=asked.labels, seconds=asked.seconds, **placing(settings)), folder,
        )  # fmt: skip

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's sound."""
        from modalities.voice.audio_classifier import recognise

        fed = feeding(job.settings, job.settings.voice.batch)
        return recognise(self.load(job.settings), job.work_file("audio"), job.windows, **fed)

    def score_files(self, files: Sequence[Path], settings: Settings) -> "AudioScores":
        """Probabilities of media files."""
        from modalities.voice.audio_classifier import score_audio

        return score_audio(self.load(settings), files, settings.windows.cut, **feeding(settings, settings.voice.batch))

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of the model and of the table of its labels."""
        asked = job.settings.voice
        return {"model": fingerprint(asked.model), "labels": digest(asked.labels), "head": digest(asked.head)}


class VoiceEncoder(VoiceBackend["SpeechModel"], FetchedModel["SpeechModel"]):
    """A speech encoder of transformers with a head of its own."""

    setting = "voice.model"

    def load(self, settings: Settings) -> "SpeechModel":
        """Encoder and head, from memory where they are there already."""
        from modalities.voice.speech_encoder import load_speech_model

        folder, head = self.folder(settings), settings.voice.head
        if head is None:
            raise NotHere(NO_HEAD, NO_HEAD_REMEDY.format(model=settings.voice.model))
        key = ("speech_encoder", folder, head)
        return loaded(settings, key, lambda: load_speech_model(folder, head, **placing(settings)), folder)

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's sound."""
        from modalities.voice.speech_encoder import recognise

        fed = feeding(job.settings, job.settings.voice.batch)
        return recognise(self.load(job.settings), job.work_file("audio"), job.windows, **fed)

    def score_files(self, files: Sequence[Path], settings: Settings) -> "AudioScores":
        """Probabilities of media files."""
        from modalities.voice.speech_encoder import score_audio

        return score_audio(self.load(settings), files, settings.windows.cut, **feeding(settings, settings.voice.batch))

    def describe(self, settings: Settings) -> Description:
        """The encoder as the table of models knows it; absent without a head, which nobody has published."""
        encoder, head = super().describe(settings), settings.voice.head
        described = replace(encoder, locations={**encoder.locations, "head": head_location(head, "voice")})
        if described.reason:
            return described
        if head is None:
            return replace(described, reason=NO_HEAD, remedy=NO_HEAD_REMEDY.format(model=settings.voice.model))
        if not head.is_file():
            return replace(described, reason=f"There is no file {head}.", remedy="Name an existing one with voice.head.")
        return replace(described, model=f"{encoder.model} + {head.name}", revision=f"{encoder.revision}+{digest(head)[:12]}")

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of the encoder and of its head."""
        asked = job.settings.voice
        return {"model": fingerprint(asked.model), "labels": digest(asked.labels), "head": digest(asked.head)}

    def centroids(self, settings: Settings) -> NDArray[np.float32] | None:
        """Those of the head, where it was trained by us."""
        return self.load(settings).centroids if settings.voice.head else None


BACKENDS: Mapping[str, Backend[object, Scores]] = {
    "embedded": OwnVoice(),
    "transformers": VoiceClassifier(),
    "encoder": VoiceEncoder(),
}
