"""The main flow: one video in, its run folder out. The graph of `flows.clip.stages`, each stage a Prefect task."""

import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flows.clip.all_scores import all_scores
from flows.clip.stages import Stage
from flows.clip.steps.modality import NO_PICTURE, NO_SOUND
from flows.job import Job
from flows.runtime import stop
from flows.runtime.errors import check_writable, sentence
from flows.runtime.events import Event, logging_to, start, tell

logger = logging.getLogger(__name__)


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


def lacking(job: Job) -> list[str]:
    """Sentences about the modalities that failed, or that lack a model or what they read (not those the clip itself lacks)."""
    return [
        f"{item.modality.replace('_', ' ')}: {item.reason} {item.remedy}".strip()
        for item in all_scores(job)
        if item.is_absent and item.source is None and item.reason not in (NO_PICTURE, NO_SOUND)
    ]


def prepare_folder(job: Job, fresh: bool) -> None:
    """Make the run folder (OSError when it cannot be written); `fresh` forgets what was done before."""
    check_writable(job.folder.root)
    if fresh:
        job.folder.forget()
        job.folder.clear_work()
    job.folder.create()
