"""Speech activity: where in a clip somebody speaks, and how its audio is read."""

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.errors import MediaError, WeightsError
from data.given_files import GivenFile, here
from data.media.channels import Mixable
from data.media.limits import USUAL
from data.media.probe import Streams, check_readable, choose_sound, decoded, open_media, packets, pick_streams
from modalities.loading.side_by_side import one_thread_each

if TYPE_CHECKING:
    import av
    from soundfile import SoundFile

    from modalities.speech.vad_network import SpeechNetwork


SAMPLE_RATE = 16_000
NOBODY_SPEAKS = "Nobody speaks: no speech was found in the sound."
SPEECH_NEEDED = 0.4
"""Seconds of speech below which a window is absent (a tenth of a 4 s window)."""
SPEECH_MARGIN = 0.1
"""Seconds kept before the first and after the last speech of a window."""
SPEECH_STARTS, SPEECH_ENDS = 0.5, 0.35
"""Probabilities at which a segment of speech starts and ends (the detector's own defaults)."""
SHORTEST_SEGMENT, SHORTEST_PAUSE, SEGMENT_PADDING = 0.25, 0.1, 0.03
"""Seconds: shorter segments are dropped, shorter pauses bridged, and each segment is lengthened at both ends."""
CHUNK, CONTEXT = 512, 64
"""Samples that the detector judges at once (32 ms), and those before them that it also reads."""
BLOCK = 512 * CHUNK
"""Samples that are read at once."""
Wave = NDArray[np.float32]
Segments = NDArray[np.float64]


def load_detector() -> "SpeechNetwork":
    """The speech detector with the weights that the package silero-vad brings.

    The package itself is not imported: its import sets the number of threads of the whole process to one.
    """
    import torch

    from modalities.speech.vad_network import SpeechNetwork

    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise WeightsError("The package silero-vad is not installed; run `pip install silero-vad`.")
    detector = SpeechNetwork(CHUNK, CONTEXT)
    packaged = torch.jit.load(Path(package.origin).parent / "data" / "silero_vad.jit")
    detector.take(packaged.state_dict())
    return detector.eval()


def speech_in(audio: Path) -> Segments:
    """Segments of speech [S, 2] (s) in a 16 kHz mono WAV."""
    return find_speech(load_detector(), read_blocks(audio))


def find_speech(detector: "SpeechNetwork", blocks: Iterable[Wave]) -> Segments:
    """Segments of speech [S, 2] (s) in audio at 16 kHz that comes in blocks, each but the last a multiple of 512 samples."""
    import torch

    device = next(detector.parameters()).device
    probabilities: list[Wave] = []
    before, state, length = torch.zeros(CONTEXT, device=device), None, 0
    with torch.inference_mode(), one_thread_each(device.type):
        for block in blocks:
            length += len(block)
            samples = torch.from_numpy(np.pad(block, (0, -len(block) % CHUNK))).to(device)
            found, state = detector(torch.cat([before, samples]), state)
            before = samples[-CONTEXT:]
            probabilities.append(found.cpu().numpy())
    joined = np.concatenate(probabilities) if probabilities else np.zeros(0, np.float32)
    return segments_of(joined, length / SAMPLE_RATE)


def segments_of(probabilities: Wave, duration: float) -> Segments:
    """Segments of speech [S, 2] (s) from the probabilities [C] of chunks.

    Speech starts where the probability reaches 0.5 and ends where it stays below 0.35 for the shortest pause.
    """
    pause = round(SHORTEST_PAUSE * SAMPLE_RATE / CHUNK)
    found: list[list[int]] = []
    for index in np.flatnonzero(probabilities >= SPEECH_ENDS).tolist():
        if found and index - found[-1][1] <= pause:
            found[-1][1] = index + 1
        elif probabilities[index] >= SPEECH_STARTS:
            found.append([index, index + 1])
    seconds = np.array(found, np.float64).reshape(-1, 2) * (CHUNK / SAMPLE_RATE)
    seconds = seconds[seconds[:, 1] - seconds[:, 0] >= SHORTEST_SEGMENT]
    return np.clip(seconds + (-SEGMENT_PADDING, SEGMENT_PADDING), 0.0, duration)


def enough_speech(spoken: Segments) -> bool:
    """Whether segments hold at least `SPEECH_NEEDED` seconds together."""
    return float((spoken[:, 1] - spoken[:, 0]).sum()) >= SPEECH_NEEDED


def within(segments: Segments, start: float, end: float) -> Segments:
    """The parts of `segments` that lie between `start` and `end`."""
    clipped = segments.clip(start, end)
    return clipped[clipped[:, 1] > clipped[:, 0]]


def speech_span(spoken: Segments, start: float, end: float) -> tuple[int, int]:
    """First and last sample of a window's speech with its margin."""
    first, last = max(start, spoken[0, 0] - SPEECH_MARGIN), min(end, spoken[-1, 1] + SPEECH_MARGIN)
    return round(first * SAMPLE_RATE), round(last * SAMPLE_RATE)


def read_blocks(audio: Path, size: int = BLOCK) -> Iterator[Wave]:
    """The sound of a 16 kHz mono WAV, `size` samples at a time; MediaError for another file."""
    with open_audio(audio) as sound:
        yield from sound.blocks(size, dtype="float32")


def seconds_of(audio: Path) -> float:
    """How long a 16 kHz mono WAV lasts (s); MediaError for another file."""
    with open_audio(audio) as sound:
        return len(sound) / SAMPLE_RATE


def open_audio(audio: Path) -> "SoundFile":
    """A 16 kHz mono WAV, open for reading; MediaError when it is not one."""
    import soundfile

    try:
        file = soundfile.SoundFile(audio)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"The sound in {audio} cannot be read ({error}); run the clip again with --fresh.") from error
    if (file.samplerate, file.channels) != (SAMPLE_RATE, 1):
        file.close()
        raise MediaError(f"{audio} is not 16 kHz mono, as the decoder writes it; run the clip again with --fresh.")
    return file


def read_audio(file: Path) -> Wave:
    """The audio of a file as float mono samples at 16 kHz; MediaError when it cannot be read or has none."""
    return np.concatenate(list(_decoded_blocks(file)))


@contextmanager
def as_wav(file: Path | GivenFile) -> Iterator[Path]:
    """The audio of a file, `read_audio`'s samples, as a WAV that the block may read; memory does not grow with its length."""
    import soundfile

    with TemporaryDirectory() as folder:
        audio = Path(folder) / "audio.wav"
        with soundfile.SoundFile(audio, "w", SAMPLE_RATE, 1, "FLOAT") as sound, here(file) as path:
            for block in _decoded_blocks(path):
                sound.write(block)
        yield audio


def _decoded_blocks(file: Path) -> Iterator[Wave]:
    """The sound of a file in one channel at 16 kHz, piece by piece; what is damaged is left out."""
    import av

    check_readable(file)
    empty = True
    try:
        sound = choose_sound(file, 0)
        with open_media(file, USUAL) as container:
            streams = pick_streams(container, sound)
            if streams.audio is None:
                raise MediaError(f"{file} has no sound; give a file with an audio track.")
            USUAL.check_streams(file, None, streams.audio)
            for frame in _mono(container, replace(streams, video=None, subtitles=None)):
                empty = False
                yield frame.to_ndarray()[0].astype(np.float32)
    except av.FFmpegError as error:
        raise MediaError(f"{file} is not a readable audio file ({error.strerror}); convert it to WAV or FLAC.") from error
    if empty:
        raise MediaError(f"{file} is damaged: none of its sound can be decoded; copy or record it again.")


def _mono(container: "av.container.InputContainer", streams: Streams) -> "Iterator[av.AudioFrame]":
    import av

    mixable, form = Mixable(), None
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    for packet in packets(container, streams):
        for whole in decoded(packet) or ():
            frame = mixable(whole)
            if form is not None and form != (frame.format.name, frame.layout.name, frame.sample_rate):
                yield from resampler.resample(None)
                resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            yield from resampler.resample(frame)
    if form:
        yield from resampler.resample(None)
