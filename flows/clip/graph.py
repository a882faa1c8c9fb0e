"""The graph of a clip by names alone: which stage reads what, and which may fail without stopping another."""

from data.added_modalities import BUILT_IN, added_modalities
from data.scores import MODALITIES

AFTER = {
    "static_face": ("faces",), "dynamic_face": ("faces",), "voice": ("speech", "voices"), "text": ("transcript",),
}  # fmt: skip
"""Modalities that read the faces, what was heard, or the words; the others read the images."""
NEEDS: dict[str, tuple[str, ...]] = {
    "decode": (),
    "faces": ("decode",),
    "people": ("decode",),
    "speech": ("decode",),
    "voices": ("decode",),
    "transcript": ("decode",),
    **{name: AFTER.get(name, ("decode",)) for name in BUILT_IN},
    **dict.fromkeys(added_modalities(), ("decode",)),
    "fuse": ("decode",),
    "compose": ("fuse",),
    "publish": ("compose",),
}
"""Stages by name, each after those whose output it reads."""

JOINS: dict[str, tuple[str, ...]] = {
    "people": ("faces",),
    "voices": ("people",),
    **dict.fromkeys(AFTER, ("people",)),
    "fuse": MODALITIES,
    "publish": ("people",),
} | dict.fromkeys(added_modalities(), ("faces", "people", "transcript"))
"""Stages that one waits for but does without when they fail: a modality that fails is absent."""
NEEDED = ("decode", "fuse", "compose", "publish")
"""Stages that a clip cannot do without."""
CAPTIONED = "dynamic_face"
"""The stage that, where the settings want captions, waits for the descriptions of the scene."""


def joins(stage: str, captions: bool = False) -> tuple[str, ...]:
    """The stages that `stage` waits for but does without when they fail; `captions`: in a job that wants captions."""
    return JOINS.get(stage, ()) + (("scene_context",) if captions and stage == CAPTIONED else ())


def before(stage: str, captions: bool = False) -> tuple[str, ...]:
    """All stages that `stage` directly depends on; `captions`: in a job that wants captions."""
    return NEEDS[stage] + joins(stage, captions)


def in_order(captions: bool = False) -> tuple[str, ...]:
    """All stages, each after those that it depends on."""
    names = [name for name in NEEDS if not (captions and name == CAPTIONED)]
    if captions:
        names.insert(names.index("scene_context") + 1, CAPTIONED)
    return tuple(names)


def chain(stage: str) -> tuple[str, ...]:
    """A stage and all stages that it needs, near ones first."""
    return (stage, *(name for needed in NEEDS[stage] for name in chain(needed)))
