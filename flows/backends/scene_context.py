"""Backends of scene context: descriptions that are given, or by a server, or by a model that runs here."""

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings, read_prompts
from data.files import digest, file_digest
from data.media.descriptions import read_descriptions, without_thoughts
from data.scores import Scores
from flows.backends.base import Backend, Description, Medium, NotHere, ScoringBackend, frames_of
from flows.backends.fetched_models import FetchedModel, described_repository, fetched, fingerprint
from flows.backends.own_networks import OwnNetwork, shipped_weights
from flows.backends.score_inputs import Answers, Probabilities, in_chunks, texts_answers
from flows.job import Job
from flows.runtime import stop
from flows.runtime.loaded_models import batches, device_named, feeding, loaded, placing

if TYPE_CHECKING:
    import pandas as pd

    from modalities.scene_context.embedded import SceneContext
    from modalities.scene_context.qwen_vl import QwenVL
    from modalities.text.models import TextClassifier

Model = TypeVar("Model", covariant=True)
ASKED = {"base_url", "model", "label_weight", "pictures", "longest_side", "max_tokens"}
"""Settings of a server that change what it answers; the others only change how long that takes."""


class SceneContextBackend(ScoringBackend[Model]):
    """What all backends of scene context have in common: our own network, or a text classifier, reads the descriptions."""

    def read_given(self, job: Job) -> Scores:
        """What the descriptions tell that the user brings; NotHere when there are none."""
        from modalities.scene_context.embedded import ABSENT_REASON, REMEDY

        given = job.brought.descriptions
        if given is None:
            raise NotHere(ABSENT_REASON, REMEDY)
        described = read_descriptions(given, job.clip.path.stem, job.windows, job.clip.frame_rate)
        return replace(self.read(job, described), notes=(*job.brought.notes.get("descriptions", ()), *described.attrs["notes"]))

    def read(self, job: Job, descriptions: "pd.DataFrame") -> Scores:
        """The emotions that descriptions tell of."""
        from modalities.scene_context.classifier import recognise_descriptions
        from modalities.scene_context.embedded import recognise

        settings = job.settings
        if not settings.scene_context.reader:
            return recognise(OWN_READER.load(settings), descriptions, job.windows)
        return recognise_descriptions(_reading_classifier(settings), descriptions, job.windows, batches=batches(settings))

    def score(self, table: Path, settings: Settings) -> Answers:
        """Of the column `text` of a CSV: descriptions, which nobody needs to give any more."""
        from modalities.scene_context import embedded
        from modalities.text import classifier

        def score_texts(texts: list[str]) -> Probabilities:
            if not settings.scene_context.reader:
                own = OWN_READER.load(settings)
                return in_chunks(texts, lambda part: embedded.score_texts(own, part))
            model, queue = _reading_classifier(settings), batches(settings)
            return in_chunks(texts, lambda part: classifier.score_texts(model, part, batches=queue))

        return texts_answers(table, score_texts, without_thoughts)

    def reading_inputs(self, job: Job) -> dict[str, object]:
        """Digests of what reads the descriptions, and of those that the user brings."""
        asked, given = job.settings.scene_context, job.brought.descriptions
        known: dict[str, object] = {"descriptions": file_digest(given)} if given else {}
        if asked.reader:
            return known | {"reader": fingerprint(asked.reader), "labels": digest(asked.labels)}
        return known | {"weights": digest(asked.weights or shipped_weights("scene_context"))}

    def prompt_inputs(self, job: Job, prompt: str) -> dict[str, object]:
        """The same, the prompt, and the compounds that it may ask about."""
        compounds = [compound.model_dump() for compound in job.settings.compounds]
        return self.reading_inputs(job) | {"prompt": read_prompts(prompt), "compounds": compounds}

    def media(self, job: Job) -> Medium:
        """The pictures, unless descriptions of them are given."""
        return "picture" if job.describes else ""

    def centroids(self, settings: Settings) -> NDArray[np.float32] | None:
        """Those of our own network, where it is the one that reads."""
        return None if settings.scene_context.reader else OWN_READER.load(settings).centroids


def _reading_classifier(settings: Settings) -> "TextClassifier":
    from modalities.text.models import load_text_classifier

    asked = settings.scene_context
    folder = fetched(asked.reader, "scene_context.reader")
    key = ("text_classifier", folder, asked.labels, None)  # as of flows.backends.text: one in memory for both
    return loaded(settings, key, lambda: load_text_classifier(folder, labels=asked.labels, **placing(settings)), folder)


def _with_reader(described: Description, settings: Settings) -> Description:
    """The description, with the text classifier where the settings name one to read."""
    if not settings.scene_context.reader:
        return described
    reader = described_repository(settings.scene_context.reader, settings)
    missing = described if described.reason else reader
    locations = {**described.locations, "reader": reader.locations[""]}
    return replace(described, locations=locations, reason=missing.reason, remedy=missing.remedy)


class GivenDescriptions(SceneContextBackend["SceneContext"], OwnNetwork["SceneContext"]):
    """Descriptions that the user brings; its network reads those of the other backends, too."""

    modality = "scene_context"

    def read_weights(self, weights: Path | None, settings: Settings) -> "SceneContext":
        """The sentence encoder and our head for scene descriptions; see `modalities.scene_context.embedded.load`."""
        from modalities.scene_context.embedded import load

        return load(weights, device_named(settings.device))

    def recognise(self, job: Job) -> Scores:
        """Scores of the descriptions."""
        return self.read_given(job)

    def describe(self, settings: Settings) -> Description:
        """Our own network, or the text classifier that reads instead."""
        own = super().describe(settings)
        return _with_reader(replace(own, locations={"": "descriptions given with --descriptions"}), settings)

    def inputs(self, job: Job) -> Mapping[str, object]:
        """Digests of the descriptions and of what reads them."""
        return self.reading_inputs(job)


class ServerDescriptions(SceneContextBackend["SceneContext | TextClassifier"]):
    """Descriptions by a vision-language model on a server."""

    def load(self, settings: Settings) -> "SceneContext | TextClassifier":
        """What reads them: the server has loaded its model itself."""
        return _reading_classifier(settings) if settings.scene_context.reader else OWN_READER.load(settings)

    def recognise(self, job: Job) -> Scores:
        """Scores of what the server says of each window."""
        if not job.describes:
            return self.read_given(job)
        from modalities.scene_context import chat_server
        from modalities.scene_context.describe import ImageOptions, combine, describe, prompt_of

        asked, compounds = job.settings.scene_context.server, job.settings.compound_table()
        names = {item.name for item in fields(chat_server.ServerOptions)}
        key = os.environ.get(asked.key_variable, "").strip()
        options = chat_server.ServerOptions(**asked.model_dump(include=names), api_key=key)
        prompt = prompt_of(read_prompts(asked.prompt), asked.prompt)
        pictures = ImageOptions(asked.pictures, asked.longest_side)
        with chat_server.ChatServer(options, stop.check, chat_server.AnswerCache(job.folder.answers)) as server:
            table = describe(frames_of(job), job.windows, server, prompt, pictures, compounds)
        return combine(self.read(job, table), table, compounds, asked.label_weight, asked.model)

    def describe(self, settings: Settings) -> Description:
        """The model and where it is served; nobody asks the server whether it is up."""
        asked = settings.scene_context.server
        locations = {"": f"{asked.model} at {asked.base_url}"}
        return _with_reader(Description(asked.model, device=asked.base_url, locations=locations), settings)

    def inputs(self, job: Job) -> Mapping[str, object]:
        """What the server is asked, and digests of what reads its answers."""
        if not job.describes:
            return self.reading_inputs(job)
        asked = job.settings.scene_context.server
        return self.prompt_inputs(job, asked.prompt) | {"asked": asked.model_dump(include=ASKED)}


class VisionDescriptions(SceneContextBackend["QwenVL"], FetchedModel["QwenVL"]):
    """Descriptions by a vision-language model that runs here."""

    setting = "scene_context.vision.model"

    def load(self, settings: Settings) -> "QwenVL":
        """The model, from memory where it is there already."""
        from modalities.scene_context.qwen_vl import load_qwen

        folder = self.folder(settings)
        return loaded(settings, ("vision_model", folder), lambda: load_qwen(folder, **placing(settings)), folder)

    def recognise(self, job: Job) -> Scores:
        """Scores of what the model says of each window."""
        if not job.describes:
            return self.read_given(job)
        from modalities.scene_context.describe import combine, prompt_of
        from modalities.scene_context.qwen_vl import VideoOptions, describe

        asked, compounds = job.settings.scene_context.vision, job.settings.compound_table()
        model = self.load(job.settings)
        prompt = prompt_of(read_prompts(asked.prompt), asked.prompt)
        options = VideoOptions(asked.frames_per_second, asked.pixels, asked.pixels_of_window, asked.max_tokens)
        fed = feeding(job.settings, asked.batch)
        table = describe(model, frames_of(job), job.windows, prompt, options, compounds, **fed)
        return combine(self.read(job, table), table, compounds, asked.label_weight, model.source)

    def describe(self, settings: Settings) -> Description:
        """What the table of models and the folder say of it."""
        return _with_reader(super().describe(settings), settings)

    def inputs(self, job: Job) -> Mapping[str, object]:
        """What the model is asked, and digests of it and of what reads its answers."""
        if not job.describes:
            return self.reading_inputs(job)
        asked = job.settings.scene_context.vision
        told = asked.model_dump(exclude={"batch", "model"})
        return self.prompt_inputs(job, asked.prompt) | {"asked": told, "model": fingerprint(asked.model)}


OWN_READER = GivenDescriptions()
BACKENDS: Mapping[str, Backend[object, Scores]] = {
    "descriptions": OWN_READER,
    "server": ServerDescriptions(),
    "transformers": VisionDescriptions(),
}
