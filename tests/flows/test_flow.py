"""The whole way of a clip through the real flow on a real Prefect server."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.errors import DyadError, InputError
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.scores import MODALITIES
from flows.backends.own_networks import shipped_weights
from flows.clip.graph import NEEDS
from flows.runtime import stop
from flows.runtime.errors import Interrupted
from flows.runtime.events import Event, listening
from flows.server.artifacts import artifact_key
from flows.video import recognise_video
from reports.exports.file_schemas import RUN_FILES

DESCRIPTIONS = sample_clip().with_name("sample_descriptions.csv")
ReadResult = Callable[[RunFolder], dict[str, Any]]


class States(dict[str, str]):
    """What each stage did, and the run folder in which it did it."""

    folder: RunFolder


def again(folder: RunFolder, **options: Any) -> States:
    """Run the sample into the same output once more; what is asked in another way gets a folder beside that of before."""
    states = States()

    def note(event: Event) -> None:
        if event.state != "started":
            states[event.stage] = event.state

    with listening(note):
        options.setdefault("descriptions", DESCRIPTIONS)
        states.folder = RunFolder(recognise_video(sample_clip(), output=folder.root.parent, **options))
    return states


def ran(states: dict[str, str]) -> set[str]:
    return {stage for stage, state in states.items() if state != "skipped"}


def test_every_file_of_the_run_folder_is_there(sample_run: RunFolder) -> None:
    names = {path.name for path in sample_run.root.iterdir() if not path.name.startswith(".")}
    tables = {f"{modality}.parquet" for modality in MODALITIES}
    assert tables | {"result.json", "windows.parquet", "frames.parquet", "faces.parquet", "transcript.vtt"} <= names
    assert {"settings.yaml", "log.txt"} <= names
    assert "work" not in names
    assert not list(sample_run.root.rglob(".*.????????.*")), "a half-written file was left"


def test_whoever_is_alone_has_all_of_the_clip_and_nothing_is_done_twice(sample_run: RunFolder) -> None:
    notes = sample_run.finished("people")["notes"]
    assert (notes["person"], notes["persons"]) == (1, [])
    assert not sample_run.of_persons.exists()
    assert not sample_run.own_speech.exists()
    assert pd.read_parquet(sample_run.windows)["person"].unique().tolist() == [1]


def test_the_result_says_what_when_and_why(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run)
    states = {name: entry["state"] for name, entry in result["modalities"].items()}
    assert states == {
        "static_face": "present", "dynamic_face": "present", "scene_labels": "absent",
        "scene_context": "present", "voice": "absent", "text": "present",
    }  # fmt: skip
    assert "CLIP" in result["modalities"]["scene_labels"]["reason"]
    assert "./dyad models download whisper-base" in result["modalities"]["voice"]["remedy"]
    assert result["modalities"]["scene_labels"]["remedy"]
    assert not result["degraded"]
    assert len({window["top"] for window in result["windows"]}) > 1, "the face changes, so must the answer"
    named = [window for window in result["windows"] if window["top"]]
    assert [window for window in result["windows"] if window["none"] > 0.5] == [w for w in result["windows"] if not w["top"]]
    assert named
    for window in named:
        won = window["compound"][window["top"]]
        assert sum(value for value in window["contributions"].values() if value) == pytest.approx(won, abs=1e-4)
        assert sum(window["emotion_shares"].values()) == pytest.approx(won, abs=1e-4)
        assert sum(window["basic"].values()) == pytest.approx(1, abs=1e-4)
        assert window["contributions"]["scene_labels"] is None


def test_the_timeline_is_in_order_and_inside_the_clip(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run)
    ends = [0.0, *(stretch["end"] for stretch in result["timeline"])]
    for stretch, before in zip(result["timeline"], ends, strict=False):
        assert before <= stretch["start"] < stretch["end"] <= result["clip"]["duration"] + 1e-6


def test_tables_agree_with_the_result(sample_run: RunFolder, result_of: ReadResult) -> None:
    result = result_of(sample_run)
    windows, frames = pd.read_parquet(sample_run.windows), pd.read_parquet(sample_run.frames)
    assert windows["top"].astype(object).where(windows["top"].notna(), None).tolist() == [w["top"] for w in result["windows"]]
    np.testing.assert_allclose(windows["start"], [window["start"] for window in result["windows"]])
    assert frames["time_s"].is_monotonic_increasing
    assert len(frames) == round(result["clip"]["duration"] * result["clip"]["frame_rate"])
    assert frames["faces"].dropna().isin([0, 1]).all()
    assert frames["faces"].sum() == len(pd.read_parquet(sample_run.faces))


def test_each_modality_has_a_table_of_its_windows(sample_run: RunFolder) -> None:
    for modality in MODALITIES:
        table = pd.read_parquet(sample_run.scores(modality))
        shown = table.loc[table["present"], list(BASIC_EMOTIONS)]
        assert np.allclose(shown.sum(axis=1), 1, atol=1e-3)
        assert table.loc[~table["present"], list(BASIC_EMOTIONS)].isna().all(axis=None)


def test_settings_are_written_out_and_can_be_read_back(sample_run: RunFolder) -> None:
    written = yaml.safe_load(sample_run.settings.read_text())
    assert load_settings(str(sample_run.settings)) == load_settings()
    assert written["windows"] == {"length": 4.0, "shift": 2.0, "shortest": 1.0}


def test_prefect_shows_readable_names_and_the_result(sample_run: RunFolder) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, TaskRunFilter

    # The server answers with 200 runs at most, and other tests may have made more.
    of_sample = TaskRunFilter.model_validate({"name": {"like_": sample_run.root.name}})
    expected = {f"{stage.replace('_', '-')} · {sample_run.root.name}" for stage in NEEDS}
    called_sample = FlowRunFilter.model_validate({"name": {"any_": ["sample.mp4"]}})

    async def ask() -> tuple[list[str], list[str], str]:
        async with get_client() as client:
            flows, tasks = [run.name for run in await client.read_flow_runs(flow_run_filter=called_sample)], list[str]()
            while not expected <= set(tasks):
                await asyncio.sleep(0.2)  # the server records task runs a second later
                tasks = [run.name for run in await client.read_task_runs(task_run_filter=of_sample)]
            wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[artifact_key("result", sample_run.root.name)]))
            artifacts = await client.read_artifacts(artifact_filter=wanted)
            return flows, tasks, str(artifacts[0].data)

    flows, tasks, markdown = asyncio.run(asyncio.wait_for(ask(), 120))
    assert "sample.mp4" in flows
    assert expected <= set(tasks)
    assert "## Timeline" in markdown
    assert "static face" in markdown


def test_what_is_done_is_skipped(copied_run: RunFolder) -> None:
    before = copied_run.result.read_bytes()
    assert ran(again(copied_run)) == set()
    assert copied_run.result.read_bytes() == before


def test_another_composition_runs_only_what_depends_on_it(copied_run: RunFolder) -> None:
    settings = load_settings(overrides={"fusion": {"composition": "avcer_rule1"}})
    before = copied_run.result.read_bytes()
    states = again(copied_run, settings=settings)
    assert ran(states) == {"compose", "publish"}
    assert states.folder.root.name.startswith(f"{copied_run.root.name}-")
    assert copied_run.result.read_bytes() == before, "the earlier answer stays"


def test_pfsa_composes_from_features(copied_run: RunFolder, result_of: ReadResult) -> None:
    states = again(copied_run, settings=load_settings(overrides={"fusion": {"composition": "pfsa"}}))
    result = result_of(states.folder)
    assert result["fusion"]["composition"] == "pfsa"
    assert any(window["top"] for window in result["windows"])


def test_without_a_threshold_every_window_names_a_compound(copied_run: RunFolder, result_of: ReadResult) -> None:
    states = again(copied_run, settings=load_settings(overrides={"fusion": {"none_threshold": 1}}))
    assert all(window["top"] for window in result_of(states.folder)["windows"])


def test_other_descriptions_run_scene_context_again(copied_run: RunFolder, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("window,text\n0,Everybody laughs and claps at the birthday party.\n")
    states = again(copied_run, descriptions=other)
    assert ran(states) == {"scene_context", "fuse", "compose", "publish"}
    assert pd.read_parquet(states.folder.scores("scene_context"))["present"].tolist()[:1] == [True]


@pytest.mark.slow
def test_fresh_does_everything_again(copied_run: RunFolder) -> None:
    assert ran(again(copied_run, fresh=True)) == set(NEEDS)


def test_a_modality_that_fails_is_absent_and_tried_again(copied_run: RunFolder, tmp_path: Path, result_of: ReadResult) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights at all")
    states = again(copied_run, settings=load_settings(overrides={"text": {"weights": str(broken)}}))
    assert states["text"] == "failed"
    result = result_of(states.folder)
    assert result["degraded"]
    assert result["modalities"]["text"]["state"] == "failed"
    assert "broken.safetensors" in result["modalities"]["text"]["reason"]
    assert all(window["contributions"]["text"] is None for window in result["windows"] if window["top"])
    assert "Traceback" in states.folder.log.read_text()
    assert not ran(again(copied_run)), "the answer of before is not touched"
    broken.unlink()
    broken.symlink_to(shipped_weights("text"))
    states = again(copied_run, settings=load_settings(overrides={"text": {"weights": str(broken)}}))
    assert {"text", "fuse", "compose", "publish"} <= ran(states)
    assert not result_of(states.folder)["degraded"]


def test_another_reference_relates_the_voice_anew(
    copied_run: RunFolder, tiny_voice: None, result_of: ReadResult
) -> None:
    def whose(folder: RunFolder) -> list[str]:
        return pd.read_parquet(folder.evidence("voice"))["reference"].unique().tolist()

    first = again(copied_run, settings=load_settings())
    assert {"speech", "voice", "publish"} <= ran(first)
    assert result_of(first.folder)["modalities"]["voice"]["state"] == "present"
    assert set(whose(first.folder)) & {"speaker", "clip"}
    described = next(file for file in RUN_FILES if file.name == "voice_evidence.parquet")
    assert list(pd.read_parquet(first.folder.evidence("voice"))) == [column.name for column in described.columns]
    changed = load_settings(overrides={"voice": {"reference": "none"}})
    states = again(first.folder, settings=changed)
    assert states["voice"] == "done"
    assert whose(states.folder) == ["training"]
    said = result_of(states.folder)["modalities"]["voice"]["reference"]
    assert said.startswith("Judged by how the voices of the training sound")
    assert f"voice: {said}" in states.folder.report.read_text()


def test_what_needs_a_failed_stage_is_not_run_and_prefect_shows_it(copied_run: RunFolder, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import TaskRunSort

    broken = tmp_path / "broken.srt"
    broken.write_text("no words with times")
    began = datetime.now(UTC)
    states = again(copied_run, transcript=broken)
    assert states["transcript"] == "failed"
    assert "text" not in states
    assert states["publish"] == "done"
    assert states["voice"] == "skipped"

    expected, until = {("text", "NotReady"), ("voice", "Cached"), ("transcript", "Failed")}, time.monotonic() + 60

    async def ask() -> set[tuple[str, str]]:
        ended: set[tuple[str, str]] = set()
        async with get_client() as client:
            while not expected <= ended and time.monotonic() < until:  # the server records task runs a second later
                await asyncio.sleep(0.2)
                for run in await client.read_task_runs(sort=TaskRunSort.EXPECTED_START_TIME_DESC):
                    if run.state and run.created and run.created >= began:
                        ended.add((run.name.split(" ")[0], run.state.name or ""))
        return ended

    assert expected <= asyncio.run(ask())


def test_strict_turns_absence_into_an_error(copied_run: RunFolder) -> None:
    with pytest.raises(DyadError, match="--strict wants every modality.*scene labels: No CLIP"):
        again(copied_run, strict=True)


@pytest.mark.slow
def test_ready_scores_replace_a_modality(copied_run: RunFolder, tmp_path: Path, result_of: ReadResult) -> None:
    ready = tmp_path / "clip.csv"
    ready.write_text("start,end,neutral,anger,disgust,fear,happy,sad,surprise\n0,12,1,0,0,1,0,0,2\n")
    states = again(copied_run, scores={"scene_labels": ready})
    entry = result_of(states.folder)["modalities"]["scene_labels"]
    assert entry["state"] == "present"
    assert entry["source"]["backend"] == "given"
    assert entry["probabilities"][0] == [0.25, 0, 0, 0.25, 0, 0, 0.5]


@pytest.mark.slow
def test_a_table_that_is_no_scores_fails_that_modality_alone(
    copied_run: RunFolder, tmp_path: Path, result_of: ReadResult
) -> None:
    ready = tmp_path / "clip.csv"
    ready.write_text("start,end,neutral\n0,100,1\n")
    states = again(copied_run, scores={"voice": ready})
    assert states["voice"] == "failed"
    assert "no column for anger" in result_of(states.folder)["modalities"]["voice"]["reason"]


def test_evidence_that_does_not_exist_is_an_error_at_once(copied_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        again(copied_run, transcript=tmp_path / "none.srt")


@pytest.mark.slow
def test_a_stop_in_the_middle_keeps_what_is_done(prefect_session: None, tmp_path: Path, result_of: ReadResult) -> None:
    def stop_at_faces(event: Event) -> None:
        if event.stage == "faces" and event.state == "started":
            stop.requested.set()

    try:
        with listening(stop_at_faces), pytest.raises(Interrupted):
            recognise_video(sample_clip(), output=tmp_path)
    finally:
        stop.requested.clear()
    folder = RunFolder(next(tmp_path.iterdir()))
    assert not folder.result.exists()
    states = again(folder, descriptions=None)
    assert states["decode"] == "skipped"
    assert states["publish"] == "done"
    assert result_of(folder)["modalities"]["static_face"]["state"] == "present"


def test_user_given_compounds(copied_run: RunFolder, result_of: ReadResult) -> None:
    compounds = [{"name": "happily_disgusted", "first": "happiness", "second": "disgust"},
                 {"name": "fearfully_surprised", "first": "fear", "second": "surprise"}]
    states = again(copied_run, settings=load_settings(overrides={"compounds": compounds}))
    result = result_of(states.folder)
    assert set(result["windows"][0]["compound"]) == {"happily_disgusted", "fearfully_surprised"}


def test_json_has_no_nan(sample_run: RunFolder) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(sample_run.result.read_text(), parse_constant=refuse)


@pytest.fixture
def models_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with tiny checkpoints of Whisper and CLIP in their public layouts, where Dyad looks for models."""
    from tests.tiny_models import save_tiny_clip, save_tiny_whisper

    folder = tmp_path / "models"
    (folder / "whisper").mkdir(parents=True)
    save_tiny_whisper(folder / "whisper" / "tiny.pt")
    save_tiny_clip(folder / "open_clip" / "small")
    monkeypatch.setenv("DYAD_MODELS", str(folder))
    return folder


@pytest.mark.slow
def test_models_that_lie_on_the_machine_are_used(
    models_of_this_machine: Path, prefect_session: None, tmp_path: Path, result_of: ReadResult
) -> None:
    alone = tmp_path / "alone.mp4"
    alone.write_bytes(sample_clip().read_bytes())
    folder = RunFolder(recognise_video(alone, output=tmp_path / "runs"))
    entry = result_of(folder)["modalities"]["scene_labels"]
    assert entry["state"] == "present"
    assert entry["source"]["backend"] == "open_clip"
    assert folder.finished("transcript")["notes"]["origin"].startswith("Whisper tiny, ")
    assert folder.transcript.read_text().startswith("WEBVTT")


@pytest.mark.slow
def test_a_model_that_appears_later_is_used_then(
    copied_run: RunFolder, models_of_this_machine: Path, result_of: ReadResult
) -> None:
    assert result_of(copied_run)["modalities"]["scene_labels"]["state"] == "absent"
    states = again(copied_run)
    assert states["scene_labels"] == "done"
    assert states["text"] == "skipped", "the words that lie beside the clip are still the same"
    assert result_of(copied_run)["modalities"]["scene_labels"]["state"] == "present"
