"""Corpora of face crops: a manifest becomes labelled samples in three parts, and samples become batches of frames."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import EMOTION_WORDS
from data.errors import InputError
from data.location import Location, is_address
from data.manifest.manifest import read_manifest
from modalities.face_networks.registry import NetworkInput
from modalities.face_networks.views import read_views
from modalities.faces.crops import Pixels
from modalities.loading.side_by_side import read_ahead
from modalities.training.faces.stills import split_groups

PARTS = {"train": "train", "training": "train", "dev": "choose", "val": "choose", "valid": "choose", "validation": "choose",
         "test": "test"}  # fmt: skip
MORE_WORDS = {
    "contempt": "contempt", "contemptuous": "contempt", "anxiety": "anxiety", "anxious": "anxiety",
    "helplessness": "helplessness", "helpless": "helplessness", "disappointment": "disappointment",
    "disappointed": "disappointment",
}  # fmt: skip
WORDS = EMOTION_WORDS | MORE_WORDS
CHOOSE_SHARE = 0.1
"""Part of the training set that the weights are chosen on, where the corpus has no validation set of its own."""


class FaceSample(NamedTuple):
    """An image, a clip, a .npy of crops [T, S, S, 3] or a folder of images, with its class, what is said of it, and the file
    with a feature of what surrounds it."""

    path: str
    label: int
    caption: str = ""
    context: str = ""


@dataclass(frozen=True)
class FaceCorpus:
    """Samples to fit on, to choose the weights on, and to report on once, with what was left out in `notes`."""

    labels: tuple[str, ...]
    fit: tuple[FaceSample, ...]
    choose: tuple[FaceSample, ...]
    test: tuple[FaceSample, ...]
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[FaceSample, ...]:
        """Those of all parts."""
        return (*self.fit, *self.choose, *self.test)


def read_face_corpus(
    manifest: Path, labels: Sequence[str], *, fold: int | None = None, seed: int = 7, limit: int | None = None,
    root: Path | None = None,
) -> FaceCorpus:  # fmt: skip
    """The samples of a manifest (docs/datasets.md) whose label, or `corpus_label`, is one of `labels`.

    `split` says train, dev or test, or foldK: the official fold that tests a sample, of which `fold` names one. Where there is no
    dev part a tenth of the training set, whole speakers where they are known, is set apart to choose the weights on. `limit`
    keeps that many samples of each part; `root` is the folder of the paths, else the manifest's. InputError when a part to fit
    or choose on would be empty, or the fold is not there.
    """
    table, folder, unusable = usable_rows(manifest, root)
    table["part"], has_fold = _parts_of_splits(table["split"].tolist(), fold, manifest)
    classes = [_class_of(*pair, labels) for pair in zip(table["label"], table["corpus_label"], strict=True)]
    table["class"] = np.array(classes, np.int64)
    left_out = int((table["class"] < 0).sum())
    table = table[table["class"] >= 0].reset_index(drop=True)
    if not (table["part"] == "choose").any():
        train = np.flatnonzero(table["part"] == "train")
        table.loc[train[_set_apart(table.iloc[train], seed)], "part"] = "choose"
    notes = [*unusable, *([f"{left_out} of {len(classes)} samples have another label or none."] if left_out else [])]
    notes += [] if (table["part"] == "test").any() else ["There is no test part, so nothing was tested."]
    notes += [f"Fold {fold} is tested."] if has_fold else []
    parts = {part: _some_of(table[table["part"] == part], limit, seed) for part in ("train", "choose", "test")}
    samples = {part: _samples_of(rows, folder) for part, rows in parts.items()}
    if not samples["train"] or not samples["choose"]:
        named = ", ".join(labels)
        raise InputError(f"{manifest} has too few samples with the labels {named} to fit and to choose the weights on.")
    return FaceCorpus(tuple(labels), samples["train"], samples["choose"], samples["test"], tuple(notes))


def usable_rows(manifest: Path, root: Path | None = None) -> tuple[pd.DataFrame, str, tuple[str, ...]]:
    """The rows of a manifest without problems, the folder of their paths, and sentences about those that are left out.

    Columns `corpus_label`, `caption` and `context` are there in any case. Rows that name addresses are left out: a training reads
    its faces again and again. InputError when no row is left.
    """
    read = read_manifest(manifest, root, check_files=False)
    bad = (read.table["problem"] != "").to_numpy(bool)
    far = bad & read.table["path"].map(is_address).to_numpy(bool)
    notes = []
    for rows, why in ((far, "name addresses: a training reads files of this machine, so copy them first"), (bad & ~far, "")):
        if rows.any():
            first = why or f"cannot be used; the first: {read.table['problem'][rows].iloc[0].rstrip('.')}"
            notes.append(f"{rows.sum()} of {len(rows)} rows of {manifest.name} are left out as they {first}.")
    if bad.all():
        raise InputError(" ".join(notes))
    table = read.table[~bad].copy()
    for name in ("corpus_label", "caption", "context"):
        table[name] = table[name].astype("str").fillna("") if name in table else ""
    return table.reset_index(drop=True), read.root, tuple(notes)


def _class_of(label: str, word: str, labels: Sequence[str]) -> int:
    """Index of a label among `labels`, -1 where it is none; the corpus' own word counts where our names have none for it."""
    name = label or WORDS.get(word.strip().lower(), word.strip().lower())
    return list(labels).index(name) if name in labels else -1


def _parts_of_splits(splits: Sequence[str], fold: int | None, manifest: Path) -> tuple[list[str], bool]:
    """The part of each row, and whether a fold decided it."""
    folds = [int(found[1]) if (found := re.fullmatch(r"fold(\d+)", split)) else 0 for split in splits]
    known = sorted(set(folds) - {0})
    if (fold is None) == bool(known) or (fold is not None and fold not in known):
        said = f"has the folds {', '.join(map(str, known))}; name one" if known else "has no folds; leave the fold out"
        raise InputError(f"{manifest} {said} (--fold).")
    if known:
        return ["test" if number == fold else "train" for number in folds], True
    unknown = sorted(set(splits) - set(PARTS) - {""})
    if unknown:
        raise InputError(f"{manifest}: '{unknown[0]}' is no split; use train, dev, test or fold1, fold2, ...")
    return [PARTS.get(split, "train") for split in splits], False


def _set_apart(table: pd.DataFrame, seed: int) -> NDArray[np.bool_]:
    """Which rows the weights are chosen on: whole speakers, or where they are not known a tenth of every class."""
    if (table["speaker"] != "").all() and table["speaker"].nunique() > 3:
        return split_groups(pd.factorize(table["speaker"])[0].astype(np.int64), CHOOSE_SHARE, seed)
    order = np.random.default_rng(seed).permutation(len(table))
    rank = pd.Series(order).groupby(table["class"].to_numpy()).rank(pct=True).to_numpy()
    return np.asarray(rank <= min(max(CHOOSE_SHARE, 1.5 / table["class"].value_counts().min()), 0.5))


def _some_of(table: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    """At most `limit` rows, drawn at random and in their order."""
    kept = np.sort(np.random.default_rng(seed).permutation(len(table))[:limit])
    return table.iloc[kept]


def _samples_of(table: pd.DataFrame, root: str) -> tuple[FaceSample, ...]:
    """The samples of these rows, their files found from the root."""
    folder = Location(root)
    paths, contexts = ([path and str(folder / path) for path in table[name]] for name in ("path", "context"))
    columns = (paths, table["class"].tolist(), table["caption"].tolist(), contexts)
    return tuple(FaceSample(*values) for values in zip(*columns, strict=True))


def views_in_order(
    samples: Sequence[FaceSample], batches: Sequence[Sequence[int]], reads: NetworkInput, seed: Sequence[int] | None,
    workers: int = 4,
) -> Iterator[list[Pixels]]:  # fmt: skip
    """The views of each batch of sample numbers, read ahead by threads; with `seed` at random, by sample and not by order."""

    def load(batch: Sequence[int]) -> list[Pixels]:
        chances = [None if seed is None else np.random.default_rng([*seed, number]) for number in batch]
        return [read_views(samples[number].path, reads, chance) for number, chance in zip(batch, chances, strict=True)]

    return read_ahead(load, batches, workers)


def without_time(reads: NetworkInput) -> NetworkInput:
    """The same input for images: one frame."""
    return replace(reads, frames=1, stride=0, views=1)
