"""Subtitles as programs and people write them: each cue at its time, each speaker by itself, nothing twice."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.media.cues import plain_words, read_cues, said_in, spread_words
from data.media.subtitles import read_transcript
from data.windows import make_windows
from modalities.text.words import window_texts

WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "Po", "Sm")), min_size=1, max_size=8).filter(
    lambda word: not set(word) & set("<>&\\#:") and word.strip() == word
)
LINES = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)


def said(text: str) -> list[tuple[float, float, str]]:
    return [(one.start, one.end, one.text) for one in said_in(read_cues(text, "a.srt").cues)]


def clock(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{rest:03d}"


@settings(max_examples=80, deadline=None)
@given(
    texts=st.lists(st.lists(LINES, min_size=1, max_size=3), min_size=1, max_size=6), index=st.booleans(), webvtt=st.booleans(),
    between=st.sampled_from(["", "\n", "\n\n"]), inside=st.sampled_from(["\n", "\n\n"]),
    setting=st.sampled_from(["", " X1:10", "line:0"]),
)  # fmt: skip
def test_cues_come_back_however_they_are_laid_out(
    texts: list[list[str]], between: str, inside: str, index: bool, webvtt: bool, setting: str
) -> None:
    """Each cue has a word of its own, so that none looks as if it were carried over."""
    inside, between = ("\n", "\n") if webvtt else (inside, between)  # in WebVTT empty lines have a meaning
    cues = [[f"cue{number}", *lines, f"end{number}"] for number, lines in enumerate(texts)]
    mark, blocks = "." if webvtt else ",", []
    for number, lines in enumerate(cues):
        span = f"{clock(4000 * number, mark)} --> {clock(4000 * number + 3500, mark)}{setting}"
        blocks.append("\n".join([*([str(number + 1)] if index else []), span, inside.join(lines), ""]))
    text = ("WEBVTT\n\n" if webvtt else "") + between.join(blocks)
    assert said(text) == [(4.0 * n, 4.0 * n + 3.5, " ".join(" ".join(lines).split())) for n, lines in enumerate(cues)]


def test_subrip_without_blank_lines() -> None:
    text = "1\n00:00:01,000 --> 00:00:03,000\nFirst words\n2\n0:09,000 --> 0:11,000\nSecond words\n3\n0:15 --> 0:17\nThird"
    assert said(text) == [(1, 3, "First words"), (9, 11, "Second words"), (15, 17, "Third")]


def test_numbers_that_are_said_are_no_index() -> None:
    assert said("1\n00:01,000 --> 00:02,000\n42\n\n2\n00:03,000 --> 00:04,000\n3\n7\n\n3\n00:05,000 --> 00:06,000\n1984") == [
        (1, 2, "42"), (3, 4, "3 7"), (5, 6, "1984")
    ]  # fmt: skip


def test_a_bad_cue_is_told_and_the_others_stay() -> None:
    text = "WEBVTT\n\n00:01.000 --> soon\nlost\n\n00:05.000 --> 00:07.000position:50%\nkept\n\n00:09.000 --> 00:08.000\nturned\n"
    found = read_cues(text, "a.vtt")
    assert [one.text for one in said_in(found.cues)] == ["kept"]
    assert [problem.split(":")[0] for problem in found.problems] == ["a.vtt, line 3", "a.vtt, line 9"]


@pytest.mark.parametrize("arrow", ["->", "-->", "→", "–>", "-- >", "—>"])
def test_spans_with_any_arrow(arrow: str) -> None:
    text = f"1\n00:01,000 --> 00:02,000\nFirst\n\n2\n00:03,000 {arrow} 00:04,000\nA -> b\n"
    assert said(text) == [(1, 2, "First"), (3, 4, "A -> b")]


def test_two_digits_behind_the_seconds_are_frames() -> None:
    found = read_cues("1\n00:00:01:12 --> 00:00:02:00\nFirst\n2\n00:00:03:30 --> 00:00:04:00\nSecond\n", "a.srt", 25.0)
    assert [(cue.start, cue.end) for cue in found.cues] == [(1.48, 2.0)]
    assert found.problems[0].startswith("a.srt, line 5: '00:00:03:30 --> ")
    assert not read_cues("00:00:01:12 --> 00:00:02:00\nFirst\n", "a.srt").cues, "without a rate nobody knows"


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("I <3 you", "I <3 you"), ("a < b and c > d", "a < b and c > d"), ("<i>Hi</i> <font color='red'>you</font>", "Hi you"),
        ("{\\an8}Top<br/>low", "Top low"), ("<c.yellow>x</c> &lt;b&gt; &amp; y", "x <b> & y"), ("<00:00:01.500>word", "word"),
        ("{y:i}slanted", "slanted"), ("2 <b and", "2 <b and"),
    ],
)  # fmt: skip
def test_markup_goes_and_lone_brackets_stay(marked: str, plain: str) -> None:
    assert plain_words(marked) == plain


@pytest.mark.parametrize("piece", ["<v ", "<", "{\\", "<c.", "1:1 ->", "<00:00:01", "[a", "<v a>b", " \t", "- -", "&", ">> "])
def test_reading_takes_time_that_grows_with_the_text_only(piece: str) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:05.000\nHi " + piece * 40_000 + "\n"
    began = time.process_time()
    said_in(read_cues(text, "a.vtt").cues)
    assert time.process_time() - began < 1.0


YOUTUBE = """WEBVTT
Kind: captions

00:00:00.469 --> 00:00:03.169 align:start position:0%
{blank}
welcome<00:00:01.469><c> to</c><00:00:01.620><c> the</c><00:00:01.740><c> lesson</c>

00:00:03.169 --> 00:00:03.179 align:start position:0%
welcome to the lesson
{blank}

00:00:03.179 --> 00:00:07.000 align:start position:0%
welcome to the lesson
where<00:00:03.760><c> we</c><00:00:04.200><c> laugh</c>

00:00:07.000 --> 00:00:07.010 align:start position:0%
where we laugh
{blank}
"""


@pytest.mark.parametrize("blank", [" ", ""])
def test_rolling_captions_are_said_once_at_their_own_times(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(YOUTUBE.replace("{blank}", blank))
    table = read_transcript(path)
    assert table["text"].tolist() == ["welcome to the lesson", "where we laugh"]
    assert [word["start"] for word in table["words"][1]] == [3.179, 3.76, 4.2]
    assert window_texts(table, make_windows(8.0))[0] == "welcome to the lesson where we"


@pytest.mark.parametrize(
    ("shown", "once"),
    [
        (["one\ntwo", "two\nthree", "three\nfour"], ["one two", "three", "four"]),
        (["I", "I am", "I am so", "I am so glad"], ["I", "am", "so", "glad"]),
        (["No.", "No.", "No way.", "No."], ["No.", "No.", "No way.", "No."]),
    ],
)
def test_only_captions_that_roll_are_cut(shown: list[str], once: list[str]) -> None:
    text = "\n".join(f"00:0{n}.000 --> 00:0{n + 1}.000\n{lines}\n" for n, lines in enumerate(shown))
    assert [words for _, _, words in said(text)] == once


def test_speakers_as_whisperx_and_webvtt_name_them(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:03,000\n[SPEAKER_00]: I am glad\n\n2\n00:00:05,000 --> 00:00:08,000\n"
                    "<v Ann>Why?</v>\n<v Bob>Who knows</v>\n\n3\n00:00:09,000 --> 00:00:10,000\n&gt;&gt; [Music]\n\n"
                    "4\n00:00:10,000 --> 00:00:11,000\n[Applause]\n")  # fmt: skip
    rows = read_transcript(path)[["start", "end", "speaker", "text"]].to_numpy().tolist()
    assert rows == [[1, 3, "SPEAKER_00", "I am glad"], [5, 6, "Ann", "Why?"], [6, 8, "Bob", "Who knows"]] + rows[3:]
    assert [row[3] for row in rows[3:]] == ["[Music]"]


def test_what_two_say_at_once_is_not_shuffled(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("1\n00:00,000 --> 00:04,000\nI love this song\n\n2\n00:01,000 --> 00:03,500\nplease stop it now\n")
    assert window_texts(read_transcript(path, 4.0), make_windows(4.0)) == ["I love this song please stop it now"]


ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:05.00,0:00:06.50,Default,,0,0,0,,Later, {\\i1}much{\\i0} later
Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,not shown
Dialogue: 0,0:00:01.00,0:00:02.50,Default,Ada,0,0,0,,{\\an8}Grüß\\Ndich
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\\p1}m 0 0 l 10 10{\\p0}
"""


def test_substation(tmp_path: Path) -> None:
    (tmp_path / "a.ass").write_bytes(ASS.encode("utf-16"))
    rows = read_transcript(tmp_path / "a.ass")[["start", "end", "speaker", "text"]].to_numpy().tolist()
    assert rows == [[1.0, 2.5, "Ada", "Grüß dich"], [5.0, 6.5, "", "Later, much later"]]
    (tmp_path / "a.ass").write_text(ASS.replace("0:00:02.50", "0:00:00.50").replace("0:00:05.00", "0:00:05.x"))
    with pytest.raises(InputError, match=r"a.ass, line 10: 'Dialogue: 0,0:00:05.x.*is no span"):
        read_transcript(tmp_path / "a.ass")
    (tmp_path / "a.ass").write_text(ASS.replace("0:00:02.50", "0:00:00.50"))
    table = read_transcript(tmp_path / "a.ass")
    assert table["text"].tolist() == ["Later, much later"]
    assert "line 12: the cue ends before it starts" in table.attrs["problems"][0]
    (tmp_path / "b.ass").write_text("no subtitles at all")
    with pytest.raises(InputError, match="holds no words"):
        read_transcript(tmp_path / "b.ass")


def test_sbv_and_lrc(tmp_path: Path) -> None:
    (tmp_path / "a.sbv").write_text(
        "0:00:01.000,0:00:02.500\nHello[br]there\n\n0:00:x,0:00:04.000\nlost\n\n0:00:05.0,0:00:06\nat 1:30,2\n"
    )
    (tmp_path / "a.lrc").write_text("[ar:Ada]\n[00:01.00]<00:01.00>Hello <00:02.00>there\n[00:02.50]\n[00:05.00]at 1:30,2\n")
    sbv, lrc = (read_transcript(tmp_path / name, 6.0) for name in ("a.sbv", "a.lrc"))
    for table in (sbv, lrc):
        assert table[["start", "end", "text"]].to_numpy().tolist() == [[1.0, 2.5, "Hello there"], [5.0, 6.0, "at 1:30,2"]]
    assert "a.sbv, line 4: '0:00:x --> 0:00:04.000' is no span" in sbv.attrs["problems"][0]
    assert [word["start"] for word in lrc["words"][0]] == [1.0, 2.0]


def test_times_in_brackets_in_plain_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("[00:00:01.000 --> 00:00:02.500]  Hello there\n[00:00:03.000 --> 00:00:04.000]  friend\n")
    assert read_transcript(tmp_path / "a.txt")[["start", "end", "text"]].to_numpy().tolist() == [
        [1.0, 2.5, "Hello there"], [3.0, 4.0, "friend"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rows", "told"),
    [
        ("0:01\nwelcome to the\nlesson\n0:05\nwhere\n", [(1, 5, "welcome to the lesson"), (5, 20, "where")], "its 2 lines"),
        ("[00:01] hi there\n(0:05.5) - hello\n", [(1, 5.5, "hi there"), (5.5, 20, "hello")], "its 2 lines"),
        ("At 10:30 we met.\n11:00 was late.\n", [(0, 20, "At 10:30 we met. 11:00 was late.")], ""),
        ("3:16 For God so loved\nthe world\n", [(0, 20, "3:16 For God so loved the world")], ""),
        ("3:16 For God\n3:17 For he\n", [(0, 20, "3:16 For God 3:17 For he")], "as the clip lasts 20 s"),
        ("2:00 later\n1:00 sooner\n", [(0, 20, "2:00 later 1:00 sooner")], "as they go back"),
        ("0:01 a\nb\nc\nd\n0:02 e\n", [(0, 20, "0:01 a b c d 0:02 e")], "as most lines have none"),
        ("0:75 is no time\n1:00 yes\n", [(0, 20, "0:75 is no time 1:00 yes")], ""),
    ],
)
def test_times_before_or_above_lines_of_plain_text(
    tmp_path: Path, text: str, rows: list[tuple[float, float, str]], told: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    read = read_transcript(tmp_path / "a.txt", duration=20.0)
    assert list(read[["start", "end", "text"]].itertuples(index=False, name=None)) == rows
    assert told in "".join(read.attrs["notes"])
    assert bool(read.attrs["notes"]) == bool(told)
    assert read.attrs["timed"] == (len(rows) > 1)


def test_other_arrows_and_dashes_between_times(tmp_path: Path) -> None:
    spans = "00:00:01,000 -> 00:00:02,000", "00:00:03,000 ==> 00:00:04,000", "00:00:05,000 - 00:00:06,000"
    (tmp_path / "a.srt").write_text("\n\n".join(f"{number}\n{span}\nwords" for number, span in enumerate(spans, 1)))
    read = read_transcript(tmp_path / "a.srt")
    assert list(read[["start", "text"]].itertuples(index=False, name=None)) == [(1, "words"), (3, "words"), (5, "words")]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("so glad", [" so", " glad"]),
        ("今日は good です", [" 今", "日", "は", " good", " で", "す"]),
        ("ที่นี่", [" ที่", "นี่"]),
        ("한국어 말", [" 한국어", " 말"]),
    ],
)
def test_of_scripts_without_spaces_the_letters_are_spread(text: str, pieces: list[str]) -> None:
    spread = spread_words(text, 0.0, float(len(pieces)))
    assert [word["word"] for word in spread] == pieces
    assert [word["start"] for word in spread] == list(range(len(pieces)))


def test_cues_beyond_the_clip_are_left_out_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:03,000\nhere\n\n2\n01:00:05,000 --> 01:00:08,000\ngone\n")
    table = read_transcript(path, 20.0)
    assert table["text"].tolist() == ["here"]
    assert "1 of 2 cues lie beyond the clip (20 s)" in table.attrs["problems"][0]
    path.with_suffix(".csv").write_text('start,end,text\n0,3000," I am glad"\n5000,8000," He said ""no"", really"\n')
    table = read_transcript(path.with_suffix(".csv"), 20.0)
    assert table[["start", "end", "text"]].to_numpy().tolist() == [[0, 3, "I am glad"], [5, 8, 'He said "no", really']]
    assert "are milliseconds" in table.attrs["notes"][0]
