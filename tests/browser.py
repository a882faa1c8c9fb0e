"""A real browser for tests of pages: Chromium without a window, driven by Playwright.

`open_page(report)` gives a Playwright page that shows a file. The test fails when the page logs an error, throws one, or asks for
anything but what it holds itself and the files that the test allows. Open pages after everything that runs a flow: while
Playwright is at work, this thread counts as one inside an event loop, which Prefect would wait in.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync")  # fmt: skip
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"scheme": "light", "width": 1280, "height": 900},
    "dark": {"scheme": "dark", "width": 1280, "height": 900},
    "phone": {"scheme": "light", "width": 390, "height": 844},
}
"""How people look at a page; `look(page, name)` has them look so."""
OpenPage = Callable[..., Any]


def find_chromium(own: str = "") -> str:
    """$DYAD_CHROMIUM, one that is installed, or Playwright's `own`. Without one the test is skipped, or where
    $DYAD_NEEDS_BROWSER is set (as in CI) fails."""
    named = os.environ.get("DYAD_CHROMIUM", "")
    names = (named, "chromium", "chromium-browser", "google-chrome", own)
    found = next((path for name in names if name and (path := shutil.which(name))), "")
    if not found:
        said = "no Chromium on this machine for tests of pages; 'apt install chromium' gives one, or $DYAD_CHROMIUM names it"
        (pytest.fail if os.environ.get("DYAD_NEEDS_BROWSER") else pytest.skip)(said)
    return found


@pytest.fixture
def open_page() -> Iterator[OpenPage]:
    """Opens a file or an address in the browser: `open_page(path, look="dark", also=[media])` gives the Playwright page.

    Requests may go to the folder of the file (or the host of the address) and to the files and folders `also`.
    """
    with opening() as (open_it, faults):
        yield open_it
    assert not faults, faults


@contextlib.contextmanager
def opening(*flags: str) -> Iterator[tuple[OpenPage, list[str]]]:
    """What opens a page, and everything that pages did meanwhile and must not do; `flags` are more ones for the browser."""
    faults: list[str] = []
    with contextlib.ExitStack() as stack:
        browser: list[Any] = []

        def open_it(place: Path | str, *, look: str = "light", also: Sequence[Path] = (), **options: Any) -> Any:
            if not browser:
                browser.append(stack.enter_context(_browser(flags)))
            size = {"width": LOOKS[look]["width"], "height": LOOKS[look]["height"]}
            context = browser[0].new_context(color_scheme=LOOKS[look]["scheme"], viewport=size, **options)
            context.set_default_timeout(90_000)
            context.set_default_navigation_timeout(90_000)
            address = place.resolve().as_uri() if isinstance(place, Path) else place
            allowed = [path.resolve() for path in ((place.parent, *also) if isinstance(place, Path) else also)]
            context.on("page", lambda page: _watch(page, urlsplit(address).netloc, allowed, faults))
            page = context.new_page()
            page.goto(address)
            return page

        yield open_it, faults


def _watch(page: Any, host: str, allowed: Sequence[Path], faults: list[str]) -> None:
    def asked(url: str) -> None:
        parts = urlsplit(url)
        path = Path(unquote(parts.path)).resolve()
        inside = parts.scheme == "file" and any(path == place or place in path.parents for place in allowed)
        own = parts.scheme in ("data", "blob") or bool(host) and parts.netloc == host
        if not (inside or own):
            faults.append(f"request: {url[:300]}")

    page.on("console", lambda said: said.type in ("error", "warning") and faults.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("request", lambda request: asked(request.url))


@contextlib.contextmanager
def _browser(flags: Sequence[str]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        executable = find_chromium(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *flags])
        yield browser
        browser.close()


def look(page: Any, name: str) -> None:
    """Have the page seen as `LOOKS` says."""
    wanted = LOOKS[name]
    page.emulate_media(color_scheme=wanted["scheme"])
    page.set_viewport_size({"width": wanted["width"], "height": wanted["height"]})
    page.wait_for_function("width => innerWidth === width", arg=wanted["width"])


def audit(page: Any, looks: Sequence[str] = tuple(LOOKS)) -> None:
    """Assert that axe finds nothing to object to in any of the looks, and that no look must be scrolled sideways."""
    from axe_playwright_python.sync_playwright import Axe

    for name in looks:
        look(page, name)
        found = Axe().run(page).response["violations"]
        told = [f"{name}: {rule['id']} ({rule['help']}): {[node['html'][:200] for node in rule['nodes'][:3]]}" for rule in found]
        assert not told, "\n".join(told)
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{name}: {too_wide} pixels too wide"


def screenshots(page: Any, folder: Path, name: str, looks: Sequence[str] = tuple(LOOKS)) -> list[Path]:
    """Pictures of the whole page, `name-light.png` and so on; in $DYAD_SCREENSHOTS where that is set, else in `folder`."""
    folder = Path(os.environ.get("DYAD_SCREENSHOTS") or folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}-{kind}.png" for kind in looks]
    for kind, path in zip(looks, paths, strict=True):
        look(page, kind)
        page.screenshot(path=path, full_page=True)
    return paths
