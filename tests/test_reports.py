"""What people read of a result: Markdown and the terminal, with text from media made harmless."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from data.run_folder import RunFolder
from reports.markdown import escape, figure, main_contribution, result_markdown, seconds, title
from reports.result import number, to_json, version
from reports.terminal import print_result


@pytest.fixture
def result(sample_run: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sample_run.result.read_text(encoding="utf-8"))
    return content


def shown(result: dict[str, Any], width: int = 160) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_result(console, result, Path("runs/clip"))
    return console.export_text()


def test_the_terminal_shows_timeline_evidence_and_path(result: dict[str, Any]) -> None:
    text = shown(result)
    for stretch in result["timeline"]:
        assert f"{seconds(stretch['start'])} │" in text
        assert title(stretch["compound"]) in text
    assert "static face" in text
    assert "No CLIP checkpoint is on this machine" in text
    assert "runs/clip/result.json" in text


def test_a_clip_without_any_answer_says_so(result: dict[str, Any]) -> None:
    result["timeline"] = []
    result["summary"]["sentence"] = "No modality answers for this window."
    assert "No modality answers" in shown(result)


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
