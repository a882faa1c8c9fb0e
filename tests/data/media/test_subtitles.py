"""Transcripts in the forms that people have them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.media.sidecars import find_sidecar
from data.media.subtitles import read_transcript, to_vtt

VTT = """WEBVTT - a title
Kind: captions

NOTE a remark
that goes on

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start position:10%
<v Ada Lovelace>Hello &amp; <b>welcome</b></v>

01:00:03.250 --> 01:00:04.000
two
lines

00:00:10.000 --> 00:00:11.000

"""

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Hello</i> {\\an8}there

2
00:00:03,25 --> 00:00:04,000
- two<br>lines

"""


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_webvtt(tmp_path: Path) -> None:
    table = read_transcript(written(tmp_path, "a.vtt", VTT))
    assert list(table.columns) == ["start", "end", "text", "speaker"]
    assert table.to_dict("records") == [
        {"start": 1.0, "end": 2.5, "text": "Hello & welcome", "speaker": "Ada Lovelace"},
        {"start": 3603.25, "end": 3604.0, "text": "two lines", "speaker": ""},
    ]


def test_subrip(tmp_path: Path) -> None:
    table = read_transcript(written(tmp_path, "a.srt", SRT))
    assert table["text"].to_list() == ["Hello there", "- two lines"]
    assert table["start"].to_list() == [1.0, 3.25]
    assert table["end"].to_list() == [2.5, 4.0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, newline: str) -> None:
    text = SRT.replace("Hello", "Grüß “Gott”").replace("\n", newline)
    table = read_transcript(written(tmp_path, "a.srt", text, encoding))
    assert table["text"].to_list() == ["Grüß “Gott” there", "- two lines"]


def test_cues_are_sorted_by_time(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:05.000 --> 00:06.000\nsecond\n\n00:01.000 --> 00:02.000\nfirst"
    assert read_transcript(written(tmp_path, "a.vtt", text))["text"].to_list() == ["first", "second"]


def test_plain_text_has_no_times_unless_the_duration_is_known(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "All the words,\nin  two lines.\n")
    table = read_transcript(path)
    assert table["text"].to_list() == ["All the words, in two lines."]
    assert np.isnan(table[["start", "end"]].to_numpy()).all()
    spread = read_transcript(path, duration=12.5)
    assert spread[["start", "end"]].to_numpy().tolist() == [[0.0, 12.5]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_with_times(tmp_path: Path, separator: str) -> None:
    lines = ["Start,End,Text,Speaker", '0.5,1.5,"Well, well; well\twell",Ada', "00:01:02.5,63,later,"]
    text = "\n".join(line.replace(",", separator) if "Well" not in line else line for line in lines)
    if separator != ",":
        text = text.replace("0.5,1.5,", f"0.5{separator}1.5{separator}").replace('",Ada', f'"{separator}Ada')
    table = read_transcript(written(tmp_path, "a.csv", text))
    assert table["start"].to_list() == [0.5, 62.5]
    assert table["end"].to_list() == [1.5, 63.0]
    assert table["text"].to_list() == ["Well, well; well well", "later"]
    assert table["speaker"].to_list() == ["Ada", ""]


def test_csv_with_decimal_commas(tmp_path: Path) -> None:
    table = read_transcript(written(tmp_path, "a.csv", "start;end;text\n0,5;1,25;one, two\n01:02,5;63;later\n"))
    assert table[["start", "end"]].to_numpy().tolist() == [[0.5, 1.25], [62.5, 63.0]]
    assert table["text"].to_list() == ["one, two", "later"]


def test_csv_without_times(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text\nHello\n\nworld\n")
    assert read_transcript(path)["text"].to_list() == ["Hello", "world"]
    joined = read_transcript(path, duration=3.0)
    assert joined[["start", "end", "text"]].to_numpy().tolist() == [[0.0, 3.0, "Hello world"]]
    assert joined.attrs["notes"] == (f"{path} has no columns start and end; its words are spread over the clip.",)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.srt", "1\n00:00:01,000 --> soon\nHello\n", "line 2"),
        ("a.vtt", "WEBVTT\n\n00:03.000 --> 00:02.000\nHello\n", "line 3.*ends before it starts"),
        ("a.csv", "start,end,text\n0,1,Hello\n\nx,2,there\n", "line 4.*'x'"),
        ("a.csv", "start,end,text\n0,1,Hello\n3,2,there\n", "line 3.*ends before it starts"),
        ("a.csv", "start,end,text\n-1,2,there\n", "line 2.*'-1'"),
        ("a.csv", "start,text\n0,Hello\n", "both or neither"),
        ("a.csv", "start,end,text\n0,1,Hello, there\n", "line 2.*quotes"),
        ("a.csv", "", "no rows"),
        ("a.csv", "begin,words\n0,Hello\n", "no column 'text'"),
        ("a.csv", "text\n", "no rows"),
        ("a.txt", "  \n", "no words"),
        ("a.vtt", "WEBVTT\n", "no words"),
        ("a.srt", "Hello without any times", "no words"),
        ("a.txt", "\0\1\2", "not a text file"),
        ("a.doc", "Hello", r"\.srt"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(InputError, match=complaint) as caught:
        read_transcript(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_missing_transcript(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no transcript"):
        read_transcript(tmp_path / "a.srt")


def test_the_transcript_beside_a_clip(tmp_path: Path) -> None:
    media = tmp_path / "my [1] clip.mp4"
    assert find_sidecar(media).path is None
    for name in ("my [1] clip 2.srt", "my [1] clip.txt", "my [1] clip.en.vtt", "my [1] clip.mp4"):
        written(tmp_path, name, SRT)
    assert find_sidecar(media).path == tmp_path / "my [1] clip.en.vtt"
    written(tmp_path, "my [1] clip.VTT", VTT)
    assert find_sidecar(media).path == tmp_path / "my [1] clip.VTT"


def test_written_webvtt_is_escaped() -> None:
    table = pd.DataFrame({"start": [0.0, np.nan], "end": [3723.4567, np.nan], "text": ["a < b & c\n-->", "untimed"]})
    assert to_vtt(table) == "WEBVTT\n\n00:00:00.000 --> 01:02:03.457\na &lt; b &amp; c --&gt;\n"


cues = st.lists(
    st.tuples(
        st.integers(0, 10_000_000), st.integers(0, 9_000),
        st.text(st.characters(blacklist_categories=("Cc", "Cs")), max_size=40),
        st.sampled_from(["", "Ada", "A & <B>"]),
    ), min_size=1, max_size=6,
)  # fmt: skip


@pytest.mark.slow
@given(cues)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, str, str]]) -> None:
    rows = sorted((start, length, " ".join(text.split()), speaker) for start, length, text, speaker in rows)
    kept = [(start, length, text or "…", speaker) for start, length, text, speaker in rows]
    table = pd.DataFrame(
        [(start / 1000, (start + length) / 1000, text, speaker) for start, length, text, speaker in kept],
        columns=["start", "end", "text", "speaker"],
    ).sort_values("start", kind="stable", ignore_index=True)
    path = tmp_path_factory.mktemp("vtt") / "a.vtt"
    path.write_text(to_vtt(table), encoding="utf-8")
    pd.testing.assert_frame_equal(read_transcript(path), table)


KARAOKE = """WEBVTT

00:00:01.000 --> 00:00:04.000
Hello<00:00:01.500> my<00:00:02.000><00:00:03.000><c> friends</c>

00:05.000 --> 00:06.000
plain &lt;words&gt;
"""


def test_times_inside_a_webvtt_cue_are_those_of_its_words(tmp_path: Path) -> None:
    table = read_transcript(written(tmp_path, "a.vtt", KARAOKE))
    assert table["text"].to_list() == ["Hello my friends", "plain <words>"]
    assert table["words"][0] == [
        {"word": "Hello", "start": 1.0, "end": 1.5},
        {"word": " my", "start": 1.5, "end": 2.0},
        {"word": " friends", "start": 3.0, "end": 4.0},
    ]
    assert table["words"][1] == []


def test_words_survive_webvtt(tmp_path: Path) -> None:
    table = read_transcript(written(tmp_path, "a.vtt", KARAOKE))
    again = read_transcript(written(tmp_path, "b.vtt", to_vtt(table)))
    pd.testing.assert_frame_equal(again, table)


def test_times_that_do_not_grow_or_lie_outside_are_bounded_by_the_cue(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\na <00:00:09.000>b <00:00:01.200>c d"
    words = read_transcript(written(tmp_path, "a.vtt", text))["words"][0]
    assert [word["word"] for word in words] == ["a", " b", " c", " d"]
    assert all(1 <= word["start"] <= word["end"] <= 2 for word in words)
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)
