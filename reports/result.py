"""`result.json`: the whole answer about a clip as plain JSON values, and the tables beside it.

`result.schema.json` describes every field; absent numbers are null, never zero.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import SupportsFloat, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, Compound
from data.fused import Fusion, Moments, Stretch
from data.media.clip import Clip
from data.scores import Scores
from data.version import version
from reports.answer import SURENESS_COLUMNS, headline, of_people, out_of_step
from reports.documents import (
    ClipEntry,
    MatrixEntry,
    ModalityEntry,
    PersonAnswer,
    PersonEntry,
    PersonModalityEntry,
    ResultDocument,
    SourceEntry,
    StretchEntry,
    SummaryEntry,
    TurnEntry,
    WindowEntry,
    WordsEntry,
)

Spans = NDArray[np.float64]
SCHEMA_VERSION = "2.0"
SCHEMA = Path(__file__).with_name("result.schema.json")


def build_result(
    clip: Clip,
    profile: str,
    scores: Sequence[Scores],
    fusion: Fusion,
    timeline: Sequence[Stretch],
    problems: Sequence[str] = (),
    failed: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
    words: WordsEntry | None = None,
    people: pd.DataFrame | None = None,
    turns: pd.DataFrame | None = None,
    answers: Mapping[int, PersonAnswer] | None = None,
    person: int = 0,
    voice_reference: str = "",
    there: Spans | None = None,
) -> ResultDocument:
    """The content of `result.json`.

    `problems` are sentences about the media, `failed` the modalities that broke (name -> reason), `seconds` the time that
    each stage took. A result with problems or failures is marked `degraded`. `notes` say how what a user gave was understood,
    `words` where the words come from and which were not believed. `answers` are those of the persons in `people`,
    `person` is whom the clip's own is about (0: everybody, or nobody), `there` [N, 2] (s) when that person is seen or heard;
    `voice_reference` says relative to what the voice was
    judged.
    """
    failed = dict(failed or {})
    entries = {item.modality: modality_entry(item, failed) for item in scores}
    if voice_reference and entries["voice"]["state"] == "present":
        entries["voice"]["reference"] = voice_reference
    persons = people_entries(people, answers or {})
    figures = summary(fusion, timeline, clip.duration, entries, there)
    return {
        "schema_version": SCHEMA_VERSION,
        "dyad": {"version": version(), "created": datetime.now(UTC).isoformat(timespec="seconds")},
        "clip": clip_entry(clip),
        "profile": profile,
        "degraded": bool(problems or failed),
        "problems": [*problems, *failed.values()],
        "notes": [*notes, *out_of_step(persons)],
        "emotions": list(BASIC_EMOTIONS),
        "compounds": [{"name": item.name, "first": item.first, "second": item.second} for item in fusion.compounds],
        "modalities": entries,
        "words": words or {"origin": "", "rejected": []},
        "fusion": {
            "weights": fusion.weights, "composition": fusion.method, "none_threshold": fusion.none_threshold,
            "over_time": fusion.over_time, "context_seconds": fusion.context_seconds, "matrices": matrices(fusion),
        },
        "windows": [window_entry(fusion, row) for row in range(len(fusion.windows))],
        "timeline": [stretch_entry(stretch) for stretch in timeline],
        "person": person or None,
        "people": persons,
        "turns": turn_entries(turns),
        "summary": {**figures, "sentence": of_people(figures["sentence"], person or None, persons)},
        "seconds": {stage: round(value, 3) for stage, value in (seconds or {}).items()},
    }


def clip_entry(clip: Clip) -> ClipEntry:
    """The fields of a clip, and where in its file it ends; None for a whole file."""
    end = None if clip.start is None else clip.start + clip.duration
    return cast(ClipEntry, {**asdict(clip), "path": str(clip.path), "end": end})


def modality_entry(scores: Scores, failed: Mapping[str, str]) -> ModalityEntry:
    """What one modality answered: state, source, windows present, and the reason and remedy where it is absent."""
    return {
        "state": "failed" if scores.modality in failed else "absent" if scores.is_absent else "present",
        "source": cast(SourceEntry, asdict(scores.source)) if scores.source else None,
        "windows_present": int(scores.present.sum()),
        "windows": len(scores.windows),
        "reason": scores.reason,
        "remedy": scores.remedy,
        "probabilities": [[number(value) for value in row] for row in scores.probabilities],
        "quality": [number(value) for value in _quality(scores)],
    }


def _quality(scores: Scores) -> NDArray[np.float64]:
    """How well each window could be judged [N]; NaN where unknown."""
    return np.full(len(scores.windows), np.nan) if scores.quality is None else scores.quality.astype(np.float64)


def window_entry(fusion: Fusion, row: int) -> WindowEntry:
    """One window: its distributions, its answer and how sure it is, and what each modality contributed to it."""
    winner = int(fusion.winner[row])
    top = fusion.compounds[winner] if winner >= 0 else None
    emotion = int(fusion.emotion[row])
    sure, *within = map(number, fusion.sureness[row])
    return {
        "start": rounded(fusion.windows[row, 0]),
        "end": rounded(fusion.windows[row, 1]),
        "present": bool(fusion.present[row]),
        "basic": named(BASIC_EMOTIONS, fusion.basic[row]),
        "compound": named([compound.name for compound in fusion.compounds], fusion.compound[row]),
        "none": number(fusion.none[row]),
        "top": top.name if top else None,
        "emotion": BASIC_EMOTIONS[emotion] if emotion >= 0 else None,
        "sureness": sure,
        "sureness_range": within,
        "blend": number(fusion.blend[row]),
        "coverage": number(fusion.coverage[row]),
        "contributions": named(fusion.modalities, fusion.contributions[row]),
        "emotion_shares": _shares(top, fusion.emotion_shares[row]) if top else {},
        "reason": fusion.reasons[row],
    }


def _shares(top: Compound, shares: NDArray[np.float64]) -> dict[str, float]:
    return {top.first: rounded(shares[0]), top.second: rounded(shares[1])}


def stretch_entry(stretch: Stretch) -> StretchEntry:
    """A stretch of the timeline."""
    return {
        "start": rounded(stretch.start), "end": rounded(stretch.end), "compound": stretch.compound,
        "emotion": stretch.emotion, "sureness": number(stretch.sureness),
        "sureness_range": [number(value) for value in stretch.sureness_range],
        "blend": number(stretch.blend), "neutral": number(stretch.neutral),
    }  # fmt: skip


def person_answer(
    scores: Sequence[Scores], fusion: Fusion, timeline: Sequence[Stretch], duration: float, failed: Mapping[str, str],
    there: Spans | None = None,
) -> PersonAnswer:  # fmt: skip
    """What one person shows, who is seen or heard `there` [N, 2] (s), and what was seen, heard and said by them that tells it."""
    entries = {item.modality: modality_entry(item, failed) for item in scores}
    answered = fusion.contributions[fusion.present]
    never = np.isnan(answered).all(0)
    short = {name: _without_windows(entry) for name, entry in entries.items()}
    return {
        "timeline": [stretch_entry(stretch) for stretch in timeline],
        "summary": summary(fusion, timeline, duration, entries, there),
        "modalities": short,
        "contributions": named(fusion.modalities, np.where(never, np.nan, _mean(np.nan_to_num(answered)))),
    }


def _without_windows(entry: ModalityEntry) -> PersonModalityEntry:
    return {
        "state": entry["state"], "windows_present": entry["windows_present"], "windows": entry["windows"],
        "reason": entry["reason"], "remedy": entry["remedy"],
    }  # fmt: skip


def people_entries(people: pd.DataFrame | None, answers: Mapping[int, PersonAnswer]) -> list[PersonEntry]:
    """Who is in the clip, and what each of them shows."""
    rows = [] if people is None else people.to_dict("records")
    return [
        {
            "person": int(row["person"]), "name": str(row["name"]), "main": bool(row["main"]),
            "first_seen": number(row["first_seen"]), "last_seen": number(row["last_seen"]), "pictures": int(row["pictures"]),
            "seconds_on_screen": rounded(row["seconds_on_screen"]), "seconds_speaking": rounded(row["seconds_speaking"]),
            "lip_sync": number(row.get("lip_sync", math.nan)),
            "answer": answers.get(int(row["person"])),
        }
        for row in rows
    ]  # fmt: skip


def turn_entries(turns: pd.DataFrame | None) -> list[TurnEntry]:
    """Who speaks when."""
    rows = [] if turns is None else turns.to_dict("records")
    return [
        {
            "start": rounded(row["start"]), "end": rounded(row["end"]), "person": int(row["person"]) or None,
            "on_screen": bool(row["on_screen"]), "overlap": bool(row["overlap"]),
        }
        for row in rows
    ]  # fmt: skip


def matrices(fusion: Fusion) -> list[MatrixEntry]:
    """The share of each emotion taken from each modality, once for every set of present modalities that occurs."""
    entries: list[MatrixEntry] = []
    for presence in np.unique(fusion.presence, axis=0)[::-1]:
        if not presence.any():
            continue
        row = int((fusion.presence == presence).all(1).argmax())
        shares = {
            name: named(BASIC_EMOTIONS, fusion.matrices[row, index])
            for index, name in enumerate(fusion.modalities)
            if presence[index]
        }
        entries.append({"windows": int((fusion.presence == presence).all(1).sum()), "shares": shares})
    return entries


def summary(
    fusion: Fusion, timeline: Sequence[Stretch], duration: float, modalities: Mapping[str, ModalityEntry],
    there: Spans | None = None,
) -> SummaryEntry:  # fmt: skip
    """The clip in a few figures: means over its windows with evidence, seconds by answer, the likeliest compound, a sentence.

    `compound` is the mean of (1 - none) x compound: with `none` it adds up to 1. The likeliest is the compound of the timeline
    with the largest mean: windows that nearly show it count too, which the sum of winners would not know. The sentence is about
    when the person is `there` [N, 2] (s), who may be so in a part of a window alone.
    """
    seconds = {compound.name: 0.0 for compound in fusion.compounds}
    alone = dict.fromkeys(BASIC_EMOTIONS, 0.0)
    for stretch in timeline:
        if stretch.compound:
            seconds[stretch.compound] += stretch.end - stretch.start
        else:
            alone[stretch.emotion] += stretch.end - stretch.start
    basic = _mean(fusion.basic[fusion.present])
    mean = dict(zip(seconds, _mean_compound(fusion).tolist(), strict=True))
    top = max({stretch.compound for stretch in timeline if stretch.compound}, key=lambda name: (mean[name], name), default=None)
    emotion = BASIC_EMOTIONS[int(basic.argmax())] if fusion.present.any() else None
    sure, *within = map(number, _sureness(timeline, top, emotion))
    return {
        "top": top,
        "emotion": emotion,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "seconds_of_emotions": {name: round(value, 3) for name, value in alone.items()},
        "compound": {name: number(value) for name, value in mean.items()},
        "basic": named(BASIC_EMOTIONS, basic),
        "none": number(float(_mean(fusion.none[fusion.present]))),
        "sureness": sure,
        "sureness_range": within,
        "blend": number(float(_mean(fusion.blend[fusion.winner >= 0]))),
        "windows_answered": int((fusion.winner >= 0).sum()),
        "windows_none": int(is_none(fusion).sum()),
        "sentence": headline(
            [stretch_entry(stretch) for stretch in timeline], duration, modalities, None if there is None else there.tolist()
        ),
    }


def _mean_compound(fusion: Fusion) -> NDArray[np.float64]:
    """Mean of (1 - none) x compound [K] over the windows with evidence; NaN without any."""
    return _mean(((1.0 - fusion.none)[:, None] * np.nan_to_num(fusion.compound))[fusion.present])


def _sureness(timeline: Sequence[Stretch], top: str | None, emotion: str | None) -> NDArray[np.float64]:
    """Mean sureness [3] of the stretches that show the clip's answer, by their lengths; NaN without an answer."""
    own = [one for one in timeline if one.compound == top and (top is not None or one.emotion == emotion)]
    own = own or list(timeline)
    if not own:
        return np.full(3, np.nan)
    lengths = [max(stretch.end - stretch.start, 1e-9) for stretch in own]
    return np.average([(one.sureness, *one.sureness_range) for one in own], axis=0, weights=lengths)


def is_none(fusion: Fusion) -> NDArray[np.bool_]:
    """Flags [N] of the windows that have evidence but no winner, because none of the compounds is likelier."""
    found: NDArray[np.bool_] = (fusion.winner < 0) & (np.nan_to_num(fusion.none) > fusion.none_threshold)
    return found


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the first axis, without numpy's warning where there are no rows: NaN."""
    return np.mean(rows, axis=0) if len(rows) else np.full(rows.shape[1:], np.nan)


def named(names: Iterable[str], values: NDArray[np.float64]) -> dict[str, float | None]:
    """Values by name, NaN as None."""
    return {name: number(value) for name, value in zip(names, values, strict=True)}


def number(value: SupportsFloat) -> float | None:
    """A JSON number with at most six decimals; None for NaN."""
    return None if math.isnan(value) else rounded(value)


def rounded(value: SupportsFloat) -> float:
    """A number with at most six decimals."""
    return round(float(value), 6)


def to_json(result: ResultDocument) -> str:
    """The result as text: indented, non-ASCII kept, no NaN."""
    return json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def windows_table(fusion: Fusion, scores: Sequence[Scores] = (), person: int = 0) -> pd.DataFrame:
    """One row a window: person (0: everybody), start, end, present, 7 basic and K compound probabilities, top, emotion,
    `SURENESS_COLUMNS`, blend, none, contribution_<modality>, and of each of `scores` quality_<modality>."""
    times = {"start": fusion.windows[:, 0], "end": fusion.windows[:, 1]}
    table = pd.DataFrame({"person": np.full(len(fusion.windows), person, np.int32), **times, "present": fusion.present})
    _add_distributions(table, fusion, fusion.compounds)
    for index, modality in enumerate(fusion.modalities):
        table[f"contribution_{modality}"] = fusion.contributions[:, index]
    for item in scores:
        table[f"quality_{item.modality}"] = _quality(item)
    return table


def frames_table(
    frames: pd.DataFrame, moments: Moments, faces: Mapping[int, int], compounds: Sequence[Compound], person: int = 0
) -> pd.DataFrame:
    """One row a frame of the video: person (0: everybody), frame, time_s, faces (empty where the frame was not looked at) and
    the answer."""
    looked = [faces.get(int(frame)) for frame in frames["frame"]]
    faces_seen, whose = pd.array(looked, dtype="Int32"), np.full(len(frames), person, np.int32)
    seen = {"frame": frames["frame"].astype("int32"), "time_s": moments.times, "faces": faces_seen}
    table = pd.DataFrame({"person": whose, **seen})
    _add_distributions(table, moments, compounds)
    return table


def _add_distributions(table: pd.DataFrame, answer: Fusion | Moments, compounds: Sequence[Compound]) -> None:
    for index, emotion in enumerate(BASIC_EMOTIONS):
        table[emotion] = answer.basic[:, index]
    for index, compound in enumerate(compounds):
        table[compound.name] = answer.compound[:, index]
    table["top"] = [compounds[index].name if index >= 0 else None for index in answer.winner]
    table["emotion"] = [BASIC_EMOTIONS[index] if index >= 0 else None for index in answer.emotion]
    for index, column in enumerate(SURENESS_COLUMNS):
        table[column] = answer.sureness[:, index]
    table["blend"] = answer.blend
    table["none"] = answer.none
