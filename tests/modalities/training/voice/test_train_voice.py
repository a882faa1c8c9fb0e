"""Training of the voice network: it learns, it goes on after an interruption, and what it writes can be loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import InputError, WeightsError
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Card
from modalities.speech.detect import SAMPLE_RATE, Wave
from modalities.training.common import Progress
from modalities.training.voice import corpus as voice_corpus
from modalities.training.voice import train as training
from modalities.training.voice.start import read_speaker
from modalities.voice import embedded as voice
from tests.speaker_wheel import write_wheel

RATE = SAMPLE_RATE


def hum(pitch: float, glide: float, seed: int) -> Wave:
    """A second of a buzzing tone whose pitch glides by `glide` octaves."""
    chance = np.random.default_rng(seed)
    octaves = np.log2(pitch) + np.linspace(0, glide, RATE) + chance.normal(0, 0.05)
    phase = 2 * np.pi * np.cumsum(2**octaves) / RATE
    return (sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.1 + chance.normal(0, 0.003, RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def hums() -> voice_corpus.SpeechCorpus:
    """Three 'actors' at different pitch; 'neutral' is level, 'happiness' rises, 'sadness' falls."""
    glides = {0: 0.0, 4: 0.7, 5: -0.7}
    rows = [(emotion, actor, hum(110 * 2 ** (actor / 3), glide, 10 * n + actor))
            for n in range(5) for actor in (1, 2, 3) for emotion, glide in glides.items()]
    emotions, actors, waves = zip(*rows, strict=True)
    return voice_corpus.SpeechCorpus(list(waves), np.array(emotions), np.array(actors))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return write_wheel(tmp_path_factory.mktemp("wheel") / "speaker.whl")


@pytest.mark.slow
def test_a_short_training_learns_what_an_unseen_voice_does(hums, wheel):
    torch.set_num_threads(1)
    examples = training.make_examples(hums, read_speaker(wheel), seed=1, variants=1)
    unseen = examples.actors == 2
    steps: list[Progress] = []
    network = training.fit(examples.where(~unseen), seed=1, epochs=40, report=steps.append)
    assert steps[-1].figures["loss"] < steps[0].figures["loss"]
    layer = training.fit_layer(examples.where(~unseen))
    answers = training.answers_of(network, layer, examples.where(unseen))[0].argmax(1)
    truth = examples.emotions[unseen]
    assert (answers == truth).float().mean() > 0.6


@pytest.mark.slow
def test_the_layer_over_the_encoder_learns_by_itself(hums, wheel):
    examples = training.make_examples(hums, read_speaker(wheel), seed=1, variants=1)
    assert examples.states.shape == (45, 2, 512)
    layer = training.fit_layer(examples)
    with torch.no_grad():
        answers = layer(examples.states[:, 0])
    assert answers.shape == (45, 7)
    assert (answers.argmax(1) == examples.emotions).float().mean() > 0.8
    assert set(answers.argmax(1).tolist()) == {0, 4, 5}
    again = training.fit_layer(examples)
    assert torch.equal(layer.weight, again.weight)


@pytest.mark.slow
def test_the_same_seed_draws_the_same_pieces(hums, wheel):
    examples = training.make_examples(hums, read_speaker(wheel), seed=3, variants=1)
    first, second = (training.draw(examples, torch.arange(6), np.random.default_rng(5)) for _ in range(2))
    assert first.shape[:2] == (6, 70)
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()


@pytest.mark.parametrize("seed", range(5))
def test_distortion_keeps_an_utterance_usable(hums, seed):
    changed = voice_corpus.distort(hums.waves[0], hums.waves, np.random.default_rng(seed))
    assert changed.dtype == np.float32
    assert 0.8 < len(changed) / RATE < 1.2
    assert np.isfinite(changed).all()
    assert changed.std() > 0.01


def test_a_scream_that_the_detector_misses_is_cut_by_loudness():
    wave = np.concatenate([np.zeros(RATE), hum(600, 0.2, 0), np.zeros(RATE)]).astype(np.float32)
    cut = voice_corpus.cut_to_speech(wave, np.zeros((0, 2)))
    assert len(cut) == pytest.approx(RATE, rel=0.2)


@pytest.mark.slow
def test_training_writes_weights_and_card_and_goes_on_after_an_interruption(shared: Path, wheel, tmp_path, monkeypatch):
    """Two utterances of each actor: nothing is learnt from them, but every step is gone."""
    monkeypatch.setattr(training, "VARIANTS", 1)
    data, output = shared / "datasets", tmp_path / "out"

    def stop_late(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(data, output, epochs=2, limit=2, start=str(wheel), report=stop_late)
    assert [file.name for file in output.iterdir()] == [".voice.unfinished.pt"]
    steps: list[int] = []
    card = training.train(
        data, output, epochs=2, limit=2, start=str(wheel), report=lambda progress: steps.append(progress.step)
    )
    assert steps == list(range(3, 13))
    assert sorted(file.name for file in output.iterdir()) == ["voice.md", "voice.safetensors"]
    assert Card.read(output / "voice.md").metrics == card.metrics
    assert set(card.metrics) >= {"uar", "war", "macro_f1", "weighted_f1"}
    loaded = voice.load(output / "voice.safetensors")
    heard = voice.hear(loaded, [hum(200, 0.1, 1)])
    assert heard.probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_missing_recordings_encoder_and_epochs_are_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match="dyad models download speaker-encoder"):
        training.train(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="ravdess_speech"):
        training.train(tmp_path, tmp_path / "out", start=str(wheel))
    with pytest.raises(InputError, match="epoch"):
        training.train(tmp_path, tmp_path / "out", epochs=0)


def test_the_shipped_card_tells_where_its_figures_come_from():
    card = Card.read(WEIGHTS_FOLDER / "voice.md")
    assert "CC BY-NC-SA" in card.terms
    assert card.command.startswith("dyad train voice")
    assert card.metrics["uar"] > 0.5
