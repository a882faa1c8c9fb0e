"""The files of the ABAW challenges: compound expressions and basic expressions."""

import numpy as np
import pandas as pd
import pytest

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.run_folder import RunFolder
from reports.exports.abaw import EXPRESSION, HEADER, TRACKS, abaw, video_text
from reports.exports.clip import ClipAnswer, Unanswered, read_clip
from reports.exports.formats import format_named
from tests.answers import NAMES, changed


@pytest.fixture(scope="module")
def sample(sample_run: RunFolder) -> ClipAnswer:
    return read_clip(sample_run, frames=True)


def framed(sample: ClipAnswer, video: str, classes: list[int | None]) -> ClipAnswer:
    """A clip whose frames have these classes; None where nothing answers."""
    shares = np.full((len(classes), 7), np.nan)
    for row, place in enumerate(classes):
        if place is not None:
            shares[row] = np.where(np.arange(7) == place, 0.4, 0.1)
    table = pd.DataFrame(shares, columns=NAMES).assign(top=None)  # none of the compounds wins: the likeliest counts
    clip = changed(sample, lambda result: result["clip"].update(path=f"videos/{video}.mp4"))
    return ClipAnswer(clip.result, table)


def test_abaw_is_the_challenges_file(sample: ClipAnswer) -> None:
    made = abaw([framed(sample, "02", [6, None]), framed(sample, "01", [None, 3, None, 0])])
    assert (
        made.text == HEADER + "\n01/00001.jpg,3\n01/00002.jpg,3\n01/00003.jpg,3\n01/00004.jpg,0\n02/00001.jpg,6\n02/00002.jpg,6\n"
    )
    assert (made.own, made.carried, made.filled) == (3, 3, 0)
    assert HEADER.split(",")[1:] == [name.title() for name in NAMES]


def test_abaw_keeps_the_rows_of_the_template(sample: ClipAnswer) -> None:
    template = f"\ufeff{HEADER}\r\n02/00002.jpg,\r\n01/00001.jpg,0,0,0\r\n01/00004.jpg\r\n"
    made = abaw([framed(sample, "01", [1, 2]), framed(sample, "02", [5, 4, 3])], template)
    assert made.text == f"{HEADER}\n02/00002.jpg,4\n01/00001.jpg,1\n01/00004.jpg,2\n"
    assert (made.own, made.carried) == (2, 1)


@pytest.mark.parametrize("classes", [[None, None], []])
def test_abaw_makes_up_no_class(sample: ClipAnswer, classes: list[int | None]) -> None:
    template = f"{HEADER}\n01/00001.jpg,\n07/00001.jpg,\n"
    clips = [framed(sample, "01", classes)]
    with pytest.raises(InputError, match=r"2 of the videos have no answer \(01, 07\).*--fill"):
        abaw(clips, template)
    made = abaw(clips, template, "sadly_angry")
    assert made.text.endswith("\n01/00001.jpg,6\n07/00001.jpg,6\n")
    assert made.filled == 2
    with pytest.raises(InputError, match="--fill happy"):
        abaw(clips, template, "happy")


def test_abaw_refuses_what_is_not_the_challenge(sample: ClipAnswer) -> None:
    clip = framed(sample, "01", [0])
    with pytest.raises(InputError, match="Two clips"):
        abaw([clip, clip])
    with pytest.raises(InputError, match="Line 3 of the template names '01_2'"):
        abaw([clip], f"{HEADER}\n01/00001.jpg,\n01_2,\n")
    with pytest.raises(InputError, match="no header"):
        abaw([clip], "a,b\n01/00001.jpg,1\n")
    with pytest.raises(InputError, match="no frames"):
        abaw([ClipAnswer(clip.result)])
    other = changed(clip, lambda result: result.update(compounds=result["compounds"][1:]))
    with pytest.raises(InputError, match="missing: fearfully_surprised"):
        abaw([other])


def test_abaw_of_the_sample_has_a_row_a_frame(sample: ClipAnswer) -> None:
    assert sample.frames is not None
    rows = [line.split(",") for line in abaw([sample]).text.splitlines()[1:]]
    assert len(rows) == len(sample.frames)
    assert rows[0][0] == f"{sample.stem}/00001.jpg"
    tops = sample.frames["top"]
    assert all(NAMES[int(row[1])] == top for row, top in zip(rows, tops, strict=True) if isinstance(top, str))


def test_headers_are_those_of_the_organisers() -> None:
    """As three teams' public code has them."""
    assert HEADER == ("image_location,Fearfully_Surprised,Happily_Surprised,Sadly_Surprised,Disgustedly_Surprised,"
                      "Angrily_Surprised,Sadly_Fearful,Sadly_Angry")  # fmt: skip
    assert EXPRESSION.header == "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


def test_basic_expressions_are_the_fused_ones_and_never_other(sample: ClipAnswer) -> None:
    assert sample.frames is not None
    made = abaw([sample], track=EXPRESSION)
    classes = [int(line.rpartition(",")[2]) for line in made.text.splitlines()[1:]]
    known = sample.frames[list(BASIC_EMOTIONS)]
    best = known[known.notna().all(axis=1)].idxmax(axis=1)
    assert [BASIC_EMOTIONS[classes[row]] for row in best.index] == best.tolist()
    assert set(classes) <= set(range(7))
    other = changed(sample, lambda result: result.update(compounds=result["compounds"][1:]))
    assert abaw([other], track=EXPRESSION).text == made.text, "it needs no compounds"
    with pytest.raises(InputError, match="not one of the challenge's classes"):
        abaw([sample], None, "other", EXPRESSION)


def test_a_clip_that_failed_is_no_label_and_no_silence(sample: ClipAnswer) -> None:
    clips = [framed(sample, "01", [1, 2]), Unanswered("bad-1", "videos/02.mp4", "failed", "It broke.")]
    with pytest.raises(InputError, match=r"1 of the videos have no answer \(02\)"):
        abaw(clips)
    template = f"{HEADER}\n02/00001.jpg,\n01/00001.jpg,\n"
    assert abaw(clips, template, "sadly_angry").text == f"{HEADER}\n02/00001.jpg,6\n01/00001.jpg,1\n"
    assert abaw(clips, f"{HEADER}\n01/00001.jpg,\n").filled == 0, "the template does not ask for it"


def test_a_video_alone_is_written_as_annotations_are(sample: ClipAnswer) -> None:
    made = abaw([framed(sample, "01", [1, 2]), framed(sample, "02", [5])])
    assert made.by_video == {"01": (1, 2), "02": (5,)}
    assert video_text(TRACKS["abaw"], made.by_video["01"]) == HEADER.removeprefix("image_location,") + "\n1\n2\n"


@pytest.mark.parametrize(("name", "what"), [("abaw-va", "valence and arousal"), ("ABAW-AU", "action units")])
def test_what_is_not_estimated_is_not_written(name: str, what: str) -> None:
    with pytest.raises(InputError, match=f"does not estimate {what}"):
        format_named(name)
