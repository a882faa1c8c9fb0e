"""EmoAffectNet, a ResNet-50 for faces (Ryumina et al., Neurocomputing 2022), and AVCER's LSTM over it (arXiv 2403.12687).

Both are TensorFlow networks that their authors carried over to torch, with TensorFlow's paddings. Names are those of the release.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.face_networks.parts.base import FaceAnswer, FaceInputs, FaceNetwork
from modalities.loading.state_dicts import JsonObject

EXPANSION = 4
LAYERS = (3, 4, 6, 3)
RECURRENT = ("lstm1.", "lstm2.", "fc.")
"""Beginnings of the keys of AVCER's LSTM; all others are those of the ResNet."""


class SameConv2d(nn.Conv2d):
    """A convolution whose output has a stride-th of the input's size, rounded up: an odd rest of padding goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]."""
        sizes = zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True)
        pads = [_same_padding(size, kernel, stride) for size, kernel, stride in sizes]
        return F.conv2d(F.pad(x, [side for pad in pads for side in pad]), self.weight, self.bias, self.stride)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a residual; the stride is the first one's."""

    def __init__(self, width: int, inner: int, stride: int, project: bool) -> None:
        super().__init__()
        out = EXPANSION * inner
        self.conv1, self.batch_norm1 = nn.Conv2d(width, inner, 1, stride, bias=False), _batch_norm(inner)
        self.conv2, self.batch_norm2 = nn.Conv2d(inner, inner, 3, padding="same", bias=False), _batch_norm(inner)
        self.conv3, self.batch_norm3 = nn.Conv2d(inner, out, 1, bias=False), _batch_norm(out)
        self.i_downsample = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), _batch_norm(out)) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> [B, 4 inner, H / stride, W / stride]."""
        kept = x if self.i_downsample is None else self.i_downsample(x)
        x = self.batch_norm1(self.conv1(x)).relu()
        x = self.batch_norm2(self.conv2(x)).relu()
        answer: Tensor = (self.batch_norm3(self.conv3(x)) + kept).relu()
        return answer


class EmoAffectNet(FaceNetwork):
    """Images whose channels are blue, green, red in 0..255 with their means taken out -> 7 classes."""

    def __init__(self, layers: Sequence[int] = LAYERS, width: int = 64, features: int = 512, classes: int = 7) -> None:
        super().__init__()
        self.conv_layer_s2_same = SameConv2d(3, width, 7, 2, bias=False)
        self.batch_norm1 = _batch_norm(width)
        before = width
        for number, count in enumerate(layers):
            inner = width * 2**number
            strides = [1 if number == 0 else 2] + [1] * (count - 1)
            widths = [before] + [EXPANSION * inner] * (count - 1)
            blocks = [Bottleneck(w, inner, s, index == 0) for index, (w, s) in enumerate(zip(widths, strides, strict=True))]
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
            before = EXPANSION * inner
        self.fc1, self.fc2 = nn.Linear(before, features), nn.Linear(features, classes)

    def features(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 512], before the ReLU that the classifier puts on them."""
        x = self.batch_norm1(self.conv_layer_s2_same(images)).relu()
        x = F.max_pool2d(x, 3, 2)
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        found: Tensor = self.fc1(x.mean((2, 3)))
        return found

    def forward(self, images: Tensor) -> FaceAnswer:
        """[B, 3, H, W] -> logits [B, 7] and the features they come from [B, 512], after the ReLU."""
        features = self.features(images).relu()
        return FaceAnswer(self.fc2(features), features)

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """See `FaceNetwork`; of a clip every frame is answered, and logits and features are averaged."""
        logits, features = self(inputs.pixels.flatten(0, 1))
        clips = inputs.pixels.shape[:2]
        return FaceAnswer(logits.view(*clips, -1).mean(1), features.view(*clips, -1).mean(1))

    def depth_of(self, parameter: str) -> tuple[int, int]:
        """Stem 0, the four layers, the classifier."""
        first = parameter.split(".")[0]
        return (int(first[5:]) if first.startswith("layer") else 5 if first.startswith("fc") else 0), 6


class AvcerLstm(nn.Module):
    """Two LSTMs over frame features, the last step's answer."""

    def __init__(self, features: int = 512, hidden: int = 512, last: int = 256, classes: int = 7) -> None:
        super().__init__()
        self.lstm1 = nn.LSTM(features, hidden, batch_first=True)
        self.lstm2 = nn.LSTM(hidden, last, batch_first=True)
        self.fc = nn.Linear(last, classes)

    def forward(self, features: Tensor) -> FaceAnswer:
        """[B, T, features], ReLU already on them, -> logits [B, 7] and the last state [B, 256]."""
        states = self.lstm2(self.lstm1(features)[0])[0][:, -1]
        return FaceAnswer(self.fc(states), states)


class AvcerDynamic(FaceNetwork):
    """AVCER's dynamic model: EmoAffectNet, frozen, on 10 frames a fifth of a second apart, and the LSTM over its features."""

    def __init__(self, trunk: EmoAffectNet, head: AvcerLstm) -> None:
        super().__init__()
        self.trunk, self.head = trunk.requires_grad_(False), head

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """See `FaceNetwork`."""
        with torch.no_grad():
            features = self.trunk.features(inputs.pixels.flatten(0, 1)).relu()
        answer: FaceAnswer = self.head(features.view(*inputs.pixels.shape[:2], -1))
        return answer

    def train(self, mode: bool = True) -> "AvcerDynamic":
        """As of every module; the frozen trunk keeps the statistics of its batch norms."""
        super().train(mode)
        self.trunk.eval()
        return self

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The authors' two files, of the ResNet and of the LSTM, under the parts they are of."""
        if any(key.startswith(("trunk.", "head.")) for key in tensors):
            return dict(tensors)
        return {("head." if key.startswith(RECURRENT) else "trunk.") + key: value for key, value in tensors.items()}


def build(**settings: Any) -> EmoAffectNet:
    """An EmoAffectNet of these sizes: `layers`, `width`, `features`, `classes`."""
    return EmoAffectNet(**settings)


def build_dynamic(
    trunk: JsonObject | None = None, head: JsonObject | None = None, classes: int = 7
) -> AvcerDynamic:
    """AVCER's dynamic model with a trunk and a head of these sizes, the head for as many classes."""
    return AvcerDynamic(EmoAffectNet(**(trunk or {})), AvcerLstm(**{"classes": classes, **(head or {})}))


def _batch_norm(width: int) -> nn.BatchNorm2d:
    # momentum 0.01: TensorFlow's 0.99 counts the old statistics, torch the new ones
    return nn.BatchNorm2d(width, eps=0.001, momentum=0.01)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
