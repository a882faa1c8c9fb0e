"""What people read of a result: Markdown and the terminal, with text from media made harmless."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from data.bootstrap import times_drawn
from data.fused import Fusion
from data.run_folder import RunFolder
from data.scores import Scores
from data.version import version
from data.windows import make_windows
from fusion.fuse import fuse
from fusion.over_time import timeline
from reports.answer import answer_name, figure, headline, of_people, seconds, surely, title, window_answer
from reports.dataset.figures import Failures, Tally, confusion_picture, dataset_markdown, main_figures
from reports.explain import explain, whole_percents
from reports.markdown import escape, main_contribution, result_markdown
from reports.result import number, summary, to_json, windows_table
from reports.terminal import print_line, print_result
from tests.forked import ROOT


@pytest.fixture
def result(sample_run: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sample_run.result.read_text(encoding="utf-8"))
    return content


def shown(result: dict[str, Any], width: int = 160, **how: Any) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), no_color=True)
    print_result(console, result, "runs/clip", **how)
    return console.export_text()


@pytest.mark.parametrize("details", [False, True])
def test_a_narrow_terminal_gets_lines_instead_of_tables(result: dict[str, Any], details: bool) -> None:
    text = shown(result, 40, details=details)
    assert "┃" not in text
    assert all(len(line) <= 40 for line in text.splitlines() if "report.html" not in line)
    assert ("static face  " in text) == details


def test_the_terminal_says_the_answer_first_and_the_rest_when_asked(result: dict[str, Any]) -> None:
    text = shown(result)
    lines = text.strip().splitlines()
    assert lines[0] == f"sample.mp4: {result['summary']['sentence']}"
    assert f"{result['summary']['sureness']:.2f} (" in lines[1]
    assert lines[-1].strip() == "runs/clip/report.html"
    assert len(lines) <= 8
    assert "No CLIP checkpoint" not in text
    assert "Not there: scene labels" in text
    asked = shown(result, details=True)
    assert "No CLIP checkpoint is on this machine" in asked
    for stretch in result["timeline"]:
        assert title(answer_name(stretch)) in text
        assert f"{seconds(stretch['start'])} │" in asked


def test_of_one_of_several_clips_too_the_terminal_says_what_could_not_be_used(result: dict[str, Any]) -> None:
    console = Console(width=160, record=True, file=io.StringIO(), no_color=True)
    print_line(console, {**result, "problems": ["a.srt: all cues lie beyond the clip."]})
    line, problem = console.export_text().strip().splitlines()
    assert line.startswith(f"sample.mp4: {result['summary']['sentence'].rstrip('.')}")
    assert problem == "  a.srt: all cues lie beyond the clip."


@pytest.mark.parametrize("columns", [80, 40])
def test_in_a_real_terminal_no_line_is_cut(sample_run: RunFolder, columns: int) -> None:
    if not (script := shutil.which("script")):
        pytest.skip("no program 'script' on this machine, which makes a terminal")
    code = (
        "import json, pathlib, sys; from data.terminal import console; from reports.terminal import print_result; "
        "folder = sys.argv[1]; print_result(console(), json.loads(pathlib.Path(folder, 'result.json').read_text()), folder)"
    )
    command = f"stty cols {columns}; {shlex.join([sys.executable, '-c', code, str(sample_run.root)])}"
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    done = subprocess.run([script, "-qec", command, os.devnull], capture_output=True, text=True, check=True, cwd=ROOT, env=plain)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).replace("\r", "").strip().splitlines()
    assert " ".join(shown).startswith("sample.mp4: Happily surprised for ")
    assert [line for line in shown if len(line.rstrip()) > columns and not line.strip().startswith("/")] == []
    assert max(len(line) for line in shown[:-1]) > columns / 2, "it uses the room that there is"
    assert shown[-1].endswith("report.html")


def test_a_clip_without_evidence_says_what_is_not_there(result: dict[str, Any]) -> None:
    for entry in result["modalities"].values():
        entry["state"] = "absent"
    assert headline([], 12.0, result["modalities"]) == "No evidence: no face, no speech and no words."


def stretch(seconds: float, compound: str | None, emotion: str) -> Any:
    return {"start": 0.0, "end": seconds, "compound": compound, "emotion": emotion}


@pytest.mark.parametrize(
    ("rows", "duration", "words"),
    [
        ([(2, "angrily_surprised", "anger"), (8, None, "neutral")], 10,
         "Angrily surprised for 2.0 of 10.0 s; otherwise neutral."),
        ([(4, "sadly_angry", "anger")], 4, "Sadly angry throughout (4.0 s)."),
        ([(10, None, "neutral")], 10, "Neutral throughout (10.0 s); no compound expression."),
        ([(8, None, "neutral"), (2, None, "anger")], 10, "Neutral for 8.0 of 10.0 s; otherwise anger; no compound expression."),
        ([(2, "sadly_angry", "anger"), (3, "sadly_fearful", "fear"), (2, None, "fear")], 10,
         "Sadly fearful for 3.0 and sadly angry for 2.0 of 10.0 s; otherwise fear; no evidence for 3.0 s."),
        ([(90, "sadly_angry", "anger"), (510, None, "fear")], 600, "Sadly angry for 90.0 s of 10:00 min; otherwise fear."),
    ],
)  # fmt: skip
def test_the_headline(rows: list[Any], duration: float, words: str) -> None:
    assert headline([stretch(*row) for row in rows], duration, {}) == words


def test_of_somebody_who_is_there_for_a_moment_the_headline_tells_of_that() -> None:
    rows = [{**stretch(3, "sadly_angry", "anger"), "start": 0.0}, {**stretch(5, None, "neutral"), "start": 3.0}]
    told = [headline(rows, 5.0, {}, there) for there in ([[3.8, 5.0]], [[0.0, 0.5], [2.5, 3.5]], [[0.0, 4.5]], [])]
    assert told == [
        "Neutral for 1.2 of 5.0 s, while seen or heard; no compound expression.",
        "Sadly angry for 1.0 of 5.0 s, while seen or heard; otherwise neutral.",
        *["Sadly angry for 3.0 of 5.0 s; otherwise neutral."] * 2,
    ]


def test_the_sentence_about_several_people() -> None:
    shown: Any = [
        {"person": number, "name": name, "answer": {"timeline": [stretch(3.0, None, emotion)]}}
        for number, (name, emotion) in enumerate((("Anna", "neutral"), ("Bob", "anger")), 1)
    ]
    assert of_people("Neutral throughout.", 1, shown) == "Anna: Neutral throughout. Others: Bob anger."
    assert of_people("Anger throughout.", None, shown) == "Anger throughout. Each: Anna neutral, Bob anger.", "about everybody"
    assert of_people("Neutral throughout.", 1, shown[:1]) == "Neutral throughout."


def test_one_sureness_in_words_with_its_number() -> None:
    assert surely(0.62) == "fairly sure, 0.62"
    assert surely(0.62, (0.55, 0.7)) == "fairly sure, 0.62 (0.55 to 0.70)"
    assert surely(None) == ""
    assert surely(0.698) == "sure, 0.70", "the words are of the number that is shown"


def test_markup_in_names_and_reasons_shows_as_text(result: dict[str, Any]) -> None:
    result["clip"]["clip_id"] = "<script>alert(1)</script>[red]*x*|y|"
    result["modalities"]["text"] |= {"reason": "[bold]no[/bold] <img src=x>"}
    markdown = result_markdown(result)
    assert "<script>" not in markdown
    assert "<img" not in markdown
    assert "\\[red\\]\\*x\\*\\|y\\|" in markdown
    result["clip"]["path"] = "[red]name.mp4"
    assert "[red]name.mp4" in shown(result)


def test_markdown_tables_have_equal_columns(result: dict[str, Any]) -> None:
    for block in result_markdown(result).split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0:00.0"), (75.25, "1:15.2"), (3599.96, "59:59.9"), (None, "")]
)
def test_seconds_for_people(value: float | None, text: str) -> None:
    assert seconds(value) == text


def window(top: str | None, **more: Any) -> dict[str, Any]:
    compound = {"sadly_angry": 0.433333, "sadly_fearful": 0.566667}
    given = {"static_face": 0.2, "voice": 0.133333, "text": 0.1, "scene_labels": 0.0}
    shares = {"sadness": 0.301111, "anger": 0.132222}
    basic = {"sadness": 0.4, "anger": 0.3}
    return {"basic": basic, "start": 2.0, "end": 6.0, "compound": compound, "top": top, "none": 0.25, "reason": "",
            "contributions": given, "emotion_shares": shares, **more}  # fmt: skip


def test_the_explanation_divides_a_winner_between_emotions_and_modalities_without_rest() -> None:
    line, voice = explain({"windows": [window("sadly_angry", sureness=0.32)], "modalities": {"voice": {"reference": "Judged."}}})
    assert voice == "voice: Judged."
    assert line == (
        "0:02.0 to 0:06.0: sadly angry, rather unsure, 0.32: 69 % sadness and 31 % anger; "
        "evidence: static face 46 %, voice 31 %, text 23 %."
    )


def test_the_explanation_of_no_winner_names_the_emotion_the_reason_and_the_nearest() -> None:
    none, absent = "None of the compounds (80 % likely).", "No modality answers for this window."
    lines = explain({"windows": [
        window(None, reason=none, basic={"fear": 0.3, "anger": 0.5}),
        window(None, reason=absent, compound=dict.fromkeys(("sadly_angry", "sadly_fearful")), basic={"fear": None}),
    ], "modalities": {}})  # fmt: skip
    assert lines[0].startswith("0:02.0 to 0:06.0: anger; evidence: static face 46 %")
    assert lines[0].endswith("None of the compounds (80 % likely). The nearest would be sadly fearful.")
    assert lines[1].endswith("No modality answers for this window.")


@given(st.lists(st.floats(-0.2, 0.4), min_size=1, max_size=6))
def test_whole_percents_add_up_and_are_off_by_less_than_one(parts: list[float]) -> None:
    named = {str(place): value for place, value in enumerate(parts)}
    found = whole_percents(named)
    assert abs(sum(found.values()) - 100 * sum(parts)) <= 0.501
    assert all(abs(found[name] - 100 * value) < 1.001 for name, value in named.items())


def test_every_window_of_a_result_is_explained(result: dict[str, Any]) -> None:
    lines = explain(result)
    assert len(lines) == len(result["windows"])
    for line, row in zip(lines, result["windows"], strict=True):
        assert title(window_answer(row)) in line


def some_fusion(basic: list[list[float]], threshold: float) -> Fusion:
    rows = np.array(basic, np.float32)
    scores = Scores("voice", make_windows(2.0 * len(rows) + 2.0), rows, np.ones(len(rows), bool))
    return fuse([scores], method="learned", none_threshold=threshold, over_time="geometric")


NEUTRAL, AFRAID = [0.88, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02], [0.02, 0.02, 0.02, 0.45, 0.02, 0.02, 0.45]


def test_the_clips_compound_is_that_of_the_mean_over_it_and_not_of_most_windows() -> None:
    nearly = [0.02, 0.02, 0.02, 0.26, 0.28, 0.02, 0.38]
    fusion = some_fusion([nearly, nearly, nearly, AFRAID], 1.0)
    stretches = timeline(fusion)
    content = summary(fusion, stretches, 10.0, {})
    assert max(content["seconds"], key=lambda name: content["seconds"][name]) == "happily_surprised"
    assert content["top"] == "fearfully_surprised"
    shown = (1 - fusion.none)[:, None] * fusion.compound
    assert list(content["compound"].values()) == pytest.approx(shown.mean(0).tolist(), abs=1e-5)
    assert sum(content["compound"].values()) + content["none"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("basic", "threshold", "words"),
    [
        ([NEUTRAL, NEUTRAL], 0.5, "Neutral throughout (6.0 s); no compound expression."),
        ([AFRAID, NEUTRAL, NEUTRAL], 0.5, "otherwise neutral."),
        ([AFRAID], 0.5, "Fearfully surprised throughout (4.0 s)."),
    ],
)
def test_the_sentence_says_when_none_is_shown(basic: list[list[float]], threshold: float, words: str) -> None:
    fusion = some_fusion(basic, threshold)
    content = summary(fusion, timeline(fusion), 2.0 * len(basic) + 2.0, {})
    assert words in content["sentence"]
    assert content["windows_none"] == sum(row is NEUTRAL for row in basic) * (threshold < 1)
    table = windows_table(fusion)
    assert table["none"].between(0, 1).all()
    assert table["sureness"].between(table["sureness_low"], table["sureness_high"]).all()


def test_figures_and_numbers() -> None:
    assert figure(None) == "–"
    assert figure(0.256) == "0.26"
    assert number(float("nan")) is None
    assert number(0.12345678) == 0.123457
    assert escape("a\nb") == "a b"
    assert main_contribution({"contributions": {"voice": None, "text": 0}}) is None


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": float("nan")})


def test_the_version_is_the_projects() -> None:
    assert version().count(".") == 2


def summary_of(**more: Any) -> dict[str, Any]:
    return {
        "manifest": "a|b.csv", "clips": dict.fromkeys(("total", "done", "degraded", "failed", "rejected", "skipped"), 3),
        "seconds": {"stages": {"decode": {"total": 2.0, "mean": 1.0}, "faces": {"total": 9.0, "mean": 3.0}}}, "metrics": {},
        "compounds": {"sadly_angry": {"clips": 2, "seconds": 4.0}}, "reliability": {}, "trained_on": {}, "failures": [], **more,
    }  # fmt: skip


def test_a_data_set_in_markdown_names_the_slowest_stage_first_and_what_failed() -> None:
    failures = Failures()
    for line in range(3):
        reason = f"Line {line}: the path /clips/{line}.mp4 is not there; correct it."
        failures.add(reason, f"id{line}", f"/clips/{line}.mp4")
    failures.add("<b>odd</b>|", "id9", "/clips/9.mp4")
    failures.add("Line 9: the path s3://a/b.mp4 is an address.", "id4", "s3://a/b.mp4")
    text = dataset_markdown(summary_of(failures=failures.table()))
    assert text.index("| faces | 9.0 | 3.00 |") < text.index("| decode | 2.0 | 1.00 |")
    assert "| 3 | The path … is not there; correct it. | id0 |" in text
    assert "| 1 | Line 9: the path s3://a/b.mp4 is an address. | id4 |" in text, "what only one clip has keeps its name"
    assert "<b>" not in text
    assert "## Metrics" not in text
    assert "report.html" in text


def test_a_data_set_in_markdown_gives_figures_with_their_intervals() -> None:
    tally = Tally(("sadly_angry", "sadly_fearful"))
    for turn in range(20):
        tally.add("sadly_angry", {"sadly_angry" if turn % 2 else "": 1}, times_drawn(f"{turn}.mp4"))
    metrics = {"compounds": {"clips": tally.figures()}}
    reliability = {"compounds": {"unit": "windows", "items": 20, "ece": 0.1234, "bins": []}}
    text = dataset_markdown(summary_of(metrics=metrics, reliability=reliability))
    low, high = metrics["compounds"]["clips"]["intervals"]["uar"]
    assert 0.2 < low < 0.5 < high < 0.8
    assert "| compounds | clips | 20 | 0.667 (" in text
    assert f"| 0.500 ({low:.3f} to {high:.3f}) | 0.500 (" in text
    assert "| compounds | windows | 20 | 0.123 |" in text
    shown = main_figures(metrics)
    assert shown is not None
    assert confusion_picture(shown[1], shown[0]).startswith(b"\x89PNG")
    assert main_figures({}) is None
