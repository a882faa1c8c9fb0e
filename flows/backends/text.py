"""Backends of text: our own network, text classifiers."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from configs.settings import Settings
from data.files import digest
from data.scores import Scores
from data.tables import read_notes, read_table
from flows.backends.base import Backend, Medium, NotHere, ScoringBackend
from flows.backends.fetched_models import FetchedModel, fingerprint
from flows.backends.own_networks import OwnNetwork
from flows.backends.score_inputs import Answers, Probabilities, by_length, column, column_if_any, in_chunks, texts_answers
from flows.evidence import SAYS_NOTHING, words_of
from flows.job import Job
from flows.runtime.loaded_models import device_named, feeding, loaded, placing

if TYPE_CHECKING:
    from modalities.text.embedded import Text
    from modalities.text.models import TextClassifier

Model = TypeVar("Model", covariant=True)


class TextBackend(ScoringBackend[Model]):
    """What all backends of text have in common: they read the words of the transcript, and score texts."""

    @abstractmethod
    def score_texts(self, texts: list[str], dialogues: list[str], settings: Settings) -> Probabilities:
        """Probabilities [B, 7] of texts, and of the conversation that each belongs to where that is known."""

    def score(self, table: Path, settings: Settings) -> Answers:
        """Of the column `text` of a CSV, whose column `dialogue` may say what belongs together."""
        from modalities.quality import words_quality

        dialogues = column_if_any(table, "dialogue")
        answers = texts_answers(table, lambda texts: self.score_texts(texts, dialogues, settings))
        return answers._replace(quality=words_quality(column(table, ("text",))))

    def media(self, job: Job) -> Medium:
        """None: the words are there already."""
        return ""


def _cues(job: Job) -> pd.DataFrame:
    """The words to be read: those of whom the job is about, or their English where Whisper translated; NotHere, with why, where
    there are none."""
    from modalities.transcript.whisper import ABSENT_REASON, REMEDY

    notes = read_notes(job.folder.cues)
    if not notes.get("origin"):
        raise NotHere(notes.get("reason") or ABSENT_REASON, notes.get("remedy") or REMEDY)
    cues = words_of(job, read_table(job.folder.cues))
    if cues.empty:
        raise NotHere(SAYS_NOTHING, "")
    if "english" not in cues:
        return cues
    translated = cues["english"] != ""
    words = [[] if is_translated else list(own) for own, is_translated in zip(cues["words"], translated, strict=True)]
    read = cues.assign(translated=translated, words=pd.Series(words, cues.index, dtype=object)).drop(columns="english")
    read.loc[translated, "text"] = cues["english"]
    read.loc[translated, "language"] = "en"
    return read


class OwnText(TextBackend["Text"], OwnNetwork["Text"]):
    """The sentence encoder and our head for words."""

    modality = "text"

    def read_weights(self, weights: Path | None, settings: Settings) -> "Text":
        """The network; see `modalities.text.embedded.load`."""
        from modalities.text.embedded import load

        return load(weights, device_named(settings.device))

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's words."""
        from modalities.text.embedded import recognise
        from modalities.text.words import weigh_translated

        cues = _cues(job)
        return weigh_translated(recognise(self.load(job.settings), cues, job.windows), cues)

    def inputs(self, job: Job) -> Mapping[str, object]:
        """The digests of the weights, and which other languages can be read."""
        from modalities.text.languages import languages_known
        from modalities.text.multilingual import WEIGHTS

        return {**super().inputs(job), "foreign": digest(WEIGHTS) if languages_known() else ""}

    def score_texts(self, texts: list[str], dialogues: list[str], settings: Settings) -> Probabilities:
        """Probabilities of texts, each as a line of its conversation where that is known."""
        from modalities.text.embedded import score_texts

        model = self.load(settings)
        if dialogues:
            return score_texts(model, texts, dialogues)
        return by_length(texts, lambda part: score_texts(model, part), model.encoder.device)


class WordsClassifier(TextBackend["TextClassifier"], FetchedModel["TextClassifier"]):
    """A text classifier of transformers, or Team RAS's mean-pooled network over its encoder."""

    setting = "text.model"

    def load(self, settings: Settings) -> "TextClassifier":
        """The classifier, from memory where it is there already."""
        from modalities.text.models import load_mean_pooled_text, load_text_classifier

        folder, labels, head = self.folder(settings), settings.text.labels, settings.text.head

        def load() -> "TextClassifier":
            if head is not None:
                return load_mean_pooled_text(head, folder, **placing(settings))
            return load_text_classifier(folder, labels=labels, **placing(settings))

        return loaded(settings, ("text_classifier", folder, labels, head), load, folder)

    def recognise(self, job: Job) -> Scores:
        """Scores of the clip's words."""
        from modalities.text.classifier import recognise
        from modalities.text.words import weigh_translated

        asked, cues = job.settings.text, _cues(job)
        fed = feeding(job.settings, asked.batch)
        scores = recognise(self.load(job.settings), cues, job.windows, english_only=asked.english_only, **fed)
        return weigh_translated(scores, cues)

    def score_texts(self, texts: list[str], dialogues: list[str], settings: Settings) -> Probabilities:
        """Probabilities of texts, each by itself."""
        from modalities.text.classifier import score_texts

        model, fed = self.load(settings), feeding(settings, settings.text.batch)
        return in_chunks(texts, lambda part: score_texts(model, part, **fed))

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of the model, of the table of its labels, and of the checkpoint over it."""
        asked = job.settings.text
        return {"model": fingerprint(asked.model), "labels": digest(asked.labels), "head": digest(asked.head)}


BACKENDS: Mapping[str, Backend[object, Scores]] = {"embedded": OwnText(), "transformers": WordsClassifier()}
