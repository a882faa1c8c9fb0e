"""What the writers of other tools' formats read: a clip's answer, its frames and its words, and stretches of it with labels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NotRequired, TypedDict

from data.errors import InputError
from data.json_files import read_json
from data.people import rows_of
from data.run_folder import RunFolder
from reports.answer import about, answer_name, name_of, others
from reports.documents import ResultDocument, WindowEntry

if TYPE_CHECKING:
    import pandas as pd


NEEDED = frozenset({"clip", "windows", "timeline", "modalities", "compounds", "emotions", "summary"})
OF_WINDOWS = frozenset({"start", "end", "present", "basic", "compound", "contributions", "reason"})
"""Fields of result.json, and of its windows, without which it is no whole answer."""


class Cue(TypedDict):
    """A phrase of a transcript: its time (s, NaN where unknown), its text, and who says it."""

    start: float
    end: float
    text: str
    speaker: NotRequired[str | None]


@dataclass(frozen=True, eq=False)
class ClipAnswer:
    """One clip: the content of result.json, frames.parquet (None where not asked for or without a picture), the cues of
    its transcript (start, end in s, text, speaker; empty without words), what status.csv says of it in a data set
    (text by column; empty elsewhere), and the one table of its folder that was asked for.

    It is the answer about the one whom the clip's is about, or about another `person` (`reports.exports.persons`), who has an
    answer in the windows in which something is known of them; `others` are those of all others, where they were asked for."""

    result: ResultDocument
    frames: "pd.DataFrame | None" = None
    cues: Sequence[Cue] = ()
    status: Mapping[str, str] = field(default_factory=dict)
    table: "pd.DataFrame | None" = None
    is_own: bool = True
    others: Sequence["ClipAnswer"] = ()

    @property
    def person(self) -> int:
        """Whose answer it is, a number of people.csv; 0 for everybody's, and where nobody is known."""
        who = about(self.result)
        return who["person"] if who else 0

    @property
    def person_name(self) -> str:
        """How that person is called where the clip has several; '' otherwise."""
        who = about(self.result)
        return name_of(who) if who and len(self.result.get("people", ())) > 1 else ""

    @property
    def everyone(self) -> Sequence["ClipAnswer"]:
        """This answer, and those of the others."""
        return (self, *self.others)

    @property
    def rows(self) -> Sequence[tuple[int, WindowEntry]]:
        """The windows with their numbers; of a person beside the clip's own those in which something is known of them."""
        every = enumerate(self.result["windows"])
        return [(number, window) for number, window in every if self.is_own or window["present"]]

    @property
    def clip_id(self) -> str:
        """The clip's name in its data set."""
        return self.result["clip"]["clip_id"]

    @property
    def stem(self) -> str:
        """The name of the media file without its ending."""
        return PurePath(self.result["clip"]["path"]).stem

    @property
    def duration(self) -> float:
        """Its length (s), at least to the end of the last window."""
        return max([self.result["clip"]["duration"] or 0.0, *(row["end"] for row in self.result["windows"])])


@dataclass(frozen=True)
class Unanswered:
    """A clip of a data set that has no answer: its row of status.csv (text by column), with `state` and `reason`."""

    clip_id: str
    path: str
    state: str
    reason: str
    status: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The name of the media file without its ending."""
        return PurePath(self.path).stem


Item = ClipAnswer | Unanswered
"""A clip of a data set, with its answer or without."""


@dataclass(frozen=True)
class Span:
    """A stretch of time (s) with a label."""

    start: float
    end: float
    label: str


def read_clip(folder: RunFolder, frames: bool = False, cues: bool = False, table: str = "") -> ClipAnswer:
    """Read a run folder; the tables only where asked for, `table` by its name. InputError where there is no result, or a damaged
    one."""
    try:
        result: ResultDocument = read_json(folder.result)
        missing = NEEDED - set(result) or {f"windows.{name}" for row in result["windows"] for name in OF_WINDOWS - set(row)}
    except FileNotFoundError:
        raise InputError(f"{folder.root} holds no result.json; give a run folder that 'dyad run' made.") from None
    except (ValueError, TypeError):
        missing = {"JSON"}
    if missing:
        raise InputError(f"{folder.result} is damaged ({', '.join(sorted(missing))} missing); run the clip again with --fresh.")
    asked = _table(folder.table(table)) if table else None
    told = _table(folder.frames) if frames else None
    return ClipAnswer(result, None if told is None else rows_of(told), _cues(folder) if cues else (), table=asked)


def timeline(clip: ClipAnswer) -> list[Span]:
    """The answers over time: compounds, and where none wins the emotion alone; time without evidence is left out."""
    return [Span(row["start"], row["end"], answer_name(row)) for row in clip.result["timeline"]]


def emotion_spans(clip: ClipAnswer) -> list[Span]:
    """The strongest basic emotion of all modalities together over time."""
    names = clip.result["emotions"]
    return _strongest(clip, [[row["basic"].get(name) for name in names] for row in clip.result["windows"]])


def modality_spans(clip: ClipAnswer, modality: str) -> list[Span]:
    """The strongest emotion of one modality over time, never two at once.

    Windows overlap; a moment gets the mean of those that cover it, and neighbours with one label become one stretch.
    Where none of them has an answer is a gap.
    """
    return _strongest(clip, clip.result["modalities"][modality]["probabilities"])


def _strongest(clip: ClipAnswer, rows: Sequence[Sequence[float | None]]) -> list[Span]:
    """The emotion that windows' probabilities [N, 7] find likeliest, on the grid that everything is shown on."""
    import numpy as np

    from reports.grid import as_float, columns

    grid, names = columns(clip.result["windows"], most=None), clip.result["emotions"]
    means = grid.mean([[as_float(value) for value in row] for row in rows])
    labels = [names[int(row.argmax())] if np.isfinite(row).all() else None for row in means]
    edges = grid.edges.tolist()
    cells = zip(edges, edges[1:], labels, strict=False)  # one edge more than labels
    return _joined(Span(start, end, label) for start, end, label in cells if label)


def words(clip: ClipAnswer) -> dict[str, list[Span]]:
    """The transcript by tier: one a speaker, and another where one's cues overlap; cues without times or text are left out."""
    tiers: dict[str, list[Span]] = {}
    timed = [cue for cue in clip.cues if cue["end"] > cue["start"] and one_line(cue["text"])]  # NaN is never larger
    for cue in sorted(timed, key=lambda item: item["start"]):
        who = one_line(cue.get("speaker") or "")
        base = f"transcript {who}" if who else "transcript"
        span, name, copies = Span(cue["start"], cue["end"], one_line(cue["text"])), base, 1
        while name in tiers and tiers[name][-1].end > span.start:
            copies += 1
            name = f"{base} ({copies})"
        tiers.setdefault(name, []).append(span)
    return tiers


def tiers_of(clip: ClipAnswer) -> dict[str, list[Span]]:
    """All tiers: the answer (compounds, and emotions alone), the emotions, the answers of the other persons, each modality, who
    speaks (a person each), words."""
    modalities = {name: modality_spans(clip, name) for name in clip.result["modalities"]}
    speaking: dict[str, list[Span]] = {}
    for turn in turns(clip):
        speaking.setdefault(f"{turn.label} speaks", []).append(turn)
    shown = {"expression": timeline(clip), "basic emotion": emotion_spans(clip)}
    return {**shown, **of_others(clip), **modalities, **speaking, **(words(clip) or {"transcript": []})}


def of_others(clip: ClipAnswer) -> dict[str, list[Span]]:
    """The answers over time of each person beside the one that the clip's answer is about, by 'Person 2: expression'."""
    return {
        f"{name_of(one)}: expression": [Span(row["start"], row["end"], answer_name(row)) for row in answer["timeline"]]
        for one, answer in others(clip.result)
    }


def turns(clip: ClipAnswer) -> list[Span]:
    """Who speaks when, by name; turns of nobody known are left out."""
    names = {entry["person"]: name_of(entry) for entry in clip.result.get("people", ())}
    known = ((turn, names.get(turn["person"] or 0)) for turn in clip.result.get("turns", ()))
    return [Span(turn["start"], turn["end"], name) for turn, name in known if name]


def one_line(text: str) -> str:
    """Text without line breaks, tabs and control characters, which no line-based format and no XML can hold."""
    plain = "".join(letter if letter.isprintable() or letter.isspace() else " " for letter in text)
    return " ".join("".join(letter for letter in plain if not "\ud800" <= letter <= "\udfff").split())


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].label == span.label and abs(joined[-1].end - span.start) < 1e-6:
            joined[-1] = Span(joined[-1].start, span.end, span.label)
        else:
            joined.append(span)
    return joined


def _cues(folder: RunFolder) -> list[Cue]:
    table = _table(folder.cues)
    if table is not None:
        return _records(table)
    from data.media.subtitles import read_transcript

    try:
        return _records(read_transcript(folder.transcript)) if folder.transcript.is_file() else []
    except InputError:  # a transcript without words, which is a transcript too
        return []


def _records(table: "pd.DataFrame") -> list[Cue]:
    speakers = table["speaker"] if "speaker" in table else [None] * len(table)
    rows = zip(table["start"], table["end"], table["text"], speakers, strict=True)
    return [{"start": float(start), "end": float(end), "text": str(text), "speaker": who} for start, end, text, who in rows]


def _table(path: Path) -> "pd.DataFrame | None":
    import pandas as pd

    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); run the clip again with --fresh.") from error
