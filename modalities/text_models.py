"""Text classifiers from local files: any sequence classifier of transformers, or RAS's text network (arXiv 2507.02205)."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.files import file_digest
from data.scores import Source
from modalities.devices import Precision, precision_of
from modalities.label_maps import basic_matrix, label_names, missing_note

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

RAS_CLASSES = (*BASIC_EMOTIONS, "other")
"""The classes of RAS's text network in the order of its logits."""

SAFE_LENGTH = 512
"""Tokens of a piece where neither tokenizer nor network says what it takes."""

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True, eq=False)
class TextClassifier:
    """A loaded classifier: network, tokenizer (without cutting and padding), what its labels mean, and how it is run.

    `matrix` [L, 7] turns its labels into ours; `multilabel`: each label has a probability of its own (sigmoid, not softmax);
    `longest`: tokens of a piece, its first and last included; `pooling`: what a text's feature is, the last state of the
    first token or the mean over the tokens.
    """

    network: nn.Module
    tokenizer: Tokenizer
    matrix: NDArray[np.float32]
    multilabel: bool
    longest: int
    padding: int
    pooling: Literal["first", "mean"]
    device: str
    source: Source


def load_text_classifier(
    folder: Path, *, labels: Path | None = None, device: str = "cpu", precision: Precision = "auto"
) -> TextClassifier:
    """Load a sequence classifier from a folder as `save_pretrained` writes it, with its tokenizer; never from a hub.

    `labels` names a YAML file that says what its labels mean, before the general table. WeightsError for a folder that lacks
    something, is damaged or holds another kind of model; InputError for labels that nobody has explained.
    """
    config = _config(folder)
    _check_kind(config, folder)
    matrix = basic_matrix(label_names(config.id2label), str(folder), labels)
    tokenizer = _tokenizer(folder)
    network = _classifier(folder, device, precision)
    _check_vocabulary(tokenizer, network, folder)
    multilabel = config.problem_type == "multi_label_classification"
    return TextClassifier(
        network, _bare_tokenizer(tokenizer), matrix, multilabel, _longest(network, tokenizer), _padding(config, tokenizer),
        "first", device, _source("transformers", _name(folder), _weights_file(folder), matrix),
    )  # fmt: skip


def load_mean_pooled_text(
    weights: Path, base: Path, *, device: str = "cpu", precision: Precision = "auto"
) -> TextClassifier:
    """Load a checkpoint of RAS's text network (.safetensors, or .pt read as weights only; bare, or under `state_dict` or
    `model_state_dict`); `base` is the folder with config and tokenizer of the encoder it was trained from.

    Its classes are RAS's 8 (`RAS_CLASSES`), or the first 7. WeightsError when the two do not fit, or one is unreadable.
    """
    from modalities.networks.mean_pooled_text import MeanPooledText

    config, tokenizer, tensors = _config(base), _tokenizer(base), read_state_dict(weights)
    classes = len(tensors.get("classifier.bias", ()))
    if classes not in (len(RAS_CLASSES) - 1, len(RAS_CLASSES)):
        raise WeightsError(
            f"{weights} is not RAS's text network: it has no 'classifier.bias' of 7 or 8 classes; name a checkpoint of that "
            "network, or the folder of a classifier as save_pretrained writes it."
        )
    encoder = _encoder(config, base)
    network = MeanPooledText(encoder, config.hidden_size, classes)
    _fill(network, tensors, weights, base)
    network = network.to(device, precision_of(device, precision)).eval().requires_grad_(False)
    _check_vocabulary(tokenizer, encoder, base)
    matrix = basic_matrix(RAS_CLASSES[:classes], str(weights))
    return TextClassifier(
        network, _bare_tokenizer(tokenizer), matrix, False, _longest(encoder, tokenizer), _padding(config, tokenizer),
        "mean", device, _source("ras text", weights.stem, weights, matrix),
    )  # fmt: skip


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name from .safetensors, or from a file of torch that is read as weights only; WeightsError otherwise."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}; give an existing .safetensors or .pt file.")
    try:
        safe = path.suffix == ".safetensors"
        stored: Any = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, OSError) as error:
        raise WeightsError(f"{path} is not a readable file of weights alone ({_said(error)}); copy or save it again.") from error
    for key in ("model_state_dict", "state_dict"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    entries = stored.items() if isinstance(stored, Mapping) else ()
    return {str(key).removeprefix("module."): value for key, value in entries if isinstance(value, torch.Tensor)}


def _config(folder: Path) -> Any:
    """The folder's config; WeightsError when there is none that transformers knows."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"{folder} holds no text classifier (there is no config.json); name a folder as save_pretrained writes it."
        )
    with _telling(f"The config.json in {folder} is not one of a model that transformers knows"):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _check_kind(config: Any, folder: Path) -> None:
    """WeightsError unless the config is one of an encoder with a classifier on top."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    built = [name for name in config.architectures or [] if not name.endswith("ForSequenceClassification")]
    if built or config.model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise WeightsError(
            f"{folder} holds a {(built or [config.model_type])[0]}, which does not classify texts; name the folder of a model "
            "'...ForSequenceClassification'."
        )
    if config.is_encoder_decoder or config.problem_type == "regression":
        kind = "encoder and decoder" if config.is_encoder_decoder else "regression"
        raise WeightsError(f"{folder} holds a model of {kind}; name a classifier on an encoder, such as RoBERTa or BERT.")


def _classifier(folder: Path, device: str, precision: Precision) -> nn.Module:
    """The network with all its weights from the folder, ready to run; SDPA attention wherever the architecture has it."""
    from transformers import AutoModelForSequenceClassification

    with _telling(f"The weights in {folder} cannot be loaded"), _quiet():
        network, report = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, weights_only=True, output_loading_info=True,
            dtype=precision_of(device, precision),
        )  # fmt: skip
    if report["missing_keys"]:  # transformers draws them at random and goes on
        raise WeightsError(
            f"The weights in {folder} lack {sorted(report['missing_keys'])[0]} (and {len(report['missing_keys']) - 1} others), "
            "so they are of another architecture than its config.json; download or save the model again."
        )
    loaded: nn.Module = network.to(device).eval().requires_grad_(False)
    return loaded


def _encoder(config: Any, base: Path) -> nn.Module:
    """An encoder of the config, its weights still to be filled in."""
    from transformers import AutoModel

    with _telling(f"No text encoder can be built from the config.json in {base}"):
        encoder: nn.Module = AutoModel.from_config(config, trust_remote_code=False)
    return encoder


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], weights: Path, base: Path) -> None:
    """Load the authors' keys as they are; buffers that older versions of transformers saved are left out."""
    kept = {key: value for key, value in tensors.items() if not key.endswith(("position_ids", "token_type_ids"))}
    try:
        left = network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise WeightsError(
            f"{weights} does not fit the config.json in {base} ({_said(error)}); name the folder of its own encoder."
        ) from error
    missing = [key for key in left.missing_keys if ".pooler." not in key]
    if wrong := [*missing, *left.unexpected_keys]:
        what = "lacks" if missing else "has"
        raise WeightsError(
            f"{weights} {what} {wrong[0]} (and {len(wrong) - 1} others), so it is not of the encoder in {base}; name the folder "
            "of its own encoder."
        )


def _tokenizer(folder: Path) -> Any:
    """The folder's tokenizer; WeightsError where it has none: transformers makes up one without a vocabulary."""
    from transformers import AutoTokenizer

    with _telling(f"The tokenizer in {folder} cannot be loaded"), _quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast or len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise WeightsError(
            f"{folder} holds no tokenizer (tokenizer.json, or the vocabulary it is made from); put the files of the model's own "
            "tokenizer there."
        )
    return tokenizer


def _bare_tokenizer(tokenizer: Any) -> Tokenizer:
    """A copy of its own: one that cuts or pads keeps that as a state, which threads would change for each other."""
    from tokenizers import Tokenizer

    bare = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    bare.no_truncation()
    bare.no_padding()
    return bare


def _check_vocabulary(tokenizer: Any, network: Any, folder: Path) -> None:
    rows = network.get_input_embeddings().num_embeddings
    if (highest := max(tokenizer.get_vocab().values())) >= rows:
        raise WeightsError(
            f"The tokenizer in {folder} has token numbers up to {highest}, but the network knows {rows} tokens; put the model's "
            "own tokenizer there."
        )


def _longest(network: nn.Module, tokenizer: Any) -> int:
    """Tokens that network and tokenizer take at once; RoBERTa's table of positions begins after that of the padding."""
    tables: Any = [table for name, table in network.named_modules() if name.endswith("position_embeddings")]
    sizes = [table.num_embeddings - (-1 if table.padding_idx is None else table.padding_idx) - 1 for table in tables]
    stated = getattr(network.config, "max_position_embeddings", None)
    return int(min(*(sizes or [stated if stated and stated > 0 else SAFE_LENGTH]), tokenizer.model_max_length))


def _padding(config: Any, tokenizer: Any) -> int:
    """The number that fills short rows up; the config's, since RoBERTa counts positions by it."""
    return next((int(number) for number in (config.pad_token_id, tokenizer.pad_token_id) if number is not None), 0)


def _weights_file(folder: Path) -> Path:
    return next(folder / name for name in WEIGHT_FILES if (folder / name).is_file())


def _name(folder: Path) -> str:
    """The repository of a folder in the hub's cache, else the folder's name."""
    part = next((part for part in folder.parts if part.startswith("models--")), "")
    return part.removeprefix("models--").replace("--", "/") or folder.name


def _source(backend: str, name: str, weights: Path, matrix: NDArray[np.float32]) -> Source:
    notes = ["pieces of at most the model's own length", missing_note(matrix)]
    return Source(backend, name, file_digest(weights)[:12], "; ".join(note for note in notes if note))


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn what transformers raises at a damaged or foreign folder into one sentence."""
    from safetensors import SafetensorError

    wrong = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, EOFError)
    try:
        yield
    except (SafetensorError, pickle.UnpicklingError, *wrong) as error:
        raise WeightsError(f"{what} ({_said(error)}); download or save the model again.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and reports of loading: what matters of them is checked and said."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _said(error: Exception) -> str:
    """The first sentence of an error, short."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"(?<=[.!?])\s", text)[0][:200].rstrip(".")
