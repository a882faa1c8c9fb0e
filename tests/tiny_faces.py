"""For tests of the face backends: tiny temporal heads and image classifiers with random weights, and faces of real clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from data.media.decode import DecodeOptions, decode
from data.media.frames import read_frames
from data.media.probe import probe
from data.windows import make_windows
from modalities.dynamic_face.video_former import VideoFormer, VideoFormerShape
from modalities.dynamic_face.video_mamba import VideoMamba, VideoMambaShape
from modalities.faces.find import FaceOptions, find_faces

TINY_MAMBA = VideoMambaShape(features=24, width=32, rank=2, layers=2, hidden=16)
TINY_FORMER = VideoFormerShape(features=24, width=32, layers=2, hidden=16)
FACE_LABELS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The labels of many public face classifiers, in their order."""


def tiny_head(kind: str, features: int = 24, seed: int = 0, **sizes: Any) -> nn.Module:
    """A VideoMamba ('mamba') or VideoFormer ('former') with weights large enough that its answers differ."""
    torch.manual_seed(seed)
    network: nn.Module = (
        VideoMamba(TINY_MAMBA._replace(features=features, **sizes))
        if kind == "mamba"
        else VideoFormer(TINY_FORMER._replace(features=features, **sizes))
    )
    nn.init.normal_(network.classifier[4].weight)  # type: ignore[index, union-attr, arg-type]
    return network.eval()


def save_head(network: nn.Module, path: Path, metadata: Mapping[str, str] | None = None, under: str = "") -> Path:
    """Save a head's bare state dict (or one under a key) as its suffix says."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path, dict(metadata or {}))
    else:
        torch.save({under: network.state_dict(), "epoch": 3} if under else network.state_dict(), path)
    return path


def _tiny_classifier(kind: str, names: dict[str, Any]) -> tuple[Any, Any]:
    """Network and image processor of an architecture, at 32 x 32 pixels."""
    import transformers as hub

    size = {"image_size": 32, **names}
    if kind == "vit":
        config = hub.ViTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, patch_size=8, **size
        )
        return hub.ViTForImageClassification(config), hub.ViTImageProcessor(size={"height": 32, "width": 32})
    if kind == "swin":
        config = hub.SwinConfig(embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4, patch_size=4, **size)
        return hub.SwinForImageClassification(config), hub.ViTImageProcessor(size={"height": 32, "width": 32})
    if kind == "beit":
        config = hub.BeitConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, patch_size=8, **size
        )
        return hub.BeitForImageClassification(config), hub.BeitImageProcessor(size={"height": 32, "width": 32})
    if kind == "resnet":
        config = hub.ResNetConfig(embedding_size=16, hidden_sizes=[16, 24], depths=[1, 1], **names)
        return hub.ResNetForImageClassification(config), hub.ConvNextImageProcessor(size={"shortest_edge": 32})
    config = hub.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, **size)
    return hub.ConvNextForImageClassification(config), hub.ConvNextImageProcessor(size={"shortest_edge": 32})


def save_classifier(folder: Path, kind: str = "vit", labels: Sequence[str] = FACE_LABELS, seed: int = 0) -> Path:
    """Write a classifier of faces (vit, swin, beit, resnet or convnext) with its image processor by save_pretrained."""
    torch.manual_seed(seed)
    names = dict(enumerate(labels))
    network, processor = _tiny_classifier(kind, {"id2label": names, "label2id": {name: n for n, name in names.items()}})
    last = next(module for module in reversed(list(network.modules())) if isinstance(module, nn.Linear))
    nn.init.normal_(last.weight)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def faces_of(video: Path, folder: Path) -> tuple[Path, pd.DataFrame, np.ndarray]:
    """Crops, table of faces and windows of a video, found as the faces stage finds them, at 2 frames a second."""
    clip = probe(video)
    decoded = decode(clip, folder, DecodeOptions(frames_per_second=2.0, longest_side=960))
    assert decoded.frames is not None
    assert decoded.index is not None
    found = find_faces(read_frames(decoded.frames, decoded.index), FaceOptions("auto", 112), folder / "crops.npy")
    return folder / "crops.npy", found.table, make_windows(decoded.duration)
