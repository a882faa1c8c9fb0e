"""What `recognise` returns: a clip's run folder as typed values and pandas tables, with a picture of itself in a notebook."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

from data.errors import DyadError, InputError
from data.json_files import read_json
from data.people import rows_of
from data.run_folder import RunFolder
from data.scores import Scores
from reports.documents import ModalityEntry, PersonAnswer, ResultDocument, SourceEntry, StretchEntry

if TYPE_CHECKING:
    import pandas as pd

TIMELINE = ("start", "end", "answer", "sureness", "sureness_low", "sureness_high", "compound", "emotion", "blend", "neutral")

CLIPS = ("clip", "top", "emotion", "sureness", "none", "duration", "degraded", "error", "folder")


@dataclass(frozen=True)
class ModalityAnswer:
    """What one modality had to say: `state` is present, absent or failed; `reason` and `remedy` say why not and what would help.

    `windows_present` of `windows` have an answer; `source` names backend, model, revision and preprocessing, None where absent.
    """

    name: str
    state: str
    reason: str
    remedy: str
    windows_present: int
    windows: int
    source: SourceEntry | None
    folder: Path = field(repr=False)

    @property
    def present(self) -> bool:
        """True when some window has an answer."""
        return self.state == "present"

    @cached_property
    def scores(self) -> Scores:
        """The value object itself: windows [N, 2] (s), probabilities [N, 7], features [N, D] where the network gave some."""
        from data.tables import read_scores

        folder = RunFolder(self.folder)
        return read_scores(folder.scores(self.name), folder.evidence(self.name))

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row a window: start, end (s), present, the seven basic probabilities (NaN where absent), quality."""
        return _table(RunFolder(self.folder).scores(self.name)).drop(columns="features", errors="ignore")

    @cached_property
    def evidence(self) -> "pd.DataFrame":
        """What the scores rest on, a row a face, a phrase, a stretch of speech, a description; empty where there is none."""
        return _table(RunFolder(self.folder).evidence(self.name))


@dataclass(frozen=True, eq=False, repr=False)
class Recognition:
    """The answer about one clip. `folder` is its run folder, `result` the content of its `result.json`.

    Tables are pandas frames, read when they are first asked for; times are seconds from the clip's start, probabilities 0..1.
    """

    folder: Path
    result: ResultDocument

    @property
    def clip(self) -> str:
        """Name of the media file."""
        return Path(self.result["clip"]["path"]).name

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.result["clip"]["duration"])

    @property
    def top(self) -> str | None:
        """The clip's compound by the mean over it, e.g. `fearfully_surprised`; None when none of them is shown."""
        return None if self.result["summary"]["top"] is None else str(self.result["summary"]["top"])

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return str(self.result["summary"]["sentence"])

    @property
    def degraded(self) -> bool:
        """True when the media has problems or a modality failed; `problems` says which."""
        return bool(self.result["degraded"])

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong, in sentences."""
        return tuple(self.result["problems"])

    @property
    def report(self) -> Path:
        """The page that explains the answer, one file."""
        return RunFolder(self.folder).report

    @cached_property
    def modalities(self) -> Mapping[str, ModalityAnswer]:
        """What each modality had to say, by name."""
        return {name: _answer(name, entry, self.folder) for name, entry in self.result["modalities"].items()}

    @cached_property
    def timeline(self) -> "pd.DataFrame":
        """One row a stretch of time with one answer: start, end (s), answer (the compound, or where none wins the emotion alone),
        sureness with sureness_low and sureness_high, compound (None where none wins), emotion, blend, neutral."""
        return _timeline(self.result["timeline"])

    @cached_property
    def windows(self) -> "pd.DataFrame":
        """One row a window: start, end, present, the basic and the compound probabilities, top, emotion, sureness with its range,
        blend, none, contribution_<modality>, quality_<modality>."""
        return rows_of(_table(RunFolder(self.folder).windows)).drop(columns="person", errors="ignore")

    @cached_property
    def contributions(self) -> "pd.DataFrame":
        """One row a window: start, end, top, emotion, and a column a modality; these add up to the probability of the answer."""
        columns = {f"contribution_{name}": name for name in self.modalities if f"contribution_{name}" in self.windows}
        return self.windows[["start", "end", "top", "emotion", *columns]].rename(columns=columns)

    @cached_property
    def frames(self) -> "pd.DataFrame":
        """One row a frame of the video: frame, time_s, faces, and the answer at that moment."""
        return rows_of(_table(RunFolder(self.folder).frames)).drop(columns="person", errors="ignore")

    @cached_property
    def faces(self) -> "pd.DataFrame":
        """One row a face: frame, time_s, track_id, main, the box in pixels of the source, score; empty without a picture."""
        return _table(RunFolder(self.folder).faces)

    @cached_property
    def people(self) -> "pd.DataFrame":
        """One row a person: number, name, main, when seen (s), pictures, seconds on screen and speaking, tracks of its face."""
        return _table(RunFolder(self.folder).people).drop(columns="given", errors="ignore")

    def person(self, number: int) -> "PersonRecognition":
        """The answer about one person, by the number in `people`; InputError where there is none."""
        entries = {entry["person"]: entry for entry in self.result.get("people", ())}
        answer = entries[number].get("answer") if number in entries else None
        if answer is None:
            known = ", ".join(map(str, entries)) or "nobody"
            raise InputError(f"There is no answer about person {number} in {self.clip}; people tells of {known}.")
        return PersonRecognition(self.folder, number, entries[number]["name"], answer)

    @cached_property
    def turns(self) -> "pd.DataFrame":
        """One row a turn of speech: start, end (s), speaker (a voice), person (0: nobody knows), on_screen, overlap."""
        return _table(RunFolder(self.folder).turns)

    @cached_property
    def words(self) -> "pd.DataFrame":
        """One row a phrase: start, end, text; empty where there are no words."""
        return _table(RunFolder(self.folder).cues)

    def __repr__(self) -> str:
        from reports.notebook import plain_text

        return plain_text(self.result, self.folder)

    def _repr_html_(self) -> str:
        from reports.notebook import notebook_html

        return notebook_html(self.result, self.folder)


@dataclass(frozen=True, eq=False)
class PersonRecognition:
    """The answer about one person of a clip: of their own face, voice and words. `folder` is the clip's, `answer` its part of
    `result.json`; tables as of `Recognition`, with the windows and frames at which something is known of the person."""

    folder: Path
    number: int
    name: str
    answer: PersonAnswer = field(repr=False)

    @property
    def top(self) -> str | None:
        """The person's compound by the mean over the clip; None when none of them is shown."""
        return self.answer["summary"]["top"]

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return self.answer["summary"]["sentence"]

    @cached_property
    def timeline(self) -> "pd.DataFrame":
        """One row a stretch of time with one answer, as of `Recognition.timeline`."""
        return _timeline(self.answer["timeline"])

    @cached_property
    def windows(self) -> "pd.DataFrame":
        """One row a window, as in `windows.parquet`."""
        return rows_of(_table(RunFolder(self.folder).windows), self.number).drop(columns="person")

    @cached_property
    def frames(self) -> "pd.DataFrame":
        """One row a frame, as in `frames.parquet`."""
        return rows_of(_table(RunFolder(self.folder).frames), self.number).drop(columns="person")


@dataclass(frozen=True, eq=False, repr=False)
class Recognitions(Sequence[Recognition]):
    """The answers about several clips, in their order; `errors` says of the clips that have none why not (path -> error)."""

    answers: tuple[Recognition, ...]
    errors: Mapping[Path, DyadError]

    @overload
    def __getitem__(self, index: int) -> Recognition: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Recognition]: ...
    def __getitem__(self, index: int | slice) -> Recognition | Sequence[Recognition]:
        return self.answers[index]

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Recognition]:
        return iter(self.answers)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row a clip: clip, top, emotion, sureness, none, duration (s), degraded, error, folder."""
        import pandas as pd

        rows = [_summary(answer) for answer in self.answers]
        rows += [{"clip": path.name, "error": str(error)} for path, error in self.errors.items()]
        return pd.DataFrame(rows, columns=list(CLIPS))

    def __repr__(self) -> str:
        return f"{len(self.answers)} recognised, {len(self.errors)} failed\n{self.table.drop(columns='folder')}"

    def _repr_html_(self) -> str:
        from reports.notebook import clips_html

        return clips_html(self.table)


def _timeline(stretches: Sequence[StretchEntry]) -> "pd.DataFrame":
    import pandas as pd

    from reports.answer import answer_name

    unknown = (None, None)
    rows = [
        {**row, "answer": answer_name(row), "sureness_low": low, "sureness_high": high}
        for row in stretches
        for low, high in [row.get("sureness_range", unknown)]
    ]
    return pd.DataFrame(rows, columns=list(TIMELINE))


def read_run(folder: "str | Path") -> Recognition:
    """The answer that lies in a clip's run folder; InputError when there is none."""
    run = RunFolder(Path(folder))
    try:
        result = read_json(run.result)
    except (OSError, ValueError):
        raise InputError(f"{folder} holds no readable result.json; name a clip's folder that a run wrote.") from None
    return Recognition(run.root, result)


def _answer(name: str, entry: ModalityEntry, folder: Path) -> ModalityAnswer:
    present, windows = entry["windows_present"], entry["windows"]
    return ModalityAnswer(name, entry["state"], entry["reason"], entry["remedy"], present, windows, entry["source"], folder)


def _summary(answer: Recognition) -> dict[str, str | float | None]:
    told = answer.result["summary"]
    about: dict[str, str | float | None] = {"clip": answer.clip}
    about |= {"top": answer.top, "emotion": told.get("emotion"), "sureness": told.get("sureness"), "none": told.get("none")}
    return about | {"duration": answer.duration, "degraded": answer.degraded, "error": "", "folder": str(answer.folder)}


def _table(path: Path) -> "pd.DataFrame":
    """A parquet table of the run; empty where the clip has no such thing."""
    import pandas as pd

    from data.tables import read_table

    return read_table(path) if path.is_file() else pd.DataFrame()
