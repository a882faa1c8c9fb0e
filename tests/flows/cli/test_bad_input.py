"""Bad and odd input through the whole flow: a clear sentence or a degraded result, nothing half-written."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.settings import load_settings
from data.errors import MediaError
from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.runtime.errors import sentence
from flows.video import recognise_video
from tests.media_makers import make_clip

pytestmark = pytest.mark.usefixtures("prefect_session")
ReadResult = Callable[[RunFolder], dict[str, Any]]


def recognise(path: Path, output: Path) -> RunFolder:
    folder = RunFolder(recognise_video(path, load_settings(), output))
    assert not folder.work.exists()
    assert not list(folder.root.rglob(".*.????????.*")), "a half-written file was left"
    return folder


@pytest.mark.parametrize("name", ["missing", "empty", "text", "folder", "headless"])
def test_what_is_no_media_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.mp4"
    if name == "empty":
        path.touch()
    elif name == "text":
        path.write_text("This is a letter and not a film.\n" * 40)
    elif name == "folder":
        path.mkdir()
    elif name == "headless":
        path.write_bytes(sample_clip().read_bytes()[:2000])
    with pytest.raises(MediaError) as error:
        recognise_video(path, output=tmp_path / "runs")
    message = sentence(error.value)
    assert path.name in message
    assert message.endswith(".")
    assert "\n" not in message
    assert not list((tmp_path / "runs").glob("*")), "nothing is left of a clip that could not be read"


@pytest.mark.slow
def test_a_truncated_film_is_recognised_as_far_as_it_goes(tmp_path: Path, result_of: ReadResult) -> None:
    whole = tmp_path / "whole.mkv"
    make_clip(whole, seconds=6)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    result = result_of(recognise(cut, tmp_path / "runs"))
    assert result["windows"]


@pytest.mark.slow
def test_sound_alone_gets_voice_and_text(tmp_path: Path, result_of: ReadResult, tiny_voice: None) -> None:
    import av

    sound = tmp_path / "speech.m4a"
    with av.open(sample_clip()) as source, av.open(sound, "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    shutil.copy(sample_clip().with_name("sample.vtt"), tmp_path / "speech.vtt")
    result = result_of(recognise(sound, tmp_path / "runs"))
    states = {name: entry["state"] for name, entry in result["modalities"].items()}
    assert states["voice"] == states["text"] == "present"
    assert states["static_face"] == states["scene_labels"] == "absent"
    assert result["modalities"]["static_face"]["reason"] == "The file has no picture."
    assert all(window["present"] for window in result["windows"])
    assert not result["degraded"]


@pytest.mark.slow
def test_picture_alone_has_neither_voice_nor_words(tmp_path: Path, result_of: ReadResult) -> None:
    silent = make_clip(tmp_path / "silent.mp4", seconds=1, sound=None)
    result = result_of(recognise(silent, tmp_path / "runs"))
    assert {result["modalities"][name]["reason"] for name in ("voice", "text")} == {"The file has no sound."}


@pytest.mark.slow
def test_no_face_no_speech_no_words_is_an_answer_too(tmp_path: Path, result_of: ReadResult) -> None:
    result = result_of(recognise(make_clip(tmp_path / "card.mp4", seconds=2), tmp_path / "runs"))
    assert {entry["state"] for entry in result["modalities"].values()} == {"absent"}
    assert all(entry["reason"].endswith(".") for entry in result["modalities"].values())
    assert result["timeline"] == []
    assert result["summary"]["top"] is None
    assert result["windows"][0]["reason"] == "No modality answers for this window."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("one frame.mkv", {"times": [0.0], "sound": None}),
        ("rotated.mp4", {"clockwise": 90}),
        ("variable frame rate.mp4", {"times": [0.0, 0.1, 0.15, 0.5, 0.9, 0.95]}),
        ("odd size.mkv", {"size": (321, 241), "codec": "ffv1", "pixels": "bgr0"}),
        ("10-bit HEVC.mp4", {"codec": "libx265", "pixels": "yuv420p10le"}),
        ("ünï 表情 ✓.mp4", {}),
        ("x" * 240 + ".mp4", {}),
    ],
)
def test_odd_media_get_a_result(name: str, options: dict[str, Any], tmp_path: Path, result_of: ReadResult) -> None:
    clip = make_clip(tmp_path / name, **{"seconds": 1, **options})
    folder = recognise(clip, tmp_path / "runs")
    result = result_of(folder)
    assert len(result["windows"]) == 1
    assert Path(result["clip"]["path"]).name == name
    assert len(folder.root.name.encode()) < 120


def test_a_read_only_output_is_refused_in_a_sentence(dyad: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    clip = make_clip(tmp_path / "clip.mp4", seconds=1)
    code, _, err = dyad("run", clip, "-o", blocked / "runs")
    assert code == 1
    assert "choose another output folder with -o" in " ".join(err.split())
    if Path("/proc/self").exists():
        code, _, err = dyad("run", clip, "-o", "/proc/dyad")
        assert code == 1
        assert "/proc/dyad" in " ".join(err.split())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_in_a_sentence_and_the_next_run_finishes(
    dyad: Callable[..., tuple[int, str, str]], small_disk: Path, tmp_path: Path
) -> None:
    def noise(time_s: float) -> Any:
        return np.random.default_rng(int(time_s * 1000)).integers(0, 255, (480, 640, 3), np.uint8)

    clip = make_clip(tmp_path / "noise.mp4", seconds=3, size=(640, 480), picture=noise)
    code, _, err = dyad("run", clip, "-o", small_disk)
    assert code == 1
    assert "disk is full" in " ".join(err.split())
    assert not list(small_disk.rglob(".*.????????.*"))
    assert not list(small_disk.rglob("result.json"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    code, out, _ = dyad("run", clip, "-o", small_disk, "--json")
    assert code == 0
    assert json.loads(out)["windows"]


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    clip = make_clip(tmp_path / "clip.mp4", seconds=1)
    clip.chmod(0)
    with pytest.raises(MediaError, match="permission"):
        recognise_video(clip, output=tmp_path / "runs")
