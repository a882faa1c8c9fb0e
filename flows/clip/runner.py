"""Running the stages of a clip: which can start, what a failure means, what is tried again, and how long it may take.

What begins a stage is given: threads (`flows.clip.threads`) or tasks of Prefect (`flows.video`).
"""

import errno
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue

from data.errors import DyadError
from data.scores import MODALITIES
from flows.backends.base import NO_PICTURE, NO_SOUND
from flows.clip.all_scores import all_scores
from flows.clip.graph import NEEDED, NEEDS, before, in_order
from flows.clip.keys import stage_keys, stages_to_run
from flows.clip.stages import STAGES, Stage
from flows.evidence import SAYS_NOTHING, SILENT
from flows.job import Job
from flows.runtime import stop
from flows.runtime.errors import check_writable, sentence
from flows.runtime.events import Event, logging_to, start, tell
from flows.runtime.spent import spending
from modalities.loading.batching import spare_memory
from modalities.speech.detect import NOBODY_SPEAKS

RETRY_DELAYS = (1.0, 5.0)
"""Seconds before a stage is tried again after an error of storage that may pass (`flows.runtime.errors.worth_retrying`)."""
OF_THE_CLIP = (NO_PICTURE, NO_SOUND, NOBODY_SPEAKS, SILENT, SAYS_NOTHING)
"""Why a modality is absent where nothing is missing on the machine."""
logger = logging.getLogger(__name__)


class TooSlow(DyadError):
    """A clip took longer than it may."""


@dataclass(frozen=True)
class Turn:
    """A stage whose turn it is, all stages before it having ended.

    done: it is done for this key, which `run` tells; blocked: the error of a stage that it needs, so that it cannot run.
    """

    stage: Stage
    job: Job
    key: str
    done: bool = False
    blocked: BaseException | None = None

    def run(self) -> None:
        """Run the stage, tell what happens, and note in the run folder that it is done or why it failed."""
        clip = self.job.clip
        told = Event(clip.clip_id, clip.path.name, self.stage.name, "skipped", duration=clip.duration)
        if self.done:
            return tell(told)
        with logging_to(self.job.folder.log):
            return self._run(replace(told, state="started"))

    def _run(self, started: Event) -> None:
        stage, folder = self.stage, self.job.folder
        stop.check()
        start(started)
        try:
            with spending() as spent:
                notes = dict(stage.run(self.job) or {})
        except Exception as error:
            folder.mark_failed(stage.name, sentence(error))
            tell(replace(started, state="failed", message=sentence(error)))
            logger.error("%s failed: %s\n%s", stage.title, sentence(error), traceback.format_exc())
            raise
        folder.mark_done(stage.name, self.key, spent.clock, notes, asdict(spent))
        told = f"computing {spent.computing:.2f}, loading {spent.loading:.2f}, waiting {spent.waiting:.2f}"
        logger.info("%s done in %.2f s (%s)", stage.title, spent.clock, told)
        absent = str(notes.get("absent", ""))
        tell(replace(started, state="absent" if absent else "done", seconds=spent.clock, message=absent))


WhenEnded = Callable[[BaseException | None], None]
"""Is told that a stage ended: well, or with which error."""
Begin = Callable[[Turn, WhenEnded], None]
"""Begins a stage if nothing blocks it, tries again where that helps, and calls the second once, from any thread."""


def recognise_clip(
    job: Job, begin: Begin, *, stages: Mapping[str, Stage] = STAGES, seconds: float | None = None, strict: bool = False,
    fresh: bool = False,
) -> None:  # fmt: skip
    """Recognise a clip into its run folder. What is done for this content, these settings and this code is left out.

    `strict`: fail when a modality fails or lacks its model; `fresh`: forget what was done before. Raises the error of a stage
    that a clip cannot do without, TooSlow after `seconds`, Interrupted when the user asks to stop.
    """
    prepare_folder(job, fresh)
    try:
        errors = run_stages(job, begin, stages, seconds)
        stop.check()
        _raise_errors(job, errors, strict)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            job.folder.clear_work()  # or what it made so far would keep other clips from ending too
        raise
    job.folder.clear_work()


def prepare_folder(job: Job, fresh: bool) -> None:
    """Make the run folder (OSError when it cannot be written); `fresh` forgets what was done before."""
    check_writable(job.folder.root)
    if fresh:
        job.folder.forget()
        job.folder.clear_work()
    job.folder.create()


def run_stages(
    job: Job, begin: Begin, stages: Mapping[str, Stage] = STAGES, seconds: float | None = None
) -> dict[str, BaseException]:
    """Begin each stage once those before it have ended; returns when all have, with the errors by stage.

    A stage that needs a failed one does not run and has the error of that; one that only joins it goes on without. TooSlow after
    `seconds`: what runs is then on its own, and ends where it next looks whether somebody still waits.
    """
    spare_memory()
    keys = stage_keys(job)
    wanted = stages_to_run(job, keys)
    waiting, running = list(in_order(job.captions)), set[str]()
    ended: SimpleQueue[tuple[str, BaseException | None]] = SimpleQueue()
    errors: dict[str, BaseException] = {}
    deadline = None if seconds is None else time.monotonic() + seconds

    def note(name: str, error: BaseException | None) -> None:
        ended.put((name, error))

    with stop.until_given_up() as give_up:
        while waiting or running:
            for name in [stage for stage in waiting if running.union(waiting).isdisjoint(before(stage, job.captions))]:
                waiting.remove(name)
                running.add(name)
                blocked = next((errors[needed] for needed in NEEDS[name] if needed in errors), None)
                turn = Turn(stages[name], job, keys[name], name not in wanted, blocked)
                begin(turn, partial(note, name))
            try:
                name, error = ended.get(timeout=None if deadline is None else max(deadline - time.monotonic(), 0.0))
            except Empty:
                give_up.set()
                late = ", ".join(sorted(running)).replace("_", " ")
                raise TooSlow(f"{job.clip.path} was given up after {seconds:.0f} s, during: {late}; see log.txt.") from None
            running.discard(name)
            if error is not None:
                errors[name] = error
    return errors


def _raise_errors(job: Job, errors: Mapping[str, BaseException], strict: bool) -> None:
    for name in NEEDED:
        if name in errors:
            raise errors[name]
    if strict and (missing := lacking(job)):
        count = f"{len(missing)} of {len(MODALITIES)}"
        raise DyadError(f"{job.clip.path}: --strict wants every modality, and {count} have no answer. " + " ".join(missing))


def lacking(job: Job) -> list[str]:
    """Sentences about the modalities that failed, or that lack a model or what they read (not those the clip itself lacks)."""
    return [
        f"{item.modality.replace('_', ' ')}: {item.reason} {item.remedy}".strip()
        for item in all_scores(job)
        if item.is_absent and item.source is None and item.reason not in OF_THE_CLIP
    ]
