"""The network of the static face: a narrow residual CNN with squeeze-and-excitation on a grey face of 48x48 pixels."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)


class StaticFaceShape(NamedTuple):
    """Sizes of the network: channels of stem and stages, residual blocks of each stage, classes, regularisation."""

    stem: int = 24
    widths: tuple[int, ...] = (48, 96, 192)
    depths: tuple[int, ...] = (2, 2, 2)
    classes: int = 8
    drop_path: float = 0.05
    dropout: float = 0.2


def resize(pixels: Tensor, size: int) -> Tensor:
    """Pictures [B, C, H, W] -> [B, C, size, size], each new pixel from the whole area that it covers."""
    if pixels.shape[2:] == (size, size):
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def standardise(pixels: Tensor) -> Tensor:
    """Grey pixels [B, 1, H, W] in 0..1 -> mean 0 and deviation about 1 in each picture; flat pictures stay near 0."""
    mean = pixels.mean((2, 3), keepdim=True)
    return (pixels - mean) / (pixels.std((2, 3), keepdim=True) + 0.02)


class SqueezeExcite(nn.Module):
    """Channel gates from the mean over the picture (Hu et al. 2018): [B, C, H, W] -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 8)
        self.excite = nn.Linear(channels // 8, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale every channel by its gate in 0..1."""
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * gates[:, :, None, None]


class ConvNorm(nn.Module):
    """A convolution without bias and its batch normalisation; `fold` makes one convolution of the two for inference."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]

    def fold(self) -> None:
        """Move the normalisation into the convolution's weights; only in eval mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Residual(nn.Module):
    """Two 3x3 convolutions, gates, and a shortcut, pooled and projected where the shape changes (He et al. 2016)."""

    def __init__(self, channels: int, out: int, stride: int, drop_path: float) -> None:
        super().__init__()
        self.first = ConvNorm(channels, out, stride=stride)
        self.second = ConvNorm(out, out)
        self.gate = SqueezeExcite(out)
        pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        same = channels == out and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else nn.Sequential(pool, ConvNorm(channels, out, 1))
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]; in training whole branches are dropped at random."""
        branch = self.gate(self.second(F.relu(self.first(x))))
        if self.training and self.drop_path:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
            branch = branch * (kept / (1 - self.drop_path)).to(branch.dtype)
        return F.relu(branch + self.shortcut(x))


class StaticFaceNetwork(nn.Module):
    """Grey faces [B, 1, S, S], standardised per picture (S is 48; any multiple of 8 works) -> logits and features."""

    def __init__(self, shape: StaticFaceShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or StaticFaceShape()
        first, second = ConvNorm(1, shape.stem), ConvNorm(shape.stem, shape.widths[0], stride=2)
        self.stem = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        blocks: list[nn.Module] = []
        channels, total = shape.widths[0], sum(shape.depths)
        for stage, (width, depth) in enumerate(zip(shape.widths, shape.depths, strict=True)):
            for place in range(depth):
                stride = 2 if stage and not place else 1
                blocks.append(Residual(channels, width, stride, shape.drop_path * len(blocks) / total))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Linear(channels, shape.classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, classes] and features [B, D] (mean over the last map, before the classifier)."""
        features = self.blocks(self.stem(x)).mean((2, 3))
        return self.head(self.dropout(features)), features

    def folded(self) -> "StaticFaceNetwork":
        """Put the network into eval mode with every normalisation folded into its convolution; returns itself."""
        self.eval()
        for module in list(self.modules()):
            if isinstance(module, ConvNorm):
                module.fold()
        return self
