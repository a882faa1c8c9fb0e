"""Voice: where in a clip somebody speaks, and which emotion each window's speech sounds like.

Speech is found first (Silero VAD, its packaged weights); a window with less than `SPEECH_NEEDED` seconds of it is absent.
From each other window the span from its first to its last speech is heard: here, as log-mel spectrum and prosody, by a small
network of ours (`modalities/networks/voice.py`), and by a linear layer over what an encoder of speakers holds of it
(`modalities/networks/speaker.py`); or by a large one (`modalities/audio_classifier.py`,
`modalities/speech_encoder.py`), which share all the rest. Sound is read window by window: memory does not grow with the clip.
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import MediaError, WeightsError
from data.scores import Scores, Source
from data.windows import Windows, make_windows
from modalities.batching import Batches, in_batches
from modalities.checkpoint import WEIGHTS_FOLDER, Checkpoint, load_checkpoint

if TYPE_CHECKING:
    from soundfile import SoundFile
    from torch import nn

    from modalities.networks.speaker import SpeakerStates
    from modalities.networks.voice import SpeechFeatures, SpeechNetwork, VoiceNetwork

SAMPLE_RATE = 16_000
SPEECH_NEEDED = 0.4
"""Seconds of speech below which a window is absent (a tenth of a 4 s window)."""
SPEECH_MARGIN = 0.1
"""Seconds kept before the first and after the last speech of a window."""
SPEECH_STARTS, SPEECH_ENDS = 0.5, 0.35
"""Probabilities at which a segment of speech starts and ends (the detector's own defaults)."""
SHORTEST_SEGMENT, SHORTEST_PAUSE, SEGMENT_PADDING = 0.25, 0.1, 0.03
CHUNK, CONTEXT, BLOCK = 512, 64, 512 * 512
BATCH = 16
"""Utterances that a network hears at once, unless the caller says otherwise."""

Wave = NDArray[np.float32]
Segments = NDArray[np.float64]
Model = TypeVar("Model")


class Heard(NamedTuple):
    """What a network heard in one utterance: probabilities [7] (NaN where it heard none of the seven) and features [D]."""

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]


Work = Callable[[Model, list[Wave]], Sequence[Heard]]
"""Hears a list of utterances (float32, 16 kHz), one answer for each."""


@dataclass(frozen=True)
class Voice:
    """A loaded voice model: speech detector; the network and its features; the encoder of speakers and the layer over its states;
    temperature, centroids [7, D], and what it is."""

    detector: "SpeechNetwork"
    features: "SpeechFeatures"
    network: "VoiceNetwork"
    speaker: "SpeakerStates"
    layer: "nn.Linear"
    temperature: float
    centroids: NDArray[np.float32]
    source: Source
    device: str = "cpu"


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


def load(path: Path | None = None, device: str = "cpu") -> Voice:
    """Load the voice model from `path` (default: the shipped weights); WeightsError when it is unusable."""
    path = path or WEIGHTS_FOLDER / "voice.safetensors"
    checkpoint = load_checkpoint(path)
    try:
        features, network = _own(checkpoint)
        speaker, layer = _encoder(checkpoint)
        temperature, centroids = float(checkpoint.settings["temperature"]), checkpoint.tensors["centroids"].float().numpy()
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} does not hold a voice model of this version; "
                           "restore the shipped file or run `dyad train voice`.") from error
    source = Source("embedded", "network on log-mel and prosody, layer over a speaker encoder", checkpoint.revision,
                    f"Silero VAD, windows with {SPEECH_NEEDED} s of speech or more, 16 kHz mono, normalised per window")
    return Voice(load_detector().to(device), features.eval().to(device), network.eval().to(device), speaker.eval().to(device),
                 layer.eval().to(device), temperature, centroids, source, device)


def _own(checkpoint: Checkpoint) -> tuple["SpeechFeatures", "VoiceNetwork"]:
    from modalities.networks.voice import SpeechFeatures, VoiceNetwork

    features, network = SpeechFeatures(), VoiceNetwork(**checkpoint.settings["network"])
    features.load_state_dict({"mel": checkpoint.tensors["mel"].float()})
    network.load_state_dict({key: value.float() if value.is_floating_point() else value
                             for key, value in checkpoint.network().items()})
    return features, network


def _encoder(checkpoint: Checkpoint) -> tuple["SpeakerStates", "nn.Linear"]:
    from torch import nn

    from modalities.networks.speaker import SpeakerStates, unpacked

    classes, width = checkpoint.tensors["layer.weight"].shape
    speaker, layer = SpeakerStates(), nn.Linear(width, classes)
    named = checkpoint.tensors.items()
    speaker.load_state_dict(unpacked({key[8:]: value for key, value in named if key.startswith("speaker.")}))
    layer.load_state_dict({key[6:]: value for key, value in named if key.startswith("layer.")})
    return speaker, layer


def load_detector() -> "SpeechNetwork":
    """The speech detector with the weights that the package silero-vad brings.

    The package itself is not imported: its import sets the number of threads of the whole process to one.
    """
    import torch

    from modalities.networks.voice import SpeechNetwork

    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise WeightsError("The package silero-vad is not installed; run `pip install silero-vad`.")
    detector = SpeechNetwork()
    packaged = torch.jit.load(Path(package.origin).parent / "data" / "silero_vad.jit")  # type: ignore[no-untyped-call]
    detector.take(packaged.state_dict())
    return detector.eval()


def recognise(
    model: Voice, audio: Path | None, windows: Windows, *, batches: Batches = in_batches, batch: int = BATCH
) -> Scores:
    """Scores of a clip's windows by our own network; see `recognise_with`."""
    return recognise_with(model.detector, hear_batch, model, model.source, audio, windows, batches=batches, batch=batch)


def recognise_with(
    detector: "SpeechNetwork", work: Work[Model], model: Model, source: Source, audio: Path | None, windows: Windows, *,
    batches: Batches = in_batches, batch: int = BATCH, whole: bool = False,
) -> Scores:
    """Scores of a clip's windows from its sound: a 16 kHz mono WAV whose time 0 is the clip's, or None when it has no sound.

    The speech of a window, from its first to its last (with `whole`: all of the window), is heard by `work(model, waves)`.
    `features` [N, D] are the network's embeddings, 0 where absent. `evidence` has a row for each segment of speech in each
    window: `window, speech_seconds` (all speech of that window), `start, end` (s; empty for a window without speech).
    """
    if audio is None or not audio.is_file():
        return Scores.absent("voice", windows, "The clip has no sound track.", "Give a clip with sound.", source)
    segments = find_speech(detector, _blocks(audio))
    if not len(segments):
        return Scores.absent("voice", windows, "Nobody speaks in the clip: no speech was found in its sound.",
                             "Give a clip in which somebody speaks.", source)
    spoken = [_within(segments, start, end) for start, end in windows]
    seconds = np.array([float((part[:, 1] - part[:, 0]).sum()) for part in spoken])
    present = seconds >= SPEECH_NEEDED
    evidence = _evidence(spoken, seconds)
    if not present.any():
        absent = Scores.absent("voice", windows, f"No window of the clip holds {SPEECH_NEEDED} s of speech.",
                               "Give a clip with more speech.", source)
        return replace(absent, evidence=evidence)
    places = np.flatnonzero(present)
    spans = _spans(audio, [windows[place][None] if whole else spoken[place] for place in places], windows[present])
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


def score_audio(
    model: Voice, files: Sequence[Path], *, batches: Batches = in_batches, batch: int = BATCH
) -> AudioScores:
    """Probabilities of audio files by our own network; see `score_audio_with`."""
    return score_audio_with(model.detector, hear_batch, model, files, batches=batches, batch=batch)


def score_audio_with(
    detector: "SpeechNetwork", work: Work[Model], model: Model, files: Sequence[Path], *,
    batches: Batches = in_batches, batch: int = BATCH, whole: bool = False,
) -> AudioScores:
    """Probabilities of each audio (or video) file of any format, rate and length.

    A long file is cut into windows, whose probabilities are averaged, weighted by their seconds of speech.
    """
    rows, reasons, shares = [], [], []
    for file in files:
        row, reason, share = np.full(len(BASIC_EMOTIONS), np.nan, np.float32), "", np.nan
        try:
            wave = read_audio(file)
            segments = find_speech(detector, [wave])
            share = float((segments[:, 1] - segments[:, 0]).sum()) * SAMPLE_RATE / max(len(wave), 1)
            waves, seconds = _spoken_waves(segments, wave, whole)
            heard = gathered(batches(work, model, waves, batch)).probabilities if waves else row[None]
            row, reason = _averaged(heard, seconds), "" if waves else f"{file} holds no window with {SPEECH_NEEDED} s of speech."
        except MediaError as error:
            reason = str(error)
        if np.isnan(row[0]) and not reason:
            reason = f"The model hears none of the seven basic emotions in {file}."
        rows.append(row)
        reasons.append(reason)
        shares.append(min(share, 1.0))
    probabilities = np.array(rows, np.float32).reshape(len(files), len(BASIC_EMOTIONS))
    return AudioScores(probabilities, tuple(reasons), np.array(shares, np.float32))


def _spoken_waves(segments: Segments, wave: Wave, whole: bool) -> tuple[list[Wave], NDArray[np.float64]]:
    """What is to be heard of a file's windows with enough speech, and how many seconds of speech each of them has."""
    spoken = [(part, start, end) for start, end in make_windows(len(wave) / SAMPLE_RATE)
              if (part := _within(segments, start, end)).size and enough_speech(part)]
    spans = [(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)) if whole else speech_span(part, start, end)
             for part, start, end in spoken]
    seconds = np.array([float((part[:, 1] - part[:, 0]).sum()) for part, _, _ in spoken])
    return [wave[slice(*span)] for span in spans], seconds


def _averaged(probabilities: NDArray[np.float32], seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Mean of the windows' probabilities [W, 7] weighted by `seconds` [W]; NaN where no window has an answer."""
    answered = ~np.isnan(probabilities[:, 0])
    if not answered.any():
        return np.full(len(BASIC_EMOTIONS), np.nan, np.float32)
    return np.asarray(np.average(probabilities[answered], axis=0, weights=seconds[answered]), np.float32)


def hear(model: Voice, utterances: Iterable[Wave]) -> Hearing:
    """Probabilities and embeddings of utterances (float, 16 kHz) by our own network."""
    return gathered(hear_batch(model, list(utterances)))


def hear_batch(model: Voice, waves: list[Wave]) -> list[Heard]:
    """Our own network's answers, one utterance after another, since each has its own length."""
    import torch

    from modalities.networks.speaker import both

    answers = []
    with torch.inference_mode():
        for wave in waves:
            samples = torch.from_numpy(wave).to(model.device)
            logits, embedding = model.network(model.features(samples)[None])
            logits = both(logits[0], model.layer(model.speaker(samples))) / model.temperature
            answers.append(Heard(logits.softmax(-1).cpu().numpy(), embedding.cpu().numpy()[0]))
    return answers


def speech_in(audio: Path) -> Segments:
    """Segments of speech [S, 2] (s) in a 16 kHz mono WAV."""
    return find_speech(load_detector(), _blocks(audio))


def find_speech(detector: "SpeechNetwork", blocks: Iterable[Wave]) -> Segments:
    """Segments of speech [S, 2] (s) in a sound at 16 kHz that comes in blocks, each but the last a multiple of 512 samples."""
    import torch

    device = next(detector.parameters()).device
    probabilities: list[Wave] = []
    before, state, length = torch.zeros(CONTEXT, device=device), None, 0
    with torch.inference_mode():
        for block in blocks:
            length += len(block)
            samples = torch.from_numpy(np.pad(block, (0, -len(block) % CHUNK))).to(device)
            found, state = detector(torch.cat([before, samples]), state)
            before = samples[-CONTEXT:]
            probabilities.append(found.cpu().numpy())
    joined = np.concatenate(probabilities) if probabilities else np.zeros(0, np.float32)
    return _segments(joined, length / SAMPLE_RATE)


def _segments(probabilities: Wave, duration: float) -> Segments:
    """Speech starts where the probability reaches 0.5 and ends where it stays below 0.35 for the shortest pause."""
    pause = round(SHORTEST_PAUSE * SAMPLE_RATE / CHUNK)
    found: list[list[int]] = []
    for place in np.flatnonzero(probabilities >= SPEECH_ENDS).tolist():
        if found and place - found[-1][1] <= pause:
            found[-1][1] = place + 1
        elif probabilities[place] >= SPEECH_STARTS:
            found.append([place, place + 1])
    seconds = np.array(found, np.float64).reshape(-1, 2) * (CHUNK / SAMPLE_RATE)
    seconds = seconds[seconds[:, 1] - seconds[:, 0] >= SHORTEST_SEGMENT]
    return np.clip(seconds + (-SEGMENT_PADDING, SEGMENT_PADDING), 0.0, duration)


def enough_speech(spoken: Segments) -> bool:
    """Whether segments hold at least `SPEECH_NEEDED` seconds together."""
    return float((spoken[:, 1] - spoken[:, 0]).sum()) >= SPEECH_NEEDED


def _within(segments: Segments, start: float, end: float) -> Segments:
    """The parts of `segments` that lie between `start` and `end`."""
    clipped = segments.clip(start, end)
    return clipped[clipped[:, 1] > clipped[:, 0]]


def speech_span(spoken: Segments, start: float, end: float) -> tuple[int, int]:
    """First and last sample of a window's speech with its margin."""
    first, last = max(start, spoken[0, 0] - SPEECH_MARGIN), min(end, spoken[-1, 1] + SPEECH_MARGIN)
    return round(first * SAMPLE_RATE), round(last * SAMPLE_RATE)


def _evidence(spoken: Sequence[Segments], seconds: NDArray[np.float64]) -> pd.DataFrame:
    silent = np.full((1, 2), np.nan)
    rows = [(window, seconds[window], start, end)
            for window, part in enumerate(spoken) for start, end in (part if len(part) else silent)]
    return pd.DataFrame(rows, columns=["window", "speech_seconds", "start", "end"])


def _blocks(audio: Path) -> Iterator[Wave]:
    with _open(audio) as sound:
        yield from sound.blocks(BLOCK, dtype="float32")


def _spans(audio: Path, spoken: Sequence[Segments], windows: Windows) -> Iterator[Wave]:
    """Each window's sound from its first to its last speech; given the window itself as speech, all of it."""
    with _open(audio) as sound:
        for part, (start, end) in zip(spoken, windows, strict=True):
            first, last = speech_span(part, start, end)
            sound.seek(first)
            yield sound.read(last - first, dtype="float32")


def _open(audio: Path) -> "SoundFile":
    import soundfile

    try:
        sound = soundfile.SoundFile(audio)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"The sound in {audio} cannot be read ({error}); run the clip again with --fresh.") from error
    if (sound.samplerate, sound.channels) != (SAMPLE_RATE, 1):
        sound.close()
        raise MediaError(f"{audio} is not 16 kHz mono, as the decoder writes it; run the clip again with --fresh.")
    return sound


def read_audio(file: Path) -> Wave:
    """The sound of a file as float mono samples at 16 kHz; MediaError when it cannot be read or has none."""
    import av

    if not file.is_file():
        raise MediaError(f"There is no file {file}; give the path of an audio file.")
    try:
        with av.open(str(file)) as container:
            if not container.streams.audio:
                raise MediaError(f"{file} has no sound; give a file with an audio track.")
            resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
            frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
            frames += resampler.resample(None)
    except av.FFmpegError as error:
        raise MediaError(f"{file} is not a readable audio file ({error.strerror}); convert it to WAV or FLAC.") from error
    pieces = [frame.to_ndarray()[0] for frame in frames]
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)
