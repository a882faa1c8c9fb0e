"""Training of the voice: it learns, it goes on after an interruption, and what it writes can be loaded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError, WeightsError
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Card
from modalities.reference import OPEN
from modalities.speech.detect import SAMPLE_RATE, Wave
from modalities.training.common import Progress
from modalities.training.voice import corpus as voice_corpus
from modalities.training.voice import train as training
from modalities.voice import embedded as voice
from modalities.voice.whisper_states import load_states
from tests.tiny_voice import save_whisper

RATE = SAMPLE_RATE


def hum(pitch: float, glide: float, seed: int, seconds: float = 1.0) -> Wave:
    """A buzzing tone whose pitch glides by `glide` octaves."""
    chance, count = np.random.default_rng(seed), round(seconds * RATE)
    octaves = np.log2(pitch) + np.linspace(0, glide, count) + chance.normal(0, 0.05)
    phase = 2 * np.pi * np.cumsum(2**octaves) / RATE
    return (sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.1 + chance.normal(0, 0.003, count)).astype(np.float32)


def hums(emotions: tuple[int, ...], seed: int, actors: int = 2) -> voice_corpus.SpeechCorpus:
    """Half a second of every emotion by every actor."""
    rows = [(emotion, actor, hum(110 * 2 ** (actor / 3), emotion / 4, seed + actor, 0.5))
            for actor in range(1, actors + 1) for emotion in emotions]  # fmt: skip
    emotions, numbers, waves = zip(*rows, strict=True)
    return voice_corpus.SpeechCorpus(list(waves), np.array(emotions), np.array(numbers))


@pytest.fixture
def utterances() -> training.Utterances:
    """Two corpora of five speakers, the second without disgust: every emotion is a direction, every speaker and corpus an
    offset."""
    chance = np.random.default_rng(1)
    directions = chance.normal(0, 1, (7, 48))
    rows = []
    for corpus, emotions in enumerate(((0, 1, 2, 3, 4, 5, 6), (0, 1, 3, 4, 5, 6))):
        where = chance.normal(0, 1, 48)
        for person in range(1, 6):
            throat = chance.normal(0, 1, 48)
            rows += [(directions[k] + where + throat + chance.normal(0, 0.5, 48), k, 1000 * corpus + person, corpus)
                     for k in emotions for _ in range(4)]  # fmt: skip
    states, emotions, speakers, corpora = map(np.array, zip(*rows, strict=True))
    return training.Utterances(np.stack([states, states + 0.1], 1).astype(np.float32), emotions, speakers, corpora)


def test_what_one_corpus_taught_holds_in_the_other_best_by_speakers(utterances: training.Utterances) -> None:
    away = training.corpora_left_out(utterances)
    truth, shared = utterances.emotions, utterances.emotions != 2
    assert away.shape == (2, 2, len(truth), 7)
    alone, by_speaker = (training.uar(truth[shared], away[how, 0, shared]) for how in (0, 1))
    assert by_speaker > 0.8
    assert by_speaker > alone
    home = training.speakers_left_out(utterances)
    assert training.uar(truth, home[1, 0]) > 0.85


@pytest.mark.parametrize(
    ("changed", "learns"),
    [
        ({"copies": 0}, True), ({"alone": False}, True), ({"ridge": 0.5}, True), ({"corpora_alike": False}, True),
        ({"prior": 2.0}, True), ({"gate": OPEN}, False),
    ],
)  # fmt: skip
def test_each_part_of_a_recipe_changes_what_it_says(
    changed: dict[str, object], learns: bool, utterances: training.Utterances
) -> None:
    recipe = replace(training.SHIPPED, **changed)
    utterances = replace(utterances, states=utterances.states * np.array([[1.0], [0.5]], np.float32))
    fewer = utterances.where((utterances.corpora == 0) | (utterances.speakers == 1001))
    shipped, other = training.fit(fewer), training.fit(fewer, recipe)
    assert (not np.allclose(shipped.weight, other.weight, atol=1e-3)) == learns
    one_mood = utterances.where((utterances.emotions == 4) | (utterances.speakers % 1000 > 2))
    own, before = training.answer(shipped, one_mood, recipe)[1, 0], training.answer(shipped, one_mood)[1, 0]
    assert (not np.allclose(own, before, atol=1e-3)) == bool({"prior", "gate"} & changed.keys())


def test_each_corpus_weighs_the_same_and_each_emotion_in_it(utterances: training.Utterances) -> None:
    half = utterances.where((utterances.corpora == 0) | (utterances.speakers == 1001))
    weights = training._weights(half.emotions, half.corpora)
    for corpus, classes in ((0, 7), (1, 6)):
        inside = half.corpora == corpus
        assert weights[inside].sum() == pytest.approx(0.5)
        assert weights[inside & (half.emotions == 4)].sum() == pytest.approx(0.5 / classes)


def test_the_card_names_home_and_away(utterances: training.Utterances) -> None:
    away, home = training.corpora_left_out(utterances), training.speakers_left_out(utterances)
    card = training.describe(away, home, utterances, 7)
    both = [card.metrics[f"away_{name}_alone_uar"] for name in training.CORPORA]
    assert card.metrics["uar"] == pytest.approx(np.mean(both), abs=1e-3)
    assert {"home_nemo_uar", "away_nemo_alone_uar", "away_ravdess_distorted_uar", "away_calibration_error"} <= card.metrics.keys()
    assert "disgust" not in card.per_class_recall, "nobody can learn it from the corpus without it"


@pytest.mark.parametrize("seed", range(5))
def test_distortion_keeps_an_utterance_usable(seed: int) -> None:
    waves = [hum(150, 0.2, number) for number in range(5)]
    changed = voice_corpus.distort(waves[0], waves, np.random.default_rng(seed))
    assert changed.dtype == np.float32
    assert 0.8 < len(changed) / RATE < 1.2
    assert np.isfinite(changed).all()
    assert changed.std() > 0.01


def test_a_scream_that_the_detector_misses_is_cut_by_loudness() -> None:
    wave = np.concatenate([np.zeros(RATE), hum(600, 0.2, 0), np.zeros(RATE)]).astype(np.float32)
    cut = voice_corpus.cut_to_speech(wave, np.zeros((0, 2)))
    assert len(cut) == pytest.approx(RATE, rel=0.2)


def test_nobody_babbles_under_another_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, company = hums((0, 1, 4), 3), list[list[int]]()
    monkeypatch.setattr(training, "distort", lambda wave, others, chance: company.append(list(map(id, others))) or wave)
    list(training._with_copies([corpus], 7, 0))
    mine = {actor: [id(corpus.waves[row]) for row in np.flatnonzero(corpus.actors == actor)] for actor in (1, 2)}
    assert company == [mine[actor] for actor in corpus.actors.tolist()]


def test_training_writes_weights_and_card_and_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few hums: nothing is learnt from them, but every step is gone."""
    output, whisper = tmp_path / "out", save_whisper(tmp_path)
    corpora = {"ravdess": hums((0, 1, 2, 4), 1), "nemo": hums((0, 1, 4), 9)}
    monkeypatch.setattr(training, "CORPORA", {name: lambda data, limit, own=own: own for name, own in corpora.items()})
    monkeypatch.setattr(training, "KEPT_EVERY", 5)
    heard, encode = [0], load_states(whisper).__class__.forward

    def count(self: torch.nn.Module, wave: torch.Tensor) -> torch.Tensor:
        heard[0] += 1
        return encode(self, wave)

    monkeypatch.setattr(load_states(whisper).__class__, "forward", count)

    def stop_late(progress: Progress) -> None:
        if progress.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(tmp_path, output, whisper=whisper, report=stop_late)
    assert [file.name for file in output.iterdir()] == [".voice.unfinished.pt"]
    assert heard == [20], "ten utterances and their copies"
    card = training.train(tmp_path, output, whisper=whisper)
    assert heard == [28]
    assert sorted(file.name for file in output.iterdir()) == ["voice.md", "voice.safetensors"]
    assert Card.read(output / "voice.md").metrics == card.metrics
    loaded = voice.load(load_states(whisper), output / "voice.safetensors")
    answer = voice.hear_batch(loaded, [hum(200, 0.1, 1)])[0]
    assert answer.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert loaded.layer.usual > 0


def test_missing_recordings_whisper_and_epochs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match="dyad models download whisper-base"):
        training.train(tmp_path, tmp_path / "out")
    whisper = save_whisper(tmp_path)
    with pytest.raises(InputError, match="ravdess_speech"):
        training.train(tmp_path, tmp_path / "out", whisper=whisper)
    with pytest.raises(InputError, match=r"no .*labels\.csv"):
        voice_corpus.read_nemo(tmp_path)
    with pytest.raises(InputError, match="epochs"):
        training.train(tmp_path, tmp_path / "out", epochs=2)
    assert not (tmp_path / "out").exists()


def test_the_shipped_card_tells_where_its_figures_come_from() -> None:
    card = Card.read(WEIGHTS_FOLDER / "voice.md")
    assert "CC BY-NC-SA" in card.terms
    assert card.command.startswith("dyad train voice")
    assert card.metrics["home_ravdess_uar"] > card.metrics["away_ravdess_uar"] > card.metrics["away_ravdess_alone_uar"] > 0.4
    assert "away" in card.split
