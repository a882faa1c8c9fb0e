"""Two answers side by side, as a user asks for them: what differs is marked, what does not is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data.run_folder import RunFolder
from tests.browser import OpenPage, audit

Dyad = Callable[..., tuple[int, str, str]]


@pytest.fixture
def other(copied_run: RunFolder, tmp_path: Path) -> RunFolder:
    """The same run, as if another threshold and another answer were its."""
    folder = RunFolder(tmp_path / "others" / copied_run.root.name)
    shutil.copytree(copied_run.root, folder.root)
    result = json.loads(folder.result.read_text(encoding="utf-8"))
    result["timeline"] = [row | {"compound": "sadly_fearful"} for row in result["timeline"]]
    result["summary"] |= {"top": "sadly_fearful", "basic": result["summary"]["basic"] | {"fear": 0.99}}
    folder.result.write_text(json.dumps(result), encoding="utf-8")
    folder.settings.write_text(folder.settings.read_text(encoding="utf-8").replace("none_threshold: 0.5", "none_threshold: 0.9"))
    return folder


def marked(out: str) -> list[str]:
    """The rows of the terminal's table that are marked."""
    return [" ".join(line.split()[1:]) for line in out.splitlines() if line.startswith("≠")]


def test_two_settings_of_a_clip_are_compared_and_the_page_says_the_same(
    dyad: Dyad, copied_run: RunFolder, other: RunFolder, tmp_path: Path, open_page: OpenPage
) -> None:
    code, out, _ = dyad("compare", copied_run.root, other.root, "-o", tmp_path / "pages" / "compared.html")
    assert code == 0
    rows = marked(out)
    assert any(row.startswith("compound happily surprised sadly fearful") for row in rows)
    assert any(row.startswith("fusion.none_threshold 0.5 0.9") for row in rows)
    assert any(row.startswith("fear") for row in rows)
    assert not any(row.startswith(("disgust", "voice", "profile", "Dyad")) for row in rows)
    page = open_page(tmp_path / "pages" / "compared.html")
    assert len(page.locator("tr.differs").all()) == len([line for line in out.splitlines() if line.startswith("≠")])
    assert page.locator("img.figure").evaluate("image => image.complete && image.naturalWidth > 100")
    audit(page)


def test_two_data_sets_are_compared_by_clip(dyad: Dyad, copied_run: RunFolder, other: RunFolder) -> None:
    shutil.copytree(other.root, other.root.with_name("alone-1"))
    code, out, _ = dyad("compare", copied_run.root.parent, other.root.parent)
    assert code == 0
    said = " ".join(out.split())
    assert "0 of 1 clips that both have show the same answer" in said
    assert any(row.startswith(f"{copied_run.root.name[:12]}") for row in marked(out))
    code, out, _ = dyad("compare", copied_run.root.parent, copied_run.root.parent)
    assert "1 of 1 clips that both have show the same answer. Their mean emotions differ by 0.000" in " ".join(out.split())
    assert not marked(out)
    code, _, err = dyad("compare", copied_run.root, other.root.parent)
    assert code == 2
    assert "One of them is a clip" in err
