"""A job: one clip, its run folder, the settings, and the evidence that the user brings; what every task gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from configs.settings import Settings
from data.errors import InputError
from data.files import name_problem
from data.media.clip import Clip
from data.media.descriptions import read_described_table
from data.media.subtitles import read_transcript
from data.people import read_known
from data.ready_scores import read_ready_table
from data.run_folder import RunFolder
from data.scores import MODALITIES
from data.windows import Windows


@dataclass(frozen=True)
class Brought:
    """Evidence that replaces a stage: files with a transcript, descriptions of the scene, ready probabilities; and who is who.

    notes: sentences about how transcript and descriptions were read, by these names, and problems: what of the transcript could
    not be, where they were cut from those of a whole file; words_from: what people call the file that the transcript is from.
    """

    transcript: Path | None = None
    descriptions: Path | None = None
    scores: Mapping[str, Path] = field(default_factory=dict)
    people: Path | None = None
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    words_from: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of it."""
        given = (self.transcript, self.descriptions, self.people, *self.scores.values())
        return tuple(path for path in given if path is not None)

    def check(self) -> "Brought":
        """This evidence, every file known to exist; InputError names the one that does not."""
        given = {"--transcript": self.transcript, "--descriptions": self.descriptions, "--people": self.people}
        given |= {f"--scores {modality.replace('_', '-')}": path for modality, path in self.scores.items()}
        for option, path in given.items():
            if path is not None and (problem := name_problem(path)):
                raise InputError(f"{option}: {problem}")
            if path is not None and not path.is_file():
                raise InputError(f"{option}: there is no file {path}.")
        for modality in self.scores:
            if modality not in MODALITIES:
                known = ", ".join(name.replace("_", "-") for name in MODALITIES)
                raise InputError(f"--scores: '{modality.replace('_', '-')}' is not a modality; use one of {known}.")
        return self

    def check_content(self) -> "Brought":
        """This evidence, every file known to be of the right form; InputError with file, line and column where one is not."""
        self.check()
        if self.transcript is not None:
            read_transcript(self.transcript)
        if self.descriptions is not None:
            read_described_table(self.descriptions)
        if self.people is not None:
            read_known(self.people)
        for path in self.scores.values():
            read_ready_table(path)
        return self


@dataclass(frozen=True)
class Job:
    """What a stage needs to know."""

    clip: Clip
    folder: RunFolder
    settings: Settings
    brought: Brought = Brought()
    address: str = ""
    """What the clip's file was fetched from, '' for one of this machine: the file itself is gone when the run has ended."""
    references: Mapping[str, Path] = field(default_factory=dict)
    """Of a data set's clip: files with what is known of its person, by modality (`modalities.reference`)."""
    of_others: Mapping[int, Mapping[str, Path]] = field(default_factory=dict)
    """The same of further persons of the clip."""
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of a data set's clip: the estimated shares of the emotions in the data set, by modality (`modalities.priors`)."""
    person: int | None = None
    """Whom it asks about, a number of people.csv; None: whom the clip's answer is about."""

    @property
    def own(self) -> RunFolder:
        """Where what is answered goes: the run folder, or one in it for a further person."""
        return self.folder if self.person is None else self.folder.of_person(self.person)

    @property
    def about(self) -> int | None:
        """The person whose face, voice and words count; None for everybody's, as where only one person is there."""
        if self.person is not None:
            return self.person
        return self.whose or None if self.folder.persons else None

    @property
    def whose(self) -> int:
        """The person whose answer this is, a number of people.csv; 0 for everybody's, or nobody's."""
        if self.person is not None:
            return self.person
        return int(self.folder.finished("people").get("notes", {}).get("person", 0))

    def everyone(self) -> "list[Job]":
        """This job, and one for each further person who was found in the clip."""
        others = [int(folder.root.name) for folder in self.folder.persons]
        return [self, *(replace(self, person=person, references=self.of_others.get(person, {})) for person in others)]

    @property
    def windows(self) -> Windows:
        """The clip's windows [N, 2], s."""
        return self.settings.windows.cut(self.clip.duration)

    @property
    def captions(self) -> bool:
        """Whether the network for moving faces is told what descriptions of the scene say."""
        return self.settings.dynamic_face.backend == "network" and self.settings.dynamic_face.captions

    @property
    def describes(self) -> bool:
        """Whether a model is to describe the scene: one is set, and the user brings no descriptions."""
        return self.settings.scene_context.backend != "descriptions" and self.brought.descriptions is None

    def work_file(self, kind: str) -> Path | None:
        """What decoding left of this kind (`frames`, `index`, `audio`, `subtitles`); None where the clip has none."""
        name = self.folder.finished("decode").get("notes", {}).get(kind)
        return self.folder.work / name if name else None


def language_read(settings: Settings) -> str:
    """The language that what reads the words knows, a code; '' when it knows all, and nobody says which is spoken."""
    return "en" if reads_english(settings) else (settings.transcript.language or "")


def reads_english(settings: Settings) -> bool:
    """Whether what reads the words knows no other language."""
    return settings.text.backend == "embedded" or settings.text.english_only
