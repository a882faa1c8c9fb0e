"""The command that fits the composer: what it fuses, what it writes, what it says when the data is missing."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.derive import composer as derive_composer
from benchmarks.quality.over_time import NONE, accuracy, make_sequence
from data.emotions import BASIC_EMOTIONS
from data.scores import MODALITIES
from fusion.composer import PAIRS, Composer, read_composer, state_probabilities, write_composer
from fusion.fit_composer import StateRows
from fusion.log_linear import log_linear
from fusion.over_time import DWELL, WAYS
from fusion.weights import read_weights


def rows(states: list[int], seed: int) -> StateRows:
    """As many probabilities as states, gathered around the emotions of each."""
    random, centre = np.random.default_rng(seed), np.full((len(states), 7), 0.4)
    for row, state in enumerate(states):
        centre[row, PAIRS[state - 7] if state >= 7 else state] += 4.0
    return StateRows(np.array([random.dirichlet(around) for around in centre]), np.array(states))


def test_stills_are_fused_with_comments_of_their_own_state() -> None:
    faces, texts = rows([0, 1, 9, 27, 0], 1), rows([9, 0, 0, 1], 2)
    fused = derive_composer.fused_rows(faces, texts)
    assert fused.state.tolist() == [0, 1, 9, 0], "no comment shows state 27"
    weights = read_weights()
    assert {"static_face", "text"} <= set(weights.modalities)
    assert len(MODALITIES) == len(weights.modalities)
    probabilities = np.zeros((len(MODALITIES), 1, 7))
    probabilities[MODALITIES.index("static_face")], probabilities[MODALITIES.index("text")] = faces.basic[1], texts.basic[3]
    np.testing.assert_allclose(fused.basic[1], log_linear(weights, probabilities, probabilities.any(2))[0])


def test_a_derived_composer_names_its_sources_and_beats_where_it_starts(tmp_path: Path) -> None:
    states = [*range(28)] * 12
    write_composer(tmp_path / "c.json", derive_composer.derive(rows(states, 3), "faces", rows(states, 4), "texts"))
    composer = read_composer(tmp_path / "c.json")
    assert composer.fitted_on["sources"]["faces"] == {"rows": 336, "pairs": 252}
    assert sum(composer.shares.values()) == pytest.approx(0.75, abs=0.05)
    assert any("slopes" in line for line in derive_composer.in_words(composer))
    new = rows(states, 5)
    nothing = Composer(1, 1, 0, 0, dict.fromkeys(BASIC_EMOTIONS, 0), dict.fromkeys(BASIC_EMOTIONS, 0), {})
    fitted, started = (state_probabilities(given, new.basic)[range(336), states] for given in (composer, nothing))
    assert np.log(fitted).mean() > np.log(started).mean() + 0.3


def test_missing_data_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert derive_composer.main(["--data", str(tmp_path)]) == 1
    assert "ferplus_train.npz" in capsys.readouterr().err


def test_sequences_change_and_are_answered_by_all_ways() -> None:
    examples = {place: rows([place] * 20, place).basic for place in range(3)}
    sequence = make_sequence(examples, 16.0, False, 1)
    assert len(sequence.windows) + 1 == len(sequence.truth)
    lengths = np.diff(np.flatnonzero(np.diff(sequence.truth)))
    assert 6 < lengths.mean() < 18, "neighbouring stretches of one state count as one"
    assert min(accuracy(sequence, lambda given: (given, np.zeros(len(given))), way, DWELL) for way in WAYS) > 0.6
    assert NONE not in sequence.truth
