"""Face networks from checkpoints: the authors' files under their own keys, ours that training wrote, or a CLIP alone.

An authors' file tells its tensors and no more. What else must be known can stand in the safetensors metadata or in a JSON file of
the same name beside the weights: `labels` (the name of an order in the table, or a list of words), `settings` (of `build`), and
`input` (what of the row's is otherwise).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.errors import WeightsError
from data.files import file_digest
from modalities.face_networks.registry import Kind, NetworkInput, NetworkRow, build_network, network_table
from modalities.loading.checkpoint import load_checkpoint
from modalities.loading.state_dicts import JsonObject, read_notes, read_state_dict

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.face_networks.parts.base import FaceNetwork


class LoadedNetwork(NamedTuple):
    """A network with its weights, the labels of its logits, what it reads, and digits that tell the files."""

    network: "FaceNetwork"
    labels: tuple[str, ...]
    reads: NetworkInput
    revision: str


def load_weights(row: NetworkRow, kind: Kind, files: Sequence[Path], clip: Path | None = None) -> LoadedNetwork:
    """The network of a row with the weights of `files`; `clip` (weights of a CLIP) fills what they leave to one.

    Several files are parts of one network (AVCER's ResNet and LSTM). Without files the network is the one that a CLIP alone can
    be, if the row knows one. WeightsError for files that are missing, damaged or of another network.
    """
    if files and _was_trained_here(files[0]):
        return _load_trained(row, kind, files[0])
    notes: dict[str, object] = {}
    tensors: dict[str, Tensor] = {}
    parts = [(read_notes(file), read_state_dict(file)) for file in files]
    for noted, _ in parts:
        notes |= noted
    settings = {**row.settings, **(row.zero_shot or {} if not files else {}), **_json_object(notes.get("settings", {}))}
    network = _build(row, settings, files)
    for _, part in parts:
        tensors |= network.adapted(part)
    _fill(network, tensors, files, clip)
    revision = "+".join(file_digest(file)[:12] for file in [*files, *([clip] if clip else [])])
    reads = replace(row.input, **_json_object(notes.get("input", {})))
    return LoadedNetwork(network, _labels(row, kind, notes.get("labels"), settings), reads, revision)


def _was_trained_here(file: Path) -> bool:
    from modalities.face_networks.own_checkpoints import NAME

    return file.suffix == ".safetensors" and file.is_file() and load_checkpoint(file).settings.get("name") == NAME


def _load_trained(row: NetworkRow, kind: Kind, file: Path) -> LoadedNetwork:
    """What training wrote; WeightsError when it was another network or branch."""
    from modalities.face_networks.own_checkpoints import load_trained

    found = load_trained(file)
    if (found.row.name, found.kind) != (row.name, kind):
        raise WeightsError(
            f"{file} was trained as {found.row.name} for the {found.kind} face, not as {row.name} for the {kind} one; "
            f"name that network, or another file."
        )
    return LoadedNetwork(found.network, found.labels, found.reads, found.revision)


def _build(row: NetworkRow, settings: Mapping[str, object], files: Sequence[Path]) -> "FaceNetwork":
    """The network with these settings; WeightsError, which names the first of `files`, where it cannot be built with them."""
    from modalities.face_networks.parts.base import FaceNetwork

    try:
        network = build_network(row, settings)
    except (TypeError, ValueError, LookupError) as error:
        where = f"beside {files[0]} " if files else ""
        raise WeightsError(f"The settings {where}do not build a network '{row.name}' ({error}); correct them.") from error
    assert isinstance(network, FaceNetwork)
    return network


def _fill(network: "FaceNetwork", tensors: Mapping[str, "Tensor"], files: Sequence[Path], clip: Path | None) -> None:
    """Load the tensors, and the CLIP's where they leave its parameters open; WeightsError when one is missing or does not fit."""
    known = network.state_dict().keys()
    named = " and ".join(str(file) for file in files) or "No checkpoint"
    missing = sorted(known - tensors.keys() - network.derived()) if files else []
    unknown = sorted(tensors.keys() - known)
    if missing or unknown:
        what = f"lacks {missing[0]} ({len(missing)} in all)" if missing else f"holds {unknown[0]}, which the network has not"
        raise WeightsError(f"{named} is not a whole checkpoint of this network: it {what}; give the file that belongs to it.")
    if not files or _leaves_open(network, tensors):
        if clip is None:
            raise WeightsError(f"{named} leaves the weights of CLIP open; fetch a CLIP with 'dyad models download clip'.")
        network.take_clip(read_state_dict(clip))  # type: ignore[operator]
    exact = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    try:
        network.load_state_dict(exact, strict=False)
    except RuntimeError as error:
        said = str(error).splitlines()[-1].strip().rstrip(".")
        raise WeightsError(f"{named} does not fit the network ({said}); name its settings in a JSON file beside it.") from error


def _leaves_open(network: "FaceNetwork", tensors: Mapping[str, "Tensor"]) -> bool:
    """Whether the tensors leave parameters open, but for those that share memory with one that they fill."""
    state = network.state_dict(keep_vars=True)
    filled = {state[key].data_ptr() for key in tensors}
    parameters = {value.data_ptr() for value in network.parameters()}
    left = {state[key].data_ptr() for key in network.derived() - tensors.keys()}
    return bool((left & parameters) - filled)


def _labels(row: NetworkRow, kind: Kind, noted: object, settings: Mapping[str, object]) -> tuple[str, ...]:
    """The order of the logits: the notes', else that the network was built with, else that of the authors' checkpoint."""
    if isinstance(noted, str):
        return network_table().labels(noted)
    listed = noted if noted is not None else settings.get("labels")
    if listed is None:
        return network_table().labels(row.labels[kind])
    if not isinstance(listed, list | tuple):
        raise WeightsError(f"'labels' of a checkpoint must name an order or list words, not {listed!r}; correct or remove it.")
    return tuple(map(str, listed))


def _json_object(noted: object) -> JsonObject:
    if not isinstance(noted, dict):
        raise WeightsError(f"'settings' and 'input' of a checkpoint must be JSON objects, not {noted!r}; correct or remove it.")
    return noted
