"""Deployments on a real server with a real worker: by hand, by the clock, by an event, by a file that lands."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError
from flows.server.client import LANDED
from flows.server.deployments import DeploymentOptions, deploy, deployments
from flows.server.watch_folder import WatchedFolder, watch
from tests.conftest import ROOT, OwnServer
from tests.media_makers import make_sound
from tests.waiting import wait_until


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Two seconds of sound under a name of its own, so that its run can be told from others."""
    return make_sound(tmp_path / f"tone-{uuid.uuid4().hex[:6]}.wav", codec="pcm_s16le")


def deployment(server: OwnServer, name: str, flow: str = "") -> dict[str, Any]:
    return dict(server.ask(f"deployments/name/{flow or name}/{name}"))


def started(server: OwnServer, name: str, **parameters: Any) -> str:
    """The id of a run of a deployment that is scheduled for now."""
    run = server.ask(f"deployments/{deployment(server, name)['id']}/create_flow_run", {"parameters": parameters})
    return str(run["id"])


def test_deployments_are_modules_with_absolute_paths(own_server: OwnServer) -> None:
    for offer in deployments(DeploymentOptions(own_server.folder)):
        made = deployment(own_server, offer.name)
        assert made["entrypoint"] == offer.entrypoint
        assert made["work_pool_name"] == "dyad"
        assert made["parameters"] == dict(offer.parameters)
        assert made["job_variables"] == {}
    template = own_server.ask("work_pools/dyad")["base_job_template"]
    assert template["job_configuration"]["working_dir"] == str(own_server.folder)


def test_the_settings_are_a_typed_form(own_server: OwnServer) -> None:
    schema = deployment(own_server, "recognise-video")["parameter_openapi_schema"]
    assert "voice" in schema["definitions"]["Settings"]["properties"]
    assert schema["definitions"]["VoiceSettings"]["properties"]
    assert schema["required"] == ["video"]
    assert "A media file" in schema["properties"]["video"]["description"]


def test_a_manifest_makes_the_nightly_run_active_and_stays(own_server: OwnServer) -> None:
    assert not deployment(own_server, "recognise-dataset")["schedules"][0]["active"]
    made = own_server.dyad("deploy", "--manifest", "clips.csv", "--cron", "15 3 * * 1-5", "--timezone", "Europe/Berlin")
    assert made.returncode == 0, made.stderr
    manifest = str(own_server.folder / "clips.csv")
    assert own_server.dyad("deploy").returncode == 0, "a deployment again without it keeps all that"
    after = deployment(own_server, "recognise-dataset")
    assert after["parameters"]["manifest"] == manifest
    (schedule,) = after["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "15 3 * * 1-5"
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"


def test_a_schedule_that_is_none_is_a_sentence(own_server: OwnServer) -> None:
    refused = own_server.dyad("deploy", "--manifest", "clips.csv", "--timezone", "Europe/Atlantis")
    assert refused.returncode == 2
    assert refused.stderr.startswith("dyad: --cron")


def test_without_a_server_deploy_says_what_to_do(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"DYAD_STATE": str(tmp_path), "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-P", "-m", "flows", "deploy"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "dyad up" in refused.stderr


def test_the_clock_starts_a_run_and_it_completes(own_server: OwnServer) -> None:
    """`retention` every few seconds instead of every night: the server's scheduler and the worker do the rest."""
    retention = deployment(own_server, "retention")["id"]
    often = [{"schedule": {"interval": 10}, "active": True}]
    (schedule,) = own_server.ask(f"deployments/{retention}/schedules", often)
    of_deployment = {"flow_runs": {"deployment_id": {"any_": [retention]}, "state": {"type": {"any_": ["COMPLETED"]}}}}
    try:
        wait_until(lambda: any(run["auto_scheduled"] for run in own_server.ask("flow_runs/filter", of_deployment)))
    finally:
        own_server.ask(f"deployments/{retention}/schedules/{schedule['id']}", method="DELETE")


def test_a_data_set_run_does_only_what_is_new(own_server: OwnServer, sound: Path) -> None:
    """What the deployment's run has done, a batch by hand leaves alone."""
    manifest, output = sound.with_name("clips.csv"), sound.with_name("runs")
    manifest.write_text(f"path\n{sound}\n")
    run = started(own_server, "recognise-dataset", manifest=str(manifest), output=str(output))
    assert own_server.ended(run) == "COMPLETED"
    (result,) = output.glob("tone-*/result.json")
    written = result.stat().st_mtime_ns
    again = own_server.dyad("batch", manifest, "-o", output)
    assert "(1 of them before)" in " ".join(again.stderr.split())
    assert result.stat().st_mtime_ns == written


def says_what_it_did(server: OwnServer, run: str) -> bool:
    logs = server.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200})
    return any(record["name"].startswith("flows.") and "done in" in record["message"] for record in logs)


def test_a_run_from_the_form_lands_in_the_folder(own_server: OwnServer, sound: Path) -> None:
    """A relative path counts from the folder of `dyad up`, not from some temporary one."""
    shutil.copy(sound, own_server.folder / "here.wav")
    run = started(own_server, "recognise-video", video="here.wav", output="from-the-form")
    assert own_server.ended(run) == "COMPLETED"
    (folder,) = (own_server.folder / "from-the-form").iterdir()
    assert (folder / "result.json").exists()
    # The lines of a run reach the server in batches, a little after its end.
    wait_until(lambda: says_what_it_did(own_server, run))


def test_wrong_parameters_are_refused_by_the_form(own_server: OwnServer) -> None:
    import httpx

    recognise = deployment(own_server, "recognise-video")["id"]
    wrong = {"parameters": {"video": "x.mp4", "settings": {"windows": {"length": "long"}}}}
    refused = httpx.post(f"{own_server.url}/deployments/{recognise}/create_flow_run", json=wrong, auth=own_server.password)
    assert refused.status_code in (409, 422)


@pytest.fixture
def watching(own_server: OwnServer, tmp_path: Path) -> Iterator[Any]:
    """Starts `dyad watch` on a new folder with more options."""
    started_here: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> Path:
        incoming = tmp_path / "incoming"
        incoming.mkdir()
        command = [sys.executable, "-P", "-m", "flows", "watch", str(incoming), "--every", "0.2", "--settle", "0.5", *options]
        started_here.append(subprocess.Popen(command, env=own_server.environment))
        return incoming

    own_server.ask("work_pools/dyad", {"is_paused": True}, "PATCH")  # that a run of the deployment ends well is tested below
    yield start
    own_server.ask("work_pools/dyad", {"is_paused": False}, "PATCH")
    for process in started_here:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("options", [(), ("--event",)])
def test_a_file_that_lands_is_handed_over(
    own_server: OwnServer, watching: Any, sound: Path, options: tuple[str, ...]
) -> None:
    incoming = watching(*options)
    landed = str(shutil.copy(sound, incoming / sound.name))
    of_deployment = {"flow_runs": {"deployment_id": {"any_": [deployment(own_server, "recognise-video")["id"]]}}}

    def runs() -> list[str]:
        found = own_server.ask("flow_runs/filter", of_deployment)
        return [run["id"] for run in found if run["parameters"].get("video") == landed and run["state_type"] == "SCHEDULED"]

    wait_until(lambda: len(runs()) == 1)
    own_server.ask(f"flow_runs/{runs()[0]}", method="DELETE")


def test_an_event_of_any_program_is_enough(own_server: OwnServer, sound: Path) -> None:
    event = {
        "id": str(uuid.uuid4()), "event": LANDED, "occurred": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "resource": {"prefect.resource.id": "upload.1"}, "payload": {"path": str(sound)},
    }  # fmt: skip
    import httpx

    httpx.post(f"{own_server.url}/events", json=[event], auth=own_server.password).raise_for_status()
    assert own_server.run_named(sound.name)["parameters"]["video"] == str(sound)
    assert list((own_server.folder / "runs").glob(f"{sound.stem}-*/result.json"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A watched folder with a state folder of its own."""
    monkeypatch.setenv("DYAD_STATE", str(tmp_path / "state"))
    made = tmp_path / "incoming"
    made.mkdir()
    return made


def landed(watched: WatchedFolder, settle: float = 0.0) -> list[str]:
    """The names that are handed over at this look."""
    names = []
    for path, look in watched.landed(settle):
        watched.note_done(path, look)
        names.append(path.name)
    return names


def test_a_file_that_still_grows_has_not_landed(folder: Path) -> None:
    watched = WatchedFolder.of(folder)
    clip = folder / "clip.mp4"
    clip.write_bytes(b"a")
    assert landed(watched, 0.2) == []
    time.sleep(0.25)
    clip.write_bytes(b"ab")
    assert landed(watched, 0.2) == [], "it has just changed"
    time.sleep(0.25)
    assert landed(watched, 0.2) == ["clip.mp4"]
    assert landed(watched, 0.2) == []


def test_only_media_files_count_and_empty_ones_do_not(folder: Path) -> None:
    for name in ("clip.mp4", "notes.txt", ".hidden.mp4", "clip.mp4.part", "b.WAV"):
        (folder / name).write_bytes(b"x")
    (folder / "empty.mp4").touch()
    (folder / "folder.mp4").mkdir()
    assert landed(WatchedFolder.of(folder)) == ["b.WAV", "clip.mp4"]


def test_a_restart_repeats_nothing_and_a_changed_file_counts_anew(folder: Path) -> None:
    (folder / "clip.mp4").write_bytes(b"x")
    assert landed(WatchedFolder.of(folder)) == ["clip.mp4"]
    assert landed(WatchedFolder.of(folder)) == []
    (folder / "clip.mp4").write_bytes(b"another clip")
    assert landed(WatchedFolder.of(folder)) == ["clip.mp4"]


def test_what_cannot_be_handed_over_is_tried_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    (folder / "clip.mp4").write_bytes(b"x")
    tried, ended = [], threading.Event()

    def hand_over(path: Path, look: tuple[int, int]) -> None:
        tried.append(path.name)
        if len(tried) < 3:
            raise ConnectionError("the server does not answer")
        ended.set()

    watch(folder, hand_over, every=0.01, settle=0.0, ended=ended)
    assert tried == ["clip.mp4"] * 3
    assert caplog.text.count("the server does not answer") == 1, "said once, not at every look"
    assert landed(WatchedFolder.of(folder)) == []


def test_deployments_without_prefect_settings_need_no_state(prefect_session: None, tmp_path: Path) -> None:
    assert set(deploy(DeploymentOptions(tmp_path, output=tmp_path / "out"))) >= {"recognise-video", "train", "retention"}
    with pytest.raises(InputError, match="is no schedule"):
        deploy(DeploymentOptions(tmp_path, manifest="m.csv", cron="60 99 * * *"))
    with pytest.raises(InputError, match="--cron"):
        deploy(DeploymentOptions(tmp_path, manifest="m.csv", cron="every day"))
