"""Batches of face samples on a device: frames changed at random, the streams drawn from them, shares of the classes, mixtures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from modalities.face_networks.contexts import read_contexts
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.registry import NetworkInput, NetworkRow
from modalities.faces.crops import Pixels
from modalities.training.face_networks.corpus import FaceSample
from modalities.training.face_networks.recipes import Recipe
from modalities.training.faces.stills import erase, light, soften, warp


class DrawnSamples(NamedTuple):
    """What a batch is made from: frames uint8 [B, T, S, S, 3], the same of the streams (or None), classes [B], captions, contexts
    [B, D] (or None; NaN rows where there is none)."""

    frames: Pixels
    landmarks: Pixels | None
    parsing: Pixels | None
    classes: NDArray[np.int64]
    captions: tuple[str, ...]
    contexts: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches for a network: how it reads pixels, how many classes there are, which streams it gets, and where it is.

    context: the length of the contexts that it gets, 0 for none.
    """

    row: NetworkRow
    reads: NetworkInput
    classes: int
    streams: bool
    captions: bool
    device: str
    context: int = 0

    def drawn(self, samples: Sequence[FaceSample], views: Sequence[Pixels]) -> DrawnSamples:
        """Samples and their views [V, T, S, S, 3], the views of a sample one after another as rows of the batch."""
        frames = np.concatenate(views)
        each = np.array([len(one) for one in views])
        classes = np.repeat(np.array([sample.label for sample in samples], np.int64), each)
        captions = tuple(sample.caption for sample, count in zip(samples, each, strict=True) for _ in range(count))
        landmarks, parsing = self._draw_parts(frames) if self.streams else (None, None)
        contexts = read_contexts([sample.context for sample in samples], self.context) if self.context else None
        return DrawnSamples(frames, landmarks, parsing, classes, captions, None if contexts is None else contexts.repeat(each, 0))

    def _draw_parts(self, frames: Pixels) -> tuple[Pixels, Pixels]:
        from modalities.face_networks.face_parts import draw_parts

        landmarks, parsing = draw_parts(frames.reshape(-1, *frames.shape[2:]), self.reads.size)
        return landmarks.reshape(frames.shape), parsing.reshape(frames.shape)

    def inputs(self, drawn: DrawnSamples) -> FaceInputs:
        """Levels 0..1 [B, T, 3, S, S] of frames and streams, and the captions' tokens; not normalised yet."""
        parts = (None if one is None else self._levels(one) for one in (drawn.landmarks, drawn.parsing))
        context = None if drawn.contexts is None else torch.from_numpy(drawn.contexts).to(self.device)
        images = FaceInputs(self._levels(drawn.frames), *parts)
        return images._replace(caption=self._tokens(drawn.captions), context=context)

    def _levels(self, images: Pixels) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 1, 4, 2, 3).float() / 255

    def _tokens(self, captions: Sequence[str]) -> Tensor | None:
        if not self.captions or not any(captions):
            return None
        from modalities.face_networks.parts.clip_tower import caption_tokens

        return caption_tokens(captions).to(self.device)

    def shares(self, drawn: DrawnSamples, smoothing: float = 0.0) -> Tensor:
        """Shares [B, C] of the classes."""
        hot = F.one_hot(torch.from_numpy(drawn.classes), self.classes).float().to(self.device)
        return hot * (1 - smoothing) + smoothing / self.classes

    def normalised(self, inputs: FaceInputs) -> FaceInputs:
        """Frames and streams as the network's row wants them."""
        mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (self.reads.mean, self.reads.std))
        turn = self.reads.channels == "bgr"
        return each_image(inputs, lambda levels: ((levels - mean) / std).flip(2) if turn else (levels - mean) / std)


def each_image(inputs: FaceInputs, change: Callable[[Tensor], Tensor]) -> FaceInputs:
    """The same change of the frames and of the streams that are there."""
    landmarks, parsing = (None if one is None else change(one) for one in (inputs.landmarks, inputs.parsing))
    return inputs._replace(pixels=change(inputs.pixels), landmarks=landmarks, parsing=parsing)


def changed(inputs: FaceInputs, recipe: Recipe, chance: torch.Generator) -> FaceInputs:
    """The same faces turned, zoomed, moved and mirrored at random, the same way in all frames and streams of a sample.

    Sharpness, light, noise and a covered rectangle change the frames alone. With `augment` 0 nothing is changed.
    """
    if not recipe.augment:
        return inputs
    count, side, device = len(inputs.pixels), inputs.pixels.shape[-1], inputs.pixels.device
    several = torch.rand(6, count, generator=chance, device=device) * 2 - 1
    angle, zoom, across, down, right, below = (recipe.augment * value for value in several)
    scale = torch.exp(torch.stack([0.18 * zoom + 0.05 * across, 0.18 * zoom + 0.05 * down], 1))
    shift = 0.1 * torch.stack([right, below], 1)
    mirror = (torch.rand(count, generator=chance, device=device) < 0.5) & recipe.flip

    def moved(images: Tensor) -> Tensor:
        return warp(images.flatten(1, 2), 0.25 * angle, scale, shift, mirror, side).view(images.shape)

    inputs = each_image(inputs, moved)
    flat = erase(light(soften(inputs.pixels.flatten(1, 2), chance), chance), chance)
    return inputs._replace(pixels=flat.clamp(0, 1).view(inputs.pixels.shape))


def mixed(inputs: FaceInputs, shares: Tensor, alpha: float, chance: torch.Generator) -> tuple[FaceInputs, Tensor]:
    """Mixup (Zhang et al. 2018): each sample blended with another one by a number drawn from Beta(alpha, alpha).

    Captions are those of the sample that has more of the blend; a blend with a sample without context has none. With `alpha` 0
    nothing is blended.
    """
    if alpha <= 0 or len(shares) < 2:
        return inputs, shares
    seed = int(torch.randint(2**31, (1,), generator=chance, device=shares.device))
    draws = np.random.default_rng(seed)
    part = float(draws.beta(alpha, alpha))
    part = max(part, 1 - part)
    other = torch.from_numpy(draws.permutation(len(shares))).to(shares.device)

    def blend(values: Tensor) -> Tensor:
        return part * values + (1 - part) * values[other]

    context = None if inputs.context is None else blend(inputs.context)
    return each_image(inputs, blend)._replace(context=context), blend(shares)


def epoch_order(classes: NDArray[np.int64], recipe: Recipe, seed: int, epoch: int) -> NDArray[np.int64]:
    """The numbers of the samples in the order of an epoch; with `balanced` classes are drawn equally often, with repetition."""
    draws = np.random.default_rng([seed, epoch])
    if not recipe.balanced:
        return draws.permutation(len(classes))
    counts = np.bincount(classes)
    weights = 1.0 / counts[classes]
    return draws.choice(len(classes), len(classes), p=weights / weights.sum())
