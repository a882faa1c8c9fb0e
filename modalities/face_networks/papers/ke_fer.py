"""KE-FER (arXiv 2409.08598): faces matched with frozen texts, and told apart from their own neutral version.

Neither code nor the full text of the paper could be had: what the abstract says (matching with frozen text embeddings, a
transformation to the neutral face by the difference of the texts, contrast of a face with its neutral version, three weighted
losses) is kept; the form of the transformation and the weights are ours. Any encoder gives the faces: a ResNet-18 or a Swin-T
under torchvision's names, or CLIP's image tower.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.errors import InputError
from modalities.face_networks.class_texts import class_texts
from modalities.face_networks.parts.base import FaceAnswer, FaceInputs
from modalities.face_networks.parts.clip_face import ClipFaceNetwork, cosines, in_pieces, tower_depth, unit
from modalities.face_networks.parts.clip_tower import SHAPES, ClipShape, ImageTower, clip_of_state, tokens_of
from modalities.loading.state_dicts import JsonObject

Encoder = Literal["resnet18", "swin-t", "clip"]
WIDTHS = {"resnet18": 512, "swin-t": 768}
STAGES = {"resnet18": 4, "swin-t": 7}
NEUTRAL = "neutral"


class KeFerWeights(NamedTuple):
    """Weights of the losses: matching, transformation, self-contrast."""

    matching: float = 1.0
    transformation: float = 1.0
    contrast: float = 1.0


def matching_loss(faces: Tensor, texts: Tensor, targets: Tensor, temperature: Tensor | float) -> Tensor:
    """Cross entropy of the softmax over cosines of unit faces [B, E] and texts [C, E] with shares [B, C]."""
    return F.cross_entropy(cosines(faces, texts) / temperature, targets)


def transformation_loss(faces: Tensor, turned: Tensor, texts: Tensor, neutral_text: Tensor, shares: Tensor) -> Tensor:
    """How far the way from faces [B, E] to their neutral versions [B, E] departs from that between the texts [C, E].

    1 - cos(v_n - v, t_n - t_y) for an expression y; |v_n - v|^2 for a face that is neutral, whose text is the neutral one.
    """
    way, wanted = turned - faces, neutral_text - texts
    same = wanted.norm(dim=1) < 1e-6
    directions = 1 - F.cosine_similarity(way[:, None], wanted[None], dim=2)
    each = torch.where(same, way.square().sum(1, keepdim=True), directions)
    loss: Tensor = (shares * each).sum(1).mean()
    return loss


def contrast_loss(
    faces: Tensor, turned: Tensor, texts: Tensor, neutral_text: Tensor, shares: Tensor, temperature: Tensor | float
) -> Tensor:  # fmt: skip
    """-log of the share of a face's text against its own neutral version, over the faces that show an expression.

    softplus((cos(v, v_n) - cos(v, t_y)) / T); 0 where every face is neutral.
    """
    shown = shares * ((neutral_text - texts).norm(dim=1) >= 1e-6)
    own, text = (faces * turned).sum(1, keepdim=True), cosines(faces, texts)
    each = F.softplus((own - text) / temperature)
    loss: Tensor = (shown * each).sum() / shown.sum().clamp(min=1e-6)
    return loss


class NeutralTransformation(nn.Module):
    """A residual MLP E -> E -> E: the neutral version of a face's embedding, of unit length."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, faces: Tensor) -> Tensor:
        """Unit vectors [B, E] -> unit vectors [B, E]."""
        return unit(faces + self.inner(faces))


class KeFer(ClipFaceNetwork):
    """Normalised faces [B, T, 3, S, S] -> cosines with the texts [C, E] over a temperature; of a clip, the frames' mean.

    `text_embeddings` of the classes and of the neutral face are part of the state dict and never trained: no text tower is
    needed once they are there. `take_clip` brings them (and the encoder, where that is CLIP's); `take_texts` any others.
    """

    def __init__(
        self, texts: Sequence[str], neutral: str, encoder: Encoder = "resnet18", shape: ClipShape = SHAPES["ViT-B-16"], *,
        temperature: float = 0.07, learn_temperature: bool = False, weights: KeFerWeights | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.texts, self.kind, self.shape = (*texts, neutral), encoder, shape
        self.weights = weights or KeFerWeights()
        self.encoder = _encoder(encoder, shape)
        self.projection = nn.Identity() if encoder == "clip" else nn.Linear(WIDTHS[encoder], shape.embedding)
        self.transformation = NeutralTransformation(shape.embedding)
        self.known: Tensor
        self.register_buffer("known", torch.zeros(len(self.texts), shape.embedding))
        self.temperature = nn.Parameter(torch.tensor(temperature), requires_grad=learn_temperature)

    def embed_texts(self) -> Tensor:
        """Embeddings [C, E] of the classes' texts."""
        return self.known[:-1]

    def faces(self, pixels: Tensor) -> Tensor:
        """Unit embeddings [B, E] of normalised faces [B, T, 3, S, S]."""
        return unit(unit(self.projection(in_pieces(self.encoder, pixels))).mean(1))

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """Logits [B, C] and unit embeddings [B, E]; the transformation has no part in it."""
        faces = self.faces(inputs.pixels)
        return FaceAnswer(cosines(faces, self.embed_texts()) / self.temperature, faces)

    def loss(self, inputs: FaceInputs, targets: Tensor) -> dict[str, Tensor]:
        """The three losses, weighted."""
        faces = self.faces(inputs.pixels)
        turned, texts, neutral = self.transformation(faces), self.embed_texts(), self.known[-1]
        terms = (
            matching_loss(faces, texts, targets, self.temperature),
            transformation_loss(faces, turned, texts, neutral, targets),
            contrast_loss(faces, turned, texts, neutral, targets, self.temperature),
        )
        weighted = zip(KeFerWeights._fields, self.weights, terms, strict=True)
        return {name: weight * term for name, weight, term in weighted if weight}

    def take_texts(self, embeddings: Tensor) -> None:
        """Embeddings [C + 1, E] of the classes' texts and, last, of the neutral face; kept at unit length."""
        if embeddings.shape != self.known.shape:
            raise InputError(f"The texts' embeddings are {list(embeddings.shape)}; {list(self.known.shape)} are needed.")
        self.known.copy_(unit(embeddings.float()))

    @torch.no_grad()
    def take_clip(self, state: Mapping[str, Tensor]) -> None:
        """The texts through this CLIP's text tower; where the encoder is CLIP's image tower, its weights too."""
        clip = clip_of_state(state)
        self.take_texts(clip.encode_text(tokens_of(self.texts, clip.shape.context)))
        if self.kind == "clip":
            self.encoder.load_state_dict(clip.visual.state_dict())

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bare weights of torchvision's ResNet-18 or Swin-T (ImageNet) become the encoder's, without their classifier."""
        if any(key.startswith("encoder.") for key in tensors):
            return dict(tensors)
        return {f"encoder.{key}": value for key, value in tensors.items() if not key.startswith(("fc.", "head."))}

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """Stages of the encoder; projection and transformation are the last layer."""
        if self.kind == "clip":
            layer, last = tower_depth(parameter, self.shape)
            return (layer if parameter.startswith("encoder.") else last), last
        last = STAGES[self.kind] + 1
        name = parameter.removeprefix("encoder.")
        if name == parameter or name.startswith("norm."):
            return last, last
        digits = name.removeprefix("layer").removeprefix("features.").partition(".")[0]
        return (int(digits) if digits.isdecimal() else 0), last


def _encoder(kind: Encoder, shape: ClipShape) -> nn.Module:
    if kind == "clip":
        return ImageTower(shape)
    from torchvision.models import resnet18, swin_t

    encoder: nn.Module = {"resnet18": resnet18, "swin-t": swin_t}[kind](weights=None)
    setattr(encoder, "fc" if kind == "resnet18" else "head", nn.Identity())
    return encoder


def build(
    labels: Sequence[str] = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    encoder: Encoder = "resnet18", architecture: str = "ViT-B-16", prompts: JsonObject | None = None,
    shape: JsonObject | None = None, weights: Mapping[str, float] | None = None, **others: Any,
) -> KeFer:  # fmt: skip
    """The network for these labels; `prompts` is the content of a prompt file, which also has a text for 'neutral'."""
    positive = class_texts(prompts, [*labels, NEUTRAL]).positive
    sizes = SHAPES[architecture]._replace(**(shape or {}))
    return KeFer(positive[:-1], positive[-1], encoder, sizes, weights=KeFerWeights(**(weights or {})), **others)
