"""What becomes of a clip's stages: which start when, what a failure means, what is tried again, and when it is too long."""

import errno
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from configs.settings import load_settings
from data.errors import DyadError
from data.media.clip import Clip
from data.run_folder import RunFolder
from flows.clip import threads
from flows.clip.graph import before
from flows.clip.keys import stage_keys, stages_to_run
from flows.clip.runner import TooSlow, Turn, WhenEnded, recognise_clip, run_stages
from flows.clip.stages import STAGES, Stage
from flows.clip.threads import in_thread, within
from flows.job import Job
from flows.runtime import stop
from flows.runtime.events import Event, listening

Work = Callable[[Job], Mapping[str, object] | None]
FACES = {"faces", "static_face", "dynamic_face"}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A clip whose run folder is ready."""
    made = Job(Clip(tmp_path / "clip.mp4", "clip", "content", 4.0), RunFolder(tmp_path / "run"), load_settings())
    made.folder.create()
    return made


@pytest.fixture
def told() -> Iterator[list[tuple[str, str]]]:
    """Stages and states in the order in which they were told."""
    events: list[tuple[str, str]] = []

    def note(event: Event) -> None:
        events.append((event.stage, event.state))

    with listening(note):
        yield events


def leave_files(stage: Stage) -> Work:
    def run(job: Job) -> None:
        for path in stage.outputs(job.folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return run


def stages(**works: Work) -> dict[str, Stage]:
    """Clip's stages that do nothing but leave their files; `works` do something else."""
    return {name: replace(stage, run=works.get(name, leave_files(stage))) for name, stage in STAGES.items()}


def fail(error: Exception) -> Work:
    def run(job: Job) -> None:
        raise error

    return run


def test_a_stage_starts_when_all_before_it_have_ended(job: Job, told: list[tuple[str, str]]) -> None:
    assert run_stages(job, in_thread, stages()) == {}
    assert {stage for stage, state in told if state == "done"} == set(STAGES)
    for name in STAGES:
        for earlier in before(name):
            assert told.index((earlier, "done")) < told.index((name, "started"))


def test_stages_that_do_not_need_each_other_run_at_the_same_time(job: Job) -> None:
    met = threading.Barrier(4, timeout=30)
    waits = dict.fromkeys(("faces", "scene_labels", "speech", "transcript"), lambda job: met.wait() and None)
    assert run_stages(job, in_thread, stages(**waits)) == {}


def test_what_needs_a_failed_stage_does_not_run_and_what_joins_it_does(job: Job, told: list[tuple[str, str]]) -> None:
    broken = DyadError("No faces today.")
    assert run_stages(job, in_thread, stages(faces=fail(broken))) == dict.fromkeys(FACES, broken)
    assert ("faces", "failed") in told
    assert {stage for stage, state in told if state == "started"} == set(STAGES) - FACES | {"faces"}
    assert ("publish", "done") in told
    assert job.folder.finished("faces") == {"failed": "No faces today."}
    assert "DyadError: No faces today." in job.folder.log.read_text()


def test_a_clip_does_without_a_modality_but_not_without_decoding(job: Job) -> None:
    recognise_clip(job, in_thread, stages=stages(voice=fail(ValueError("Hoarse."))))
    assert not job.folder.work.exists()
    with pytest.raises(ValueError, match="No film"):
        recognise_clip(job, in_thread, stages=stages(decode=fail(ValueError("No film."))), fresh=True)


def test_what_is_done_is_skipped_and_fresh_does_it_again(job: Job, told: list[tuple[str, str]]) -> None:
    recognise_clip(job, in_thread, stages=stages())
    told.clear()
    recognise_clip(job, in_thread, stages=stages(decode=fail(AssertionError("It is done."))))
    assert sorted(told) == sorted((stage, "skipped") for stage in STAGES)
    told.clear()
    recognise_clip(job, in_thread, stages=stages(), fresh=True)
    assert ("skipped" in dict(told).values(), len(told)) == (False, 2 * len(STAGES))


@pytest.mark.parametrize(
    ("error", "tries"), [(OSError(errno.EIO, "The disk hiccups"), 3), (OSError(errno.ENOENT, "gone"), 1), (ValueError("bad"), 1)]
)
def test_only_errors_that_may_pass_are_tried_again(
    error: Exception, tries: int, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "RETRY_DELAYS", (0.01, 0.01))
    tried: list[int] = []

    def run(job: Job) -> None:
        tried.append(1)
        raise error

    assert run_stages(job, in_thread, stages(voice=run)) == {"voice": error}
    assert len(tried) == tries


def test_what_went_well_the_second_time_went_well(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "RETRY_DELAYS", (0.01, 0.01))
    hiccups = iter([OSError(errno.ESTALE, "Stale handle")])

    def run(job: Job) -> None:
        for error in hiccups:
            raise error

    assert run_stages(job, in_thread, stages(voice=run)) == {}
    assert "failed" not in job.folder.finished("voice")


def test_a_clip_that_takes_too_long_is_given_up_and_its_stages_stop(job: Job) -> None:
    begun, stopped = threading.Semaphore(0), threading.Semaphore(0)

    def run(job: Job) -> None:
        begun.release()
        try:
            while True:
                stop.check()
        finally:
            stopped.release()

    def begin(turn: Turn, ended: WhenEnded) -> None:
        """The two that never end in threads, each begun before the next one; the others here, so that none is late."""
        if turn.stage.name in ("faces", "speech"):
            in_thread(turn, ended)
            assert begun.acquire(timeout=30)
        else:
            turn.run()
            ended(None)

    with pytest.raises(TooSlow, match=r"given up after 0 s, during: faces, speech; see log\.txt"):
        run_stages(job, begin, stages(faces=run, speech=run), seconds=0.01)
    assert stopped.acquire(timeout=30)
    assert stopped.acquire(timeout=30)
    stop.check()  # others go on


def test_no_room_on_the_disk_leaves_no_media_behind(job: Job) -> None:
    (job.folder.work / "frames.mjpeg").touch()
    with pytest.raises(OSError, match="No space"):
        recognise_clip(job, in_thread, stages=stages(compose=fail(OSError(errno.ENOSPC, "No space left"))))
    assert not job.folder.work.exists()


def test_work_within_a_time_limit() -> None:
    assert within(30, lambda: 7) == 7
    with pytest.raises(TimeoutError, match="The server"):
        within(30, lambda: fail(TimeoutError("The server does not answer."))(None))  # type: ignore[arg-type]
    with pytest.raises(TooSlow, match="given up after 0 s"):
        within(0.1, lambda: threading.Event().wait(30))


@pytest.mark.parametrize("unsettled", ["decode", "faces", "voice", "transcript", "fuse"])
def test_nothing_is_settled_whose_earlier_stages_are_not(unsettled: str, job: Job) -> None:
    """A later stage's note may be of an earlier run: what it was made of has failed or is gone."""
    run_stages(job, in_thread, stages())
    keys = stage_keys(job)
    assert stages_to_run(job, keys) == set()
    job.folder.mark_failed(unsettled, "It broke.")
    later = {unsettled}
    for name in STAGES:
        later |= {name} if later & set(before(name)) else set()
    wanted = stages_to_run(job, keys)
    assert later <= wanted
    assert not {"scene_labels"} & wanted or unsettled == "decode"


def test_a_stage_whose_output_is_gone_runs_when_something_needs_it(job: Job) -> None:
    run_stages(job, in_thread, stages())
    keys = stage_keys(job)
    job.folder.crops.unlink()
    assert stages_to_run(job, keys) == set(), "nothing reads crops when all is done"
    job.folder.mark_failed("static_face", "It broke.")
    assert {"faces", "static_face", "fuse", "publish"} <= stages_to_run(job, keys)
    assert "voice" not in stages_to_run(job, keys)
