"""Checkpoints of trained face networks: a safetensors file that says which network it is, for which labels, how it is built."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from data.errors import WeightsError
from modalities.face_networks.parts.base import FaceNetwork
from modalities.face_networks.registry import Kind, NetworkInput, NetworkRow, build_network, network_table
from modalities.loading.checkpoint import load_checkpoint, save_checkpoint
from modalities.loading.state_dicts import JsonObject

NAME = "face_network"


@dataclass(frozen=True)
class TrainedFace:
    """A trained network in evaluation mode: its row, the branch, labels and input it was trained for, digits of its file."""

    network: FaceNetwork
    row: NetworkRow
    kind: Kind
    labels: tuple[str, ...]
    reads: NetworkInput
    revision: str


def class_settings(row: NetworkRow, labels: Sequence[str], kind: Kind) -> dict[str, object]:
    """The settings of a network's `build` that make it answer these labels: their names, or their number for that branch."""
    if "labels" in row.settings:
        return {"labels": list(labels)}
    of_branch = "image_classes" if kind == "static" else "video_classes"
    return {of_branch if of_branch in row.settings else "classes": len(labels)}


def own_tensors(network: FaceNetwork) -> dict[str, Tensor]:
    """The state dict with what two names share under the first of them only."""
    seen: set[tuple[int, tuple[int, ...]]] = set()
    kept: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        memory = (value.data_ptr(), tuple(value.shape))
        if memory not in seen or not value.numel():
            kept[key] = value
        seen.add(memory)
    return kept


def load_own(network: FaceNetwork, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load what `own_tensors` gave; WeightsError, which names `where`, when tensors are missing, too many or of other shapes."""
    state = network.state_dict()
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    names = {key: first.setdefault((value.data_ptr(), tuple(value.shape)), key) for key, value in state.items()}
    whole = {key: tensors[name] for key, name in names.items() if name in tensors}
    try:
        missing, _ = network.load_state_dict(whole, strict=False)
    except RuntimeError as error:
        said = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{where} does not fit the network ({said}); train it again.") from error
    lacking = sorted(set(missing) - network.derived())
    unknown = sorted(set(tensors) - set(names.values()))
    if lacking or unknown:
        said = f"lacks {lacking[0]}" if lacking else f"has {unknown[0]}, which the network does not know"
        raise WeightsError(f"{where} {said}; it is of another network or version.")


def save_trained(
    path: Path, network: FaceNetwork, row: NetworkRow, kind: Kind, labels: Sequence[str], settings: Mapping[str, object],
    reads: NetworkInput,
) -> None:  # fmt: skip
    """Write a network with all that `load_trained` needs; `settings` are those that its `build` was called with."""
    about = {"name": NAME, "network": row.name, "kind": kind, "labels": list(labels), "settings": dict(settings)}
    about["input"] = asdict(reads)
    save_checkpoint(path, own_tensors(network), {}, about)


def load_trained(path: Path) -> TrainedFace:
    """Read what `save_trained` wrote; WeightsError for a missing, damaged or other file."""
    stored = load_checkpoint(path)
    about = stored.settings
    if about.get("name") != NAME:
        raise WeightsError(f"{path} is not a face network that 'dyad train ... --network' wrote; give such a file.")
    row = network_table().choose(about["network"])
    network = build_network(row, about["settings"])
    assert isinstance(network, FaceNetwork)
    load_own(network, stored.network(), str(path))
    asked: JsonObject = {name: tuple(value) if isinstance(value, list) else value for name, value in about["input"].items()}
    reads = NetworkInput(**asked)
    return TrainedFace(network.eval(), row, about["kind"], tuple(about["labels"]), reads, stored.revision)
