"""Text classifiers from local files: any sequence classifier of transformers, or RAS's text network (arXiv 2507.02205)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.files import file_digest
from data.precision import Precision
from data.scores import Source
from modalities.label_maps import basic_matrix, label_names, missing_note
from modalities.loading.devices import precision_of
from modalities.loading.pretrained import building, digest_of, load_config, load_network, loading_errors, name_of, quiet, short
from modalities.loading.state_dicts import read_state_dict

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

RAS_CLASSES = (*BASIC_EMOTIONS, "other")
"""The classes of RAS's text network in the order of its logits."""

SAFE_LENGTH = 512
"""Tokens of a piece where neither tokenizer nor network says what it takes."""


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
    config = load_config(folder)
    _check_kind(config, folder)
    matrix = basic_matrix(label_names(config.id2label), str(folder), labels)
    tokenizer = _load_tokenizer(folder)
    network = load_network("AutoModelForSequenceClassification", folder, precision_of(device, precision))
    network = network.to(device).eval().requires_grad_(False)
    _check_vocabulary(tokenizer, network, folder)
    multilabel = config.problem_type == "multi_label_classification"
    longest = _longest(network, tokenizer)
    source = _source("transformers", name_of(folder), digest_of(folder), longest, matrix)
    return TextClassifier(
        network, _bare_tokenizer(tokenizer), matrix, multilabel, longest, _padding(config, tokenizer), "first", device, source
    )


def load_mean_pooled_text(
    weights: Path, base: Path, *, device: str = "cpu", precision: Precision = "auto"
) -> TextClassifier:
    """Load a checkpoint of RAS's text network (.safetensors, or .pt read as weights only; bare, or under `state_dict` or
    `model_state_dict`); `base` is the folder with config and tokenizer of the encoder it was trained from.

    Its classes are RAS's 8 (`RAS_CLASSES`), or the first 7. WeightsError when the two do not fit, or one is unreadable.
    """
    from modalities.text.mean_pooled import MeanPooledText

    config, tokenizer, tensors = load_config(base), _load_tokenizer(base), read_state_dict(weights)
    classes = len(tensors.get("classifier.bias", ()))
    if classes not in (len(RAS_CLASSES) - 1, len(RAS_CLASSES)):
        raise WeightsError(
            f"{weights} is not RAS's text network: it has no 'classifier.bias' of 7 or 8 classes; name a checkpoint of that "
            "network, or the folder of a classifier as save_pretrained writes it."
        )
    encoder = _build_encoder(config, base)
    network = MeanPooledText(encoder, config.hidden_size, classes)
    _load_tensors(network, tensors, weights, base)
    network = network.to(device, precision_of(device, precision)).eval().requires_grad_(False)
    _check_vocabulary(tokenizer, encoder, base)
    matrix = basic_matrix(RAS_CLASSES[:classes], str(weights))
    longest = _longest(encoder, tokenizer)
    source = _source("ras text", weights.stem, file_digest(weights)[:12], longest, matrix)
    return TextClassifier(
        network, _bare_tokenizer(tokenizer), matrix, False, longest, _padding(config, tokenizer), "mean", device, source
    )


def _check_kind(config: Any, folder: Path) -> None:
    """WeightsError unless the config is one of an encoder with a classifier on top."""
    from transformers.models.auto import modeling_auto as known

    built = [name for name in config.architectures or [] if not name.endswith("ForSequenceClassification")]
    if built or config.model_type not in known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise WeightsError(
            f"{folder} holds a {(built or [config.model_type])[0]}, which does not classify texts; name the folder of a model "
            "'...ForSequenceClassification'."
        )
    encodes = config.model_type in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.is_encoder_decoder
    if not encodes or config.problem_type == "regression":  # a decoder's first token has seen nothing of the text
        raise WeightsError(
            f"{folder} holds a {config.model_type} of another kind than classifiers on an encoder; name one such as RoBERTa, "
            "BERT or DeBERTa."
        )


def _build_encoder(config: Any, base: Path) -> nn.Module:
    """An encoder of the config, its weights still to be filled in."""
    from transformers import AutoModel

    with loading_errors(f"No text encoder can be built from the config.json in {base}"), building():
        encoder: nn.Module = AutoModel.from_config(config, trust_remote_code=False)
    return encoder


def _load_tensors(network: nn.Module, tensors: Mapping[str, Tensor], weights: Path, base: Path) -> None:
    """Load the authors' keys as they are; buffers that older versions of transformers saved are left out."""
    kept = {key: value for key, value in tensors.items() if not key.endswith(("position_ids", "token_type_ids"))}
    try:
        left = network.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise WeightsError(
            f"{weights} does not fit the config.json in {base} ({short(error)}); name the folder of its own encoder."
        ) from error
    missing = [key for key in left.missing_keys if ".pooler." not in key]
    if wrong := [*missing, *left.unexpected_keys]:
        what = "lacks" if missing else "has"
        raise WeightsError(
            f"{weights} {what} {wrong[0]} (and {len(wrong) - 1} others), so it is not of the encoder in {base}; name the folder "
            "of its own encoder."
        )


def _load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer; WeightsError where it has none: transformers makes up one without a vocabulary."""
    from transformers import AutoTokenizer

    with loading_errors(f"The tokenizer in {folder} cannot be loaded"), quiet():
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
    """WeightsError when the tokenizer has token numbers that the network does not know."""
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


def _source(backend: str, name: str, revision: str, longest: int, matrix: NDArray[np.float32]) -> Source:
    """What made the answers, with the length of its pieces and the emotions that it cannot answer."""
    notes = [f"pieces of at most {longest} tokens", missing_note(matrix)]
    return Source(backend, name, revision, "; ".join(note for note in notes if note))
