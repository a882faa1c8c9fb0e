"""A tiny Whisper in a folder of models, and a layer over its states: a voice that answers, and means nothing by it."""

from dataclasses import asdict
from pathlib import Path

import torch

from modalities.loading.checkpoint import save_checkpoint
from modalities.voice.whisper_states import load_states
from tests.whisper_packages import tiny_network


def save_whisper(models: Path, seed: int = 0) -> Path:
    """Write `whisper/base.pt` of three encoder blocks into a folder of models."""
    path = models / "whisper" / "base.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    network = tiny_network(seed, layers=3)
    torch.save({"dims": asdict(network.dims), "model_state_dict": network.state_dict()}, path)
    return path


def save_layer(path: Path, whisper: Path, usual: float = 2.0) -> Path:
    """Write a layer of random weights that knows this Whisper."""
    states, chance = load_states(whisper), torch.Generator().manual_seed(3)
    weight = torch.randn(7, states.width, generator=chance) / states.width**0.5
    save_checkpoint(
        path, {"weight": weight.half(), "bias": torch.zeros(7)},
        {"mean": torch.zeros(states.width), "deviation": torch.ones(states.width), "centroids": torch.eye(7)},
        {"modality": "voice", "encoder": states.fingerprint, "temperature": 1.0, "spread": 1e-4, "usual": usual},
    )  # fmt: skip
    return path
