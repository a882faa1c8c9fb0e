"""Sound of files in any form, read piece by piece."""

import tracemalloc
from pathlib import Path

import numpy as np

from modalities.speech.detect import SAMPLE_RATE, as_wav, read_audio, read_blocks, seconds_of
from tests.faults import bombs
from tests.media_makers import make_sound


def test_a_wav_of_a_file_is_its_sound(tmp_path: Path) -> None:
    file = make_sound(tmp_path / "tone.flac", codec="flac")
    with as_wav(file) as audio:
        assert np.array_equal(np.concatenate(list(read_blocks(audio))), read_audio(file))
    assert not audio.exists()


def test_memory_does_not_grow_with_the_length_of_a_file(tmp_path: Path) -> None:
    most = []
    for seconds in (1, 60):
        file = bombs.wav(tmp_path / "silence.wav", SAMPLE_RATE, 1, 2 * SAMPLE_RATE * seconds)
        tracemalloc.start()
        with as_wav(file) as audio:
            assert seconds_of(audio) == seconds
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[1] - most[0] < 4 * SAMPLE_RATE * 20, "a third of the minute"
