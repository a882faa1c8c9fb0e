"""The main flow: one video in, its run folder out. The graph of `flows.clip.stages`, each stage a Prefect task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import Task, allow_failure, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from configs.settings import Settings
from data.errors import DyadError, InputError
from data.manifest.manifest import MEDIA
from data.media.clip import Clip
from data.run_folder import RunFolder
from data.scores import MODALITIES
from flows.clip.graph import NEEDED, NEEDS, in_order, joins
from flows.clip.keys import stage_keys, stages_to_run
from flows.clip.run_stage import lacking, prepare_folder, run_stage
from flows.clip.stages import STAGES, Stage
from flows.job import Brought, Job
from flows.runtime import stop
from flows.runtime.errors import Interrupted, worth_retrying
from flows.runtime.events import Event, tell
from flows.runtime.loaded_models import device_named
from flows.server import prefect_setup
from flows.server.artifacts import publish_artifacts
from flows.server.prefect_setup import outlive_worker

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
    from data.media.probe import probe

    return probe(video)


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


@dataclass(frozen=True)
class Wanted:
    """What is asked of every clip: the folder for the run folders, settings, given evidence, and how to run."""

    output: Path
    settings: Settings
    brought: Brought = Brought()
    strict: bool = False
    fresh: bool = False


def media_files(paths: Sequence[Path]) -> list[Path]:
    """The files to run: those named, and the media files in the folders named (sorted, not below them)."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in MEDIA and file.is_file())
            if not inside:
                raise InputError(f"{path} holds no media files; name a file, or a folder with video or audio in it.")
            found += inside
        else:
            found.append(path)
    return found


def check_brought(files: Sequence[Path], brought: Brought) -> None:
    """InputError when evidence about one clip is given for several."""
    if len(files) > 1 and (brought.transcript or brought.scores):
        raise InputError("--transcript and --scores belong to one clip; name one file, or put transcripts beside the clips.")


def workers_for(settings: Settings, workers: int | None = None) -> int:
    """How many clips are under way at once: as many as asked for; else one on a processor, which one keeps busy, and two
    where networks run on another device: while one is on it the next is decoded. InputError for a device that is not there.
    """
    device = device_named(settings.device)
    return workers or (1 if device == "cpu" else 2)


def run_file(file: Path, wanted: Wanted) -> Path | Exception:
    """The run folder of a clip, or the error that it failed with; Interrupted when somebody asks to stop."""

    try:
        stop.check()
        brought = wanted.brought
        with prefect_setup.without_heartbeats():
            folder: Path = recognise_video(
                file, wanted.settings, wanted.output, brought.transcript, brought.descriptions, dict(brought.scores),
                wanted.strict, wanted.fresh,
            )  # fmt: skip
        return folder
    except Interrupted:
        raise
    except Exception as error:
        return error
