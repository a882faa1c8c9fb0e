"""`import dyad`: the calls for Python, their typed answers, and how these look in a notebook."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.emotions import BASIC_EMOTIONS
from data.errors import DyadError, InputError, MediaError
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.scores import MODALITIES
from dyad import Recognition, read_run, recognise, recognise_all
from flows.clip.graph import NEEDS
from reports.notebook import notebook_html, plain_text
from tests.media_makers import make_clip

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTIONS = sample_clip().with_name("sample_descriptions.csv")
Told = list[tuple[str, int, int]]


def again(run: RunFolder, **options: Any) -> Recognition:
    """The sample's answer from a run folder in which everything is done, unless `options` ask for something else."""
    return recognise(sample_clip(), out=run.root.parent, descriptions=DESCRIPTIONS, **options)


def test_the_calls_import_nothing_heavy_until_they_are_used() -> None:
    heavy = "{'torch', 'prefect', 'pandas', 'cv2'}"
    script = f"import sys; from dyad import recognise, recognise_all; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT)
    assert done.stdout.split() == [], done.stdout
    assert done.returncode == 0, done.stderr


def test_an_answer_is_typed_and_its_tables_are_pandas(copied_run: RunFolder) -> None:
    answer = again(copied_run)
    result = json.loads(copied_run.result.read_text())
    assert (answer.folder, answer.clip, answer.duration) == (copied_run.root, "sample.mp4", pytest.approx(12.0, abs=0.1))
    assert answer.top == result["summary"]["top"]
    assert answer.report.is_file()
    assert not answer.degraded
    tables = (answer.timeline, answer.windows, answer.frames, answer.faces, answer.words, answer.contributions)
    assert all(isinstance(table, pd.DataFrame) and len(table) for table in tables)
    assert answer.timeline["compound"].tolist() == [row["compound"] for row in result["timeline"]]
    assert "surprise" in " ".join(answer.words["text"])
    assert tuple(answer.modalities) == MODALITIES
    won = answer.contributions.dropna(subset="top")
    probabilities = [answer.windows.loc[row, name] for row, name in won["top"].items()]
    np.testing.assert_allclose(won[list(MODALITIES)].sum(axis=1), probabilities, atol=1e-6)


def test_each_modality_answers_for_itself(copied_run: RunFolder) -> None:
    answer = read_run(copied_run.root)
    text, labels = answer.modalities["text"], answer.modalities["scene_labels"]
    assert text.present
    assert text.source is not None
    assert text.source["backend"] == "embedded"
    assert list(text.table.columns) == ["start", "end", "present", *BASIC_EMOTIONS, "quality"]
    np.testing.assert_allclose(text.table[list(BASIC_EMOTIONS)].sum(axis=1), 1, atol=1e-4)
    assert text.scores.probabilities.shape == (text.windows, 7)
    assert {"start", "end"} <= set(text.evidence.columns)
    assert not labels.present
    assert "CLIP" in labels.reason
    assert labels.remedy
    assert labels.evidence.empty


@pytest.mark.slow
def test_a_stop_ends_cleanly_and_the_same_call_goes_on_and_tells_how_far(prefect_session: None, tmp_path: Path) -> None:
    told: Told = []

    def stop(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))
        if stage == "faces":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recognise(sample_clip(), out=tmp_path, on_progress=stop)
    assert ("decode", 0, 12) in told
    assert ("decode", 12, 12) in told
    folder = RunFolder(next(tmp_path.iterdir()))
    assert not folder.result.exists()

    threads, told = set(), []

    def note(stage: str, done: int, total: int) -> None:
        threads.add(threading.current_thread())
        told.append((stage, done, total))

    assert recognise(sample_clip(), out=tmp_path, on_progress=note).folder == folder.root
    assert threads == {threading.current_thread()}
    assert {stage for stage, _, _ in told} == set(NEEDS)
    assert [(done, total) for stage, done, total in told if stage == "decode"] == [(12, 12)], "it was done before"
    faces = [done for stage, done, total in told if stage == "faces" and total == 12]
    assert faces == sorted(faces)
    assert faces[0] == 0
    assert faces[-1] == 12
    assert len(faces) > 6, "a stage that takes long tells how far it is"


def test_a_callback_that_fails_does_not_lose_the_run(copied_run: RunFolder) -> None:
    calls: Told = []

    def fail(*told: Any) -> None:
        calls.append(told)
        raise ValueError("no widget")

    with pytest.warns(RuntimeWarning, match="on_progress raised ValueError: no widget; .* the run went on"):
        answer = again(copied_run, on_progress=fail)
    assert answer.top
    assert len(calls) == 1


def test_it_works_inside_a_running_event_loop_and_from_threads(copied_run: RunFolder) -> None:
    async def notebook() -> tuple[Recognition, ...]:
        first = again(copied_run)
        return (first, *await asyncio.gather(*(asyncio.to_thread(again, copied_run) for _ in range(2))))

    assert {answer.top for answer in asyncio.run(notebook())} == {read_run(copied_run.root).top}


def test_several_clips_at_once_keep_those_that_are_well(copied_run: RunFolder, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for file in (sample_clip(), sample_clip().with_suffix(".vtt")):
        shutil.copy(file, clips)
    (clips / "broken.mp4").write_text("no video")
    told: Told = []
    out = copied_run.root.parent
    answers = recognise_all(clips, out=out, descriptions=DESCRIPTIONS, on_progress=lambda *now: told.append(now))
    assert [answer.clip for answer in answers] == ["sample.mp4"]
    assert answers[0].folder == copied_run.root
    assert isinstance(answers.errors[clips / "broken.mp4"], MediaError)
    assert [now for now in told if now[0] == "clips"] == [("clips", 1, 2), ("clips", 2, 2)]
    assert answers.table["clip"].tolist() == ["sample.mp4", "broken.mp4"]
    assert answers.table["error"].str.contains("broken.mp4").tolist() == [False, True]
    assert "1 recognised, 1 failed" in repr(answers)
    assert "<td" in answers._repr_html_()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "options", "command"),
    [
        ("none.mp4", {}, []),
        ("text.mp4", {}, []),
        ("clip.mp4", {"profile": "nonesuch"}, ["--profile", "nonesuch"]),
        ("clip.mp4", {"transcript": "none.srt"}, ["--transcript", "none.srt"]),
        ("clip.mp4", {"scores": {"smell": "text.mp4"}}, ["--scores", "smell=text.mp4"]),
        ("clip.mp4", {"settings": {"faces": {"detector": "magic"}}}, ["--detector", "magic"]),
        ("clip.mp4", {"settings": {"device": "cuda:99"}}, ["--device", "cuda:99"]),
        ("clip.mp4", {"strict": True}, ["--strict"]),
    ],
)
def test_errors_are_exceptions_with_the_sentences_of_the_command_line(
    dyad: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    clip: str, options: dict[str, Any], command: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    if options.get("strict") or "device" in options.get("settings", {}):
        make_clip(tmp_path / "clip.mp4", seconds=1, sound=None)
    with pytest.raises(DyadError) as raised:
        recognise(clip, **options)
    _, _, printed = dyad("run", clip, *command)
    assert " ".join(str(raised.value).split()) in " ".join(printed.split())
    assert str(raised.value).endswith(".")


def test_a_run_is_read_again_without_running_it(copied_run: RunFolder, tmp_path: Path) -> None:
    assert read_run(str(copied_run.root)).sentence
    with pytest.raises(InputError, match="no readable result.json"):
        read_run(tmp_path)
    RunFolder(tmp_path).result.write_text("[" * 100_000)
    with pytest.raises(InputError, match="no readable result.json"):
        read_run(tmp_path)


def test_a_notebook_shows_the_timeline_and_text_reads_well(copied_run: RunFolder) -> None:
    answer = read_run(copied_run.root)
    shown = answer._repr_html_()
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', shown)
    assert picture
    assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
    assert len(shown) < 150_000
    assert answer.sentence in shown
    assert "scene labels" in shown
    lines = repr(answer).splitlines()
    assert lines[0].startswith("sample.mp4 (0:12.0, profile embedded): ")
    assert len(lines) == 1 + len(answer.timeline) + 3
    assert "  absent: scene labels, voice" in lines


def test_what_comes_from_files_cannot_become_markup(sample_run: RunFolder) -> None:
    result = json.loads(sample_run.result.read_text())
    nasty = "<img src=x onerror=alert(1)>"
    result["clip"]["path"] = f"/films/{nasty}"
    result["problems"] = [nasty]
    result["modalities"]["text"]["source"]["model"] = nasty
    result["summary"]["sentence"] = f'" {nasty}'
    result["timeline"] *= 20
    shown = notebook_html(result, Path(nasty))
    assert "<img src=x" not in shown
    assert shown.count("&lt;img src=x onerror=alert(1)&gt;") == 6, "name, problem, picture, model, sentence, folder"
    assert 'alt="Expressions over time. &quot;' in shown
    assert "more stretches" in shown
    assert "more stretches" in plain_text(result, Path())
