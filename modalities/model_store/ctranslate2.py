"""Whisper as CTranslate2 keeps it (`model.bin`), turned into safetensors with the names of openai-whisper's own network."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.errors import WeightsError
from data.files import atomic_path

TYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
"""Numpy's names of CTranslate2's types of numbers, by their code."""
FRAMES, TOKENS = 1500, 448
"""Positions of Whisper's encoder and decoder, of every size."""
HEAD = 64
"""Width of an attention head, in every size."""
Tensors = dict[str, NDArray[np.generic]]


def convert_whisper(model: Path, output: Path) -> None:
    """Write `output`, as `modalities.transcript.whisper.load` reads it; WeightsError when `model` is no whole Whisper."""
    from safetensors.numpy import save_file

    try:
        found = read_tensors(model)
        dims = _dims(found)
        tensors = dict(_renamed(found, dims))
    except (struct.error, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise WeightsError(f"{model.name} is no whole Whisper in CTranslate2's form ({error}); fetch it again.") from error
    _check_shapes(tensors, dims, model)
    with atomic_path(output) as aside:
        # One entry alone: the order of several is not fixed, and the file's digest has to be the same on every machine.
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, aside, {"dims": json.dumps(dims)})
        aside.chmod(0o644)


def read_tensors(model: Path) -> Tensors:
    """Tensors of a `model.bin` by name; ValueError or struct.error where it ends too early or is something else."""
    with model.open("rb") as stream:

        def number(form: str) -> int:
            return int(struct.unpack(f"<{form}", stream.read(struct.calcsize(form)))[0])

        def name() -> str:
            return stream.read(number("H")).rstrip(b"\0").decode()

        if number("I") != 6 or name() != "WhisperSpec":
            raise ValueError("its version or its kind is another")
        number("I")  # the specification's revision
        tensors: Tensors = {}
        for _ in range(number("I")):
            title = name()
            shape = [number("I") for _ in range(number("B"))]
            kind = np.dtype(TYPES[number("B")])
            tensors[title] = np.frombuffer(stream.read(number("I")), kind).reshape(shape)
    return tensors


def _dims(found: Tensors) -> dict[str, int]:
    """What openai-whisper calls a network's dimensions."""
    width, bands, _ = found["encoder/conv1/weight"].shape

    def layers(side: str) -> int:
        return sum(name.startswith(f"{side}/layer_") and name.endswith("ffn/linear_0/weight") for name in found)

    return {
        "n_mels": bands, "n_audio_ctx": FRAMES, "n_audio_state": width, "n_audio_head": width // HEAD,
        "n_audio_layer": layers("encoder"), "n_vocab": found["decoder/embeddings/weight"].shape[0], "n_text_ctx": TOKENS,
        "n_text_state": width, "n_text_head": width // HEAD, "n_text_layer": layers("decoder"),
    }  # fmt: skip


def _renamed(found: Tensors, dims: dict[str, int]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """The tensors under openai-whisper's names; queries, keys and values, which lie in one, taken apart (keys have no bias)."""
    width = dims["n_audio_state"]

    def norm(ours: str, theirs: str) -> Iterator[tuple[str, NDArray[np.generic]]]:
        yield f"{ours}.weight", found[f"{theirs}/gamma"]
        yield f"{ours}.bias", found[f"{theirs}/beta"]

    def linear(ours: str, theirs: str, part: slice = slice(None), bias: bool = True) -> Iterator[tuple[str, NDArray[np.generic]]]:
        yield f"{ours}.weight", found[f"{theirs}/weight"][part]
        if bias:
            yield f"{ours}.bias", found[f"{theirs}/bias"][part]

    first, second, third = slice(0, width), slice(width, 2 * width), slice(2 * width, 3 * width)
    for name in ("conv1", "conv2"):
        yield from linear(f"encoder.{name}", f"encoder/{name}")
    yield "encoder.positional_embedding", found["encoder/position_encodings/encodings"]
    yield "decoder.positional_embedding", found["decoder/position_encodings/encodings"]
    yield "decoder.token_embedding.weight", found["decoder/embeddings/weight"]
    yield from norm("encoder.ln_post", "encoder/layer_norm")
    yield from norm("decoder.ln", "decoder/layer_norm")
    for side, layers in (("encoder", dims["n_audio_layer"]), ("decoder", dims["n_text_layer"])):
        for layer in range(layers):
            ours, theirs = f"{side}.blocks.{layer}", f"{side}/layer_{layer}"
            yield from norm(f"{ours}.attn_ln", f"{theirs}/self_attention/layer_norm")
            yield from linear(f"{ours}.attn.query", f"{theirs}/self_attention/linear_0", first)
            yield from linear(f"{ours}.attn.key", f"{theirs}/self_attention/linear_0", second, bias=False)
            yield from linear(f"{ours}.attn.value", f"{theirs}/self_attention/linear_0", third)
            yield from linear(f"{ours}.attn.out", f"{theirs}/self_attention/linear_1")
            if side == "decoder":
                yield from norm(f"{ours}.cross_attn_ln", f"{theirs}/attention/layer_norm")
                yield from linear(f"{ours}.cross_attn.query", f"{theirs}/attention/linear_0")
                yield from linear(f"{ours}.cross_attn.key", f"{theirs}/attention/linear_1", first, bias=False)
                yield from linear(f"{ours}.cross_attn.value", f"{theirs}/attention/linear_1", second)
                yield from linear(f"{ours}.cross_attn.out", f"{theirs}/attention/linear_2")
            yield from norm(f"{ours}.mlp_ln", f"{theirs}/ffn/layer_norm")
            yield from linear(f"{ours}.mlp.0", f"{theirs}/ffn/linear_0")
            yield from linear(f"{ours}.mlp.2", f"{theirs}/ffn/linear_1")


def _check_shapes(tensors: Tensors, dims: dict[str, int], model: Path) -> None:
    """Compare names and shapes with those of the network that the dimensions describe, which is made without memory."""
    import torch
    from whisper.model import AudioEncoder, TextDecoder

    bands, *encoder, tokens = list(dims.values())[:6]
    with torch.device("meta"):
        parts = {"encoder": AudioEncoder(bands, *encoder), "decoder": TextDecoder(tokens, *list(dims.values())[6:])}
    wanted = {f"{side}.{name}": tuple(value.shape) for side, part in parts.items() for name, value in part.state_dict().items()}
    shapes = {name: value.shape for name, value in tensors.items()}
    wrong = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
    if wrong:
        name = wrong[0]
        raise WeightsError(f"{model.name} does not fit Whisper: {name} is {shapes.get(name)}, not {wanted.get(name)}.")
