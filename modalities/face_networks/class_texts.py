"""What a network that compares faces with texts is told of its classes: positive and negative texts, read from a prompt file.

A prompt file (YAML) names texts, or a template and a word for each class:

    texts: {happiness: a broad smile with raised cheeks, ...}
    negative: {happiness: a face without any smile, ...}       # may lack

    template: "a person with an expression of {label}"
    negative_template: "a person with an expression of no {label}"   # may lack
    words: {happiness: happiness, ...}
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data.errors import InputError
from data.yaml_files import read_yaml

FIELDS = frozenset({"texts", "negative", "template", "negative_template", "words", "caption", "descriptor"})


class ClassTexts(NamedTuple):
    """A text for each class in the order of the labels, and one that denies it (none, or one for each class)."""

    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()


def plain_texts(labels: Sequence[str]) -> ClassTexts:
    """The least that can be said: the names of the labels."""
    return ClassTexts(*(tuple(f"{said} {label}" for label in labels) for said in ("a face showing", "a face not showing")))


def class_texts(tree: Mapping[str, object] | None, labels: Sequence[str], name: str = "the prompts") -> ClassTexts:
    """The texts of these labels from the content of a prompt file; `plain_texts` where none is given.

    InputError, which names the file, for unknown fields and labels without a text.
    """
    if tree is None:
        return plain_texts(labels)
    if unknown := sorted(set(tree) - FIELDS):
        raise InputError(f"{name}: '{unknown[0]}' is no field of a file of class texts; known are: {', '.join(sorted(FIELDS))}.")
    if "texts" in tree:
        negative = _texts_of(tree["negative"], labels, f"{name}: 'negative'") if "negative" in tree else ()
        return ClassTexts(_texts_of(tree["texts"], labels, f"{name}: 'texts'"), negative)
    words = _texts_of(tree.get("words", {}), labels, f"{name}: 'words'")
    negative_template = tree.get("negative_template")
    negative = _fill_template(negative_template, words, name) if negative_template else ()
    return ClassTexts(_fill_template(tree.get("template", ""), words, name), negative)


def read_prompts(path: Path) -> dict[str, object]:
    """The content of a prompt file; InputError when it is no YAML with fields."""
    return read_yaml(path, "'texts', or 'template' and 'words'")


def _texts_of(entries: object, labels: Sequence[str], where: str) -> tuple[str, ...]:
    if not isinstance(entries, Mapping):
        raise InputError(f"{where} must name a text for each label.")
    missing = [label for label in labels if not str(entries.get(label) or "").strip()]
    if missing:
        raise InputError(f"{where} has no text for '{missing[0]}'; add one.")
    return tuple(str(entries[label]).strip() for label in labels)


def _fill_template(template: object, words: Sequence[str], name: str) -> tuple[str, ...]:
    if not isinstance(template, str) or template.count("{label}") != 1:
        raise InputError(f"{name}: the template '{template}' must have exactly one gap {{label}}.")
    return tuple(template.replace("{label}", word) for word in words)
