"""The windows of clips as tables with a row a window or a probability: CSV, arrow tables, JSON, and segments as RTTM has them.

Everything here takes clips one by one and gives pieces, so that memory does not grow with a data set.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING

from data.csv_files import CsvWriter
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from reports.answer import SURENESS_COLUMNS
from reports.answer import emotion_of as window_emotion
from reports.documents import ModalityEntry, Numbers, WindowEntry
from reports.exports.clip import ClipAnswer, Item, Span, Unanswered, one_line, timeline, turns

if TYPE_CHECKING:
    import pyarrow as pa

LONG_COLUMNS = ("clip_id", "person", "person_name", "window", "start", "end", "source", "name", "probability")
FUSE_COLUMNS = ("clip", "model", "label", "split", "group", "quality")
GIVEN = ("split", "label")
"""What a data set's manifest says of a clip and its tables repeat."""
TEXTS = frozenset({"clip_id", "person_name", *GIVEN, "top", "emotion", "reason", "source", "name"})
"""Columns that hold text; `present` is true or false, `window` and `person` are whole numbers, all others real ones."""
PIECE = 20_000
"""Rows of an arrow table, the most that is held in memory."""
Cell = str | float | None
"""Of a table: text, a number or a truth value; None where unknown."""


def wide_rows(clips: Iterable[Item]) -> Iterator[Sequence[Cell]]:
    """The names of the columns, then a row a window and person: clip_id, whose it is, the columns of windows.parquet, reason;
    unknown values are None.

    Clips of a data set also have `split` and `label`; one without an answer is a row of its own, with the reason and no numbers.
    InputError when a clip has columns that the first one lacks (another set of compounds).
    """
    columns: list[str] = []
    early: list[dict[str, Cell]] = []  # clips without an answer before the first that tells the columns
    for clip in clips:
        if isinstance(clip, Unanswered):
            row: dict[str, Cell] = {**_own(clip), "present": False, "reason": why(clip)}
            if columns:
                yield [row.get(name) for name in columns]
            else:
                early.append(row)
            continue
        for own, index, window in _windows(clip):
            row = {**_own(own), **_flat(window), **_qualities(own, index), "reason": window["reason"] or None}
            if not columns:
                columns = list(row)
                yield columns
                yield from ([other.get(name) for name in columns] for other in early)
            if extra := [name for name in row if name not in columns]:
                raise InputError(
                    f"{clip.clip_id} was recognised with other settings than the clips before it (it alone has "
                    f"{', '.join(extra)}); export as csv-long, parquet-long, jsonl or json, which hold any."
                )
            yield [row.get(name) for name in columns]
    if not columns and early:
        yield list(early[0])
        yield from (list(row.values()) for row in early)


def long_rows(clips: Iterable[Item]) -> Iterator[Sequence[Cell]]:
    """The names `LONG_COLUMNS`, then a row a probability that is known: `source` is fused, compound, or a modality, `name` the
    emotion or compound. Clips without an answer have no rows."""
    yield LONG_COLUMNS
    for clip in clips:
        if isinstance(clip, Unanswered):
            continue
        for one, index, window in _windows(clip):
            sources = {"fused": window["basic"], "compound": window["compound"], **_modalities(one, index)}
            own = (one.clip_id, one.person, one.person_name or None, index, window["start"], window["end"])
            for source, shares in sources.items():
                yield from ((*own, source, name, value) for name, value in (shares or {}).items() if value is not None)


def fuse_rows(clips: Iterable[Item]) -> Iterator[Sequence[Cell]]:
    """A table for 'dyad fuse': `FUSE_COLUMNS` and the seven emotions, then a row for each window and modality that answers.

    The clip is 'clip_id:window', the group the media file's path, so that validation divides no film; the label is the data
    set's where that is a basic emotion. Clips without an answer have no rows.
    """
    yield (*FUSE_COLUMNS, *BASIC_EMOTIONS)
    for clip in clips:
        if isinstance(clip, Unanswered):
            continue
        label, split = (clip.status.get(name) or None for name in ("label", "split"))
        label = label if label in BASIC_EMOTIONS else None
        for index in range(len(clip.result["windows"])):
            for name, shares in _modalities(clip, index).items():
                own = (f"{clip.clip_id}:{index}", name, label, split, clip.result["clip"]["path"])
                if shares is not None:
                    told = _quality(clip.result["modalities"][name], index)
                    yield (*own, told, *(shares[emotion] for emotion in BASIC_EMOTIONS))


def csv_fuse(clips: Iterable[Item]) -> Iterator[str]:
    """`fuse_rows` as CSV."""
    return map(csv_line, fuse_rows(clips))


def csv_wide(clips: Iterable[Item]) -> Iterator[str]:
    """`wide_rows` as CSV; unknown values are empty."""
    return map(csv_line, wide_rows(clips))


def csv_long(clips: Iterable[Item]) -> Iterator[str]:
    """`long_rows` as CSV."""
    return map(csv_line, long_rows(clips))


def arrow_wide(clips: Iterable[Item]) -> "Iterator[pa.Table]":
    """`wide_rows` as arrow tables of at most `PIECE` rows and one schema; unknown values are null."""
    return _arrow(wide_rows(clips))


def arrow_long(clips: Iterable[Item]) -> "Iterator[pa.Table]":
    """`long_rows` as arrow tables of at most `PIECE` rows and one schema."""
    return _arrow(long_rows(clips))


def json_lines(clips: Iterable[Item]) -> Iterator[str]:
    """A JSON object a window and person: clip_id, path, whose it is, window, the window as in result.json, and what each modality
    says (or null).

    A clip without an answer is one line whose `window` is null, with its state and reason.
    """
    for clip in clips:
        if isinstance(clip, Unanswered):
            yield _json({**unanswered_row(clip), "window": None, "present": False}) + "\n"
            continue
        for one, index, window in _windows(clip):
            own = {"clip_id": one.clip_id, "path": one.result["clip"]["path"], "person": one.person,
                   "person_name": one.person_name, "window": index}  # fmt: skip
            yield _json({**own, **window, "modalities": _modalities(one, index)}) + "\n"


def json_whole(clips: Iterable[Item]) -> Iterator[str]:
    """One JSON document: `clips`, the content of each result.json, in which the answers of the others have their `windows`, too,
    as `json_lines` has them; and `unanswered`, the clips without an answer."""
    unanswered: list[dict[str, str]] = []
    yield '{"clips": ['
    between = "\n"
    for clip in clips:
        if isinstance(clip, Unanswered):
            unanswered.append(unanswered_row(clip))
            continue
        yield between + _json({**clip.result, **_with_windows(clip)})
        between = ",\n"
    yield '\n], "unanswered": ' + _json(unanswered) + "}\n"


def segments(clips: Iterable[Item]) -> Iterator[str]:
    """A line a stretch in the ten fields of RTTM: SPEAKER clip 1 start duration <NA> person answer <NA> <NA>; times in s.

    The person stands where RTTM has a subtype, <NA> in a clip of one person."""
    for clip in clips:
        for one in clip.everyone if isinstance(clip, ClipAnswer) else ():
            yield from (_segment(one, span, _token(one.person_name)) for span in timeline(one))


def speaker_turns(clips: Iterable[Item]) -> Iterator[str]:
    """A line a turn of speech in the ten fields of RTTM: SPEAKER clip 1 start duration <NA> <NA> person <NA> <NA>; times in s."""
    for clip in clips:
        if isinstance(clip, ClipAnswer):
            yield from (_segment(clip, span) for span in turns(clip))


def _segment(clip: ClipAnswer, span: Span, subtype: str = "<NA>") -> str:
    times = f"{span.start:.3f} {span.end - span.start:.3f}"
    return f"SPEAKER {_token(clip.clip_id)} 1 {times} <NA> {subtype} {_token(span.label)} <NA> <NA>\n"


def why(clip: Unanswered) -> str:
    """Why a clip has no answer, a sentence."""
    return clip.reason or f"The clip has no answer ({clip.state})."


def unanswered_row(clip: Unanswered) -> dict[str, str]:
    """A clip without an answer as JSON values."""
    return {"clip_id": clip.clip_id, "path": clip.path, "state": clip.state, "reason": why(clip)}


def _windows(clip: ClipAnswer) -> Iterator[tuple[ClipAnswer, int, WindowEntry]]:
    """The windows of everybody with their numbers, first those of whom the clip's answer is about."""
    yield from ((one, number, window) for one in clip.everyone for number, window in one.rows)


def _with_windows(clip: ClipAnswer) -> dict[str, object]:
    """`people` with the windows of the others in their answers; empty where there are none."""
    windows = {one.person: [{"window": number, **window, "modalities": _modalities(one, number)} for number, window in one.rows]
               for one in clip.others}  # fmt: skip
    people = [
        {**entry, "answer": {**answer, "windows": windows[entry["person"]]}}
        if entry["person"] in windows and (answer := entry.get("answer")) else entry
        for entry in clip.result.get("people", ())
    ]  # fmt: skip
    return {"people": people} if windows else {}


def _own(clip: Item) -> dict[str, Cell]:
    whose = (clip.person, clip.person_name or None) if isinstance(clip, ClipAnswer) else (None, None)
    given = {name: clip.status[name] or None for name in GIVEN if name in clip.status}
    return {"clip_id": clip.clip_id, "person": whose[0], "person_name": whose[1], **given}


def _arrow(rows: Iterator[Sequence[Cell]]) -> "Iterator[pa.Table]":
    import pyarrow as pa

    kinds = {"present": pa.bool_(), "window": pa.int32(), "person": pa.int32()}
    names = [str(name) for name in next(rows, ())]
    schema = pa.schema([(name, pa.string() if name in TEXTS else kinds.get(name, pa.float64())) for name in names])
    some = True
    while some:
        piece = list(islice(rows, PIECE))
        columns = zip(*piece, strict=True) if piece else [()] * len(schema)
        some = len(piece) == PIECE
        yield pa.table([pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _token(text: str) -> str:
    return one_line(text).replace(" ", "_") or "<NA>"


def _flat(window: WindowEntry) -> dict[str, Cell]:
    return {
        "start": window["start"], "end": window["end"], "present": window["present"], **window["basic"], **window["compound"],
        "top": window.get("top"), "emotion": window_emotion(window),
        **dict(zip(SURENESS_COLUMNS, (window.get("sureness"), *window.get("sureness_range", (None, None))), strict=True)),
        "blend": window.get("blend"), "none": window.get("none"),
        **{f"contribution_{name}": value for name, value in window["contributions"].items()},
    }  # fmt: skip


def _qualities(clip: ClipAnswer, index: int) -> dict[str, float | None]:
    """The columns quality_<modality> of a window; None where unknown, as in all answers of older versions."""
    return {f"quality_{name}": _quality(entry, index) for name, entry in clip.result["modalities"].items()}


def _quality(entry: ModalityEntry, index: int) -> float | None:
    told = entry.get("quality")
    return None if told is None else told[index]


def _modalities(clip: ClipAnswer, index: int) -> dict[str, Numbers | None]:
    rows = {name: entry["probabilities"][index] for name, entry in clip.result["modalities"].items()}
    names = clip.result["emotions"]
    return {name: None if row[0] is None else dict(zip(names, row, strict=True)) for name, row in rows.items()}


def csv_line(values: Sequence[Cell]) -> str:
    """A row as a line of CSV."""
    stream = StringIO()
    CsvWriter(stream).add(values)  # with this end of lines it quotes what holds either of the two
    return stream.getvalue().removesuffix("\r\n") + "\n"
