"""Speech encoders with a head: the numbers of RAS's own networks, batches, our trained head, wrong files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.windows import make_windows
from modalities.loading.checkpoint import Card
from modalities.speech.detect import SAMPLE_RATE, Wave, read_audio
from modalities.training.common import Progress
from modalities.training.voice import speech_head as training
from modalities.voice import speech_encoder
from modalities.voice.speech_encoder import SpeechModel, hear, layered_states, load_encoder, load_speech_model
from modalities.voice.speech_heads import LayeredHead, UncertainHead, pooled_layers
from tests.parity import Parity, assert_parity, read_parity
from tests.tiny_speech import save_extractor, save_tiny_encoder

RATE = SAMPLE_RATE
VARIANTS = ["wavlm_multihead", "wavlm_v3_gru", "wavlm_v4_bilstm", "wavlm_v5_uncertainty", "whisper_multihead"]


def utterances(*seconds: float) -> list[Wave]:
    chance = np.random.default_rng(5)
    return [(0.2 * np.sin(2 * np.pi * (100 + 70 * number) * np.arange(int(length * RATE)) / RATE)
             + chance.normal(0, 0.05, int(length * RATE))).astype(np.float32) for number, length in enumerate(seconds)]


# ---- RAS -----------------------------------------------------------------------------------------------------------------


def save_ras(folder: Path, sheet: Parity, form: str = "model_state_dict") -> tuple[Path, Path]:
    """The encoder's configuration, and the checkpoint in a form in which the authors' trainers write it."""
    from transformers import AutoConfig

    settings = dict(sheet.arguments["encoder_config"])
    kind = settings.pop("type").removesuffix("Config").lower()
    AutoConfig.for_model(kind, **settings).save_pretrained(folder)
    state = sheet.state_dict()
    if form == "safetensors":
        save_file(state, folder / "head.safetensors")
        return folder, folder / "head.safetensors"
    if form == "older names":
        state = {key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"): value for key, value in state.items()}
    torch.save({"model_state_dict": state, "epoch": 3} if form == "model_state_dict" else state, folder / "head.pt")
    return folder, folder / "head.pt"


@pytest.fixture(params=VARIANTS)
def sheet(request, shared) -> Parity:
    return read_parity(shared / "parity" / f"ras_audio_{request.param}.json")


@pytest.fixture
def ras(sheet, tmp_path) -> SpeechModel:
    return load_speech_model(*save_ras(tmp_path, sheet), precision="float32")


def test_the_networks_of_ras_give_their_numbers(sheet, ras):
    inputs = next(iter(sheet.tensors().values()))
    with torch.inference_mode():
        states = ras.encoder.network(inputs.squeeze(1)).last_hidden_state
        answer = ras.head(states)
        found = {"encoder_last_hidden": states, "emo": answer.logits}
        if isinstance(ras.head, UncertainHead):
            means, deviations = ras.head.uncertainty_head(answer.features)
            found |= {"emo": answer.logits.softmax(-1), "features": answer.features, "mu": means, "logvar": deviations,
                      "temporal_feat": ras.head.temporal_module(states)}
        elif hasattr(ras.head, "heads"):
            found["emo_heads"] = ras.head.each(answer.features)
        elif hasattr(ras.head, "pooling"):
            found |= {"features": answer.features, "sequence": ras.head.sequence_model(states)}
    assert_parity(found, sheet)


def test_ras_hears_four_seconds_cut_or_filled_and_leaves_other_out(sheet, ras):
    seconds = (ras.encoder.positions or 200) / 50
    long, short = utterances(seconds + 1, seconds / 2)
    heard = hear(ras, [long, short])
    with torch.inference_mode():
        for wave, answer in zip((long, short), heard, strict=True):
            exact = np.pad(wave, (0, RATE * 4))[: round(seconds * RATE)]
            if ras.encoder.positions:
                exact = ras.encoder.extractor(exact, sampling_rate=RATE, padding=False)["input_features"][0]
            states = ras.encoder.network(torch.from_numpy(exact)[None]).last_hidden_state
            eight = ras.head(states).logits.softmax(-1)[0].numpy()
            assert answer.probabilities == pytest.approx(eight[:7] / eight[:7].sum(), abs=1e-4)
    alone = hear(ras, [short])[0]
    assert heard[1].probabilities == pytest.approx(alone.probabilities, abs=1e-5)


@pytest.mark.parametrize("form", ["bare", "older names", "safetensors"])
def test_checkpoints_are_read_in_every_form(shared, tmp_path, form):
    sheet = read_parity(shared / "parity" / "ras_audio_wavlm_v4_bilstm.json")
    for name, one in (("one", "model_state_dict"), ("other", form)):
        (tmp_path / name).mkdir()
        model = load_speech_model(*save_ras(tmp_path / name, sheet, one), precision="float32")
        if name == "one":
            expected = hear(model, utterances(1.0))[0].probabilities
    assert hear(model, utterances(1.0))[0].probabilities == pytest.approx(expected, abs=1e-6)


def test_a_head_alone_uses_the_folders_own_encoder(shared, tmp_path):
    sheet = read_parity(shared / "parity" / "ras_audio_wavlm_v5_uncertainty.json")
    save_tiny_encoder(tmp_path, "wavlm")
    torch.save({key: value for key, value in sheet.state_dict().items() if not key.startswith("encoder.")}, tmp_path / "head.pt")
    model = load_speech_model(tmp_path, tmp_path / "head.pt", precision="float32")
    from transformers import AutoModel

    wave = utterances(4.0)[0]
    with torch.inference_mode():
        states = AutoModel.from_pretrained(tmp_path).eval()(torch.from_numpy(wave)[None]).last_hidden_state
        eight = model.head(states).logits.softmax(-1)[0].numpy()
    assert hear(model, [wave])[0].probabilities == pytest.approx(eight[:7] / eight[:7].sum(), abs=1e-4)


@pytest.mark.parametrize("name", ["wavlm_v5_uncertainty", "whisper_multihead"])
def test_a_clip_end_to_end_with_ras(shared, tmp_path, name):
    model = load_speech_model(*save_ras(tmp_path, read_parity(shared / "parity" / f"ras_audio_{name}.json")))
    windows = make_windows(30.0)
    audio = shared / "datasets" / "media" / "two_speakers.wav"
    scores = speech_encoder.recognise(model, audio, windows, batch=4)
    assert scores.present.tolist() == [False, False] + [True] * 12
    assert scores.probabilities[2:].sum(1) == pytest.approx(1.0, abs=1e-4)
    wave = read_audio(audio)[round(windows[5, 0] * RATE) : round(windows[5, 1] * RATE)]
    assert scores.probabilities[5] == pytest.approx(hear(model, [wave])[0].probabilities, abs=2e-3)
    rows = speech_encoder.score_audio(model, [shared / "datasets" / "media" / "jfk.flac"], make_windows).probabilities
    assert rows.sum(1) == pytest.approx(1.0, abs=1e-4)


WRONG = ["missing", "text", "pickle", "empty", "other network", "other width", "other encoder", "three classes", "no config"]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_checkpoints_are_refused_in_a_sentence(shared, tmp_path, wrong):
    sheet = read_parity(shared / "parity" / "ras_audio_wavlm_v4_bilstm.json")
    folder, head = save_ras(tmp_path, sheet)
    state = sheet.state_dict()
    if wrong == "missing":
        head.unlink()
    elif wrong == "text":
        head.write_text("these are no weights")
    elif wrong == "pickle":
        torch.save({"model_state_dict": state, "when": Path("x")}, head)
    elif wrong == "empty":
        torch.save({}, head)
    elif wrong == "other network":
        torch.save({"fc.weight": torch.zeros(3, 3)}, head)
    elif wrong == "other width":
        save_tiny_encoder(folder, "wavlm", hidden_size=64, intermediate_size=96)
        torch.save({key: value for key, value in state.items() if not key.startswith("encoder.")}, head)
    elif wrong == "other encoder":
        save_tiny_encoder(folder, "hubert")
    elif wrong == "three classes":
        torch.save(state | {"classifier.8.weight": torch.zeros(3, 256), "classifier.8.bias": torch.zeros(3)}, head)
    elif wrong == "no config":
        (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=str(tmp_path)) as caught:
        load_speech_model(folder, head)
    assert str(caught.value).endswith(".")


def test_networks_over_which_no_head_can_be_put_are_named(tmp_path):
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="type bert.*wavlm"):
        load_encoder(tmp_path)


# ---- ours ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wavlm", "hubert", "wav2vec2", "whisper"])
def test_states_of_an_utterance_do_not_depend_on_the_others(tmp_path, kind):
    encoder = load_encoder(save_tiny_encoder(tmp_path, kind), precision="float32")
    waves = utterances(0.7, 2.0, 1.3)
    with torch.inference_mode():
        states, mask = layered_states(encoder, waves)
        for place, wave in enumerate(waves):
            alone, inside = layered_states(encoder, [wave])
            ours = states[place][:, mask[place]]
            assert ours.shape[1] == inside.sum() == np.ceil(np.ceil(len(wave) / 320 - (kind != "whisper")) / 4)
            assert ours.numpy() == pytest.approx(alone[0][:, inside[0]].numpy(), abs=1e-4)


def test_states_are_those_of_transformers(tmp_path):
    from transformers import AutoFeatureExtractor, AutoModel

    encoder = load_encoder(save_tiny_encoder(tmp_path, "hubert"), precision="float32")
    wave = utterances(1.0)[0]
    inputs = AutoFeatureExtractor.from_pretrained(tmp_path)(wave, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        theirs = AutoModel.from_pretrained(tmp_path).eval()(inputs["input_values"], output_hidden_states=True).hidden_states
        ours, _ = layered_states(encoder, [wave])
    expected = torch.nn.functional.layer_norm(theirs[1], theirs[1].shape[-1:])[0, 4:8].mean(0)
    assert ours[0, 1, 1].numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_pooling_takes_means_over_speech_only():
    states = torch.randn(1, 2, 6, 3)
    mask = torch.tensor([[True] * 5 + [False]])
    pooled, left = pooled_layers(states, mask, 4)
    normal = torch.nn.functional.layer_norm(states, (3,))
    assert left.tolist() == [[True, True]]
    assert pooled[0, 1, 1].numpy() == pytest.approx(normal[0, 1, 4].numpy(), abs=1e-6)
    _, none = pooled_layers(states, torch.tensor([[True] * 4 + [False] * 2]), 4)
    assert none.tolist() == [[True, False]]


def test_our_head_leaves_padding_out():
    head = LayeredHead(3, 8).eval()
    states, mask = torch.randn(2, 3, 5, 8), torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    with torch.inference_mode():
        together = head(states, mask)
        alone = head(states[1:, :, :2], mask[1:, :2])
    assert together.logits[1].numpy() == pytest.approx(alone.logits[0].numpy(), abs=1e-5)


SOUNDS = {"01": (1.0, 0.0), "03": (4.0, 0.0), "04": (1.0, 0.2)}
"""Of RAVDESS's codes neutral, happy and sad: pitch relative to the speaker's, and breath."""


def hum(pitch: float, code: str, seed: int) -> Wave:
    """A second of a buzzing tone."""
    chance = np.random.default_rng(seed)
    higher, breath = SOUNDS[code]
    phase = 2 * np.pi * pitch * higher * 2 ** chance.normal(0, 0.05) * np.arange(RATE) / RATE
    return (sum(np.sin(k * phase) / k for k in range(1, 8)) * 0.1 + chance.normal(0, breath + 0.003, RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Eight 'actors' in RAVDESS's layout; happy is high, sad is breathed."""
    import soundfile

    data = tmp_path_factory.mktemp("data")
    for actor in range(1, 9):
        folder = data / "audio" / "ravdess_speech" / f"Actor_{actor:02}"
        folder.mkdir(parents=True)
        for code in SOUNDS:
            for take in ("01", "02", "03"):
                wave = hum(110 * 2 ** (actor / 8), code, 100 * actor + 10 * int(code) + int(take))
                soundfile.write(folder / f"03-01-{code}-01-01-{take}-{actor:02}.flac", wave, RATE)
    return data


@pytest.mark.slow
def test_a_head_learns_and_is_loaded_back(recordings, tmp_path):
    torch.set_num_threads(1)
    encoder = save_tiny_encoder(tmp_path / "encoder", "wavlm", feat_extract_norm="layer", conv_bias=True)
    steps: list[Progress] = []
    card = training.train(recordings, tmp_path / "out", encoder=encoder, epochs=40, copies=1, precision="float32",
                          report=steps.append)
    assert steps[-1].step == steps[-1].total == 18 + 40
    assert steps[-1].figures["loss"] < steps[18].figures["loss"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["speech_head.md", "speech_head.safetensors"]
    assert Card.read(tmp_path / "out" / "speech_head.md").metrics == card.metrics
    assert card.metrics["war"] > 0.6  # of three equally frequent classes
    assert "dyad train voice-head --encoder" in card.command

    model = load_speech_model(encoder, tmp_path / "out" / "speech_head.safetensors", precision="float32")
    waves = [hum(150, code, seed) for seed, code in enumerate(("01", "03", "04", "03"))]
    waves[1] = waves[1][: RATE // 2]
    together = hear(model, waves)
    with torch.inference_mode():  # as on a GPU, where all share a batch
        padded = model.head(*layered_states(model.encoder, waves)).logits / model.temperature
    assert padded.softmax(-1).numpy() == pytest.approx(np.stack([one.probabilities for one in together]), abs=1e-4)
    for wave, answer in zip(waves, together, strict=True):
        alone = hear(model, [wave])[0]
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-4)
        assert answer.features == pytest.approx(alone.features, abs=1e-3)
    assert BASIC_EMOTIONS[int(together[3].probabilities.argmax())] == "happiness"
    assert model.centroids is not None
    assert model.centroids.shape == (7, together[0].features.shape[0])


@pytest.mark.slow
def test_an_interrupted_training_ends_as_one_that_was_not(recordings, tmp_path):
    encoder = save_tiny_encoder(tmp_path / "encoder", "whisper")

    def train(output: str, stop: int = 0) -> list[int]:
        steps: list[int] = []

        def report(progress: Progress) -> None:
            steps.append(progress.step)
            if progress.step == stop:
                raise KeyboardInterrupt

        training.train(recordings, tmp_path / output, encoder=encoder, epochs=3, limit=3, copies=1, report=report)
        return steps

    assert train("whole") == list(range(1, 10))
    for stop in (2, 8):
        with pytest.raises(KeyboardInterrupt):
            train("parts", stop)
    assert train("parts") == [9]
    one, other = ((tmp_path / name / "speech_head.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_a_head_over_another_encoder_or_a_damaged_one_is_refused(recordings, tmp_path):
    encoder = save_tiny_encoder(tmp_path / "encoder", "hubert")
    training.train(recordings, tmp_path, encoder=encoder, epochs=1, limit=1, copies=0)
    head = tmp_path / "speech_head.safetensors"
    with pytest.raises(WeightsError, match="another encoder"):
        load_speech_model(save_tiny_encoder(tmp_path / "other", "hubert", seed=1), head)
    with pytest.raises(WeightsError, match="another encoder"):
        load_speech_model(save_tiny_encoder(tmp_path / "third", "whisper"), head)
    (encoder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        load_speech_model(encoder, head)
    save_extractor(encoder, "hubert")
    head.write_bytes(head.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="safetensors"):
        load_speech_model(encoder, head)


def test_missing_recordings_few_actors_and_no_epochs_are_refused(recordings, tmp_path):
    encoder = save_tiny_encoder(tmp_path / "encoder", "wavlm")
    with pytest.raises(InputError, match="ravdess_speech"):
        training.train(tmp_path, tmp_path / "out", encoder=encoder)
    with pytest.raises(InputError, match="epoch"):
        training.train(recordings, tmp_path / "out", encoder=encoder, epochs=0)
    with pytest.raises(InputError, match="too few actors"):
        training.split_of(np.array([1, 1, 2]))


def test_no_actor_is_in_two_parts():
    actors = np.repeat(np.arange(1, 19), 3)
    split = training.split_of(actors)
    parts = [set(actors[rows].tolist()) for rows in (split.training, split.validation, split.test)]
    assert not parts[0] & parts[1]
    assert not parts[2] & (parts[0] | parts[1])
    assert [len(part) for part in parts] == [10, 4, 4]
