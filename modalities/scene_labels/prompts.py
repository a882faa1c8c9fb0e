"""Labels by their texts: what CLIP compares images with, and how cosines become probabilities of labels.

A prompt file (YAML) has two sets of labels, and optional settings of how they are compared:

    templates: ["a photo of someone who looks {adjective}"]   # every text below is put into each of them
    temperature: 1.0                                          # what cosines are divided by; left out: the network's own
    together: true                                            # one softmax over both sets, each renormalised afterwards
    basic:                                                    # the seven basic emotions; `other` may be among them
      anger: [angry, furious]
      neutral: {positive: [calm], negative: [excited]}
    compound: {sadly_angry: [sadly angry], ...}               # two or more labels of any names

The texts of a label are averaged: each embedding has unit length, so has their mean again. With negative texts the score of a
label is its log-odds against them, v.(u - n) / T for the means u and n: exactly what CLIP says when it has to choose between
the two. The softmax over log-odds is the probability of each label given that just one of them holds; so either every label
that is compared has negative texts or none has. `other` takes its share of probability, and the seven are renormalised without.
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.yaml_files import read_yaml

Prompts = Mapping[str, object]
"""The content of a prompt file."""
FloatArray = NDArray[np.float32]
OTHER = "other"
SETTINGS = ("templates", "temperature", "together")
KINDS = ("basic", "compound")


@dataclass(frozen=True)
class LabelTexts:
    """A label with the texts that speak for it and those that speak against it, complete sentences or words."""

    label: str
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSets:
    """A prompt file: the basic emotions in their order (`other` last), the compounds, and how they are compared."""

    basic: tuple[LabelTexts, ...]
    compound: tuple[LabelTexts, ...]
    temperature: float | None = None
    together: bool = False


@dataclass(frozen=True)
class TextBank:
    """Labels with their vectors [L, D] (u, or u - n with negative texts), and single positive texts with theirs [P, D].

    `text_labels` [P] says which label a text belongs to.
    """

    labels: tuple[str, ...]
    vectors: FloatArray
    texts: tuple[str, ...]
    text_vectors: FloatArray
    text_labels: NDArray[np.intp]


def read_label_texts(prompts: Prompts | Path) -> LabelSets:
    """Check a prompt file or its content; InputError naming the file and the label for anything malformed."""
    name = str(prompts) if isinstance(prompts, Path) else "The prompts"
    holds = "'basic' and 'compound', each with labels and their texts"
    tree = read_yaml(prompts, holds) if isinstance(prompts, Path) else prompts
    if unknown := set(tree) - {*SETTINGS, *KINDS}:
        known = ", ".join(SETTINGS + KINDS)
        raise InputError(f"{name}: '{min(map(str, unknown))}' is no part of a prompt file; known are: {known}.")
    templates = _templates(tree.get("templates"), name)
    basic, compound = (_labels_of(tree.get(kind), templates, f"{name}: '{kind}'") for kind in KINDS)
    _check_labels(basic, compound, name)
    together = tree.get("together", False)
    if not isinstance(together, bool):
        raise InputError(f"{name}: 'together' must be true or false, not '{together}'.")
    for compared in [(*basic.values(), *compound.values())] if together else [basic.values(), compound.values()]:
        _check_negatives(list(compared), name)
    order = [*BASIC_EMOTIONS, *([OTHER] if OTHER in basic else [])]
    temperature = _temperature(tree.get("temperature"), name)
    return LabelSets(tuple(basic[label] for label in order), tuple(compound.values()), temperature, together)


def _check_labels(basic: Mapping[str, LabelTexts], compound: Mapping[str, LabelTexts], name: str) -> None:
    """InputError unless the basic labels are ours, `other` perhaps among them, and there are two compounds to choose from."""
    unknown = [label for label in basic if label not in (*BASIC_EMOTIONS, OTHER)]
    missing = [label for label in BASIC_EMOTIONS if label not in basic]
    if unknown or missing:
        problem = f"'{unknown[0]}' is none of them" if unknown else f"'{missing[0]}' is missing"
        raise InputError(
            f"{name}: 'basic' must have texts for exactly: {', '.join(BASIC_EMOTIONS)} ({OTHER} may join them); {problem}."
        )
    if len(compound) < 2:
        raise InputError(f"{name}: 'compound' must have texts for at least two compounds.")


def _check_negatives(compared: Sequence[LabelTexts], name: str) -> None:
    """InputError when some of the labels that are compared have negative texts and others have none."""
    without = [entry.label for entry in compared if not entry.negative]
    if without and len(without) < len(compared):
        raise InputError(
            f"{name}: '{without[0]}' has no negative texts though other labels have; scores with and without cannot be compared."
        )


def _temperature(value: object, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise InputError(f"{name}: 'temperature' must be a number above 0, not '{value}'.")
    return float(value)


def _templates(value: object, name: str) -> list[Callable[[str], str]]:
    if value is None:
        return [str]
    return [_template(text, name) for text in _texts(value, f"{name}: 'templates'")]


def _template(text: str, name: str) -> Callable[[str], str]:
    """A function that puts words into the one gap of a template, {} or {any_name}, with 'an' before a vowel."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        parts = []
    gaps = [gap for _, gap, _, _ in parts if gap is not None]
    if len(gaps) != 1:
        raise InputError(f"{name}: the template '{text}' must have exactly one gap, such as {{adjective}}.")
    number = next(number for number, part in enumerate(parts) if part[1] is not None)
    before, after = ("".join(part[0] for part in some) for some in (parts[: number + 1], parts[number + 1 :]))

    def filled(words: str) -> str:
        start = re.sub(r"\b([Aa]) $", r"\1n ", before) if words[0].lower() in "aeiou" else before
        return f"{start}{words}{after}"

    return filled


def _labels_of(value: object, templates: Sequence[Callable[[str], str]], name: str) -> dict[str, LabelTexts]:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must hold labels with their texts.")
    return {str(label): _label_texts(str(label), texts, templates, name) for label, texts in value.items()}


def _label_texts(label: str, value: object, templates: Sequence[Callable[[str], str]], name: str) -> LabelTexts:
    where = f"{name}: '{label}'"
    if not isinstance(value, Mapping):
        return LabelTexts(label, _fill_templates(_texts(value, where), templates))
    if set(value) != {"positive", "negative"}:
        raise InputError(f"{where} must have a list of texts, or a list 'positive' and a list 'negative'.")
    texts = (_texts(value[side], f"{where}: '{side}'") for side in ("positive", "negative"))
    return LabelTexts(label, *(_fill_templates(some, templates) for some in texts))


def _texts(value: object, where: str) -> list[str]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(text, str) and text.strip() for text in value):
        raise InputError(f"{where} must be a list of one or more texts.")
    return [text.strip() for text in value]


def _fill_templates(texts: Sequence[str], templates: Sequence[Callable[[str], str]]) -> tuple[str, ...]:
    return tuple(template(text) for text in texts for template in templates)


def bank_of(entries: Sequence[LabelTexts], encode: Callable[[Sequence[str]], FloatArray]) -> TextBank:
    """The vectors of labels; `encode` gives unit embeddings [P, D] of texts."""
    texts = tuple(text for entry in entries for text in entry.positive)
    owners = np.repeat(np.arange(len(entries)), [len(entry.positive) for entry in entries])
    vectors = encode(texts)
    means = [_unit_mean(vectors[owners == number]) for number in range(len(entries))]
    against = [_unit_mean(encode(entry.negative)) if entry.negative else np.float32(0) for entry in entries]
    directions = np.stack([mean - other for mean, other in zip(means, against, strict=True)])
    return TextBank(tuple(entry.label for entry in entries), directions, texts, vectors, owners)


def _unit_mean(vectors: FloatArray) -> FloatArray:
    """The mean of unit vectors [P, D], of unit length again."""
    mean = vectors.mean(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities [T, L] of logits [T, L]: each row positive with sum 1."""
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def probabilities_of(bank: TextBank, embeddings: FloatArray, temperature: float) -> FloatArray:
    """Softmax over the labels of a bank [T, L]: p_k = exp(v . d_k / temperature) / sum_j exp(v . d_j / temperature)."""
    return softmax(embeddings @ bank.vectors.T / temperature)


def pooled_probabilities(
    basic: TextBank, compound: TextBank, embeddings: FloatArray, shares: FloatArray, temperature: float, together: bool
) -> tuple[FloatArray, FloatArray]:
    """Probabilities of all basic [N, L] and compound labels [N, K] for windows: weighted means over images.

    `embeddings` [T, D] have unit length, the rows of `shares` [N, T] sum to 1. With `together` there is one softmax over both
    sets, and each set is renormalised after the mean, as in RAS (arXiv 2507.02205, at temperature 1).
    """
    if not together:
        first, second = (shares @ probabilities_of(bank, embeddings, temperature) for bank in (basic, compound))
        return first, second
    means = shares @ softmax(embeddings @ np.concatenate([basic.vectors, compound.vectors]).T / temperature)
    parts = np.split(means, [len(basic.labels)], axis=1)
    first, second = (np.asarray(part / np.maximum(part.sum(1, keepdims=True), 1e-30), np.float32) for part in parts)
    return first, second


def seven_of(bank: TextBank, probabilities: FloatArray) -> FloatArray:
    """Probabilities [N, 7] of the basic emotions, renormalised without `other`, from those of all basic labels [N, L]."""
    seven = probabilities[:, [bank.labels.index(emotion) for emotion in BASIC_EMOTIONS]]
    return np.asarray(seven / np.maximum(seven.sum(1, keepdims=True), 1e-30), np.float32)
