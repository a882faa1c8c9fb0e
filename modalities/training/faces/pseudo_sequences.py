"""Moving faces made of stills: an expression rises from one still to another, holds and falls, before a shaky camera."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.training.faces.stills import FaceVotes, soften, warp

LENGTH = 20
NEUTRAL = 0


@dataclass(frozen=True)
class PseudoSequence:
    """Frames uint8 [T, 48, 48], their times (s), the label as shares [8], and the class [-1: two classes in turn]."""

    frames: NDArray[np.uint8]
    times: NDArray[np.float64]
    shares: NDArray[np.float32]
    label: int


class StillPool(NamedTuple):
    """Stills to draw from: those of each class, thumbnails to find a similar face by, and how often a class is drawn."""

    faces: FaceVotes
    members: list[NDArray[np.int64]]
    thumbnails: NDArray[np.float32]
    chances: NDArray[np.float64]


def prepare(faces: FaceVotes) -> StillPool:
    """Sort stills by their majority (no contempt); rarer classes are drawn less often, by the root of their number."""
    members = [np.flatnonzero(faces.majority == label) for label in range(7)]
    small = F.adaptive_avg_pool2d(torch.from_numpy(faces.images)[:, None].float(), 12).flatten(1)
    thumbnails = F.normalize(small - small.mean(1, keepdim=True), dim=1).numpy()
    roots = np.sqrt([len(rows) for rows in members])
    return StillPool(faces, members, thumbnails, roots / roots.sum())


def intensity(times: NDArray[np.float64], chance: np.random.Generator) -> NDArray[np.float64]:
    """How far the expression has come [T], 0..1: it rises, holds and mostly falls again; or it is always there."""
    if chance.random() < 0.15:
        return np.ones(len(times))
    span = times[-1] - times[0] + 0.2
    start, rise = chance.uniform(-0.2, 0.6) * span, chance.uniform(0.2, 1.0)
    hold, fall = chance.uniform(0.15, 0.6) * span, chance.uniform(0.3, 1.2)
    seconds = times - times[0]
    up = np.clip((seconds - start) / rise, 0, 1)
    down = np.clip((start + rise + hold + fall - seconds) / fall, 0, 1) if chance.random() < 0.7 else 1.0
    eased = np.minimum(up, down)
    return np.asarray(chance.uniform(0.75, 1.0) * eased * eased * (3 - 2 * eased))


def morph(first: NDArray[np.uint8], second: NDArray[np.uint8], amounts: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Faces between two [H, W] at `amounts` [T] of the way: both are bent along the optical flow, then blended."""
    import cv2

    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(first, second, None)
    y, x = np.mgrid[: first.shape[0], : first.shape[1]].astype(np.float32)
    frames = []
    for amount in amounts.astype(np.float32):
        ahead, back = amount * flow, (1 - amount) * flow
        start = cv2.remap(first, x - ahead[..., 0], y - ahead[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        end = cv2.remap(second, x + back[..., 0], y + back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        frames.append(cv2.addWeighted(start, float(1 - amount), end, float(amount), 0))
    return np.stack(frames)


def similar(stills: StillPool, row: int, label: int, chance: np.random.Generator) -> int:
    """A still of class `label` that looks like `row`: the most alike of 400 drawn at random."""
    members = stills.members[label]
    drawn = members[chance.integers(0, len(members), min(400, len(members)))]
    drawn = drawn[drawn != row] if (drawn != row).any() else drawn
    return int(drawn[(stills.thumbnails[drawn] @ stills.thumbnails[row]).argmax()])


def _frame_times(chance: np.random.Generator) -> NDArray[np.float64]:
    """Times of 1 to `LENGTH` frames in a window: an even pace, some frames without a face."""
    count = int(chance.integers(8, LENGTH + 1)) if chance.random() < 0.9 else int(chance.integers(1, 8))
    times = np.arange(count) * chance.choice([0.1, 0.2, 0.2, 0.2, 0.4])
    kept = chance.random(count) > chance.choice([0.0, 0.1, 0.3])
    kept[chance.integers(count)] = True
    return np.asarray(times[kept])


def _disturb(frames: NDArray[np.uint8], stills: StillPool, row: int, chance: np.random.Generator) -> NDArray[np.uint8]:
    """Let one or two frames show a hint of another emotion, or another face: what must be seen through."""
    if len(frames) < 6 or chance.random() < 0.4:
        return frames
    other = similar(stills, row, int(chance.choice(7, p=stills.chances)), chance)
    start, count = int(chance.integers(0, len(frames) - 2)), int(chance.integers(1, 3))
    frames = frames.copy()
    for frame in range(start, min(start + count, len(frames))):
        frames[frame] = morph(frames[frame], stills.faces.images[other], np.array([chance.uniform(0.3, 0.9)]))[0]
    return frames


def _wander(count: int, amount: float, chance: torch.Generator) -> Tensor:
    """A smooth random path [count] around 0 with a little jitter."""
    path = torch.randn(1, 1, count + 8, generator=chance)
    smooth = F.avg_pool1d(path, 9, 1).flatten() * 2
    return amount * (smooth + 0.3 * torch.randn(count, generator=chance))


def _speak(pixels: Tensor, opening: Tensor) -> Tensor:
    """Move the chin down by `opening` [T] (of half the side), as a speaking mouth does."""
    count, _, height, width = pixels.shape
    y, x = torch.linspace(-1, 1, height).view(1, -1, 1), torch.linspace(-1, 1, width).view(1, 1, -1)
    bump = torch.exp(-((x / 0.45) ** 2) - ((y - 0.8) / 0.35) ** 2) * (y > 0.3)
    grid = torch.stack([x.expand(count, height, width), y - opening.view(-1, 1, 1) * bump], 3)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=True)


def film(frames: NDArray[np.uint8], chance: torch.Generator) -> NDArray[np.uint8]:
    """Show frames [T, H, W] through a moving, badly lit, partly covered camera view; half of the faces speak."""
    pixels = torch.from_numpy(frames)[:, None].float() / 255
    count, size = len(pixels), pixels.shape[-1]
    pick = torch.rand(6, generator=chance)
    if pick[0] < 0.5:
        pixels = _speak(pixels, (0.12 * torch.rand(count, generator=chance)) * pick[1])
    angle, zoom = _wander(count, 0.06, chance), torch.exp(_wander(count, 0.05, chance) + 0.2 * (pick[2] - 0.5))
    shift = torch.stack([_wander(count, 0.04, chance), _wander(count, 0.04, chance)], 1)
    pixels = warp(pixels, angle, torch.stack([zoom, zoom], 1), shift, (pick[3] < 0.5).expand(count), size)
    pixels = soften(pixels, chance) if pick[4] < 0.5 else pixels
    gain = torch.exp(_wander(count, 0.1, chance) + 0.3 * torch.randn((), generator=chance))
    pixels = pixels * gain.view(-1, 1, 1, 1) + 0.02 * pick[5] * torch.randn(pixels.shape, generator=chance)
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)[:, 0].numpy()


def make_sequence(stills: StillPool, chance: np.random.Generator) -> PseudoSequence:
    """One sequence: mostly neutral -> expression -> neutral; some go from one expression to another, some stay neutral."""
    label = int(chance.choice(7, p=stills.chances))
    apex = int(chance.choice(stills.members[label]))
    times = _frame_times(chance)
    amounts = intensity(times, chance)
    calm = chance.random() < 0.85 and len(stills.members[NEUTRAL]) > 0
    before = NEUTRAL if calm else int(chance.choice(7, p=stills.chances))
    start = similar(stills, apex, before, chance)
    frames = _disturb(morph(stills.faces.images[start], stills.faces.images[apex], amounts), stills, apex, chance)
    shares = stills.faces.shares
    # What little is seen of an apex counts little; two expressions in turn share the label by how long each is seen.
    weight = min(1.0, 1.25 * amounts.max()) if before == NEUTRAL else float(amounts.mean())
    known = label if before in (NEUTRAL, label) and amounts.max() > 0.6 else -1
    frames = film(frames, torch.Generator().manual_seed(int(chance.integers(2**62))))
    return PseudoSequence(frames, times, weight * shares[apex] + (1 - weight) * shares[start], known)


def make_sequences(faces: FaceVotes, count: int, seed: int) -> list[PseudoSequence]:
    """`count` sequences from these stills; the same for the same seed."""
    stills, chance = prepare(faces), np.random.default_rng(seed)
    return [make_sequence(stills, chance) for _ in range(count)]
