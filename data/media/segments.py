"""Segments: stretches of a file that are clips of their own, cut from what was decoded of the whole."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from data.errors import InputError, MediaError
from data.files import atomic_path, write_text
from data.media.clip import Clip, clip_id_of
from data.media.cues import TimedWord, spread_words
from data.media.decode import Decoded
from data.media.descriptions import read_described_table, read_descriptions
from data.media.frames import read_index, read_scale
from data.media.sidecars import Sidecar
from data.media.sound_file import AUDIO_RATE, SoundWriter
from data.media.subtitles import read_transcript, to_vtt
from data.times import END_SLACK

PIECE = 2**20


@dataclass(frozen=True)
class Segment:
    """From `start` to `end`, seconds in the file; None is the file's beginning, its end."""

    start: float | None = None
    end: float | None = None

    @property
    def is_whole(self) -> bool:
        """True when it is the file itself."""
        return self.start is None and self.end is None


def segment_clip(whole: Clip, segment: Segment) -> Clip:
    """The clip of a segment: its length is the segment's, its `start` where it begins in the file, its hash and id of both.

    An end after the file's is the file's (`note_on_end` says so). MediaError when the segment begins after the file has ended, or
    would last longer than it.
    """
    if segment.is_whole:
        return whole
    start = segment.start or 0.0
    end = whole.duration if segment.end is None else min(segment.end, whole.duration)
    if start >= end:
        raise MediaError(
            f"{whole.path} ends at {whole.duration:.2f} s, before the segment begins ({start:.2f} s); correct its times."
        )
    if (segment.end or 0.0) - start > whole.duration + END_SLACK:
        raise MediaError(
            f"{whole.path} lasts {whole.duration:.2f} s, and the segment from {start:g} to {segment.end:g} s is longer: are its "
            "times milliseconds or frames? Write seconds; an empty end is the file's."
        )
    content = f"{whole.content_hash} {start!r} {end!r}"
    digest = hashlib.sha256(content.encode()).hexdigest()
    return replace(whole, clip_id=clip_id_of(whole.path.stem, digest), content_hash=digest, duration=end - start, start=start)


def note_on_end(whole: Clip, segment: Segment) -> tuple[str, ...]:
    """A sentence where a segment would end later than its file, by more than what is rounded."""
    if (segment.end or 0.0) <= whole.duration + END_SLACK:
        return ()
    return (f"The segment's end, {segment.end:g} s, lies beyond the file ({whole.duration:.2f} s); it ends with the file.",)


def cut(whole: Decoded, clip: Clip, work: Path) -> Decoded:
    """Cut what `decode` made of the whole file to a segment's clip, in its folder `work`; times start at 0 there.

    Pictures are those sampled in the whole, sound is filled with silence where the file has none, cues are cut at the ends.
    Flat memory; files appear when all of them are complete.
    """
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".cut-", dir=work) as aside:
        folder = Path(aside)
        made = (
            *_cut_images(whole, clip, folder),
            _cut_audio(whole.audio, clip, folder / "audio.wav"),
            _cut_cues(whole.subtitles, clip, folder / "subtitles.vtt"),
        )
        for path in made:
            if path is not None:
                os.replace(path, work / path.name)
    frames, index, audio, subtitles = (None if path is None else work / path.name for path in made)
    return Decoded(frames, index, audio, subtitles, whole.problems, clip.duration, whole.notes)


def _cut_images(whole: Decoded, clip: Clip, folder: Path) -> tuple[Path | None, Path | None]:
    if whole.frames is None or whole.index is None:
        return None, None
    rows = read_index(whole.index)
    begin, end = _span(clip)
    inside = (rows["time_s"] >= begin) & (rows["time_s"] < end)
    rows = rows[inside]
    if rows.empty:
        return None, None
    sampled = rows[rows["sampled"]]
    first = int(sampled["offset"].iloc[0]) if len(sampled) else 0
    frames, index = folder / "frames.mjpeg", folder / "frames_index.parquet"
    with whole.frames.open("rb") as source, frames.open("wb") as target:
        source.seek(first)
        _copy(source, target, int(sampled["size"].sum()))
    _write_index(index, rows, begin, first, read_scale(whole.index))
    return frames, index


def _write_index(index: Path, rows: pd.DataFrame, start: float, first: int, scale: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sampled = rows["sampled"].to_numpy(bool)
    table = pa.table({
        "frame": np.arange(len(rows), dtype=np.int32),
        "time_s": rows["time_s"].to_numpy(np.float64) - start,
        "sampled": sampled,
        "offset": np.where(sampled, rows["offset"].to_numpy(np.int64) - first, -1),
        "size": rows["size"].to_numpy(np.int64),
    }, metadata={"scale": repr(scale), "first_frame": str(int(rows["frame"].iloc[0]))})
    pq.write_table(table, index)


def first_frame(index: Path) -> int:
    """The number in the whole file of a segment's first frame, from the index that `cut` wrote."""
    import pyarrow.parquet as pq

    return int((pq.read_schema(index).metadata or {}).get(b"first_frame", b"0"))


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0 and (piece := source.read(min(PIECE, size))):
        target.write(piece)
        size -= len(piece)


def _cut_audio(audio: Path | None, clip: Clip, target: Path) -> Path | None:
    if audio is None:
        return None
    import soundfile

    first, samples = round(_span(clip)[0] * AUDIO_RATE), round(clip.duration * AUDIO_RATE)
    with soundfile.SoundFile(audio) as source, SoundWriter(target) as sink:
        source.seek(min(first, source.frames))
        while sink.written < samples:
            block = source.read(min(AUDIO_RATE, samples - sink.written), dtype="int16")
            if not len(block):  # the sound ends before the picture: silence, so that times hold
                sink.fill(samples - sink.written)
            sink.write(block.astype("<i2").tobytes())
    return target


def _cut_cues(subtitles: Path | None, clip: Clip, target: Path) -> Path | None:
    if subtitles is None:
        return None
    cues = cut_cues(read_transcript(subtitles), clip)
    if cues.empty:
        return None
    target.write_text(to_vtt(cues), encoding="utf-8")
    return target


def cut_rows(table: pd.DataFrame, clip: Clip) -> pd.DataFrame:
    """The rows (start, end in seconds of the file) that fall into a segment, with times of the segment."""
    begin, end = _span(clip)
    kept = table[(table["start"] < end) & (table["end"] > begin)].copy()
    for name in ("start", "end"):
        kept[name] = (kept[name] - begin).clip(0.0, clip.duration)
    return kept.reset_index(drop=True)


def cut_cues(table: pd.DataFrame, clip: Clip) -> pd.DataFrame:
    """What of a transcript (times in seconds of the file) is said in a segment, with times of the segment.

    A cue that goes beyond the segment keeps the words whose middle lies in it: by the times of its words, else by these spread
    evenly over the cue.
    """
    begin, end = _span(clip)
    inside = (table["start"] < end) & (table["end"] > begin)
    rows = [_cut_cue(row, begin, end) for row in table[inside].to_dict("records")]
    kept = pd.DataFrame([row for row in rows if row["text"]], columns=table.columns)
    for name in ("start", "end"):
        kept[name] = (kept[name].astype(float) - begin).clip(0.0, clip.duration)
    return kept.reset_index(drop=True)


def _cut_cue(row: dict[Hashable, Any], begin: float, end: float) -> dict[Hashable, Any]:
    timed: Sequence[TimedWord] = row.get("words") or ()
    words = timed or spread_words(row["text"], row["start"], row["end"])
    said = [word for word in words if begin <= (word["start"] + word["end"]) / 2 < end]
    cut = row["start"] < begin or row["end"] > end
    text = "".join(word["word"] for word in said).strip() if cut else row["text"]
    if "words" not in row:
        return {**row, "text": text}
    moved = [{**word, "start": max(word["start"], begin) - begin, "end": min(word["end"], end) - begin} for word in said]
    return {**row, "text": text, "words": moved if timed else []}


def _span(clip: Clip) -> tuple[float, float]:
    """From when to when a clip goes, seconds in its file."""
    start = clip.start or 0.0
    return start, start + clip.duration


def cut_transcript(transcript: Path, clip: Clip, target: Path, whole: float, own: bool = False) -> Sidecar:
    """Write what of the transcript of a file of `whole` s is said in a segment as WebVTT, and tell how it was read.

    Words without times are spread over the file; where the transcript is the segment's `own` they are those of the segment, and
    copied as they are. Without a path when nothing is said in the segment. `target` gives the name, its suffix is that of the
    form written.
    """
    table = read_transcript(transcript, whole, clip.frame_rate)
    if own and not table.attrs["timed"]:
        kept = target.with_suffix(transcript.suffix.lower())
        with atomic_path(kept) as aside:
            shutil.copyfile(transcript, aside)
        return Sidecar(kept)
    said, kept = cut_cues(table, clip), target.with_suffix(".vtt")
    if not said.empty:
        write_text(kept, to_vtt(said))
    return Sidecar(None if said.empty else kept, table.attrs["notes"], table.attrs["problems"])


def cut_descriptions(descriptions: Path, clip: Clip, target: Path, whole: float) -> tuple[Path | None, tuple[str, ...]]:
    """Write the descriptions of a file of `whole` s (a table with start, end and text) of a segment, with times of the segment.

    Returns `target`, None where nothing is told of the segment, and sentences about how they were read. InputError as
    `read_descriptions`, and when they are counted by window, which means something else in a segment.
    """
    if "window" in read_described_table(descriptions):
        raise InputError(f"{descriptions} counts windows; a segment's descriptions need start and end, the times in the file.")
    table = read_descriptions(descriptions, clip.path.stem, np.array([[0.0, whole]]), clip.frame_rate)
    notes: tuple[str, ...] = table.attrs["notes"]
    told = cut_rows(table, clip)
    with atomic_path(target) as aside:
        told.to_csv(aside, index=False)
    return None if told.empty else target, notes
