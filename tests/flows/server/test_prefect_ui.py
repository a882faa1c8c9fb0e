"""What of ours Prefect's pages show of a data set's run, in a real browser: names, progress, results, figures."""

from typing import Any

import pytest

from tests.browser import opening
from tests.conftest import OwnServer
from tests.media_makers import make_sound


@pytest.fixture(scope="module")
def run(own_server: OwnServer) -> dict[str, Any]:
    """A run of a data set that the server knows: a clip that is recognised, and a text that says it is a video."""
    folder = own_server.folder / "seen"
    folder.mkdir()
    make_sound(folder / "tone.wav", codec="pcm_s16le")
    (folder / "bad.mp4").write_text("no video")
    (folder / "seen.csv").write_text("path,clip_id,label\ntone.wav,tone,neutral\nbad.mp4,bad,anger\n")
    done = own_server.dyad("batch", folder / "seen.csv", "-o", folder / "runs")
    assert done.returncode == 1, done.stderr
    return own_server.run_named("seen.csv")


def artifacts(server: OwnServer, run: dict[str, Any]) -> dict[str, str]:
    """The ids of a run's artifacts by their keys."""
    of_run = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    return {found["key"]: found["id"] for found in server.ask("artifacts/filter", of_run)}


def test_the_ui_shows_a_data_set_and_its_clips(own_server: OwnServer, run: dict[str, Any]) -> None:
    keys = artifacts(own_server, run)
    assert {"timeline-tone", "windows-tone"} <= set(keys)
    host = own_server.url.removesuffix("/api")
    with opening() as (open_it, faults):
        page = open_it(own_server.entrance)
        page.wait_for_url(f"{host}/**/dashboard*")
        page.goto(f"{host}/v2/runs/flow-run/{run['id']}?tab=TaskRuns")
        page.get_by_text("recognise-dataset").first.wait_for()
        for name in ("tone", "bad"):
            page.get_by_role("link", name=name, exact=True).first.wait_for()
        page.get_by_role("tab", name="Logs").click()
        page.get_by_text("publish done in").first.wait_for()

        def show(key: str, *said: str) -> None:
            page.goto(f"{host}/v2/artifacts/artifact/{keys[key]}")
            for words in said:
                page.get_by_text(words).first.wait_for()

        show("progress-seen-csv", "Progress: 100%", "2 of 2 clips", "1 failed")
        show("dataset-seen-csv", "Metrics", "Slowest stages", "Failures", "holds text, not video or sound")
        show("result-tone", "Modalities", "dynamic face", "The file has no picture.")
        show("confusion-seen-csv", "Confusion of emotions by clips")
        page.wait_for_function("[...document.images].some(image => image.naturalWidth > 500)")
    assert not [fault for fault in faults if fault.startswith("request:")], "nothing asks anyone but this server"
