"""Decoding real media: pictures and their times, sound in its place, words, and what damage leaves."""

import contextlib
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from data.errors import InputError, MediaError
from data.media.decode import Decoded, DecodeOptions, decode
from data.media.frames import Frame, FrameWriter, read_frames, read_index, read_scale
from data.media.probe import probe
from data.media.subtitles import read_transcript
from tests.media_makers import CORNERS, Picture, make_clip, make_sound, tone

USUAL = DecodeOptions(frames_per_second=5.0, longest_side=960)


def decoded(path: Path, options: DecodeOptions = USUAL) -> Decoded:
    """Probe and decode a file into a folder beside it."""
    return decode(probe(path), path.parent / "work", options)


def frames_of(done: Decoded, fps: float | None = None) -> list[Frame]:
    assert done.frames is not None
    assert done.index is not None
    return list(read_frames(done.frames, done.index, fps))


def sound_of(done: Decoded) -> NDArray[np.float64]:
    assert done.audio is not None
    info = soundfile.info(done.audio)
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    samples, _ = soundfile.read(done.audio)
    return samples


def corners(rgb: Picture) -> list[str]:
    """The names of the colours top left, top right, bottom left, bottom right; every channel within 8 of 255."""
    height, width, _ = rgb.shape
    seen = [rgb[y, x] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    names = [[name for name, colour in CORNERS.items() if np.abs(pixel - np.array(colour)).max() <= 8] for pixel in seen]
    assert all(len(found) == 1 for found in names), seen
    return [found[0] for found in names]


UPRIGHT = ["red", "green", "blue", "white"]


def grey(time_s: float) -> Picture:
    """A grey that tells the time: 40 + 50 a second."""
    return np.full((120, 160, 3), round(40 + 50 * time_s), np.uint8)


def noise(time_s: float) -> Picture:
    """Coarse noise, so that packets are large enough to damage."""
    blocks = np.random.default_rng(round(25 * time_s)).integers(0, 255, (15, 20, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((16, 16, 1), np.uint8))


def test_frames_are_sampled_at_ticks_and_all_are_timed(tmp_path: Path) -> None:
    done = decoded(make_clip(tmp_path / "grey.mp4", seconds=2, size=(160, 120), picture=grey))
    assert done.index is not None
    index = read_index(done.index)
    np.testing.assert_array_equal(index["frame"], np.arange(50))
    np.testing.assert_allclose(index["time_s"], np.arange(50) / 25, atol=1e-4)
    np.testing.assert_array_equal(index["frame"][index["sampled"]], np.arange(0, 50, 5))
    assert done.problems == ()
    assert done.duration == pytest.approx(2.0, abs=0.03)
    for frame in frames_of(done):
        assert frame.rgb.mean() == pytest.approx(40 + 50 * frame.time_s, abs=2)
        assert frame.rgb.dtype == np.uint8
        assert frame.time_s == pytest.approx(frame.frame / 25, abs=1e-4)


def test_variable_frame_rates_are_sampled_by_time(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.52, 0.7, 1.3, 1.9]
    done = decoded(make_clip(tmp_path / "variable.mp4", times=times, size=(160, 120), picture=grey, sound=None))
    assert done.index is not None
    np.testing.assert_allclose(read_index(done.index)["time_s"], times, atol=1e-3)
    assert [frame.time_s for frame in frames_of(done)] == pytest.approx([0.0, 0.5, 0.7, 1.3, 1.9], abs=1e-3)
    assert [frame.rgb.mean() for frame in frames_of(done)] == pytest.approx([40, 65, 75, 105, 135], abs=2)


def test_frames_can_be_thinned_out_while_reading(tmp_path: Path) -> None:
    done = decoded(make_clip(tmp_path / "grey.mp4", seconds=2, size=(160, 120), picture=grey))
    assert [frame.time_s for frame in frames_of(done, fps=2)] == pytest.approx([0.0, 0.6, 1.0, 1.6], abs=1e-3)


def test_a_low_frame_rate_keeps_every_frame(tmp_path: Path) -> None:
    done = decoded(make_clip(tmp_path / "slow.mkv", fps=3, seconds=3), USUAL)
    assert len(frames_of(done)) == 9


@pytest.mark.parametrize(
    ("clockwise", "mirrored", "expected"),
    [
        (0, False, UPRIGHT),
        (90, False, ["blue", "red", "white", "green"]),
        (180, False, ["white", "blue", "green", "red"]),
        (270, False, ["green", "white", "red", "blue"]),
        (0, True, ["green", "red", "white", "blue"]),
    ],
)
def test_pictures_are_upright(tmp_path: Path, clockwise: int, mirrored: bool, expected: list[str]) -> None:
    path = make_clip(tmp_path / "turned.mp4", seconds=0.4, clockwise=clockwise, mirrored=mirrored)
    clip, frame = probe(path), frames_of(decoded(path))[0]
    assert corners(frame.rgb) == expected
    assert frame.rgb.shape[:2] == (clip.height, clip.width)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("plain.mp4", "libx264", "yuv420p", (320, 240)),
        ("full.mp4", "libx264", "yuvj420p", (320, 240)),
        ("hd.mp4", "libx264", "yuv420p", (1280, 720)),
        ("ten.mp4", "libx265", "yuv420p10le", (320, 240)),
        ("odd.mkv", "ffv1", "yuv444p", (321, 241)),
        ("old.avi", "mpeg4", "yuv420p", (322, 242)),
        ("web.webm", "libvpx-vp9", "yuv420p", (320, 240)),
        ("rgb.mov", "png", "rgb24", (33, 21)),
    ],
)
def test_colours_are_kept(tmp_path: Path, name: str, codec: str, pixels: str, size: tuple[int, int]) -> None:
    path = make_clip(tmp_path / name, seconds=0.4, codec=codec, pixels=pixels, size=size, sound=None)
    assert corners(frames_of(decoded(path, DecodeOptions(5.0, longest_side=640)))[0].rgb) == UPRIGHT


def test_large_pictures_are_scaled_down_and_small_ones_left(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "tall.mp4", seconds=0.4, size=(320, 240), clockwise=90)
    done = decoded(path, DecodeOptions(5.0, longest_side=160))
    assert done.index is not None
    assert frames_of(done)[0].rgb.shape == (160, 120, 3)
    assert read_scale(done.index) == frames_of(done)[0].scale == 2.0
    assert frames_of(decoded(path))[0].rgb.shape == (320, 240, 3)
    assert frames_of(decoded(path))[0].scale == 1.0


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    done = decoded(make_clip(tmp_path / "wide.mp4", seconds=0.4, pixel_aspect=Fraction(4, 3)))
    assert frames_of(done)[0].rgb.shape == (240, 427, 3)


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.wav", "pcm_s16le", 8_000), ("a.m4a", "aac", 44_100), ("a.mp3", "libmp3lame", 44_100), ("a.flac", "flac", 96_000)],
)
def test_sound_alone(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    done = decoded(make_sound(tmp_path / name, 2.0, codec=codec, rate=rate))
    assert (done.frames, done.index, done.subtitles, done.problems) == (None, None, None, ())
    samples = sound_of(done)
    assert len(samples) == pytest.approx(32_000, abs=800)
    spectrum = np.abs(np.fft.rfft(samples[8_000:24_000]))
    assert spectrum.argmax() == 440
    assert np.abs(samples[8_000:24_000]).max() == pytest.approx(0.5, abs=0.05)


def test_picture_alone(tmp_path: Path) -> None:
    done = decoded(make_clip(tmp_path / "mute.mp4", sound=None))
    assert done.audio is None
    assert len(frames_of(done)) == 10


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_starts_later_lies_later(tmp_path: Path, suffix: str) -> None:
    done = decoded(make_clip(tmp_path / f"late{suffix}", sound=tone(1.0), sound_start=0.8))
    samples = sound_of(done)
    assert np.abs(samples[: int(0.77 * 16_000)]).max() < 0.01
    assert np.flatnonzero(np.abs(samples) > 0.1)[0] / 16_000 == pytest.approx(0.8, abs=0.03)
    assert frames_of(done)[0].time_s == 0.0


def test_pictures_that_start_later_are_timed_later(tmp_path: Path) -> None:
    times = [0.5 + k / 25 for k in range(25)]
    done = decoded(make_clip(tmp_path / "late.mkv", times=times, size=(160, 120), picture=grey, sound=tone(1.5)))
    assert done.index is not None
    assert read_index(done.index)["time_s"].to_list() == pytest.approx(times, abs=0.03)
    assert np.flatnonzero(np.abs(sound_of(done)) > 0.1)[0] / 16_000 == pytest.approx(0.0, abs=0.03)


def test_a_hole_in_the_sound_is_silence(tmp_path: Path) -> None:
    pieces = [(0.0, tone(0.5, 16_000)), (1.5, tone(0.5, 16_000))]
    path = make_clip(tmp_path / "hole.mkv", sound=pieces, sound_codec="pcm_s16le", sound_rate=16_000)
    samples = sound_of(decoded(path))
    loud = np.flatnonzero(np.abs(samples) > 0.1) / 16_000
    assert loud[loud < 1].max() == pytest.approx(0.5, abs=0.01)
    assert loud[loud > 1].min() == pytest.approx(1.5, abs=0.01)
    assert len(samples) == pytest.approx(32_000, abs=200)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_subtitles_become_a_transcript(tmp_path: Path, suffix: str) -> None:
    cues = [(0.2, 0.9, "Hello <i>there</i>"), (1.0, 1.5, "you & me,\nagain")]
    done = decoded(make_clip(tmp_path / f"words{suffix}", cues=cues))
    assert done.subtitles is not None
    table = read_transcript(done.subtitles)
    assert table["text"].to_list() == ["Hello there", "you & me, again"]
    assert table["start"].to_list() == pytest.approx([0.2, 1.0])
    assert table["end"].to_list() == pytest.approx([0.9, 1.5])


def test_subtitles_move_to_time_0_with_the_picture(tmp_path: Path) -> None:
    late = make_clip(tmp_path / "late.mkv", times=[3 + k / 25 for k in range(50)], sound=None, cues=[(3.5, 4.25, "Hello")])
    done = decoded(late)
    assert frames_of(done)[0].time_s == 0.0
    assert done.subtitles is not None
    assert read_transcript(done.subtitles)[["start", "end"]].to_numpy().tolist() == [[0.5, 1.25]]


def test_one_frame(tmp_path: Path) -> None:
    done = decoded(make_clip(tmp_path / "one.mp4", times=[0.0], sound=None))
    assert [frame.time_s for frame in frames_of(done)] == [0.0]
    assert done.duration == pytest.approx(0.04, abs=0.01)


@pytest.mark.parametrize(("name", "muxer"), [("cut.mp4", {"movflags": "faststart"}), ("cut.mkv", {}), ("cut.flv", {})])
def test_a_truncated_file_gives_what_is_there_and_says_so(tmp_path: Path, name: str, muxer: dict[str, str]) -> None:
    path = make_clip(tmp_path / name, seconds=4, picture=noise, muxer=muxer)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = decoded(path)
    assert 1.0 < done.duration < 3.0
    assert frames_of(done)[-1].time_s == pytest.approx(done.duration, abs=0.3)
    assert any("of 4.0 s: the file is truncated" in problem for problem in done.problems)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("cut.wav", "pcm_s16le"), ("cut.w64", "pcm_s16le"), ("cut.wv", "wavpack"), ("cut.flac", "flac"), ("cut.aiff", "pcm_s16be"),
     ("cut.caf", "pcm_s16be"), ("cut.au", "pcm_s16be"), ("cut.tta", "tta"), ("cut.mp3", "libmp3lame"), ("cut.ogg", "libopus")],
)  # fmt: skip
def test_a_truncated_recording_says_so(tmp_path: Path, name: str, codec: str) -> None:
    path = make_sound(tmp_path / name, 3.0, codec=codec, rate=48_000)
    assert not decoded(path).problems
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = decoded(path)
    assert done.duration < 2.5
    assert "truncated" in done.problems[-1]


@pytest.mark.parametrize("name", ["dirty.mp4", "dirty.mkv", "dirty.ts"])
def test_damage_in_the_middle_is_stepped_over(tmp_path: Path, name: str) -> None:
    muxer = {"cluster_time_limit": "500"} if name.endswith(".mkv") else {}
    path = make_clip(tmp_path / name, seconds=4, picture=noise, muxer=muxer)
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 9_000] = np.random.default_rng(7).integers(0, 255, 9_000, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    done = decoded(path)
    assert done.duration == pytest.approx(4.0, abs=0.1)
    assert frames_of(done)[-1].time_s > 3.5
    times = [frame.time_s for frame in frames_of(done)]
    assert times == sorted(times)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.flac"])
def test_any_damage_ends_in_a_result_or_a_sentence(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    if name.endswith(".flac"):
        make_sound(whole, 0.6, codec="flac")
    else:
        make_clip(whole, seconds=0.6, size=(64, 48))
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    for seed in range(15):
        chance = np.random.default_rng(seed)
        dirty = content[: chance.integers(len(content) // 2, len(content))].copy()
        places = chance.integers(0, len(dirty) if seed % 2 else 1500, 12)
        dirty[places] = chance.integers(0, 256, len(places))
        path = tmp_path / f"dirty{whole.suffix}"
        path.write_bytes(dirty.tobytes())
        with contextlib.suppress(MediaError):
            assert 0 < decoded(path).duration < 60


def test_stray_time_stamps_are_not_followed(tmp_path: Path) -> None:
    pieces = [(0.0, tone(1.0, 16_000)), (80_000.0, tone(0.5, 16_000))]
    times = [*(k / 25 for k in range(49)), 90_000.0]
    path = make_clip(tmp_path / "stray.mkv", times=times, sound=pieces, sound_codec="pcm_s16le", sound_rate=16_000)
    done = decoded(path)
    assert done.index is not None
    assert read_index(done.index)["time_s"].max() < 3, "what jumps goes on where all else was"
    assert len(sound_of(done)) < 4 * 16_000


def test_a_file_that_loses_its_content_after_probing(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "gone.mp4")
    clip = probe(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MediaError, match=r"gone\.mp4"):
        decode(clip, tmp_path / "work", USUAL)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "big.mp4", seconds=2, picture=noise))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            decode(clip, tmp_path / "work", USUAL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "work").iterdir()) == []


SCRIPT = """
import sys
from pathlib import Path
from benchmarks.common import peak_megabytes
from data.media.decode import DecodeOptions, decode
from data.media.probe import probe
decode(probe(Path(sys.argv[1])), Path(sys.argv[2]), DecodeOptions(5.0, 960))
print(round(peak_megabytes()))
"""


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of 640 x 480 pictures."""
    return make_clip(tmp_path_factory.mktemp("long") / "minute.mp4", seconds=60, fps=10, size=(640, 480))


def test_an_interruption_leaves_nothing_behind(minute: Path, tmp_path: Path) -> None:
    """As Ctrl-C does, in the middle of the clip."""
    there: list[Path] = []

    def press(time_s: float) -> None:
        if time_s > 5:
            there.extend((tmp_path / "work").iterdir())
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        decode(probe(minute), tmp_path / "work", USUAL, on_time=press)
    assert there
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(minute: Path, tmp_path: Path) -> None:
    peaks = []
    for path in (make_clip(tmp_path / "short.mp4", seconds=6, fps=10, size=(640, 480)), minute):
        command = [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "work")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize("wrong", [{"frames_per_second": 0.0}, {"frames_per_second": float("nan")}, {"longest_side": 4}])
def test_options_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        replace(USUAL, **wrong)  # type: ignore[arg-type]


REAL = ["crowd_10s.mp4", "face_then_none.mov", "group_five_frames.mp4", "speech_podium.mp4", "talking_1.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_clips_agree_with_plain_decoding(shared: Path, tmp_path: Path, name: str) -> None:
    path = shared / "datasets" / "media" / name
    done = decode(probe(path), tmp_path, USUAL)
    assert done.problems == ()
    assert done.index is not None
    kept = {frame.frame: frame for frame in frames_of(done)}
    index = read_index(done.index)
    with av.open(str(path)) as container:
        start = min(float(s.start_time * s.time_base) for s in container.streams if s.type in ("video", "audio"))
        for number, picture in enumerate(container.decode(video=0)):
            assert index["time_s"][number] == pytest.approx(picture.time - start, abs=1e-6)
            if number in kept:
                height, width, _ = kept[number].rgb.shape
                plain = picture.to_ndarray(format="rgb24", width=width, height=height).astype(float)
                error = np.mean((plain - kept[number].rgb) ** 2)
                assert 10 * np.log10(255**2 / error) > 33
    assert len(index) == number + 1


def test_real_speech_keeps_its_samples(shared: Path, tmp_path: Path) -> None:
    path = shared / "datasets" / "media" / "two_speakers.wav"
    original, rate = soundfile.read(path)
    assert rate == 16_000
    np.testing.assert_allclose(sound_of(decode(probe(path), tmp_path, USUAL)), original, atol=1e-4)


def test_a_picture_that_cannot_be_written_is_not_passed_over(tmp_path: Path) -> None:
    def full() -> Picture:
        raise OSError(28, "No space left on device")

    with FrameWriter(tmp_path / "last.mjpeg", scale=1.0) as writer:
        writer.add(0.0, full)
        with pytest.raises(OSError, match="No space"):
            writer.write_index(tmp_path / "index.parquet")
    with FrameWriter(tmp_path / "first.mjpeg", scale=1.0) as writer:
        writer.add(0.0, full)
        with pytest.raises(OSError, match="No space"):
            writer.add(0.1, lambda: grey(0.1))
    assert not (tmp_path / "index.parquet").exists()
