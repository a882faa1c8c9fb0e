"""The second pass over a data set: once all clips are done, each is related to what is known of its person and of all."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from configs.settings import Settings
from data.dataset_files import SAME_PEOPLE
from data.emotions import BASIC_EMOTIONS
from data.files import write_text
from data.manifest.manifest import Manifest, ManifestRow
from data.people import read_same_people
from data.run_folder import RunFolder
from data.tables import read_scores
from flows.backends import backend_of
from flows.backends.base import OfPerson, ScoringBackend, priors_of
from flows.batch.journal import Journal
from flows.clip.known import FOLDER, INDEX, WHOSE, Told
from modalities.priors import estimated_shares, training_shares, without_priors

RELATED = ("static_face", "voice")
"""Modalities that judge a person by what is usual of this person."""
PRIORS = ("static_face", "scene_context", "text")


def gather(output: Path, clips: Manifest, journal: Journal, settings: Settings) -> Told | None:
    """What is known of the persons of all clips, which is written into the output; None where the settings want nothing of the
    kind, or too few clips tell it, and nothing was known before."""
    from modalities.reference import write_known

    folder, index = output / FOLDER, output / FOLDER / INDEX

    def done() -> Iterator[tuple[ManifestRow, RunFolder]]:
        return done_clips(output, clips, journal)

    persons = linked_persons(read_same_people(output / SAME_PEOPLE), done())
    names = dict.fromkeys(row.speaker for row, _ in done())
    names |= dict.fromkeys(who for of_clip in persons.values() for who in of_clip.values())
    digests: dict[str, dict[str, str]] = {}
    for modality in RELATED:
        backend = backend_of(settings, modality)
        known = backend.known(_everyone(done(), persons), names, settings) if isinstance(backend, ScoringBackend) else {}
        if known:
            folder.mkdir(exist_ok=True)
            digests[modality] = {who: write_known(folder, one) for who, one in known.items()}
    shares = {modality: found for modality in PRIORS if (found := _shares(modality, done(), settings))}
    if not digests and not shares and not index.is_file():
        return None
    folder.mkdir(exist_ok=True)
    told = Told(digests, shares, persons)
    write_text(index, json.dumps(told._asdict(), ensure_ascii=False, sort_keys=True))
    kept = {digest for by_speaker in digests.values() for digest in by_speaker.values()}
    for file in folder.glob("*.npz"):
        if file.stem not in kept:
            file.unlink(missing_ok=True)
    return told


def linked_persons(
    links: Mapping[str, Mapping[int, str]], clips: Iterator[tuple[ManifestRow, RunFolder]]
) -> dict[str, dict[str, str]]:
    """Who is who by `same_people.csv`: of each run folder the persons (`WHOSE`: whom its answer is about) who are in others, too.

    Whom a row of the manifest names as speaker has that name, in all clips; where rows name one person differently, each keeps
    its own, and those without a name have the number.
    """
    members: dict[str, list[tuple[str, str]]] = defaultdict(list)
    speakers: dict[str, set[str]] = defaultdict(set)
    for row, folder in clips if links else ():
        whose = int(folder.finished("people").get("notes", {}).get("person", 0))
        for there, number in links.get(folder.root.name, {}).items():
            members[number].append((folder.root.name, WHOSE if there == whose else str(there)))
            if there == whose and row.speaker:
                speakers[number].add(row.speaker)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for number, placed in members.items():
        named = speakers[number]
        for clip, person in placed if len({clip for clip, _ in placed}) > 1 else []:
            found[clip][person] = next(iter(named)) if len(named) == 1 else f"{SAME_PEOPLE} {number}"
    return dict(found)


def _everyone(
    clips: Iterator[tuple[ManifestRow, RunFolder]], persons: Mapping[str, Mapping[str, str]]
) -> Iterator[OfPerson]:  # fmt: skip
    """The persons of each clip that has an answer."""
    for row, folder in clips:
        linked = persons.get(folder.root.name, {})
        yield OfPerson(row.speaker or linked.get(WHOSE, ""), folder, folder)
        yield from (OfPerson(linked.get(own.root.name, ""), folder, own) for own in folder.persons)


def done_clips(output: Path, clips: Manifest, journal: Journal) -> Iterator[tuple[ManifestRow, RunFolder]]:
    """The row of each clip that has an answer, and its run folder."""
    for row in clips.rows():
        ended = journal.latest(row.clip_id)
        if ended is not None and ended.state != "failed":
            yield row, RunFolder(output / ended.run_folder)


def related_to(told: Told, folder: str, speaker: str) -> str:
    """A digest of what is known of the persons of a clip (see `Told.of_clip`) and of the data set; '' where nothing is."""
    of_clip = told.of_clip(folder, speaker)
    if not of_clip and not told.shares:
        return ""
    others = {person: known for person, known in of_clip.items() if person != WHOSE}
    content = json.dumps([of_clip.get(WHOSE, {}), told.shares, *([others] if others else [])], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _shares(modality: str, clips: Iterator[tuple[ManifestRow, RunFolder]], settings: Settings) -> dict[str, float]:
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
