"""What people say that clips show: labels of whole clips, of stretches of time or of frames, by one rater or several."""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from data.emotions import Compound
from data.errors import InputError
from data.given_tables import GivenTable, read_given_table
from data.manifest.annotations import ENDINGS, Stretch, read_tiers
from data.manifest.labels import label_name, read_frame_labels
from data.windows import Windows

Floats = NDArray[np.float64]
CLIP = ("clip_id", "clip", "path", "file", "video")
RATER, SPEAKER = ("rater", "annotator", "coder"), ("speaker", "person", "group")
"""How the columns of a table are called."""
WHOLE = 0.02
"""Seconds that a stretch may lack at either end of what it labels as a whole."""
FOLDER_ENDINGS = (*ENDINGS, ".csv", ".txt")


@dataclass(frozen=True)
class ClipLabels:
    """The labels of one clip: by rater its stretches (s from the clip's start), of which later ones stand above earlier ones.

    speaker: who is heard or seen, '' where nobody says it.
    """

    raters: Mapping[str, Sequence[Stretch]] = field(default_factory=dict)
    speaker: str = ""

    def of_clip(self, duration: float) -> dict[str, str]:
        """By rater, the label of the whole clip; raters who label only parts of it have none."""
        whole = {
            name: [one.text for one in stretches if one.start <= WHOLE and one.end >= duration - WHOLE]
            for name, stretches in self.raters.items()
        }
        return {name: texts[-1] for name, texts in whole.items() if texts}

    def of_windows(self, windows: Windows) -> dict[str, list[str]]:
        """By rater, the label of each window: what holds more than half of it; '' without one."""
        return {name: [_most(stretches, start, end) for start, end in windows] for name, stretches in self.raters.items()}

    def of_times(self, times: Floats) -> dict[str, list[str]]:
        """By rater, the label at each of sorted `times` (s); '' without one."""
        found: dict[str, list[str]] = {}
        for name, stretches in self.raters.items():
            labels = np.full(len(times), "", object)
            for one in stretches:
                first, last = np.searchsorted(times, [one.start - 1e-9, one.end - 1e-9])
                labels[first:last] = one.text
            found[name] = labels.tolist()
        return found


def _most(stretches: Sequence[Stretch], start: float, end: float) -> str:
    seconds: dict[str, float] = defaultdict(float)
    for one in stretches:
        seconds[one.text] += max(0.0, min(one.end, end) - max(one.start, start))
    label, longest = max(seconds.items(), key=lambda item: item[1], default=("", 0.0))
    return label if longest > (end - start) / 2 + 1e-6 or (longest == 0.0 and start == end) else ""


def consensus(labels: Iterable[str]) -> str:
    """What most raters say who say something; '' where nobody does, or two labels are said equally often."""
    ranked = Counter(filter(None, labels)).most_common(2)
    return ranked[0][0] if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]) else ""


@dataclass(frozen=True)
class LabelledClip:
    """What labels are looked up by: the clip's id and path, where in its file it begins (s), its length (s), its frames' numbers
    in the file and times in the clip (s), and whether it is the only clip."""

    clip_id: str
    path: str
    start: float
    duration: float
    frames: NDArray[np.int64]
    times: Floats
    alone: bool

    @property
    def names(self) -> list[str]:
        """What a table may call it, the surest first: its id, its path, the ends of the path, with and without ending."""
        parts = PurePath(self.path).parts
        ends = ["/".join(parts[begin:]).replace("//", "/") for begin in range(len(parts))]
        return list(dict.fromkeys([self.clip_id, self.path, *(name for end in ends for name in (end, end.rpartition(".")[0]))]))

    def frames_to_stretches(self, labels: Mapping[int, str]) -> list[Stretch]:
        """Labels of frames (numbers in the file) as stretches of time."""
        if not len(self.times):
            return []
        step = float(np.median(np.diff(self.times))) if len(self.times) > 1 else max(self.duration, 1e-3)
        ends = np.append(self.times[1:], self.times[-1] + step)
        rows = zip(self.frames.tolist(), self.times.tolist(), ends.tolist(), strict=True)
        return _joined([Stretch(start, end, text) for frame, start, end in rows if (text := labels.get(frame, ""))])


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for one in stretches:
        if joined and joined[-1].text == one.text and abs(joined[-1].end - one.start) < 1e-6:
            joined[-1] = Stretch(joined[-1].start, one.end, one.text)
        else:
            joined.append(one)
    return joined


class GivenLabels(ABC):
    """Labels as people bring them. Read them by `read_labels`, and ask for those of a clip by `of`."""

    def __init__(self, source: Path, compounds: Sequence[Compound], tiers: Sequence[str] = ()) -> None:
        self.source, self.compounds, self.tiers = source, tuple(compounds), tuple(tiers)
        self._used: dict[str, str] = {}

    def of(self, clip: LabelledClip) -> ClipLabels | None:
        """The labels of a clip, None where it has none. InputError, with file and line, for what is no label."""
        found = self._found(clip)
        return found if found and any(found.raters.values()) else None

    @abstractmethod
    def _found(self, clip: LabelledClip) -> ClipLabels | None:
        """What is there of a clip."""

    @abstractmethod
    def named(self) -> list[str]:
        """The names by which clips are called."""

    def unused(self) -> list[str]:
        """Those of `named` that no clip had which was asked for."""
        return [name for name in self.named() if name not in self._used]

    def name(self, text: str, where: str) -> str:
        """Our name for a label, '' for none."""
        try:
            return label_name(text, self.compounds)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None

    def claim(self, name: str, clip: LabelledClip) -> None:
        """Note that labels named so are of this clip's file; InputError where they were another's, which cannot be."""
        if (path := self._used.setdefault(name, clip.path)) != clip.path:
            raise InputError(f"{self.source}: '{name}' may be {path} or {clip.path}; write the clip's id, {clip.clip_id}.")


class TableLabels(GivenLabels):
    """A table with a row a label: of a clip, of a stretch of time (`start`, `end`) or of a frame (`frame`)."""

    def __init__(self, table: GivenTable, source: Path, compounds: Sequence[Compound]) -> None:
        super().__init__(source, compounds)
        self.table = table
        self._files = table.text("frame_labels").tolist() if "frame_labels" in table else None
        self._texts = table.text("label").tolist() if "label" in table else [""] * len(table)
        self._raters = self._optional(RATER)
        self._speakers = self._optional(SPEAKER)
        self._times = [table.times(name) if name in table else np.full(len(table), np.nan) for name in ("start", "end")]
        self._frames = table.numbers("frame", missing="count frames from 0") if "frame" in table else None
        self._check_times()
        named = [self.table.text(name).tolist() for name in CLIP if name in table]
        self._of_one = not named
        self._rows: dict[str, list[int]] = defaultdict(list)
        for row in range(len(table)):
            self._rows[next((cells[row] for cells in named if cells[row]), "")].append(row)

    def named(self) -> list[str]:
        """The clips that the rows name."""
        return list(self._rows)

    def _optional(self, names: Sequence[str]) -> list[str]:
        """The cells of the first of these columns that is there; empty ones without any."""
        name = next((name for name in names if name in self.table), None)
        return self.table.text(name).tolist() if name else [""] * len(self.table)

    def _check_times(self) -> None:
        start, end = self._times
        for row in map(int, np.flatnonzero(end <= start)):
            raise InputError(f"{self.table.where(row)}: start {start[row]:g} is not before end {end[row]:g}; correct them.")

    def _found(self, clip: LabelledClip) -> ClipLabels | None:
        if self._of_one and not clip.alone:
            raise InputError(
                f"{self.source} does not say which clips its labels are of, and there are several; add a column 'clip' with the "
                "names of the files, or clip_id."
            )
        name = "" if self._of_one else next((name for name in clip.names if name in self._rows), None)
        if name is None:
            return None
        self.claim(name, clip)
        raters: dict[str, list[Stretch]] = defaultdict(list)
        frames: dict[str, dict[int, str]] = defaultdict(dict)
        speaker = ""
        for row in self._rows[name]:
            rater, begin, end = self._raters[row], self._times[0][row] - clip.start, self._times[1][row] - clip.start
            label = self.name(self._texts[row], self.table.where(row))
            begin, end = (0.0 if np.isnan(begin) else begin), (clip.duration if np.isnan(end) else end)
            if end <= 0 or begin >= max(clip.duration, 1e-3):  # of another part of the file
                continue
            speaker = speaker or self._speakers[row]
            if self._files is not None and self._files[row]:
                frames[rater] |= _frame_labels(self.source.parent / self._files[row], clip, self.compounds)
            elif self._frames is not None:
                frames[rater][int(self._frames[row])] = label
            elif label:
                raters[rater].append(Stretch(max(begin, 0.0), end, label))
        for rater, labels in frames.items():
            raters[rater] += clip.frames_to_stretches(labels)
        return ClipLabels(raters, speaker)


class ChallengeLabels(GivenLabels):
    """One file of an ABAW challenge with the frames of several videos."""

    def named(self) -> list[str]:
        """None: which videos it has is only known frame by frame."""
        return []

    def _found(self, clip: LabelledClip) -> ClipLabels | None:
        labels = _frame_labels(self.source, clip, self.compounds)
        return ClipLabels({"": clip.frames_to_stretches(labels)})


class FileLabels(GivenLabels):
    """A file for each clip, named like it: .eaf, .TextGrid, or a table. Of a single file it is the one clip, or the one of its
    name."""

    def __init__(self, source: Path, compounds: Sequence[Compound], tiers: Sequence[str] = ()) -> None:
        super().__init__(source, compounds, tiers)
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        self._files: dict[str, Path] = {}
        for file in files:
            if file.suffix.lower() in FOLDER_ENDINGS and file.is_file():
                if file.stem in self._files:
                    raise InputError(f"{self._files[file.stem]} and {file} are both named like the clip '{file.stem}'; keep one.")
                self._files[file.stem] = file
        if not self._files:
            raise InputError(f"{source} holds no labels: no file that ends in {', '.join(FOLDER_ENDINGS)}.")

    def _found(self, clip: LabelledClip) -> ClipLabels | None:
        name = next((name for name in clip.names if name in self._files), None)
        if name is None and clip.alone and not self.source.is_dir():
            name = self.source.stem
        if name is None:
            return None
        self.claim(name, clip)
        file = self._files[name]
        if file.suffix.lower() in ENDINGS:
            return self._of_tiers(file, clip)
        table = read_given_table(file, "file of labels")
        if "label" in table:
            return TableLabels(table.checked(), file, self.compounds).of(replace(clip, alone=True))
        return ClipLabels({"": clip.frames_to_stretches(_frame_labels(file, clip, self.compounds))})

    def named(self) -> list[str]:
        """The names of the files without their endings."""
        return list(self._files)

    def _of_tiers(self, file: Path, clip: LabelledClip) -> ClipLabels:
        tiers = read_tiers(file)
        names = self.tiers or self._only_tier(file, {name: [one.text for one in rows] for name, rows in tiers.items()})
        raters: dict[str, list[Stretch]] = {}
        for name in names:
            if name not in tiers:
                raise InputError(f"{file} has no tier '{name}'; its tiers: {', '.join(tiers) or 'none'}.")
            named = [one._replace(text=self.name(one.text, f"{file}, tier {name}, {one.start:g} s")) for one in tiers[name]]
            moved = [Stretch(one.start - clip.start, one.end - clip.start, one.text) for one in named if one.text]
            raters[name] = [one for one in moved if one.end > 0 and one.start < clip.duration]
        return ClipLabels(raters)

    def _only_tier(self, file: Path, texts: Mapping[str, Sequence[str]]) -> list[str]:
        """The one tier in which all is a label; InputError with the names of the tiers where none is, or several are."""
        fitting = [name for name, said in texts.items() if said and all(map(self._is_label, said))]
        if len(fitting) != 1:
            which = f"{len(fitting)} of its tiers hold labels" if fitting else "In none of its tiers all is a label"
            listed = ", ".join(fitting or texts) or "there is none"
            raise InputError(f"{file}: {which}; name one, or one for each rater, with --tier: {listed}.")
        return fitting

    def _is_label(self, text: str) -> bool:
        try:
            label_name(text, self.compounds)
        except InputError:
            return False
        return True


def _frame_labels(file: Path, clip: LabelledClip, compounds: Sequence[Compound]) -> dict[int, str]:
    table = read_frame_labels(file, PurePath(clip.path).stem, compounds)
    return dict(zip(table["frame"].tolist(), table["label"].tolist(), strict=True))


def read_labels(source: Path, compounds: Sequence[Compound], tiers: Sequence[str] = ()) -> GivenLabels:
    """Labels from a table (a row a clip, a stretch or a frame; a manifest), an ELAN or TextGrid file, a file of the ABAW
    challenges or of Aff-Wild2, or a folder with such files, each named like its clip.

    `tiers`: those of ELAN and Praat that hold labels, one a rater. InputError for what is none of these.
    """
    if source.is_dir() or source.suffix.lower() in ENDINGS:
        return FileLabels(source, compounds, tiers)
    table = read_given_table(source, "table of labels")
    if "label" in table or "frame_labels" in table:
        return TableLabels(table.checked("write a row a label"), source, compounds)
    if str(table.rows.columns[0]) == "image_location":
        return ChallengeLabels(source, compounds)
    try:
        read_frame_labels(source, "", compounds)
    except InputError as error:
        raise InputError(f"{source} has no column 'label', and is no file of a challenge either: {error}") from None
    return FileLabels(source, compounds)
