"""The second pass over a data set: clips are related to their speakers once all were heard, and only what changed runs again."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from configs.settings import load_settings
from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.dataset import recognise_dataset


@pytest.fixture
def output(prefect_session: None, tiny_voice: None, tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        shutil.copy(sample_clip(), tmp_path / f"{name}.mp4")
    return tmp_path / "runs"


def run(output: Path, *rows: str) -> dict[str, RunFolder]:
    """Run segments of the sample's copies: `name,start,end,speaker`."""
    manifest = output.parent / "clips.csv"
    manifest.write_text("\n".join(["clip_id,path,start,end,speaker", *(f"{row[0]},{row[0]}.mp4{row[1:]}" for row in rows)]))
    recognise_dataset(str(manifest), str(output), load_settings(), workers=2)
    return {row[0]: RunFolder(output / row[0]) for row in rows}


def used(folder: RunFolder) -> tuple[str, float]:
    evidence = pd.read_parquet(folder.evidence("voice"))
    return str(evidence["reference"].iloc[0]), float(evidence["reference_seconds"].iloc[0])


@pytest.mark.slow
def test_clips_are_related_to_their_speakers_and_only_that_is_done_again(output: Path) -> None:
    clips = run(output, "a,0,6,Anna", "b,2,8,Anna", "c,4,10,")
    heard = {name: used(clip) for name, clip in clips.items()}
    assert heard["a"] == heard["b"]
    assert heard["a"][0] == "speaker"
    assert heard["c"][0] in ("clip", "speaker", "data set"), "its own voice, as turns tell it, or everybody's"
    assert heard["c"] != heard["a"]
    notes = {name: clip.marker("speech").stat().st_mtime_ns for name, clip in clips.items()}
    results = {name: clip.result.stat().st_mtime_ns for name, clip in clips.items()}
    run(output, "a,0,6,Anna", "b,2,8,Anna", "c,4,10,")
    assert results == {name: clip.result.stat().st_mtime_ns for name, clip in clips.items()}, "nothing is done twice"
    run(output, "a,0,6,Anna", "b,2,8,Anna", "c,4,10,Anna")
    assert used(clips["a"])[0] == used(clips["c"])[0] == "speaker"
    assert used(clips["a"])[1] > heard["a"][1]
    assert notes == {name: clip.marker("speech").stat().st_mtime_ns for name, clip in clips.items()}, "nothing is heard twice"
    assert results["a"] < clips["a"].result.stat().st_mtime_ns
