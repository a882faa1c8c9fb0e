"""The page about a data set, in a real browser: it sorts, filters, links, can be read, and shows text from media as text."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from sklearn.metrics import f1_score

from data.bootstrap import times_drawn
from data.emotions import ABAW_COMPOUNDS
from data.manifest.manifest import ManifestRow
from data.metrics import calibration_error
from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.batch.journal import Entry
from flows.batch.summary import MOST_THUMBNAILS, Totals, remake_page
from flows.clip.stages import STAGES
from flows.dataset import recognise_dataset
from reports.answer import answer_name
from reports.dataset.clip_brief import CELLS, binned, binned_hits, brief, most_apart
from reports.dataset.figures import Reliability, Tally
from reports.dataset.page import dataset_page
from reports.dataset.rows import MOST_BYTES, ClipRow, ClipRows
from reports.render.thumbnail import THUMBNAIL, make_picture, surest_time
from tests.browser import OpenPage, audit, screenshots
from tests.media_makers import make_clip

NAMES = [compound.name for compound in ABAW_COMPOUNDS]
MANIFEST = "Sätze & <b>Clips.csv"
NASTY = "<img src=x onerror=alert(1)>&amp;.mp4"
ODD = "Überraschung #1 & 100% „ä“"


@pytest.fixture(scope="module")
def dataset(prefect_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output for two halves of the sample, a clip with an odd name, a text that is no video, and a file that is gone."""
    media = tmp_path_factory.mktemp("media")
    (media / "sample.mp4").write_bytes(sample_clip().read_bytes())
    make_clip(media / f"{ODD}.mp4", seconds=1)
    (media / NASTY).write_text("no video")
    rows = [
        "path,clip_id,start,end,split,label",
        "sample.mp4,,0,6,train,happily_surprised", "sample.mp4,,6,12,test,fearfully_surprised",
        f"{ODD}.mp4,{ODD},,,<i>test</i>,neutral", f"{NASTY},bad,,,test,neutral", "gone.mp4,gone,,,test,neutral",
    ]  # fmt: skip
    (media / MANIFEST).write_text("\n".join(rows) + "\n", encoding="utf-8")
    output = tmp_path_factory.mktemp("dataset")
    recognise_dataset(str(media / MANIFEST), str(output), workers=1)
    return output


def column(page: Any, head: str) -> list[str]:
    """What the cells of a column say, from top to bottom."""
    heads = [text.strip(" ▲▼") for text in page.locator("#table thead th").all_inner_texts()]
    return page.locator(f"#table tbody tr > :nth-child({heads.index(head) + 1})").all_inner_texts()


def press(page: Any, head: str) -> str:
    """Click on a column's head; how the column says it is sorted then."""
    page.get_by_role("button", name=head, exact=True).click()
    return str(page.get_by_role("columnheader", name=head, exact=True).get_attribute("aria-sort"))


def test_a_data_set_in_the_browser(dataset: Path, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(dataset / "report.html", also=[sample_clip().parent, dataset.parent])
    assert page.locator("h1").inner_text() == MANIFEST
    assert page.locator("#count").inner_text() == "1 to 5 of 5 clips"
    assert page.locator("#table tbody img").count() == 3
    known = [text.split("\n")[0] for text in column(page, "Clip")]
    assert known == ["sample.mp4, 0 to 6 s", "sample.mp4, 6 to 12 s", ODD, "bad", "gone"]
    assert press(page, "Seconds") == "descending"
    seconds = [float(text) for text in column(page, "Seconds") if text != "–"]
    assert len(seconds) == 3
    assert seconds == sorted(seconds, reverse=True)
    assert press(page, "Seconds") == "ascending"
    assert column(page, "Seconds")[3:] == ["–", "–"], "what is not known stands last both ways"
    assert press(page, "Seconds") == "None", "the third time as in the manifest"
    assert len(set(column(page, "Split"))) == 3
    assert "<i>test</i>" in column(page, "Split")
    audit(page)
    assert [path.stat().st_size > 10_000 for path in screenshots(page, tmp_path, "dataset")] == [True] * 3


def test_filters_narrow_the_table_and_stay_when_one_comes_back(dataset: Path, open_page: OpenPage) -> None:
    page = open_page(dataset / "report.html", also=[sample_clip().parent, dataset.parent])
    page.get_by_label("Find").fill("überraschung")
    assert column(page, "State") == ["done"]
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("State").select_option("failed")
    assert page.locator("#count").inner_text() == "1 to 1 of 1 clip (of 5)"
    assert "holds text, not video" in column(page, "State")[0]
    page.get_by_label("Find").fill("nothing like this")
    assert "No clip is like this" in page.locator("#table tbody").inner_text()
    page.get_by_role("button", name="Show all").click()
    page.locator("#failures button").first.click()
    page.locator("#clips-head:focus").wait_for()
    assert len(column(page, "Clip")) == 1
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Find").fill("sample")
    press(page, "Sureness")
    before = column(page, "Clip")
    page.locator("#table tbody a").first.click()
    page.wait_for_selector("#now")
    page.go_back()
    page.wait_for_selector("#table tbody tr")
    assert column(page, "Clip") == before
    assert page.get_by_label("Find").input_value() == "sample"


def test_every_link_leads_somewhere_and_the_keyboard_is_enough(dataset: Path, open_page: OpenPage) -> None:
    page = open_page(dataset / "report.html", also=[sample_clip().parent, dataset.parent])
    links = page.eval_on_selector_all("a", "links => links.map(link => link.getAttribute('href'))")
    places = {unquote(link) for link in links if not link.startswith("#")}
    assert {(dataset / place).is_file() for place in places} == {True}
    assert {place.split("/")[1] for place in places} == {path.parent.name for path in dataset.glob("*/report.html")}
    assert all(page.locator(link).count() == 1 for link in links if link.startswith("#"))
    page.locator("#filters button").focus()
    for _ in range(2):  # past the table that scrolls (the buttons to other pages are disabled)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_by_role("columnheader", name="Clip", exact=True).get_attribute("aria-sort") == "ascending"
    page.emulate_media(media="print")
    assert not page.locator("#filters").is_visible()
    assert page.locator("#table").is_visible()


def test_text_from_media_shows_as_text(dataset: Path, open_page: OpenPage) -> None:
    page = open_page(dataset / "report.html")
    assert NASTY in page.locator("#table").inner_text()
    assert page.locator("img[onerror], h1 b, td i").count() == 0


def test_the_figures_of_a_run_agree_with_each_other(dataset: Path, open_page: OpenPage) -> None:
    summary = json.loads((dataset / "summary.json").read_text(encoding="utf-8"))
    found = summary["metrics"]["emotions"]["clips"]
    page = open_page(dataset / "report.html")
    row = page.get_by_role("row", name="emotions by clip").inner_text().split("\t")
    assert row[1:4] == [str(found["items"]), str(found["clips"]), "1 of 7"]
    assert [cell.split()[0] for cell in row[4:6]] == [f"{found[name]:.3f}" for name in ("macro_f1", "uar")]
    assert set(summary["reliability"]) == {"compounds"}, "nothing is known of the colours of the clip with the odd name"
    assert summary["reliability"]["compounds"]["items"] <= summary["metrics"]["compounds"]["windows"]["items"]
    assert summary["modalities"]["static_face"] == 2
    people = summary["people"]
    assert people["total"] == sum(people["shown"].values()) >= 2, "the face of either half"
    assert f"{people['total']} persons in them" in page.locator("header").inner_text()
    persons = [int(row.split("\t")[-1]) for row in page.locator("#shown tbody tr").all_inner_texts()]
    assert sum(persons) == people["total"]
    said = page.locator("#labels").inner_text()
    assert f"calibration error {summary['reliability']['compounds']['ece']:.3f}" in said
    assert "How sure the answers were is not known for these emotions." in said
    assert page.locator("#ran tbody tr").first.inner_text().startswith("static face\t2 of 3")


def test_the_command_makes_the_page_anew(dyad: Callable[..., tuple[int, str, str]], dataset: Path) -> None:
    page = dataset / "report.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    code, out, _ = dyad("report", dataset)
    assert (code, out.strip()) == (0, str(page))
    assert page.read_text(encoding="utf-8") == before
    code, _, err = dyad("report", dataset.parent / "nowhere")
    assert code != 0
    assert "There is no folder" in err
    assert not (dataset.parent / "nowhere").exists()


def test_any_folder_of_runs_has_a_page(dyad: Callable[..., tuple[int, str, str]], copied_run: RunFolder) -> None:
    other = RunFolder(copied_run.root.with_name("other-1"))
    shutil.copytree(copied_run.root, other.root)
    other.result.write_text("{", encoding="utf-8")
    code, out, _ = dyad("report", copied_run.root.parent)
    assert (code, out.strip()) == (0, str(copied_run.root.parent / "report.html"))
    page = Path(out.strip()).read_text(encoding="utf-8")
    assert "2 clips: 1 done, 1 failed." in page
    assert "other-1 holds no readable result.json" in page
    assert "What the clips show" in page


def test_a_page_can_be_made_of_a_run_that_was_interrupted_and_at_an_address(dataset: Path) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    for name in ("status.csv", "journal.jsonl"):
        system.pipe_file(f"/interrupted/{name}", (dataset / name).read_bytes())
    remake_page("memory://interrupted")
    written = system.cat_file("/interrupted/report.html").decode()
    assert "5 clips: 3 done, 1 failed, 1 rejected." in written
    assert "No clip has an answer that could be read" in written


# Pages of clips that were never run.


def answer(top: str = "", emotion: str = "neutral", **more: Any) -> dict[str, Any]:
    usual = {"top": top or None, "emotion": emotion, "likely": 0.5, "sureness": 0.4 if top else None, "none": 0.3}
    return {**usual, "duration": 4.0, "present": ["voice"], **more}


def clips_of(clips: Sequence[ClipRow]) -> ClipRows:
    rows = ClipRows(NAMES, tuple(STAGES), lambda _: True)
    for clip in clips:
        rows.add(clip)
    return rows


def page_of(clips: ClipRows, path: Path, **more: Any) -> Path:
    stages = {"decode": {"total": 1.0, "mean": 0.5}}
    summary = {
        "dyad": "0", "manifest": "clips.csv", "profile": "embedded", "notes": ["A note <b>."], "metrics": {}, "failures": [],
        "clips": {"total": clips.total, "done": clips.total, "degraded": 0}, "seconds": {"media": 4.0, "stages": stages},
        "compounds": {name: {"clips": 0, "seconds": 0.0} for name in NAMES},
    }  # fmt: skip
    path.write_text(dataset_page(summary, clips, **more), encoding="utf-8")
    return path


def many(count: int) -> Iterator[ClipRow]:
    draw = np.random.default_rng(7)
    for number in range(count):
        top = str(draw.choice([*NAMES, ""]))
        seconds = {stage: float(draw.uniform(0, 9)) for stage in STAGES}
        found = answer(top, sureness=float(draw.uniform()) if top else None, none=float(draw.uniform()))
        label = str(draw.choice(NAMES))
        yield ClipRow(f"clip{number:06d}-0123456789ab", f"clip{number:06d}.mp4", "done", "", label, "test", found, seconds)


def sorting(page: Any) -> float:
    """The fewest seconds that a press takes until the table is in its next order; in the end the surest are first."""
    seconds = []
    for order in ("descending", "ascending", "None", "descending"):
        began = time.perf_counter()
        assert press(page, "Sureness") == order
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@pytest.mark.slow
@pytest.mark.timing
def test_ten_thousand_clips_stay_usable(open_page: OpenPage, tmp_path: Path) -> None:
    path = page_of(clips_of(list(many(10_000))), tmp_path / "report.html")
    assert path.stat().st_size < 3_000_000
    page = open_page(path)
    assert page.locator("#count").inner_text() == "1 to 50 of 10000 clips"
    assert "Thumbnails are left out" in page.locator("#clips").inner_text()
    assert sorting(page) < 20 * sorting(open_page(page_of(clips_of(list(many(50))), tmp_path / "few.html")))
    confidence = [float(text) for text in column(page, "Sureness")]
    page.get_by_label("Find").fill("clip009999")
    assert page.locator("#count").inner_text() == "1 to 1 of 1 clip (of 10000)"
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("button", name="Next").click()
    assert column(page, "Clip")[0].startswith("clip000050.mp4")
    assert confidence == sorted(confidence, reverse=True)
    assert page.locator("#table tbody tr").count() == 50


@pytest.mark.slow
def test_more_clips_than_fit_are_counted(tmp_path: Path) -> None:
    reason = "It could not be read, for a reason that is long enough to fill the page with such sentences alone: number "
    failed = [ClipRow(f"late{number}", "x.mp4", "failed", f"{reason}{number}.") for number in range(1000)]
    rows = clips_of([*many(20_000), *failed])
    assert 10_000 < len(rows.rows) < 21_000 == rows.total
    assert any(row[0] == "late0" for row in rows.rows), "those that failed still have room"
    path = page_of(rows, tmp_path / "report.html")
    assert f"{rows.left_out} of 21000 clips have no row here" in path.read_text()
    assert MOST_BYTES < path.stat().st_size < 3_000_000


def test_three_hundred_thumbnails_fit(tmp_path: Path) -> None:
    clips = clips_of(list(many(MOST_THUMBNAILS)))
    path = page_of(clips, tmp_path / "report.html", thumbnails=[b"x" * THUMBNAIL.most_bytes] * MOST_THUMBNAILS)
    assert path.stat().st_size < 1_500_000


def test_one_clip_without_label_needs_no_figures(open_page: OpenPage, tmp_path: Path) -> None:
    name = "session_2_" + "take_and_camera_" * 6 + "x" * 90 + ".mp4"
    path = page_of(clips_of([ClipRow("clip", name, "done", answer=answer())]), tmp_path / "report.html", thumbnails=[None])
    page = open_page(path)
    assert page.locator("#labels").count() == page.locator("#failures").count() == 0
    assert "Label" not in page.locator("#table thead").inner_text()
    assert column(page, "Shown") == ["neutral"]
    assert column(page, "State") == ["done"]
    assert "A note <b>." in page.locator("header").inner_text()
    assert name in page.locator("#table tbody th").inner_text()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 900})
    assert page.evaluate("[...document.querySelectorAll('table, th *')].every(one => one.getBoundingClientRect().right <= 720)")
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("[...document.querySelectorAll('th span')].every(one => one.getBoundingClientRect().right <= 390)")
    audit(page)


def test_clips_to_look_at_come_with_the_worst_first() -> None:
    rows = clips_of([
        ClipRow("right", "a.mp4", "done", "", "sadly_angry", answer=answer("sadly_angry", sureness=0.9)),
        ClipRow("sure", "b.mp4", "done", "", "sadly_angry", answer=answer("sadly_fearful", sureness=0.8)),
        ClipRow("unsure", "c.mp4", "done", "", "sadly_angry", answer=answer("sadly_fearful", sureness=0.1)),
        ClipRow("emotion", "d.mp4", "done", "", "anger", answer=answer("sadly_angry", "fear", likely=0.85, sureness=0.5)),
        ClipRow("apart", "e.mp4", "done", answer=answer(apart={"distance": 0.7, "voice": "anger", "text": "fear"})),
        ClipRow("slow", "f.mp4", "failed", "broke", seconds={"faces": 9.0, "decode": 1.0}),
    ])  # fmt: skip
    assert [one.clip.clip_id for one in rows.outliers("wrong")] == ["emotion", "sure", "unsure"]
    assert rows.outliers("wrong")[0].words == "fear for anger"
    assert rows.outliers("unsure")[0].clip.clip_id == "unsure"
    assert [(one.clip.clip_id, one.words) for one in rows.outliers("apart")] == [("apart", "voice: anger, text: fear")]
    assert [(one.value, one.words) for one in rows.outliers("slow")] == [(10.0, "faces 9.0 s")]


# The figures.


@pytest.mark.slow
def test_intervals_are_those_of_drawing_clips_anew() -> None:
    draw = np.random.default_rng(3)
    truth = draw.integers(0, 3, 150)
    said = np.where(draw.random(150) < 0.6, truth, draw.integers(0, 3, 150))
    tally = Tally("abc")
    for number, (one, other) in enumerate(zip(truth, said, strict=True)):
        tally.add("abc"[one], {"abc"[other]: 1}, times_drawn(f"{number}.mp4"))
    figures = tally.figures()
    assert figures is not None
    picks = [draw.integers(0, 150, 150) for _ in range(400)]
    scores = [f1_score(truth[pick], said[pick], average="macro") for pick in picks]
    assert figures["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"), abs=1e-6)
    assert figures["intervals"]["macro_f1"] == pytest.approx(np.percentile(scores, (2.5, 97.5)), abs=0.02)
    assert figures["clips"] == 150


def test_one_clip_gives_no_interval_and_frames_of_a_clip_belong_together() -> None:
    weights = times_drawn("a.mp4")
    tally = Tally("ab")
    tally.add_pairs([("a", "a", 500), ("b", "", 500)], weights)
    assert tally.intervals() == {}
    tally.add_pairs([("a", "b", 500)], times_drawn("b.mp4"))
    low, high = tally.intervals()["war"]
    assert high - low > 0.3, "two clips say little, however many frames they have"


def test_segments_of_a_speaker_or_a_file_are_drawn_together() -> None:
    """Ten speakers, each wholly right or wholly wrong, say as much in four segments each as in one."""
    apart, alone = (Totals(()) for _ in range(2))
    for number in range(40):
        entry = Entry(f"c{number}", "", "done", answer={"emotion": "fear" if number % 2 else "anger"})
        same = ManifestRow(number, f"c{number}", f"{number}.mp4", None, None, "", "fear", speaker=str(number % 10))
        apart.add(same, entry)
        alone.add(replace(same, path=f"{number % 10}.mp4", speaker=""), entry)
    width = {}
    for name, totals in (("speakers", apart), ("files", alone)):
        low, high = totals.figures()["metrics"]["emotions"]["clips"]["intervals"]["war"]
        width[name] = high - low
    assert min(width.values()) > 0.5, "as of ten, not of forty, which give 0.3"
    lonely = Totals(())
    for number in range(5):
        row = ManifestRow(number, f"c{number}", "one.mp4", number, number + 1, label="fear")
        lonely.add(row, Entry(f"c{number}", "", "done", answer={"emotion": "fear"}))
    assert lonely.figures()["metrics"]["emotions"]["clips"]["intervals"] == {}


def test_reliability_is_the_expected_calibration_error() -> None:
    draw = np.random.default_rng(5)
    probabilities = draw.dirichlet([0.5] * 3, 400)
    truth = draw.integers(0, 3, 400)
    sure = Reliability()
    for row, label in zip(probabilities, truth, strict=True):
        sure.add("abc"[label], binned([("abc"[row.argmax()], float(row.max()))]))
    figures = sure.figures()
    assert figures is not None
    assert figures["ece"] == pytest.approx(calibration_error(probabilities, truth), abs=1e-4)
    assert sum(one["items"] for one in figures["bins"]) == 400
    frames = Reliability("frames")
    frames.add_cells(binned_hits(probabilities.max(1), probabilities.argmax(1) == truth))
    others = frames.figures()
    assert others is not None
    assert [(one["items"], one["right"]) for one in others["bins"]] == [(one["items"], one["right"]) for one in figures["bins"]]
    assert (others["unit"], others["ece"]) == ("frames", pytest.approx(figures["ece"], abs=1e-4))
    assert Reliability().figures() is None


def test_the_brief_of_a_result(sample_run: RunFolder) -> None:
    result = json.loads(sample_run.result.read_text(encoding="utf-8"))
    found = brief(result)
    assert found["sureness"] == pytest.approx(result["summary"]["sureness"], abs=1e-4)
    answered = [row["sureness"] for row in result["windows"] if row["top"]]
    assert sum(cell[1] for cells in found["window_sure"].values() for cell in cells) == len(answered)
    assert sum(cell[2] for cells in found["window_sure"].values() for cell in cells) == pytest.approx(sum(answered), abs=1e-3)
    assert "scene_labels" not in found["present"]
    assert found["people"] == [result["summary"]["top"] or result["summary"]["emotion"]]
    assert sum(cells for _, cells in found["ribbon"]) == CELLS
    assert [name for name, _ in found["ribbon"]] == [answer_name(row) for row in result["timeline"]]
    one, other = [1.0, *[0.0] * 6], [0.0, 0.5, 0.5, *[0.0] * 4]
    entries = {"voice": [one, [None] * 7], "text": [other], "static_face": [one], "scene_labels": [[None] * 7]}
    apart = most_apart({name: {"probabilities": rows} for name, rows in entries.items()})
    assert apart is not None
    assert apart["distance"] == 1
    assert apart["text"] == "anger"
    assert most_apart({"voice": {"probabilities": [one]}}) is None


def test_a_thumbnail_is_small_and_shows_the_surest_moment(sample_run: RunFolder, tmp_path: Path) -> None:
    import cv2

    from data.media.decode import DecodeOptions, decode
    from data.media.probe import probe

    assert 0 < sample_run.thumbnail.stat().st_size <= THUMBNAIL.most_bytes
    result = json.loads(sample_run.result.read_text(encoding="utf-8"))
    assert any(row["start"] <= surest_time(result) <= row["end"] for row in result["timeline"])
    assert surest_time({**result, "timeline": []}) == result["clip"]["duration"] / 2
    decoded = decode(probe(make_clip(tmp_path / "card.mp4", seconds=1)), tmp_path, DecodeOptions(5.0, 960))
    assert decoded.frames is not None
    assert decoded.index is not None
    made = make_picture(decoded.frames, decoded.index, 0.5)
    assert made is not None
    picture = cv2.imdecode(np.frombuffer(made, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[:2] == (72, 96)
    assert picture[10, 10].argmax() == 2, "the corner is red"
