"""Backends of the voice: our own layer over Whisper, audio classifiers, speech encoders with a head."""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from data.files import digest
from data.given_files import GivenFile
from data.manifest.manifest import MEDIA
from data.run_folder import RunFolder
from data.scores import Scores
from data.tables import read_scores
from flows.backends.base import Backend, Description, HearingBackend, Medium, NotHere, OfPerson
from flows.backends.fetched_models import FetchedModel, fingerprint, head_location
from flows.backends.own_networks import corpora, shipped_weights, terms
from flows.backends.score_inputs import Answers, Scored, column_if_any, files_in, tell
from flows.evidence import turns_of
from flows.job import Job
from flows.runtime.loaded_models import device_named, feeding, loaded, placing
from flows.whisper_blocks import WHISPER, lower_blocks
from modalities.model_store.local import find_whisper, missing_sentence

if TYPE_CHECKING:
    from modalities.reference import Known
    from modalities.speech.windows import AudioScores
    from modalities.voice.audio_classifier import AudioClassifier
    from modalities.voice.embedded import Layer, Voice
    from modalities.voice.speech_encoder import SpeechModel

Model = TypeVar("Model", covariant=True)
NO_HEAD = "The settings name no head for the speech encoder, and Team RAS published none."
NO_HEAD_REMEDY = (
    "Train one with ./dyad train voice-head --encoder {model} --data FOLDER and name it with voice.head, or set voice.backend to "
    "embedded."
)


def heard_of(own: RunFolder) -> Scores | None:
    """What was heard of a person: alone where others speak, too; else, of whom the clip's answer is about, all; None without."""
    alone, all_of_it = (own.own_speech, own.own_speech_evidence), (own.speech, own.speech_evidence)
    there = [told for told in (alone, all_of_it) if told[0].is_file()]
    return read_scores(*there[0]) if there else None


class VoiceBackend(HearingBackend[Model]):
    """What all backends of the voice have in common: they relate what was heard, and score files with speech."""

    def related(self, job: Job, heard: Scores) -> Scores:
        """Scores by what the voice usually sounds like; those of a large model know nothing of it and stay as they are."""
        return heard

    def recognise(self, job: Job) -> Scores:
        """Scores of what was heard in the stages before: of the person alone, where others speak, too."""
        heard = heard_of(job.own) or read_scores(job.folder.speech, job.folder.speech_evidence)
        if heard.is_absent and heard.source is None:
            raise NotHere(heard.reason, heard.remedy)
        return self.related(job, heard)

    @abstractmethod
    def score_files(self, files: Sequence[Path | GivenFile], speakers: Sequence[str], settings: Settings) -> "AudioScores":
        """Probabilities [B, 7] of media files, cut into the windows of the settings; `speakers` are empty where unknown."""

    def score(self, table: Path, settings: Settings) -> Answers:
        """Of a folder of media files, or a table that names some, and in its column `speaker` who speaks."""
        files = files_in(table, MEDIA)
        speakers = ([] if table.is_dir() else column_if_any(table, "speaker")) or [""] * len(files)
        scored, names = self.score_files(files, speakers, settings), [str(file) for file in files]
        reasons = {name: reason for name, reason in zip(names, scored.reasons, strict=True) if reason}
        broken = frozenset(name for name, share in zip(names, scored.quality.tolist(), strict=True) if share != share)
        return Answers(names, scored.probabilities, reasons, scored.quality, broken)

    def media(self, job: Job) -> Medium:
        """None: what there is to hear was heard in the stage before."""
        return ""


class OwnVoice(VoiceBackend["Voice"]):
    """The speech detector, Whisper's lower blocks, and our layer over them."""

    modality = "voice"

    def load(self, settings: Settings) -> "Voice":
        """All three, from memory where they are there already."""
        from modalities.voice.embedded import load

        whisper, weights, device = self.whisper(), settings.voice.weights, device_named(settings.device)
        key = ("voice", whisper, weights)
        return loaded(settings, key, lambda: load(lower_blocks(whisper, settings), weights, device), whisper)

    def layer(self, settings: Settings) -> "Layer":
        """The layer alone, from memory where it is there already."""
        from modalities.voice.embedded import load_layer

        return loaded(settings, ("voice layer", settings.voice.weights), lambda: load_layer(settings.voice.weights))

    def whisper(self) -> Path:
        """The checkpoint of Whisper base; NotHere where it was not fetched."""
        found = find_whisper(name=WHISPER).found
        if found is None:
            raise NotHere(*missing_sentence(WHISPER))
        return found.path

    def hear(self, job: Job, audio: Path | None) -> Scores:
        """The clip's sound by the training's reference, and the states that another one needs."""
        from modalities.voice.embedded import hear_clip

        return hear_clip(self.load(job.settings), audio, job.windows)

    def related(self, job: Job, heard: Scores) -> Scores:
        """Scores by the reference that the settings ask for."""
        from modalities.reference import read_known
        from modalities.voice.embedded import relate

        asked, known = job.settings.voice.reference, job.references.get(self.modality)
        return relate(self.layer(job.settings), heard, asked, read_known(known) if known else None, turns_of(job))

    def known(self, persons: Iterable[OfPerson], names: Collection[str], settings: Settings) -> "Mapping[str, Known]":
        """What all states that the clips' folders hold tell of each speaker, nobody included, or of all; nothing where the
        settings want no data set's, or fewer than two clips have a voice."""
        from modalities.voice.embedded import add_clip, known_of, no_references

        if settings.voice.reference not in ("speaker", "dataset"):
            return {}
        layer = self.layer(settings)
        references = no_references(layer)
        for who, clip, own in persons:
            heard = heard_of(own)
            if heard is not None:
                add_clip(layer, references, who, clip.root.name, heard)
        return known_of(layer, references, names, settings.voice.reference) if references.sources > 1 else {}

    def corpora(self, settings: Settings) -> tuple[str, ...]:
        """Those that the card beside the layer names."""
        return corpora(settings.voice.weights or shipped_weights(self.modality))

    def score_files(self, files: Sequence[Path | GivenFile], speakers: Sequence[str], settings: Settings) -> "AudioScores":
        """Probabilities of media files, each by the reference of its speaker, else its own."""
        from modalities.voice.embedded import score_audio

        return score_audio(
            self.load(settings), files, settings.windows.cut, speakers, settings.voice.reference,
            on_file=lambda done: tell(Scored(done, len(files))),
        )  # fmt: skip

    def describe(self, settings: Settings) -> Description:
        """The layer, and Whisper, which it stands on; absent without."""
        given = settings.voice.weights
        weights = given or shipped_weights("voice")
        about = Description("Dyad's own layer over Whisper base", digest(weights)[:12], terms(weights.with_suffix(".md")),
                            device_named(settings.device))  # fmt: skip
        if not weights.is_file():
            return replace(about, reason=f"There are no weights at {weights}.", remedy="Name an existing file.")
        own = "Dyad's own layer" + (f", {given}" if given else "")
        try:
            return replace(about, locations={"": own, "whisper": str(self.whisper())})
        except NotHere as missing:
            none = f"none: {missing.reason} {missing.remedy}"
            return replace(about, locations={"": own, "whisper": none}, reason=missing.reason, remedy=missing.remedy)

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of the layer and of Whisper."""
        found = find_whisper(name=WHISPER).found
        weights = job.settings.voice.weights or shipped_weights("voice")
        return {"weights": digest(weights), "whisper": digest(found.path) if found else ""}

    def centroids(self, settings: Settings) -> NDArray[np.float32] | None:
        """As they were stored with the weights."""
        return self.layer(settings).centroids


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

    def hear(self, job: Job, audio: Path | None) -> Scores:
        """Scores of the clip's sound."""
        from modalities.voice.audio_classifier import recognise

        fed = feeding(job.settings, job.settings.voice.batch)
        return recognise(self.load(job.settings), audio, job.windows, **fed)

    def score_files(self, files: Sequence[Path | GivenFile], speakers: Sequence[str], settings: Settings) -> "AudioScores":
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

    def hear(self, job: Job, audio: Path | None) -> Scores:
        """Scores of the clip's sound."""
        from modalities.voice.speech_encoder import recognise

        fed = feeding(job.settings, job.settings.voice.batch)
        return recognise(self.load(job.settings), audio, job.windows, **fed)

    def score_files(self, files: Sequence[Path | GivenFile], speakers: Sequence[str], settings: Settings) -> "AudioScores":
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
