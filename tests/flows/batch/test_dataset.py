"""Whole data sets through the real flow: `dyad batch` as its users run it."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from configs.settings import Settings
from data.errors import DyadError
from data.manifest.manifest import ManifestRow, read_manifest
from data.metrics import scores_of, scores_of_counts
from data.run_folder import RunFolder
from flows.batch.clips import BatchPlan, fingerprint, plan_digest
from flows.batch.counts import Counts, duration, watching
from flows.batch.journal import Entry, Journal
from flows.batch.lease import alone
from flows.batch.one_clip import Outcome
from flows.batch.run import RECOGNITION
from flows.batch.storage import OutputFolder, output_at
from flows.batch.windows_table import DatasetTable
from flows.dataset import recognise_dataset
from tests.faults.batches import batch, ended, make_clips
from tests.faults.workloads import meet_with
from tests.media_makers import make_clip

Dyad = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small clips, a longer one with subtitles, a text that says it is a video, and a manifest of all."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("one", "two", "three"):
        make_clip(folder / f"{name}.mp4", seconds=1)
    make_clip(folder / "talk.mkv", seconds=6, cues=[(0.5, 1.5, "what a lovely day"), (3.5, 4.5, "now I am sad")])
    (folder / "bad.mp4").write_text("no video")
    (folder / "said.srt").write_text("1\n00:00:03,500 --> 00:00:04,500\nnow I am sad\n")
    rows = [
        "path,clip_id,start,end,split,label,speaker,corpus,transcript",
        "one.mp4,one,,,train,happiness,ann,,", "two.mp4,two,,,train,neutral,bob,ours,", "bad.mp4,bad,,,test,neutral,bob,,",
        "talk.mkv,talk-b,3,6,test,sadness,ann,MELD,said.srt", "gone.mp4,gone,,,test,neutral,bob,MELD,",
        "talk.mkv,talk-a,0,3,test,happiness,ann,meld,",
    ]  # fmt: skip
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def finished(prefect_session: None, media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the manifest's run. Read it, never write to it."""
    output = tmp_path_factory.mktemp("dataset")
    recognise_dataset(str(media / "clips.csv"), str(output), workers=1)
    return output


def status(output: Path) -> dict[str, dict[str, Any]]:
    table = pd.read_csv(output / "status.csv", dtype=str, keep_default_na=False)
    return {row["clip_id"]: row for row in table.to_dict("records")}


def summary(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return found


def test_every_row_ends_in_a_state_and_bad_ones_in_a_sentence(finished: Path) -> None:
    rows = status(finished)
    assert list(rows) == ["one", "two", "bad", "talk-b", "gone", "talk-a"], "in the order of the manifest"
    assert [rows[name]["state"] for name in rows] == ["done", "done", "failed", "done", "rejected", "done"]
    assert "holds text, not video" in rows["bad"]["reason"]
    assert "gone.mp4 is not there" in rows["gone"]["reason"]
    assert float(rows["one"]["seconds"]) >= float(rows["one"]["faces"]) > 0
    assert summary(finished)["clips"] == {"total": 6, "done": 4, "degraded": 0, "failed": 1, "rejected": 1, "skipped": 0}


def test_rows_that_lead_nowhere_end_no_data_set(prefect_session: None, media: Path, tmp_path: Path) -> None:
    """Addresses without their driver, in a form that their file system does not know, and a name that Dyad writes itself."""
    bad = {"driver": "lakefs://b/x.mp4", "owner": "github://x/y.mp4", "hub": "hf://a/x.mp4", "status.csv": "two.mp4"}
    rows = "".join(f"{path},{clip_id}\n" for clip_id, path in bad.items())
    (media / "nowhere.csv").write_text(f"path,clip_id\n{rows}one.mp4,one\n")
    recognise_dataset(str(media / "nowhere.csv"), str(tmp_path), workers=1, allow_remote=["lakefs", "github", "hf"])
    found = status(tmp_path)
    assert {name: row["state"] for name, row in found.items()} == {
        "driver": "failed", "owner": "failed", "hub": "failed", "status.csv": "rejected", "one": "done",
    }  # fmt: skip
    for name in ("driver", "owner"):
        assert re.fullmatch(rf"{bad[name]} cannot be opened \(.+\); install .+\.", found[name]["reason"])
    assert "cannot be fetched (" in found["hub"]["reason"]


def test_segments_are_clips_of_their_own(finished: Path, result_of: Callable[[RunFolder], dict[str, Any]]) -> None:
    first, second = (result_of(RunFolder(finished / name)) for name in ("talk-a", "talk-b"))
    assert (first["clip"]["start"], first["clip"]["end"]) == (0, 3)
    assert (second["clip"]["start"], second["clip"]["end"]) == (3, 6)
    assert first["clip"]["content_hash"] != second["clip"]["content_hash"]
    assert second["windows"][0]["start"] == 0
    words = [(finished / name / "transcript.vtt").read_text() for name in ("talk-a", "talk-b")]
    assert "lovely" in words[0]
    assert "sad" not in words[0]
    assert "00:00:00.500 --> 00:00:01.500\nnow I am sad" in words[1]
    assert "NOTE Words: said.srt.\n" in words[1], "the file that was given, not the piece that was cut from it"
    assert not list(finished.glob(".decoded-*")), "what was decoded of the whole is removed"
    assert not list(finished.glob("*/work"))


def test_all_windows_are_in_one_table_with_what_the_manifest_says(finished: Path) -> None:
    table = pd.read_parquet(finished / "dataset.parquet")
    assert table["clip_id"].unique().tolist() == ["one", "two", "talk-b", "talk-a"]
    for clip_id, rows in table.groupby("clip_id"):
        own = pd.read_parquet(finished / str(clip_id) / "windows.parquet")
        np.testing.assert_allclose(rows["neutral"], own["neutral"])
    assert set(table.loc[table["speaker"] == "ann", "clip_id"]) == {"one", "talk-a", "talk-b"}
    assert table.loc[table["clip_id"] == "talk-b", "segment_start"].tolist() == [3.0]


def test_of_damaged_tables_the_whole_one_is_made_anew_and_a_clips_own_is_named(finished: Path, tmp_path: Path) -> None:
    row, entry = ManifestRow(1, "one", "one.mp4"), Entry("one", "", "done")
    (tmp_path / "dataset.parquet").write_bytes(b"cut off")
    shutil.copytree(finished / "one", tmp_path / "one")
    with DatasetTable(OutputFolder(tmp_path)) as table:
        table.add(row, entry)
    assert set(pd.read_parquet(tmp_path / "dataset.parquet")["clip_id"]) == {"one"}
    (tmp_path / "one/windows.parquet").write_bytes(b"cut off")
    with DatasetTable(OutputFolder(tmp_path)) as table, pytest.raises(DyadError, match="windows.parquet is damaged .* one"):
        table.add(row, replace(entry, ended=1.0))


def test_figures_of_clips_that_a_model_was_trained_on_say_so(finished: Path) -> None:
    found, said = summary(finished), "Trained on this: text on meld (2 clips)"
    assert found["trained_on"] == {"text": {"meld": 2}}
    assert said in found["notes"][-1]
    assert said in (finished / "report.html").read_text()


def test_labels_give_metrics_and_a_picture(finished: Path) -> None:
    rows = [row for row in status(finished).values() if row["state"] != "rejected"]
    found = summary(finished)["metrics"]["emotions"]["clips"]
    truth, said = [row["label"] for row in rows], [row["emotion"] or "no answer" for row in rows]
    theirs = confusion_matrix(truth, said, labels=found["answers"])[: len(found["classes"])]
    assert found["confusion"] == theirs.tolist()
    seen = sorted(set(truth))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, said, labels=seen, average="macro", zero_division=0), abs=1e-6)
    assert found["uar"] == pytest.approx(recall_score(truth, said, labels=seen, average="macro", zero_division=0), abs=1e-6)
    assert (finished / "confusion.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_is_done_is_left_out_until_it_changes(dyad: Dyad, media: Path, tmp_path: Path) -> None:
    folder, runs = tmp_path / "media", tmp_path / "runs"
    folder.mkdir()
    clips = [make_clip(folder / f"{name}.mp4", seconds=1) for name in ("a", "b")]
    (tmp_path / "told.csv").write_text("clip,window,text\nb.mp4,0,A man smiles.\n")
    given = ["-o", runs, "--descriptions", tmp_path / "told.csv"]

    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in runs.glob("*/result.json")}

    assert dyad("run", clips[0], *given)[0] == 0
    code, out, err = dyad("batch", folder, *given, "--json")
    results = written()
    assert (code, "2 clips: 2 done (1 of them before)" in " ".join(err.split())) == (0, True), "it goes on from 'dyad run'"
    answers = [json.loads(line) for line in out.splitlines()]
    assert {answer["clip"]["clip_id"] for answer in answers} == {path.parent.name for path in results}
    assert [answer["modalities"]["scene_context"]["state"] for answer in answers] == ["absent", "present"]
    assert dyad("run", folder, *given)[0] == 0
    code, _, err = dyad("batch", folder, *given)
    assert (code, "2 clips: 2 done (2 of them before)" in " ".join(err.split())) == (0, True)
    assert written() == results, "and 'dyad run' from it"
    make_clip(clips[0], seconds=2)
    (folder / "b.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nI am so angry\n")
    code, _, err = dyad("batch", folder, *given, "--fresh")
    assert (code, "2 clips: 2 done." in " ".join(err.split())) == (0, True)
    assert {path: written()[path] for path in results} == results, "other content and other words have folders of their own"
    assert sorted(path.parent.name[:2] for path in written().keys() - results) == ["a-", "b-"]
    assert any("angry" in path.read_text() for path in runs.glob("b-*/transcript.vtt"))


@pytest.mark.slow
def test_two_thousand_clips_that_are_done_are_skipped(prefect_session: None, tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"clip{number}.mp4").write_bytes(b"0")
    manifest = tmp_path / "clips.csv"
    manifest.write_text("path\n" + "".join(f"clip{number}.mp4\n" for number in range(2000)))
    output = output_at(tmp_path / "runs")
    digest = plan_digest(Settings(), False, RECOGNITION)
    with Journal(output.folder / "journal.jsonl") as journal:
        for row in read_manifest(manifest).rows():
            journal.add(Entry(row.clip_id, fingerprint(row, digest), "done", answer={"duration": 1.0}))
            (output.folder / row.clip_id).mkdir()
            (output.folder / row.clip_id / "result.json").touch()
    found = recognise_dataset(str(manifest), str(output.folder))
    assert (found["done"], found["skipped"]) == (2000, 2000)


def when_mended(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Iterator[tuple[str, Outcome]]:
    """A workload that fails for clips 'x...' as long as there is no file 'mended', and counts how often it is asked."""
    for row in rows:
        log = plan.output.folder / "asked.txt"
        log.write_text((log.read_text() if log.is_file() else "") + row.clip_id[0])
        broken = row.clip_id.startswith("x") and not (plan.output.folder / "mended").exists()
        yield row.clip_id, Outcome("failed", "The disk is broken.") if broken else Outcome("done")


def test_what_failed_runs_again_only_when_asked_for(prefect_session: None, media: Path, tmp_path: Path) -> None:
    manifest = media / "x.csv"
    manifest.write_text("path,clip_id\none.mp4,x1\ntwo.mp4,y1\nthree.mp4,x2\n")

    def run(**options: Any) -> dict[str, int]:
        (tmp_path / "asked.txt").unlink(missing_ok=True)
        found = recognise_dataset(str(manifest), str(tmp_path), workload="tests.flows.batch.test_dataset:when_mended", **options)
        return {name: found[name] for name in ("done", "failed", "skipped")}

    assert run() == {"done": 1, "failed": 2, "skipped": 0}
    (tmp_path / "mended").touch()
    assert run() == {"done": 1, "failed": 2, "skipped": 3}
    assert not (tmp_path / "asked.txt").exists()
    assert run(retry_failed=True) == {"done": 3, "failed": 0, "skipped": 1}
    assert (tmp_path / "asked.txt").read_text() == "xx"
    assert summary(tmp_path)["failures"] == []


def test_a_clip_that_hangs_is_given_up(prefect_session: None, media: Path, tmp_path: Path) -> None:
    found = recognise_dataset(
        str(media / "clips.csv"), str(tmp_path), limit=1, least_seconds=0.001, seconds_per_second=0.0
    )
    assert found["failed"] == 1
    assert "given up after" in status(tmp_path)["one"]["reason"]


def test_the_journal_outlives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.add(Entry("a", "1", "done"))
        journal.add(Entry("a", "2", "failed", "It broke."))
        journal.add(Entry("b", "3", "done", seconds={"faces": 1.5}))
    whole = (tmp_path / "journal.jsonl").read_bytes()
    (tmp_path / "journal.jsonl").write_bytes(whole[:-10])
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.latest("b") is None
        assert journal.latest("a") == Entry("a", "2", "failed", "It broke.")
        journal.add(Entry("b", "4", "done"))
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.latest("b") == Entry("b", "4", "done")
        assert journal.latest("c") is None
        assert len(journal) == 2


def test_two_runs_of_one_output_do_not_meet(dyad: Dyad, media: Path, tmp_path: Path) -> None:
    with alone(output_at(tmp_path)):
        code, _, err = dyad("batch", media / "clips.csv", "-o", tmp_path)
    assert code == 1
    assert "Another run writes to" in err
    with alone(output_at("memory://taken")), pytest.raises(DyadError, match="Another run writes to"):
        recognise_dataset(str(media / "clips.csv"), "memory://taken")


@pytest.mark.slow
def test_files_come_from_and_go_to_addresses(
    prefect_session: None, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYAD_STATE", str(tmp_path / "state"))
    store = fsspec.filesystem("memory")
    store.put(str(media / "one.mp4"), "/set/one.mp4")
    store.put(str(media / "bad.mp4"), "/set/bad.mp4")
    store.pipe("/set/words.txt", b"I am so happy")
    store.pipe("/set/clips.csv", b"path,clip_id,transcript\none.mp4,one,words.txt\nbad.mp4,bad,\nlost.mp4,lost,\n")
    found = recognise_dataset("memory://set/clips.csv", "memory://answers")
    assert (found["done"], found["failed"]) == (1, 2)
    assert json.loads(store.cat("/answers/one/result.json"))["modalities"]["text"]["state"] == "present"
    table = pd.read_csv("memory://answers/status.csv", index_col="clip_id")
    assert "There is no file memory://set/lost.mp4" in table.loc["lost", "reason"]
    assert len(pd.read_parquet("memory://answers/dataset.parquet")) == 1
    assert not list((tmp_path / "state").rglob("result.json")), "no copy stays on this machine"
    monkeypatch.setenv("DYAD_STATE", str(tmp_path / "another-machine"))
    assert recognise_dataset("memory://set/clips.csv", "memory://answers")["skipped"] == 3


def s3_server(port: int = 0) -> Any:
    """A real S3 server on this machine; what it holds is the process's and outlives it."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=port, verbose=False)
    server.start()
    return server


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server with two buckets, found by s3:// addresses."""
    pytest.importorskip("s3fs")
    server = s3_server()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in {**keys, "DYAD_STATE": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    for bucket in ("incoming", "answers"):
        fsspec.filesystem("s3").makedirs(bucket, exist_ok=True)
    yield server
    server.stop()


@pytest.mark.slow
def test_a_bucket_in_and_a_bucket_out(
    prefect_session: None, s3: Any, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("s3")
    for name in ("one.mp4", "talk.mkv", "said.srt", "bad.mp4", "clips.csv"):
        store.put_file(str(media / name), f"incoming/{name}")
    found = recognise_dataset("s3://incoming/clips.csv", "s3://answers/runs", workers=1)
    assert (found["done"], found["failed"], found["rejected"]) == (3, 3, 0)
    assert {"one", "talk-a", "talk-b", "status.csv", "summary.json", "dataset.parquet"} <= {
        path.rpartition("/")[2] for path in store.ls("answers/runs", refresh=True)
    }
    assert b"s3://incoming/bad.mp4 holds text, not video" in store.cat("answers/runs/status.csv")
    assert json.loads(store.cat("answers/runs/one/result.json"))["clip"]["path"] == "s3://incoming/one.mp4"
    assert not store.exists("answers/runs/.dyad-lease.json")
    monkeypatch.setenv("DYAD_STATE", str(tmp_path / "another-machine"))
    assert recognise_dataset("s3://incoming/clips.csv", "s3://answers/runs")["skipped"] == 6
    assert recognise_dataset("s3://incoming", "s3://answers/folder", limit=1)["failed"] == 1, "bad.mp4 is the first by name"


def putting(plan: BatchPlan, rows: Sequence[ManifestRow]) -> Iterator[tuple[str, Outcome]]:
    """A workload that puts a file a clip to the output's address."""
    for row in rows:
        (plan.output.folder / row.clip_id).mkdir(exist_ok=True)
        (plan.output.folder / row.clip_id / "result.json").write_text("{}")
        plan.output.put(row.clip_id, remove=True)
        yield row.clip_id, Outcome("done")


@pytest.mark.slow
def test_a_bucket_that_cannot_be_reached_any_more(prefect_session: None, s3: Any, tmp_path: Path) -> None:
    """No clip is lost, and none is a failed one for it: the run ends with a sentence and the same command goes on."""
    for number in range(20):
        (tmp_path / f"clip{number}.mp4").write_bytes(b"0")
    manifest, workload = tmp_path / "clips.csv", "tests.flows.batch.test_dataset:putting"
    manifest.write_text("path,clip_id\n" + "".join(f"clip{number}.mp4,clip{number}\n" for number in range(20)))

    def stop(counts: Counts) -> None:
        if counts.ended == 5:
            s3.stop()

    with watching(stop), pytest.raises(DyadError, match="s3://answers/set cannot be reached or written .* run the same command"):
        recognise_dataset(str(manifest), "s3://answers/set", workers=1, workload=workload)
    again = s3_server(s3.get_host_and_port()[1])
    try:
        found = recognise_dataset(str(manifest), "s3://answers/set", workers=2, workload=workload)
        assert (found["done"], found["failed"]) == (20, 0)
        assert 5 <= found["skipped"] < 20
        assert len(fsspec.filesystem("s3").glob("answers/set/clip*/result.json")) == 20
    finally:
        again.stop()


@pytest.mark.slow
def test_labels_of_frames_are_compared_frame_by_frame(prefect_session: None, tmp_path: Path) -> None:
    from data.sample import sample_clip

    clip = sample_clip()
    (tmp_path / clip.name).write_bytes(clip.read_bytes())
    shown = ["sadly_angry"] * 50 + ["Other"] * 50 + ["happily_surprised"] * 50
    labels = ["frame,label", *(f"{frame},{label}" for frame, label in enumerate(shown))]
    (tmp_path / "frames.csv").write_text("\n".join(labels) + "\n")
    rows = ["path,clip_id,start,frame_labels", f"{clip.name},a,,frames.csv", f"{clip.name},b,1,frames.csv"]
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    recognise_dataset(str(tmp_path / "clips.csv"), str(tmp_path / "runs"))
    rate = json.loads((tmp_path / "runs" / "a" / "result.json").read_text())["clip"]["frame_rate"]
    found = summary(tmp_path / "runs")
    frames, sure = found["metrics"]["compounds"]["frames"], found["reliability"]["compounds"]
    assert frames["items"] == 100 + 100 - round(rate)
    assert (sure["unit"], sure["items"]) == ("frames", frames["items"] - frames["unanswered"])
    assert sure["items"] > 50


@pytest.mark.slow
def test_interrupting_ends_cleanly_and_the_same_command_goes_on(prefect_session: None, media: Path, tmp_path: Path) -> None:
    folder, runs = make_clips(tmp_path / "media", 6, seconds=2), tmp_path / "runs"
    pressed, journal = partial(meet_with, "ctrl-c", "faces", runs, ended=1), runs / "journal.jsonl"
    code, said = ended(batch(folder, runs, "--workers", 2, before=pressed))
    assert code == 130, said
    assert "Stopped at your request" in said
    before = [json.loads(line) for line in journal.read_text().splitlines()]
    assert 1 <= len(before) < 6
    finished = len(list(runs.glob("*/result.json")))  # of which the last ones may be missing in the journal
    code, said = ended(batch(folder, runs, "--workers", 2))
    assert code == 0, said
    assert any(f"6 clips: 6 done ({count} of them before)" in said for count in range(len(before), finished + 1)), said
    assert len(journal.read_text().splitlines()) == 6, "no clip was done twice"


def test_progress_is_told_in_a_sentence(
    prefect_session: None, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with watching(lambda counts: told.append(counts.sentence())):
        recognise_dataset(str(media / "clips.csv"), str(tmp_path), workload="tests.flows.batch.test_dataset:when_mended")
    assert told[0].startswith("1 of 6 clips: 1 rejected")
    assert told[-1].startswith("6 of 6 clips: 5 done, 1 rejected")
    counts, now = Counts(total=100), time.monotonic()
    for _ in range(20):
        counts.add("done")
    counts.began = now - 10
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert counts.sentence() == "20 of 100 clips: 20 done; 2.0 a second, 40 s left"
    monkeypatch.undo()
    assert [duration(seconds) for seconds in (8.2, 190, 7500)] == ["8 s", "3 min 10 s", "2 h 5 min"]


def test_metrics_of_counts_are_those_of_vectors() -> None:
    draw = np.random.default_rng(7)
    truth, said = draw.integers(0, 5, 400), draw.integers(0, 5, 400)
    found = scores_of_counts(confusion_matrix(truth, said))
    assert found == pytest.approx(scores_of(truth, said))
