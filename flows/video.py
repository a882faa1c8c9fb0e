"""The main flow: one video in, its run folder out. The graph of `flows.stages`, each stage a Prefect task."""

import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import Task, allow_failure, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from data.clip import Clip
from data.errors import DyadError
from data.run_folder import RunFolder
from data.scores import MODALITIES
from flows import stop
from flows.artifacts import publish_artifacts
from flows.events import Event, logging_to, start, tell
from flows.faults import check_writable, sentence, worth_retrying
from flows.graph import NEEDED, NEEDS, in_order, joins
from flows.jobs import Brought, Job
from flows.prefect_setup import outlive_worker
from flows.settings import Settings
from flows.stages import STAGES, Stage, stage_keys, stages_to_run
from flows.work import lacking

logger = logging.getLogger(__name__)

RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [1, 5],
    "retry_condition_fn": lambda task, run, state: worth_retrying(_error_of(state)),
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


def _error_of(state: State[Any]) -> BaseException:
    error = state.result(raise_on_failure=False)
    return error if isinstance(error, BaseException) else RuntimeError(str(error))


@task(name="probe", task_run_name="probe · {video.name}", **RETRIES)
def probe_video(video: Path) -> Clip:
    """Measure the file and name the clip."""
    from data.media import probe

    return probe(video)


def run_stage(stage: Stage, job: Job, key: str) -> None:
    """Run one stage, tell what happens, and note in the run folder that it is done or why it failed."""
    with logging_to(job.folder.log):
        stop.check()
        started = Event(job.clip.clip_id, job.clip.path.name, stage.name, "started", duration=job.clip.duration)
        start(started)
        began = time.perf_counter()
        try:
            notes: Mapping[str, Any] = stage.run(job) or {}
        except Exception as error:
            job.folder.mark_failed(stage.name, sentence(error))
            tell(replace(started, state="failed", message=sentence(error)))
            logger.error("%s failed: %s\n%s", stage.title, sentence(error), traceback.format_exc())
            raise
        seconds = time.perf_counter() - began
        job.folder.mark_done(stage.name, key, seconds, dict(notes))
        logger.info("%s done in %.2f s", stage.title, seconds)
        absent = str(notes.get("absent", ""))
        tell(replace(started, state="absent" if absent else "done", seconds=seconds, message=absent))


def _outputs(stage: Stage, job: Job) -> list[str]:
    """A task's result: the files it left, never their content."""
    return [str(path) for path in stage.outputs(job.folder)]


def _task_of(stage: Stage) -> Task[..., Any]:
    @task(name=stage.title, task_run_name=f"{stage.title} · {{clip_id}}", description=stage.description, **RETRIES)
    def run(clip_id: str, job: Job, key: str, done: bool) -> Any:
        if done:
            tell(Event(clip_id, job.clip.path.name, stage.name, "skipped", duration=job.clip.duration))
            done_before = "Already done for this content, these settings and this code."
            return Completed(name="Cached", message=done_before, data=_outputs(stage, job))
        run_stage(stage, job, key)
        if stage.name == "publish":
            publish_artifacts(job.folder)
        return _outputs(stage, job)

    return run


TASKS = {name: _task_of(stage) for name, stage in STAGES.items()}


@flow(
    name="recognise-video",
    flow_run_name=lambda: _flow_run_name(),
    task_runner=ThreadPoolTaskRunner(max_workers=8),  # type: ignore[arg-type]
    persist_result=False,
)
def recognise_video(
    video: Path,
    settings: Settings | None = None,
    output: Path = Path("runs"),
    transcript: Path | None = None,
    descriptions: Path | None = None,
    scores: dict[str, Path] | None = None,
    strict: bool = False,
    fresh: bool = False,
) -> Path:
    """Recognise the compound expressions of a video; returns its run folder.

    Args:
        video: A media file; sound alone is enough for voice and text.
        settings: How; the embedded profile unless given.
        output: The folder that holds the run folders.
        transcript: A .srt, .vtt, .txt or .csv file with the words.
        descriptions: A CSV file with descriptions of the scene.
        scores: Ready probabilities by modality: CSV or parquet files.
        strict: Fail when a modality fails or lacks its model.
        fresh: Do everything again.
    """
    outlive_worker()
    brought = Brought(transcript, descriptions, scores or {}).check()
    clip = probe_video(video)
    job = Job(clip, RunFolder(Path(output) / clip.clip_id), settings or Settings(), brought)
    prepare_folder(job, fresh)
    keys = stage_keys(job)
    states = _run_graph(job, keys)
    _raise_failures(job, states, strict)
    job.folder.clear_work()
    return job.folder.root


def _flow_run_name() -> str:
    from prefect.runtime import flow_run

    parameters: dict[str, Any] = flow_run.parameters
    return Path(str(parameters["video"])).name


def prepare_folder(job: Job, fresh: bool) -> None:
    """Make the run folder (OSError when it cannot be written); `fresh` forgets what was done before."""
    check_writable(job.folder.root)
    if fresh:
        job.folder.forget()
        job.folder.clear_work()
    job.folder.create()


def _run_graph(job: Job, keys: Mapping[str, str]) -> dict[str, State[Any]]:
    wanted = stages_to_run(job, keys)
    futures: dict[str, PrefectFuture[Any]] = {}
    for stage in (STAGES[name] for name in in_order(job.captions)):
        before: list[Any] = [futures[name] for name in NEEDS[stage.name]]
        before += [allow_failure(futures[name]) for name in joins(stage.name, job.captions)]
        futures[stage.name] = TASKS[stage.name].submit(
            job.clip.clip_id, quote(job), keys[stage.name], stage.name not in wanted, wait_for=before
        )
    wait(list(futures.values()))
    return {name: future.state for name, future in futures.items()}


def _raise_failures(job: Job, states: Mapping[str, State[Any]], strict: bool) -> None:
    """Raise the error of a stage that the clip cannot do without; with `strict`, of any modality."""
    stop.check()
    for name in NEEDED:
        if states[name].is_failed() or states[name].is_crashed():
            raise _error_of(states[name])
    if strict and (missing := lacking(job)):
        count = f"{len(missing)} of {len(MODALITIES)}"
        raise DyadError(f"{job.clip.path}: --strict wants every modality, and {count} have no answer. " + " ".join(missing))
