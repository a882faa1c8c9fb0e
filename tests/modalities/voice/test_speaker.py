"""The encoder of speakers that the voice hears with: read from its wheel, kept in 8 bits, and one of two that count alike."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.errors import WeightsError
from modalities.model_store.local import archive_file
from modalities.model_store.table import model_table
from modalities.speech.detect import SAMPLE_RATE
from modalities.training.voice.start import MEMBER, MODEL, read_speaker
from modalities.voice.speaker import SpeakerStates, packed, unpacked
from tests.speaker_wheel import encoder, write_wheel


def wave(seconds: float = 1.5, seed: int = 1) -> Tensor:
    """A hum whose pitch and loudness change, and a little noise."""
    chance, time = np.random.default_rng(seed), np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 140 * k * (time + 0.1 * time**2)) / k for k in range(1, 10)) * (1 + np.sin(9 * time))
    return torch.from_numpy((0.1 * hum + chance.normal(0, 0.01, len(time))).astype(np.float32))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wheel(tmp_path_factory.mktemp("wheel") / "speaker.whl")


def test_the_spectrum_is_that_of_librosa() -> None:
    import librosa

    network, sound = SpeakerStates(), wave()
    network.set_filters()
    level = 10 ** (-30 / 20) / sound.square().mean().sqrt()
    expected = librosa.feature.melspectrogram(
        y=(sound * level).numpy(), sr=16_000, n_fft=400, hop_length=160, n_mels=40, pad_mode="constant"
    )
    np.testing.assert_allclose(network.power(sound).numpy(), expected.T, rtol=1e-3, atol=1e-7)


def test_the_states_are_those_of_the_wheels_second_layer(wheel: Path) -> None:
    network, whole = read_speaker(wheel), encoder()
    with torch.no_grad():
        first, second = nn.LSTM(40, 256, batch_first=True), nn.LSTM(256, 256, batch_first=True)
        for number, layer in enumerate((first, second)):
            layer.load_state_dict({name: whole.state_dict()[name.replace("_l0", f"_l{number}")] for name in layer.state_dict()})
        states = second(first(network.power(wave())[None])[0])[0][0]
        expected = torch.cat([states.mean(0), states.std(0, correction=0)])
        found = network(wave())
    assert found.shape == (512,)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0.02)


def test_weights_are_kept_in_eight_bits() -> None:
    named = {f"recurrent.{name}": value for name, value in encoder().state_dict().items()}
    kept, restored = packed(named), unpacked(packed(named))
    assert {kept[name].dtype for name in named if ".weight_" in name} == {torch.int8}
    for name, value in named.items():
        error = (restored[name] - value).abs()
        step = kept[f"{name}.scale"][:, None] if ".weight_" in name else torch.tensor(2e-3)
        assert (error <= 0.51 * step).all()
    again = packed(restored)
    assert all(torch.equal(again[name], kept[name]) for name in named)


def test_level_does_not_matter_and_lengths_may_differ(wheel: Path) -> None:
    network = read_speaker(wheel)
    with torch.no_grad():
        loud, quiet, short = network(wave()), network(0.01 * wave()), network(wave(0.4))
    torch.testing.assert_close(loud, quiet, atol=1e-4, rtol=1e-3)
    assert torch.isfinite(short).all()
    assert not torch.allclose(loud, short, atol=1e-3)
    assert torch.isfinite(network(torch.zeros(8000))).all()


def rezip(content: object) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        stream = io.BytesIO()
        torch.save(content, stream)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(MEMBER, stream.getvalue())

    return spoil


def no_member(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", b"")


SPOILT = {
    "no archive": lambda path: path.write_bytes(b"not an archive"),
    "no member": no_member,
    "no weights": rezip({"other": 1}),
    "another shape": rezip({"model_state": {"lstm.weight_ih_l0": torch.zeros(3, 3)}}),
    "a list": rezip([1, 2]),
    "absent": lambda path: None,
}


@pytest.mark.parametrize("name", SPOILT)
def test_an_unusable_wheel_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "speaker.whl"
    SPOILT[name](path)
    with pytest.raises(WeightsError, match=r"speaker\.whl does not hold .*dyad models download speaker-encoder"):
        read_speaker(path)


def test_without_the_download_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"hears with speaker-encoder, .*'dyad models download speaker-encoder' \(16 MB\)"):
        archive_file(MODEL, "The training hears with")
    row = model_table().models[MODEL]
    assert row.url.startswith("https://files.pythonhosted.org/")
    place = tmp_path / row.folder / row.files[0].name
    place.parent.mkdir()
    write_wheel(place)
    assert archive_file(MODEL, "") == place
