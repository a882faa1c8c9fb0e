"""Modalities that users add: one file each, found by its name, asked for scores, and weighed like the others."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from configs.settings import load_settings
from data.added_modalities import added_modalities, check_added
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.media.probe import probe
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.scores import MODALITIES
from flows.backends.added import AddedModality, material
from flows.job import Job
from flows.runtime.code_digest import code_digest
from fusion.weights import read_weights, with_modalities

WORDS_A_SECOND = '''
from data.scores import Scores

def recognise(material) -> Scores:
    """Many words a second: excited."""
    rows = [[1, 0, 0, 0, 0, 0, len(" ".join(material.words["text"]).split())]] * len(material.windows)
    return material.answer(rows, "words", "all of them")
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DYAD_MODALITIES", str(tmp_path))
    added_modalities.cache_clear()
    yield tmp_path
    added_modalities.cache_clear()


@pytest.fixture
def job(sample_run: RunFolder) -> Job:
    return Job(probe(sample_clip()), sample_run, load_settings(overrides={"added": {"voice_pitch": {"low": 80}}}))


def test_a_file_is_a_modality_by_its_name(folder: Path) -> None:
    for name in ("posture.py", "_helper.py", "notes.txt", "pace2.py"):
        (folder / name).touch()
    assert list(added_modalities()) == ["pace2", "posture"]
    check_added()


@pytest.mark.parametrize("name", ["voice.py", "faces.py", "Posture.py", "2fast.py", "my-pace.py"])
def test_a_name_that_is_taken_or_odd_is_told(folder: Path, name: str) -> None:
    (folder / name).touch()
    assert not added_modalities()
    with pytest.raises(InputError, match=f"{name} cannot be a modality"):
        load_settings()


def test_a_folder_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_MODALITIES", "nowhere")
    with pytest.raises(InputError, match="DYAD_MODALITIES names nowhere, which is no folder"):
        check_added()


def test_the_file_is_asked_with_what_the_clip_was_taken_apart_into(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.scores.MODALITIES", (*MODALITIES, "voice_pitch"))
    file = tmp_path / "voice_pitch.py"
    file.write_text(WORDS_A_SECOND)
    given = material(job, "voice_pitch")
    assert given.options == {"low": 80}
    assert {"x", "y", "track_id"} <= set(given.faces.columns)
    scores = AddedModality("voice_pitch", file).recognise(job)
    count = len(" ".join(given.words["text"]).split())
    np.testing.assert_allclose(scores.probabilities[:, 6], count / (count + 1), rtol=1e-6)
    told = given.answer(scores.probabilities, "words", quality=np.linspace(1, 2, len(given.windows))).quality
    assert told is not None
    np.testing.assert_allclose(told, np.where(scores.present, np.linspace(1, 2, len(told)), np.nan))
    assert scores.source is not None
    assert (scores.source.backend, scores.source.model) == ("added", "words")
    before = code_digest(AddedModality("voice_pitch", file).code(job))
    file.write_text(WORDS_A_SECOND.replace("words", "Words", 1))
    assert code_digest(AddedModality("voice_pitch", file).code(job)) != before, "another text runs again"
    absent = given.absent("Nobody sings.", "Sing.")
    assert (absent.is_absent, absent.reason, absent.remedy) == (True, "Nobody sings.", "Sing.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "no function recognise"),
        ("def recognise(material): return [0.1] * 7", "must return material.answer"),
        ("def recognise(material): return material.answer([[1] * 7], 'm')", r"answered \(1, 7\); it must be \[\d, 7\]"),
        ("def recognise(material): return material.answer([[0] * 7] * len(material.windows), 'm')", "a row of zeros"),
        (
            "def recognise(material): return material.answer([[1] * 7] * len(material.windows), 'm', quality=[0.5])",
            r"the quality of \(1,\); it must be \[\d\]",
        ),
        ("def recognise(material): return material.answer([[-1] + [1] * 6] * len(material.windows), 'm')", "negative"),
    ],
)
def test_what_is_wrong_with_a_file_is_a_sentence(tmp_path: Path, job: Job, text: str, words: str) -> None:
    file = tmp_path / "voice_pitch.py"
    file.write_text(text)
    with pytest.raises(InputError, match=words):
        AddedModality("voice_pitch", file).recognise(job)


def test_a_modality_that_nobody_measured_has_the_mean_trust_of_the_others() -> None:
    shipped = read_weights()
    more = with_modalities(shipped, ("posture", "voice"))
    assert more.modalities == (*shipped.modalities, "posture")
    np.testing.assert_allclose(more.head_weights[:, -1], shipped.head_weights.mean(axis=1))
    np.testing.assert_array_equal(more.head_weights[:, :-1], shipped.head_weights)
    assert "posture: no measurement" in more.description
    assert with_modalities(shipped, ()) is shipped


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nonesuch", "no compounds 'nonesuch': give one of abaw, all_pairs"),
        ({"awe": ["fear"]}, "'awe' must be a pair"),
        ({"awe": ["fear", "fear"]}, "joins fear with itself"),
        ({"awe": ["fear", "wonder"]}, "'wonder', which is not a basic emotion"),
        ({"fear": ["fear", "anger"]}, "'fear' cannot name a compound"),
        ({"Big Awe": ["fear", "anger"]}, "'Big Awe' cannot name a compound"),
    ],
)
def test_a_table_of_compounds_that_is_none_is_told(given: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_settings(overrides={"compounds": given})


def test_compounds_come_by_name_file_or_variable(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("awe: [surprise, fear]\n")
    assert load_settings(overrides={"compounds": "abaw"}).compounds == load_settings().compounds
    pairs = {frozenset((item.first, item.second)) for item in load_settings(overrides={"compounds": "all_pairs"}).compounds}
    assert pairs == {frozenset((one, other)) for one in BASIC_EMOTIONS[1:] for other in BASIC_EMOTIONS[1:] if one != other}
    for settings in (load_settings(overrides={"compounds": str(file)}), load_settings(environment={"DYAD_COMPOUNDS": str(file)})):
        assert [item.name for item in settings.compound_table()] == ["awe"]
