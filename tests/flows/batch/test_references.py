"""The second pass over a data set: clips are related to their speakers once all were heard, and only what changed runs again."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.errors import DyadError
from data.manifest.manifest import read_manifest
from data.media.clip import Clip
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.scores import Scores
from data.tables import read_scores, write_scores
from data.windows import make_windows
from flows.batch.journal import Entry, Journal
from flows.batch.references import gather, related_to
from flows.clip.known import KnownOfClip, known_of
from flows.clip.steps.modality import inputs
from flows.dataset import recognise_dataset
from flows.job import Job
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
    recognise_dataset(str(manifest), str(output), load_settings(overrides=overrides), workers=1)
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
            seen(RunFolder(tmp_path / name), rows, learned)
        (tmp_path / "clips.csv").write_text("clip_id,path,speaker\na,a.mp4,Anna\nb,b.mp4,Ben\nc,c.mp4,\n")
        clips = read_manifest(tmp_path / "clips.csv", check_files=False)
        known = gather(tmp_path, clips, journal, settings)
        assert known is not None
        assert len({related_to(known, row.clip_id, row.speaker) for row in clips.rows()}) == 3
        assert gather(tmp_path, clips, journal, settings) == known, "nothing is done again"
    found = {row.speaker: known_of(tmp_path / row.clip_id, row.speaker, settings) for row in clips.rows()}
    wanted = estimated_shares(np.concatenate(list(basic.values())), learned)
    np.testing.assert_allclose([found[""].shares["static_face"][word] for word in BASIC_EMOTIONS], wanted, atol=0.002)
    assert not found[""].references
    anna, ben = (read_known(found[name].references["static_face"]) for name in ("Anna", "Ben"))
    assert anna.reference.mean[5] > ben.reference.mean[5], "Anna looks sadder, whatever she shows"
    assert not known_of(tmp_path / "a", "Anna", load_settings(overrides={"static_face": {"reference": "none"}})).references
    RunFolder(tmp_path / "b").scores("static_face").write_bytes(b"cut off")
    for asked in (settings, load_settings()):
        with Journal(tmp_path / "journal.jsonl") as journal, pytest.raises(DyadError, match="b/.* is damaged .* run folder"):
            gather(tmp_path, clips, journal, asked)


def test_linked_persons_share_one_usual_face_and_what_links_them_alone_is_done_again(tmp_path: Path) -> None:
    settings, learned, count = load_settings(), np.array(training_shares("static_face")), len(make_windows(30.0))
    links = tmp_path / "same_people.csv"
    with Journal(tmp_path / "journal.jsonl") as journal:
        for name, persons in {"a": [], "b": [2], "c": [], "d": []}.items():
            journal.add(Entry(name, "1", "done"))
            folder = RunFolder(tmp_path / name)
            folder.create()
            folder.mark_done("people", "1", 0.0, {"person": 1, "persons": persons})
            seen(folder, logged(name, count), learned)
            for own in folder.persons:
                seen(own, logged("a", count), learned)
        (tmp_path / "clips.csv").write_text("clip_id,path,speaker\na,a.mp4,\nb,b.mp4,\nc,c.mp4,\nd,d.mp4,Dan\n")
        clips = read_manifest(tmp_path / "clips.csv", check_files=False)

        def known(*rows: str) -> tuple[dict[str, KnownOfClip], dict[str, str]]:
            links.write_text("\n".join(["same_person,clip_id,person", *rows]))
            told = gather(tmp_path, clips, journal, settings)
            assert told is not None
            found = {row.clip_id: known_of(tmp_path / row.clip_id, row.speaker, settings) for row in clips.rows()}
            return found, {row.clip_id: related_to(told, row.clip_id, row.speaker) for row in clips.rows()}

        found, before = known("1,a,1", "1,b,2", "2,b,1", "3,c,1")
        assert found["a"].references == found["b"].of_others[2] != {}, "one usual face of the person in both"
        assert read_known(found["a"].references["static_face"]).seconds == 2 * 2.0 * count, "of both clips"
        assert not found["b"].references
        assert not found["c"].references, "who is in one clip alone is judged as without links"
        job = Job(Clip(tmp_path / "b.mp4", "b", "", 30.0), RunFolder(tmp_path / "b"), settings, of_others=found["b"].of_others)
        assert [one.references for one in job.everyone()] == [{}, found["a"].references]
        assert inputs(job, "static_face") != inputs(replace(job, of_others={}), "static_face")

        found, after = known("1,a,1", "1,b,2", "1,d,1", "3,c,1")
        assert found["d"].references == found["a"].references == found["b"].of_others[2], "the manifest's name is that of all"
        assert [name for name in before if before[name] != after[name]] == ["a", "b", "d"]
        links.unlink()
        (tmp_path / "clips.csv").write_text("clip_id,path\na,a.mp4\nb,b.mp4\n")
        told = gather(tmp_path, read_manifest(tmp_path / "clips.csv", check_files=False), journal, settings)
        assert told is not None, "what was known is forgotten, and the clips are judged again"
        assert not known_of(tmp_path / "a", "", settings).references


def seen(folder: RunFolder, rows: np.ndarray, learned: np.ndarray) -> None:
    """Write answers [N, 7] to a face in N windows, by the shares of the emotions in them."""
    windows = make_windows(30.0)
    own = dict(zip(BASIC_EMOTIONS, estimated_shares(rows, learned).tolist(), strict=True))
    given = with_priors(rows.astype(np.float32), "static_face", own, 0.25)
    faces = pd.DataFrame({"frame": range(len(rows)), "time_s": windows[:, 0] + 1, "track_id": 1})
    faces = faces.assign(**dict(zip(BASIC_EMOTIONS, rows.T, strict=True)))
    scores = Scores("static_face", windows, given, np.ones(len(windows), bool), evidence=faces, expected=own)
    folder.create()
    write_scores(folder.scores("static_face"), folder.evidence("static_face"), scores)


def logged(name: str, count: int) -> np.ndarray:
    """Answers to somebody who shows all emotions in turn; Anna, in `a`, always looks a little sad."""
    logs = np.random.default_rng(ord(name)).normal(0, 0.3, (count, 7))
    logs[np.arange(count), np.arange(count) % 7] += 4.0
    logs[:, 5] += 2.0 * (name == "a")
    return np.asarray(np.exp(logs) / np.exp(logs).sum(1, keepdims=True))
