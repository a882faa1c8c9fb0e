"""The report page at work in a real browser: seeking, playing, keys, tooltips, print, and an audit of accessibility."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.clip.report import write_report
from reports.answer import said
from reports.page.page import report_page
from tests.browser import OpenPage, audit, opening
from tests.media_makers import make_clip
from tests.reports.page.test_page import NASTY, long_clip


@pytest.fixture(scope="module")
def opened(sample_run: RunFolder) -> Iterator[tuple[OpenPage, list[str]]]:
    """One browser for all tests here, after the run that they look at."""
    with opening() as both:
        yield both


@pytest.fixture
def open_page(opened: tuple[OpenPage, list[str]]) -> Iterator[OpenPage]:
    open_it, faults = opened
    yield open_it
    found = [*faults]
    faults.clear()
    assert not found, found


@pytest.fixture
def result(sample_run: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sample_run.result.read_text(encoding="utf-8"))
    return content


def time_of(page: Any) -> float:
    """Where the slider, and with it every cursor, stands; in seconds."""
    read = "lines => [lines.map(line => line.getAttribute('x1')), document.getElementById('time').value]"
    places, seconds = page.locator(".cursor").evaluate_all(read)  # at one moment: the video may be playing
    times = {round(float(place.rstrip("%")) / 100, 4) for place in places}
    assert len(times) == 1
    duration = float(page.locator("#time").get_attribute("max"))
    assert times.pop() * duration == pytest.approx(float(seconds), abs=0.06)
    return float(seconds)


def click_at(page: Any, track: str, share: float) -> None:
    box = page.locator(track).first.bounding_box()
    page.locator(track).first.click(position={"x": share * box["width"], "y": box["height"] / 2})


def test_people_seek_by_click_and_by_keys(copied_run: RunFolder, result: dict[str, Any], open_page: OpenPage) -> None:
    page = open_page(write_report(copied_run), also=[sample_clip()])
    assert page.locator(".lane").count() == sum(entry["state"] == "present" for entry in result["modalities"].values())
    for track in (".ribbon", ".lane", ".faces", ".curves", ".stack"):
        click_at(page, track, 0.5)
        assert time_of(page) == pytest.approx(6, abs=0.1)
        click_at(page, track, 0.1)
        assert time_of(page) == pytest.approx(1.2, abs=0.1)
    click_at(page, ".ribbon", 0.5)
    for key, seconds in (("ArrowRight", 7), ("Shift+ArrowLeft", 2), ("End", 12), ("ArrowLeft", 11), ("Home", 0)):
        page.keyboard.press(key)
        assert time_of(page) == pytest.approx(seconds, abs=0.1), key
    page.get_by_role("button", name="What a wonderful surprise").click()
    assert time_of(page) == pytest.approx(2.6, abs=0.1)
    page.get_by_role("button", name="Next change").click()
    after = next(row for row in result["timeline"] if row["start"] > 2.65)
    assert time_of(page) == pytest.approx(after["start"], abs=0.1)
    assert page.locator("#now").inner_text().endswith(f": {said(after)}")
    assert page.locator("#time").get_attribute("aria-valuetext") == page.locator("#now").inner_text()
    assert page.locator("[data-lane=text]").inner_text().startswith("now: ")
    page.locator("#time").focus()
    page.keyboard.press("ArrowRight")
    assert time_of(page) == pytest.approx(after["start"] + 1, abs=0.1)


def test_dragging_moves_the_cursor_along(copied_run: RunFolder, open_page: OpenPage) -> None:
    page = open_page(write_report(copied_run), also=[sample_clip()])
    page.locator(".curves").scroll_into_view_if_needed()
    box = page.locator(".curves").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] - 100, steps=4)
    assert time_of(page) == pytest.approx(9, abs=0.1)
    page.mouse.up()
    page.mouse.move(box["x"] + 5, box["y"] + 20)
    assert time_of(page) == pytest.approx(9, abs=0.1)


def test_why_modalities_are_absent_is_a_line_that_opens(copied_run: RunFolder, open_page: OpenPage) -> None:
    page = open_page(write_report(copied_run), also=[sample_clip()])
    line = page.locator(".absences details")
    assert line.inner_text().startswith("scene labels")
    assert "No CLIP checkpoint" not in line.inner_text()
    line.locator("summary").click()
    assert "No CLIP checkpoint" in line.inner_text()


def test_axe_finds_nothing_to_object_to(copied_run: RunFolder, open_page: OpenPage) -> None:
    page = open_page(write_report(copied_run), also=[sample_clip()])
    for summary in page.locator("summary").all():
        summary.click()
    audit(page)


def test_it_plays_and_boxes_follow_the_faces(result: dict[str, Any], tmp_path: Path, open_page: OpenPage) -> None:
    fast = {"deadline": "realtime", "cpu-used": "8"}
    make_clip(tmp_path / "clip.webm", seconds=3.0, fps=10, size=(160, 120), codec="libvpx", sound=None, options=fast)
    result["clip"] |= {"width": 320, "height": 240, "duration": 2.0, "start": 1.0}
    faces = pd.DataFrame({
        "time_s": [0.0, 0.8, 0.8], "track_id": [0, 0, 7], "main": [True, True, False], "x": [0.0, 80.0, 200.0], "y": 10.0,
        "width": 50.0, "height": 60.0,
    })  # fmt: skip
    (tmp_path / "report.html").write_text(report_page(result, media="./clip.webm", faces=faces), encoding="utf-8")
    page = open_page(tmp_path / "report.html")
    page.wait_for_function("() => document.getElementById('media').readyState > 0")
    click_at(page, ".ribbon", 0.2)
    main = page.locator("#boxes rect.main")
    assert float(main.get_attribute("x")) == pytest.approx(40, abs=3)  # half of the way between two sightings
    assert page.locator("#boxes text").all_text_contents() == ["face 0"]
    click_at(page, ".ribbon", 0.4)
    assert page.locator("#boxes rect").count() == 2
    page.get_by_label("Boxes of faces").uncheck()
    assert page.locator("#boxes rect").count() == 0
    page.keyboard.press("Home")
    assert page.evaluate("document.getElementById('media').currentTime") == pytest.approx(1, abs=0.05)  # a segment's beginning
    page.evaluate("document.getElementById('media').playbackRate = 0.0625")  # its end is half a minute away
    page.locator("#time").press(" ")
    page.wait_for_function("() => +document.getElementById('time').value > 0.03")
    assert page.locator("[data-do=play]").inner_text() == "Pause"
    page.locator("#time").press(" ")
    assert page.evaluate("document.getElementById('media').paused")
    assert 0.03 < time_of(page) < 2.0


def two_persons(result: dict[str, Any]) -> dict[str, Any]:
    """The answer as that of Ada, with Bob in the second half, who speaks."""
    blank = {"first_seen": 0.0, "last_seen": 9.0, "pictures": 9, "seconds_on_screen": 9.0, "seconds_speaking": 0.0}
    bobs = {**result["timeline"][0], "start": 6.0, "end": 12.0, "compound": None, "emotion": "sadness"}
    summary = {**result["summary"], "sentence": "Sadness for 6.0 of 12.0 s."}
    own = {"timeline": [bobs], "summary": summary, "modalities": {}, "contributions": {}}
    people = [{"person": 1, "name": "Ada", "main": True, "answer": {**own, "timeline": result["timeline"]}, **blank},
              {"person": 2, "name": "Bob", "main": False, "answer": own, **blank, "seconds_speaking": 6.0}]  # fmt: skip
    turns = [{"start": 6.0, "end": 12.0, "person": 2, "on_screen": True, "overlap": False}]
    return {**result, "person": 1, "people": people, "turns": turns}


def test_a_person_is_chosen_by_keys_and_said(result: dict[str, Any], tmp_path: Path, open_page: OpenPage) -> None:
    words = pd.DataFrame({"start": [0.0, 6.0], "end": [1.0, 7.0], "text": ["Hello.", "Oh no."], "speaker": ["Ada", "Bob"]})
    (tmp_path / "report.html").write_text(report_page(two_persons(result), transcript=words), encoding="utf-8")
    page = open_page(tmp_path / "report.html")
    audit(page)
    both, first = page.locator(".ribbon"), page.get_by_role("radio", name="Everybody")
    assert [one.is_visible() for one in both.all()] == [True, True]
    click_at(page, ".curves", 0.75)
    first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.get_by_role("radio", name="Bob").is_checked()
    assert time_of(page) == pytest.approx(9, abs=0.1), "its arrows choose, and do not seek"
    assert [one.is_visible() for one in both.all()] == [False, True]
    assert page.get_by_role("status").inner_text() == "Bob: Sadness for 6.0 of 12.0 s."
    assert page.locator("#now").inner_text().startswith("0:09.0: Bob: sadness")
    assert page.get_by_role("button", name="Oh no.").is_visible()
    assert not page.get_by_role("button", name="Hello.").is_visible()
    audit(page)
    page.keyboard.press("ArrowUp")
    assert [one.is_visible() for one in both.all()] == [True, False]
    assert not page.locator(".speakers rect").first.evaluate("rect => getComputedStyle(rect).opacity === '1'")
    plain = open_page(tmp_path / "report.html", java_script_enabled=False)
    assert [one.is_visible() for one in plain.locator(".ribbon").all()] == [True, True], "without a script all is there"
    assert not plain.locator("#persons").is_visible()
    assert plain.get_by_text("Bob:").is_visible()


def test_a_codec_that_the_browser_lacks_is_said(result: dict[str, Any], tmp_path: Path, open_page: OpenPage) -> None:
    make_clip(tmp_path / "clip.mov", seconds=1.0, codec="libx265")
    result["clip"]["duration"] = 1.0
    (tmp_path / "report.html").write_text(report_page(result, media="./clip.mov"), encoding="utf-8")
    page = open_page(tmp_path / "report.html")
    page.wait_for_function("media => media.readyState > 0 || media.error", arg=page.locator("#media").element_handle())
    if page.evaluate("document.getElementById('media').videoWidth"):
        pytest.skip("this browser plays HEVC")
    page.locator("#unplayable", has_text="cannot play the video of sample.mp4").wait_for()
    click_at(page, ".lane", 0.5)
    assert time_of(page) == pytest.approx(0.5, abs=0.06)


def test_words_that_are_markup_stay_words(result: dict[str, Any], tmp_path: Path, open_page: OpenPage) -> None:
    result["modalities"]["text"] |= {"state": "absent", "reason": NASTY, "source": None}
    words = pd.DataFrame({"start": [0.0], "end": [1.0], "text": [NASTY]})
    made = report_page(result, transcript=words, descriptions=words, settings=NASTY)
    (tmp_path / "report.html").write_text(made, encoding="utf-8")
    page = open_page(tmp_path / "report.html")
    assert page.get_by_role("button", name=NASTY).count() == 2
    assert page.locator("img").count() == 0
    page.locator(".absences summary").click()
    assert NASTY in page.locator(".absences details").inner_text()


def test_hours_are_sought_like_seconds(result: dict[str, Any], tmp_path: Path, open_page: OpenPage) -> None:
    (tmp_path / "report.html").write_text(report_page(long_clip(result, 2)), encoding="utf-8")
    page = open_page(tmp_path / "report.html", look="phone")
    click_at(page, ".lane", 0.5)
    assert time_of(page) == pytest.approx(3601, rel=0.02)
    assert page.locator("#now").inner_text().startswith(("1:0", "0:59:"))
    assert "2:00:00" in page.locator(".axis").text_content()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_paper_is_a_report_of_two_pages_with_the_reasons_and_no_buttons(copied_run: RunFolder, open_page: OpenPage) -> None:
    page = open_page(write_report(copied_run), also=[sample_clip()])
    page.emulate_media(media="print")
    assert "No CLIP checkpoint" in page.locator(".absences .paper").inner_text()
    for hidden in (".buttons", "#media", "#time", "details >> nth=0"):
        assert not page.locator(hidden).is_visible(), hidden
    assert page.locator("img.paper").is_visible()
    printed = page.pdf(format="A4", print_background=True)
    assert 1 <= printed.count(b"/Type /Page\n") <= 2
