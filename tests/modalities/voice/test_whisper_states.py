"""What Whisper's lower blocks hold of a voice."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from data.errors import WeightsError
from modalities.model_store.ctranslate2 import convert_whisper
from modalities.voice.whisper_states import PEAK, load_states
from tests.whisper_packages import save_ctranslate2, tiny_network

RATE = 16_000


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of four blocks that hears two seconds, so that its own encoder pads nothing."""
    from whisper import ModelDimensions, Whisper

    torch.manual_seed(1)
    dimensions = ModelDimensions(80, 100, 64, 2, 4, 51865, 16, 64, 2, 1)
    path = tmp_path_factory.mktemp("whisper") / "base.pt"
    torch.save({"dims": asdict(dimensions), "model_state_dict": Whisper(dimensions).state_dict()}, path)
    return path


def voice(seconds: float, pitch: float = 150.0) -> torch.Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return torch.sin(6.283 * pitch * time) * torch.sin(6 * time) * 0.2


def test_they_are_whispers_own_after_the_second_and_third_block(checkpoint: Path) -> None:
    import whisper

    network, kept = whisper.load_model(str(checkpoint), device="cpu"), list[torch.Tensor]()
    for block in network.encoder.blocks[1:3]:
        block.register_forward_hook(lambda _, __, output: kept.append(output[0]))
    wave = voice(2.0)
    with torch.inference_mode():
        network.encoder(whisper.log_mel_spectrogram(wave / wave.abs().max() * PEAK)[None])
        expected = torch.cat([part for states in kept for part in (states.mean(0), states.std(0))])
        states = load_states(checkpoint)
        torch.testing.assert_close(states(wave), expected, atol=1e-4, rtol=1e-4)
        assert states.width == len(expected) == 256
        torch.testing.assert_close(states(wave * 0.01), expected, atol=1e-3, rtol=1e-3)  # the level is taken away


def test_any_length_is_heard_and_eight_seconds_at_most(checkpoint: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.safetensors"
    convert_whisper(save_ctranslate2(tmp_path / "model.bin", tiny_network(layers=3)), long)
    states = load_states(long)
    with torch.inference_mode():
        short, eight, more = (states(voice(seconds)) for seconds in (0.4, 8.0, 12.0))
    assert torch.isfinite(short).all()
    assert torch.equal(eight, more)
    assert not torch.allclose(short, eight)


@pytest.mark.parametrize("content", [b"", b"no weights"])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_another_file_is_refused_in_one_sentence(content: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"base.{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is not a readable Whisper checkpoint"):
        load_states(path)


def test_fewer_blocks_than_are_wanted_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    convert_whisper(save_ctranslate2(tmp_path / "model.bin", tiny_network(layers=2)), path)
    with pytest.raises(WeightsError, match="encoder.blocks.2"):
        load_states(path)
