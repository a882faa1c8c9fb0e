"""The browser of the tests sees what a page must not do; otherwise the tests of pages could not fail."""

from pathlib import Path

import pytest

from tests.browser import audit, opening, screenshots

PAGE = '<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1>{}</main></html>'


def test_faults_of_a_page_are_seen(tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside.png"
    bad = {
        "request: https://example.org/x.png": '<img alt="" src="https://example.org/x.png">',
        f"request: {outside.as_uri()}": f'<img alt="" src="{outside.as_uri()}">',
        "console: told": '<script>console.error("told")</script>',
        "error: thrown": '<script>throw Error("thrown")</script>',
        "request: http://127.0.0.1:9/": '<script>fetch("http://127.0.0.1:9/").catch(() => {})</script>',
    }
    page = tmp_path / "bad.html"
    page.write_text(PAGE.format("".join(bad.values())), encoding="utf-8")
    with opening("--host-resolver-rules=MAP example.org ~NOTFOUND") as (open_it, faults):  # whatever network there is
        open_it(page).wait_for_function("document.readyState === 'complete'")
    assert set(bad) <= set(faults)


def test_an_audit_sees_what_people_cannot_read_and_a_picture_shows_each_look(tmp_path: Path) -> None:
    good, bad, wide = (tmp_path / f"{name}.html" for name in ("good", "bad", "wide"))
    good.write_text(PAGE.format("<p>Fine.</p>"), encoding="utf-8")
    bad.write_text(PAGE.format('<p style="color: #ccc; background: #fff">Faint.</p>'), encoding="utf-8")
    wide.write_text(PAGE.format('<p style="width: 60rem">Wide.</p>'), encoding="utf-8")
    with opening() as (open_it, faults):
        page = open_it(good)
        audit(page)
        assert [path.stat().st_size > 0 for path in screenshots(page, tmp_path, "good")] == [True] * 3
        with pytest.raises(AssertionError, match="color-contrast"):
            audit(open_it(bad), ["light"])
        with pytest.raises(AssertionError, match="pixels too wide"):
            audit(open_it(wide), ["phone"])
    assert not faults
