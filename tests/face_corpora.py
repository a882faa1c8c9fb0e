"""Tiny corpora of drawn faces as files with a manifest, and a tiny CLIP, for tests of training the face networks."""

from pathlib import Path

import numpy as np
import torch

from modalities.face_networks.parts.clip_tower import ClipNetwork, ClipShape
from tests.drawn_faces import draw_face

SMALL = {
    "embedding": 32, "size": 32, "patch": 8, "width": 64, "layers": 2, "text_width": 64, "text_heads": 1, "text_layers": 1,
}  # fmt: skip
LABELS = ("neutral", "happiness", "surprise", "sadness")


def write_tiny_clip(path: Path) -> Path:
    """A CLIP with random weights under OpenAI's names."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    clip = ClipNetwork(ClipShape()._replace(**SMALL))
    with torch.no_grad():  # as drawn at random it would hardly tell one text from another
        clip.token_embedding.weight.mul_(50)
        clip.transformer.resblocks[0].attn.out_proj.weight.mul_(100)
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, path)
    return path


def write_pictures(folder: Path, count: int, *, split: bool = True) -> Path:
    """Drawn faces as PNGs in colour, and manifest.csv with their labels and splits; three quarters are for training."""
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    chance, rows = np.random.default_rng(3), ["path,label,split"]
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        cv2.imwrite(str(folder / f"{number:03}.png"), np.repeat(draw_face(label, chance)[:, :, None], 3, 2))
        part = "test" if number >= count * 3 // 4 else "train"
        rows.append(f"{number:03}.png,{label},{part if split else ''}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def write_clips(folder: Path, count: int, frames: int = 6) -> Path:
    """Clips [T, 48, 48, 3] as .npy whose order is the label: a neutral face turns happy, or a happy one neutral; two folds."""
    folder.mkdir(parents=True, exist_ok=True)
    chance, rows = np.random.default_rng(4), ["path,label,split"]
    for number in range(count):
        first, last = draw_face("neutral", chance), draw_face("happiness", chance)
        clip = np.stack([first] * (frames // 2) + [last] * (frames - frames // 2))
        label = ("happiness", "neutral")[number % 2]
        np.save(folder / f"{number:03}.npy", np.repeat((clip if number % 2 == 0 else clip[::-1])[..., None], 3, 3))
        rows.append(f"{number:03}.npy,{label},fold{1 + number % 4 // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"
