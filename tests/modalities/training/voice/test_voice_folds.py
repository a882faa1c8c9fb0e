"""The benchmarks that show why a goal is out of reach: voices nobody heard, and compounds by form and rows."""


import numpy as np
import pytest

from benchmarks.quality import compound_curve, voice_folds
from data import bootstrap
from data.emotions import ABAW_COMPOUNDS
from data.metrics import scores_of
from fusion.composer import PAIRS, states_of
from modalities.training.voice.train import Utterances


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of 20 draws, since nothing here is about how narrow they are."""
    monkeypatch.setattr(bootstrap, "DRAWS", 20)


def test_speakers_are_cut_into_speakers_of_few_moods() -> None:
    emotions, speakers = np.tile(np.repeat(np.arange(6), 4), 2), np.repeat([3, 1002], 24)
    states = np.zeros((48, 2, 8), np.float32)
    cut = voice_folds.of_few_moods(Utterances(states, emotions, speakers, np.repeat([0, 1], 24)), 2)
    for speaker in np.unique(cut.speakers):
        own = cut.speakers == speaker
        assert len(set(cut.emotions[own])) == 2
        assert len(set(speakers[own])) == 1
    assert len(np.unique(cut.speakers)) == 6


@pytest.mark.slow
def test_the_table_has_home_away_and_few_moods(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(1)
    directions, made = chance.normal(0, 1, (7, 24)), []
    for corpus, emotions in enumerate(((0, 1, 2, 3, 4, 5, 6), (0, 1, 3, 4, 5, 6))):
        for person in range(1, 6):
            throat = chance.normal(0, 1, 24) + corpus
            made += [(directions[k] + throat + chance.normal(0, 0.3, 24), k, 1000 * corpus + person, corpus)
                     for k in emotions for _ in range(4)]  # fmt: skip
    states, emotions, speakers, corpora = map(np.array, zip(*made, strict=True))
    both = Utterances(np.stack([states, states], 1).astype(np.float32), emotions, speakers, corpora)
    table = list(voice_folds.rows(both))
    assert len(table) == 4 + 2 * (2 + 6)
    assert all(len(row) == len(voice_folds.HEADS) for row in table)
    away = {(row[0], row[2]): float(row[4]) for row in table if row[1] == "nEMO alone"}
    assert away["RAVDESS", "the speaker's"] > away["RAVDESS", "the training's reference"]
    shipped = voice_folds.changed("as it ships", both, voice_folds.SHIPPED)
    assert len(shipped) == len(voice_folds.CHANGED)
    shown = {(row[0], row[1], row[2]): row[4] for row in table}
    assert shipped[1] == shown["RAVDESS", "both corpora, other speakers", "the speaker's"]
    assert shipped[6:8] == tuple(shown["nEMO", "RAVDESS alone", how] for how in reversed(voice_folds.REFERENCES))
    assert shipped[5] == shown["RAVDESS, one mood a speaker", "nEMO alone", "the speaker's where it is varied"]
    one = "RAVDESS, one mood a speaker"
    assert away[one, "the speaker's where it is varied"] > away[one, "the speaker's, whatever it is"]


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
