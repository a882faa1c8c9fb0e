"""Exports for players and annotation tools, read back by readers that know nothing of the writers."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pympi
import pytest
import textgrids
import webvtt as vtt_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from data.run_folder import RunFolder
from reports.answer import answer_name, said
from reports.exports.annotation import elan, subrip, textgrid, webvtt
from reports.exports.clip import ClipAnswer, modality_spans, one_line, read_clip, tiers_of
from tests.answers import KINDS, NASTY, NASTY_READ, asked_for, changed, made
from tests.media_makers import make_clip, make_sound


@pytest.fixture(scope="module")
def sample(sample_run: RunFolder) -> ClipAnswer:
    return read_clip(sample_run, frames=True, cues=True)


@pytest.fixture(params=list(KINDS), scope="module")
def clip(request: pytest.FixtureRequest, sample: ClipAnswer) -> ClipAnswer:
    return asked_for(sample, request.param)


def read_textgrid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """Tiers of a TextGrid, read as Praat does: strings, flags and numbers in order, all else is comment."""
    text = text.removeprefix('File type = "ooTextFile"\nObject class = "TextGrid"\n')
    text = re.sub(r"\[\d*\]", "", text)
    values = iter(re.findall(r'"(?:[^"]|"")*"|<exists>|(?<==\s)-?\d+(?:\.\d+)?', text))

    def unquoted() -> str:
        return str(next(values))[1:-1].replace('""', '"')

    _, last, exists, count = float(next(values)), float(next(values)), next(values), int(next(values))
    assert exists == "<exists>"
    tiers = {}
    for _ in range(count):
        assert unquoted() == "IntervalTier"
        name = unquoted()
        assert (float(next(values)), float(next(values))) == (0.0, last)
        tiers[name] = [(float(next(values)), float(next(values)), unquoted()) for _ in range(int(next(values)))]
    assert next(values, None) is None
    return tiers


def read_elan(text: str) -> dict[str, list[tuple[int, int, str]]]:
    """Tiers of an .eaf by what the EAF 3.0 schema asks: order of elements, unique ids, references that exist."""
    root = ElementTree.fromstring(text.encode())
    order = [child.tag for child in root]
    assert order == sorted(order, key=["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"].index)
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.attrib)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", root.attrib["DATE"])
    slots = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")}
    assert len(slots) == len(list(root.iter("TIME_SLOT")))
    assert list(slots.values()) == sorted(slots.values())
    types = {item.attrib["LINGUISTIC_TYPE_ID"] for item in root.iter("LINGUISTIC_TYPE")}
    ids = [item.attrib["ANNOTATION_ID"] for item in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(ids) == len(set(ids))
    assert len(slots) == 2 * len(ids)
    assert root.findtext("HEADER/PROPERTY") == str(len(ids))
    tiers = {}
    for tier in root.iter("TIER"):
        assert tier.attrib["LINGUISTIC_TYPE_REF"] in types
        assert tier.attrib["TIER_ID"] not in tiers
        tiers[tier.attrib["TIER_ID"]] = [
            (slots[item.attrib["TIME_SLOT_REF1"]], slots[item.attrib["TIME_SLOT_REF2"]], item.findtext("ANNOTATION_VALUE") or "")
            for item in tier.iter("ALIGNABLE_ANNOTATION")
        ]
    return tiers


@pytest.mark.slow
def test_textgrid_has_tiers_without_gaps_or_overlaps(clip: ClipAnswer) -> None:
    tiers = read_textgrid(textgrid(clip))
    assert list(tiers)[:2] == ["expression", "basic emotion"]
    for spans in tiers.values():
        assert spans[0][0] == 0
        assert spans[-1][1] == pytest.approx(max(end for tier in tiers.values() for _, end, _ in tier))
        assert all(start < end for start, end, _ in spans)
        assert all(before[1] == after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert [label for _, _, label in tiers["expression"] if label] == [answer_name(row) for row in clip.result["timeline"]]


def test_elan_keeps_the_rules_of_its_schema_and_says_the_same_as_the_textgrid(clip: ClipAnswer) -> None:
    tiers, other = read_elan(elan(clip)), read_textgrid(textgrid(clip))
    assert list(tiers) == list(other)
    for name, spans in tiers.items():
        assert all(start < end for start, end, _ in spans)
        assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))
        labelled = [(start, end, label) for start, end, label in other[name] if label]
        assert [label for *_, label in spans] == [label for *_, label in labelled]
        assert np.allclose([span[:2] for span in spans], [[1000 * s, 1000 * e] for s, e, _ in labelled], atol=0.51)


def test_any_words_come_back_from_elan_and_textgrid(sample: ClipAnswer) -> None:
    cues = [{"start": 0.5, "end": 2.0, "text": NASTY, "speaker": 'Zoë <"&">'}]
    clip = ClipAnswer(sample.result, None, cues)
    assert read_elan(elan(clip))['transcript Zoë <"&">'] == [(500, 2000, NASTY_READ)]
    assert (0.5, 2.0, NASTY_READ) in read_textgrid(textgrid(clip))['transcript Zoë <"&">']



def read_by_their_own(clip: ClipAnswer, folder: Path) -> list[dict[str, list[tuple[float, float, str]]]]:
    """The tiers that pympi finds in the .eaf, and pympi and praat-textgrids in the TextGrid; times in s."""
    for name, writer in (("clip.eaf", elan), ("clip.TextGrid", textgrid)):
        (folder / name).write_text(writer(clip), encoding="utf-8")
    eaf = pympi.Elan.Eaf(str(folder / "clip.eaf"))
    grid = pympi.Praat.TextGrid(str(folder / "clip.TextGrid"), codec="utf-8")
    other = textgrids.TextGrid(str(folder / "clip.TextGrid"))
    return [
        {name: [(a / 1000, b / 1000, text) for a, b, text in sorted(eaf.get_annotation_data_for_tier(name))]
         for name in eaf.get_tier_names()},
        {tier.name: [found for found in tier.get_all_intervals() if found[2]] for tier in grid.get_tiers()},
        # This one leaves quotes doubled, and cuts those at the ends.
        {name.replace('""', '"'): [(found.xmin, found.xmax, str(found.text).replace('""', '"')) for found in tier if found.text]
         for name, tier in other.items()},
    ]  # fmt: skip


@pytest.mark.slow
def test_the_formats_own_readers_find_the_same_tiers(clip: ClipAnswer, tmp_path: Path) -> None:
    ours = tiers_of(clip)
    for found in read_by_their_own(clip, tmp_path):
        assert list(found) == list(ours)
        for name, spans in ours.items():
            assert [text for *_, text in found[name]] == [one_line(span.label) for span in spans]
            times = [(span.start, span.end) for span in spans]
            assert np.allclose([span[:2] for span in found[name]], times, atol=0.00051)


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SHORT = made(4.0)


@settings(max_examples=40, deadline=None)
@given(text=ANY, speaker=ANY)
def test_no_words_break_a_file(tmp_path_factory: pytest.TempPathFactory, text: str, speaker: str) -> None:
    clip = ClipAnswer(SHORT.result, None, [{"start": 0.5, "end": 2.0, "text": text, "speaker": speaker}])
    expected = [(0.5, 2.0, one_line(text))] if one_line(text) else []
    ours = list(tiers_of(clip))
    assert [(a / 1000, b / 1000, label) for a, b, label in read_elan(elan(clip))[ours[-1]]] == expected
    assert [span for span in read_textgrid(textgrid(clip))[ours[-1]] if span[2]] == expected
    known = 2 if set(text + speaker) & set('"=') else 3  # the third one takes " = " in a label for its own
    for found in read_by_their_own(clip, tmp_path_factory.getbasetemp())[:known]:
        assert found[ours[-1]] == expected


@pytest.mark.slow
def test_captions_are_read_by_a_player_s_parser(clip: ClipAnswer, tmp_path: Path) -> None:
    (tmp_path / "clip.srt").write_text(subrip(clip), encoding="utf-8")
    shown = [(row["start"], row["end"], said(row)) for row in clip.result["timeline"]]
    read = [vtt_reader.from_string(webvtt(clip), strict=True)]
    read += [vtt_reader.from_srt(str(tmp_path / "clip.srt"))] if shown else []  # it refuses a file without cues
    for found in read:
        assert [cue.text for cue in found] == [name for *_, name in shown]
        times = [[pd.Timedelta(moment).total_seconds() for moment in (cue.start, cue.end)] for cue in found]
        assert np.allclose(times, [row[:2] for row in shown], atol=0.00051)


def test_cues_that_overlap_get_tiers_of_their_own(sample: ClipAnswer) -> None:
    times = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0), (float("nan"), 1.0)]
    clip = ClipAnswer(sample.result, None, [{"start": s, "end": e, "text": f"{s}", "speaker": ""} for s, e in times])
    tiers = read_elan(elan(clip))
    assert [label for *_, label in tiers["transcript"]] == ["0.0", "2.0"]
    assert [label for *_, label in tiers["transcript (2)"]] == ["1.0"]


def test_elan_links_the_media_and_says_where_a_segment_begins(sample: ClipAnswer) -> None:
    segment = changed(sample, lambda result: result["clip"].update(path="/films/été & co.mp4", start=12.5))
    found = ElementTree.fromstring(elan(segment).encode()).find("HEADER/MEDIA_DESCRIPTOR")
    assert found is not None
    assert found.attrib["TIME_ORIGIN"] == "12500"
    assert found.attrib["MEDIA_URL"] == "file:///films/%C3%A9t%C3%A9%20%26%20co.mp4"
    assert found.attrib["MIME_TYPE"] == "video/mp4"


def test_captions_have_a_cue_a_stretch(clip: ClipAnswer) -> None:
    stamp = r"(\d\d):(\d\d):(\d\d)[.,](\d{3})"
    for text, head in ((webvtt(clip), "WEBVTT\n"), (subrip(clip), "")):
        assert text.startswith(head)
        times = [list(map(int, found)) for found in re.findall(rf"^{stamp} --> {stamp}$", text, re.MULTILINE)]
        read = [
            ((h * 60 + m) * 60 + s + ms / 1000, (h2 * 60 + m2) * 60 + s2 + ms2 / 1000) for h, m, s, ms, h2, m2, s2, ms2 in times
        ]
        assert np.allclose(read, [(row["start"], row["end"]) for row in clip.result["timeline"]], atol=0.001)
        for row in clip.result["timeline"]:
            assert f"\n{said(row)}\n" in text


def test_captions_of_a_long_clip_with_a_name_full_of_markup(sample: ClipAnswer) -> None:
    stretch = {"start": 3599.9996, "end": 36000.5, "compound": "<i>a & b</i>\n--> {c}", "sureness": None, "neutral": None}
    clip = changed(sample, lambda result: result.update(timeline=[stretch]))
    assert webvtt(clip) == "WEBVTT\n\n01:00:00.000 --> 10:00:00.500\n&lt;i&gt;a &amp; b&lt;/i&gt; --&gt; {c}\n"
    assert subrip(clip) == "1\n01:00:00,000 --> 10:00:00,500\n‹i›a & b‹/i› --› (c)\n"


def test_a_moment_has_the_mean_of_the_windows_that_cover_it(sample: ClipAnswer) -> None:
    def says(result: dict[str, Any]) -> None:
        result["windows"] = [{"start": s, "end": s + 4.0} for s in (0.0, 2.0, 4.0, 6.0)]
        rows = [[0.9, 0.1, 0, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0, 0], [None] * 7, [0.2, 0.8, 0, 0, 0, 0, 0]]
        result["modalities"]["voice"]["probabilities"] = rows

    spans = modality_spans(changed(sample, says), "voice")
    assert [(span.start, span.end, span.label) for span in spans] == [(0, 6, "neutral"), (6, 10, "anger")]


@pytest.mark.slow
def test_real_clips_with_neither_face_nor_speech(prefect_session: None, tmp_path: Path) -> None:
    from flows.video import recognise_video

    words = [(0.0, 1.0, 'Ça va? 你好 <b>"so"</b>')]
    mute = make_clip(tmp_path / "stumm é.mp4", sound=None)
    said = make_clip(tmp_path / "mots.mkv", cues=words, sound=None)
    heard = make_sound(tmp_path / "tone.wav", codec="pcm_s16le")
    runs = [RunFolder(recognise_video(media, output=tmp_path / "runs")) for media in (mute, said, heard)]
    clips = [read_clip(run, frames=True, cues=True) for run in runs]
    for clip in clips:
        assert len(clip.result["windows"]) == 1
        assert list(read_elan(elan(clip))) == list(read_textgrid(textgrid(clip)))
    assert not any(read_elan(elan(clips[0])).values())
    assert [label for *_, label in read_elan(elan(clips[1]))["transcript"]] == ['Ça va? 你好 "so"']
    assert webvtt(clips[0]) == "WEBVTT\n"
