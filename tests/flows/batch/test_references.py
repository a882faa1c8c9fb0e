"""The second pass over a data set: clips are related to their speakers once all were heard, and only what changed runs again."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.manifest.manifest import read_manifest
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.scores import Scores
from data.tables import read_scores, write_scores
from data.windows import make_windows
from flows.batch.journal import Entry, Journal
from flows.batch.references import gather
from flows.clip.known import known_of
from flows.dataset import recognise_dataset
from modalities.priors import estimated_shares, training_shares, with_priors
from modalities.reference import read_known


@pytest.fixture
def output(prefect_session: None, tiny_voice: None, tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        shutil.copy(sample_clip(), tmp_path / f"{name}.mp4")
    return tmp_path / "runs"


def run(output: Path, *rows: str, **overrides: object) -> dict[str, RunFolder]:
    """Run segments of the sample's copies: `name,start,end,speaker`."""
    manifest = output.parent / "clips.csv"
    manifest.write_text("\n".join(["clip_id,path,start,end,speaker", *(f"{row[0]},{row[0]}.mp4{row[1:]}" for row in rows)]))
    recognise_dataset(str(manifest), str(output), load_settings(overrides=overrides), workers=2)
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
    estimated = {"priors": "estimated", "prior_strength": 1.0}
    run(output, "a,0,6,Anna", "b,2,8,Anna", "c,4,10,Anna", static_face=estimated)
    assert used(clips["a"])[0] == used(clips["c"])[0] == "speaker"
    assert used(clips["a"])[1] > heard["a"][1]
    assert notes == {name: clip.marker("speech").stat().st_mtime_ns for name, clip in clips.items()}, "nothing is heard twice"
    assert results["a"] < clips["a"].result.stat().st_mtime_ns
    expected = [read_scores(clip.scores("static_face")).expected for clip in clips.values()]
    assert expected[0] is not None
    assert expected[0] == expected[1] == expected[2], "one estimate for the whole data set"


def test_shares_of_emotions_and_usual_faces_are_known_from_all_clips(tmp_path: Path) -> None:
    settings = load_settings(overrides={"static_face": {"priors": "estimated"}})
    learned, windows = np.array(training_shares("static_face")), make_windows(30.0)
    basic = {name: logged(name, len(windows)) for name in ("a", "b", "c")}
    with Journal(tmp_path / "journal.jsonl") as journal:
        for name, rows in basic.items():
            journal.add(Entry(name, "1", "done"))
            folder = RunFolder(tmp_path / name)
            folder.create()
            own = dict(zip(BASIC_EMOTIONS, estimated_shares(rows, learned).tolist(), strict=True))
            given = with_priors(rows.astype(np.float32), "static_face", own, 0.25)
            faces = pd.DataFrame({"frame": range(len(rows)), "time_s": windows[:, 0] + 1, "track_id": 1})
            faces = faces.assign(**dict(zip(BASIC_EMOTIONS, rows.T, strict=True)))
            scores = Scores("static_face", windows, given, np.ones(len(windows), bool), evidence=faces, expected=own)
            write_scores(folder.scores("static_face"), folder.evidence("static_face"), scores)
        (tmp_path / "clips.csv").write_text("clip_id,path,speaker\na,a.mp4,Anna\nb,b.mp4,Ben\nc,c.mp4,\n")
        clips = read_manifest(tmp_path / "clips.csv", check_files=False)
        known = gather(tmp_path, clips, journal, settings)
        assert len(set(known.values())) == 3
        assert gather(tmp_path, clips, journal, settings) == known, "nothing is done again"
    found = {name: known_of(tmp_path, name, settings) for name in ("Anna", "Ben", "")}
    wanted = estimated_shares(np.concatenate(list(basic.values())), learned)
    np.testing.assert_allclose([found[""].shares["static_face"][word] for word in BASIC_EMOTIONS], wanted, atol=0.002)
    assert not found[""].references
    anna, ben = (read_known(found[name].references["static_face"]) for name in ("Anna", "Ben"))
    assert anna.reference.mean[5] > ben.reference.mean[5], "Anna looks sadder, whatever she shows"
    assert not known_of(tmp_path, "Anna", load_settings(overrides={"static_face": {"reference": "none"}})).references


def logged(name: str, count: int) -> np.ndarray:
    """Answers to somebody who shows all emotions in turn; Anna, in `a`, always looks a little sad."""
    logs = np.random.default_rng(ord(name)).normal(0, 0.3, (count, 7))
    logs[np.arange(count), np.arange(count) % 7] += 4.0
    logs[:, 5] += 2.0 * (name == "a")
    return np.asarray(np.exp(logs) / np.exp(logs).sum(1, keepdims=True))
