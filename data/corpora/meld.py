"""MELD: utterances of a series, each a clip, with their words."""

import os
import re

import pandas as pd

from data.corpora.tree import Found, Tree, media_by, our_label, read_listing, some, stem

MELD = re.compile(r"(?:final_videos_test)?dia(\d+)_utt(\d+)")
_FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
_COLUMNS = ("Dialogue_ID", "Utterance_ID", "Emotion", "Utterance", "Speaker")


def meld(tree: Tree) -> Found:
    """MELD: {train,dev,test}_sent_emo.csv and dia{D}_utt{U}.mp4 in a folder of the split."""
    lists = {split: path for path in reversed(tree.files) for split in _FOLDERS if path.endswith(f"{split}_sent_emo.csv")}
    files = {**media_by(tree, _spoilt_key), **media_by(tree, _key)}
    alone = len(lists) == 1
    tables, notes = [], []
    for split in _FOLDERS:
        if split in lists:
            table = _rows(tree, lists[split], split, {key: path for key, path in files.items() if isinstance(key, tuple)}, alone)
            tables.append(table)
            if lost := table.loc[~table.pop("there"), "path"].tolist():
                notes.append(f"Not there: {some(lost, f'clips of the {split} set')}; unpack {split}.tar.gz, or leave them.")
        else:
            notes.append(f"No {split}_sent_emo.csv in {tree.root}; the {split} set is left out.")
    return Found(pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), tuple(notes))


def _rows(tree: Tree, path: str, split: str, files: dict[tuple[str, ...], str], alone: bool) -> pd.DataFrame:
    table = read_listing(tree, path, _COLUMNS)
    names = [(dialogue.strip(), turn.strip()) for dialogue, turn in zip(table["Dialogue_ID"], table["Utterance_ID"], strict=True)]
    found = [files.get((split, *name)) or (files.get(("", *name)) if alone else None) for name in names]
    clips = [f"dia{dialogue}_utt{turn}" for dialogue, turn in names]
    return pd.DataFrame({
        "path": [file or f"{_FOLDERS[split]}/{clip}.mp4" for file, clip in zip(found, clips, strict=True)],
        "clip_id": [f"{split}_{clip}" for clip in clips], "split": split, "corpus_label": table["Emotion"],
        "label": table["Emotion"].map(our_label), "speaker": table["Speaker"], "language": "en",
        "transcript": table["Utterance"].str.strip(), "there": [file is not None for file in found],
    })  # fmt: skip


def _key(path: str) -> tuple[str, str, str] | None:
    """(split, dialogue, utterance) of a clip; the split is '' where no folder tells it."""
    found = re.fullmatch(r"dia(\d+)_utt(\d+)", stem(path))
    return (_split_of(path), found[1], found[2]) if found else None


def _spoilt_key(path: str) -> tuple[str, str, str] | None:
    """The same for the test clips that bear 'final_videos_test' before their name; taken where there is no other."""
    found = MELD.fullmatch(stem(path))
    return (_split_of(path), found[1], found[2]) if found else None


def _split_of(path: str) -> str:
    for folder in reversed(os.path.dirname(path).lower().split("/")):
        for split in _FOLDERS:
            if split in folder:
                return split
    return ""
