"""The key of a stage, which tells whether it is already done, and which stages must run."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache

from data.errors import DyadError
from flows.backends import MODULES, backend_of
from flows.clip.graph import before, in_order
from flows.clip.stages import STAGES, Stage
from flows.job import Job
from flows.runtime.code_digest import code_digest

SPEED = frozenset({"batch", "concurrency", "timeout", "retries", "backoff", "longest_wait"})
"""Fields of the settings that change no answer."""


def stage_keys(job: Job) -> dict[str, str]:
    """A key for each stage: a digest of the clip's content, the settings, the code, the inputs, and the keys before it."""
    settings = job.settings.model_dump(mode="json")
    keys: dict[str, str] = {}
    for name in in_order(job.captions):
        earlier = [keys[stage] for stage in before(name, job.captions)]
        content = _content(STAGES[name], job, settings) | {"clip": job.clip.content_hash, "before": earlier}
        keys[name] = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:24]
    return keys


def _content(stage: Stage, job: Job, settings: Mapping[str, object]) -> dict[str, object]:
    """What a stage's outcome depends on, besides the clip and the stages before."""
    return {
        "settings": {name: telling(settings[name]) for name in stage.settings},
        "code": _told(lambda: code_digest(stage.code(job))),
        "inputs": _told(lambda: stage.inputs(job)),
    }


def telling(section: object) -> object:
    """A section of the settings without those that change how fast it goes and not what comes out."""
    if not isinstance(section, Mapping):
        return section
    return {name: telling(value) for name, value in section.items() if name not in SPEED}


def _told(ask: Callable[[], object]) -> object:
    """The answer; what is wrong with it, the stage itself will tell, and the others go on."""
    try:
        return ask()
    except (DyadError, OSError) as error:
        return {"error": str(error)}


def stages_to_run(job: Job, keys: Mapping[str, str]) -> set[str]:
    """The stages that are not done for their key, and those before them whose output is needed and gone."""
    wanted: set[str] = set()

    @cache
    def settled(name: str) -> bool:
        return job.folder.is_done(name, keys[name]) and all(settled(earlier) for earlier in before(name, job.captions))

    def want(name: str, media: bool = True) -> None:
        outputs = STAGES[name].outputs(job.folder)
        there = all(path.exists() for path in outputs if media or job.folder.work not in path.parents)
        if name not in wanted and not (settled(name) and there):
            wanted.add(name)
            for earlier in before(name, job.captions):
                want(earlier, _reads_media(job, name))

    want("publish")
    return wanted


def _reads_media(job: Job, stage: str) -> bool:
    """False for stages that come after decoding but read none of its intermediate media, which is removed after a run."""
    return bool(backend_of(job.settings, stage).media(job)) if stage in MODULES else stage != "fuse"
