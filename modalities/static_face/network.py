"""The network of the static face: MobileNet on one grey face, with a narrow layer of features before the classifier."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.loading.state_dicts import JsonObject

IN_ONE = hasattr(torch.ops.mkldnn, "_convolution_pointwise")
"""Whether torch has convolutions with what follows them in one operation here, as its own compiler uses them."""


class StaticFaceShape(NamedTuple):
    """Sizes of the network: channels of the stem, channels and stride of each separable block, features, classes, dropout.

    As it stands: MobileNet 1.0 (Howard et al. 2017), 3.4 million parameters with the layer of features.
    """

    stem: int = 32
    widths: tuple[int, ...] = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    features: int = 192
    classes: int = 8
    dropout: float = 0.3

    @classmethod
    def of(cls, settings: JsonObject) -> "StaticFaceShape":
        """The shape that a checkpoint's settings give; KeyError and TypeError when they give another network's."""
        return cls(**settings | {"widths": tuple(settings["widths"]), "strides": tuple(settings["strides"])})


def resize(pixels: Tensor, size: int) -> Tensor:
    """Images [B, C, H, W] -> [B, C, size, size], each new pixel from the whole area that it covers."""
    if pixels.shape[2:] == (size, size):
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def standardise(pixels: Tensor) -> Tensor:
    """Grey pixels [B, 1, H, W] in 0..1 -> mean 0 and deviation about 1 in each image; flat images stay near 0."""
    mean = pixels.mean((2, 3), keepdim=True)
    return (pixels - mean) / (pixels.std((2, 3), keepdim=True) + 0.02)


class ConvNorm(nn.Module):
    """A convolution without bias, its batch normalisation, and ReLU6; `fold` makes one convolution of the first two.

    A stride of 2 pads below and to the right only, as TensorFlow does, where the weights to start from were made.
    """

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out)
        self.turned = False

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]."""
        if self.turned and IN_ONE and x.device.type == "cpu" and not torch.is_grad_enabled():
            return self._in_one(x)
        return F.relu6(self.norm(self.convolve(x)), inplace=not self.training)

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution alone, padded."""
        conv = self.conv
        if conv.stride[0] == 1:
            return conv(x)  # type: ignore[no-any-return]
        if self.turned:
            return F.conv2d(x, conv.weight, conv.bias, conv.stride, self._padding(x), 1, conv.groups)
        return conv(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]

    def _in_one(self, x: Tensor) -> Tensor:
        """Convolution and ReLU6 of a layer that is turned as one operation, which spares writing and reading the maps once more;
        the same numbers, a quarter less time."""
        conv = self.conv
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, conv.weight, conv.bias, self._padding(x), conv.stride, conv.dilation, conv.groups, "hardtanh", [0.0, 6.0], ""
        )
        return found

    def _padding(self, x: Tensor) -> list[int]:
        """Of a layer that is turned: of stride 2 one before an even side, none before an odd one; what is added after the last is
        not reached."""
        stride = self.conv.stride[0]
        return [self.conv.kernel_size[0] // 2 if stride == 1 else 1 - side % 2 for side in x.shape[2:]]

    @property
    def depthwise(self) -> bool:
        """True where every channel has a filter of its own."""
        return self.conv.groups > 1

    def fold(self) -> None:
        """Move the normalisation into the convolution's weights; only in eval mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()

    def turn(self) -> None:
        """Turn the kernels by 180 degrees, for images that are turned too.

        What has to be padded then comes first, as convolutions do themselves: no copy of the maps, a quarter less time.
        """
        self.conv.weight = nn.Parameter(self.conv.weight.flip(2, 3), requires_grad=False)
        self.turned = True


class StaticFaceNetwork(nn.Module):
    """Grey faces [B, 1, S, S], standardised per image (S a multiple of 16, 112 as trained) -> logits and features."""

    def __init__(self, shape: StaticFaceShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or StaticFaceShape()
        layers, channels = [ConvNorm(1, shape.stem, stride=2)], shape.stem
        for width, stride in zip(shape.widths, shape.strides, strict=True):
            layers += [ConvNorm(channels, channels, stride=stride, groups=channels), ConvNorm(channels, width, 1)]
            channels = width
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(shape.dropout)
        self.embedding = nn.Linear(channels, shape.features)
        self.head = nn.Linear(shape.features, shape.classes)
        self.turned = False

    def forward(self, x: Tensor, frozen: int = 0) -> tuple[Tensor, Tensor]:
        """Logits [B, classes] and features [B, D]; no gradient is computed for the first `frozen` layers."""
        x = x.flip(2, 3).contiguous(memory_format=torch.channels_last) if self.turned else x
        with torch.no_grad():
            for layer in self.layers[:frozen]:
                x = layer(x)
        for layer in self.layers[frozen:]:
            x = self._in_float32(layer, x) if self.training and layer.depthwise else layer(x)
        pooled = x.mean((2, 3)).to(self.embedding.weight.dtype)  # the layers before may be in half precision
        features = F.relu(self.embedding(self.dropout(pooled)))
        return self.head(features), features

    @staticmethod
    def _in_float32(layer: nn.Module, x: Tensor) -> Tensor:
        """Gradients of depthwise convolutions in bfloat16 are several times slower than in float32 on processors."""
        with torch.autocast(x.device.type, enabled=False):
            return layer(x.float())  # type: ignore[no-any-return]

    def folded(self) -> "StaticFaceNetwork":
        """Make the network ready for inference: normalisations within the convolutions, kernels turned; returns itself."""
        self.eval()
        for layer in self.layers:
            layer.fold()  # type: ignore[operator]
            layer.turn()  # type: ignore[operator]
        self.turned = True
        return self
