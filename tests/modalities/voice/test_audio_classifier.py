"""Audio classifiers of transformers as the voice: the library's own numbers, alone and in batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.windows import make_windows
from modalities.speech.detect import Wave
from modalities.voice import audio_classifier
from modalities.voice.audio_classifier import hear, load_audio_classifier
from modalities.voice.padded_speech import bears_padding
from tests.tiny_speech import SEVEN, change_config, save_extractor, save_tiny_classifier, save_tiny_encoder

LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
KINDS = {
    "wav2vec2 base": ("wav2vec2", {}), "wav2vec2 large": ("wav2vec2", LAYER), "hubert base": ("hubert", {}),
    "hubert large": ("hubert", LAYER), "wavlm base": ("wavlm", {}), "wavlm large": ("wavlm", LAYER),
    "hubert with batch norm": ("hubert", {"conv_pos_batch_norm": True}),
    "weighted layers": ("wavlm", {"use_weighted_layer_sum": True}),
    "unispeech": ("unispeech", {}), "unispeech-sat": ("unispeech-sat", LAYER),
    "sew": ("sew", {}), "whisper": ("whisper", {}),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory) -> Path:
    kind, settings = KINDS[request.param]
    return save_tiny_classifier(tmp_path_factory.mktemp("classifier"), kind, **settings)


def utterances(*seconds: float) -> list[Wave]:
    chance = np.random.default_rng(3)
    waves = []
    for number, length in enumerate(seconds):
        times = np.arange(int(length * 16000)) / 16000
        hum = np.sin(2 * np.pi * (120 + 60 * number) * times * (1 + 0.1 * times))
        waves.append((0.2 * hum + chance.normal(0.05, 0.05, len(times))).astype(np.float32))
    return waves


def by_transformers(folder: Path, wave: Wave) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities by the library's own classes, one utterance at a time, and the mean of the last hidden states."""
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    network = AutoModelForAudioClassification.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = AutoFeatureExtractor.from_pretrained(folder)(wave, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        body = network.encoder if hasattr(network, "encoder") else network.base_model
        states = body(next(iter(inputs.values()))).last_hidden_state
        return network(next(iter(inputs.values()))).logits.softmax(-1)[0].numpy(), states.mean(1)[0].numpy()


@pytest.mark.slow
def test_answers_are_those_of_transformers_alone_and_in_a_batch(folder):
    model = load_audio_classifier(folder, precision="float32")
    check_answers(replace(model, padded=False), folder)
    if bears_padding(model.network.config):  # else padding would change the answers, and is never done
        check_answers(replace(model, padded=True), folder)


def check_answers(model, folder):
    waves = utterances(0.7, 2.0, 1.31, 2.0, 0.45)
    together = hear(model, waves)
    assert len({tuple(answer.probabilities) for answer in together}) == 5
    for wave, answer in zip(waves, together, strict=True):
        probabilities, features = by_transformers(folder, wave)
        assert answer.probabilities == pytest.approx(probabilities, abs=1e-4)
        assert answer.features == pytest.approx(features, abs=1e-4)
        alone = hear(model, [wave])[0]
        assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
        assert answer.features == pytest.approx(alone.features, abs=1e-4)
        assert answer.probabilities.dtype == answer.features.dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wavlm", "hubert", "whisper"])
def test_half_precision_is_near(tmp_path, kind):
    save_tiny_classifier(tmp_path, kind)
    exact, half = (load_audio_classifier(tmp_path, precision=precision) for precision in ("float32", "bfloat16"))
    assert next(half.network.parameters()).dtype == torch.bfloat16
    for one, other in zip(hear(exact, utterances(1.0, 0.6)), hear(half, utterances(1.0, 0.6)), strict=True):
        assert other.probabilities == pytest.approx(one.probabilities, abs=0.12)
        assert other.probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_padding_without_care_would_change_the_answers_of_base_models(tmp_path):
    """What the masked norm is for: transformers' own padding of a base model is another answer."""
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    save_tiny_classifier(tmp_path, "wav2vec2")
    waves = utterances(0.7, 2.0)
    inputs = AutoFeatureExtractor.from_pretrained(tmp_path)(
        waves, sampling_rate=16000, padding=True, return_attention_mask=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = AutoModelForAudioClassification.from_pretrained(tmp_path)(**inputs).logits.softmax(-1).numpy()
    ours = hear(replace(load_audio_classifier(tmp_path, precision="float32"), padded=True), waves)
    assert np.abs(theirs[0] - ours[0].probabilities).max() > 1e-3
    assert theirs[1] == pytest.approx(ours[1].probabilities, abs=1e-4)


def test_older_files_of_torch_with_older_names_are_read(tmp_path):
    """Most published emotion classifiers are pytorch_model.bin with the weight norm of before torch 2."""
    from safetensors.torch import load_file

    save_tiny_classifier(tmp_path, "wav2vec2")
    wave = utterances(1.0)
    expected = hear(load_audio_classifier(tmp_path, precision="float32"), wave)[0]
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = load_file(tmp_path / "model.safetensors")
    for new, old in names.items():
        assert any(new in key for key in state)
        state = {key.replace(new, old): value for key, value in state.items()}
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    found = hear(load_audio_classifier(tmp_path, precision="float32"), wave)[0]
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)


def test_a_file_that_would_run_a_program_is_refused(tmp_path):
    save_tiny_classifier(tmp_path, "wav2vec2")
    (tmp_path / "model.safetensors").unlink()
    torch.save({"classifier.bias": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=str(tmp_path)):
        load_audio_classifier(tmp_path)


def test_labels_of_another_order_and_number_are_put_in_ours(tmp_path):
    save_tiny_classifier(tmp_path, "hubert", ("sad", "hap", "ang", "neu"))
    model = load_audio_classifier(tmp_path, precision="float32")
    wave = utterances(1.0)[0]
    theirs, _ = by_transformers(tmp_path, wave)
    ours = dict(zip(BASIC_EMOTIONS, hear(model, [wave])[0].probabilities.tolist(), strict=True))
    assert [ours["sadness"], ours["happiness"], ours["anger"], ours["neutral"]] == pytest.approx(theirs, abs=1e-4)
    assert ours["fear"] == ours["disgust"] == ours["surprise"] == 0.0
    assert "cannot answer" in model.source.preprocessing


def test_unknown_labels_ask_for_a_table_and_take_it(tmp_path):
    save_tiny_classifier(tmp_path / "model", "hubert", ("zig", "zag", "neutral"))
    with pytest.raises(InputError, match="zig"):
        load_audio_classifier(tmp_path / "model")
    table = tmp_path / "labels.yaml"
    table.write_text("zig: happiness\nzag: anger\n")
    model = load_audio_classifier(tmp_path / "model", labels=table)
    assert hear(model, utterances(1.0))[0].probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_set_length_cuts_and_fills(tmp_path):
    save_tiny_classifier(tmp_path, "wavlm")
    model = load_audio_classifier(tmp_path, seconds=1.0, precision="float32")
    long, short = utterances(1.5, 0.5)
    answers = hear(model, [long, short])
    assert answers[0].probabilities == pytest.approx(by_transformers(tmp_path, long[:16000])[0], abs=1e-4)
    assert answers[1].probabilities == pytest.approx(by_transformers(tmp_path, np.pad(short, (0, 8000)))[0], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wav2vec2", "whisper"])
def test_a_clip_end_to_end(tmp_path, shared, kind):
    save_tiny_classifier(tmp_path, kind)
    model, windows = load_audio_classifier(tmp_path, precision="float32"), make_windows(30.0)
    audio = shared / "datasets" / "media" / "two_speakers.wav"
    scores = audio_classifier.recognise(model, audio, windows, batch=5)
    assert scores.present.tolist() == [False, False] + [True] * 12
    assert scores.probabilities[2:].sum(1) == pytest.approx(1.0, abs=1e-4)
    assert scores.features.shape == (14, 32)
    assert scores.source.revision
    assert not scores.evidence.empty
    alone = audio_classifier.recognise(model, audio, windows[6:7], batch=1)
    assert alone.probabilities[0] == pytest.approx(scores.probabilities[6], abs=1e-5)
    files = [shared / "datasets" / "media" / name for name in ("jfk.flac", "no_face.mp4")]
    assert audio_classifier.score_audio(model, files, make_windows).probabilities[0].sum() == pytest.approx(1.0, abs=1e-4)


def test_without_sound_the_voice_is_absent(tmp_path):
    model = load_audio_classifier(save_tiny_classifier(tmp_path, "hubert"))
    assert audio_classifier.recognise(model, None, make_windows(3.0)).is_absent


def test_attention_is_fused_where_transformers_offers_it(tmp_path):
    model = load_audio_classifier(save_tiny_classifier(tmp_path, "hubert"))
    assert model.network.config._attn_implementation == "sdpa"


DAMAGES = ["nothing", "no config", "no weights", "cut weights", "no preprocessing", "other shape", "text"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_wrong_folder_is_refused_in_a_sentence(tmp_path, damage):
    if damage != "nothing":
        save_tiny_classifier(tmp_path, "wav2vec2")
    weights = tmp_path / "model.safetensors"
    if damage == "no config":
        (tmp_path / "config.json").unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "no preprocessing":
        (tmp_path / "preprocessor_config.json").unlink()
    elif damage == "other shape":
        change_config(tmp_path, hidden_size=64)
    elif damage == "text":
        (tmp_path / "config.json").write_text('{"model_type": "bert", "id2label": {"0": "sad", "1": "happy"}}')
    with pytest.raises(WeightsError, match=str(tmp_path)) as caught:
        load_audio_classifier(tmp_path)
    assert str(caught.value).endswith(".")


def test_a_head_that_would_start_at_random_is_refused(tmp_path):
    save_tiny_encoder(tmp_path, "wavlm")
    named = {str(place): label for place, label in enumerate(SEVEN)}
    change_config(tmp_path, id2label=named, label2id={label: int(place) for place, label in named.items()})
    with pytest.raises(WeightsError, match=r"lack classifier\.bias"):
        load_audio_classifier(tmp_path)


def test_a_model_for_another_rate_is_refused(tmp_path):
    save_tiny_classifier(tmp_path, "hubert")
    save_extractor(tmp_path, "hubert", rate=8000)
    with pytest.raises(WeightsError, match="8000 Hz"):
        load_audio_classifier(tmp_path)
