"""Where the training of the static face starts: a MobileNet that was trained to tell people apart (VGGFace2)."""

import json
import tarfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from data.errors import WeightsError
from modalities.model_store.local import archive_file
from modalities.static_face.network import ConvNorm, StaticFaceNetwork

MODEL = "mobilenet-vggface2"
MEMBER = "package/models/faceres"
GREY_LEVELS = 64.0
"""What one unit of a standardised image is in grey levels of 0 to 255: about the deviation in a face image."""


def archive_path() -> Path:
    """The npm archive that holds the weights, in Dyad's folder of models; WeightsError with the command that fetches it."""
    return archive_file(MODEL, "The training starts from", ", or pass --start random")


def read_weights(archive: Path) -> dict[str, Tensor]:
    """Tensors by name of a TensorFlow.js graph model in an npm archive, as float32; WeightsError when it holds none."""
    try:
        with tarfile.open(archive) as file:
            manifest = json.loads(_member(file, f"{MEMBER}.json"))
            content = _member(file, f"{MEMBER}.bin")
        rows = [row for group in manifest["weightsManifest"] for row in group["weights"]]
        return _cut_tensors(rows, content)
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{archive} does not hold {MEMBER}.json and .bin as Dyad knows them ({error}); remove it and run "
            f"'dyad models download {MODEL}'."
        ) from error


class TensorRow(TypedDict, total=False):
    """What the model's JSON says of one tensor of the file beside it."""

    name: str
    shape: list[int]
    dtype: str
    quantization: dict[str, str]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """The content of a file in an archive; KeyError where it is no file."""
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(name)
    return stream.read()


def _cut_tensors(rows: list[TensorRow], content: bytes) -> dict[str, Tensor]:
    """Cut the file into its tensors: float32, float32 kept as float16, and int32."""
    found, offset = {}, 0
    for row in rows:
        kind = row.get("quantization", {}).get("dtype", row["dtype"])
        if kind not in ("float32", "float16", "int32"):
            raise ValueError(f"numbers of the kind {kind}")
        dtype, count = np.dtype(kind), prod(row["shape"])
        values = np.frombuffer(content, dtype, count, offset)
        found[row["name"]] = torch.from_numpy(values.astype(np.float32).reshape(row["shape"]))
        offset += count * dtype.itemsize
    return found


def layer_weights(weights: Mapping[str, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """Kernel [out, in, K, K] and bias [out] of the network's layer `number`, for standardised grey images.

    The file has its normalisations within the kernels, but for the scale of the depthwise ones. A grey image is the same in
    all three channels, so that the first kernel is summed over them.
    """
    if number == 0:
        first = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
        return first.sum(1, keepdim=True) * GREY_LEVELS, weights["conv1_bn/batchnorm_1/sub"].flatten()
    block = (number + 1) // 2
    if number % 2:
        scale = weights[f"conv_dw_{block}_bn/batchnorm_1/mul"].flatten()
        kernel = weights[f"conv_dw_{block}/depthwise_kernel"].permute(2, 3, 0, 1) * scale[:, None, None, None]
        return kernel, weights[f"conv_dw_{block}_bn/batchnorm_1/sub"].flatten()
    kernel = weights[f"conv_pw_{block}/convolution/merged_input"].permute(3, 2, 0, 1)
    return kernel, weights[f"conv_pw_{block}_bn/batchnorm_1/sub"].flatten()


@torch.no_grad()
def start_from(network: StaticFaceNetwork, weights: Mapping[str, Tensor], pixels: Tensor) -> None:
    """Give `network` the convolutions of `weights`; the layers after the pooling stay as they are.

    The normalisations are set from standardised `pixels` [N, 1, S, S] so that the network computes what the weights compute,
    and every channel is normalised from the first step on. WeightsError for weights of another shape.
    """
    try:
        for number, layer in enumerate(network.layers):
            pixels = _start_layer(layer, *layer_weights(weights, number), pixels)  # type: ignore[arg-type]
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"The weights to start from are not of this network ({error}).") from error


def _start_layer(layer: ConvNorm, kernel: Tensor, bias: Tensor, pixels: Tensor) -> Tensor:
    """Set one layer from its kernel and bias, and return what it makes of `pixels`, which the next one is set from."""
    layer.conv.weight.copy_(kernel)
    maps = layer.convolve(pixels)
    mean, variance, norm = maps.mean((0, 2, 3)), maps.var((0, 2, 3)), layer.norm
    assert isinstance(norm, torch.nn.BatchNorm2d)  # before folding it always is
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(bias + mean)
    return F.relu6(maps + bias[:, None, None])
