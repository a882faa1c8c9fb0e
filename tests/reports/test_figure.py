"""The figure for a paper: real letters, the colours of the page, the same file again, clips one above the other."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import InputError
from data.run_folder import RunFolder
from reports.figure import write_figure
from reports.page.page import report_page
from reports.render.fonts import undrawable

Dyad = Callable[..., tuple[int, str, str]]


def test_the_command_draws_clips_one_above_the_other_at_the_width_of_a_column(
    dyad: Dyad, sample_run: RunFolder, tmp_path: Path
) -> None:
    target = tmp_path / "paper" / "figure.svg"
    code, out, err = dyad("figure", sample_run.root, sample_run.result, "-o", target, "--width", 85)
    assert (code, out.strip(), err) == (0, str(target), "")
    one = target.read_text(encoding="utf-8")
    assert float(re.search(r'width="([\d.]+)pt"', one)[1]) == pytest.approx(85 / 25.4 * 72)  # type: ignore[index]
    for words in ("happily surprised", "sadness", "dynamic face", "contribution", "seconds"):
        assert f">{words}<" in one, "letters are letters"
    result = json.loads(sample_run.result.read_text(encoding="utf-8"))
    for colour in {row["compound"]: 0 for row in result["timeline"]}:
        number = [row["name"] for row in result["compounds"]].index(colour)
        assert re.search(rf"\.k{number} {{ --c: (#\w+)", report_page(result))[1] in one  # type: ignore[index]
    dyad("figure", sample_run.root, sample_run.result, "-o", tmp_path / "again.svg", "--width", 85)
    assert (tmp_path / "again.svg").read_text(encoding="utf-8") == one


def test_a_pdf_holds_its_fonts_and_other_endings_are_refused(dyad: Dyad, copied_run: RunFolder, tmp_path: Path) -> None:
    assert dyad("figure", copied_run.root.parent, "-o", tmp_path / "figure.pdf")[0] == 0
    drawn = (tmp_path / "figure.pdf").read_bytes()
    width = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", drawn)
    assert width
    assert float(width[1]) == pytest.approx(180 / 25.4 * 72, abs=0.1)
    assert b"/FontFile2" in drawn
    with pytest.raises(InputError, match=r"ends in .svg, .pdf, .png"):
        write_figure(tmp_path / "figure.jpg", {"one": json.loads(copied_run.result.read_text(encoding="utf-8"))})
    code, _, err = dyad("figure", tmp_path, "-o", tmp_path / "none.svg")
    assert code == 2
    assert "neither a run folder nor a folder of them" in err


@pytest.mark.parametrize("name", ["日本語の映像", "فيلم", "हिन्दी", "party 🎉", "cost $5 or $6_a"])
@pytest.mark.filterwarnings("error")
def test_names_in_other_scripts_are_drawn_or_replaced_with_a_note_but_no_boxes(
    name: str, copied_run: RunFolder, tmp_path: Path
) -> None:
    result = json.loads(copied_run.result.read_text(encoding="utf-8"))
    known = f"clip-{result['clip']['content_hash'][:8]}"
    notes = write_figure(tmp_path / "named.png", {name: result})
    write_figure(tmp_path / "known.png", {known: result})
    alike = (tmp_path / "named.png").read_bytes() == (tmp_path / "known.png").read_bytes()
    lacking = undrawable([name])
    assert (alike, [note for note in notes if lacking not in note or f"{name} {known}" not in note]) == (bool(lacking), [])
    assert write_figure(tmp_path / "named.svg", {name: result}) == ()
    assert f">{name}<" in (tmp_path / "named.svg").read_text(encoding="utf-8"), "the viewer's fonts draw it"
