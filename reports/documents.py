"""The documents that Dyad writes as JSON, as types: `result.json` of a clip and `summary.json` of a data set.

`result.schema.json` beside this file says the same of results for readers in other languages, with units and meanings. Results of
older versions lack some fields: these are `NotRequired`. A number that is not known is None.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

Numbers = Mapping[str, float | None]
"""Values by the name of an emotion, a compound or a modality."""


class MadeBy(TypedDict):
    """The version of Dyad, and when it answered (UTC, ISO 8601)."""

    version: str
    created: str


class ClipEntry(TypedDict):
    """The fields of `data.media.clip.Clip`, and where in its file a segment ends."""

    path: str
    clip_id: str
    content_hash: str
    duration: float
    frame_rate: float
    width: int
    height: int
    rotation: int
    has_video: bool
    has_audio: bool
    subtitle_stream: int | None
    audio_stream: NotRequired[int | None]
    start: NotRequired[float | None]
    end: NotRequired[float | None]


class CompoundEntry(TypedDict):
    """A compound and its two emotions."""

    name: str
    first: str
    second: str


class SourceEntry(TypedDict):
    """What answered for a modality (`data.scores.Source`)."""

    backend: str
    model: str
    revision: str
    preprocessing: str


class ModalityEntry(TypedDict):
    """What one modality answered: a row of seven probabilities a window, or why it has none."""

    state: Literal["present", "absent", "failed"]
    source: SourceEntry | None
    windows_present: int
    windows: int
    reason: str
    remedy: str
    probabilities: Sequence[Sequence[float | None]]
    quality: NotRequired[Sequence[float | None]]
    reference: NotRequired[str]


class MatrixEntry(TypedDict):
    """The share of each emotion taken from each modality, and in how many windows just these are present."""

    windows: int
    shares: Mapping[str, Numbers]


class FusionEntry(TypedDict):
    """How the modalities were joined."""

    weights: str
    composition: str
    none_threshold: NotRequired[float]
    over_time: NotRequired[str]
    context_seconds: NotRequired[float]
    matrices: Sequence[MatrixEntry]


class WindowEntry(TypedDict):
    """One window: its distributions, its winner, and what made it win."""

    start: float
    end: float
    present: bool
    basic: Numbers
    compound: Numbers
    none: NotRequired[float | None]
    top: str | None
    emotion: str | None
    sureness: float | None
    sureness_range: Sequence[float | None]
    blend: float | None
    coverage: float | None
    contributions: Numbers
    emotion_shares: Mapping[str, float]
    reason: str


class StretchEntry(TypedDict):
    """A stretch of the timeline with one answer: a compound, or where none wins (None) the emotion alone."""

    start: float
    end: float
    compound: str | None
    emotion: str
    sureness: float | None
    sureness_range: Sequence[float | None]
    blend: float | None
    neutral: float | None


class PersonModalityEntry(TypedDict):
    """Whether one modality has an answer of a person, in how many windows, or why it has none."""

    state: Literal["present", "absent", "failed"]
    windows_present: int
    windows: int
    reason: str
    remedy: str


class PersonAnswer(TypedDict):
    """What one person shows: stretches, the whole in a few figures, and the mean share of each modality in it."""

    timeline: Sequence["StretchEntry"]
    summary: "SummaryEntry"
    modalities: Mapping[str, PersonModalityEntry]
    contributions: Numbers


class PersonEntry(TypedDict):
    """Somebody who is seen or heard; times are None for one who is never seen."""

    person: int
    name: str
    main: bool
    first_seen: float | None
    last_seen: float | None
    pictures: int
    seconds_on_screen: float
    seconds_speaking: float
    lip_sync: NotRequired[float | None]
    answer: NotRequired[PersonAnswer | None]


class TurnEntry(TypedDict):
    """A stretch in which somebody speaks; `person` is None where nobody knows who."""

    start: float
    end: float
    person: int | None
    on_screen: bool
    overlap: bool


class SummaryEntry(TypedDict):
    """The clip in a few figures."""

    top: str | None
    emotion: str | None
    seconds: Mapping[str, float]
    seconds_of_emotions: Mapping[str, float]
    compound: Numbers
    basic: Numbers
    none: float | None
    sureness: float | None
    sureness_range: Sequence[float | None]
    blend: float | None
    windows_answered: int
    windows_none: NotRequired[int]
    sentence: str


class RejectedEntry(TypedDict):
    """What was heard between two times (s) and is not believed, and why; the text is empty for what is sung."""

    start: float
    end: float
    text: str
    reason: str


class WordsEntry(TypedDict):
    """Where the words come from, in a few words, and what was heard and counts for nothing."""

    origin: str
    rejected: Sequence[RejectedEntry]


class ResultDocument(TypedDict):
    """The content of `result.json`."""

    schema_version: str
    dyad: MadeBy
    clip: ClipEntry
    profile: str
    degraded: bool
    problems: Sequence[str]
    notes: NotRequired[Sequence[str]]
    emotions: Sequence[str]
    compounds: Sequence[CompoundEntry]
    modalities: Mapping[str, ModalityEntry]
    words: NotRequired[WordsEntry]
    fusion: FusionEntry
    windows: Sequence[WindowEntry]
    timeline: Sequence[StretchEntry]
    person: NotRequired[int | None]
    people: NotRequired[Sequence[PersonEntry]]
    turns: NotRequired[Sequence[TurnEntry]]
    summary: SummaryEntry
    seconds: Mapping[str, float]


class Figures(TypedDict):
    """How labels and answers agree (`reports.dataset.figures.Tally`): `confusion` has a row a class and a column an answer."""

    items: int
    clips: int
    unanswered: int
    uar: float
    war: float
    macro_f1: float
    weighted_f1: float
    intervals: Mapping[str, Sequence[float]]
    recall: Mapping[str, float]
    classes: Sequence[str]
    answers: Sequence[str]
    confusion: Sequence[Sequence[int]]


Measure = Literal["macro_f1", "uar", "war", "weighted_f1"]
"""The figures that tables show."""

ReliabilityBin = TypedDict(
    "ReliabilityBin", {"from": float, "to": float, "items": int, "probability": float, "right": float}
)
"""Answers of about the same probability: how many, their mean probability, the share that is right."""


class ReliabilityFigures(TypedDict):
    """How often answers of some probability are right; `unit` is what is counted, windows or frames."""

    unit: str
    items: int
    ece: float
    bins: Sequence[ReliabilityBin]


class FailureEntry(TypedDict):
    """A kind of failure: how many clips have it, and one of them."""

    reason: str
    clips: int
    example: str


class StageSeconds(TypedDict):
    """Seconds of a stage in all, and a clip."""

    total: float
    mean: float


class SecondsEntry(TypedDict):
    """Seconds of media, and of each stage."""

    media: float
    stages: Mapping[str, StageSeconds]


class ShownEntry(TypedDict):
    """How many clips a compound won, and for how many seconds it was shown."""

    clips: int
    seconds: float


class PeopleCounts(TypedDict):
    """How many persons are seen or heard in all clips, how many clips have several, and how many persons show what ('': nothing
    that could be judged); `different`: how many of those who are seen are different ones, where that was asked."""

    total: int
    several: int
    different: NotRequired[int]
    shown: Mapping[str, int]


Metrics = Mapping[str, Mapping[str, Figures]]
"""By what the labels are (compounds, emotions) and by what is counted (clips, windows, frames)."""


class SetFigures(TypedDict):
    """The part of `summary.json` that the clips give; `alone` counts those that no compound is the answer of, by emotion."""

    seconds: SecondsEntry
    compounds: Mapping[str, ShownEntry]
    alone: NotRequired[Mapping[str, int]]
    modalities: Mapping[str, int]
    people: PeopleCounts
    metrics: Metrics
    reliability: Mapping[str, ReliabilityFigures]
    failures: Sequence[FailureEntry]


class SummaryDocument(SetFigures):
    """The content of `summary.json`; `clips` counts them by how they ended.

    trained_on: corpora that clips with an answer are of and models were trained on, with how many clips, by modality.
    """

    dyad: str
    manifest: str
    profile: str
    notes: Sequence[str]
    trained_on: Mapping[str, Mapping[str, int]]
    clips: Mapping[str, int]
