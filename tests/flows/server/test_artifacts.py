"""What the Prefect UI shows of a clip: the picture of its timeline, the table of windows, where its files are."""

import asyncio
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from data.run_folder import RunFolder
from flows.server.artifacts import artifact_key, links_markdown, window_rows
from reports.figure import LARGEST, small_picture

ReadResult = Callable[[RunFolder], dict[str, Any]]


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_the_picture_is_small_also_of_an_hour_and_of_nothing(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run)
    nothing = result | {"windows": [], "timeline": []}
    for shown in (result, nothing):
        assert len(small_picture(shown)) < LARGEST
        assert pixels(small_picture(shown)).shape[1] == 750
    result["clip"]["duration"] = 3600.0
    result["windows"] = [{**result["windows"][at % 3], "start": 2.0 * at, "end": 2.0 * at + 4} for at in range(1799)]
    result["timeline"] = [{**result["timeline"][0], "start": 2.0 * at, "end": 2.0 * at + 1} for at in range(1799)]
    assert len(small_picture(result)) < LARGEST


def test_a_row_a_window_adds_up(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run)
    rows = window_rows(result)
    assert [row["from"] for row in rows] == [window["start"] for window in result["windows"]]
    for row, window in zip(rows, result["windows"], strict=True):
        given = sum(row[name.replace("_", " ")] or 0 for name in result["modalities"])
        won = window["compound"][window["top"]] if window["top"] else window["basic"][window["emotion"]]
        assert given == pytest.approx(won, abs=0.01)
        assert row["shown"] == (window["top"] or window["emotion"]).replace("_", " ")
        assert row["sureness"] == pytest.approx(window["sureness"], abs=1e-3)
    json.dumps(rows, allow_nan=False)


def test_the_artifacts_reach_the_server(sample_run: RunFolder) -> None:
    async def ask(kind: str) -> Any:
        async with get_client() as client:
            key = ArtifactFilter(key=ArtifactFilterKey(any_=[artifact_key(kind, sample_run.root.name)]))
            return (await client.read_artifacts(artifact_filter=key))[0]

    picture = asyncio.run(ask("timeline"))
    assert picture.type == "image"
    assert pixels(base64.b64decode(str(picture.data).removeprefix("data:image/png;base64,"))).shape[1] == 750
    assert "static face" in json.loads(str(asyncio.run(ask("windows")).data))[0]
    assert "run folder: " in str(asyncio.run(ask("result")).data)


def test_paths_become_links_where_a_web_server_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, media = Path("/data/runs/a clip-0123abcd"), Path("/videos/a_clip.mp4")
    assert "/data/runs/a clip-0123abcd/result.json" in links_markdown(folder, media)
    assert "](" not in links_markdown(folder, media), "a browser follows no link to a file of the machine"
    monkeypatch.setenv("DYAD_LINKS", "/elsewhere=https://no.example /data/runs=https://files.example/runs/")
    shown = links_markdown(folder, media)
    assert "- result: [result.json](https://files.example/runs/a%20clip-0123abcd/result.json)" in shown
    assert "- media: /videos/a\\_clip.mp4" in shown
