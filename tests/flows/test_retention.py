"""Retention: what is old goes, by the stated policy; what is under way, new, foreign or a link stays."""

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client

from data.run_folder import RunFolder
from flows.retention import Pruned, last_change, prune_folders, prune_history, remove_folder, retention, run_folders

DAY = 86400.0
prune = prune_folders.fn


def a_run(output: Path, name: str = "", days: float = 0.0) -> Path:
    """A run folder as Dyad leaves it, last changed so many days ago; named as `dyad run` does unless a name is given."""
    folder = RunFolder(output / (name or f"clip-{uuid.uuid4().hex[:8]}"))
    folder.create()
    folder.mark_done("decode", "key", 1.0)
    folder.result.write_text("{}")
    age(folder.root, days)
    return folder.root


def age(folder: Path, days: float) -> None:
    then = time.time() - days * DAY
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then), follow_symlinks=False)


def test_what_is_old_goes_and_what_is_new_stays(tmp_path: Path) -> None:
    old, new = a_run(tmp_path, days=31), a_run(tmp_path, days=29)
    done = prune(tmp_path, 30, 0, False)
    assert (done.seen, done.removed, done.names) == (2, 1, (old.name,))
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


@pytest.mark.parametrize("name", ["clip-0123abcd", "clip-0123456789ab", "patient 7", "runs", "0", "ü"])
def test_a_run_folder_is_known_whatever_its_name(tmp_path: Path, name: str) -> None:
    """As `dyad run` names it, as a data set does, and as the ids of a manifest do."""
    a_run(tmp_path, name, days=31)
    assert prune(tmp_path, 30, 0, False).names == (name,)
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_is_nested_too_deeply_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / ".stages").mkdir(parents=True)
    (folder / ".stages" / "decode.json").write_text("[" * 200_000)
    assert not list(run_folders(tmp_path))


def one_that_failed(folder: RunFolder) -> None:
    folder.create()
    folder.mark_failed("decode", "The file holds text, not video.")


def one_without_notes(folder: RunFolder) -> None:
    folder.root.mkdir()
    folder.result.write_text('{"schema_version": "1.0", "dyad": {}, "clip": {}}')
    folder.settings.write_text("profile: full\n")


def one_that_was_killed(folder: RunFolder) -> None:
    """In its first stage, with sound and pictures in it."""
    folder.create()
    folder.crops.write_bytes(b"faces")
    folder.log.write_text("decode\n")


@pytest.mark.parametrize("make", [one_that_failed, one_without_notes, one_that_was_killed])
def test_a_run_goes_however_far_it_came(tmp_path: Path, make: Callable[[RunFolder], None]) -> None:
    make(RunFolder(tmp_path / "talk"))
    age(tmp_path / "talk", 31)
    assert prune(tmp_path, 30, 0, False).names == ("talk",)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    old = a_run(tmp_path, days=31)
    (old / "big.bin").write_bytes(bytes(3_000_000))
    age(old, 31)
    done = prune(tmp_path, 30, 0, True)
    assert done.removed == 1
    assert done.megabytes == pytest.approx(3.0, abs=0.1)
    assert (old / "result.json").exists()


def test_the_newest_are_kept_whatever_their_age(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, f"clip{days}", days) for days in (100, 90, 80, 70)]
    prune(tmp_path, 30, 2, False)
    assert {path.name for path in tmp_path.iterdir()} == {runs[2].name, runs[3].name}


@pytest.mark.parametrize("part", ["", ".stages", "work", "result.json", ".stages/decode.json"])
def test_whatever_part_was_touched_lately_keeps_a_run(tmp_path: Path, part: str) -> None:
    """A run that goes on in an old folder writes there before anything else."""
    old = a_run(tmp_path, days=100)
    os.utime(old / part)
    assert last_change(old) == pytest.approx(time.time(), abs=60)
    assert prune(tmp_path, 30, 0, False).removed == 0


def test_a_run_that_begins_between_look_and_removal_stays(tmp_path: Path) -> None:
    old = a_run(tmp_path, days=100)
    os.utime(old)
    assert not remove_folder(old, 30)
    assert old.exists()


def test_a_clock_that_was_ahead_removes_nothing(tmp_path: Path) -> None:
    a_run(tmp_path, days=-400)
    assert prune(tmp_path, 30, 0, False).removed == 0


def no_notes(output: Path) -> Path:
    folder = output / "holiday-0123abcd"
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    return folder


def another_result(output: Path) -> Path:
    folder = output / "benchmark"
    folder.mkdir()
    (folder / "result.json").write_text('{"seconds": 3}')
    (folder / "settings.yaml").write_text("a: 1\n")
    return folder


def another_work(output: Path) -> Path:
    folder = output / "project"
    for name in (".stages", "work", "thesis"):
        (folder / name).mkdir(parents=True)
    return folder


def a_data_set(output: Path) -> Path:
    """The output of `dyad batch`, whose run folders go only where it is named itself."""
    folder = output / "corpus"
    folder.mkdir()
    (folder / "status.csv").write_text("clip_id\n")
    a_run(folder, "talk", days=100)
    return folder


def foreign_notes(output: Path) -> Path:
    folder = output / "website-0123abcd"
    (folder / ".stages").mkdir(parents=True)
    (folder / ".stages" / "settings.json").write_text('{"theme": "dark"}')
    return folder


def a_link(output: Path) -> Path:
    elsewhere = output.parent / f"elsewhere-{uuid.uuid4().hex[:6]}"
    elsewhere.mkdir()
    link = output / "linked-0123abcd"
    link.symlink_to(a_run(elsewhere, days=100))
    return link


def a_file(output: Path) -> Path:
    path = output / "notes-0123abcd"
    path.write_text("mine")
    return path


@pytest.mark.parametrize("make", [no_notes, another_result, another_work, a_data_set, foreign_notes, a_link, a_file])
def test_what_is_no_run_folder_is_never_touched(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    output = tmp_path / "runs"
    output.mkdir()
    theirs = make(output)
    if theirs.is_dir() and not theirs.is_symlink():
        age(theirs, 100)
    content = [path.relative_to(theirs) for path in theirs.rglob("*")]
    assert list(run_folders(output)) == []
    assert prune(output, 1, 0, False) == Pruned(f"run folders in {output}")
    assert [path.relative_to(theirs) for path in theirs.rglob("*")] == content


def test_what_a_killed_retention_left_is_removed(tmp_path: Path) -> None:
    half = a_run(tmp_path).rename(tmp_path / ".clip-0123abcd.pruned-89abcdef")
    prune(tmp_path, 30, 0, True)
    assert half.exists(), "a dry run removes nothing at all"
    prune(tmp_path, 30, 0, False)
    assert not half.exists()


def test_an_output_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert prune(tmp_path / "none", 30, 0, False).seen == 0


def history(flow_name: str) -> list[str]:
    with get_client(sync_client=True) as client:
        wanted = {"flows": {"name": {"any_": [flow_name]}}, "sort": "END_TIME_DESC"}
        return [run["name"] for run in client.request("POST", "/flow_runs/filter", json=wanted).json()]


def test_history_goes_with_its_artifacts_and_what_runs_stays(prefect_session: None) -> None:
    from prefect import flow
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.states import Running

    name = f"history-{uuid.uuid4().hex[:6]}"

    @flow(name=name, flow_run_name="{number}")
    def some(number: int) -> None:
        create_markdown_artifact("old", key=f"{name}-{number}")

    for number in range(4):
        some(number)
    with get_client(sync_client=True) as client:
        client.create_flow_run(some, name="under way", parameters={"number": 9}, state=Running())
        assert prune_history.fn(name, 1, 0, False).removed == 0, "all of them ended today"
        done = prune_history.fn(name, 0, 1, True)
        assert (done.seen, done.removed, done.names) == (4, 3, ("2", "1", "0"))
        assert len(history(name)) == 5
        prune_history.fn(name, 0, 1, False)
        assert set(history(name)) == {"3", "under way"}
        keys = ArtifactFilter(key=ArtifactFilterKey(like_=f"{name}-%"))
        left = [artifact.key for artifact in client.read_artifacts(artifact_filter=keys)]
    assert left == [f"{name}-3"]


def test_the_flow_states_its_policy_and_what_it_did(prefect_session: None, tmp_path: Path) -> None:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    old, output = a_run(tmp_path / "runs", "patient 7", days=31), tmp_path / "runs"
    said, *listed = retention([tmp_path / "none", output], days=30, keep_last=0, dry_run=True).splitlines()
    assert said.startswith("1 of 1 run folders (0.0 MB) and 0 of")
    assert listed == [str(old)]
    said = retention([output], days=30, keep_last=0)
    assert said.startswith("1 of 1 run folders")
    assert list(output.iterdir()) == []
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["retention"])))
    assert any("untouched for 30 days, the newest 0 kept" in str(artifact.data) for artifact in artifacts)


@pytest.mark.parametrize("wrong", [{"days": 0}, {"keep_last": -1}, {"history_days": 0}])
def test_a_policy_that_would_remove_everything_is_refused(prefect_session: None, tmp_path: Path, wrong: dict[str, int]) -> None:
    from prefect.exceptions import ParameterTypeError

    with pytest.raises(ParameterTypeError):
        retention([tmp_path], **wrong)  # type: ignore[arg-type]
