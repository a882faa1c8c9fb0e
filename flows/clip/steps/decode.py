"""Decoding: of a whole file, or of a segment from what was decoded of the whole."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from configs.settings import Settings
from data.media.decode import Decoded, DecodeOptions
from data.media.decode import decode as decode_media
from data.media.limits import Limits
from data.media.segments import cut, first_frame
from data.run_folder import RunFolder
from data.tables import read_table, write_table
from flows.job import Job, language_read
from flows.runtime.events import reach

KINDS = ("frames", "index", "audio", "subtitles")


def decode(job: Job) -> Mapping[str, object]:
    """Take frames, sound and subtitles from the file in one pass."""
    return _note(job, decode_media(job.clip, job.folder.work, _options(job), reach, limits_of(job.settings)))


def decode_whole(job: Job, folder: Path) -> Decoded:
    """Decode a file whose segments are clips, into `folder`."""
    return decode_media(job.clip, folder, _options(job), limits=limits_of(job.settings))


def decode_segment(job: Job, whole: Decoded) -> Mapping[str, object]:
    """Take a segment's frames, sound and subtitles from what was decoded of the whole file."""
    made = cut(whole, job.clip, job.folder.work)
    return {**_note(job, made), "first_frame": first_frame(made.index) if made.index else 0}


def outputs(folder: RunFolder) -> tuple[Path, ...]:
    """What decoding left for this clip: of pictures, sound and subtitles what there was."""
    notes = folder.finished("decode").get("notes", {})
    kinds = (notes.get(kind) for kind in KINDS)
    return (folder.frame_times, *(folder.work / name for name in kinds if name))


def _options(job: Job) -> DecodeOptions:
    asked = job.settings.decode
    return DecodeOptions(asked.frames_per_second, asked.longest_side, language_read(job.settings))


def inputs(job: Job) -> Mapping[str, object]:
    """The language of the subtitles that are read first, where the file has any."""
    return {"language": "" if job.clip.subtitle_stream is None else language_read(job.settings)}


def limits_of(settings: Settings) -> Limits:
    """What is read of a media file at most."""
    return Limits(**settings.limits.model_dump())


def _note(job: Job, decoded: Decoded) -> dict[str, object]:
    columns = ["frame", "time_s", "sampled"]
    times = read_table(decoded.index)[columns] if decoded.index else pd.DataFrame({name: [] for name in columns})
    write_table(job.folder.frame_times, times)
    files: dict[str, Path | None] = {kind: getattr(decoded, kind) for kind in KINDS}
    return {kind: path.name if path else None for kind, path in files.items()} | {
        "problems": list(decoded.problems), "notes": list(decoded.notes)
    }  # fmt: skip
