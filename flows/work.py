"""What each stage does with files: read the inputs, call the domain's function, write the outputs."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from data.brought import read_ready_scores
from data.files import file_digest, write_text
from data.frames import Frame, read_frames
from data.fused import read_fusion, read_pooled, write_fused
from data.run_folder import RunFolder
from data.scores import MODALITIES, Scores
from data.subtitles import read_transcript, sidecar_transcript, to_vtt
from data.tables import read_notes, read_scores, read_table, write_scores, write_table
from flows import models, stop
from flows.graph import NEEDS, chain
from flows.jobs import Job
from flows.settings import read_prompts
from modalities.local_models import find_clip, find_whisper
from reports.result import build_result, frames_table, to_json, windows_table

NO_PICTURE = "The file has no picture."
NO_SOUND = "The file has no sound."
WEIGHTS: dict[str, tuple[str, ...]] = {
    "static_face": ("static_face",),
    "dynamic_face": ("dynamic_face", "static_face"),
    "scene_context": ("scene_context",),
    "voice": ("voice",),
    "text": ("text",),
}
"""Whose shipped weights a modality's scores depend on."""
ASKED = {"base_url", "model", "label_weight", "pictures", "longest_side", "max_tokens"}
"""Settings of a server that change what it answers; the others only change how long that takes."""


def decode(job: Job) -> Mapping[str, Any]:
    """Take frames, sound and subtitles from the file in one pass."""
    from data.decode import DecodeOptions, decode

    decoded = decode(job.clip, job.folder.work, DecodeOptions(**job.settings.decode.model_dump()))
    columns = ["frame", "time_s", "sampled"]
    times = read_table(decoded.index)[columns] if decoded.index else pd.DataFrame({name: [] for name in columns})
    write_table(job.folder.frame_times, times)
    return {
        "frames": _name(decoded.frames), "index": _name(decoded.index), "audio": _name(decoded.audio),
        "subtitles": _name(decoded.subtitles), "problems": list(decoded.problems),
    }


def decode_outputs(folder: RunFolder) -> tuple[Path, ...]:
    """What decoding left for this clip: of pictures, sound and subtitles what there was."""
    notes = folder.finished("decode").get("notes", {})
    kinds = (notes.get(kind) for kind in ("frames", "index", "audio", "subtitles"))
    return (folder.frame_times, *(folder.work / name for name in kinds if name))


def faces(job: Job) -> Mapping[str, Any]:
    """Detect, track and crop faces."""
    from modalities.faces import FaceOptions, find_faces

    options = FaceOptions(detector=job.settings.faces.detector, crop_size=job.settings.faces.crop_size)
    found = find_faces(_frames(job), options, job.folder.crops)
    write_table(job.folder.faces, found.table)
    return {"detector": found.detector} | ({"absent": found.reason} if found.reason else {})


def static_face(job: Job) -> Mapping[str, Any]:
    """Score each face by itself."""
    return _face_modality(job, "static_face")


def dynamic_face(job: Job) -> Mapping[str, Any]:
    """Score each window's faces as a sequence."""
    return _face_modality(job, "dynamic_face")


def scene_labels(job: Job) -> Mapping[str, Any]:
    """Match the pictures with CLIP's prompts."""
    from modalities import scene_labels as modality

    def recognise() -> Scores:
        settings = job.settings.scene_labels
        search = find_clip(settings.checkpoint)
        if search.found is None:
            reason = " ".join((modality.ABSENT_REASON, *search.passed_over))
            return Scores.absent("scene_labels", job.windows, reason, modality.REMEDY)
        loaded = models.scene_labels(search.found, settings, job.settings.device)
        frames = _frames(job, settings.frames_per_second)
        return modality.recognise(loaded, frames, job.windows, frames_per_second=settings.frames_per_second)

    return _write(job, "scene_labels", recognise, "" if job.clip.has_video else NO_PICTURE)


def scene_context(job: Job) -> Mapping[str, Any]:
    """Read the emotion of scene descriptions: given ones, else those of a vision-language model behind a server."""
    from modalities import scene_context as modality

    def recognise() -> Scores:
        given = job.brought.descriptions
        if given is None and described_by_server(job):
            return _scene_by_server(job)
        if given is None:
            return Scores.absent("scene_context", job.windows, modality.ABSENT_REASON, modality.REMEDY)
        table = modality.read_descriptions(given, job.clip.path.stem, job.windows)
        loaded = models.scene_context(job.settings.scene_context.weights, job.settings.device)
        return modality.recognise(loaded, table, job.windows)

    return _write(job, "scene_context", recognise, NO_PICTURE if described_by_server(job) and not job.clip.has_video else "")


def voice(job: Job) -> Mapping[str, Any]:
    """Score the sound of the voice."""
    from modalities import voice as modality

    def recognise() -> Scores:
        loaded = models.voice(job.settings.voice.weights, job.settings.device)
        return modality.recognise(loaded, _work_file(job, "audio"), job.windows)

    return _write(job, "voice", recognise, "" if job.clip.has_audio else NO_SOUND)


def transcript(job: Job) -> Mapping[str, Any]:
    """Take the words from where they are: given, beside the clip, in the file, or recognised by Whisper."""
    from modalities import transcript as modality

    given = transcript_file(job)
    subtitles = _work_file(job, "subtitles")
    whisper = find_whisper(job.settings.transcript.checkpoint).found
    if given is not None:
        cues, origin = read_transcript(given, job.clip.duration), given.name
    elif subtitles is not None:
        cues, origin = read_transcript(subtitles, job.clip.duration), "subtitles in the file"
    elif whisper is not None and job.clip.has_audio:
        cues, origin = _recognised_words(job, whisper.path), f"Whisper {whisper.name}"
    else:
        cues, origin = pd.DataFrame({"start": [], "end": [], "text": []}), ""
    write_table(job.folder.cues, cues, {"origin": origin})
    if origin:
        write_text(job.folder.transcript, to_vtt(cues))
    else:
        job.folder.transcript.unlink(missing_ok=True)
    return {"origin": origin} if origin else {"absent": modality.ABSENT_REASON}


def text(job: Job) -> Mapping[str, Any]:
    """Score the words."""
    from modalities import text as modality
    from modalities import transcript as words

    def recognise() -> Scores:
        if not read_notes(job.folder.cues).get("origin"):
            return Scores.absent("text", job.windows, words.ABSENT_REASON, words.REMEDY)
        loaded = models.text(job.settings.text.weights, job.settings.device)
        return modality.recognise(loaded, read_table(job.folder.cues), job.windows)

    return _write(job, "text", recognise)


def fuse(job: Job) -> None:
    """Fuse the modalities' basic emotions (MHPF)."""
    from fusion.fuse import pool_modalities
    from fusion.weights import read_weights

    write_fused(job.folder.fused, pool_modalities(all_scores(job), read_weights(_fusion_weights(job))))


def compose(job: Job) -> None:
    """Make compounds of basic emotions (PPA, PFSA or AVCER's rules), and explain them."""
    from fusion.fuse import compose_compounds

    method = job.settings.fusion.composition
    features = {item.modality: item.features for item in all_scores(job) if item.features is not None}
    centroids = models.centroids(job.settings, features) if method == "pfsa" else {}
    pooled = read_pooled(job.folder.fused)
    fusion = compose_compounds(pooled, job.settings.compound_table(), method, features, centroids)
    write_fused(job.folder.composed, fusion)
    write_table(job.folder.windows, windows_table(fusion))


def publish(job: Job) -> None:
    """Write what people and tools read: result.json, frames.parquet, settings.yaml."""
    from fusion.over_time import at_times, timeline

    fusion, scores = read_fusion(job.folder.composed), all_scores(job)
    frames = read_table(job.folder.frame_times)
    moments = at_times(fusion, frames["time_s"].to_numpy(np.float64))
    write_table(job.folder.frames, frames_table(frames, moments, _face_counts(job, frames), fusion.compounds))
    write_text(job.folder.settings, yaml.safe_dump(job.settings.model_dump(mode="json"), sort_keys=False))
    noted = {name: job.folder.finished(name) for name in NEEDS}
    problems = noted["decode"].get("notes", {}).get("problems", [])
    seconds = {name: note["seconds"] for name, note in noted.items() if "seconds" in note}
    failed = {item.modality: item.reason for item in scores if failure(job, item.modality)}
    result = build_result(
        job.clip, job.settings.profile, scores, fusion, timeline(fusion), problems, failed, seconds
    )
    write_text(job.folder.result, to_json(result))


# What the stages above and the flow ask about a job.


def all_scores(job: Job) -> list[Scores]:
    """The scores of the six modalities; one that failed is absent with the reason it failed for."""
    return [_scores_or_failure(job, modality) for modality in MODALITIES]


def _scores_or_failure(job: Job, modality: str) -> Scores:
    reason = failure(job, modality)
    if reason:
        return Scores.absent(modality, job.windows, reason)
    return read_scores(job.folder.scores(modality))


def failure(job: Job, modality: str) -> str:
    """Why a modality, or a stage before it, failed; empty when it did not."""
    for stage in chain(modality):
        if reason := job.folder.finished(stage).get("failed"):
            return str(reason)
    return ""


def lacking(job: Job) -> list[str]:
    """Sentences about the modalities that failed, or that lack a model or what they read (not those the clip itself lacks)."""
    return [
        f"{item.modality.replace('_', ' ')}: {item.reason} {item.remedy}".strip()
        for item in all_scores(job)
        if item.is_absent and item.source is None and item.reason not in (NO_PICTURE, NO_SOUND)
    ]


def modality_inputs(job: Job, modality: str) -> Mapping[str, Any]:
    """What, besides settings and code, a modality's scores depend on: weights, and files that the user brings."""
    inputs: dict[str, Any] = {}
    if brought := job.brought.scores.get(modality):
        return {"brought": file_digest(brought)}
    for name in WEIGHTS.get(modality, ()):
        weights = getattr(job.settings, name).weights or models.shipped_weights(name)
        inputs[name] = models.digest(weights)
    if modality == "scene_labels":
        found = find_clip(job.settings.scene_labels.checkpoint).found
        inputs["checkpoint"] = models.digest(found.path) if found else None
        inputs["prompts"] = read_prompts(job.settings.scene_labels.prompts)
    if modality == "scene_context" and job.brought.descriptions:
        inputs["descriptions"] = file_digest(job.brought.descriptions)
    if modality == "scene_context" and described_by_server(job):
        server = job.settings.scene_context.server
        inputs["asked"] = server.model_dump(include=ASKED)
        inputs["prompt"] = read_prompts(server.prompt)
        inputs["compounds"] = [compound.model_dump() for compound in job.settings.compounds]
    return inputs


def described_by_server(job: Job) -> bool:
    """True when a server is to describe the scene and the user brings no descriptions."""
    return job.settings.scene_context.backend == "server" and job.brought.descriptions is None


def transcript_inputs(job: Job) -> Mapping[str, Any]:
    """What the words depend on: the file that is given or lies beside the clip, or the Whisper checkpoint."""
    given = transcript_file(job)
    if given is not None:
        return {"given": file_digest(given)}
    found = find_whisper(job.settings.transcript.checkpoint).found
    return {"whisper": models.digest(found.path) if found else None}


def transcript_file(job: Job) -> Path | None:
    """The transcript that the user gave or put beside the clip."""
    return job.brought.transcript or sidecar_transcript(job.clip.path)


def fusion_inputs(job: Job) -> Mapping[str, Any]:
    """What the fusion depends on besides the scores: its weights."""
    return {"weights": models.digest(_fusion_weights(job))}


def _fusion_weights(job: Job) -> Path:
    from fusion.weights import DEFAULT_WEIGHTS

    return job.settings.fusion.weights or DEFAULT_WEIGHTS


def _scene_by_server(job: Job) -> Scores:
    from modalities import chat_server, scene_context, vision_language

    asked, compounds = job.settings.scene_context.server, job.settings.compound_table()
    names = {item.name for item in fields(chat_server.ServerOptions)}
    key = os.environ.get(asked.key_variable, "").strip()
    options = chat_server.ServerOptions(**asked.model_dump(include=names), api_key=key)
    prompt = vision_language.prompt_of(read_prompts(asked.prompt), asked.prompt)
    pictures = vision_language.PictureOptions(asked.pictures, asked.longest_side)
    with chat_server.ChatServer(options, stop.check, chat_server.Answers(job.folder.answers)) as server:
        table = vision_language.describe(_frames(job), job.windows, server, prompt, pictures, compounds)
    loaded = models.scene_context(job.settings.scene_context.weights, job.settings.device)
    words = scene_context.recognise(loaded, table, job.windows)
    return vision_language.combine(words, table, compounds, asked.label_weight, asked.model)


def _recognised_words(job: Job, checkpoint: Path) -> pd.DataFrame:
    from modalities.transcript import transcribe
    from modalities.voice import speech_in

    audio = job.folder.work / "audio.wav"
    speech = [(float(start), float(end)) for start, end in speech_in(audio)]
    recogniser = models.whisper(checkpoint, job.settings.device)
    return transcribe(recogniser, audio, language=job.settings.transcript.language, speech=speech)


def _face_modality(job: Job, name: str) -> Mapping[str, Any]:
    from modalities import dynamic_face, static_face

    def recognise() -> Scores:
        settings, static_weights = job.settings, job.settings.static_face.weights
        crops, table, which = job.folder.crops, read_table(job.folder.faces), settings.faces.which
        if name == "static_face":
            single = models.static_face(static_weights, settings.device)
            return static_face.recognise(single, crops, table, job.windows, which=which)
        over_time = models.dynamic_face(settings.dynamic_face.weights, static_weights, settings.device)
        return dynamic_face.recognise(over_time, crops, table, job.windows, which=which)

    return _write(job, name, recognise, "" if job.clip.has_video else NO_PICTURE)


def _write(job: Job, modality: str, recognise: Callable[[], Scores], missing: str = "") -> Mapping[str, Any]:
    """Write a modality's scores: those the user brings, else none where the clip lacks what it needs, else recognised ones."""
    brought = job.brought.scores.get(modality)
    if brought is not None:
        scores = read_ready_scores(brought, modality, job.windows)
    elif missing:
        scores = Scores.absent(modality, job.windows, missing)
    else:
        scores = recognise()
    write_scores(job.folder.scores(modality), job.folder.evidence(modality), scores)
    return {"absent": scores.reason} if scores.is_absent else {}


def _frames(job: Job, fps: float | None = None) -> Iterator[Frame]:
    """The sampled pictures, until the user asks to stop."""
    frames, index = _work_file(job, "frames"), _work_file(job, "index")
    if frames is None or index is None:
        return
    for frame in read_frames(frames, index, fps):
        stop.check()
        yield frame


def _work_file(job: Job, kind: str) -> Path | None:
    name = job.folder.finished("decode").get("notes", {}).get(kind)
    return job.folder.work / name if name else None


def _name(path: Path | None) -> str | None:
    return path.name if path else None


def _face_counts(job: Job, frames: pd.DataFrame) -> dict[int, int]:
    """How many faces each frame that was looked at has."""
    if not job.folder.faces.is_file():
        return {}
    found = read_table(job.folder.faces)["frame"].value_counts()
    return {frame: int(found.get(frame, 0)) for frame in frames.loc[frames["sampled"].astype(bool), "frame"].tolist()}
