"""Times in the ways that people write them, and whether they can be of a clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.times import parse_time, place

MILLISECONDS = st.integers(0, 100 * 3_600_000 - 1)


@given(MILLISECONDS, st.sampled_from(".,"))
def test_a_time_in_any_form_comes_back(milliseconds: int, point: str) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, hours = seconds // 60, seconds // 3600
    forms = [
        f"{seconds}{point}{rest:03d}",
        f" {seconds}{point}{rest:03d} s ",
        f"{milliseconds} ms",
        f"{hours:02d}:{minutes % 60:02d}:{seconds % 60:02d}{point}{rest:03d}",
        f"{hours}:{minutes % 60}:{seconds % 60}{point}{rest:03d}",
    ]
    if minutes < 1000:
        forms.append(f"{minutes}:{seconds % 60:02d}{point}{rest:03d}")
    assert [parse_time(form) for form in forms] == pytest.approx([milliseconds / 1000] * len(forms))


@given(st.integers(0, 200_000), st.sampled_from([24.0, 25.0, 30.0, 50.0]))
def test_frames_are_times_where_a_rate_is_known(frame: int, rate: float) -> None:
    seconds, rest = divmod(frame, round(rate))
    code = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{rest:02d}"
    assert [parse_time(code, rate), parse_time(f"{frame} f", rate)] == pytest.approx([frame / rate] * 2)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1:60", "1:60:00", "1:2:3:4", "12 f", "1.2.3", "1e3", "inf", "1:-2"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text)


def test_a_frame_that_a_second_does_not_have_is_no_time() -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time("00:00:01:25", 25.0)


def placed(*times: tuple[float, float], plain: bool = True) -> tuple[list[list[float]], str, str]:
    start, end = np.array(times, float).T
    found = place(start, end, 20.0, "t.srt", "cues", 25.0, plain)
    return np.stack([found.start, found.end], 1)[found.inside].tolist(), " ".join(found.notes), found.problem


def test_times_of_the_clip_stay_as_they_are() -> None:
    assert placed((0, 4), (4.5, 19.9)) == ([[0, 4], [4.5, 19.9]], "", "")
    assert placed((0, 4), (19, 20.4)) == ([[0, 4], [19, 20]], "", "")


@pytest.mark.parametrize("times", [[(0, 3000), (5000, 8000), (9000, 12000)], [(1000, 3000)], [(0, 20_400)]])
def test_milliseconds_are_converted_where_they_can_be_nothing_else(times: list[tuple[float, float]]) -> None:
    clocks, note, _ = placed(*times, plain=False)
    assert not note, "clocks are no milliseconds"
    assert all(end == 20 for _, end in clocks)
    kept, note, problem = placed(*times)
    assert kept == [[start / 1000, min(end / 1000, 20)] for start, end in times]
    assert "are milliseconds, as the clip lasts 20 s" in note
    assert not problem


@pytest.mark.parametrize(
    ("times", "kept", "said"),
    [
        ([(3601, 3603), (3605, 3608)], [], "all cues lie beyond the clip (20 s). Do they count from 01:00:00?"),
        ([(5001, 5003), (5010, 5014)], [], "all cues lie beyond the clip (20 s)"),  # seconds of a longer recording
        ([(0, 100), (100, 200)], [], "all cues lie beyond the clip (20 s). Are they milliseconds or frames"),
        ([(1, 3), (400, 403)], [[1, 3]], "1 of 2 cues lie beyond the clip (20 s)"),
        ([(1, 3), (3605, 3608)], [[1, 3]], "1 of 2 cues lie beyond the clip (20 s)"),  # too short for milliseconds
    ],
)
def test_times_beyond_the_clip_are_told_and_never_moved_into_it(
    times: list[tuple[float, float]], kept: list[list[float]], said: str
) -> None:
    assert placed(*times)[0] == kept
    assert said in placed(*times)[2]
    assert not placed(*times)[1]
