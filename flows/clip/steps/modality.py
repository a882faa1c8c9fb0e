"""A modality's scores: those that the user brings, or its backend's."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.files import file_digest
from data.ready_scores import read_ready_scores
from data.scores import OF_THE_SCENE, Scores
from data.tables import read_table, write_scores
from flows.backends import MODULES, NotHere, backend_of
from flows.backends.base import NO_PICTURE, NO_SOUND, by_priors, estimated_of
from flows.job import Job
from flows.runtime.code_digest import CodeEntry

GIVEN_FOR_ONE = "The probabilities that are given are about another person."


def recognise(job: Job, modality: str) -> Mapping[str, object]:
    """Write a modality's scores of everybody: those the user brings, else none where the clip lacks what it needs, else
    recognised ones. What is seen of the scene is everybody's."""
    asked = [job] if modality in OF_THE_SCENE else job.everyone()
    scores = [_scored(one, modality) for one in asked][0]
    return {"absent": scores.reason} if scores.is_absent else {}


def _scored(job: Job, modality: str) -> Scores:
    brought = job.brought.scores.get(modality)
    if brought is not None and job.person is not None:
        scores = Scores.absent(modality, job.windows, GIVEN_FOR_ONE)
    elif brought is not None:
        scores = read_ready_scores(brought, modality, job.windows, job.clip.frame_rate)
    elif missing := _missing_media(job, modality):
        scores = Scores.absent(modality, job.windows, missing)
    else:
        try:
            scores = _expected(job, backend_of(job.settings, modality).recognise(job))
        except NotHere as absent:
            scores = Scores.absent(modality, job.windows, absent.reason, absent.remedy)
    scores = replace(scores, quality=_quality(job, scores))
    write_scores(job.own.scores(modality), job.own.evidence(modality), scores)
    return scores


def inputs(job: Job, modality: str) -> Mapping[str, object]:
    """What, besides settings and code, a modality's scores depend on: files that the user brings, or the backend's."""
    if brought := job.brought.scores.get(modality):
        return {"brought": file_digest(brought)}
    known: dict[str, object] = {"reference": file_digest(job.references[modality])} if modality in job.references else {}
    others = {person: file_digest(files[modality]) for person, files in job.of_others.items() if modality in files}
    known |= {"references of others": others} if others else {}
    shares = {"shares": job.shares[modality]} if modality in job.shares else {}
    return {**backend_of(job.settings, modality).inputs(job), **known, **shares}


def code(job: Job, modality: str) -> tuple[CodeEntry, ...]:
    """The modules that are imported by a name: the modality's backends, a network of a table, a user's file."""
    if modality in job.brought.scores:
        return ()
    return (MODULES[modality], *backend_of(job.settings, modality).code(job))


def _expected(job: Job, scores: Scores) -> Scores:
    """With the priors that the settings name, where our own network answered."""
    modality, basic = scores.modality, scores.probabilities
    expected = job.shares.get(modality) or estimated_of(basic, modality, job.settings)
    return replace(scores, probabilities=by_priors(basic, modality, job.settings, expected), expected=expected)


def _quality(job: Job, scores: Scores) -> NDArray[np.float32]:
    from modalities.quality import window_quality

    faces = scores.modality in ("static_face", "dynamic_face") and job.folder.faces.is_file()
    return window_quality(scores, read_table(job.folder.faces) if faces else pd.DataFrame())


def _missing_media(job: Job, modality: str) -> str:
    reads = backend_of(job.settings, modality).media(job)
    if reads == "sound" and not job.clip.has_audio:
        return NO_SOUND
    return NO_PICTURE if reads == "picture" and not job.clip.has_video else ""
