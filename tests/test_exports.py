"""Exports are read back by readers that know nothing of the writers: csv, json, an XML parser, and small parsers written here."""

import copy
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from data.emotions import ABAW_COMPOUNDS
from data.errors import InputError
from data.run_folder import RunFolder
from reports.export_abaw import HEADER, abaw
from reports.export_annotation import elan, subrip, textgrid, webvtt
from reports.export_clip import ClipAnswer, cells, modality_spans, read_clip, run_folders
from reports.export_tables import csv_long, csv_wide, json_lines, segments
from reports.exports import FORMATS, format_named
from tests.media_makers import make_clip, make_sound

NAMES = [compound.name for compound in ABAW_COMPOUNDS]
NASTY = 'Ça «va» <b>"so\' & so"</b>\t--> 你好\n😀 \x01]]>'
NASTY_READ = 'Ça «va» <b>"so\' & so"</b> --> 你好 😀 ]]>'


@pytest.fixture(scope="module")
def sample(sample_run: RunFolder) -> ClipAnswer:
    return read_clip(sample_run, frames=True, cues=True)


def changed(clip: ClipAnswer, change: Callable[[dict[str, Any]], None], cues: Any = ()) -> ClipAnswer:
    result = copy.deepcopy(dict(clip.result))
    change(result)
    return ClipAnswer(result, None if clip.frames is None else clip.frames.copy(), cues)


def silent(result: dict[str, Any]) -> None:
    """No modality says anything, as for a clip with neither face nor speech."""
    for window in result["windows"]:
        window.update(present=False, top=None, confidence=None, none=None, reason="No modality answers.", emotion_shares={})
        window["basic"], window["compound"] = (dict.fromkeys(window[name]) for name in ("basic", "compound"))
    for entry in result["modalities"].values():
        entry["probabilities"] = [[None] * 7 for _ in entry["probabilities"]]
    result["timeline"] = []


def one_window(result: dict[str, Any]) -> None:
    result["windows"], result["timeline"] = result["windows"][:1], result["timeline"][:1]
    for entry in result["modalities"].values():
        entry["probabilities"] = entry["probabilities"][:1]


def none_of_them(result: dict[str, Any]) -> None:
    """Evidence in every window, but no compound wins."""
    for window in result["windows"]:
        window.update(top=None, confidence=None, none=0.9, reason="None of the compounds: 90 %.", emotion_shares={})
    result["timeline"] = []


@pytest.fixture(params=["sample", "silent", "one window", "none of them", "words"])
def clip(request: pytest.FixtureRequest, sample: ClipAnswer) -> ClipAnswer:
    cues = [
        {"start": 0.5, "end": 2.0, "text": NASTY, "speaker": ""}, {"start": 1.5, "end": 3.0, "text": "overlaps", "speaker": ""},
        {"start": 1.0, "end": 2.5, "text": "also", "speaker": 'Zoë <"&">'},
        {"start": float("nan"), "end": 1.0, "text": "no time"},
    ]  # fmt: skip
    kinds = {"silent": silent, "one window": one_window, "none of them": none_of_them, "words": lambda result: None}
    kind = request.param
    return sample if kind == "sample" else changed(sample, kinds[kind], cues if kind == "words" else ())


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


def test_textgrid_has_tiers_without_gaps_or_overlaps(clip: ClipAnswer) -> None:
    tiers = read_textgrid(textgrid(clip))
    assert list(tiers)[:2] == ["compounds", next(iter(clip.result["modalities"]))]
    for spans in tiers.values():
        assert spans[0][0] == 0
        assert spans[-1][1] == pytest.approx(max(end for tier in tiers.values() for _, end, _ in tier))
        assert all(start < end for start, end, _ in spans)
        assert all(before[1] == after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert [label for _, _, label in tiers["compounds"] if label] == [row["compound"] for row in clip.result["timeline"]]


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


def test_the_formats_own_readers_agree_where_they_are_installed(clip: ClipAnswer, tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi", reason="pympi-ling, which reads ELAN and Praat files, is not installed")
    for name, writer in (("clip.eaf", elan), ("clip.TextGrid", textgrid)):
        (tmp_path / name).write_text(writer(clip), encoding="utf-8")
    eaf = pympi.Elan.Eaf(str(tmp_path / "clip.eaf"))
    grid = pympi.Praat.TextGrid(str(tmp_path / "clip.TextGrid"), codec="utf-8")
    tiers = {tier.name: [found[2] for found in tier.get_all_intervals() if found[2]] for tier in grid.get_tiers()}
    assert tiers == {
        name: [found[2] for found in sorted(eaf.get_annotation_data_for_tier(name))] for name in eaf.get_tier_names()
    }
    assert tiers["compounds"] == [row["compound"] for row in clip.result["timeline"]]


def long(result: dict[str, Any]) -> None:
    """Three hours in windows of 4 s every 2 s."""
    count = 5400
    result["windows"] = [{**result["windows"][0], "start": 2.0 * row, "end": 2.0 * row + 4} for row in range(count)]
    for entry in result["modalities"].values():
        rows = entry["probabilities"]
        entry["probabilities"] = [rows[row % len(rows)] for row in range(count)]
    result["clip"]["duration"] = 10802.0


def test_three_hours_are_written_whole(sample: ClipAnswer) -> None:
    clip = changed(sample, long)
    tiers, other = read_elan(elan(clip)), read_textgrid(textgrid(clip))
    assert tiers["voice"][-1][1] == 10_802_000
    assert [label for *_, label in tiers["voice"]] == [label for *_, label in other["voice"] if label]
    assert len("".join(csv_wide([clip])).splitlines()) == 5401


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
            assert f"{row['compound'].replace('_', ' ')} ({row['confidence']:.2f})" in text


def test_captions_of_a_long_clip_with_a_name_full_of_markup(sample: ClipAnswer) -> None:
    stretch = {"start": 3599.9996, "end": 36000.5, "compound": "<i>a & b</i>\n--> {c}", "confidence": None, "neutral": None}
    clip = changed(sample, lambda result: result.update(timeline=[stretch]))
    assert webvtt(clip) == "WEBVTT\n\n01:00:00.000 --> 10:00:00.500\n&lt;i&gt;a &amp; b&lt;/i&gt; --&gt; {c}\n"
    assert subrip(clip) == "1\n01:00:00,000 --> 10:00:00,500\n‹i›a & b‹/i› --› (c)\n"


def test_a_wide_table_is_windows_parquet(sample: ClipAnswer, sample_run: RunFolder) -> None:
    read = pd.read_csv(io.StringIO("".join(csv_wide([sample]))))
    windows = pd.read_parquet(sample_run.windows)
    assert (read["clip_id"] == sample.clip_id).all()
    assert set(windows.columns) <= set(read.columns)
    for name in [*sample.result["emotions"], *NAMES, "start", "end", "confidence"]:
        assert np.allclose(read[name], windows[name], atol=1e-6, equal_nan=True)
    assert read["top"].tolist() == windows["top"].tolist()


def test_tables_leave_what_is_not_known_empty(sample: ClipAnswer) -> None:
    quiet = changed(sample, silent)
    rows = list(csv.DictReader(io.StringIO("".join(csv_wide([quiet])))))
    assert len(rows) == len(quiet.result["windows"])
    assert {row["top"] + row["anger"] + row[NAMES[0]] for row in rows} == {""}
    assert rows[0]["reason"] == "No modality answers."
    assert len("".join(csv_long([quiet])).splitlines()) == 1


def test_long_rows_add_up_to_distributions(clip: ClipAnswer) -> None:
    table = pd.read_csv(io.StringIO("".join(csv_long([clip]))))
    sums = table.groupby(["window", "source"])["probability"].sum()
    assert np.allclose(sums, 1, atol=1e-4)
    known = sum(row[0] is not None for entry in clip.result["modalities"].values() for row in entry["probabilities"])
    assert (~table["source"].isin(["fused", "compound"])).sum() == 7 * known


def test_json_lines_hold_the_windows(clip: ClipAnswer) -> None:
    lines = "".join(json_lines([clip])).split("\n")
    rows, emotions = [json.loads(line) for line in lines[:-1]], clip.result["emotions"]
    assert lines[-1] == ""
    assert len(rows) == len(clip.result["windows"])
    for place, (row, window) in enumerate(zip(rows, clip.result["windows"], strict=True)):
        assert row["clip_id"] == clip.clip_id
        assert row["window"] == place
        assert window.items() <= row.items()
        for name, entry in clip.result["modalities"].items():
            given = entry["probabilities"][place]
            assert row["modalities"][name] == (None if given[0] is None else dict(zip(emotions, given, strict=True)))


def test_segments_have_ten_fields(clip: ClipAnswer) -> None:
    odd = changed(clip, lambda result: result["clip"].update(clip_id="a clip\tof mine"))
    rows = [line.split(" ") for line in "".join(segments([odd])).splitlines()]
    assert [row[7] for row in rows] == [row["compound"] for row in clip.result["timeline"]]
    assert all(len(row) == 10 and row[:3] == ["SPEAKER", "a_clip_of_mine", "1"] and float(row[4]) > 0 for row in rows)


def test_tables_of_clips_with_other_columns_are_refused(sample: ClipAnswer) -> None:
    other = changed(sample, lambda result: result["windows"][-1]["compound"].update(new_one=0.1))
    with pytest.raises(InputError, match=r"new_one.*csv-long"):
        list(csv_wide([sample, other]))


def test_windows_are_cut_in_the_middle_of_their_overlap(sample: ClipAnswer) -> None:
    assert cells([(0, 4), (2, 6), (4, 8)]) == [(0, 3), (3, 5), (5, 8)]
    assert cells([(0, 1), (2, 3)]) == [(0, 1), (2, 3)]
    assert cells([]) == []

    def says(result: dict[str, Any]) -> None:
        result["windows"] = [{"start": s, "end": s + 4.0} for s in (0.0, 2.0, 4.0, 6.0)]
        rows = [[0.9, 0.1, 0, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0, 0], [None] * 7, [0.2, 0.8, 0, 0, 0, 0, 0]]
        result["modalities"]["voice"]["probabilities"] = rows

    spans = modality_spans(changed(sample, says), "voice")
    assert [(span.start, span.end, span.label) for span in spans] == [(0, 5, "neutral"), (7, 10, "anger")]


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


def test_real_clips_with_neither_face_nor_speech(
    prefect_session: None, dyad: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
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
    for name in ("csv", "csv-long", "jsonl", "rttm"):
        assert dyad("export", tmp_path / "runs", "--to", name, "-o", tmp_path / name)[0] == 0
    assert len((tmp_path / "jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert "have no answer" in dyad("export", runs[0].root, "--to", "abaw")[2]
    code, text, _ = dyad("export", runs[0].root, "--to", "abaw", "--fill", "sadly_fearful")
    assert code == 0
    assert text.splitlines()[1:] == [f"stumm é/{number:05d}.jpg,5" for number in range(1, 51)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_from_the_command_line(
    name: str, sample_run: RunFolder, dyad: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    file = tmp_path / f"out{FORMATS[name].suffix}"
    code, printed, _ = dyad("export", sample_run.root, "--to", name)
    assert code == 0
    assert printed
    assert dyad("export", sample_run.root, "--to", name, "-o", file)[0] == 0
    assert file.read_bytes().decode("utf-8") == printed
    assert dyad("export", sample_run.root.parent, "--to", name, "-o", tmp_path / "all")[0] == 0
    each = tmp_path / "all" / f"{sample_run.root.name}{FORMATS[name].suffix}"
    assert (each if FORMATS[name].write_clip else tmp_path / "all").read_bytes() == file.read_bytes()


def test_problems_are_sentences(copied_run: RunFolder, dyad: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    root = copied_run.root
    assert "csv-long" in dyad("export", root, "--to", "xlsx")[2]
    assert "belong to --to abaw" in dyad("export", root, "--to", "csv", "--fill", "sadly_angry")[2]
    assert "name a folder" in dyad("export", root.parent, "--to", "eaf")[2]
    assert "cannot be written" in dyad("export", root, "--to", "csv", "-o", tmp_path / "no" / "such.csv")[2]
    assert "cannot be read" in dyad("export", root, "--to", "abaw", "--template", tmp_path / "none.txt")[2]
    copied_run.result.write_text("{")
    code, _, said = dyad("export", root, "--to", "csv")
    assert code == 2
    assert "is damaged" in said
    with pytest.raises(InputError, match="neither a run folder"):
        list(run_folders(tmp_path / "empty"))
    with pytest.raises(InputError, match="not a format"):
        format_named("docx")
