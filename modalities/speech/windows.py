"""From answers about utterances to scores of windows and files: what the backends of the voice share."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import MediaError
from data.given_files import GivenFile
from data.scores import Scores, Source
from data.windows import Cut, Windows
from modalities.loading.batching import Batches, in_batches
from modalities.speech.detect import (
    NOBODY_SPEAKS,
    SAMPLE_RATE,
    SPEECH_NEEDED,
    Segments,
    Wave,
    as_wav,
    enough_speech,
    find_speech,
    open_audio,
    read_blocks,
    seconds_of,
    speech_span,
    within,
)

if TYPE_CHECKING:
    from modalities.speech.vad_network import SpeechNetwork

BATCH = 16
"""Utterances that a network hears at once, unless the caller says otherwise."""
Model = TypeVar("Model")


class Heard(NamedTuple):
    """What a network heard in one utterance: probabilities [7] (NaN where it heard none of the seven) and features [D]."""

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]


Work = Callable[[Model, list[Wave]], Sequence[Heard]]
"""Hears a list of utterances (float32, 16 kHz), one answer for each."""


@dataclass(frozen=True)
class Hearing:
    """What was heard: probabilities [B, 7] (NaN where there is none) and embeddings [B, D] of B utterances."""

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]


@dataclass(frozen=True)
class AudioScores:
    """Probabilities [B, 7] of B files in their order; a file without an answer has a NaN row and a sentence in `reasons`.

    `quality` [B] is the share of each file's time that is speech (0..1); NaN where the file cannot be read.
    """

    probabilities: NDArray[np.float32]
    reasons: tuple[str, ...]
    quality: NDArray[np.float32]


def recognise_with(
    detector: "SpeechNetwork", work: Work[Model], model: Model, source: Source, audio: Path | None, windows: Windows, *,
    batches: Batches = in_batches, batch: int = BATCH, whole: bool = False,
) -> Scores:
    """Scores of a clip's windows from its audio: a 16 kHz mono WAV whose time 0 is the clip's, or None when it has none.

    The speech of a window, from its first to its last (with `whole`: all of the window), is heard by `work(model, waves)`.
    `features` [N, D] are the network's embeddings, 0 where absent. `evidence` has a row for each segment of speech in each
    window: `window, speech_seconds` (all speech of that window), `start, end` (s; empty for a window without speech).
    """
    if audio is None or not audio.is_file():
        return Scores.absent("voice", windows, "The clip has no sound track.", "Give a clip with sound.", source)
    segments = find_speech(detector, read_blocks(audio))
    if not len(segments):
        return Scores.absent("voice", windows, NOBODY_SPEAKS, "Give a clip in which somebody speaks.", source)
    spoken = [within(segments, start, end) for start, end in windows]
    seconds = np.array([float((part[:, 1] - part[:, 0]).sum()) for part in spoken])
    present = seconds >= SPEECH_NEEDED
    evidence = _evidence(spoken, seconds)
    if not present.any():
        absent = Scores.absent("voice", windows, f"No window of the clip holds {SPEECH_NEEDED} s of speech.",
                               "Give a clip with more speech.", source)
        return replace(absent, evidence=evidence)
    parts = [windows[index][None] if whole else spoken[index] for index in np.flatnonzero(present)]
    spans = _read_spans(audio, parts, windows[present])
    heard = gathered(batches(work, model, spans, batch))
    probabilities = np.full((len(windows), len(BASIC_EMOTIONS)), np.nan, np.float32)
    features = np.zeros((len(windows), heard.features.shape[1]), np.float32)
    probabilities[present], features[present] = heard.probabilities, heard.features
    present = ~np.isnan(probabilities[:, 0])
    reason = "" if present.any() else "The model hears none of the seven basic emotions in the clip's speech."
    return Scores("voice", windows, probabilities, present, source, reason, features=features, evidence=evidence)


def gathered(heard: Iterable[Heard]) -> Hearing:
    """The answers to one or more utterances as arrays."""
    probabilities, features = zip(*heard, strict=True)
    return Hearing(np.stack(probabilities), np.stack(features))


class HeardFile(NamedTuple):
    """What was heard in a file: its windows with speech (None for none), the seconds of speech in each [W] and in all of it, the
    share of its time that is speech (NaN where it cannot be read), and why nothing was heard."""

    windows: Hearing | None
    seconds: NDArray[np.float64]
    speech: float
    share: float
    reason: str


def hear_file(
    detector: "SpeechNetwork", work: Work[Model], model: Model, file: Path | GivenFile, cut: Cut, *,
    batches: Batches = in_batches, batch: int = BATCH, whole: bool = False,
) -> HeardFile:  # fmt: skip
    """What is heard in an audio (or video) file of any format, rate and length, which `cut` cuts into windows."""
    try:
        with as_wav(file) as audio:
            segments = find_speech(detector, read_blocks(audio))
            speech, length = float((segments[:, 1] - segments[:, 0]).sum()), seconds_of(audio)
            share = min(speech / max(length, 1 / SAMPLE_RATE), 1.0)
            spoken, windows = _spoken(segments, cut(length))
            seconds = np.array([float((part[:, 1] - part[:, 0]).sum()) for part in spoken])
            if not spoken:
                return HeardFile(None, seconds, speech, share, f"{file} holds no window with {SPEECH_NEEDED} s of speech.")
            waves = _read_spans(audio, [window[None] for window in windows] if whole else spoken, windows)
            return HeardFile(gathered(batches(work, model, waves, batch)), seconds, speech, share, "")
    except MediaError as error:
        return HeardFile(None, np.zeros(0), 0.0, np.nan, str(error))


def score_audio_with(
    detector: "SpeechNetwork", work: Work[Model], model: Model, files: Sequence[Path | GivenFile], cut: Cut, *,
    batches: Batches = in_batches, batch: int = BATCH, whole: bool = False,
) -> AudioScores:  # fmt: skip
    """Probabilities of each audio (or video) file; see `hear_file` and `scored`."""
    heard, probabilities = list[HeardFile](), list[NDArray[np.float32] | None]()
    for file in files:
        item = hear_file(detector, work, model, file, cut, batches=batches, batch=batch, whole=whole)
        probabilities.append(item.windows.probabilities if item.windows else None)
        heard.append(item._replace(windows=None))
    return scored(files, heard, probabilities)


def scored(
    files: Sequence[Path | GivenFile], heard: Sequence[HeardFile], probabilities: Sequence[NDArray[np.float32] | None]
) -> AudioScores:
    """The means over each file's windows of their `probabilities` [W, 7], weighted by the seconds of speech in each."""
    rows, reasons = [], []
    for file, item, found in zip(files, heard, probabilities, strict=True):
        nothing = np.full(len(BASIC_EMOTIONS), np.nan, np.float32)
        row = nothing if found is None else _weighted_mean(found, item.seconds)
        rows.append(row)
        silent = np.isnan(row[0]) and not item.reason
        reasons.append(f"The model hears none of the seven basic emotions in {file}." if silent else item.reason)
    table = np.array(rows, np.float32).reshape(len(files), len(BASIC_EMOTIONS))
    return AudioScores(table, tuple(reasons), np.array([item.share for item in heard], np.float32))


def _spoken(segments: Segments, windows: Windows) -> tuple[list[Segments], Windows]:
    """The speech of each window with enough of it, and these windows [W, 2] (s)."""
    parts = [within(segments, start, end) for start, end in windows]
    kept = [number for number, part in enumerate(parts) if part.size and enough_speech(part)]
    return [parts[number] for number in kept], windows[kept]


def _weighted_mean(probabilities: NDArray[np.float32], seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Mean of the windows' probabilities [W, 7] weighted by `seconds` [W]; NaN where no window has an answer."""
    answered = ~np.isnan(probabilities[:, 0])
    if not answered.any():
        return np.full(len(BASIC_EMOTIONS), np.nan, np.float32)
    return np.asarray(np.average(probabilities[answered], axis=0, weights=seconds[answered]), np.float32)


def _evidence(spoken: Sequence[Segments], seconds: NDArray[np.float64]) -> pd.DataFrame:
    """One row a window and segment of speech in it; a window without speech has one without times."""
    silent = np.full((1, 2), np.nan)
    rows = [(window, seconds[window], start, end)
            for window, part in enumerate(spoken) for start, end in (part if len(part) else silent)]
    return pd.DataFrame(rows, columns=["window", "speech_seconds", "start", "end"])


def _read_spans(audio: Path, spoken: Sequence[Segments], windows: Windows) -> Iterator[Wave]:
    """Each window's audio from its first to its last speech; given the window itself as speech, all of it."""
    with open_audio(audio) as file:
        for part, (start, end) in zip(spoken, windows, strict=True):
            first, last = speech_span(part, start, end)
            file.seek(first)
            yield file.read(last - first, dtype="float32")
