"""What the labels of any emotion classifier mean in the seven basic emotions; the words are data (`label_maps.yaml`)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict

import numpy as np
import yaml
from numpy.typing import NDArray

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, EMOTION_WORDS
from data.errors import InputError
from data.yaml_files import read_yaml

Meaning = dict[str, float]
"""Basic emotion -> the share of the label's probability that it gets; empty for a label that is none of the seven."""

TABLE = Path(__file__).parent / "label_maps.yaml"
OPEN = "?"
"""What the printed table has where nobody has said yet what a label means."""


def basic_matrix(labels: Sequence[str], where: str, own: Path | None = None) -> NDArray[np.float32]:
    """The meaning of a model's labels as a matrix [L, 7]: row i tells which basic emotions get the probability of label i.

    A row sums to 1, or less for labels that mean none of the seven (wholly: a zero row). `where` is the model's folder or
    repository: it names the model in messages and finds its own section of the table. The file `own` (YAML, `label: emotion`,
    `label: none` or `label: {emotion: weight, ...}`) goes before the table. InputError for labels that nobody has explained,
    with the table to fill in, and where fewer than two of the seven emotions are left.
    """
    said = meanings_of(own) if own else {}
    section = _section_of_model(where, labels)
    meanings = [_find_meaning(label, section, said) for label in labels]
    if any(meaning is None for meaning in meanings):
        raise InputError(_unmapped(labels, meanings, where, own))
    matrix = np.array(
        [[(meaning or {}).get(emotion, 0.0) for emotion in BASIC_EMOTIONS] for meaning in meanings], np.float32
    ).reshape(len(labels), len(BASIC_EMOTIONS))
    if len(covered(matrix)) < 2:
        raise InputError(
            f"The labels of {where} ({', '.join(labels)}) cover fewer than two of the seven basic emotions, so it cannot tell "
            "them apart; use a model that classifies emotions, or explain its labels in a file that 'labels: FILE' names."
        )
    return matrix


def to_basic(
    probabilities: NDArray[np.float32] | NDArray[np.float64], matrix: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Probabilities [B, 7] of the basic emotions from those of a model's labels [B, L], renormalised over the seven.

    Rows that leave nothing for the seven are NaN: the model saw something, but none of them.
    """
    mass = np.asarray(probabilities, np.float64) @ matrix
    total = mass.sum(1, keepdims=True)
    basic: NDArray[np.float32] = np.where(total > 0, mass / np.where(total > 0, total, 1.0), np.nan).astype(np.float32)
    return basic


def covered(matrix: NDArray[np.float32]) -> tuple[str, ...]:
    """The basic emotions that a model with this matrix [L, 7] can answer."""
    return tuple(emotion for emotion, shares in zip(BASIC_EMOTIONS, matrix.T, strict=True) if shares.any())


def missing_note(matrix: NDArray[np.float32]) -> str:
    """'cannot answer fear, disgust' for a source's preprocessing; empty when the model knows all seven."""
    missing = [emotion for emotion in BASIC_EMOTIONS if emotion not in covered(matrix)]
    return f"cannot answer {', '.join(missing)}" if missing else ""


def label_names(id2label: Mapping[int, str] | Mapping[str, str]) -> list[str]:
    """A model's labels in the order of its outputs."""
    return [name for _, name in sorted((int(number), str(name)) for number, name in id2label.items())]


# ---- reading meanings ----------------------------------------------------------------------------------------------------


def meanings_of(path: Path) -> dict[str, Meaning]:
    """A user's table of labels; InputError when it is missing, not such a table, or has labels still open."""
    holds = "a table: a line 'label: emotion' for each label of the model"
    table = read_yaml(path, holds)
    if not table:
        raise InputError(f"{path} must hold {holds}.")
    return {_plain_words(str(label)): _read_meaning(value, str(label), path) for label, value in table.items()}


def _read_meaning(value: object, label: str, path: Path) -> Meaning:
    """What a table says of a label: an emotion, none, or shares of several, scaled to 1 where they sum to more."""
    shares = value if isinstance(value, dict) else {} if _is_none(value) else {str(value): 1.0}
    found: Meaning = {}
    for word, share in shares.items():
        emotion = EMOTION_WORDS.get(str(word).strip().lower())
        right = isinstance(share, int | float) and not isinstance(share, bool) and math.isfinite(share) and share >= 0
        if emotion is None or not right:
            what = f"'{word}'" if emotion is None else f"the share {share!r}"
            raise InputError(
                f"{path}: {what} for the label '{label}' is not valid; write one of {', '.join(BASIC_EMOTIONS)}, "
                "or none, or shares such as {anger: 0.5, disgust: 0.5}."
            )
        found[emotion] = found.get(emotion, 0.0) + float(share)
    total = max(sum(found.values()), 1.0)
    return {emotion: share / total for emotion, share in found.items()}


def _is_none(value: object) -> bool:
    return value is None or str(value).strip().lower() == "none"


# ---- the table of known labels -------------------------------------------------------------------------------------------


def _find_meaning(label: str, section: Mapping[str, Meaning], own: Mapping[str, Meaning]) -> Meaning | None:
    """What a label means, by the user's table, the model's section, and the general words; None when nobody says.

    The known parts of a label such as 'anger/disgust' share it; parts that mean the same ('生气/angry') count once.
    """
    for known in (own, section, _general_words()):
        for key in _spellings(label):
            if key in known:
                return known[key]
    parts = [_find_meaning(part, section, own) for part in label.split("/")] if "/" in label else []
    meanings: list[Meaning] = []
    meanings += (part for part in parts if part is not None and part not in meanings)
    if not meanings:
        return None
    return {
        emotion: sum(meaning.get(emotion, 0.0) for meaning in meanings) / len(meanings)
        for emotion in dict.fromkeys(emotion for meaning in meanings for emotion in meaning)
    }


def _spellings(label: str) -> list[str]:
    """Keys to look a label up by: as it is, and without words that say nothing of the emotion."""
    telling = " ".join(word for word in _plain_words(label).split() if word not in _words_aside())
    return [key for key in (_plain_words(label), telling) if key]


def _plain_words(label: str) -> str:
    """The words of a label without case, accents and signs."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", label.casefold()) if not unicodedata.combining(sign))
    return " ".join(re.findall(r"[^\W_]+", bare)) or label.strip()


class LabelTable(TypedDict):
    """What `label_maps.yaml` holds: words that say nothing of the emotion, words of each emotion, words that mean several,
    and the labels of single models, by name or, in a list, by the position of the output."""

    aside: list[str]
    words: dict[str, list[str]]
    mixed: dict[str, object]
    models: dict[str, dict[str, object] | list[object]]


@cache
def _shipped_table() -> LabelTable:
    table: LabelTable = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table


@cache
def _words_aside() -> frozenset[str]:
    return frozenset(_shipped_table()["aside"])


@cache
def _general_words() -> dict[str, Meaning]:
    """Every general word: the corpora's, the table's, and compounds, which are half the one and half the other."""
    words: dict[str, Meaning] = {_plain_words(word): {emotion: 1.0} for word, emotion in EMOTION_WORDS.items()}
    words |= {_plain_words(one.name): {one.first: 0.5, one.second: 0.5} for one in ABAW_COMPOUNDS}
    for emotion, others in _shipped_table()["words"].items():
        words |= {_plain_words(str(word)): _read_meaning(emotion, word, TABLE) for word in others}
    return words | {_plain_words(word): _read_meaning(shares, word, TABLE) for word, shares in _shipped_table()["mixed"].items()}


def _section_of_model(where: str, labels: Sequence[str]) -> dict[str, Meaning]:
    """The section of the model whose name is a part of the path or repository `where`.

    A list holds only for as many labels: a model of the same name with others was trained anew.
    """
    parts = re.split(r"[/\\]|--", where)
    section = next((section for name, section in _shipped_table()["models"].items() if name in parts), {})
    if isinstance(section, list):
        section = dict(zip(labels, section, strict=True)) if len(section) == len(labels) else {}
    return {_plain_words(label): _read_meaning(value, label, TABLE) for label, value in section.items()}


# ---- what a user is told -------------------------------------------------------------------------------------------------


def _unmapped(labels: Sequence[str], meanings: Sequence[Meaning | None], where: str, own: Path | None) -> str:
    """The table with what is known and what is open, and where it goes."""
    unknown = [f"'{label}'" for label, meaning in zip(labels, meanings, strict=True) if meaning is None]
    new = "save it as a .yaml file, which 'labels: FILE' in this modality's settings names"
    return (
        f"It is not known which basic emotions {', '.join(unknown)} mean, {len(unknown)} of the {len(labels)} labels of {where}. "
        f"Fill in this table ({', '.join(BASIC_EMOTIONS)}, none, or shares such as {{anger: 0.5, disgust: 0.5}}) and "
        + (f"put it into {own}" if own else new)
        + ":\n\n"
        + "".join(_table_line(label, meaning) for label, meaning in zip(labels, meanings, strict=True))
    )


def _table_line(label: str, meaning: Meaning | None) -> str:
    """A line of the table to fill in, quoted where YAML needs it."""
    name = yaml.safe_dump(label, allow_unicode=True, width=1000, default_style=None).removesuffix("...\n").strip()
    if meaning is None:
        said = f'"{OPEN}"'
    elif list(meaning.values()) == [1.0]:
        said = next(iter(meaning))
    else:
        said = "{" + ", ".join(f"{emotion}: {share:g}" for emotion, share in meaning.items()) + "}" if meaning else "none"
    return f"{name}: {said}\n"
