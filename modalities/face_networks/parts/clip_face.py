"""What the face networks over CLIP share: taking over CLIP's weights, and remembering embeddings of texts that do not change."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.face_networks.parts.base import FaceNetwork
from modalities.face_networks.parts.clip_tower import ClipNetwork, ClipShape, clip_of_state

TEMPERATURE = 0.01
"""What cosines are divided by: CLIP's own at the end of its training."""


class ClipFaceNetwork(FaceNetwork):
    """A network that compares faces with texts of its classes; `embed_texts` says how it makes the texts' embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: tuple[tuple[object, ...], Tensor] | None = None
        self.register_load_state_dict_post_hook(_forget_texts)  # type: ignore[no-untyped-call]

    @abstractmethod
    def embed_texts(self) -> Tensor:
        """Embeddings of unit length of all texts [P, E]."""

    @abstractmethod
    def take_clip(self, state: Mapping[str, Tensor]) -> None:
        """Copy the weights of a CLIP (OpenAI's names) to where this network uses them; WeightsError when they do not fit."""

    def text_embeddings(self) -> Tensor:
        """`embed_texts`, computed once where nothing is trained: in evaluation mode without gradients."""
        if self.training or torch.is_grad_enabled():
            return self.embed_texts()
        circumstances = _circumstances(self)
        if self._texts is None or self._texts[0] != circumstances:
            self._texts = circumstances, self.embed_texts()
        return self._texts[1]

    def train(self, mode: bool = True) -> "ClipFaceNetwork":
        """As of every module; what was remembered of the texts is dropped."""
        self._texts = None
        super().train(mode)
        return self


def _forget_texts(network: nn.Module, _: object) -> None:
    """After other weights are loaded."""
    assert isinstance(network, ClipFaceNetwork)
    network._texts = None


def _circumstances(network: nn.Module) -> tuple[object, ...]:
    """What embeddings of the same texts can differ by: device, precision, and whether they may be trained through."""
    parameter = next(network.parameters())
    kind = parameter.device.type
    enabled = torch.is_autocast_enabled(kind)
    return (
        parameter.device, parameter.dtype, enabled and torch.get_autocast_dtype(kind), torch.is_inference_mode_enabled()
    )  # fmt: skip


def copy_clip(target: ClipNetwork, state: Mapping[str, Tensor]) -> None:
    """Put the weights of a CLIP state dict into `target`; WeightsError when they are of another shape."""
    target.load_state_dict(clip_of_state(state, target.shape).state_dict())


def unit(vectors: Tensor) -> Tensor:
    """Vectors [..., E] scaled to length 1, in float32."""
    return F.normalize(vectors.float(), dim=-1)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Products [..., P] of unit vectors [..., E] and [P, E], in float32 also where the towers run in less.

    A temperature of 0.01 would turn the rounding of bfloat16 into logits that are off by 0.4.
    """
    with torch.autocast(first.device.type, enabled=False):
        products: Tensor = first.float() @ second.float().T
    return products


def in_pieces(tower: nn.Module, pixels: Tensor) -> Tensor:
    """Images [B, T, 3, S, S] through a tower that takes [N, 3, S, S]: [B, T, E]."""
    features: Tensor = tower(pixels.flatten(0, 1))
    return features.view(*pixels.shape[:2], -1)


def tower_depth(parameter: str, shape: ClipShape) -> tuple[int, int]:
    """The layer of a parameter of an image tower, and the last one: patches and positions 0, block i at i + 1, the rest last."""
    last = shape.layers + 1
    if ".resblocks." in parameter:
        return int(parameter.partition(".resblocks.")[2].partition(".")[0]) + 1, last
    early = ("conv1", "class_embedding", "positional_embedding", "ln_pre")
    return (0 if any(name in parameter for name in early) else last), last
