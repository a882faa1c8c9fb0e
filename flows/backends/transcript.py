"""The words of a clip: given, beside the clip, in the file, or recognised by Whisper."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from configs.settings import Settings
from data.errors import DyadError
from data.files import digest, file_digest
from data.manifest.manifest import MEDIA
from data.media.sidecars import Sidecar, find_sidecar
from data.media.subtitles import read_transcript
from flows.backends.base import NO_SOUND, Backend, Description, Medium, NotHere
from flows.backends.fetched_models import checkpoint_location
from flows.backends.score_inputs import Scored, Transcripts, column_if_any, files_in, tell
from flows.job import Job, language_read, reads_english
from flows.runtime.errors import sentence
from flows.runtime.events import reach
from flows.runtime.loaded_models import device_named, feeding, loaded, placing
from flows.whisper_blocks import WHISPER as VOICE_WHISPER
from flows.whisper_blocks import lower_blocks
from modalities.model_store.local import LocalModel, find_whisper, missing_sentence, row_of
from modalities.speech.singing import can_find_singing
from modalities.text.languages import languages_known

if TYPE_CHECKING:
    from modalities.transcript.decoding import Recogniser
    from modalities.transcript.hear import Rejected


ENGLISH = frozenset({"en"})


class Words(NamedTuple):
    """The words of a clip with their times (`start`, `end` (s), `text`), where they come from, what was heard in vain, sentences
    about how they were read and about what could not be, and why there are none ('' where there are some)."""

    cues: pd.DataFrame
    origin: str
    rejected: "tuple[Rejected, ...]" = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    reason: str = ""


class Whisper(Backend["Recogniser", Words]):
    """The words that are given, else those that Whisper hears."""

    def checkpoint(self, settings: Settings) -> LocalModel:
        """The checkpoint that settings name, or another one here; NotHere when there is none, or none is wanted."""
        from modalities.transcript.whisper import ABSENT_REASON, OFF_REASON, OFF_REMEDY, REMEDY

        asked = settings.transcript
        if asked.words == "off":
            raise NotHere(OFF_REASON, OFF_REMEDY)
        found = find_whisper(asked.checkpoint, asked.model, preferred=asked.words).found
        if found is None:
            raise NotHere(*(missing_sentence(asked.model) if asked.model else (ABSENT_REASON, REMEDY)))
        return found

    def load(self, settings: Settings) -> "Recogniser":
        """Whisper, from memory where it is there already."""
        from modalities.transcript.whisper import load

        path, voice = self.checkpoint(settings).path, find_whisper(name=VOICE_WHISPER).found

        def read() -> "Recogniser":
            lower = lower_blocks(path, settings).encoder if voice is not None and voice.path == path else None
            return load(path, lower=lower, **placing(settings))

        return loaded(settings, ("whisper", path), read, path)

    def recognise(self, job: Job) -> Words:
        """The words of a clip; NotHere when there are none."""
        from modalities.transcript.whisper import GIVE_WORDS

        given, subtitles = given_transcript(job), job.work_file("subtitles")
        if given.path is not None:
            return _read(given.path, given.origin or given.path.name, job, given)
        if subtitles is not None:
            return _read(subtitles, "subtitles in the file", job, given)
        if not job.clip.has_audio:
            raise NotHere(NO_SOUND, GIVE_WORDS)
        self.checkpoint(job.settings)
        return self._heard(job, given)

    def _heard(self, job: Job, given: Sidecar) -> Words:
        from modalities.transcript.hear import hear_words

        audio, asked = job.folder.work / "audio.wav", job.settings.transcript
        heard = hear_words(
            self.load(job.settings), audio, language=asked.language, word_times=asked.word_times,
            read=languages_understood(job.settings), on_time=reach, **feeding(job.settings, asked.batch),
        )  # fmt: skip
        return Words(heard.cues, heard.origin, heard.rejected, given.notes, given.problems, heard.reason)

    def score(self, table: Path, settings: Settings) -> Transcripts:
        """What is heard in each file of a folder or a table, which may know the `language` of each; NotHere without Whisper."""
        from modalities.transcript.hear import hear_file

        files, recogniser, asked = files_in(table, MEDIA), self.load(settings), settings.transcript
        languages = [] if table.is_dir() else column_if_any(table, "language")
        rows, reasons, broken = [], {}, set()
        for place, file in enumerate(files):
            tell(Scored(place, len(files)))
            try:
                language = asked.language or (languages[place] if languages else None) or None
                heard = hear_file(recogniser, file, language=language, **feeding(settings, asked.batch))
            except (DyadError, OSError) as error:
                reasons[str(file)] = sentence(error)
                broken.add(str(file))
                rows.append(("", "", ""))
                continue
            text = " ".join(" ".join(heard.cues["text"]).split())
            rejected = "; ".join(f"{one['text'].strip()} ({one['reason']})".strip() for one in heard.rejected)
            rows.append((text, ", ".join(sorted(set(heard.cues["language"]))), rejected))
            if heard.reason:
                reasons[str(file)] = heard.reason
        tell(Scored(len(files), len(files)))
        heard_in = pd.DataFrame(rows, columns=["text", "language", "rejected"])
        return Transcripts(list(map(str, files)), heard_in, reasons, frozenset(broken))

    def describe(self, settings: Settings) -> Description:
        """The Whisper that is taken where no words are given."""
        wanted, device = settings.transcript.model, device_named(settings.device)
        try:
            found = self.checkpoint(settings)
        except NotHere as missing:
            size = settings.transcript.words
            locations = {"": "off" if size == "off" else checkpoint_location(None, wanted or f"whisper-{size}")}
            return Description(wanted or "Whisper", "", "", device, locations, missing.reason, missing.remedy)
        row = row_of(wanted or found.name)
        return Description(found.name, digest(found.path)[:12], row.licence if row else "", device, {"": str(found.path)})

    def inputs(self, job: Job) -> Mapping[str, object]:
        """The digest of the file that is given or lies beside the clip, or of the Whisper checkpoint."""
        given = given_transcript(job)
        if given.path is not None:
            return {"given": file_digest(given.path), "notes": given.notes}
        asked = job.settings.transcript
        if asked.words == "off":
            return {"whisper": ""}
        found = find_whisper(asked.checkpoint, asked.model, preferred=asked.words).found
        read = languages_understood(job.settings)
        known = {"whisper": digest(found.path) if found else "", "singing": can_find_singing()}
        return {**known, "read": "all" if read is None else sorted(read)}

    def media(self, job: Job) -> Medium:
        """The sound, or the subtitles in the file, unless the words are given."""
        return "any" if given_transcript(job).path is None else ""


def _read(path: Path, origin: str, job: Job, given: Sidecar) -> Words:
    cues = read_transcript(path, job.clip.duration, job.clip.frame_rate)
    return Words(
        cues, origin, notes=(*given.notes, *cues.attrs["notes"]), problems=(*given.problems, *cues.attrs["problems"])
    )


def given_transcript(job: Job) -> Sidecar:
    """The transcript that the user gave or put beside the clip (that beside a file is not a segment's), and notes about it."""
    if job.brought.transcript is not None or job.clip.start is not None:
        brought = job.brought
        return Sidecar(brought.transcript, brought.notes.get("transcript", ()), brought.problems, brought.words_from)
    return find_sidecar(job.clip.path, language_read(job.settings), job.brought.files)


def languages_understood(settings: Settings) -> frozenset[str] | None:
    """The languages (codes) whose words are read as they are said; None: whatever is said."""
    if not reads_english(settings):
        return None
    return ENGLISH | languages_known() if settings.text.backend == "embedded" else ENGLISH


WHISPER = Whisper()
BACKENDS: Mapping[str, Backend[object, Words]] = {"transcript": WHISPER}
