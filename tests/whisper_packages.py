"""A tiny Whisper as CTranslate2 keeps it, and wheels that hold it in parts, as the Python index has them of the real one."""

import hashlib
import struct
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from modalities.model_store.ctranslate2 import convert_whisper
from modalities.model_store.table import ModelFile, Package, PinnedModel


def tiny_network(seed: int = 0, layers: int = 1) -> "torch.nn.Module":
    """A multilingual Whisper of one head, `layers` in the encoder and one in the decoder, in the numbers of half precision."""
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(seed)
    network = Whisper(ModelDimensions(80, 1500, 64, 1, layers, 51865, 448, 64, 1, 1))
    torch.nn.init.normal_(network.decoder.positional_embedding)
    return network.half().float()


def save_ctranslate2(path: Path, network: "torch.nn.Module", name: str = "WhisperSpec") -> Path:
    """Write a network's `model.bin`: queries, keys and values in one matrix, keys with a bias of zeros."""
    state = {key: value.half().numpy() for key, value in network.state_dict().items()}
    dims = asdict(network.dims)
    tensors: dict[str, np.ndarray] = {"encoder/num_heads": np.array(1, np.int16), "decoder/activation": np.array(0, np.int8)}

    def norm(theirs: str, ours: str) -> None:
        tensors[f"{theirs}/gamma"], tensors[f"{theirs}/beta"] = state[f"{ours}.weight"], state[f"{ours}.bias"]

    def linear(theirs: str, *ours: str) -> None:
        tensors[f"{theirs}/weight"] = np.concatenate([state[f"{part}.weight"] for part in ours])
        biases = [state.get(f"{part}.bias", np.zeros(len(state[f"{part}.weight"]), np.float16)) for part in ours]
        tensors[f"{theirs}/bias"] = np.concatenate(biases)

    for conv in ("conv1", "conv2"):
        linear(f"encoder/{conv}", f"encoder.{conv}")
    tensors["encoder/position_encodings/encodings"] = state["encoder.positional_embedding"]
    tensors["decoder/position_encodings/encodings"] = state["decoder.positional_embedding"]
    tensors["decoder/embeddings/weight"] = state["decoder.token_embedding.weight"]
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    for side, layers in (("encoder", dims["n_audio_layer"]), ("decoder", dims["n_text_layer"])):
        for layer in range(layers):
            theirs, ours = f"{side}/layer_{layer}", f"{side}.blocks.{layer}"
            norm(f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln")
            linear(f"{theirs}/self_attention/linear_0", *(f"{ours}.attn.{part}" for part in ("query", "key", "value")))
            linear(f"{theirs}/self_attention/linear_1", f"{ours}.attn.out")
            if side == "decoder":
                norm(f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln")
                linear(f"{theirs}/attention/linear_0", f"{ours}.cross_attn.query")
                linear(f"{theirs}/attention/linear_1", f"{ours}.cross_attn.key", f"{ours}.cross_attn.value")
                linear(f"{theirs}/attention/linear_2", f"{ours}.cross_attn.out")
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
            linear(f"{theirs}/ffn/linear_0", f"{ours}.mlp.0")
            linear(f"{theirs}/ffn/linear_1", f"{ours}.mlp.2")
    codes = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(struct.pack("<I", 6) + _text(name) + struct.pack("<II", 3, len(tensors)))
        for title, value in tensors.items():
            shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
            out.write(_text(title) + shape + struct.pack("<BI", codes[str(value.dtype)], value.nbytes) + value.tobytes())
    return path


def _text(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def write_wheel(folder: Path, name: str, member: str, content: bytes) -> Package:
    """Write the wheel of version 1.0.0 of a package with one file of data; returns how the table would pin it."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = name.replace("-", "_")
    wheel = folder / f"{plain}-1.0.0-py3-none-any.whl"
    notes = f"{plain}-1.0.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{notes}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        archive.writestr(f"{notes}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{notes}/RECORD", "")
    return Package(name, "1.0.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), member)


def packaged_row(index: Path, model: Path, url: str) -> PinnedModel:
    """Write a `model.bin` into two wheels in `index`; the row of the table that pins them and the file that they make."""
    content, converted = model.read_bytes(), model.with_name("expected.safetensors")
    half = len(content) // 2
    parts = (write_wheel(index, "part-one", "one/model.part1", content[:half]),
             write_wheel(index, "part-two", "two/model.part2", content[half:]))  # fmt: skip
    convert_whisper(model, converted)
    made = ModelFile("base.safetensors", hashlib.sha256(converted.read_bytes()).hexdigest())
    files = (ModelFile("base.pt", "0" * 64),)
    return PinnedModel("whisper-base", "transcript", "whisper", files, 1, "MIT", url=url, packages=parts, converted=made)
