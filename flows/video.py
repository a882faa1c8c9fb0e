"""The main flow: one video in, its run folder out. The graph of `flows.clip.stages`, each stage a Prefect task."""

from pathlib import Path
from typing import Any

from prefect import Task, allow_failure, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import quote

from configs.settings import Settings
from data.media.clip import Clip
from data.media.limits import Limits
from data.run_folder import RunFolder
from flows.clip.graph import NEEDS, joins
from flows.clip.own_folder import in_own_folder
from flows.clip.runner import RETRY_DELAYS, Turn, WhenEnded, recognise_clip
from flows.clip.stages import STAGES, Stage
from flows.clip.steps.decode import limits_of
from flows.job import Brought, Job
from flows.runtime.errors import check_writable, worth_retrying
from flows.server.artifacts import server_answers, show_clip
from flows.server.prefect_setup import ask_once, outlive_worker

RETRIES: dict[str, Any] = {
    "retries": len(RETRY_DELAYS),
    "retry_delay_seconds": list(RETRY_DELAYS),
    "retry_condition_fn": lambda task, run, state: worth_retrying(_error_of(state)),
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


def _error_of(state: State[Any]) -> BaseException:
    error = state.result(raise_on_failure=False)
    return error if isinstance(error, BaseException) else RuntimeError(str(error))


@task(name="probe", task_run_name="probe · {video.name}", **RETRIES)
def probe_video(video: Path, limits: Limits, audio_track: int = 0) -> Clip:
    """Measure the file and name the clip."""
    from data.media.probe import probe

    return probe(video, limits, audio_track)


def _outputs(stage: Stage, job: Job) -> list[str]:
    """A task's result: the files it left, never their content."""
    return [str(path) for path in stage.outputs(job.folder)]


def _task_of(stage: Stage) -> Task[..., Any]:
    @task(name=stage.title, task_run_name=f"{stage.title} · {{clip_id}}", description=stage.description, **RETRIES)
    def run(clip_id: str, turn: Turn) -> Any:
        turn.run()
        if turn.done:
            done_before = "Already done for this content, these settings and this code."
            return Completed(name="Cached", message=done_before, data=_outputs(stage, turn.job))
        if stage.name == "publish":
            show_clip(turn.job.folder)
        return _outputs(stage, turn.job)

    return run


TASKS = {name: _task_of(stage) for name, stage in STAGES.items()}


class _Tasks:
    """Begins the stages of a clip as tasks of the flow that runs; Prefect tries them again, and draws what waited for what."""

    def __init__(self) -> None:
        self._futures: dict[str, PrefectFuture[Any]] = {}

    def __call__(self, turn: Turn, ended: WhenEnded) -> None:
        name, job = turn.stage.name, turn.job
        earlier: list[Any] = [self._futures[needed] for needed in NEEDS[name]]
        earlier += [allow_failure(self._futures[joined]) for joined in joins(name, job.captions)]
        future = TASKS[name].submit(job.clip.clip_id, quote(turn), wait_for=earlier)
        self._futures[name] = future
        future.add_done_callback(lambda _: ended(turn.blocked or _error_in(future)))


def _error_in(future: PrefectFuture[Any]) -> BaseException | None:
    """The error that a task's run ended with."""
    try:
        future.wait()  # it has ended: this has the future take over how
        return None if future.state.is_completed() else _error_of(future.state)
    except BaseException as error:
        return error


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
    people: Path | None = None,
    strict: bool = False,
    fresh: bool = False,
    name: str = "",
) -> Path:
    """Recognise the compound expressions of a video; returns its run folder.

    Args:
        video: A media file; sound alone is enough for voice and text.
        settings: How; the embedded profile unless given.
        output: The folder that holds the run folders.
        transcript: A .srt, .vtt, .txt or .csv file with the words.
        descriptions: A CSV file with descriptions of the scene.
        scores: Ready probabilities by modality: CSV or parquet files.
        people: Who is who: a CSV file with person or picture, and name.
        strict: Fail when a modality fails or lacks its model.
        fresh: Do everything again.
        name: The run folder's name; else the clip's, with a digest behind it where that folder answers something else.
    """
    outlive_worker()
    brought = Brought(transcript, descriptions, scores or {}, people).check()
    settings = settings or Settings()
    clip = probe_video(video, limits_of(settings), settings.decode.audio_track)
    check_writable(Path(output))
    job = in_own_folder(Job(clip, RunFolder(Path(output) / clip.clip_id), settings, brought), name, fresh)
    recognise_clip(job, _Tasks(), strict=strict, fresh=fresh)
    if not server_answers():
        ask_once()  # nothing is left to lose: the run folder has the answer
    return job.folder.root


def _flow_run_name() -> str:
    from prefect.runtime import flow_run

    parameters: dict[str, Any] = flow_run.parameters
    return Path(str(parameters["video"])).name
