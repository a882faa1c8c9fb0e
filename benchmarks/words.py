"""CPU seconds of a minute of speech on one thread: its words, beside openai-whisper's of the same file, and its voice.

    ./dyad benchmark words --data ../shared/datasets

The minute is real speech, one clip after the other: a telephone call, a speech, people who talk to a camera. Whisper is the one
that lies on this machine and that the settings would take; openai-whisper transcribes with the same weights in float32, greedy at
temperature 0, with times of words. Each is run once on something short before it counts.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.common import header, make_parser, print_table
from configs.settings import Settings, load_settings
from flows.backends import backend_of
from flows.backends.transcript import WHISPER
from flows.backends.voice import VoiceBackend
from modalities.speech.detect import SAMPLE_RATE, read_audio
from modalities.transcript.hear import hear_words
from modalities.transcript.whisper import read_network
from modalities.transcript.word_errors import plain_words, word_errors

CLIPS = ("two_speakers.wav", "jfk.flac", "talking_1.mp4", "talking_2.mp4", "speech_podium.mp4")


def write_speech(data: Path, folder: Path) -> tuple[Path, Path]:
    """Write two seconds and a minute of real speech as WAV."""
    waves = [read_audio(data / "media" / name) for name in CLIPS]
    short, minute = folder / "short.wav", folder / "minute.wav"
    soundfile.write(short, waves[2][: 2 * SAMPLE_RATE], SAMPLE_RATE)
    soundfile.write(minute, np.concatenate(waves)[: 60 * SAMPLE_RATE], SAMPLE_RATE)
    return short, minute


def timed_on(work: Callable[[Path], str], short: Path, minute: Path) -> tuple[float, list[str]]:
    """CPU seconds of the whole process for the minute, and the words of the answer."""
    work(short)
    began = time.process_time()
    answer = work(minute)
    return time.process_time() - began, plain_words(answer)


def rows(settings: Settings, short: Path, minute: Path) -> Iterator[list[object]]:
    """What is measured, its CPU seconds, how many words were heard, and how many of them openai-whisper hears otherwise."""
    import_module("numba")  # openai-whisper's own way compiles a part with it, which Dyad spares

    path, recogniser, voice = WHISPER.checkpoint(settings).path, WHISPER.load(settings), backend_of(settings, "voice")
    network = read_network(path, path)
    plain, said = timed_on(
        lambda file: str(network.transcribe(
            read_audio(file), temperature=0.0, condition_on_previous_text=False, fp16=False, word_timestamps=True
        )["text"]),
        short, minute,
    )  # fmt: skip
    ours, heard = timed_on(lambda file: " ".join(hear_words(recogniser, file).cues["text"]), short, minute)
    yield [f"openai-whisper {recogniser.source.model}, float32", plain, len(said), 0]
    yield [f"words, {recogniser.source.model}", ours, len(heard), word_errors(said, heard)]
    if isinstance(voice, VoiceBackend):
        yield ["voice", timed_on(lambda file: str(voice.score_files([file], [""], settings).reasons), short, minute)[0], "", ""]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    import torch

    options = make_parser(__doc__, "media/, which holds clips with speech").parse_args(arguments)
    torch.set_num_threads(1)
    print(header(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        short, minute = write_speech(options.data, Path(folder))
        print_table(["", "CPU s", "words", "words that differ"], rows(load_settings(), short, minute))


if __name__ == "__main__":
    main()
