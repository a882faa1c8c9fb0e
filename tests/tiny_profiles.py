"""The models that profiles name, tiny and with random weights, where `dyad models download` puts them; Team RAS's two heads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from modalities.model_store.store import fetch
from modalities.model_store.table import PinnedModel, model_table
from tests import tiny_faces, tiny_models, tiny_qwen, tiny_speech, tiny_text

CLIP_WIDTH, SPEECH_WIDTH = 64, 32
"""Lengths of the features of the tiny CLIP and the tiny WavLM, which the heads read."""
PROFILES = ("cpu", "gpu", "ras")
MAKERS: dict[str, Callable[[Path], Any]] = {
    "emotion-distilroberta": lambda folder: tiny_text.save_tiny_classifier(folder, "roberta", seed=1, positions=64),
    "whisper-large-v3-emotion": lambda folder: tiny_speech.save_tiny_classifier(folder, "whisper", seed=2),
    "wavlm-base-plus-sd": lambda folder: tiny_speech.save_tiny_encoder(folder, "wavlm", seed=3),
    "vit-face-expression": lambda folder: tiny_faces.save_classifier(folder, "vit", seed=4),
    "qwen3-vl-4b": lambda folder: save_talking_qwen(folder, "qwen3_vl"),
    "qwen2.5-vl-7b": lambda folder: save_talking_qwen(folder, "qwen2_5_vl"),
}
"""Row of the table -> what writes the model into a folder; CLIP and Whisper are told by their files."""


def download_tiny(store: Path, mirror: Path) -> Path:
    """Download the tiny models of all profiles from a mirror folder into Dyad's folder `store`, which is returned.

    The rows are those of the table but for the digests of the real weights, which no other file has.
    """
    for model in {model.name: model for profile in PROFILES for model in model_table().choose(profile)}.values():
        save_tiny(model, mirror)
        by_pattern = any(file.is_pattern for file in model.files)  # which also covers the parts whose digests are known
        files = tuple(replace(file, sha256="") for file in model.files if file.is_pattern or not by_pattern)
        fetch(replace(model, unpinned="", files=files), mirror, folder=store)
    return store


def save_tiny(model: PinnedModel, mirror: Path) -> None:
    """Write a tiny model of a row's architecture as a mirror holds it."""
    if model.url:
        tiny_models.save_tiny_whisper(mirror / model.folder / model.files[0].name)
    elif model.purpose == "scene labels":
        tiny_models.save_tiny_clip(mirror / model.repository, file=model.files[-1].name)
    else:
        MAKERS[model.name](mirror / model.repository)


def save_talking_qwen(folder: Path, family: str) -> Path:
    """Write a Qwen-VL that answers in words: only pieces of its tokenizer's sentences get a chance to be said."""
    from safetensors.torch import load_file, save_file

    tiny_qwen.save_tiny_qwen(folder, family)
    tokenizer, file = tiny_qwen.tiny_tokenizer(), folder / "model.safetensors"
    weights = load_file(file)
    words = [place for piece, place in tokenizer.get_vocab().items() if len(piece) > 2 and piece.strip("Ġ").isalpha()]
    chances = torch.zeros(len(tokenizer), 1)
    chances[words] = 1
    weights["lm_head.weight"] *= chances
    save_file(weights, file, {"format": "pt"})
    return folder


def save_heads(folder: Path, features: int = CLIP_WIDTH) -> dict[str, str]:
    """Write a VideoMamba over CLIP and a head over WavLM; returns the environment variables that name them in a profile."""
    from modalities.voice.speech_heads import LstmHead

    face = tiny_faces.save_head(tiny_faces.tiny_head("mamba", features=features), folder / "mamba.safetensors")
    torch.manual_seed(5)
    voice = LstmHead(SPEECH_WIDTH, 16, 16, 8)
    torch.save({"model_state_dict": voice.state_dict(), "epoch": 3}, folder / "wavlm_v4.pt")
    return {"DYAD_DYNAMIC_FACE__HEAD": str(face), "DYAD_VOICE__HEAD": str(folder / "wavlm_v4.pt")}
