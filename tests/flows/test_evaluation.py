"""`dyad evaluate`: labels of every kind against answers whose truth is known, compared with scikit-learn and by hand."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.media.clip import Clip
from data.metrics import calibration_error
from data.run_folder import RunFolder
from data.scores import Scores
from data.tables import read_table, write_table
from data.windows import make_windows
from flows.evaluation import evaluate
from fusion.fuse import fuse
from fusion.over_time import at_times, timeline
from reports.evaluation.document import EvaluationFigures
from reports.evaluation.gather import alpha
from reports.exports.annotation import elan, textgrid
from reports.exports.clip import read_clip
from reports.result import build_result, frames_table, to_json

Dyad = Callable[..., tuple[int, str, str]]
SECONDS, RATE, SPEAKERS, CLIPS = 8.0, 5.0, 6, 18
SHOWN = [BASIC_EMOTIONS[1 + number % 6] for number in range(CLIPS)]
"""The emotion of each clip; clip n is of speaker n % SPEAKERS + n // SPEAKERS, so that a speaker shows several."""


def speaker_of(number: int) -> int:
    return (number + number // SPEAKERS) % SPEAKERS


def write_run(folder: RunFolder, name: str, modalities: Sequence[Scores]) -> None:
    """A run folder as publishing leaves it, made from scores."""
    folder.create()
    fusion = fuse(modalities)
    clip = Clip(Path(f"/films/{name}.mp4"), folder.root.name, "0" * 64, SECONDS, RATE, 64, 64, has_video=True, has_audio=True)
    times = np.arange(int(SECONDS * RATE)) / RATE
    frames = pd.DataFrame({"frame": np.arange(len(times)), "time_s": times})
    write_table(folder.frames, frames_table(frames, at_times(fusion, times), {}, fusion.compounds))
    folder.result.write_text(to_json(build_result(clip, "embedded", modalities, fusion, timeline(fusion))), encoding="utf-8")


def seen(modality: str, emotion: str, strength: float, draw: np.random.Generator) -> Scores:
    """What a modality that sees the emotion so strongly says of each window; at 0 it guesses."""
    windows = make_windows(SECONDS)
    shares = draw.dirichlet(np.ones(7), len(windows)) + strength * np.eye(7)[BASIC_EMOTIONS.index(emotion)]
    shares = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return Scores(modality, windows, shares, np.ones(len(windows), bool))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`both`: 18 clips whose face sees what is shown and whose voice guesses; `voice`: the same clips without the face; and
    labels.csv of whole clips."""
    folder, draw = tmp_path_factory.mktemp("study"), np.random.default_rng(3)
    for number, emotion in enumerate(SHOWN):
        face, voice = seen("static_face", emotion, 1.0, draw), seen("voice", emotion, 0.0, draw)
        gone = Scores.absent("static_face", face.windows, "No face.")
        for results, scores in (("both", [face, voice]), ("voice", [gone, voice])):
            write_run(RunFolder(folder / results / f"clip{number:02d}-abc"), f"clip{number:02d}", scores)
    rows = [f"clip{number:02d}.mp4,{emotion},s{speaker_of(number)}" for number, emotion in enumerate(SHOWN)]
    (folder / "labels.csv").write_text("\n".join(["clip,label,speaker", *rows]) + "\n")
    return folder


def figures_of(results: Path, labels: Path, **how: Any) -> EvaluationFigures:
    return evaluate([str(results)], labels, **how)["results"][0]


def test_figures_are_scikit_learn_s_and_the_modality_that_helps_is_found(study: Path, dyad: Dyad, tmp_path: Path) -> None:
    code, printed, said = dyad("evaluate", study / "both", "--labels", study / "labels.csv", "--json", "-o", tmp_path / "e.csv")
    assert (code, said) == (0, f"{tmp_path / 'e.csv'}\n")
    found = json.loads(printed)["results"][0]
    assert found["level"] == "clips"
    runs = [RunFolder(study / "both" / f"clip{number:02d}-abc") for number in range(CLIPS)]
    results = [json.loads(run.result.read_text()) for run in runs]
    answers = {
        "clips": [max(one["summary"]["basic"], key=one["summary"]["basic"].get) for one in results],
        "windows": [max(row["basic"], key=row["basic"].get) for one in results for row in one["windows"]],
        "frames": [name for run in runs for name in read_table(run.frames)[list(BASIC_EMOTIONS)].idxmax(axis=1)],
    }  # fmt: skip
    for level, said_there in answers.items():
        truth = list(np.repeat(SHOWN, len(said_there) // CLIPS))
        own = found["metrics"]["emotions"][level]
        expected = {
            "war": accuracy_score(truth, said_there),
            "uar": recall_score(truth, said_there, labels=BASIC_EMOTIONS[1:], average="macro"),
            "macro_f1": f1_score(truth, said_there, labels=BASIC_EMOTIONS[1:], average="macro"),
            "weighted_f1": f1_score(truth, said_there, average="weighted"),
        }  # fmt: skip
        assert {name: own[name] for name in expected} == pytest.approx(expected, abs=1e-6), level
        assert own["intervals"]["uar"][0] < own["uar"] < own["intervals"]["uar"][1]
    basic = np.array([list(row["basic"].values()) for one in results for row in one["windows"]])
    truth = np.repeat([BASIC_EMOTIONS.index(name) for name in SHOWN], len(results[0]["windows"]))
    assert found["reliability"]["emotions"]["ece"] == pytest.approx(calibration_error(basic, truth), abs=1e-4)

    speaker = found["speakers"]["s2"]["emotions"]
    pairs = enumerate(zip(SHOWN, answers["clips"], strict=True))
    own = [truth == answer for number, (truth, answer) in pairs if speaker_of(number) == 2]
    assert (speaker["items"], speaker["war"]) == (CLIPS // SPEAKERS, np.mean(own))

    modalities = found["modalities"]["emotions"]
    assert set(modalities) == {"static_face", "voice"}
    face = modalities["static_face"]
    assert face["without"]["uar"] == modalities["voice"]["alone"]["uar"]
    assert face["adds"]["uar"][0] == pytest.approx(found["metrics"]["emotions"]["clips"]["uar"] - face["without"]["uar"])
    assert face["adds"]["uar"][1] > 0, "the face helps"
    assert modalities["voice"]["adds"]["uar"][1] < 0.1, "the voice does not"

    table = pd.read_csv(tmp_path / "e.csv").set_index(["labels", "by", "what", "measure"])
    assert table.loc[("emotions", "clips", "added by static_face", "UAR"), "low"] == face["adds"]["uar"][1]
    assert table.loc[("emotions", "clips", "speaker s2", "accuracy"), "value"] == speaker["war"]


def test_labels_of_every_form_say_the_same(study: Path, tmp_path: Path) -> None:
    """A clip that shows anger for 4 s and then fear: as rows of time, of frames, in ELAN and Praat, and as Aff-Wild2's."""
    run, draw = RunFolder(tmp_path / "runs" / "film-1"), np.random.default_rng(5)
    write_run(run, "film", [seen("static_face", "anger", 0.5, draw)])
    cut = 20
    texts = {
        "rows.csv": "start,end,label\n0,4,angry\n0:04.0,8 s,Fear\n",
        "named.csv": "path,start_s,end_s,label\nfilms/film.mp4,0,4,anger\nfilms/film.mp4,4,8,fear\nother.mp4,0,8,joy\n",
        "frames.csv": "frame,label\n" + "".join(f"{frame},{'anger' if frame < cut else 'fear'}\n" for frame in range(40)),
        "aff/film.txt": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n" + "1\n" * cut + "3\n" * (40 - cut),
        "challenge.txt": "image_location,Neutral,Anger,Disgust,Fear\n"
        + "".join(f"film/{frame + 1:05d}.jpg,{1 if frame < cut else 3}\n" for frame in range(40)),
        "praat.TextGrid": 'File type = "ooTextFile"\nObject class = "TextGrid"\n0\n8\n<exists>\n2\n'
        '"IntervalTier"\n"said ""!"""\n0\n8\n1\n0\n8\n"3 times 4"\n'
        '"IntervalTier"\n"faces"\n0\n8\n3\n0\n4\n"anger"\n4\n8\n"fear"\n8\n8\n""\n',
        "elan.eaf": '<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT><TIME_ORDER>'
        '<TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="b" TIME_VALUE="4000"/>'
        '<TIME_SLOT TIME_SLOT_ID="c" TIME_VALUE="8000"/></TIME_ORDER>'
        '<TIER TIER_ID="words"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="w" TIME_SLOT_REF1="a" TIME_SLOT_REF2="c">'
        "<ANNOTATION_VALUE>hello</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>"
        '<TIER TIER_ID="faces"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="1" TIME_SLOT_REF1="a" TIME_SLOT_REF2="b">'
        "<ANNOTATION_VALUE>anger</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION><ANNOTATION><ALIGNABLE_ANNOTATION "
        'ANNOTATION_ID="2" TIME_SLOT_REF1="b" TIME_SLOT_REF2="c"><ANNOTATION_VALUE>fear</ANNOTATION_VALUE>'
        "</ALIGNABLE_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>",
    }  # fmt: skip
    confusions = {}
    for name, text in texts.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-16" if name.startswith("praat") else "utf-8")
        found = figures_of(run.root, file.parent if name.startswith("aff") else file)["metrics"]["emotions"]
        confusions[name] = {level: figures["confusion"] for level, figures in found.items()}
        assert [sum(row) for row in found["frames"]["confusion"]] == [0, 20, 0, 20, 0, 0, 0], name
        assert [sum(row) for row in found["windows"]["confusion"]] == [0, 1, 0, 1, 0, 0, 0], f"{name}: 2 to 6 s is of neither"
    assert all(one == confusions["rows.csv"] for one in confusions.values())


def test_what_dyad_exports_can_be_corrected_and_measured(study: Path, tmp_path: Path) -> None:
    """The tier of its own answers agrees with them frame by frame, in both formats."""
    run = RunFolder(study / "both" / "clip04-abc")
    clip = read_clip(run)
    for name, text in (("clip04.eaf", elan(clip)), ("clip04.TextGrid", textgrid(clip))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = figures_of(run.root, tmp_path / name, tiers=["expression"])
        assert found["metrics"]["compounds"]["frames"]["war"] > 0.9


def test_two_folders_are_compared_clip_by_clip_with_one_draw(study: Path, dyad: Dyad, tmp_path: Path) -> None:
    page = tmp_path / "e.html"
    code, printed, _ = dyad("evaluate", study / "voice", study / "both", "--labels", study / "labels.csv", "-o", page)
    assert code == 0
    assert "both less" in printed
    assert "<script src" not in page.read_text()
    assert "Confusion of emotions by clip" in page.read_text()
    document = evaluate([str(study / "voice"), str(study / "both")], study / "labels.csv")
    first, second = (one["metrics"]["emotions"]["clips"] for one in document["results"])
    value, low, high = document["differences"]["emotions"]["clips"]["uar"]
    assert value == pytest.approx(second["uar"] - first["uar"], abs=1e-6)
    assert 0 < low < value < high
    same = evaluate([str(study / "both"), str(study / "both")], study / "labels.csv")["differences"]["emotions"]["clips"]
    assert same["uar"] == [0.0, 0.0, 0.0], "drawn together, one and the same differ in no draw"


def test_clips_of_a_corpus_that_a_model_learned_from_are_told(tmp_path: Path) -> None:
    run, name = RunFolder(tmp_path / "ravdess"), "03-01-05-01-01-01-12"
    write_run(run, name, [seen("voice", "anger", 1.0, np.random.default_rng(5))])
    (tmp_path / "labels.csv").write_text(f"clip,label\n{name},anger\n")
    (note,) = figures_of(run.root, tmp_path / "labels.csv")["notes"]
    assert note.startswith("Trained on this: ")
    assert "voice on ravdess (1 clips)" in note


def test_raters_agree_by_krippendorff_and_most_of_them_count(study: Path, tmp_path: Path) -> None:
    # Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: four observers, twelve units, nominal alpha .743.
    said = ["1233214 12---", "1233224 125-3", "-333234 2251-", "1233244 1251-"]
    units = list(zip(*(row.replace(" ", "") for row in said), strict=True))
    counts = np.array([[unit.count(str(value)) for value in range(1, 6)] for unit in units])
    assert alpha(counts) == pytest.approx(0.743, abs=5e-4)
    rows = [f"clip{number:02d},{emotion},{rater}" for number, emotion in enumerate(SHOWN) for rater in "ab"]
    rows += [f"clip{number:02d},disgust,c" for number in range(CLIPS)]
    rows += ["clip00,fear,d", "clip00,fear,e"]  # two for anger, two for fear, one for disgust: undecided
    (tmp_path / "raters.csv").write_text("\n".join(["clip,label,rater", *rows]))
    found = figures_of(study / "both", tmp_path / "raters.csv")
    agreement = found["agreement"]
    assert agreement is not None
    assert (agreement["raters"], agreement["units"], agreement["unit"]) == (["a", "b", "c", "d", "e"], CLIPS, "clips")
    assert agreement["alpha"] is not None
    assert agreement["alpha_with_dyad"] is not None
    assert agreement["alpha"] < agreement["alpha_with_dyad"] < 1, "Dyad sides with the two who are right"
    assert found["metrics"]["emotions"]["clips"]["items"] == CLIPS - 1


def test_what_cannot_be_measured_is_said_in_a_sentence(study: Path, dyad: Dyad, tmp_path: Path) -> None:
    def said(text: str, *more: str, name: str = "labels.csv") -> str:
        (tmp_path / name).write_text(text)
        code, _, error = dyad("evaluate", study / "both", "--labels", tmp_path / name, *more)
        assert code == 2, text
        return error

    assert "labels.csv, line 3: 'smug' is not a known label" in said("clip,label\nclip00,joy\nclip01,smug\n")
    assert "None of the clips" in said("clip,label\nother.mp4,joy\n")
    assert "does not say which clips" in said("start,end,label\n0,2,joy\n")
    assert "start 3 is not before end 2" in said("clip,start,end,label\nclip00,3,2,joy\n")
    assert "has no column 'label'" in said("clip,words\nclip00,joy\n")
    assert ".csv, .html, .json" in said("clip,label\nclip00,joy\n", "-o", str(tmp_path / "e.pdf"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "clip00.eaf").write_text("<ANNOTATION_DOCUMENT><TIER></ANNOTATION_DOCUMENT>")
    assert "is not a whole ELAN or TextGrid file" in dyad("evaluate", study / "both", "--labels", tmp_path / "files")[2]
    compounds = {compound.name for compound in ABAW_COMPOUNDS}
    assert not compounds & set(figures_of(study / "both", study / "labels.csv")["metrics"]), "emotions alone are measured"
