"""Which file beside a clip is its transcript."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from data.media.sidecars import find_sidecar

SUBTITLES = "1\n00:00:01,000 --> 00:00:02,000\nHello\n"
Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    def lay(*names: str, content: str = SUBTITLES) -> Path:
        for name in names:
            (tmp_path / name).write_text(content)
        return tmp_path / "talk.mp4"

    return lay


OWN = ["talk.srt", "TALK.SRT", "talk.en.srt", "talk.en-US.vtt", "talk.eng.sdh.srt", "talk.de.sbv", "talk.en-orig.vtt",
       "talk.mp4.srt", "talk.mp4.en.vtt"]  # fmt: skip
OTHERS = ["talk.2.srt", "talk2.srt", "talk.mkv.srt", "talk.mp4a.srt", "talk.take.srt", "talk.cut.en.srt",
          "talk.srt.bak", ".talk.srt", "tal.srt"]  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_files_of_the_clips_own_name(lay: Lay, name: str) -> None:
    assert find_sidecar(lay(name)).path == lay().parent / name


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_other_clips(lay: Lay, name: str) -> None:
    assert find_sidecar(lay(name)).path is None


@pytest.mark.parametrize(
    ("names", "language", "taken"),
    [
        (("talk.de.vtt", "talk.en.vtt"), "en", "talk.en.vtt"),
        (("talk.de.vtt", "talk.en.srt"), "en", "talk.en.srt"),
        (("talk.de.vtt", "talk.en.vtt"), "de", "talk.de.vtt"),
        (("talk.srt", "talk.de.srt"), "en", "talk.srt"),
        (("talk.srt", "talk.en.srt"), "en", "talk.en.srt"),
        (("talk.en.forced.srt", "talk.de.srt"), "en", "talk.de.srt"),
        (("talk.srt", "talk.vtt"), "", "talk.vtt"),
    ],
)
def test_the_language_that_the_network_reads_comes_first(lay: Lay, names: tuple[str, ...], language: str, taken: str) -> None:
    found = find_sidecar(lay(*names), language)
    assert found.path == lay().parent / taken
    assert f"The words are from {taken}" in found.notes[0]


def test_names_are_compared_composed(tmp_path: Path) -> None:
    composed, taken_apart = (unicodedata.normalize(form, "café.srt") for form in ("NFC", "NFD"))
    (tmp_path / composed).write_text(SUBTITLES)
    assert find_sidecar(tmp_path / taken_apart.replace(".srt", ".mp4")).path == tmp_path / composed


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("talk.txt", "Text:  SO HAPPY\nConf:  3\n\nWORD START END ASDSCORE\nSO 0.11 0.30 8.2\n", "LRS"),
        ("talk.txt", "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n4\n4\n4\n", "names classes"),
        ("talk.txt", "valence,arousal\n0.1,0.2\n0.1,0.2\n0.3,0.1\n0.2,0.1\n", "numbers"),
        ("talk.csv", "frame, face_id, timestamp, AU01_r\n1, 0, 0.000, 0.5\n", "no column 'text'"),
        ("talk.csv", "start,end,neutral,anger,happiness,text\n0,1,1,0,0,x\n", "scores or labels"),
        ("talk.srt", "", "no cues"),
        ("talk.ass", "[Script Info]\n", "no cues"),
        ("talk.en.ttml", "<tt></tt>", "this form is not read; save it as .srt or .vtt"),
        ("talk.vtt", "WEBVTT\n\n00:00.000 --> 00:05.000\nsprite.jpg#xywh=0,0,160,90\n", "name pictures"),
        ("talk.txt", "\n", "empty"),
        ("talk.tsv", "\x89PNG\x00\x01", "no table"),
    ],
)
def test_what_is_no_transcript_is_left_alone_and_told(lay: Lay, name: str, content: str, why: str) -> None:
    found = find_sidecar(lay(name, content=content))
    assert found.path is None
    assert found.notes[0].startswith(f"{name} beside the clip was left alone: ")
    assert why in found.notes[0]
    lay("talk.de.srt")
    assert find_sidecar(lay()).path == lay().parent / "talk.de.srt"


def test_words_in_lines_are_a_transcript(lay: Lay) -> None:
    assert find_sidecar(lay("talk.txt", content="I am 7.\n42!\nOh no.\nWell, 3 of them.\n")).path == lay().parent / "talk.txt"
    assert find_sidecar(lay(), given=[lay().parent / "talk.txt"]).path is None
