"""CLIPER (Li et al. 2024, arXiv 2303.00193): several learnable descriptors of each expression, trained before the image tower.

The names of the parameters are those of the release: CLIP under `net.`, the descriptors under `text_generator.descriptor`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.face_networks.parts.base import FaceAnswer, FaceInputs
from modalities.face_networks.parts.clip_face import (
    TEMPERATURE,
    ClipFaceNetwork,
    copy_clip,
    cosines,
    in_pieces,
    tower_depth,
    unit,
)
from modalities.face_networks.parts.clip_tower import SHAPES, ClipNetwork, ClipShape, ends_of, frozen, tokens_of
from modalities.loading.state_dicts import JsonObject

PROMPT = "an ID photo of X X X X."
"""The text whose X are replaced by a descriptor."""


class DescriptorTerms(NamedTuple):
    """What `descriptor_loss` computes: the loss and, for tests and curves, its parts."""

    loss: Tensor
    margin_logits: Tensor
    fine_logits: Tensor
    weights: Tensor


def descriptor_logits(images: Tensor, texts: Tensor, classes: int) -> Tensor:
    """Cosines over the temperature [B, C, K] of images [B, E] with C * K texts [C * K, E], K of a class after another."""
    return (cosines(unit(images), unit(texts)) / TEMPERATURE).view(len(images), classes, -1)


def class_logits(logits: Tensor) -> Tensor:
    """Logits of the classes [B, C] from those of their descriptors [B, C, K]: the mean."""
    return logits.mean(2)


def margin_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C]: of a wrong class its best descriptor, of the true one its worst, so that all descriptors of a class must fit."""
    return torch.where(F.one_hot(labels, logits.shape[1]).bool(), logits.min(2).values, logits.max(2).values)


def fine_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, 1 + (C - 1) K]: the best descriptor of the true class, then all those of the others."""
    samples = torch.arange(len(labels), device=labels.device)[:, None]
    indices = torch.arange(logits.shape[1] - 1, device=labels.device)
    # By index and not by a mask: for the size of what a mask picks, a GPU would be waited for.
    others = logits[samples, indices + (indices >= labels[:, None])]
    return torch.cat([logits[samples, labels[:, None]].amax(2), others.flatten(1)], 1)


def balance_weights(logits: Tensor, labels: Tensor, *, release: bool = False) -> Tensor:
    """Weights [B] by how seldom an image's descriptor is the best of its class in this batch: rare ones count more.

    With n_j the images of class y whose best descriptor is j and N their sum, an image of j has the weight
    N softmax(1 / n)_j / n_j, the softmax over the descriptors that occur. `release` gives absent descriptors n = -1/99 as the
    release does, which also enters N.
    """
    best = logits[torch.arange(len(labels)), labels].argmax(1)
    counts = torch.zeros(logits.shape[1:], device=logits.device, dtype=torch.float32)
    counts.index_put_((labels, best), torch.ones(len(labels), device=logits.device), accumulate=True)
    absent = counts == 0
    totals = torch.where(absent, -1 / 99, counts).sum(1) if release else counts.sum(1)
    inverse = torch.where(absent, -99.0 if release else -torch.inf, 1 / counts.clamp(min=1))
    shares = torch.softmax(inverse.where(~absent.all(1, keepdim=True), torch.zeros_like(inverse)), 1)
    return totals[labels] * shares[labels, best] / counts[labels, best]


def descriptor_loss(logits: Tensor, labels: Tensor, *, release: bool = False) -> DescriptorTerms:
    """CLIPER's loss over descriptor logits [B, C, K] and labels [B]: CE(margin) + mean(weight * CE(fine))."""
    margin, fine = margin_logits(logits, labels), fine_logits(logits, labels)
    weights = balance_weights(logits.detach(), labels, release=release)
    first = fine.log_softmax(1)[:, 0]
    return DescriptorTerms(F.cross_entropy(margin, labels) - (weights * first).mean(), margin, fine, weights)


class Descriptors(nn.Module):
    """Learnable tokens [C * K, M, text_width] of the expressions, near zero at first."""

    def __init__(self, count: int, tokens: int, width: int) -> None:
        super().__init__()
        self.descriptor = nn.Parameter(torch.randn(count, tokens, width) / 1000)


class Cliper(ClipFaceNetwork):
    """Normalised faces [B, T, 3, S, S] -> mean cosine with the K descriptors of each class; of a clip, the frames' mean.

    Trained in two stages: the descriptors (`stage` 1), then the image tower (2). The text tower always stays.
    """

    def __init__(
        self, classes: int = 7, shape: ClipShape = SHAPES["ViT-B-16"], *, descriptors: int = 5, prompt: str = PROMPT,
        release_loss: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes, self.release_loss = classes, release_loss
        ids = tokens_of([prompt], shape.context)
        placeholder = int(tokens_of(["X"], shape.context)[0, 1])
        self.gaps = torch.nonzero(ids[0] == placeholder)[:, 0].tolist()
        self.ids: Tensor
        self.register_buffer("ids", ids, persistent=False)
        self.net = ClipNetwork(shape)
        self.text_generator = Descriptors(classes * descriptors, len(self.gaps), shape.text_width)
        self.stage(1)

    def stage(self, number: int) -> None:
        """1: the descriptors are trained; 2: the image tower is."""
        frozen(self)
        (self.text_generator if number == 1 else self.net.visual).requires_grad_(True)

    def prompt_features(self) -> Tensor:
        """Embeddings [C * K, E] of the prompts as projected."""
        learned = self.text_generator.descriptor
        embedded = self.net.token_embedding(self.ids.to(learned.device)).expand(len(learned), -1, -1).clone()
        embedded[:, self.gaps] = learned.to(embedded.dtype)
        return self.net.read(embedded, ends_of(self.ids).expand(len(learned)).to(learned.device))

    def embed_texts(self) -> Tensor:
        """Embeddings [C * K, E] of unit length."""
        return unit(self.prompt_features())

    def descriptor_logits(self, inputs: FaceInputs) -> tuple[Tensor, Tensor]:
        """Logits [B, C, K] and the embeddings [B, E] of the faces."""
        faces = in_pieces(self.net.visual, inputs.pixels).mean(1)
        return descriptor_logits(faces, self.text_embeddings(), self.classes), faces

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """Logits [B, C] and embeddings [B, E]."""
        logits, faces = self.descriptor_logits(inputs)
        return FaceAnswer(class_logits(logits), faces)

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """`descriptor_loss` for the classes with the largest share: it is not defined for mixtures."""
        logits, _ = self.descriptor_logits(inputs)
        return {"descriptors": descriptor_loss(logits.float(), targets.argmax(1), release=self.release_loss).loss}

    def take_clip(self, state: Mapping[str, Tensor]) -> None:
        """CLIP's weights into `net`."""
        copy_clip(self.net, state)
        self._texts = None

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """Layers of the image tower; the descriptors are the last."""
        layer, last = tower_depth(parameter, self.net.shape)
        return (layer if ".visual." in parameter else last), last


def build(
    labels: Sequence[str] = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    architecture: str = "ViT-B-16", prompts: JsonObject | None = None, shape: JsonObject | None = None,
    **others: Any,
) -> Cliper:  # fmt: skip
    """The network for these labels; `prompts` may bring the `descriptor` text, `shape` changes the sizes."""
    others |= {"prompt": prompts["descriptor"]} if prompts and "descriptor" in prompts else {}
    return Cliper(len(labels), SHAPES[architecture]._replace(**(shape or {})), **others)
