"""What each stage does with files: read the inputs, call the domain's function, write the outputs."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from data.added_modalities import added_modalities
from data.files import digest, file_digest, write_text
from data.fused import read_fusion, read_pooled, write_fused
from data.media.subtitles import to_vtt
from data.ready_scores import read_ready_scores
from data.run_folder import RunFolder
from data.scores import MODALITIES, Scores
from data.tables import read_scores, read_table, write_scores, write_table
from flows.backends import NotHere, backend_of
from flows.backends.base import frames_of
from flows.backends.scene_context import describes
from flows.backends.transcript import words_of
from flows.clip.graph import NEEDS, chain
from flows.job import Job
from flows.runtime import loaded_models as models
from flows.runtime.code_digest import code_digest
from flows.runtime.events import reach
from reports.result import build_result, frames_table, to_json, windows_table

NO_PICTURE = "The file has no picture."
NO_SOUND = "The file has no sound."


def decode(job: Job) -> Mapping[str, Any]:
    """Take frames, sound and subtitles from the file in one pass."""
    from data.media.decode import DecodeOptions, decode

    decoded = decode(job.clip, job.folder.work, DecodeOptions(**job.settings.decode.model_dump()), reach)
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
    """Detect, track and crop faces, and keep a few of the crops for the page."""
    from modalities.faces.find import FaceOptions, find_faces
    from reports.page.faces import face_pictures

    options = FaceOptions(detector=job.settings.faces.detector, crop_size=job.settings.faces.crop_size)
    found = find_faces(frames_of(job), options, job.folder.crops)
    write_table(job.folder.face_pictures, face_pictures(job.folder.crops, found.table, job.clip.duration))
    write_table(job.folder.faces, found.table)
    return {"detector": found.detector} | ({"absent": found.reason} if found.reason else {})


def recognise(job: Job, modality: str) -> Mapping[str, Any]:
    """Write a modality's scores: those the user brings, else none where the clip lacks what it needs, else recognised ones."""
    brought = job.brought.scores.get(modality)
    if brought is not None:
        scores = read_ready_scores(brought, modality, job.windows)
    elif missing := _missing_media(job, modality):
        scores = Scores.absent(modality, job.windows, missing)
    else:
        try:
            scores = backend_of(job.settings, modality).recognise(job)
        except NotHere as absent:
            scores = Scores.absent(modality, job.windows, absent.reason, absent.remedy)
    scores = replace(scores, quality=_quality(job, scores))
    write_scores(job.folder.scores(modality), job.folder.evidence(modality), scores)
    return {"absent": scores.reason} if scores.is_absent else {}


def _quality(job: Job, scores: Scores) -> NDArray[np.float32]:
    from modalities.quality import window_quality

    faces = scores.modality in ("static_face", "dynamic_face") and job.folder.faces.is_file()
    return window_quality(scores, read_table(job.folder.faces) if faces else pd.DataFrame())


def _missing_media(job: Job, modality: str) -> str:
    if modality == "voice" and not job.clip.has_audio:
        return NO_SOUND
    needs_picture = modality in ("static_face", "dynamic_face", "scene_labels") or modality == "scene_context" and describes(job)
    return NO_PICTURE if needs_picture and not job.clip.has_video else ""


def transcript(job: Job) -> Mapping[str, Any]:
    """Take the words from where they are: given, beside the clip, in the file, or recognised by Whisper."""
    try:
        cues, origin = words_of(job)
    except NotHere as absent:
        notes = {"origin": "", "reason": absent.reason, "remedy": absent.remedy}
        write_table(job.folder.cues, pd.DataFrame({"start": [], "end": [], "text": []}), notes)
        job.folder.transcript.unlink(missing_ok=True)
        return {"absent": absent.reason}
    write_table(job.folder.cues, cues, {"origin": origin})
    write_text(job.folder.transcript, to_vtt(cues))
    return {"origin": origin}


def fuse(job: Job) -> None:
    """Fuse the modalities' basic emotions: by MHPF, or by the user's own fit ('dyad fuse fit')."""
    from fusion.fuse import pool_modalities
    from fusion.tables.apply import pool_fitted
    from fusion.tables.fitted import is_fitted, read_fitted
    from fusion.weights import read_weights, with_modalities

    path = _fusion_weights(job)
    if is_fitted(path):
        write_fused(job.folder.fused, pool_fitted(all_scores(job), read_fitted(path)))
    else:
        weights = with_modalities(read_weights(path), tuple(added_modalities()))
        write_fused(job.folder.fused, pool_modalities(all_scores(job), weights))


def compose(job: Job) -> None:
    """Make compounds of basic emotions (learned, PPA, PFSA or AVCER's rules), and explain them."""
    from fusion.composer import read_composer
    from fusion.fuse import compose_compounds

    asked = job.settings.fusion
    method = asked.composition
    features = {item.modality: item.features for item in all_scores(job) if item.features is not None}
    centroids = models.centroids(job.settings, features) if method == "pfsa" else {}
    pooled = read_pooled(job.folder.fused)
    fusion = compose_compounds(
        pooled, job.settings.compound_table(), method, features, centroids,
        composer=read_composer(_composer(job)), none_threshold=asked.none_threshold, over_time=asked.over_time,
    )  # fmt: skip
    write_fused(job.folder.composed, fusion)
    write_table(job.folder.windows, windows_table(fusion, all_scores(job)))


def publish(job: Job) -> None:
    """Write what people and tools read: result.json, report.html, frames.parquet, settings.yaml."""
    from flows.clip.report import write_report
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
    write_report(job.folder)


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
    """What, besides settings and shared code, a modality's scores depend on: files that the user brings, or the backend's."""
    if brought := job.brought.scores.get(modality):
        return {"brought": file_digest(brought)}
    backend = backend_of(job.settings, modality)
    return {**backend.inputs(job), "code": [code_digest(module) for module in backend.code]}


def fusion_inputs(job: Job) -> Mapping[str, Any]:
    """What the fusion depends on besides the scores: its weights."""
    return {"weights": digest(_fusion_weights(job))}


def _fusion_weights(job: Job) -> Path:
    from fusion.weights import DEFAULT_WEIGHTS

    return job.settings.fusion.weights or DEFAULT_WEIGHTS


def composition_inputs(job: Job) -> Mapping[str, Any]:
    """What the composition depends on besides settings and the fused emotions: the learned composer."""
    return {"composer": digest(_composer(job))}


def _composer(job: Job) -> Path:
    from fusion.composer import DEFAULT_COMPOSER

    return job.settings.fusion.composer or DEFAULT_COMPOSER


def _name(path: Path | None) -> str | None:
    return path.name if path else None


def _face_counts(job: Job, frames: pd.DataFrame) -> dict[int, int]:
    """How many faces each frame that was looked at has."""
    if not job.folder.faces.is_file():
        return {}
    found = read_table(job.folder.faces)["frame"].value_counts()
    return {frame: int(found.get(frame, 0)) for frame in frames.loc[frames["sampled"].astype(bool), "frame"].tolist()}
