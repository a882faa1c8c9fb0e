"""Clocks that jump, tracks of which one must be chosen, and channels that cancel each other."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from data.errors import MediaError
from data.media.declared import declared_size, lacks_end
from data.media.decode import Decoded, DecodeOptions, decode
from data.media.frames import read_index
from data.media.joined import readable_end, second_recording
from data.media.probe import probe
from data.media.subtitles import read_transcript
from modalities.speech.detect import read_audio
from tests.media_makers import make_clip, make_sound, tone

SMALL = {"size": (64, 48)}
USUAL = DecodeOptions(5.0, 64)


def decoded(path: Path, work: Path, track: int = 0, language: str = "") -> tuple[float, Decoded]:
    clip = probe(path, audio_track=track)
    return clip.duration, decode(clip, work, DecodeOptions(5.0, 64, language))


def loudness(audio: Path | None, start: float, end: float) -> float:
    assert audio is not None
    samples, rate = soundfile.read(audio)
    return float(np.abs(samples[round(start * rate) : round(end * rate)]).max())


def test_joined_recordings_go_on(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "a.ts", seconds=3, **SMALL)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() * 3)
    duration, made = decoded(joined, tmp_path / "work")
    assert duration == pytest.approx(9, abs=0.4)
    assert made.index is not None
    times = read_index(made.index)["time_s"].to_numpy()
    assert len(times) == 225
    assert np.diff(times).min() >= 0
    assert np.diff(times).max() < 0.3
    assert loudness(made.audio, 7, 8.5) > 0.3
    assert not made.problems
    assert "jumps in 2 places" in made.notes[0]


def test_the_sound_stays_with_its_picture_where_one_of_joined_recordings_has_none(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "a.ts", seconds=2, **SMALL)
    mute = make_clip(tmp_path / "mute.ts", seconds=2, sound=None, **SMALL)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + mute.read_bytes() + one.read_bytes())
    _, made = decoded(joined, tmp_path / "work")
    assert loudness(made.audio, 2.3, 3.5) == 0
    assert loudness(made.audio, 4.3, 5.5) > 0.3


@pytest.mark.parametrize(
    ("name", "codec", "told"),
    [("a.m4a", "aac", "only the first"), ("a.wav", "pcm_s16le", "only the first"), ("a.aiff", "pcm_s16be", "only the first"),
     ("a.flac", "flac", "may be missing"), ("a.flv", "aac", "only the first"), ("a.w64", "pcm_s16le", "only the first"),
     ("a.wv", "wavpack", "only the first")],
)  # fmt: skip
def test_what_is_put_behind_a_whole_recording_is_told(tmp_path: Path, name: str, codec: str, told: str) -> None:
    one, both = make_sound(tmp_path / name, 0.5, codec=codec), tmp_path / f"both_{name}"
    whole = one.read_bytes()
    both.write_bytes(whole * 2)
    _, made = decoded(both, tmp_path / "work")
    assert f"begins at byte {len(whole):,}" in made.notes[-1] or f"begins, at byte {len(whole):,}" in made.notes[-1]
    assert told in made.notes[-1]
    both.write_bytes(whole + b"TAG" + bytes(125))
    assert second_recording(both) is None, "a tag at the end is no recording"


def test_of_two_mp4s_in_pieces_the_first_is_read(tmp_path: Path) -> None:
    many = {"movflags": "frag_keyframe+empty_moov"}
    first = make_clip(tmp_path / "a.mp4", seconds=2, options={"g": "5"}, muxer=many, **SMALL).read_bytes()
    both = tmp_path / "both.mp4"
    both.write_bytes(first * 2)
    duration, made = decoded(both, tmp_path / "work")
    assert (duration, made.duration) == pytest.approx((2, 2), abs=0.2)
    assert "only the first is read" in made.notes[-1]
    head, begins = first[: first.index(b"moof") - 4], first.index(b"moof", len(first) // 2) - 4
    both.write_bytes(first[:begins] + head + first[begins:])
    duration, made = decoded(both, tmp_path / "again")
    assert (duration, made.notes) == (pytest.approx(2, abs=0.2), ()), "a head in between, where the clock goes on"


def test_a_box_that_claims_more_than_any_file_ends_the_search(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"\0\0\0\x10ftypisom\0\0\2\0" + b"\0\0\0\1free" + b"\xff" * 8)
    assert second_recording(damaged) is None


def test_one_recording_in_many_pieces_or_of_unknown_length_is_one(tmp_path: Path) -> None:
    many = {"movflags": "frag_keyframe+empty_moov"}
    assert second_recording(make_clip(tmp_path / "many.mp4", seconds=0.4, options={"g": "5"}, muxer=many, **SMALL)) is None
    whole = make_sound(tmp_path / "a.wav", 0.2, codec="pcm_s16le").read_bytes()
    for size in (0, 0xFFFFFFFF):
        stream = tmp_path / "stream.wav"
        stream.write_bytes(whole[:4] + size.to_bytes(4, "little") + whole[8:])
        assert second_recording(stream) is None


@pytest.mark.parametrize(
    "head",
    [b"\x30\x26\xb2\x75" + bytes(26) + bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(5), b"OggS",
     b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + bytes(7) + b"\x20", b"wvpk" + b"\xff" * 28, b"\0\0\0\x01ftyp" + b"\xff" * 8],
    ids=["wma", "ogg", "rf64", "wavpack", "mp4"],
)  # fmt: skip
def test_a_head_that_breaks_off_or_boasts_says_nothing_of_a_second_recording(tmp_path: Path, head: bytes) -> None:
    file = tmp_path / "head"
    for size in range(1, len(head) + 1):
        file.write_bytes(head[:size])
        assert second_recording(file) is None
        assert readable_end(file) is None
        assert (declared_size(file) or 2**50) > size
        assert lacks_end(file) == (head[:4] == b"OggS" and size >= 4)


@pytest.mark.parametrize("after", [700.0, 7200.0])
def test_a_clock_that_jumps_by_hours_goes_on(tmp_path: Path, after: float) -> None:
    times = [k / 25 for k in range(50)] + [after + 2 + k / 25 for k in range(50)]
    duration, made = decoded(make_clip(tmp_path / "a.mkv", times=times, sound=None, **SMALL), tmp_path / "work")
    assert duration == pytest.approx(4, abs=0.1)
    assert made.index is not None
    assert read_index(made.index)["time_s"].iloc[-1] == pytest.approx(3.96, abs=0.1)
    assert not made.problems


def test_gaps_stay_gaps(tmp_path: Path) -> None:
    times = [k / 25 for k in range(25)] + [60 + k / 25 for k in range(25)]
    duration, _ = decoded(make_clip(tmp_path / "a.mkv", times=times, sound=None, **SMALL), tmp_path / "work")
    assert duration == pytest.approx(61, abs=0.1)


def test_a_clock_that_begins_late_is_no_damage(tmp_path: Path) -> None:
    times = [100 + k / 25 for k in range(75)]
    late = make_clip(tmp_path / "late.mkv", times=times, sound=tone(3), sound_start=100.0, cues=[(101, 102, "here")], **SMALL)
    duration, made = decoded(late, tmp_path / "work")
    assert duration == pytest.approx(3, abs=0.2)
    assert not made.problems
    assert made.subtitles is not None
    assert read_transcript(made.subtitles)["start"].tolist() == pytest.approx([1.0], abs=0.05)


def with_tracks(path: Path, *tracks: NDArray[np.float32], languages: Sequence[str] = ()) -> Path:
    """Sound tracks of one file, 16 kHz; the layout is stereo where a track has two rows, 5.1 where it has six."""
    layouts = {1: "mono", 2: "stereo", 6: "5.1"}
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("flac", rate=16_000, layout=layouts[len(track)]) for track in tracks]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        container.start_encoding()
        for stream, track in zip(streams, tracks, strict=True):
            whole = (track * 32767).astype(np.int16)
            for first in range(0, whole.shape[1], 4096):
                piece = whole[:, first : first + 4096]
                frame = av.AudioFrame.from_ndarray(piece.T.reshape(1, -1).copy(), format="s16", layout=stream.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = 16_000, first, Fraction(1, 16_000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


SILENT, HIGH = np.zeros((1, 32_000), np.float32), tone(2, 16_000)[None]


def test_the_track_that_sounds_is_heard_and_another_may_be_chosen(tmp_path: Path) -> None:
    file = with_tracks(tmp_path / "two.mkv", SILENT, HIGH, languages=("eng", "ger"))
    _, made = decoded(file, tmp_path / "auto")
    assert loudness(made.audio, 0.5, 1.5) > 0.4
    assert made.notes == (
        "The file has 2 sound tracks; track 2 (ger) is heard, as the one that players prefer is silent. Choose another with "
        "--audio-track.",
    )
    assert np.abs(read_audio(file)).max() > 0.4
    _, made = decoded(file, tmp_path / "first", track=1)
    assert loudness(made.audio, 0.5, 1.5) < 0.01
    with pytest.raises(MediaError, match="has 2 sound tracks, so there is no track 3"):
        probe(file, audio_track=3)


def test_a_track_that_ends_before_another_one_is_not_cut_off(tmp_path: Path) -> None:
    duration, made = decoded(with_tracks(tmp_path / "two.mkv", HIGH[:, :8000], HIGH), tmp_path / "work")
    assert (duration, made.problems) == (pytest.approx(0.5, abs=0.05), ())


def test_the_preferred_track_stays_where_all_sound(tmp_path: Path) -> None:
    _, made = decoded(with_tracks(tmp_path / "two.mkv", HIGH / 4, HIGH), tmp_path / "work")
    assert loudness(made.audio, 0.5, 1.5) == pytest.approx(0.125, abs=0.03)
    assert "track 1 is heard. Choose" in made.notes[0]


def test_channels_that_cancel_each_other(tmp_path: Path) -> None:
    turned = with_tracks(tmp_path / "turned.mkv", np.concatenate([HIGH, -HIGH]))
    _, made = decoded(turned, tmp_path / "turned")
    assert loudness(made.audio, 0.5, 1.5) > 0.4
    assert "cancel each other" in made.notes[0]
    assert np.abs(read_audio(turned)).max() > 0.4
    around = np.concatenate([HIGH, -HIGH, *[SILENT] * 4])
    _, made = decoded(with_tracks(tmp_path / "around.mkv", around), tmp_path / "around")
    assert loudness(made.audio, 0.5, 1.5) > 0.4
    around[2] = tone(2, 16_000, hertz=700) / 4  # what only the channel in the middle holds is not lost to a louder one
    _, made = decoded(with_tracks(tmp_path / "middle.mkv", around), tmp_path / "middle")
    assert not made.notes
    usual = np.concatenate([HIGH, HIGH / 2])
    _, made = decoded(with_tracks(tmp_path / "usual.mkv", usual), tmp_path / "usual")
    assert loudness(made.audio, 0.5, 1.5) == pytest.approx(0.375, abs=0.03)
    assert not made.notes


def with_subtitles(path: Path, tracks: Sequence[tuple[str, str]]) -> Path:
    """A short sound file with subtitle tracks (language, words)."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("flac", rate=16_000, layout="mono")
        words = []
        for language, _ in tracks:
            stream = container.add_mux_stream("subrip")
            stream.time_base, stream.metadata["language"] = Fraction(1, 1000), language
            words.append(stream)
        container.start_encoding()
        for first in range(0, HIGH.shape[1], 4096):
            piece = (HIGH[:, first : first + 4096] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, first, Fraction(1, 16_000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        for stream, (_, text) in zip(words, tracks, strict=True):
            packet = av.Packet(text.encode())
            packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = stream, Fraction(1, 1000), 100, 100, 1500
            container.mux(packet)
    return path


@pytest.mark.parametrize(("language", "said"), [("en", "I am glad"), ("de", "ich bin froh"), ("", "ich bin froh")])
def test_subtitles_in_the_language_that_is_read_come_first(tmp_path: Path, language: str, said: str) -> None:
    file = with_subtitles(tmp_path / "a.mkv", [("ger", "ich bin froh"), ("eng", "I am glad")])
    _, made = decoded(file, tmp_path / "work", language=language)
    assert made.subtitles is not None
    assert read_transcript(made.subtitles)["text"].tolist() == [said]
    assert "The file has 2 subtitle tracks; track" in made.notes[0]
