"""The clips of one file of a manifest: what tells whether they must run, and how they run."""

import contextlib
import functools
import hashlib
import json
import logging
import os
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from configs.settings import Settings
from data.files import clear_aside, write_text
from data.given_files import fetch, fetched
from data.location import Location, StorageError, is_address
from data.manifest.labels import read_frame_labels
from data.manifest.manifest import ManifestRow
from data.media.clip import Clip
from data.media.decode import Decoded
from data.media.probe import probe
from data.media.segments import Segment, cut_descriptions, cut_transcript, note_on_end, segment_clip
from data.media.sidecars import Sidecar, find_sidecar
from data.media.subtitles import SUFFIXES
from data.people import rows_of
from data.run_folder import RunFolder
from flows.batch.one_clip import Outcome, Patience, run_clip
from flows.batch.storage import OutputFolder
from flows.clip.keys import stage_keys
from flows.clip.own_folder import SetRow, in_own_folder
from flows.clip.steps.decode import decode_whole, limits_of
from flows.clip.threads import within
from flows.job import Brought, Job, language_read
from flows.runtime import stop
from flows.runtime.errors import Interrupted, sentence
from flows.runtime.processes import where_it_is_waited_for
from flows.server.artifacts import show_clip
from reports.dataset.clip_brief import binned_hits

logger = logging.getLogger(__name__)
GIVEN = "given"
"""How files begin that hold a clip's words and descriptions where the manifest's own cannot be used as they are."""


@dataclass(frozen=True)
class BatchPlan:
    """What is the same for all clips of a run; small, so that it may travel to other processes.

    show: results as artifacts; fresh: what is done already is done again; different: how many different persons are in all
    clips, None where nobody asks.
    """

    output: OutputFolder
    settings: Settings
    strict: bool = False
    patience: Patience = Patience()
    show: bool = False
    fresh: bool = False
    different: int | None = None


def plan_digest(settings: Settings, strict: bool, workload: str) -> str:
    """A digest of what every clip depends on: the keys of all stages for a clip without content, and how it is run."""
    with tempfile.TemporaryDirectory() as empty:
        nothing = Job(Clip(Path(empty) / "clip", "clip", "", 0.0), RunFolder(Path(empty)), settings)
        content = [stage_keys(nothing), strict, workload]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(row: ManifestRow, plan: str) -> str:
    """A digest of what a clip's answer depends on; of files sizes and times only, no media is read. `plan`: `plan_digest`."""
    files = [row.path, row.words_file, row.descriptions, row.frame_labels, *_beside(row.path)]
    versions = [(file, Location.at(file).version()) for file in files if file]
    content = [plan, row.start, row.end, row.language, row.transcript, versions]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def _beside(path: str) -> tuple[str, ...]:
    """Transcripts that lie beside a local file."""
    if is_address(path):
        return ()
    folder, _, name = path.rpartition("/")
    with contextlib.suppress(OSError):
        return _transcripts(folder, os.stat(folder).st_mtime_ns).get(name.rpartition(".")[0].lower(), ())
    return ()


@functools.lru_cache(maxsize=8)
def _transcripts(folder: str, _changed: int) -> dict[str, tuple[str, ...]]:
    """The transcripts in a folder by what their names begin with; listed once, as long as the folder does not change."""
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)):
        stem, ending = os.path.splitext(name.lower())
        if ending in SUFFIXES:
            for begin in {stem, stem.rpartition(".")[0]} - {""}:
                found.setdefault(begin, []).append(f"{folder}/{name}")
    return {begin: tuple(names) for begin, names in found.items()}


def run_file(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Iterator[tuple[str, Outcome]]:
    """Run the clips of one file, one after the other; the file is fetched once and, for segments, decoded once."""
    folder = plan.output.folder
    here = ""
    with contextlib.ExitStack() as stack:
        try:
            file = within(plan.patience.least, lambda: stack.enter_context(fetched(rows[0].path, folder)))
            here = str(file)
            clip = within(plan.patience.least, lambda: probe(file, limits_of(plan.settings), plan.settings.decode.audio_track))
        except Interrupted:
            raise
        except Exception as error:
            yield from ((row.clip_id, _failed(error, row, here)) for row in rows)
            return
        aside = tempfile.TemporaryDirectory(prefix=".decoded-", dir=folder, ignore_cleanup_errors=True)
        decoded = Path(stack.enter_context(aside))
        whole = functools.cache(lambda: decode_whole(Job(clip, RunFolder(decoded), plan.settings), decoded))
        for row in rows:
            stop.check()
            yield row.clip_id, _run_row(plan, row, clip, whole, decoded)


def _failed(error: Exception, row: ManifestRow, here: str = "") -> Outcome:
    """The outcome of a clip that could not even begin, with the file in the sentence and not where it was fetched to (`here`);
    the log has the rest."""
    reason, name = sentence(error), row.path.rpartition("/")[2]
    reason = reason.replace(here, row.path) if here else reason
    logger.error("%s: %s\n%s", row.clip_id, reason, "".join(traceback.format_exception(error)))
    return Outcome("failed", reason if name in reason else f"{row.path}: {reason}")


def _run_row(plan: BatchPlan, row: ManifestRow, file: Clip, whole: Callable[[], Decoded], aside: Path) -> Outcome:
    """Recognise the clip of a row; `aside`: a folder for what is only needed meanwhile."""
    segment = Segment(row.start, row.end)
    try:
        job = _job(plan, row, segment_clip(file, segment), aside / str(row.number), file.duration)
        job.folder.create()
        clear_aside(job.folder.root)
        limit = plan.patience.seconds(file.duration)
        part = None if segment.is_whole else functools.partial(_with_notes, whole, note_on_end(file, segment))
        outcome = run_clip(job, whole=part, limit=limit, strict=plan.strict, fresh=plan.fresh)
        if outcome.state != "failed" and row.frame_labels:
            outcome = replace(outcome, answer={**outcome.answer, **_labelled_frames(row, job)})
        if plan.show and outcome.state != "failed":
            where_it_is_waited_for(show_clip, job.folder)
        plan.output.put(job.clip.clip_id, remove=True)
    except (Interrupted, StorageError):
        raise
    except Exception as error:
        return _failed(error, row, str(file.path))
    reason = outcome.reason.replace(str(file.path), row.path)  # not where an address was fetched to
    return replace(outcome, reason=reason, folder="" if job.clip.clip_id == row.clip_id else job.clip.clip_id)


def _job(plan: BatchPlan, row: ManifestRow, clip: Clip, aside: Path, duration: float) -> Job:
    """The clip in its run folder: that of its row's id, else the one that `dyad run` gives it; what is given lies in `aside`."""
    aside.mkdir(exist_ok=True)
    settings, first = _settings(plan.settings, row), RunFolder(plan.output.folder / clip.clip_id)
    address = row.path if is_address(row.path) else ""
    job = Job(clip, first, settings, _brought(row, clip, aside, settings, duration), address=address)
    for note in (first.asked, first.set_row) if plan.output.address and not row.id_given else ():
        note.parent.mkdir(parents=True, exist_ok=True)
        plan.output.get(f"{clip.clip_id}/{note.parent.name}/{note.name}")
    return in_own_folder(job, row.clip_id if row.id_given else "", row=SetRow(row.clip_id, row.path, row.start, row.speaker))


def _with_notes(whole: Callable[[], Decoded], notes: tuple[str, ...]) -> Decoded:
    return replace(whole(), notes=(*whole().notes, *notes))


def _settings(settings: Settings, row: ManifestRow) -> Settings:
    """The settings, with the language that the manifest names where they name none."""
    if not row.language or settings.transcript.language:
        return settings
    return settings.model_copy(update={"transcript": settings.transcript.model_copy(update={"language": row.language})})


def _brought(row: ManifestRow, clip: Clip, folder: Path, settings: Settings, duration: float) -> Brought:
    """The words and descriptions of a clip as files in `folder` with its own times; `duration`: seconds of its file."""
    target = folder / GIVEN
    words = _words(row, clip, target, settings, duration)
    scenes = _here(row.descriptions, target)
    notes = {"transcript": words.notes}
    if scenes is not None and clip.start is not None:
        cut = target.with_name(f"{GIVEN}_descriptions.csv")
        scenes, notes["descriptions"] = cut_descriptions(scenes, clip, cut, duration)
    return Brought(words.path, scenes, notes=notes, problems=words.problems, words_from=words.origin).check()


def _words(row: ManifestRow, clip: Clip, target: Path, settings: Settings, duration: float) -> Sidecar:
    if row.transcript and not row.words_file:
        write_text(target.with_suffix(".txt"), row.transcript)
        return Sidecar(target.with_suffix(".txt"), origin="the manifest")
    given, origin = _here(row.words_file, target), row.words_file.rpartition("/")[2]
    if clip.start is None:
        return Sidecar(given, origin=origin)
    kept = target.with_name(f"{GIVEN}_words.vtt")
    if given is not None:
        return replace(cut_transcript(given, clip, kept, duration, own=True), origin=origin)
    beside = find_sidecar(clip.path, language_read(settings))
    if beside.path is None:
        return beside
    read = cut_transcript(beside.path, clip, kept, duration)
    return replace(read, notes=(*beside.notes, *read.notes), origin=beside.path.name)


def _here(named: str, target: Path) -> Path | None:
    """A file that the manifest names, fetched when that is an address."""
    if not named:
        return None
    return fetch(named, target.with_name(f"fetched-{named.rpartition('/')[2]}")) if is_address(named) else Path(named)


def _labelled_frames(row: ManifestRow, job: Job) -> dict[str, object]:
    """How often each label of a frame met each answer, `frame_pairs` [label, answer, frames], and how sure the answers were,
    `frame_sure` (see `reports.dataset.clip_brief.binned_hits`); frames without a label are left out."""
    compounds = job.settings.compound_table()
    with fetched(row.frame_labels, job.folder.root) as file:
        labels = read_frame_labels(file, Path(row.path).stem, compounds)
    table = rows_of(pd.read_parquet(job.folder.frames, columns=["person", "frame", "top", "sureness"]))
    table["frame"] += int(job.folder.finished("decode").get("notes", {}).get("first_frame", 0))
    both = table.merge(labels[labels["label"] != ""], on="frame")
    counts = Counter(zip(both["label"].tolist(), both["top"].fillna("").tolist(), strict=True))
    answered = both[both["top"].notna()]
    sure = binned_hits(answered["sureness"], answered["top"] == answered["label"])
    return {"frame_pairs": [[label, answer, count] for (label, answer), count in sorted(counts.items())], "frame_sure": sure}
