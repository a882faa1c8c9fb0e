"""AFEW: clips of films, whole, or in the pieces of 4 s that RAS works on."""

import os
import re

import pandas as pd

from data.corpora.tree import Found, Tree, media_by, our_label, read_listing, some, stem

_SEGMENTS = re.compile(r"(train|val|dev|test)_segment\.csv$")
_SPLITS = {"train": "train", "val": "dev", "dev": "dev", "test": "test"}


def afew(tree: Tree) -> Found:
    """AFEW: <split>/<Emotion>/NNN.avi, or the 4 s pieces and the lists {train,dev}_segment.csv of RAS."""
    if any(_SEGMENTS.search(path) for path in tree.files):
        return _segments(tree)
    rows = []
    for path in tree.media:
        folders = os.path.dirname(path).split("/")
        split = next((word for folder in folders if (word := _afew_split(folder))), "")
        label = next((folder for folder in reversed(folders) if our_label(folder)), "")
        if split and (label or split == "test"):
            rows.append({"path": path, "split": split, "corpus_label": label, "label": our_label(label)})
    missing = [name for name in ("train", "dev") if rows and name not in {row["split"] for row in rows}]
    return Found(pd.DataFrame(rows, dtype="str"), tuple(f"No clips of the {name} set in {tree.root}." for name in missing))


def _afew_split(folder: str) -> str:
    found = re.match(r"(train|val|dev|test)", folder.lower())
    return _SPLITS[found[1]] if found else ""


def _segments(tree: Tree) -> Found:
    rows: list[dict[str, str]] = []
    files = media_by(tree, stem)
    for path in tree.files:
        if found := _SEGMENTS.search(path):
            table = read_listing(tree, path, ("video_name",))
            for name, label in zip(table["video_name"], _strongest(table), strict=True):
                rows.append({
                    "path": files.get(stem(name), name), "clip_id": stem(name), "split": _SPLITS[found[1]],
                    "corpus_label": label, "label": our_label(label),
                })  # fmt: skip
    lost = [row["clip_id"] for row in rows if row["clip_id"] not in files]
    return Found(pd.DataFrame(rows, dtype="str"), (f"Not there: {some(lost, 'listed pieces')}.",) if lost else ())


def _strongest(table: pd.DataFrame) -> list[str]:
    """The class with the highest value in each row; '' where none is above 0."""
    classes = [name for name in table.columns if our_label(name) or name.lower() == "other"]
    if not classes:
        return [""] * len(table)
    values = table[classes].apply(pd.to_numeric, errors="coerce").fillna(0.0)
    return [str(name) if value > 0 else "" for name, value in zip(values.idxmax(axis=1), values.max(axis=1), strict=True)]
