"""What the trainings of static and dynamic face share: FER+ stills, duplicates, splits, augmentation, measures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import InputError
from data.metrics import calibration_error, scores_of
from data.npz_files import read_arrays
from data.votes import compound_of_votes
from modalities.static_face.embedded import CLASSES


@dataclass(frozen=True)
class FaceVotes:
    """Grey stills uint8 [N, H, W] with votes [N, 8] in the order of `CLASSES`, and how many taggers [N] voted at all.

    `majority` [N] is the plain majority's class, -1 where that is 'unknown' or 'no face'.
    """

    images: NDArray[np.uint8]
    votes: NDArray[np.float32]
    majority: NDArray[np.int64]
    taggers: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "FaceVotes":
        """The stills of `chosen` rows."""
        return FaceVotes(self.images[chosen], self.votes[chosen], self.majority[chosen], self.taggers[chosen])

    @property
    def shares(self) -> NDArray[np.float32]:
        """Votes as probabilities [N, 8]; rows without a vote for an emotion are uniform."""
        total = self.votes.sum(1, keepdims=True)
        return np.where(total > 0, self.votes / np.maximum(total, 1), 1 / len(CLASSES)).astype(np.float32)

    @property
    def agreed(self) -> NDArray[np.bool_]:
        """Rows where more than half of the taggers chose the same of the seven basic emotions."""
        seven = (self.majority >= 0) & (self.majority < len(BASIC_EMOTIONS))
        return np.asarray(seven & (self.votes.max(1) * 2 > self.taggers))


def read_faces(path: Path) -> FaceVotes:
    """Read an .npz with `images`, `votes` and `vote_names` (FER+ layout); InputError when it is missing or another layout."""
    try:
        file = read_arrays(path, "images", "votes", "vote_names")
        images, votes, names = file["images"], file["votes"].astype(np.float32), [str(n) for n in file["vote_names"]]
        columns = [names.index(name) for name in CLASSES]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is not a file of tagged faces ({error}); give a folder with face/ferplus_train.npz and "
            "face/ferplus_valid.npz holding images, votes and vote_names."
        ) from error
    # Ties fall to the earlier column of the file, as argmax over the file's votes does everywhere else.
    class_of = {column: number for number, column in enumerate(columns)}
    majority = np.array([class_of.get(int(column), -1) for column in votes.argmax(1)])
    return FaceVotes(images, votes[:, columns], majority, votes.sum(1))


def duplicate_groups(images: NDArray[np.uint8], threshold: float = 0.95) -> NDArray[np.int64]:
    """Number [N] of each image's group; images whose 16x16 thumbnails correlate above `threshold` share a group."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    small = F.adaptive_avg_pool2d(torch.from_numpy(images)[:, None].float(), 16).flatten(1)
    small = F.normalize(small - small.mean(1, keepdim=True), dim=1)
    pairs = [torch.nonzero(small[start : start + 2048] @ small.T > threshold) + torch.tensor([start, 0])
             for start in range(0, len(small), 2048)]  # fmt: skip
    first, second = torch.cat(pairs).T.numpy()
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(small), len(small)))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]


def split_groups(groups: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Choose whole groups at random until about `share` of the rows are in: a mask [N]."""
    names = np.unique(groups)
    chosen = np.random.default_rng(seed).random(len(names)) < share
    return chosen[np.searchsorted(names, groups)]


def _uniform(shape: tuple[int, ...], low: float, high: float, chance: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=chance, device=chance.device) * (high - low) + low


def warp(pixels: Tensor, angle: Tensor, scale: Tensor, shift: Tensor, mirror: Tensor, size: int) -> Tensor:
    """Turn, zoom, move and mirror faces [B, 1, H, W] -> [B, 1, size, size].

    `angle` [B] in radians, `scale` [B, 2] across and down, `shift` [B, 2] in halves of the side, `mirror` bool [B].
    """
    cos, sin = torch.cos(angle) / scale.T, torch.sin(angle) / scale.T
    sign = torch.where(mirror, -1.0, 1.0)
    rows = torch.stack([cos[0] * sign, -sin[0], shift[:, 0], sin[1] * sign, cos[1], shift[:, 1]], 1)
    grid = F.affine_grid(rows.view(-1, 2, 3), [len(pixels), 1, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def soften(pixels: Tensor, chance: torch.Generator) -> Tensor:
    """Blur, sharpen or coarsen at random: crops of a video are softer or crisper than the stills."""
    count = len(pixels)
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amount = _uniform((count, 1, 1, 1), -0.8, 1.0, chance) * (_uniform((count, 1, 1, 1), 0, 1, chance) < 0.5)
    pixels = pixels + amount * (blurred - pixels)
    small = F.interpolate(pixels, scale_factor=0.5, mode="area")
    coarse = F.interpolate(small, size=pixels.shape[2:], mode="bilinear", align_corners=False)
    return torch.where(_uniform((count, 1, 1, 1), 0, 1, chance) < 0.1, coarse, pixels)


def light(pixels: Tensor, chance: torch.Generator) -> Tensor:
    """Gamma, a light from one side, and noise."""
    count, _, height, width = pixels.shape
    pixels = pixels.clamp(0.001, 1) ** torch.exp(_uniform((count, 1, 1, 1), -0.4, 0.4, chance))
    x, y = (torch.linspace(-1, 1, side, device=pixels.device) for side in (width, height))
    across = x.view(1, 1, 1, width) * _uniform((count, 1, 1, 1), -0.15, 0.15, chance)
    down = y.view(1, 1, height, 1) * _uniform((count, 1, 1, 1), -0.15, 0.15, chance)
    noise = torch.randn(pixels.shape, generator=chance, device=pixels.device) * _uniform((count, 1, 1, 1), 0, 0.04, chance)
    return pixels * (1 + across + down) + noise


def erase(pixels: Tensor, chance: torch.Generator, share: float = 0.3) -> Tensor:
    """Cover a rectangle of some images with an even grey (random erasing, Zhong et al. 2020)."""
    count, _, height, width = pixels.shape
    half = _uniform((count, 2, 1, 1), 0.08, 0.22, chance) * (_uniform((count, 1, 1, 1), 0, 1, chance) < share)
    centre = _uniform((count, 2, 1, 1), 0, 1, chance)
    x, y = (torch.linspace(0, 1, side, device=pixels.device) for side in (width, height))
    y, x = y.view(1, height, 1), x.view(1, 1, width)
    inside = ((y - centre[:, 0]).abs() < half[:, 0]) & ((x - centre[:, 1]).abs() < half[:, 1])
    return torch.where(inside[:, None], _uniform((count, 1, 1, 1), 0, 1, chance), pixels)


def augment(pixels: Tensor, chance: torch.Generator, size: int = 48, strength: float = 1.0) -> Tensor:
    """Random geometry, sharpness, light and occlusion of faces [B, 1, H, W] in 0..1 -> [B, 1, size, size]."""
    count = len(pixels)
    angle = _uniform((count,), -0.25, 0.25, chance) * strength
    scale = torch.exp(_uniform((count, 1), -0.15, 0.2, chance) * strength + _uniform((count, 2), -0.06, 0.06, chance))
    shift = _uniform((count, 2), -0.12, 0.12, chance) * strength
    mirror = _uniform((count,), 0, 1, chance) < 0.5
    pixels = warp(soften(pixels, chance), angle, scale, shift, mirror, size)
    return erase(light(pixels, chance), chance)


def measure(probabilities: NDArray[np.float32], faces: FaceVotes) -> dict[str, float]:
    """Figures of answers [N, 8]: 8 classes by majority, seven where the taggers agree, compounds by the pair sum."""
    seven = probabilities[:, :7] / probabilities[:, :7].sum(1, keepdims=True)
    known, agreed = faces.majority >= 0, faces.agreed
    eight = scores_of(faces.majority[known], probabilities[known].argmax(1))
    clear = scores_of(faces.majority[agreed], seven[agreed].argmax(1), range(7))
    basic = known & (faces.majority < 7)
    plain = scores_of(faces.majority[basic], seven[basic].argmax(1), range(7))
    figures = {"accuracy_8_classes": eight["war"], "uar_8_classes": eight["uar"]}
    figures |= {key: plain[key] for key in ("uar", "war", "macro_f1")}
    figures |= {f"{key}_agreed": clear[key] for key in ("uar", "war", "macro_f1")}
    figures["calibration_error"] = calibration_error(seven[basic], faces.majority[basic])
    compounds = compound_of_votes(faces.votes)
    pairs = np.stack([seven[:, list(c.pair)].sum(1) for c in ABAW_COMPOUNDS], 1)
    if (chosen := compounds >= 0).any():
        found = scores_of(compounds[chosen], pairs[chosen].argmax(1), range(7))
        figures["compound_macro_f1_pair_sum"] = found["macro_f1"]
    return figures
