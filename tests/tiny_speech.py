"""Tiny speech networks with random weights in transformers' own layout."""

import json
from pathlib import Path
from typing import Any

import torch

SEVEN = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprised")
SPECTRAL = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1,
            "eos_token_id": 2, "decoder_start_token_id": 1, "classifier_proj_size": 24}  # fmt: skip
RAW = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "conv_dim": [16] * 7,
       "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 24}  # fmt: skip


def config_of(kind: str, **settings: Any) -> Any:
    """The configuration of a tiny 'wav2vec2', 'wavlm', 'hubert', 'sew' or 'whisper'."""
    from transformers import AutoConfig

    if kind == "whisper":
        return AutoConfig.for_model(kind, **SPECTRAL | settings)
    more = {"num_buckets": 32, "max_bucket_distance": 80} if kind == "wavlm" else {}
    more |= {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]} if kind == "sew" else {}
    return AutoConfig.for_model(kind, **RAW | more | settings)


def save_extractor(folder: Path, kind: str, normalise: bool = True, rate: int = 16_000) -> None:
    """Write the preprocessing of a network beside it."""
    from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    extractor = (WhisperFeatureExtractor(sampling_rate=rate) if kind == "whisper" else
                 Wav2Vec2FeatureExtractor(do_normalize=normalise, sampling_rate=rate))  # fmt: skip
    extractor.save_pretrained(folder)


def shake(network: torch.nn.Module, seed: int) -> None:
    """Give every parameter weight enough that a wrong one would be seen in the answer."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1 and "weight.original" not in name:
                value.normal_(0, value[0].numel() ** -0.5, generator=chance)
            elif value.ndim == 1:
                value.add_(torch.randn(value.shape, generator=chance) * 0.2)


def save_tiny_classifier(folder: Path, kind: str, labels: tuple[str, ...] = SEVEN, seed: int = 0, **settings: Any) -> Path:
    """Write a classifier with these labels and its preprocessing."""
    from transformers import AutoModelForAudioClassification

    torch.manual_seed(seed)
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
    network = AutoModelForAudioClassification.from_config(config_of(kind, **named, **settings))
    shake(network, seed)
    network.save_pretrained(folder)
    save_extractor(folder, kind)
    return folder


def save_tiny_encoder(folder: Path, kind: str, seed: int = 0, **settings: Any) -> Path:
    """Write a network without a head (Whisper: with its decoder) and its preprocessing."""
    from transformers import AutoModel

    torch.manual_seed(seed)
    network = AutoModel.from_config(config_of(kind, **settings))
    shake(network, seed)
    network.save_pretrained(folder)
    save_extractor(folder, kind)
    return folder


def change_config(folder: Path, **settings: Any) -> None:
    """Overwrite entries of a saved config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
