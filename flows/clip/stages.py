"""The stages of a clip as a table: what each runs and leaves, and what its outcome depends on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data.added_modalities import added_modalities
from data.run_folder import RunFolder
from data.scores import OF_THE_SCENE
from flows.clip.steps import compose, decode, faces, fuse, modality, people, publish, speech, transcript
from flows.job import Job
from flows.runtime.code_digest import CodeEntry


@dataclass(frozen=True)
class Stage:
    """One box of the graph.

    run: what it does, with notes for later stages; outputs: the files it leaves; settings: sections of the settings that change
    its outcome; inputs: what else does (weights, files that the user brings); chosen: modules that `run`'s own module does not
    import but chooses by name.
    """

    name: str
    run: Callable[[Job], Mapping[str, object] | None]
    outputs: Callable[[RunFolder], tuple[Path, ...]]
    settings: tuple[str, ...] = ()
    inputs: Callable[[Job], Mapping[str, object]] = lambda job: {}
    chosen: Callable[[Job], tuple[CodeEntry, ...]] = lambda job: ()
    about: str = ""

    @property
    def description(self) -> str:
        """What it does, in a sentence."""
        return self.about or (self.run.__doc__ or "").strip()

    @property
    def title(self) -> str:
        """The name as the Prefect UI shows it: 'static-face'."""
        return self.name.replace("_", "-")

    def code(self, job: Job) -> tuple[CodeEntry, ...]:
        """The modules whose code, with all that they import, its outcome depends on."""
        function = self.run.func if isinstance(self.run, partial) else self.run
        return (function.__module__, *self.chosen(job))


def _everyone(folder: RunFolder) -> tuple[RunFolder, ...]:
    """The folder of whom the clip's answer is about, and those of all others."""
    return (folder, *folder.persons)


def _composed(folder: RunFolder) -> tuple[Path, ...]:
    return (*(one.composed for one in _everyone(folder)), folder.windows)


def _own_speech(folder: RunFolder) -> tuple[Path, ...]:
    heard = folder.finished("voices").get("notes", {}).get("heard", False)
    return tuple(one.own_speech for one in ((folder,) if heard else ()) + folder.persons)


def _modality(name: str, about: str, *others: str) -> Stage:
    """A modality's stage; `others` are further sections of the settings that change its scores."""
    section = "added" if name in added_modalities() else name
    return Stage(
        name,
        partial(modality.recognise, modality=name),
        lambda folder: tuple(one.scores(name) for one in ((folder,) if name in OF_THE_SCENE else _everyone(folder))),
        (section, "windows", "precision", *others),
        partial(modality.inputs, modality=name),
        partial(modality.code, modality=name),
        about,
    )


_STAGES = (
    Stage("decode", decode.decode, decode.outputs, ("decode",), decode.inputs),
    Stage("faces", faces.find_faces, lambda f: (f.crops, f.faces), ("faces",)),
    Stage("people", people.find_people, lambda f: (f.people, f.turns), ("people", "faces"), people.inputs),
    _modality("static_face", "Score each face by itself.", "faces"),
    _modality("dynamic_face", "Score each window's faces as a sequence.", "static_face", "faces"),
    _modality("scene_labels", "Match the images with CLIP's prompts."),
    _modality("scene_context", "Read the emotion of scene descriptions: given ones, else a vision-language model's."),
    Stage("speech", speech.hear, lambda f: (f.speech,), ("windows", "precision"), speech.inputs, speech.code),
    Stage("voices", speech.hear_apart, _own_speech, ("windows", "precision"), speech.inputs, speech.code),
    _modality("voice", "Score the sound of the voice."),
    Stage("transcript", transcript.find_words, lambda f: (f.cues,), ("transcript", "precision"), transcript.inputs),
    _modality("text", "Score the words."),
    *(_modality(name, f"Score what {path.name} looks at.") for name, path in added_modalities().items()),
    Stage("fuse", fuse.fuse, lambda f: tuple(one.fused for one in _everyone(f)), ("windows",), fuse.inputs),
    Stage("compose", compose.compose, _composed, ("fusion", "compounds"), compose.inputs, compose.code),
    Stage("publish", publish.publish, lambda f: (f.result, f.report, f.frames, f.settings), ("profile",), publish.inputs),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
"""In an order in which every stage comes after those it depends on."""
