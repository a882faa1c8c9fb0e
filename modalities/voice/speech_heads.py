"""Heads over the hidden states of a speech encoder: those of RAS (arXiv 2507.02205) under the authors' key names, and ours.

Every head takes hidden states [B, T, D] and gives logits [B, C] and features [B, F].
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTENTION_HEADS = 4
UNCERTAIN_TEMPERATURE = 1.5
"""What RAS divides the means of its fifth variant by, before the softmax."""


class HeadAnswer(NamedTuple):
    """Logits [B, C], features [B, F]."""

    logits: Tensor
    features: Tensor


def stacked(*widths: int) -> nn.Sequential:
    """Linear layers from width to width, with ReLU, layer norm and dropout between them."""
    layers: list[nn.Module] = []
    for before, after in zip(widths[:-2], widths[1:-1], strict=True):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.LayerNorm(after), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def projected(*widths: int) -> nn.Sequential:
    """The same with ReLU, layer norm and dropout after the last one too."""
    layers = list(stacked(*widths))
    return nn.Sequential(*layers, nn.ReLU(), nn.LayerNorm(widths[-1]), nn.Dropout(0.3))


class ResidualLstm(nn.Module):
    """A bidirectional LSTM, projected back and added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> the same."""
        answer: Tensor = self.norm(self.projection(self.lstm(x)[0]) + x)
        return answer


class AttentionPooling(nn.Module):
    """Mean over time under weights that the frames themselves give."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, D]."""
        weights: Tensor = self.attention(x).softmax(1)
        return (weights * x).sum(1)


class RecurrentTail(nn.Module):
    """Self-attention, bidirectional GRU, mean over time, layer norm, three linear layers."""

    def __init__(self, width: int, middle: int, last: int, classes: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, ATTENTION_HEADS, batch_first=True)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.layernorm = nn.LayerNorm(2 * width)
        self.classifier = stacked(2 * width, middle, last, classes)

    def forward(self, x: Tensor) -> HeadAnswer:
        """See the module."""
        mixed = self.attention(x, x, x, need_weights=False)[0]
        pooled = self.layernorm(self.gru(mixed)[0].mean(1))
        return HeadAnswer(self.classifier(pooled), pooled)


class GruHead(nn.Module):
    """RAS's third variant over WavLM."""

    def __init__(self, width: int, middle: int, last: int, classes: int) -> None:
        super().__init__()
        self.classifier = RecurrentTail(width, middle, last, classes)

    def forward(self, x: Tensor) -> HeadAnswer:
        """See the module."""
        answer: HeadAnswer = self.classifier(x)
        return answer


class LstmHead(nn.Module):
    """RAS's fourth variant over WavLM: residual LSTM, attention pooling, three linear layers."""

    def __init__(self, width: int, middle: int, last: int, classes: int) -> None:
        super().__init__()
        self.sequence_model = ResidualLstm(width)
        self.pooling = AttentionPooling(width)
        self.classifier = stacked(width, middle, last, classes)

    def forward(self, x: Tensor) -> HeadAnswer:
        """See the module."""
        pooled = self.pooling(self.sequence_model(x))
        return HeadAnswer(self.classifier(pooled), pooled)


class SeveralHeads(nn.Module):
    """RAS's heads side by side over one LSTM: the first alone answers over WavLM, their mean over Whisper (`averaged`)."""

    def __init__(self, width: int, middle: int, last: int, classes: int, heads: int, averaged: bool) -> None:
        super().__init__()
        self.sequence_model = ResidualLstm(width)
        self.pooling = AttentionPooling(width)
        self.heads = nn.ModuleList([stacked(width, middle, last, classes) for _ in range(heads)])
        self.averaged = averaged

    def forward(self, x: Tensor) -> HeadAnswer:
        """See the module."""
        pooled = self.pooling(self.sequence_model(x))
        logits = self.each(pooled)
        return HeadAnswer(logits.mean(0) if self.averaged else logits[0], pooled)

    def each(self, pooled: Tensor) -> Tensor:
        """Logits [H, B, C] of every head from what was pooled [B, D]."""
        return torch.stack([head(pooled) for head in self.heads])


class ThirdsOfTime(nn.Module):
    """Self-attention within each third of the time (what is left over is dropped), their means joined and projected."""

    def __init__(self, width: int, middle: int, last: int) -> None:
        super().__init__()
        self.segment_attn = nn.ModuleList(
            [nn.MultiheadAttention(width, ATTENTION_HEADS, batch_first=True) for _ in range(3)])
        self.relational_fc = projected(3 * width, middle, last)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, F]."""
        third = x.shape[1] // 3
        parts = [x[:, number * third : (number + 1) * third] for number in range(3)]
        means = [attend(part, part, part, need_weights=False)[0].mean(1)
                 for attend, part in zip(self.segment_attn, parts, strict=True)]
        answer: Tensor = self.relational_fc(torch.cat(means, 1))
        return answer


class Gaussians(nn.Module):
    """A mean and a log-variance (within 3 of 0) for each class."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.mu_layer = nn.Linear(width, classes)
        self.logvar_layer = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F] -> means and log-variances [B, C]."""
        return self.mu_layer(x), self.logvar_layer(x).clamp(-3.0, 3.0)


class UncertainHead(nn.Module):
    """RAS's fifth variant over WavLM, the one in its final fusions; the softmax of its logits is what it calls probabilities."""

    def __init__(self, width: int, middle: int, last: int, classes: int) -> None:
        super().__init__()
        self.temporal_module = ThirdsOfTime(width, middle, last)
        self.global_fc = projected(width, last)
        self.combined_fc = projected(2 * last, last)
        self.uncertainty_head = Gaussians(last, classes)

    def forward(self, x: Tensor) -> HeadAnswer:
        """See the module."""
        features = self.combined_fc(torch.cat([self.temporal_module(x), self.global_fc(x.mean(1))], 1))
        return HeadAnswer(self.uncertainty_head(features)[0] / UNCERTAIN_TEMPERATURE, features)


def ras_head(state: Mapping[str, Tensor], averaged: bool) -> nn.Module:
    """The head whose keys `state` has (without the encoder's), with its weights.

    `averaged`: what several heads say is averaged (Whisper). KeyError or RuntimeError when the keys or shapes are of no
    variant of RAS.
    """
    if "classifier.gru.weight_ih_l0" in state:
        head: nn.Module = GruHead(state["classifier.gru.weight_hh_l0"].shape[1], *_widths(state, "classifier.classifier."))
    elif "temporal_module.relational_fc.0.weight" in state:
        middle, wide = state["temporal_module.relational_fc.0.weight"].shape
        classes, last = state["uncertainty_head.mu_layer.weight"].shape
        head = UncertainHead(wide // 3, middle, last, classes)
    elif "heads.0.0.weight" in state:
        heads = len({key.split(".")[1] for key in state if key.startswith("heads.")})
        head = SeveralHeads(state["sequence_model.norm.weight"].shape[0], *_widths(state, "heads.0."), heads, averaged)
    else:
        head = LstmHead(state["sequence_model.norm.weight"].shape[0], *_widths(state, "classifier."))
    head.load_state_dict(dict(state))
    return head


def _widths(state: Mapping[str, Tensor], prefix: str) -> tuple[int, int, int]:
    """What the three linear layers below `prefix` give: the middle widths and the number of classes."""
    first, second, third = (state[f"{prefix}{place}.weight"].shape[0] for place in (0, 4, 8))
    return first, second, third


class LayeredHead(nn.Module):
    """Our head: a learnt mixture of all layers' normalised states, attentive statistics over time, two linear layers.

    The mixture follows SUPERB (Yang et al. 2021), the pooling Okabe et al. 2018.
    """

    def __init__(self, layers: int, width: int, middle: int = 192, embedding: int = 128, classes: int = 7,
                 dropout: float = 0.3) -> None:
        super().__init__()
        self.settings = {"layers": layers, "width": width, "middle": middle, "embedding": embedding, "classes": classes,
                         "dropout": dropout}
        self.layers = nn.Parameter(torch.zeros(layers))
        self.project = nn.Sequential(nn.Linear(width, middle), nn.GELU(), nn.Dropout(dropout))
        self.attention = nn.Sequential(nn.Linear(middle, 64), nn.Tanh(), nn.Linear(64, 1))
        self.embed = nn.Sequential(nn.Linear(2 * middle, embedding), nn.SiLU())
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(embedding, classes))

    def forward(self, states: Tensor, mask: Tensor) -> HeadAnswer:
        """Answers to normalised states [B, L, T, D]; `mask` [B, T] is True for frames of speech, one or more each."""
        x = self.project(torch.einsum("l,bltd->btd", self.layers.softmax(0), states))
        weights = self.attention(x).masked_fill(~mask[..., None], -torch.inf).softmax(1)
        mean = (weights * x).sum(1)
        deviation = ((weights * x.square()).sum(1) - mean.square()).clamp_min(1e-4).sqrt()
        features = self.embed(torch.cat([mean, deviation], 1))
        return HeadAnswer(self.classify(features), features)


def pooled_layers(states: Tensor, mask: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """States [B, L, T, D], each normalised over D, averaged over every `frames` frames of speech, and the mask that is left.

    Layers differ in scale by orders of magnitude; and emotion changes slowly beside the encoders' 50 frames a second.
    """
    count, layers, length, width = states.shape
    missing = -length % frames
    exact = F.pad(F.layer_norm(states.float(), [width]) * mask[:, None, :, None], (0, 0, 0, missing))
    counts = F.pad(mask, (0, missing)).view(count, -1, frames).sum(2)
    return exact.view(count, layers, -1, frames, width).sum(3) / counts.clamp_min(1)[:, None, :, None], counts > 0
