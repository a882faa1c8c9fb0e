"""Words from speech with openai-whisper, from a checkpoint that is already on the machine.

The sound is read in pieces of at most 30 s that begin and end in silence, so memory does not grow with the clip, and
silence is never shown to the recogniser, which would invent words for it. Decoding is greedy at temperature 0: the same
sound gives the same words.
"""

import pickle
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import MediaError, WeightsError
from data.files import file_digest
from data.scores import Source
from modalities.local_models import is_torchscript

if TYPE_CHECKING:
    from whisper import Whisper

SAMPLE_RATE = 16_000
PIECE = 30.0
"""Seconds that Whisper hears at once."""
GAP = 3.0
"""Silence (s) that does not end a piece: each piece costs Whisper as much as 30 s of sound."""
COLUMNS = {"start": "float64", "end": "float64", "text": "str", "language": "str"}
Interval = tuple[float, float]

ABSENT_REASON = "No transcript was given and no Whisper checkpoint is on this machine."
REMEDY = (
    "Put a .srt, .vtt, .txt or .csv of the same name beside the clip, or give --transcript FILE, or download a Whisper "
    "checkpoint (484 MB) with ./dyad models download whisper; it is used from then on."
)


@dataclass(frozen=True)
class Recogniser:
    """A Whisper network in evaluation mode and where it came from."""

    network: "Whisper"
    source: Source
    device: str


def load(checkpoint: Path, device: str = "cpu") -> Recogniser:
    """Load a checkpoint in openai-whisper's layout (`dims` and `model_state_dict`), as weights only.

    WeightsError when the file is missing, damaged, a TorchScript archive or not such a checkpoint.
    """
    import whisper

    path = checkpoint.resolve()  # a bare name such as "tiny" would mean a download
    if not path.is_file():
        raise WeightsError(f"There is no Whisper checkpoint at {checkpoint}; give the path of an existing .pt file.")
    if is_torchscript(path):
        raise WeightsError(f"{checkpoint} is a TorchScript archive and not a Whisper checkpoint; give another file.")
    try:
        network = whisper.load_model(str(path), device=device)
    except (RuntimeError, pickle.UnpicklingError, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        said = str(error).strip().splitlines()
        raise WeightsError(
            f"{checkpoint} is not a readable Whisper checkpoint ({said[0][:120] if said else type(error).__name__}); "
            "copy or download it again."
        ) from error
    preprocessing = "pieces of at most 30 s cut in silence, greedy, temperature 0"
    source = Source("openai-whisper", checkpoint.stem, file_digest(path)[:12], preprocessing)
    return Recogniser(network.eval().requires_grad_(False), source, device)


def recognise_speech(
    audio: Path,
    checkpoint: Path,
    *,
    language: str | None = None,
    device: str = "cpu",
    speech: Sequence[Interval] | None = None,
) -> pd.DataFrame:
    """Load a checkpoint and transcribe one file with it; see `transcribe`."""
    return transcribe(load(checkpoint, device), audio, language=language, speech=speech)


def transcribe(
    recogniser: Recogniser, audio: Path, *, language: str | None = None, speech: Sequence[Interval] | None = None
) -> pd.DataFrame:
    """Recognise the words of a 16 kHz mono file: a table of `start`, `end` (s), `text`, `language` (code), by time.

    `speech` are the intervals (s) in which somebody speaks, from voice activity detection: only they are heard, and an
    empty sequence gives an empty table. Without it the whole file is heard. Without `language` it is detected on the
    longest piece. MediaError when the file cannot be read or has another rate.
    """
    import soundfile

    try:
        with soundfile.SoundFile(audio) as sound:
            if sound.samplerate != SAMPLE_RATE or sound.channels != 1:
                raise MediaError(f"{audio} is not 16 kHz mono sound; give the audio.wav that decoding the clip makes.")
            heard = [(0.0, len(sound) / SAMPLE_RATE)] if speech is None else speech
            cuts = pieces(heard, _loudness(sound)) if len(heard) else []
            rows = _rows(recogniser, sound, cuts, language) if cuts else []
    except soundfile.SoundFileError as error:
        raise MediaError(f"{audio} cannot be read as sound ({error}); decode the clip again.") from error
    return clean(pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS))


def _read(sound: Any, start: float, end: float) -> NDArray[np.float32]:
    sound.seek(min(round(start * SAMPLE_RATE), len(sound)))
    samples: NDArray[np.float32] = sound.read(max(round((end - start) * SAMPLE_RATE), 0), dtype="float32")
    return samples


def _loudness(sound: Any, step: float = 0.1) -> NDArray[np.float32]:
    """Root mean square of each `step` seconds, read in blocks of 30 s."""
    size = round(step * SAMPLE_RATE)
    sound.seek(0)
    levels = [
        np.sqrt(np.square(block[: len(block) // size * size].reshape(-1, size)).mean(1))
        for block in sound.blocks(size * 300, dtype="float32")
    ]
    return np.concatenate(levels) if levels else np.zeros(0, np.float32)


def pieces(
    speech: Iterable[Interval], loudness: NDArray[np.float32], longest: float = PIECE, step: float = 0.1
) -> list[Interval]:
    """Join intervals of speech into pieces of at most `longest` seconds; a longer interval is cut where it is quietest.

    `loudness` [T] is the level of every `step` seconds; a cut falls into the last third of the longest piece.
    """
    joined: list[Interval] = []
    for start, end in sorted((float(start), float(end)) for start, end in speech):
        while end - start > longest:
            quiet = _quietest(loudness, start + longest * 2 / 3, start + longest, step)
            joined.append((start, quiet))
            start = quiet
        if joined and end - joined[-1][0] <= longest and start - joined[-1][1] < GAP:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined


def _quietest(loudness: NDArray[np.float32], earliest: float, latest: float, step: float) -> float:
    levels = loudness[round(earliest / step) : round(latest / step)]
    return earliest + (int(levels.argmin()) + 0.5) * step if levels.size else latest


def _rows(
    recogniser: Recogniser, sound: Any, cuts: Sequence[Interval], language: str | None
) -> list[tuple[float, float, str, str]]:
    """Transcribe the pieces one by one; times are moved to the clip's and kept inside their piece."""
    language = language or _language(recogniser, _read(sound, *max(cuts, key=lambda cut: cut[1] - cut[0])))
    rows = []
    for start, end in cuts:
        for segment in _segments(recogniser, _read(sound, start, end), language):
            first, last = min(start + segment["start"], end), min(start + segment["end"], end)
            rows.append((first, last, segment["text"], language))
    return rows


def _segments(recogniser: Recogniser, samples: NDArray[np.float32], language: str) -> list[dict[str, Any]]:
    segments: list[dict[str, Any]] = recogniser.network.transcribe(
        samples,
        language=language,
        temperature=0.0,
        condition_on_previous_text=False,  # carried text is what makes Whisper repeat itself
        fp16=recogniser.device != "cpu",
        verbose=None,
    )["segments"]
    return segments


def _language(recogniser: Recogniser, samples: NDArray[np.float32]) -> str:
    """The language with the highest probability on the first 30 s of `samples`; English for an English-only network."""
    import torch
    import whisper

    network = recogniser.network
    if not network.is_multilingual:
        return "en"
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), network.dims.n_mels).to(network.device)
    with torch.inference_mode():
        _, probabilities = network.detect_language(mel)
    return str(max(probabilities, key=probabilities.__getitem__))


def clean(table: pd.DataFrame, keep: int = 2) -> pd.DataFrame:
    """Remove repetitions inside each text, empty texts, and rows that repeat the one before more than `keep` times."""
    table = table.assign(text=table["text"].map(lambda text: without_repetitions(text, keep)).astype("str"))
    table = table[table["text"] != ""]
    same = table["text"].str.casefold()
    position = same.groupby((same != same.shift()).cumsum()).cumcount()
    return table[position < keep].reset_index(drop=True)


def without_repetitions(text: str, keep: int = 2, longest: int = 50) -> str:
    """Text with at most `keep` of whatever a recogniser stuck in a loop repeats.

    First letters and syllables inside words of more than 10 characters ("nooooooooooo"; digits stay), then sequences
    of 1 to `longest` words, compared without case and punctuation.
    """
    repeated = re.compile(rf"([^\s\d]{{1,25}}?)\1{{{keep},}}")
    words = [repeated.sub(lambda hit: hit[1] * keep, word) if len(word) > 10 else word for word in text.split()]
    for length in range(1, min(longest, len(words) // 2) + 1):
        words = _without_loops(words, length, keep)
    return " ".join(words)


def _without_loops(words: list[str], length: int, keep: int) -> list[str]:
    """Drop each run of `length` words that says for the (keep + 1)-th time in a row what the run before it says."""
    kept: list[str] = []
    bare: list[str] = []
    for word in words:
        kept.append(word)
        bare.append(re.sub(r"\W", "", word).casefold() or word)
        run = bare[-length:]
        if len(bare) >= length * (keep + 1) and bare[-length * (keep + 1) :] == run * (keep + 1):
            del kept[-length:], bare[-length:]
    return kept
