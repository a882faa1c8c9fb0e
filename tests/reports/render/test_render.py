"""Annotated videos, read back with FFmpeg: what is drawn is where it belongs; times, sound and colours are those of the clip."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest

from data.emotions import BASIC_EMOTIONS, Compound
from data.errors import InputError, MediaError
from data.media.clip import Clip
from data.media.probe import probe
from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.cli.render import render_run
from reports.colours import person_colour
from reports.render.annotations import Annotations, Drawing, chosen_faces
from reports.render.fonts import font, undrawable, wrapped
from reports.render.video import Rendered, render
from tests.media_makers import CORNERS, make_clip, make_sound

YELLOW = (240, 228, 66)
Dyad = Callable[..., tuple[int, str, str]]


def annotations(said: str = "", boxes: pd.DataFrame | None = None, seconds: float = 2.0) -> Annotations:
    """Happily surprised for the first half, no compound in the second; a face that does not move."""
    times = np.arange(0, seconds, 0.04)
    first = times < seconds / 2
    frames = pd.DataFrame({"time_s": times, **dict.fromkeys(BASIC_EMOTIONS, 0.1)}).assign(happiness=0.4)
    frames = frames.assign(top=np.where(first, "happily_surprised", None), sureness=np.where(first, 0.8, np.nan))
    found = boxes if boxes is not None else pd.DataFrame({
        "time_s": [0.0, 1.0, 1.9], "track_id": 0, "main": True, "x": 60.0, "y": 60.0, "width": 120.0, "height": 120.0,
    })  # fmt: skip
    cues = pd.DataFrame({"start": [0.0], "end": [seconds / 2], "text": [said]}).loc[[0] if said else []]
    return Annotations(frames, [Compound("happily_surprised", "happiness", "surprise")], found, cues)


def pictures(path: Path) -> tuple[list[float], list[Any], Any]:
    """Times and RGB pictures of a video, and its codecs."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        codecs = (container.streams.video[0].codec_context.name, [s.codec_context.name for s in container.streams.audio])
    times = [float(frame.pts * frame.time_base) for frame in frames]
    return times, [frame.to_ndarray(format="rgb24") for frame in frames], codecs


def rendered(source: Path, output: Path, drawn: Annotations | None = None) -> Rendered:
    return render(probe(source), drawn or annotations(), output)


def near(pixels: Any, colour: tuple[int, int, int], within: int = 60) -> Any:
    return (np.abs(pixels.astype(int) - colour).max(axis=-1) < within).mean()


def test_a_run_becomes_a_video_that_says_its_answer(copied_run: RunFolder, tmp_path: Path, dyad: Dyad) -> None:
    frames = pd.read_parquet(copied_run.frames)
    frames.loc[frames["time_s"] < 2, "top"] = None
    frames.to_parquet(copied_run.frames)
    code, _, told = dyad("render", copied_run.root, "-o", tmp_path / "out.mp4", "--tracks", "all")
    assert (code, told) == (0, f"300 pictures (12.0 s), sound copied, written to {tmp_path / 'out.mp4'}\n")
    times, shown, (video, sound) = pictures(tmp_path / "out.mp4")
    with av.open(str(sample_clip())) as source:
        assert times == pytest.approx([float(frame.pts * frame.time_base) for frame in source.decode(video=0)], abs=1e-3)
    assert video in ("h264", "mpeg4")
    assert sound == ["aac"]
    assert shown[0].shape == (544, 480, 3)
    face = pd.read_parquet(copied_run.faces).iloc[30]
    at = shown[int(face["frame"])]
    x, y, right = int(face["x"]), int(face["y"]), int(face["x"] + face["width"])
    assert near(at[y + 40 : y + 100, x - 1 : x + 3], YELLOW) > 0.3
    assert near(at[y + 40 : y + 100, x + 10 : right - 10], YELLOW) < 0.05
    bars = [near(picture[480:, 280:430], YELLOW) for picture in (shown[20], shown[140])]
    assert bars[0] > 0, "no compound at 0.8 s: the emotion alone and how sure it is"
    assert bars[1] > 0.02
    assert list(tmp_path.glob(".*")) == []


def test_each_person_has_their_colour_name_and_answer(tmp_path: Path) -> None:
    """Two persons beside each other, the second of whom is known of for a second, and somebody who is not told apart."""
    faces = pd.DataFrame({
        "time_s": 0.0, "track_id": [0, 1, 2], "person": [1, 2, 0], "called": ["Ada", "Person 2", "others"],
        "main": [True, False, False], "x": [20.0, 150.0, 260.0], "y": 100.0, "width": 80.0, "height": 80.0,
    })  # fmt: skip
    faces = pd.concat([faces.assign(time_s=time) for time in (0.0, 1.0, 1.9)], ignore_index=True)
    drawn = annotations("Hello.", faces)
    answers = {0: drawn.frames, 1: drawn.frames, 2: drawn.frames.iloc[:25]}  # that of everybody is at no box
    drawn = replace(drawn, cues=drawn.cues.assign(speaker="Ada"), answers=answers, whose="Ada")
    drawing = Drawing(drawn, Clip(tmp_path, "c", "0", 2.0, 25.0, 360, 360))
    told = [[drawing._told(track, time) for track in drawing._tracks] for time in (0.5, 1.9)]
    assert told == [["Ada: happily surprised", "Person 2: happily surprised", ""], ["Ada: happiness", "Person 2", ""]]
    assert drawing._said(0.5) == "Ada: Hello."
    dark = np.full((360, 360, 3), 30, np.uint8)
    clip = make_clip(tmp_path / "two.mp4", seconds=2.0, size=(360, 360), picture=lambda time: dark)
    rendered(clip, tmp_path / "out.mp4", drawn)
    shown = pictures(tmp_path / "out.mp4")[1][5]
    for left, person in ((20, 1), (150, 2), (260, 0)):
        edges = shown[110:170, left - 1 : left + 3]
        assert near(edges, person_colour(person)) > 0.3, person
        assert all(near(edges, person_colour(other)) < 0.1 for other in {0, 1, 2} - {person}), person


def test_times_stay_those_of_the_container(tmp_path: Path) -> None:
    times = [0.0, 0.033, 0.4, 0.41, 1.3, 1.9]
    clip = make_clip(tmp_path / "uneven.mkv", times=times, sound_start=0.0)
    done = rendered(clip, tmp_path / "out.mp4")
    assert pictures(tmp_path / "out.mp4")[0] == pytest.approx(times, abs=2e-3)
    assert (done.frames, done.audio, done.damaged) == (6, "copied", 0)


def test_joined_recordings_and_the_sound_track_that_was_heard(tmp_path: Path) -> None:
    """As `cat a.ts a.ts` joins them; the second of two sound tracks is the one with a sound."""
    once, silent = (make_clip(tmp_path / name, seconds=1.0, sound=sound, sound_codec="mp2")
                    for name, sound in (("once.ts", "tone"), ("silent.ts", np.zeros(44_100, np.float32))))  # fmt: skip
    joined = tmp_path / "joined.ts"
    joined.write_bytes(once.read_bytes() * 2)
    rendered(joined, tmp_path / "joined.mp4")
    times, _, _ = pictures(tmp_path / "joined.mp4")
    assert (len(times), times[-1]) == (50, pytest.approx(1.96, abs=0.1))
    segment = replace(probe(joined), start=1.5, duration=0.4)
    assert render(segment, annotations(), tmp_path / "part.mp4").frames == 10, "of the second recording"
    two = tmp_path / "two.mkv"
    with av.open(str(silent)) as first, av.open(str(once)) as second, av.open(str(two), "w") as target:
        sources = [first.streams.video[0], first.streams.audio[0], second.streams.audio[0]]
        copies = [target.add_stream_from_template(stream) for stream in sources]
        for stream, copy in zip(sources, copies, strict=True):
            stream.container.seek(0)
            for packet in stream.container.demux(stream):
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)
    rendered(two, tmp_path / "two.mp4")
    with av.open(str(tmp_path / "two.mp4")) as made:
        loudest = max(float(np.abs(frame.to_ndarray()).max()) for frame in made.decode(audio=0))
    assert loudest > 0.05


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_turned_pictures_are_upright_and_boxes_fit(clockwise: int, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "turned.mp4", seconds=0.4, size=(400, 480), clockwise=clockwise)
    shown = pictures(clip)[1][0]
    rendered(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0
    upright = np.rot90(shown, -clockwise // 90)
    height, width = upright.shape[:2]
    made = frame.to_ndarray(format="rgb24")
    assert made.shape[1] == width
    low, right, near_edge = slice(height - 30, height - 6), slice(width - 30, width - 6), slice(4, 30)
    for place in ((near_edge, near_edge), (low, near_edge), (near_edge, right)):
        assert np.abs(made[place].mean((0, 1)) - upright[place].mean((0, 1))).max() < 8
    assert near(made[100:140, 59:63], YELLOW) > 0.3


def test_small_and_odd_pictures_are_enlarged_to_be_read(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "small.mkv", seconds=0.4, size=(161, 121), pixels="yuv444p", sound=None)
    assert rendered(clip, tmp_path / "out.mkv").audio == "none"
    shape = pictures(tmp_path / "out.mkv")[1][0].shape
    assert shape[1] == 482  # 3 x 161, even
    assert shape[0] > 362


@pytest.mark.parametrize("words", ["Это чудесный сюрприз!", "Τι όμορφη έκπληξη!", "Çok güzel, teşekkürler – já vím"])
def test_subtitles_of_other_scripts_have_their_letters(words: str) -> None:
    assert undrawable([words]) == ""
    tofu = bytes(font(20).getmask("\uffff"))  # what is drawn for a letter that the font lacks
    assert all(bytes(font(20, words=words).getmask(letter)) != tofu for letter in set(words) - {" "})


def test_subtitles_lie_over_the_picture_while_they_are_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=(640, 360))
    rendered(clip, tmp_path / "out.mp4", annotations("Это чудесный сюрприз!"))
    _, shown, _ = pictures(tmp_path / "out.mp4")
    strip = (slice(320, 350), slice(220, 420))
    assert near(shown[10][strip], (255, 255, 255), 40) > 0.05
    assert near(shown[10][strip], (0, 0, 0), 90) > 0.3
    assert near(shown[40][strip], (0, 0, 0), 90) < 0.02  # said in the first second only


def test_long_subtitles_break_into_at_most_three_lines() -> None:
    letters = font(20)
    lines = wrapped("Nobody could have known about it then, " * 12, letters, 400)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert max(letters.getlength(line) for line in lines) <= 400
    assert "".join(wrapped("Donaudampfschifffahrtsgesellschaft" * 2, letters, 300)) == "Donaudampfschifffahrtsgesellschaft" * 2


def test_colours_are_seen_as_they_were_filmed(tmp_path: Path) -> None:
    no_faces = pd.DataFrame({name: [] for name in ("time_s", "track_id", "main", "x", "y", "width", "height")})
    for size, pixels in (((640, 480), "yuvj420p"), ((1280, 720), "yuv420p"), ((320, 240), "yuv420p")):
        clip = make_clip(tmp_path / "clip.mp4", seconds=0.2, size=size, pixels=pixels, sound=None, options={"crf": "10"})
        rendered(clip, tmp_path / "out.mp4", annotations(boxes=no_faces))
        after = pictures(tmp_path / "out.mp4")[1][0]
        larger = after.shape[1] // size[0]
        for colour, (x, y) in zip(CORNERS.values(), ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)), strict=True):
            seen = after[int(larger * y * size[1]), int(larger * x * size[0])].astype(int)
            assert np.abs(seen - colour).max() < 12, (size, pixels)


def test_a_segment_is_rendered_alone(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=3.0)
    segment = replace(probe(clip), start=1.0, duration=1.0)
    done = render(segment, annotations(), tmp_path / "out.mp4")
    times, shown, _ = pictures(tmp_path / "out.mp4")
    assert done.frames == len(times) == 25
    assert times[0] == pytest.approx(0, abs=0.02)
    assert near(shown[0][470:478, 22:36], (128, 128, 128), 30) > 0.5 or near(shown[0][474:478, 4:16], (128, 128, 128), 30) > 0.5


def test_tracks_are_those_asked_for() -> None:
    faces = pd.DataFrame({"track_id": [0, 1], "main": [True, False]})
    assert [len(chosen_faces(faces, which)) for which in ("main", "all")] == [1, 2]
    with pytest.raises(InputError, match="choose main or all"):
        chosen_faces(faces, "some")


def test_what_cannot_be_rendered_is_said_in_a_sentence(copied_run: RunFolder, tmp_path: Path, dyad: Dyad) -> None:
    with pytest.raises(InputError, match="has no picture to draw on"):
        rendered(make_sound(tmp_path / "sound.wav", codec="pcm_s16le"), tmp_path / "out.mp4")
    with pytest.raises(InputError, match="choose one of .mp4, .mov, .mkv"):
        render_run(copied_run, tmp_path / "out.gif")
    with pytest.raises(InputError, match="its folder is not there"):
        render_run(copied_run, tmp_path / "nowhere" / "out.mp4")
    with pytest.raises(InputError, match="is the clip itself"):
        render_run(copied_run, sample_clip())
    other = make_clip(tmp_path / "other.mp4", seconds=0.2)
    with pytest.raises(InputError, match="is not the file that this run is about"):
        render_run(copied_run, tmp_path / "out.mp4", video=other)
    moved = copied_run.result.read_text(encoding="utf-8").replace(str(sample_clip()), "/nowhere/sample.mp4")
    copied_run.result.write_text(moved, encoding="utf-8")
    code, _, told = dyad("render", copied_run.root, "-o", tmp_path / "out.mp4")
    assert code == 2
    assert "/nowhere/sample.mp4 is not there; put it back, or name where it is with --video" in told
    assert not (tmp_path / "out.mp4").exists()


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    facts = probe(clip)
    clip.write_bytes(clip.read_bytes()[:2000])
    with pytest.raises(MediaError, match="cut off or damaged"):
        render(facts, annotations(), tmp_path / "out.mp4")
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_and_is_said(copied_run: RunFolder, tmp_path: Path) -> None:
    limits = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))"
    limited = f"{limits}; from flows.cli.app import main; main()"
    command = [sys.executable, "-c", limited, "render", str(copied_run.root), "-o", str(tmp_path / "out.mp4")]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 1, done.stderr
    assert "larger than is permitted" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("*out*")) == []


def test_sound_that_the_format_does_not_take_is_encoded(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", sound_codec="pcm_s16le")
    assert rendered(clip, tmp_path / "out.mp4").audio == "encoded"
    with av.open(str(tmp_path / "out.mp4")) as container:
        audio = container.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(2.0, abs=0.06)
        loud = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio)])
        assert np.sqrt((loud**2).mean()) == pytest.approx(0.5 / np.sqrt(2), abs=0.01)


def test_without_an_encoder_for_h264_it_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.render.video._has_encoder", lambda name: False)
    clip = make_clip(tmp_path / "clip.mp4", seconds=0.5)
    assert rendered(clip, tmp_path / "out.mp4").codec == "mpeg4"
    times, _, (codec, _) = pictures(tmp_path / "out.mp4")
    assert codec == "mpeg4"
    assert times == pytest.approx([0.04 * number for number in range(12)], abs=1e-3)
