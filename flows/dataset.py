"""The flow for a whole data set: a manifest in, a run folder a clip out, a bounded number of clips under way at once."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from prefect import flow
from prefect.context import FlowRunContext

from configs.settings import Settings
from data.dataset_files import JOURNAL
from data.errors import InputError
from data.location import is_address
from data.manifest.manifest import Manifest, manifest_of_folder, read_manifest
from flows.batch.clips import BatchPlan
from flows.batch.crash_notes import UnderWay
from flows.batch.journal import Journal
from flows.batch.lease import alone
from flows.batch.one_clip import Patience
from flows.batch.references import done_clips
from flows.batch.run import RECOGNITION, BatchRun, ClipThreads, finish, relate, work_off
from flows.batch.same_people import link_people
from flows.batch.storage import clear_left_behind, output_at
from flows.runtime import stop
from flows.runtime.loaded_models import device_named
from flows.runtime.model_cache import free_bytes
from flows.runtime.processes import Processes
from flows.server.prefect_setup import outlive_worker
from modalities.loading.batching import give_back_tables

PRELOADED = ("modalities.loading.preloaded", "flows.batch.clips", "flows.clip.stages")
"""What is imported before the processes of clips are forked."""
OF_A_PROCESS = 1.5 * 2**30
"""Bytes that a process takes at most with the small models, Whisper base among them."""


@flow(
    name="recognise-dataset",
    flow_run_name=lambda: _flow_run_name(),
    task_runner=ClipThreads(max_workers=256),  # type: ignore[arg-type]
    persist_result=False,
)
def recognise_dataset(
    manifest: str,
    output: str = "runs",
    settings: Settings | None = None,
    workers: int | None = None,
    retry_failed: bool = False,
    limit: int | None = None,
    strict: bool = False,
    least_seconds: float = 600.0,
    seconds_per_second: float = 120.0,
    root: str | None = None,
    allow_remote: Sequence[str] = (),
    workload: str = RECOGNITION,
    sample: int | None = None,
    fresh: bool = False,
    descriptions: str | None = None,
    same_people: bool = False,
    keep_embeddings: bool = False,
) -> dict[str, int]:
    """Recognise all clips of a data set; gives the counts of summary.json.

    Args:
        manifest: A CSV or parquet file with a column `path`, a folder of media files, or the fsspec address of either.
        output: The folder or address for the run folders, status.csv, dataset.parquet and summary.json.
        settings: How; the embedded profile unless given.
        workers: Clips under way at once, each in a process of its own where small models run on the processor; unless given, a
            quarter of the cores, and half of them (at most 8) with a GPU.
        retry_failed: Run again what failed, and what a modality failed for; otherwise only what is new or has changed.
        limit: Only so many clips, the first ones.
        strict: A clip fails when a modality fails or lacks its model.
        least_seconds: A clip is given up after so many seconds ...
        seconds_per_second: ... and so many more for each second that its file lasts.
        root: The folder that the manifest's paths start from and must not leave; the manifest's own unless given.
        allow_remote: File systems (s3, https) whose addresses the manifest may name; that of its own address it may anyway.
        workload: The function (module:name) that runs the clips of a file; another one only to measure or to test.
        sample: Only so many clips, drawn evenly by label; the same ones each time.
        fresh: Do everything again, also what is already done.
        descriptions: A CSV file with descriptions of the scene, for clips whose row names none.
        same_people: Say which persons of the clips are one, by their faces and voices (same_people.csv).
        keep_embeddings: Keep what faces are recognised by for the next time.
    """
    outlive_worker()
    if keep_embeddings and not same_people:
        raise InputError("Only --same-people compares faces with those of other clips; without it nothing is there to keep.")
    if same_people and is_address(output):
        raise InputError("--same-people needs the run folders on this machine; choose a folder with -o instead of an address.")
    settings = settings or Settings()
    patience = Patience(least_seconds, seconds_per_second)
    plan = BatchPlan(output_at(output), settings, strict, patience, fresh=fresh)
    with alone(plan.output) as lost, _processes(_most(workers, settings)(), settings, workload) as processes:
        clear_left_behind(plan.output.folder)
        plan.output.get(JOURNAL)
        clips = read_clips(manifest, limit, settings, root, allow_remote, sample)
        clips = clips.described(os.path.abspath(descriptions)) if descriptions else clips
        give_back_tables()
        with Journal(plan.output.folder / JOURNAL) as journal:
            run = BatchRun(plan, clips, journal, retry_failed, workload, lost, UnderWay(plan.output.folder), processes)
            work_off(run, _most(workers, settings))
            if same_people and not stop.requested.is_set():
                done = done_clips(plan.output.folder, clips, journal)
                linked = link_people(plan.output.folder, done, settings, keep_embeddings)
                run.plan = replace(run.plan, different=linked.different)
                run.clips = replace(run.clips, notes=(*run.clips.notes, *linked.notes))
            relate(run, _most(workers, settings))
            return finish(run)


def _flow_run_name() -> str:
    from prefect.runtime import flow_run

    return str(flow_run.parameters["manifest"]).rstrip("/").rpartition("/")[2]


def read_clips(
    manifest: str, limit: int | None, settings: Settings, root: str | None = None, allow_remote: Sequence[str] = (),
    sample: int | None = None,
) -> Manifest:  # fmt: skip
    """The clips of a manifest or a folder, or the first `limit` of them, or `sample` of those by label."""
    known_tables = (".csv", ".tsv", ".txt", ".parquet", ".pq")
    folder = Path(manifest).is_dir() if not is_address(manifest) else not manifest.lower().endswith(known_tables)
    known = settings.compound_table()
    clips = manifest_of_folder(manifest) if folder else read_manifest(manifest, root, compounds=known, remote=allow_remote)
    clips = clips if limit is None else Manifest(clips.table.head(limit), clips.root, clips.source, clips.notes)
    return clips if sample is None else clips.sample(sample)


def default_workers(settings: Settings) -> int:
    """Clips at once: what decodes them is busy while the networks of others run."""
    cores = os.cpu_count() or 1
    return max(1, cores // 4) if device_named(settings.device) == "cpu" else max(2, min(8, cores // 2))


@contextlib.contextmanager
def _processes(most: int, settings: Settings, workload: str) -> Iterator[Processes | None]:
    """What clips run in: a process each, where several compute on this machine's processor and its memory holds the models of
    all; else None, threads of this process, which share models and batches. A cluster's clips run there in any case."""
    context = FlowRunContext.get()
    elsewhere = context is not None and not isinstance(context.task_runner, ClipThreads)
    small = settings.scene_context.backend == "descriptions" and all(
        section.backend == "embedded" for section in (settings.static_face, settings.dynamic_face, settings.voice, settings.text)
    )
    here = most > 1 and workload == RECOGNITION and small and not elsewhere and device_named(settings.device) == "cpu"
    if not here or free_bytes("cpu") < most * OF_A_PROCESS:
        yield None
        return
    with Processes(PRELOADED) as processes:
        yield processes


def _most(workers: int | None, settings: Settings) -> Callable[[], int]:
    """How many files may be under way at any one time, which a cluster that grows changes."""
    context = FlowRunContext.get()
    room = context.task_runner.room if context is not None else lambda: None  # type: ignore[attr-defined]
    usual = default_workers(settings)

    def most() -> int:
        there = room()  # asked in any case: a cluster that has gone says so
        return workers or there or usual

    return most
