"""Segments of one file, cut from what was decoded of the whole."""

import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.errors import InputError, MediaError
from data.media.clip import Clip
from data.media.decode import Decoded, DecodeOptions, decode
from data.media.frames import read_frames, read_index
from data.media.probe import probe
from data.media.segments import Segment, cut, cut_descriptions, cut_transcript, first_frame, note_on_end, segment_clip
from data.media.subtitles import read_transcript
from tests.media_makers import make_clip, tone

USUAL = DecodeOptions(frames_per_second=5.0, longest_side=960)
LOUD, QUIET = tone(3.0), 0.01 * tone(3.0)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s at 25 frames a second; quiet for 3 s, then loud; a grey bar that grows by 10 pixels a second; two cues."""
    path = tmp_path_factory.mktemp("media") / "talk.mkv"
    cues = [(0.5, 1.5, "good morning"), (2.5, 4.0, "and good night")]
    return make_clip(path, seconds=6, sound=[(0.0, QUIET), (3.0, LOUD)], cues=cues)


@pytest.fixture(scope="module")
def whole(talk: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, Decoded]:
    clip = probe(talk)
    return clip, decode(clip, tmp_path_factory.mktemp("decoded"), USUAL)


def test_times_begin_at_zero_and_pictures_are_those_of_the_stretch(whole: tuple[Clip, Decoded], tmp_path: Path) -> None:
    clip = segment_clip(whole[0], Segment(2.0, 5.0))
    made = cut(whole[1], clip, tmp_path)
    assert made.frames is not None
    assert made.index is not None
    index = read_index(made.index)
    assert len(index) == 75
    assert index["time_s"].iloc[0] == pytest.approx(0.0, abs=0.021)
    assert index["time_s"].iloc[-1] < 3.0
    assert first_frame(made.index) == 50
    theirs = [frame for frame in read_frames(whole[1].frames, whole[1].index) if 2.0 <= frame.time_s < 5.0]  # type: ignore[arg-type]
    ours = list(read_frames(made.frames, made.index))
    assert len(ours) == len(theirs) == 15
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.time_s == pytest.approx(other.time_s - 2.0)
        np.testing.assert_array_equal(mine.rgb, other.rgb)


def test_sound_is_of_the_stretch_and_as_long(whole: tuple[Clip, Decoded], tmp_path: Path) -> None:
    made = cut(whole[1], segment_clip(whole[0], Segment(2.0, 4.0)), tmp_path)
    assert made.audio is not None
    with wave.open(str(made.audio), "rb") as sound:
        assert (sound.getframerate(), sound.getnframes()) == (16_000, 32_000)
        samples = np.frombuffer(sound.readframes(32_000), np.int16).astype(float)
    assert np.abs(samples[:14_000]).max() < 400
    assert np.abs(samples[18_000:]).max() > 10_000


def test_cues_move_along_and_are_cut(whole: tuple[Clip, Decoded], tmp_path: Path) -> None:
    made = cut(whole[1], segment_clip(whole[0], Segment(3.0, 6.0)), tmp_path / "end")
    assert made.subtitles is not None
    cues = read_transcript(made.subtitles)
    assert cues[["start", "end", "text"]].values.tolist() == [[0.0, 1.0, "good night"]]  # "and" is said before
    nothing_said = cut(whole[1], segment_clip(whole[0], Segment(4.5, 6.0)), tmp_path / "silent")
    assert nothing_said.subtitles is None


def test_segments_side_by_side_hold_every_frame_and_sample_once(whole: tuple[Clip, Decoded], tmp_path: Path) -> None:
    clip, decoded = whole
    frames, samples = 0, 0
    for place, (start, end) in enumerate([(None, 1.3), (1.3, 4.0), (4.0, None)]):
        made = cut(decoded, segment_clip(clip, Segment(start, end)), tmp_path / str(place))
        assert made.index is not None
        assert made.audio is not None
        frames += len(read_index(made.index))
        with wave.open(str(made.audio), "rb") as sound:
            samples += sound.getnframes()
    assert frames == len(read_index(decoded.index))  # type: ignore[arg-type]
    assert samples == pytest.approx(clip.duration * 16_000, abs=2)


def test_a_segment_has_a_name_a_length_and_a_content_of_its_own(whole: tuple[Clip, Decoded]) -> None:
    clip = whole[0]
    one, other = (segment_clip(clip, Segment(start, start + 1.0)) for start in (1.0, 2.0))
    assert len({clip.content_hash, one.content_hash, other.content_hash}) == 3
    assert segment_clip(clip, Segment(1.0, 2.0)) == one
    assert (one.start, one.duration, one.clip_id) == (1.0, 1.0, f"talk-{one.content_hash[:8]}")
    assert segment_clip(clip, Segment()) is clip
    assert segment_clip(clip, Segment(5.0, 9.0)).duration == pytest.approx(clip.duration - 5.0)
    assert [len(note_on_end(clip, Segment(5.0, end))) for end in (None, clip.duration + 0.4, 9.0)] == [0, 0, 1]
    with pytest.raises(MediaError, match="the segment from 0 to 4000 s is longer: are its times milliseconds"):
        segment_clip(clip, Segment(0.0, 4000.0))
    with pytest.raises(MediaError, match="before the segment begins"):
        segment_clip(clip, Segment(50.0, 60.0))


def test_sound_that_ends_early_is_filled_with_silence(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "short_sound.mkv", seconds=4, sound=tone(1.0)))
    made = cut(decode(clip, tmp_path / "all", USUAL), segment_clip(clip, Segment(2.0, 3.0)), tmp_path / "part")
    assert made.audio is not None
    with wave.open(str(made.audio), "rb") as sound:
        assert sound.readframes(20_000) == bytes(32_000)


def test_a_film_without_sound_gives_none(tmp_path: Path) -> None:
    clip = probe(make_clip(tmp_path / "silent.mp4", seconds=2, sound=None))
    made = cut(decode(clip, tmp_path / "all", USUAL), segment_clip(clip, Segment(0.5, 1.5)), tmp_path / "part")
    assert made.audio is None
    assert made.frames is not None


def test_transcripts_and_descriptions_are_cut_with_their_times(whole: tuple[Clip, Decoded], tmp_path: Path) -> None:
    clip = segment_clip(whole[0], Segment(2.0, 5.0))
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:01,000\nbefore\n\n2\n00:00:02,500 --> 00:00:03,000\ninside\n")
    file = whole[0].duration
    kept = cut_transcript(words, clip, tmp_path / "kept.vtt", file).path
    assert kept is not None
    assert read_transcript(kept)[["start", "end", "text"]].values.tolist() == [[0.5, 1.0, "inside"]]
    assert cut_transcript(words, segment_clip(whole[0], Segment(4.0, 5.0)), tmp_path / "none.vtt", file).path is None
    tsv = tmp_path / "words.tsv"
    tsv.write_text("start\tend\ttext\n2500\t3000\tinside\n")
    read = cut_transcript(tsv, clip, tmp_path / "kept.vtt", file, own=True)
    assert read.path is not None
    assert read_transcript(read.path)["start"].tolist() == [0.5]
    assert "are milliseconds" in read.notes[0]
    words.write_text("1\n00:00:02,500 --> 00:00:03,000\ninside\n\n2\n01:00:02,500 --> 01:00:03,000\nbeyond\n")
    assert "beyond the clip" in cut_transcript(words, clip, tmp_path / "kept.vtt", file).problems[0]
    plain = tmp_path / "plain.txt"
    plain.write_text("no times at all")
    copied = cut_transcript(plain, clip, tmp_path / "copied.vtt", file, own=True).path
    assert copied is not None
    assert copied.read_text() == "no times at all"
    scenes = tmp_path / "scenes.csv"
    scenes.write_text("start,end,text\n0,2,a room\n2,6,a street\n")
    assert cut_descriptions(scenes, clip, tmp_path / "cut.csv", file) == (tmp_path / "cut.csv", ())
    assert pd.read_csv(tmp_path / "cut.csv").values.tolist() == [[0.0, 3.0, "a street"]]
    scenes.write_text("start,end,text\n0,1,a room\n")
    assert cut_descriptions(scenes, clip, tmp_path / "cut.csv", file) == (None, ()), "nothing is told of the segment"
    scenes.write_text("window,text\n0,a room\n")
    with pytest.raises(InputError, match="times in the file"):
        cut_descriptions(scenes, clip, tmp_path / "cut.csv", file)
    scenes.write_text("start,end,text\n0,2000,a room\n2000,5500,a street\n")
    assert "are milliseconds" in cut_descriptions(scenes, clip, tmp_path / "cut.csv", file)[1][0]
    assert pd.read_csv(tmp_path / "cut.csv").values.tolist() == [[0.0, 3.0, "a street"]]
