"""Files that claim to be huge are refused in a sentence before they take time, memory or disk; odd ones are read."""

import json
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.errors import MediaError
from data.media.decode import DecodeOptions, decode
from data.media.limits import Limits
from data.media.probe import probe
from data.media.sound_file import SoundWriter, header
from tests.conftest import ROOT
from tests.faults import bombs
from tests.media_makers import make_clip

SECONDS, MEGABYTES = 20.0, 300.0
"""What refusing one of them may cost, the imports included."""


def test_files_that_claim_to_be_huge(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.avi", seconds=0.4, codec="mpeg4", sound=None)
    said = {
        bombs.slow_avi(tmp_path / "years.avi", clip): "an image lasts 5.4 years",
        bombs.png(tmp_path / "large.png", 16_000, 16_000): "more than the 64 megapixels",
        bombs.png(tmp_path / "larger.png", 10_000, 10_000): "10000 x 10000 pixels, 100 megapixels, more than the 64",
        bombs.wav(tmp_path / "long.wav", 1000, 1, 2 * 1000 * 46_800): "it lasts 13.0 hours, more than the 12 hours",
        bombs.wav(tmp_path / "channels.wav", 48_000, 200, 48_000): "200 channels, more than the 64",
        bombs.wav(tmp_path / "slow.wav", 1, 1, 96_000): "1 samples a second",
        bombs.wav(tmp_path / "fast.wav", 0x7FFFFFFF, 1, 96_000): "2,147,483,647 samples a second, more than the 768,000",
        bombs.wav(tmp_path / "ten.wav", 48_000, 10, 960_000): "decoded 1.0 s",
    }
    command = [sys.executable, "-m", "tests.faults.bombs", *map(str, said)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["file"] for one in told] == [path.name for path in said]
    for one, expected in zip(told, said.values(), strict=True):
        assert expected in one["said"]
        assert one["seconds"] < SECONDS
        assert one["peak"] < MEGABYTES


@pytest.mark.parametrize(
    ("limits", "named"),
    [(Limits(hours=0.5 / 3600), "limits.hours"), (Limits(frames_per_second=20), "limits.frames_per_second"),
     (Limits(megapixels=0.01), "limits.megapixels"), (Limits(sample_rate=40_000), "limits.sample_rate")],
)  # fmt: skip
def test_limits_are_settings(tmp_path: Path, limits: Limits, named: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=1)
    with pytest.raises(MediaError, match=named):
        probe(clip, limits)


def test_what_decoding_writes_is_limited(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "clip.mp4", seconds=2))
    with pytest.raises(MediaError, match=r"0\.0001 GB when it is decoded.*limits\.gigabytes"):
        decode(clip, tmp_path / "work", DecodeOptions(25.0, 960), limits=Limits(gigabytes=1e-4))
    assert list((tmp_path / "work").iterdir()) == []


def test_sound_for_which_there_is_no_room(tmp_path: Path) -> None:
    clip = replace(probe(make_clip(tmp_path / "clip.mp4", seconds=1)), duration=1e12)
    with pytest.raises(MediaError, match="32000000.0 GB.*-o"):
        decode(clip, tmp_path / "work", DecodeOptions(5.0, 960))


def test_channels_without_names_are_mixed(tmp_path: Path) -> None:
    sound = np.zeros((48_000, 10), np.int16)
    sound[:, 3] = 10_000
    soundfile.write(tmp_path / "ten.wav", sound, 48_000)
    done = decode(probe(tmp_path / "ten.wav"), tmp_path / "work", DecodeOptions(5.0, 960))
    assert done.audio is not None
    samples, _ = soundfile.read(done.audio, dtype="int16")
    assert samples[4000:12_000].mean() == pytest.approx(1000, abs=2)


def test_sound_of_any_length(tmp_path: Path) -> None:
    with SoundWriter(tmp_path / "short.wav") as writer:
        writer.write(b"\1\0" * 100)
        writer.fill(20_000)
    with wave.open(str(tmp_path / "short.wav")) as read:
        assert (read.getnframes(), read.readframes(101)) == (20_100, b"\1\0" * 100 + b"\0\0")
    samples = 3 * 2**30
    long = tmp_path / "long.wav"
    long.write_bytes(header(samples))
    with long.open("r+b") as stream:
        stream.truncate(80 + 2 * samples)  # 6 GB, of which the disk holds nothing
    with soundfile.SoundFile(long) as sound:
        assert (sound.frames, sound.samplerate, sound.channels) == (samples, 16_000, 1)
        sound.seek(samples - 10)
        assert len(sound.read()) == 10


def test_images_that_only_decoding_finds_are_left_out(tmp_path: Path) -> None:
    clip = replace(probe(make_clip(tmp_path / "clip.mp4", seconds=1)), has_video=False, frame_rate=0.0, width=0, height=0)
    done = decode(clip, tmp_path / "work", DecodeOptions(5.0, 960))
    assert (done.frames, done.audio) == (None, tmp_path / "work" / "audio.wav")
