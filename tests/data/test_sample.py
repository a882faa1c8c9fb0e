"""The clip that ships: small, playable, one face that really changes expression, a voice, true subtitles."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.sample import sample_clip
from data.windows import make_windows

PARTS = {"neutral": (0.0, 1.7), "happy surprise": (2.4, 4.7), "fearful surprise": (5.4, 7.7), "sad anger": (8.5, 12.0)}


def pictures(step: int) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    import av

    with av.open(str(sample_clip())) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % step == 0:
                yield float(frame.time), frame.to_ndarray(format="rgb24")


def sound(rate: int = 16000) -> NDArray[np.float32]:
    import av

    with av.open(str(sample_clip())) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        frames = [*container.decode(audio=0), None]
        return np.concatenate([piece.to_ndarray()[0] for frame in frames for piece in resampler.resample(frame)])


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def cues() -> list[tuple[float, float, str]]:
    text = sample_clip().with_suffix(".vtt").read_text(encoding="utf-8")
    found = re.findall(r"([\d:.]+) --> ([\d:.]+)\n(.+)", text)
    return [(seconds(start), seconds(end), words) for start, end, words in found]


@pytest.fixture(scope="module")
def measures() -> dict[str, NDArray[np.float64]]:
    """Second, and in units of the eyes' distance: lip opening, mouth width, corners above lip, brows, inner brows, lids."""
    mediapipe = pytest.importorskip("mediapipe", reason="mediapipe is an extra: pip install 'dyad-expressions[mediapipe]'")
    rows = []
    with mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=3) as mesh:
        for time, picture in pictures(step=5):
            faces = mesh.process(picture).multi_face_landmarks or []
            assert len(faces) == 1, f"{len(faces)} faces at {time:.2f} s"
            rows.append([time, *face_measures(np.array([(p.x, p.y) for p in faces[0].landmark]))])
    names = ("time", "opening", "width", "corners", "brows", "inner", "lids")
    return dict(zip(names, np.array(rows).T, strict=True))


def face_measures(points: NDArray[np.float64]) -> tuple[float, ...]:
    across = points[263] - points[33]
    unit = np.linalg.norm(across)
    x, y = points @ (across / unit) / unit, points @ (np.array([-across[1], across[0]]) / unit) / unit
    eyes = y[[33, 133, 263, 362]].mean()
    return (
        y[14] - y[13], x[291] - x[61], y[13] - y[[61, 291]].mean(),
        eyes - y[[105, 334]].mean(), eyes - y[[107, 336]].mean(), y[[145, 374]].mean() - y[[159, 386]].mean(),
    )


def typical(measures: dict[str, NDArray[np.float64]], name: str, part: str) -> float:
    start, end = PARTS[part]
    return float(np.median(measures[name][(measures["time"] >= start) & (measures["time"] <= end)]))


def test_the_clip_is_a_small_h264_and_aac_file_of_twelve_seconds() -> None:
    import av

    assert sample_clip().stat().st_size <= 400_000
    with av.open(str(sample_clip())) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (float(video.average_rate), video.frames, video.pix_fmt) == (25.0, 300, "yuv420p")
        assert container.duration / av.time_base == pytest.approx(12.0, abs=0.1)


def test_the_file_says_that_it_is_synthetic() -> None:
    import av

    with av.open(str(sample_clip())) as container:
        assert "Synthetic" in container.metadata["comment"]
    assert "Synthetic" in sample_clip().with_suffix(".vtt").read_text(encoding="utf-8")


def test_the_detector_that_needs_no_extra_sees_the_face_too() -> None:
    import cv2
    import cv2.data as shipped

    detector = cv2.CascadeClassifier(shipped.haarcascades + "haarcascade_frontalface_default.xml")
    found = [len(detector.detectMultiScale(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(100, 100)))
             for _, p in pictures(step=10)]
    assert np.mean(np.array(found) == 1) >= 0.9, found


def test_surprise_opens_mouth_and_eyes_and_raises_brows(measures: dict[str, NDArray[np.float64]]) -> None:
    for part in ("happy surprise", "fearful surprise"):
        assert typical(measures, "opening", part) > typical(measures, "opening", "neutral") + 0.05
        assert typical(measures, "lids", part) > 1.05 * typical(measures, "lids", "neutral")
        assert typical(measures, "brows", part) > typical(measures, "brows", "neutral") + 0.02


def test_joy_lifts_the_corners_of_a_wide_mouth_and_fear_the_inner_brows(measures: dict[str, NDArray[np.float64]]) -> None:
    assert typical(measures, "corners", "happy surprise") > typical(measures, "corners", "neutral") + 0.01
    assert typical(measures, "corners", "fearful surprise") < typical(measures, "corners", "happy surprise") - 0.03
    assert typical(measures, "width", "happy surprise") > typical(measures, "width", "neutral") + 0.04
    inner = {part: typical(measures, "inner", part) - typical(measures, "brows", part) for part in PARTS}
    assert inner["fearful surprise"] == max(inner.values())


def test_sad_anger_lowers_brows_lids_and_corners(measures: dict[str, NDArray[np.float64]]) -> None:
    for name in ("inner", "brows", "lids"):
        assert typical(measures, name, "sad anger") == min(typical(measures, name, part) for part in PARTS), name
    assert typical(measures, "corners", "sad anger") < typical(measures, "corners", "neutral") - 0.01


def test_the_voice_is_heard_where_the_subtitles_say() -> None:
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    wave = torch.from_numpy(sound())
    speech = get_speech_timestamps(wave, load_silero_vad(), return_seconds=True)
    heard = np.zeros(1200, bool)
    for piece in speech:
        heard[int(100 * piece["start"]):int(100 * piece["end"])] = True
    for start, end, words in cues():
        assert heard[int(100 * start):int(100 * end)].mean() > 0.6, words
    assert heard.mean() < 0.95


def test_lips_move_with_the_voice(measures: dict[str, NDArray[np.float64]]) -> None:
    wave = sound()
    last = (measures["time"] > 8.5) & (measures["time"] < 11.9)
    level = [np.std(wave[int(16000 * (t - 0.02)):int(16000 * (t + 0.06))]) for t in measures["time"][last]]
    assert np.corrcoef(level, measures["opening"][last])[0, 1] > 0.5


def test_subtitles_lie_in_the_clip_and_do_not_overlap() -> None:
    times = [time for start, end, _ in cues() for time in (start, end)]
    assert len(times) >= 12
    assert times == sorted(times)
    assert times[-1] <= 12.0


def test_every_window_has_a_description_by_hand() -> None:
    with Path(sample_clip()).with_name("sample_descriptions.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [tuple(w) for w in make_windows(12.0).tolist()]
    assert {row["author"] for row in rows} == {"written by hand"}
    assert all(row["clip"] == "sample" and len(row["text"]) > 40 for row in rows)


def test_the_script_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.sample.make_sample import main

    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["-o", str(tmp_path / "clip")]) == 1
    assert "espeak-ng; install it" in capsys.readouterr().err
    assert not list((tmp_path / "clip").iterdir())


def test_the_story_moves_smoothly() -> None:
    from benchmarks.sample.expressions import DURATION, FRAME_RATE, expression_at

    gaps = [expression_at(number / FRAME_RATE).gap for number in range(round(DURATION * FRAME_RATE))]
    assert max(gaps) > 0.2
    assert np.abs(np.diff(gaps)).max() < 0.05
