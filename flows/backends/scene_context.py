"""Backends of scene context: descriptions that are given, or by a server, or by a model that runs here."""

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from configs.settings import read_prompts
from data.files import digest, file_digest
from data.scores import Scores
from flows.backends.base import Backend, NotHere, fetched, fingerprint, frames_of
from flows.job import Job
from flows.runtime import loaded_models as models
from flows.runtime import stop

if TYPE_CHECKING:
    import pandas as pd

ASKED = {"base_url", "model", "label_weight", "pictures", "longest_side", "max_tokens"}
"""Settings of a server that change what it answers; the others only change how long that takes."""


def _given(job: Job) -> Scores:
    """Read the descriptions that the user brings; the modality is absent where there are none."""
    from modalities.scene_context import embedded as scene_context

    given = job.brought.descriptions
    if given is None:
        raise NotHere(scene_context.ABSENT_REASON, scene_context.REMEDY)
    return read(job, scene_context.read_descriptions(given, job.clip.path.stem, job.windows))


def read(job: Job, descriptions: "pd.DataFrame") -> Scores:
    """The emotions that descriptions tell of, read by our own network or the text classifier that the settings name."""
    from modalities.scene_context import embedded as scene_context
    from modalities.scene_context.classifier import recognise_descriptions

    asked = job.settings.scene_context
    if not asked.reader:
        return scene_context.recognise(models.scene_context(job.settings), descriptions, job.windows)
    reader = models.text_classifier(fetched(asked.reader, "scene_context.reader"), asked.labels, None, job.settings)
    return recognise_descriptions(reader, descriptions, job.windows, batches=models.batches(job.settings))


def _reading_inputs(job: Job) -> dict[str, Any]:
    asked = job.settings.scene_context
    if asked.reader:
        return {"reader": fingerprint(asked.reader), "labels": digest(asked.labels)}
    return {"weights": digest(asked.weights or models.shipped_weights("scene_context"))}


def _given_inputs(job: Job) -> Mapping[str, Any]:
    given = job.brought.descriptions
    return _reading_inputs(job) | {"descriptions": file_digest(given) if given else ""}


def _by_server(job: Job) -> Scores:
    if job.brought.descriptions is not None:
        return _given(job)
    from modalities.scene_context import chat_server
    from modalities.scene_context import describe as vision_language

    asked, compounds = job.settings.scene_context.server, job.settings.compound_table()
    names = {item.name for item in fields(chat_server.ServerOptions)}
    key = os.environ.get(asked.key_variable, "").strip()
    options = chat_server.ServerOptions(**asked.model_dump(include=names), api_key=key)
    prompt = vision_language.prompt_of(read_prompts(asked.prompt), asked.prompt)
    pictures = vision_language.ImageOptions(asked.pictures, asked.longest_side)
    with chat_server.ChatServer(options, stop.check, chat_server.AnswerCache(job.folder.answers)) as server:
        table = vision_language.describe(frames_of(job), job.windows, server, prompt, pictures, compounds)
    return vision_language.combine(read(job, table), table, compounds, asked.label_weight, asked.model)


def _by_server_inputs(job: Job) -> Mapping[str, Any]:
    if not job.describes:
        return _given_inputs(job)
    asked = job.settings.scene_context.server
    return _prompt_inputs(job, asked.prompt) | {"asked": asked.model_dump(include=ASKED)}


def _prompt_inputs(job: Job, prompt: str) -> dict[str, Any]:
    compounds = [compound.model_dump() for compound in job.settings.compounds]
    return _reading_inputs(job) | {"prompt": read_prompts(prompt), "compounds": compounds}


def _by_model(job: Job) -> Scores:
    if job.brought.descriptions is not None:
        return _given(job)
    from modalities.scene_context import describe as vision_language
    from modalities.scene_context import qwen_vl

    asked, compounds = job.settings.scene_context.vision, job.settings.compound_table()
    model = models.vision_model(fetched(asked.model, "scene_context.vision.model"), job.settings)
    prompt = vision_language.prompt_of(read_prompts(asked.prompt), asked.prompt)
    options = qwen_vl.VideoOptions(asked.frames_per_second, asked.pixels, asked.pixels_of_window, asked.max_tokens)
    feeding = models.feeding(job.settings, asked.batch)
    table = qwen_vl.describe(model, frames_of(job), job.windows, prompt, options, compounds, **feeding)
    return vision_language.combine(read(job, table), table, compounds, asked.label_weight, model.source)


def _by_model_inputs(job: Job) -> Mapping[str, Any]:
    if not job.describes:
        return _given_inputs(job)
    asked = job.settings.scene_context.vision
    told = asked.model_dump(exclude={"batch", "model"})
    return _prompt_inputs(job, asked.prompt) | {"asked": told, "model": fingerprint(asked.model)}


BACKENDS: Mapping[str, Backend] = {
    "descriptions": Backend(_given, _given_inputs, media=False),
    "server": Backend(_by_server, _by_server_inputs),
    "transformers": Backend(_by_model, _by_model_inputs),
}
