"""The weights that the static face starts from: read from an archive, the same function in the network, and said when absent."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from data.errors import WeightsError
from modalities.model_store.table import model_table
from modalities.static_face.network import StaticFaceNetwork, StaticFaceShape
from modalities.training.faces import static_face
from modalities.training.faces.start import MEMBER, MODEL, archive_path, read_weights, start_from
from tests.drawn_faces import write_drawn_faces

TINY = StaticFaceShape(8, (16, 24), (1, 2), 12)
Tensors = dict[str, np.ndarray]


def tensors_of(shape: StaticFaceShape) -> Tensors:
    """Random tensors with the names and layouts of the published file, for a network of `shape`."""
    chance = np.random.default_rng(4)

    def draw(*size: int) -> np.ndarray:
        return chance.normal(0, 1.5 / np.sqrt(max(1, np.prod(size[:-1]))), size).astype(np.float32)

    tensors = {"conv1/convolution/merged_input": draw(3, 3, 3, shape.stem) / 64, "conv1_bn/batchnorm_1/sub": draw(shape.stem)}
    channels = shape.stem
    for block, width in enumerate(shape.widths, 1):
        tensors[f"conv_dw_{block}/depthwise_kernel"] = draw(3, 3, channels, 1)
        tensors[f"conv_dw_{block}_bn/batchnorm_1/mul"] = 1 + draw(1, 1, channels, 1)
        tensors[f"conv_dw_{block}_bn/batchnorm_1/sub"] = draw(channels)
        tensors[f"conv_pw_{block}/convolution/merged_input"] = draw(1, 1, channels, width)
        tensors[f"conv_pw_{block}_bn/batchnorm_1/sub"] = draw(width)
        channels = width
    return tensors


def write_archive(path: Path, tensors: Tensors, half: bool = False) -> Path:
    """An npm archive with a TensorFlow.js graph model, in float32 or, as published, in float16."""
    rows = [{"name": name, "shape": list(value.shape), "dtype": "float32"} for name, value in tensors.items()]
    if half:
        rows = [row | {"quantization": {"dtype": "float16", "original_dtype": "float32"}} for row in rows]
    content = b"".join(value.astype(np.float16 if half else np.float32).tobytes() for value in tensors.values())
    manifest = json.dumps({"weightsManifest": [{"paths": ["faceres.bin"], "weights": rows}]}).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in ((f"{MEMBER}.json", manifest), (f"{MEMBER}.bin", content)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def as_tensorflow(tensors: Tensors, shape: StaticFaceShape, grey: torch.Tensor) -> torch.Tensor:
    """What the published graph computes, written out: three equal channels in grey levels, SAME padding, ReLU6."""

    def same(x: torch.Tensor, stride: int) -> torch.Tensor:
        return F.pad(x, (0, 1, 0, 1)) if stride == 2 else F.pad(x, (1, 1, 1, 1))

    given = {name: torch.from_numpy(value) for name, value in tensors.items()}
    x = (grey * 64).expand(-1, 3, -1, -1)
    x = F.conv2d(same(x, 2), given["conv1/convolution/merged_input"].permute(3, 2, 0, 1), stride=2)
    x = (x + given["conv1_bn/batchnorm_1/sub"][:, None, None]).clamp(0, 6)
    for block, stride in enumerate(shape.strides, 1):
        kernel = given[f"conv_dw_{block}/depthwise_kernel"].permute(2, 3, 0, 1)
        x = F.conv2d(same(x, stride), kernel, stride=stride, groups=x.shape[1])
        x = x * given[f"conv_dw_{block}_bn/batchnorm_1/mul"].permute(0, 3, 1, 2).reshape(1, -1, 1, 1)
        x = (x + given[f"conv_dw_{block}_bn/batchnorm_1/sub"][:, None, None]).clamp(0, 6)
        x = F.conv2d(x, given[f"conv_pw_{block}/convolution/merged_input"].permute(3, 2, 0, 1))
        x = (x + given[f"conv_pw_{block}_bn/batchnorm_1/sub"][:, None, None]).clamp(0, 6)
    return x


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 2e-2)])
def test_the_network_computes_what_the_published_one_does(tmp_path: Path, half: bool, tolerance: float) -> None:
    tensors = tensors_of(TINY)
    network, faces = StaticFaceNetwork(TINY), torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    start_from(network, read_weights(write_archive(tmp_path / "a.tgz", tensors, half)), faces)
    maps = faces
    for layer in network.eval().layers:
        maps = layer(maps)
    torch.testing.assert_close(maps, as_tensorflow(tensors, TINY, faces), atol=tolerance, rtol=tolerance)
    normalised = network.layers[-1].norm  # type: ignore[union-attr]
    assert torch.isfinite(normalised.weight).all()  # type: ignore[union-attr, arg-type]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _other(path: Path) -> None:
    path.write_bytes(b"not an archive")


def _short(path: Path) -> None:
    write_archive(path, {})


@pytest.mark.parametrize("spoil", [_cut, _other, _short])
def test_a_damaged_archive_is_named(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = write_archive(tmp_path / "human.tgz", tensors_of(TINY))
    spoil(path)
    network = StaticFaceNetwork(TINY)
    with pytest.raises(WeightsError, match=r"human\.tgz|not of this network"):
        start_from(network, read_weights(path), torch.zeros(1, 1, 32, 32))


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "human.tgz", tensors_of(TINY))
    with pytest.raises(WeightsError, match="not of this network"):
        start_from(StaticFaceNetwork(StaticFaceShape(8, (16, 32), (1, 2), 12)), read_weights(path), torch.zeros(1, 1, 32, 32))


def test_without_the_download_the_training_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match=f"dyad models download {MODEL}"):
        static_face.train(tmp_path, tmp_path / "out")
    row = model_table().models[MODEL]
    assert row.url.startswith("https://")
    assert len(row.files[0].sha256) == 64
    place = tmp_path / row.folder / row.files[0].name
    place.parent.mkdir()
    write_archive(place, {})
    assert archive_path() == place


def test_the_first_layers_stay_and_the_others_learn(tmp_path: Path) -> None:
    data, archive = write_drawn_faces(tmp_path / "data", 160, 20), write_archive(tmp_path / "human.tgz", tensors_of(TINY))
    splits = static_face.prepare_splits(data, 7, None)
    state = static_face.new_state(7, splits.fit, archive, shape=TINY)
    state.frozen = 3
    before = {key: value.clone() for key, value in state.network.state_dict().items()}
    static_face.run_epoch(state, splits.fit, 7, static_face.course(2)[1])
    after = state.network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not any(key.startswith(("layers.0.", "layers.1.", "layers.2.")) for key in changed)
    assert {"layers.3.conv.weight", "layers.4.norm.running_mean", "head.weight"} <= changed
