"""The second pass over a data set: once all clips are done, each is related to what is known of its person and of all."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from configs.settings import Settings
from data.emotions import BASIC_EMOTIONS
from data.files import write_text
from data.manifest.manifest import Manifest
from data.run_folder import RunFolder
from data.tables import read_scores
from flows.backends import backend_of
from flows.backends.base import ScoringBackend, priors_of
from flows.batch.journal import Journal
from flows.clip.known import FOLDER, INDEX, of_speaker
from modalities.priors import estimated_shares, training_shares, without_priors

RELATED = ("static_face", "voice")
"""Modalities that judge a person by what is usual of this person."""
PRIORS = ("static_face", "scene_context", "text")


def gather(output: Path, clips: Manifest, journal: Journal, settings: Settings) -> Mapping[str, str]:
    """A digest of what is known of each person ('' for clips of nobody who is named), which is written into the output; none
    where the settings want nothing of the kind, or too few clips tell it."""
    from modalities.reference import write_known

    folder = output / FOLDER

    def done() -> Iterator[tuple[str, RunFolder]]:
        return done_clips(output, clips, journal)

    speakers = dict.fromkeys(speaker for speaker, _ in done())
    digests: dict[str, dict[str, str]] = {}
    for modality in RELATED:
        backend = backend_of(settings, modality)
        known = backend.known(done(), settings) if isinstance(backend, ScoringBackend) else {}
        if known:
            folder.mkdir(exist_ok=True)
            digests[modality] = {speaker: write_known(folder, one) for speaker, one in known.items()}
    shares = {modality: found for modality in PRIORS if (found := _shares(modality, done(), settings))}
    if not digests and not shares:
        return {}
    folder.mkdir(exist_ok=True)
    told = {"references": digests, "shares": shares}
    write_text(folder / INDEX, json.dumps(told, ensure_ascii=False, sort_keys=True))
    kept = {digest for by_speaker in digests.values() for digest in by_speaker.values()}
    for file in folder.glob("*.npz"):
        if file.stem not in kept:
            file.unlink(missing_ok=True)
    return {speaker: _digest(speaker, digests, shares) for speaker in speakers if shares or of_speaker(speaker, digests)}


def done_clips(output: Path, clips: Manifest, journal: Journal) -> Iterator[tuple[str, RunFolder]]:
    """Who is in each clip that has an answer, and where that is."""
    for row in clips.rows():
        ended = journal.latest(row.clip_id)
        if ended is not None and ended.state != "failed":
            yield row.speaker, RunFolder(output / ended.run_folder)


def _digest(speaker: str, digests: Mapping[str, Mapping[str, str]], shares: Mapping[str, Mapping[str, float]]) -> str:
    told = json.dumps([of_speaker(speaker, digests), shares], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _shares(modality: str, clips: Iterator[tuple[str, RunFolder]], settings: Settings) -> dict[str, float]:
    """The shares of the emotions in all windows of the clips, where the settings want them estimated; to three decimals, so that
    nothing is done again for less."""
    asked, learned = priors_of(modality, settings), training_shares(modality)
    if asked is None or asked.priors != "estimated" or learned is None:
        return {}
    found = []
    for _, folder in clips:
        if folder.scores(modality).is_file():
            scores = read_scores(folder.scores(modality))
            if scores.expected is not None and not scores.is_absent:
                answers = scores.probabilities[scores.present]
                found.append(without_priors(answers, modality, scores.expected, asked.prior_strength))
    if len(found) < 2:
        return {}
    shares = estimated_shares(np.concatenate(found).astype(np.float64), np.array(learned))
    return dict(zip(BASIC_EMOTIONS, (max(round(share, 3), 0.001) for share in shares.tolist()), strict=True))
