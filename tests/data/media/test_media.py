"""Probing real media of many kinds, and the sentences for files that are none."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st

from data.errors import MediaError
from data.files import file_digest
from data.media.clip import LONGEST_STEM, clip_id_of
from data.media.probe import probe
from tests.media_makers import colour_card, make_clip, make_sound, tone


def test_a_clip_with_picture_and_sound(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "plain.mp4", seconds=2, fps=25)
    clip = probe(path)
    assert clip.path == path.absolute()
    assert clip.content_hash == file_digest(path)
    assert clip.clip_id == f"plain-{clip.content_hash[:8]}"
    assert (clip.width, clip.height, clip.rotation) == (320, 240, 0)
    assert clip.has_video
    assert clip.has_audio
    assert clip.duration == pytest.approx(2.0, abs=0.03)
    assert clip.frame_rate == pytest.approx(25.0)
    assert clip.subtitle_stream is None


def test_video_only(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "mute.mp4", sound=None))
    assert clip.has_video
    assert not clip.has_audio


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.wav", "pcm_s16le", 8_000), ("a.m4a", "aac", 44_100), ("a.mp3", "libmp3lame", 44_100),
     ("a.flac", "flac", 96_000), ("a.ogg", "libopus", 48_000)],
)  # fmt: skip
def test_sound_only(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    clip = probe(make_sound(tmp_path / name, 1.5, codec=codec, rate=rate))
    assert clip.has_audio
    assert not clip.has_video
    assert (clip.width, clip.height, clip.frame_rate) == (0, 0, 0.0)
    assert clip.duration == pytest.approx(1.5, abs=0.03)


def test_one_frame_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "one.mp4", times=[0.0], sound=None))
    assert clip.duration == pytest.approx(0.04, abs=0.01)
    assert clip.frame_rate == pytest.approx(25.0)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_is_a_clip_of_one_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"still{suffix}"
    assert cv2.imwrite(str(path), colour_card())
    clip = probe(path)
    assert (clip.width, clip.height) == (320, 240)
    assert clip.duration == pytest.approx(0.04)


@pytest.mark.parametrize(("clockwise", "size"), [(0, (320, 240)), (90, (240, 320)), (180, (320, 240)), (270, (240, 320))])
def test_rotation_by_metadata(tmp_path: Path, clockwise: int, size: tuple[int, int]) -> None:
    clip = probe(make_clip(tmp_path / "turned.mp4", seconds=0.4, clockwise=clockwise))
    assert clip.rotation == clockwise
    assert (clip.width, clip.height) == size


def test_square_pixels_are_assumed_for_display(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "anamorphic.mp4", seconds=0.4, pixel_aspect=Fraction(4, 3)))
    assert (clip.width, clip.height) == (427, 240)


def test_variable_frame_rate_is_averaged(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.52, 1.3, 1.9]
    clip = probe(make_clip(tmp_path / "variable.mkv", times=times, sound=None))
    assert clip.frame_rate == pytest.approx(6 / 1.9, rel=0.02)
    assert clip.duration == pytest.approx(1.94, abs=0.05)


def test_odd_sizes(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "odd.mkv", seconds=0.4, size=(321, 241), codec="ffv1", pixels="yuv444p", sound_codec="flac"
    )
    clip = probe(path)
    assert (clip.width, clip.height) == (321, 241)


def test_ten_bit_hevc(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "hdr.mp4", seconds=0.4, codec="libx265", pixels="yuv420p10le"))
    assert (clip.width, clip.height) == (320, 240)
    assert clip.frame_rate == pytest.approx(25.0)


def test_a_container_without_a_duration_is_measured(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "live.mkv", muxer={"live": "1"}))
    assert clip.duration == pytest.approx(2.0, abs=0.05)


def test_a_container_that_promises_too_much_is_measured(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", seconds=4, muxer={"movflags": "faststart"})
    half = tmp_path / "half.mp4"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert 0.5 < probe(half).duration < 3.5


def test_damaged_time_stamps_do_not_stretch_a_clip(tmp_path: Path) -> None:
    times = [*(k / 25 for k in range(49)), 90_000.0]
    clip = probe(make_clip(tmp_path / "stray.mkv", times=times))
    assert clip.duration == pytest.approx(2.0, abs=0.1)
    assert clip.frame_rate == pytest.approx(25, abs=1)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44_100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(colour_card(), format="rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44_100), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44_100
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    clip = probe(path)
    assert not clip.has_video
    assert clip.has_audio
    assert clip.duration == pytest.approx(1.0, abs=0.05)


def test_the_earlier_of_picture_and_sound_is_time_0(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "late.mp4", seconds=1, sound=tone(1.0), sound_start=0.8))
    assert clip.duration == pytest.approx(1.8, abs=0.05)


def test_a_text_subtitle_stream_is_found(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "words.mkv", cues=[(0.2, 0.9, "Hello")]))
    assert clip.subtitle_stream == 2


def test_non_ascii_and_very_long_names(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "plain.mp4", seconds=0.4)
    for name in ("ünïcödé 视频 🎬.mp4", "é" * 123 + ".mp4", "data:x.mp4", "100%d.mp4", "-dash 'quote'.mp4"):
        other = path.rename(tmp_path / name)
        clip = probe(other)
        assert len(clip.clip_id.encode()) <= LONGEST_STEM + 9
        (tmp_path / clip.clip_id).mkdir()
        path = other
    assert clip_id_of("ünïcödé 视频 🎬", "0123456789") == "ünïcödé_视频-01234567"


@pytest.mark.slow
@given(st.text(max_size=300), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_clip_id_is_always_a_safe_name(stem: str, content_hash: str) -> None:
    name = clip_id_of(stem, content_hash)
    assert name.endswith(f"-{content_hash[:8]}")
    assert len(name.encode()) <= LONGEST_STEM + 9
    assert not set(name) & set("/\\:*?\"<>| .\0\n")
    assert name[0] != "-"


def refusal(path: Path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(MediaError) as caught:
        probe(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no file" in refusal(tmp_path / "nothing.mp4")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "0 bytes" in refusal(tmp_path / "empty.mp4")


def test_a_name_that_is_no_utf_8() -> None:
    with pytest.raises(MediaError, match=r"The name caf\\xe9.mp4 is no UTF-8; rename it"):
        probe(Path(os.fsdecode(b"caf\xe9.mp4")))


@pytest.mark.parametrize("text", ["Dear diary,\ntoday", "WEBVTT\n\n00:01.000 --> 00:02.000\nHi\n", "plain\n" * 2000])
def test_text_that_calls_itself_video(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text(text)
    assert "text" in refusal(path) or "neither video nor sound" in refusal(path)


def test_a_list_of_other_files_is_no_clip(tmp_path: Path) -> None:
    make_clip(tmp_path / "other.mp4", seconds=0.4)
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    assert "text" in refusal(path)


def test_noise(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes((37 * k * k + 11 * k) % 251 for k in range(5000)))
    assert "not a media file" in refusal(path)


def test_cut_off_before_its_table_of_contents(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "cut.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut off" in refusal(path)


def test_subtitles_alone_are_no_clip(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "words.mkv", codec=None, sound=None, cues=[(0.0, 1.0, "Hello")])
    assert "neither video nor sound" in refusal(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "secret.mp4", seconds=0.4)
    path.chmod(0)
    assert "permissions" in refusal(path)


def test_ffmpeg_keeps_quiet(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "cut.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    command = f"from pathlib import Path; from data.media.probe import probe; print(probe(Path({str(path)!r})).has_video)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "seconds", "rate", "size"),
    [("face_then_none.mov", 6.42, 26.4, (960, 540)), ("group_five_frames.mp4", 0.2, 25.0, (270, 480)),
     ("crowd_10s.mp4", 10.02, 29.97, (640, 360)), ("silent_19s.mp4", 19.69, 23.976, (640, 360)),
     ("jfk.flac", 11.0, 0.0, (0, 0)), ("two_speakers.wav", 30.0, 0.0, (0, 0))],
)  # fmt: skip
def test_real_clips(shared: Path, name: str, seconds: float, rate: float, size: tuple[int, int]) -> None:
    clip = probe(shared / "datasets" / "media" / name)
    assert clip.duration == pytest.approx(seconds, abs=0.05)
    assert clip.frame_rate == pytest.approx(rate, abs=0.05)
    assert (clip.width, clip.height) == size
