"""Weights in eight bits: read as the float32 that they stand for, by whoever reads checkpoints."""

from pathlib import Path

import torch

from modalities.loading.checkpoint import in_eight_bits, load_checkpoint, save_checkpoint


def test_weights_in_eight_bits_are_read_as_floats_and_err_by_half_a_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = {
        "conv.weight": torch.randn(8, 4, 3, 3) * torch.logspace(-3, 3, 8).view(-1, 1, 1, 1), "conv.bias": torch.randn(8),
        "own.weight": torch.randn(8, 1, 3, 3), "empty.weight": torch.zeros(2, 32),
    }  # fmt: skip
    save_checkpoint(tmp_path / "a.safetensors", in_eight_bits(network), {"centroids": torch.randn(7, 32)}, {})
    read = load_checkpoint(tmp_path / "a.safetensors")
    assert read.tensors.keys() == {*(f"network.{name}" for name in network), "centroids"}
    kept, steps = read.network(), network["conv.weight"].flatten(1).abs().amax(1) / 127
    assert kept["conv.weight"].dtype == torch.float32
    assert ((kept["conv.weight"] - network["conv.weight"]).flatten(1).abs().amax(1) <= steps * 0.51).all()
    torch.testing.assert_close(kept["own.weight"], network["own.weight"].half())
    assert not kept["empty.weight"].any()
    assert (tmp_path / "a.safetensors").stat().st_size < 1.5 * sum(value.numel() for value in network.values()) + 1500
