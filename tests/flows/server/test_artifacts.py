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
from reports.timeline_picture import COLOURS, LARGEST, MODALITIES, timeline_picture

ReadResult = Callable[[RunFolder], dict[str, Any]]


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def has_colour(picture: np.ndarray[Any, Any], colour: str) -> bool:
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return bool((picture[..., :3] == wanted).all(axis=-1).sum() > 50)


def test_the_picture_shows_the_compounds_and_who_gave_what(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run)
    png = timeline_picture(result)
    assert len(png) < LARGEST
    picture = pixels(png)
    assert picture.shape[:2] == (440, 750)
    assert (picture[..., 3] == 0).mean() > 0.3, "no ground of its own: it stands on a dark and on a light page"
    compounds = {row["compound"] for row in result["timeline"] if row["compound"]}
    assert all(has_colour(picture, COLOURS[number]) for number in range(len(compounds)))


def test_an_hour_is_still_a_small_picture(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run)
    result["clip"]["duration"] = 3600.0
    result["windows"] = [{**result["windows"][at % 3], "start": 2.0 * at, "end": 2.0 * at + 4} for at in range(1799)]
    result["timeline"] = [{**result["timeline"][0], "start": 2.0 * at, "end": 2.0 * at + 1} for at in range(1799)]
    png = timeline_picture(result)
    assert len(png) < LARGEST
    assert has_colour(pixels(png), MODALITIES[0])


def test_a_clip_without_answers_has_a_picture_too(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run) | {"windows": [], "timeline": []}
    assert pixels(timeline_picture(result)).shape[1] == 750


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
