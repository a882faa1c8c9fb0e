"""The command line as a user types it."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from data.sample import sample_clip
from tests.faults.workloads import meet_with
from tests.forked import ROOT, fork
from tests.media_makers import make_clip

Dyad = Callable[..., tuple[int, str, str]]


def test_demo_says_the_answer_how_sure_it_is_and_where_the_page_is(dyad: Dyad, tmp_path: Path) -> None:
    code, out, _ = dyad("demo", "-o", tmp_path)
    assert code == 0
    lines = out.strip().splitlines()
    assert lines[0].startswith("sample.mp4: Happily surprised for ")
    assert lines[1].strip().startswith("Happily surprised: ")
    assert lines[-1].strip().endswith("report.html")
    assert len(lines) < 10


@pytest.mark.slow
def test_json_prints_results_and_nothing_else(dyad: Dyad, tmp_path: Path) -> None:
    clips = [make_clip(tmp_path / f"{name}.mp4", seconds=1) for name in ("one", "two")]
    code, out, _ = dyad("run", *clips, "--json", "-o", tmp_path / "runs")
    assert code == 0
    results = [json.loads(line) for line in out.splitlines()]
    assert [Path(result["clip"]["path"]).stem for result in results] == ["one", "two"]


@pytest.mark.slow
def test_a_folder_runs_its_media_files(dyad: Dyad, tmp_path: Path) -> None:
    make_clip(tmp_path / "b.mp4", seconds=1)
    make_clip(tmp_path / "a.mkv", seconds=1)
    (tmp_path / "notes.txt").write_text("not media")
    code, out, _ = dyad("run", tmp_path, "--json", "-o", tmp_path / "runs")
    assert code == 0
    assert [Path(json.loads(line)["clip"]["path"]).name for line in out.splitlines()] == ["a.mkv", "b.mp4"]


@pytest.mark.slow
def test_one_bad_clip_does_not_stop_the_others(dyad: Dyad, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    good = make_clip(tmp_path / "good.mp4", seconds=1)
    code, out, err = dyad("run", bad, good, "--json", "-o", tmp_path / "runs")
    assert code == 1
    first, second = map(json.loads, out.splitlines())
    assert "bad.mp4" in first["error"]
    assert second["clip"]["path"].endswith("good.mp4")
    assert "bad.mp4" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "clip.mp4", "--profile", "nonesuch"], "no profile 'nonesuch'"),
        (["run", "clip.mp4", "--scores", "voice"], "write MODALITY=FILE"),
        (["run", "clip.mp4", "--scores", "smell=x.csv"], "there is no file x.csv"),
        (["run", "clip.mp4", "--transcript", "none.srt"], "there is no file none.srt"),
        (["run", "clip.mp4", "--detector", "magic"], "faces.detector"),
        (["run", "."], "holds no media files"),
        (["run", "clip.mp4", "--settings", "windows.lenght=2"], "did you mean windows.length (Seconds of a window)?"),
        (["run"], "Missing argument"),
        (["score", "smell", "x.csv", "-o", "y.csv"], "cannot score tables"),
        (["score", "text", "x.csv", "-o", "y.csv"], "no file or folder x.csv"),
        (["train", "voice", "--data", "nowhere"], "no data folder"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    dyad: Dyad, arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = dyad(*arguments)
    assert code == 2
    assert words in " ".join(err.split())
    assert not out


def test_settings_start_a_profile_of_ones_own(dyad: Dyad, tmp_path: Path) -> None:
    code, out, _ = dyad("settings")
    assert code == 0
    tree = yaml.safe_load(out)
    tree["faces"]["which"] = "all"
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(tree))
    assert yaml.safe_load(dyad("settings", "--profile", mine)[1])["faces"]["which"] == "all"


def test_doctor_finds_the_installation_sound(dyad: Dyad) -> None:
    code, out, _ = dyad("doctor")
    assert code == 0
    assert "Nothing is broken" in out
    assert "./dyad" in out, "it says how to get Whisper"


def test_scores_a_table_of_texts_in_order(dyad: Dyad, tmp_path: Path) -> None:
    table, output = tmp_path / "texts.csv", tmp_path / "out.csv"
    texts = ["I am so happy, what a lovely day!", "", "I am furious with you."]
    pd.DataFrame({"id": [1, 2, 3], "text": texts}).to_csv(table, index=False)
    code, _, err = dyad("score", "text", table, "-o", output)
    assert code == 0
    assert "3 inputs scored, 1 without an answer" in err
    rows = pd.read_csv(output, keep_default_na=False)
    assert rows["input"].tolist() == texts
    assert rows.columns[1] == "neutral"
    assert rows.columns[7:9].tolist() == ["surprise", "fearfully_surprised"]
    assert set(rows.iloc[1, 1:]) == {""}
    numbers = rows.iloc[[0, 2], 1:8].astype(float)
    assert numbers.idxmax(axis=1).tolist() == ["happiness", "anger"]


def test_scores_face_pictures_from_npz_and_folder_alike(dyad: Dyad, sample_run: Any, tmp_path: Path) -> None:
    import cv2
    import numpy as np
    from skimage.data import astronaut

    face = cv2.resize(cv2.cvtColor(astronaut()[60:180, 165:285], cv2.COLOR_RGB2GRAY), (96, 96), interpolation=cv2.INTER_AREA)
    np.savez(tmp_path / "faces.npz", images=np.stack([face, face[:, ::-1]]))
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), face)
    cv2.imwrite(str(tmp_path / "pictures" / "b.png"), face[:, ::-1])
    cv2.imwrite(str(tmp_path / "pictures" / "larger.png"), cv2.resize(face, (160, 180), interpolation=cv2.INTER_CUBIC))
    assert dyad("score", "static-face", tmp_path / "faces.npz", "-o", tmp_path / "npz.csv")[0] == 0
    assert dyad("score", "static-face", tmp_path / "pictures", "-o", tmp_path / "folder.csv")[0] == 0
    stored, files = pd.read_csv(tmp_path / "npz.csv"), pd.read_csv(tmp_path / "folder.csv")
    assert stored["input"].tolist() == [0, 1]
    assert [Path(name).name for name in files["input"]] == ["a.png", "b.png", "larger.png"]
    np.testing.assert_allclose(stored.iloc[:, 1:], files.iloc[:2, 1:], atol=1e-5)
    assert files["happiness"][2] > 0.5, "files of other sizes are seen too"
    assert stored["happiness"].min() > 0.5, "the portrait smiles broadly"


def test_of_a_whole_photo_the_face_is_scored(dyad: Dyad, tmp_path: Path) -> None:
    import cv2
    import numpy as np
    from skimage.data import astronaut

    (tmp_path / "photos").mkdir()
    photo = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "photos" / "suit.png"), photo[270:])
    cv2.imwrite(str(tmp_path / "photos" / "whole.png"), photo)
    (tmp_path / "list.csv").write_text("path\nsuit.png\nwhole.png\n")
    code, _, err = dyad("score", "static-face", tmp_path / "list.csv", "--root", tmp_path / "photos", "-o", tmp_path / "out.csv")
    assert code == 0
    assert "suit.png: No face was found in it" in err
    suit, whole = pd.read_csv(tmp_path / "out.csv").itertuples()
    assert np.isnan(suit.happiness)
    assert whole.happiness > 0.5


def test_scores_sound_files(dyad: Dyad, tmp_path: Path, tiny_voice: None) -> None:
    import soundfile

    from data.media.decode import DecodeOptions, decode
    from data.media.probe import probe

    decoded = decode(probe(sample_clip()), tmp_path / "work", DecodeOptions(5.0, 960))
    assert decoded.audio is not None
    (tmp_path / "sounds").mkdir()
    samples, rate = soundfile.read(decoded.audio)
    soundfile.write(tmp_path / "sounds" / "speech.flac", samples, rate)
    soundfile.write(tmp_path / "sounds" / "silence.wav", samples * 0, rate)
    assert dyad("score", "voice", tmp_path / "sounds", "-o", tmp_path / "out.csv")[0] == 0
    rows = pd.read_csv(tmp_path / "out.csv").set_index("input")
    assert rows.filter(like="silence", axis=0).iloc[:, :7].isna().all(axis=None)
    assert rows.filter(like="speech", axis=0).iloc[:, :7].sum(axis=1).iloc[0] == pytest.approx(1, abs=1e-4)


def test_a_table_with_labels_says_how_many_are_right(dyad: Dyad, tmp_path: Path) -> None:
    texts = ["I am so happy, what a lovely day!", "", "I am furious with you.", "I am furious with you."]
    labels = {"text": texts, "label": ["Joy", "sad", "angry", "boredom"], "speaker": ["a", "b", "b", "b"]}
    pd.DataFrame(labels).to_csv(tmp_path / "in.csv", index=False)
    code, _, err = dyad("score", "text", tmp_path / "in.csv", "-o", tmp_path / "out.csv")
    assert code == 0
    assert "3 labelled, 2 speakers or groups, 3 emotions: UAR 66.7 % (" in err, "no answer is a wrong one"
    assert "WAR 66.7 %, macro-F1 66.7 %. 1 row has a label that is none of the seven and is left out: boredom (1)" in err
    assert pd.read_csv(tmp_path / "out.csv", keep_default_na=False)["label"].tolist() == ["happiness", "sadness", "anger", ""]
    assert "Trained on this" not in err
    pd.DataFrame(labels | {"corpus": ["GoEmotions", "goemotions", "ours", ""]}).to_csv(tmp_path / "in.csv", index=False)
    assert "Trained on this: 2 of goemotions" in dyad("score", "text", tmp_path / "in.csv", "-o", tmp_path / "out.csv")[2]
    pd.DataFrame({"text": ["yes"], "label": ["boredom"]}).to_csv(tmp_path / "other.csv", index=False)
    assert "nothing is measured" in dyad("score", "text", tmp_path / "other.csv", "-o", tmp_path / "out.csv")[2]


def test_paths_of_a_table_stay_in_its_folder(dyad: Dyad, tmp_path: Path, tiny_voice: None) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "list.csv").write_text("path\n../secret.wav\n")
    (tmp_path / "secret.wav").write_bytes(b"x")
    code, _, err = dyad("score", "voice", tmp_path / "in" / "list.csv", "-o", tmp_path / "out.csv")
    assert code == 1
    assert "outside" in err
    assert (tmp_path / "out.csv").read_text().splitlines()[1].count("secret") == 1, "its row is there, without an answer"


def test_files_without_an_answer_keep_their_row_and_say_why(dyad: Dyad, tmp_path: Path, tiny_voice: None) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    silent = make_clip(tmp_path / "silent.mp4", seconds=1, sound=None)
    (tmp_path / "list.csv").write_text(f"path\nbroken.wav\n{silent}\nmissing.wav\n")
    code, _, err = dyad("score", "voice", tmp_path / "list.csv", "-o", tmp_path / "out.csv")
    assert code == 1
    assert "3 inputs scored, 3 without an answer" in err
    for name in ("broken.wav", "silent.mp4", "missing.wav"):
        assert sum(name in line for line in err.splitlines()) == 1
    assert pd.read_csv(tmp_path / "out.csv").iloc[:, 1:].isna().all(axis=None)


@pytest.mark.slow
def test_ctrl_c_ends_in_a_sentence_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """A real process, really interrupted while it works on a clip."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect")}
    start = partial(fork, "run", sample_clip(), "-o", tmp_path / "runs", environment=environment, folder=tmp_path)
    stopped = start(before=partial(meet_with, "ctrl-c", "faces", tmp_path / "runs")).ended(300)
    assert stopped.returncode == 130
    assert "Stopped at your request" in " ".join(stopped.stderr.split())
    assert "Traceback" not in stopped.stderr
    assert len(list((tmp_path / "runs").glob("*/.stages/decode.json"))) == 1
    assert not list((tmp_path / "runs").rglob(".*.????????.*"))
    done = start().ended(300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_explain_says_in_words_what_made_each_answer(dyad: Dyad, tmp_path: Path) -> None:
    code, out, _ = dyad("demo", "-o", tmp_path, "--explain")
    assert code == 0
    said = " ".join(out.split())
    assert said.count(" s to ") + said.count(" to ") >= 5
    assert "static face" in said.split("Result:")[-1]
