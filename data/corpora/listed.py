"""Corpora of film clips that come with lists of their folds: DFEW, FERV39k and MAFW."""

import re
from collections.abc import Callable, Sequence

import pandas as pd

from data.corpora.tree import Found, Tree, media_by, our_label, read_listing, some, stem
from data.errors import InputError

DFEW_ORDER = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
"""DFEW's own order, from 1 in its lists; the lists of DFER-CLIP count it from 0 and use it for FERV39k too."""
MAFW_ORDER = (*DFEW_ORDER, "contempt", "anxiety", "helplessness", "disappointment")
"""The order of the MAFW lists of DFER-CLIP."""

Listing = list[tuple[str, str, str, int]]
"""Key of a clip, label as written, train or test, fold."""


def dfew(tree: Tree) -> Found:
    """DFEW: EmoLabel_DataSplit/{train,test}(single-labeled)/set_K.csv, or DFEW_set_K_{train,test}.txt; clips 1.mp4 or 00001."""
    listing: Listing = []
    for path in tree.files:
        found = re.search(r"(train|test)\(?single[^/]*/(?:\w+_)?set_(\d)\.csv$|single_(train|test)set_(\d)\.csv$", path)
        if found:
            table = read_listing(tree, path, ("video_name", "label"))
            part, fold = found[1] or found[3], int(found[2] or found[4])
            for name, number in zip(table["video_name"], table["label"], strict=True):
                listing.append((_number(name), _class(number, DFEW_ORDER, 1), part, fold))
    listing = listing or _public_lists(tree, r"DFEW_set_(\d)_(train|test)\.txt$", DFEW_ORDER, lambda path: _number(stem(path)))
    return _found(tree, listing, lambda path: _number(stem(path)), "Clip/original/{}.mp4")


def mafw(tree: Tree) -> Found:
    """MAFW: .../single/.../set_K/{train,test}.txt (and compound), single_label.txt, or MAFW_set_K_{train,test}.txt."""
    listing: Listing = []
    for path in sorted(tree.files, key=lambda path: "/single/" not in path):
        if found := re.search(r"/set_(\d)/(train|test)\.txt$", path):
            single = {key for key, *_ in listing} if "/single/" not in path else set()
            listing += [(key, label, found[2], int(found[1])) for key, label in _pairs(tree, path) if key not in single]
    if not listing:
        listing = _public_lists(tree, r"MAFW_set_(\d)_(train|test)\.txt$", MAFW_ORDER, lambda path: _number(stem(path)))
    for path in tree.files:
        if re.search(r"(?:single|multi)_label\.txt$", path):
            known = {key for key, *_ in listing}
            listing += [(name, label, "", 0) for name, label in _pairs(tree, path) if name not in known]
    return _found(tree, listing, lambda path: _number(stem(path)), "clips/{:0>5}.mp4")


def ferv39k(tree: Tree) -> Found:
    """FERV39k: 4_setups/All_scenes/{train,test}_All.csv or FERV39K_{train,test}.txt; clips Scene/Emotion/NNNN."""
    listing: Listing = []
    for path in tree.files:
        if found := re.search(r"All_scenes/(train|test)_All\.csv$|FERV39[Kk]_(train|test)\.txt$", path):
            keys = [_scene(line.split()[0]) for line in _lines(tree, path)]
            listing += [(key, key.split("/")[-2], found[1] or found[2], 1) for key in dict.fromkeys(keys) if key.count("/") == 2]
    return _found(tree, listing, lambda path: _scene(re.sub(r"\.\w+$", "", path)), "2_ClipsforFaceCrop/{}.mp4")


def of_fold(table: pd.DataFrame, fold: int | None) -> pd.DataFrame:
    """One row a clip from one row a clip and fold (`part`, `fold`).

    With `fold` its training and test clips; without, the split of each clip is the fold whose test set has it ('fold2'), or its
    part where the corpus has one fold.
    """
    if fold is not None:
        chosen = table[table["fold"] == fold]
        if chosen.empty:
            known = ", ".join(str(number) for number in sorted(set(table["fold"]) - {0})) or "none"
            raise InputError(f"There are no lists for fold {fold}; there are lists for: {known}.")
        return chosen.assign(split=chosen["part"]).drop_duplicates("key").drop(columns=["key", "part", "fold"])
    several = table.loc[table["fold"] > 0, "fold"].nunique() > 1
    ordered = table.assign(first=table["part"] != "test").sort_values(["first", "fold"], kind="stable").drop_duplicates("key")
    split = ordered["part"].where(~(several & (ordered["part"] == "test")), "fold" + ordered["fold"].astype("str"))
    return ordered.assign(split=split).sort_index().drop(columns=["key", "part", "fold", "first"])


def _found(tree: Tree, listing: Listing, key: Callable[[str], str], expected: str) -> Found:
    """Rows with `key`, `part` and `fold` of the listed clips, with its file, else its pictures, else the expected file."""
    if not listing:
        return Found(pd.DataFrame())
    files = media_by(tree, key)
    images = {key(folder): folder for folder in reversed(tree.image_folders)}
    table = pd.DataFrame(listing, columns=["key", "corpus_label", "part", "fold"])
    table["path"] = [files.get(name) or images.get(name) or expected.format(name) for name in table["key"]]
    table["label"] = table["corpus_label"].map(our_label)
    names = table["key"].drop_duplicates()
    still = names[~names.isin(list(files)) & names.isin(list(images))].tolist()
    lost = names[~names.isin(list(files)) & ~names.isin(list(images))].tolist()
    notes = [f"Not in {tree.root}: {some(lost, 'listed clips')}, for example {expected.format(lost[0])}."] if lost else []
    if still:
        notes.append(f"Only as pictures there: {some(still, 'listed clips')}; add the clips, as {expected.format(still[0])}.")
    return Found(table, tuple(notes))


def _public_lists(tree: Tree, pattern: str, order: Sequence[str], key: Callable[[str], str]) -> Listing:
    """Lists of DFER-CLIP: 'path frames number' a line; numbers from 0, or from 1, told by whether 0 or the last one occurs."""
    rows = []
    for path in tree.files:
        if found := re.search(pattern, path):
            for line in _lines(tree, path):
                cells = line.rsplit(None, 2)
                if len(cells) != 3:
                    raise InputError(f"{tree.root / path}: '{line[:80]}' is not a line 'path frames label'; copy the list again.")
                rows.append((key(cells[0]), cells[2], found[2], int(found[1])))
    numbers = {number for _, number, _, _ in rows}
    if rows and not numbers & {"0", str(len(order))}:
        raise InputError(
            f"The lists in {tree.root} name neither class 0 nor class {len(order)}, so it is not known from where they count; "
            "use the corpus' own annotation, or complete lists."
        )
    first = 0 if "0" in numbers else 1
    return [(name, _class(number, order, first), part, fold) for name, number, part, fold in rows]


def _class(number: str, order: Sequence[str], first: int) -> str:
    index = int(number) - first if number.strip().isdecimal() else -1
    return order[index] if 0 <= index < len(order) else ""


def _pairs(tree: Tree, path: str) -> list[tuple[str, str]]:
    """Clip and label of each line '00025.mp4 anger ...'."""
    rows = [line.replace("\t", " ").split(None, 2)[:2] for line in _lines(tree, path)]
    return [(_number(stem(row[0])), row[1]) for row in rows if len(row) == 2]


def _lines(tree: Tree, path: str) -> list[str]:
    text = (tree.root / path).read_text(encoding="utf-8-sig", errors="replace")
    return [line for line in text.splitlines() if line.strip()]


def _number(name: str) -> str:
    """'00001' and '1' are one clip."""
    return name.lstrip("0") or name


def _scene(path: str) -> str:
    """Scene/Emotion/NNNN of a path."""
    return "/".join(path.split("/")[-3:])
