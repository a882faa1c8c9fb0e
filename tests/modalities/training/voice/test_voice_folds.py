"""The benchmarks that show why a goal is out of reach: eight emotions of voices nobody heard, and compounds by form and rows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import compound_curve, quality, voice_folds
from data.emotions import ABAW_COMPOUNDS
from data.metrics import scores_of
from fusion.composer import PAIRS, states_of
from modalities.model_store.table import model_table
from modalities.training.voice import train as voice
from modalities.training.voice.corpus import CALM, read_ravdess
from modalities.training.voice.start import MODEL
from tests.speaker_wheel import write_wheel


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 20 draws, since nothing here is about how narrow they are."""
    monkeypatch.setattr(quality, "DRAWS", 20)


def test_a_larger_number_of_actors_holds_the_smaller_ones_and_both_sexes() -> None:
    others = torch.tensor([1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18]).repeat(60)
    some, more = (voice_folds.some_actors(others, count, seed=7).tolist() for count in (4, 8))
    assert set(some) < set(more) < set(others.tolist())
    assert sum(actor % 2 for actor in some) == 2
    assert sum(actor % 2 for actor in more) == 4
    assert len(voice_folds.some_actors(others, 15, seed=7)) == 15


@pytest.mark.slow
def test_calm_is_an_eighth_emotion_only_where_asked(shared: Path) -> None:
    data = shared / "datasets"
    seven, eight = (read_ravdess(data, limit=12, calm=calm) for calm in (False, True))
    assert set(seven.emotions) == set(range(7))
    assert set(eight.emotions) == {*range(7), CALM}
    np.testing.assert_array_equal(np.where(eight.emotions == CALM, 0, eight.emotions), seven.emotions)


@pytest.mark.slow
def test_folds_are_kept_and_joined_to_seven_classes(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_folds, "VARIANTS", 1)
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path))
    row = model_table().models[MODEL]
    (tmp_path / row.folder).mkdir()
    write_wheel(tmp_path / row.folder / row.files[0].name)
    first = list(voice_folds.rows(shared / "datasets", [4], 8, 1, 7, tmp_path, limit=2))
    assert [row[0] for row in first] == ["8", "the same, calm as neutral"]
    assert first[0][2] == 36
    assert len(list(tmp_path.glob("fold-8-4-*.pt"))) == voice.FOLDS
    monkeypatch.setattr(voice_folds, "fit", None)  # nothing is learned twice
    assert list(voice_folds.rows(shared / "datasets", [4], 8, 1, 7, tmp_path, limit=2)) == first


def stills(count: int, seed: int) -> compound_curve.JudgedStills:
    """Probabilities and votes that gather around each still's one or two emotions."""
    random = np.random.default_rng(seed)
    state = np.resize(np.arange(28), count)
    centre = np.full((count, 7), 0.4)
    for row, place in enumerate(state):
        centre[row, PAIRS[place - 7] if place >= 7 else place] += 4.0
    basic = np.array([random.dirichlet(around) for around in centre])
    votes = np.array([random.multinomial(10, around / around.sum()) for around in centre]).astype(float)
    compounds = states_of(ABAW_COMPOUNDS)
    label = np.where(np.isin(state, compounds), (state[:, None] == compounds).argmax(1), -1)
    return compound_curve.JudgedStills(basic, random.normal(0, 1, (count, 5)), state, label, votes)


@pytest.mark.slow
def test_every_form_is_fitted_and_answers_all_rows() -> None:
    known, new = stills(280, 1), stills(140, 2)
    assert set(known.label) == {-1, *range(7)}
    shown = new.label >= 0
    answer = np.random.default_rng(3).integers(0, 7, shown.sum())
    expected = scores_of(new.label[shown], answer, range(7))["macro_f1"]
    assert compound_curve.macro_f1(new.label[shown], answer, range(7)) == pytest.approx(expected)
    chance = float(compound_curve.measured(np.zeros((140, 7)), new)[1])
    for form in compound_curve.FORMS.values():
        answers = compound_curve.answer(form, compound_curve.fit(form, known), new)
        assert answers.shape == (140, 7)
        loss, macro, *_ = compound_curve.measured(answers, new)
        assert float(loss) < np.log(7)
        assert float(macro) > chance + 40
    crossed = compound_curve.crossed(compound_curve.FORMS["as shipped"], known, 0.5, seed=1)
    assert np.isfinite(crossed).all()
    assert float(compound_curve.measured(crossed, known)[1]) > 60
    assert float(compound_curve.measured(compound_curve.people(known, 1), known)[1]) > 60
