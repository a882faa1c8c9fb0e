"""Corpora of faces for the networks of the literature: RAF-DB, AffectNet, FER+, CAER and CAER-S."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.corpora.tree import Found, Tree, image_files, our_label, read_listing, some, stem
from data.errors import InputError

RAF_ORDER = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""RAF-DB's basic expressions, from 1 in its list."""
RAF_COMPOUNDS = (
    "happily surprised", "happily disgusted", "sadly fearful", "sadly angry", "sadly surprised", "sadly disgusted",
    "fearfully angry", "fearfully surprised", "angrily surprised", "angrily disgusted", "disgustedly surprised",
)  # fmt: skip
"""RAF-DB's compound expressions, from 1 in its list."""
AFFECTNET_ORDER = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt", "none", "uncertain", "no face",
)  # fmt: skip
"""AffectNet's expressions from 0; the last three are in its first release alone and no expressions."""
AFFECTNET_COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression", "valence",
    "arousal",
)  # fmt: skip
FER_ORDER = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
"""The columns of the votes in fer2013new.csv."""
FER_FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
"""What a use is called in fer2013.csv and in the folders that the authors of FER+ make from it."""
PARTS = {"train": "train", "valid": "dev", "val": "dev", "validation": "dev", "dev": "dev", "test": "test"}


def raf_db(tree: Tree) -> Found:
    """RAF-DB: {basic,compound}/EmoLabel/list_patition_label.txt; pictures aligned/train_00001_aligned.jpg, else original/."""
    rows = []
    lists = [path for path in tree.files if re.search(r"list_par?tition_label\.txt$", path)]
    images = sorted(image_files(tree), key=lambda path: "aligned" not in path)
    for path in lists:
        compound = "compound" in path.lower()
        near = [name for name in reversed(images) if len(lists) == 1 or ("compound" in name.lower()) == compound]
        own = {_raf_name(name): name for name in near}
        order = RAF_COMPOUNDS if compound else RAF_ORDER
        for line in (tree.root / path).read_text(encoding="utf-8-sig", errors="replace").splitlines():
            if len(cells := line.split()) == 2:
                expected = f"{'compound' if compound else 'basic'}/Image/aligned/{stem(cells[0])}_aligned.jpg"
                rows.append(_row(own.get(_raf_name(cells[0]), expected), cells[0].partition("_")[0], _of(order, cells[1], 1)))
    return _found(tree, rows, images)


def _raf_name(path: str) -> str:
    return stem(path).removesuffix("_aligned")


def affectnet(tree: Tree) -> Found:
    """AffectNet: {train,val}_set/annotations/0_exp.npy with images/0.jpg, or training.csv and validation.csv with pictures."""
    images = image_files(tree)
    found = _found(tree, list(_affectnet_arrays(tree, images) or _affectnet_tables(tree, images)), images)
    said = "AffectNet has no public test set: its validation set, on which the field reports, is the test part here."
    boxes = "These are whole pictures, not faces: 'dyad faces' cuts the faces out that the trainings want."
    if found.table.empty:
        return found
    return Found(found.table, (*found.notes, said, *((boxes,) if "face_width" in found.table else ())))


def _affectnet_arrays(tree: Tree, images: Sequence[str]) -> list[dict[str, str]]:
    arrays = [path for path in tree.files if path.endswith("_exp.npy")]
    by_stem = {f"{Path(path).parent.parent}/{stem(path)}": path for path in images} if arrays else {}
    rows = []
    for path in arrays:
        home, name = str(Path(path).parent.parent), stem(path).removesuffix("_exp")
        expected = f"{home}/images/{name}.jpg".removeprefix("./")
        part = "train" if "train" in home.lower() else "test"
        rows.append(_row(by_stem.get(f"{home}/{name}", expected), part, _of(AFFECTNET_ORDER, _number_in(tree.root / path), 0)))
    return rows


def _number_in(path: Path) -> str:
    """The number in a .npy of one value, which AffectNet keeps as text."""
    try:
        return str(np.load(path, allow_pickle=False).item()).strip()
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as AffectNet's annotation ({error}); copy it again from the corpus.") from error


def _affectnet_tables(tree: Tree, images: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of the CSV files, whose first line may lack; a picture is the file whose path ends as the table says."""
    by_end = {"/".join(path.split("/")[-2:]): path for path in images}
    for path in tree.files:
        found = re.search(r"(?:^|/)(training|validation|automatically_annotated)\.csv$", path)
        if not found:
            continue
        table = _affectnet_table(tree, path)
        part = "test" if found[1] == "validation" else "train"
        boxes = [name for name in AFFECTNET_COLUMNS[1:5] if name in table]
        for values in table[["subDirectory_filePath", "expression", *boxes]].itertuples(index=False, name=None):
            row = _row(by_end.get(values[0], values[0]), part, _of(AFFECTNET_ORDER, values[1], 0))
            yield row | dict(zip(boxes, values[2:], strict=True))


def _affectnet_table(tree: Tree, path: str) -> pd.DataFrame:
    table = read_listing(tree, path, ())
    if "subDirectory_filePath" in table.columns:
        return read_listing(tree, path, ("subDirectory_filePath", "expression"))
    if len(table.columns) != len(AFFECTNET_COLUMNS):
        raise InputError(f"{tree.root / path} is not a list of AffectNet: it has no column subDirectory_filePath; copy it again.")
    first = pd.DataFrame([list(table.columns)], columns=AFFECTNET_COLUMNS)
    return pd.concat([first, table.set_axis(list(AFFECTNET_COLUMNS), axis=1)], ignore_index=True)


def ferplus(tree: Tree) -> Found:
    """FER+: fer2013new.csv (votes) and FER2013{Train,Valid,Test}/fer0000000.png; the label is the majority of the votes."""
    rows = []
    images = image_files(tree)
    by_name = {path.rpartition("/")[2]: path for path in images}
    lists = [path for path in tree.files if path.endswith("fer2013new.csv")]
    for path in lists[:1]:
        table = read_listing(tree, path, ("Usage", "Image name", *FER_ORDER))
        labels = majorities(table[list(FER_ORDER)].apply(pd.to_numeric, errors="coerce").fillna(0).to_numpy(np.float64))
        for use, name, label in zip(table["Usage"], table["Image name"], labels, strict=True):
            if name.strip():
                folder = FER_FOLDERS.get(use, use)
                part = PARTS.get(folder.removeprefix("FER2013").lower(), "")
                rows.append(_row(by_name.get(name.strip(), f"{folder}/{name.strip()}"), part, label))
    found = _found(tree, rows, images)
    packed = not images and any(path.endswith("fer2013.csv") for path in tree.files)
    more = ("Its pictures are in fer2013.csv: --pictures FOLDER writes them as files.",) if packed else ()
    return Found(found.table, (*found.notes, *more))


def majorities(votes: NDArray[np.float64]) -> list[str]:
    """The label with more than half of the votes [N, 10], single votes not counted (Barsoum et al. 2016); '' for none.

    Faces that most taggers call unknown or no face have none either.
    """
    counted = np.where(votes > 1, votes, 0)
    best = counted.argmax(1)
    clear = (counted.max(1) > counted.sum(1) / 2) & (best < 8)
    return [FER_ORDER[index] if one else "" for index, one in zip(best, clear, strict=True)]


def write_fer_images(folder: Path, images: Path) -> int:
    """Write the faces of fer2013.csv as FER2013{Train,Valid,Test}/fer0000000.png with fer2013new.csv beside them; how many.

    The folder is then one that `ferplus` reads. InputError when one of the two tables is not there, or they do not belong
    together (they have a row a face in the same order).
    """
    import cv2

    from data.corpora.tree import tree_of
    from data.files import atomic_path, write_text

    tree = tree_of(folder)
    pixels, votes = (_the_file(tree, name) for name in ("fer2013.csv", "fer2013new.csv"))
    listed = read_listing(tree, votes, ("Usage", "Image name", *FER_ORDER))
    levels = read_listing(tree, pixels, ("pixels",))["pixels"]
    if len(levels) != len(listed):
        raise InputError(f"{tree.root / pixels} has {len(levels)} faces and {tree.root / votes} {len(listed)}; copy both again.")
    for use, name, text in zip(listed["Usage"], listed["Image name"], levels, strict=True):
        if not name.strip():
            continue
        target = images / FER_FOLDERS.get(use, use) / name.strip()
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as aside:
            cv2.imwrite(str(aside), _image_of(text, tree.root / pixels))
    write_text(images / "fer2013new.csv", listed.to_csv(index=False))
    return int((listed["Image name"].str.strip() != "").sum())


def _the_file(tree: Tree, name: str) -> str:
    found = next((path for path in tree.files if path.rpartition("/")[2] == name), None)
    if found is None:
        raise InputError(f"There is no {name} in {tree.root}; the pictures of FER+ are made from fer2013.csv and fer2013new.csv.")
    return found


def _image_of(text: str, path: Path) -> NDArray[np.uint8]:
    levels = np.array(text.split(), np.uint8)
    if levels.size != 48 * 48:
        raise InputError(f"{path} has a face of {levels.size} levels, not 48 x 48; copy it again from the corpus.")
    return levels.reshape(48, 48)


def caer(tree: Tree) -> Found:
    """CAER: {train,validation,test}/<Emotion>/0001.avi; whole scenes."""
    return _of_folders(tree, [path for path in tree.media if path.lower().endswith((".avi", ".mp4", ".mkv"))])


def caer_s(tree: Tree) -> Found:
    """CAER-S: {train,test}/<Emotion>/0001.png; whole scenes."""
    return _of_folders(tree, image_files(tree))


def _of_folders(tree: Tree, paths: Sequence[str]) -> Found:
    """Files whose folder names the label and the folder above it the part."""
    rows = []
    for path in paths:
        folders = path.lower().split("/")
        if len(folders) >= 3 and folders[-3] in PARTS and our_label(folders[-2]):
            rows.append(_row(path, folders[-3], path.split("/")[-2]))
    said = ("These are whole scenes, not faces: 'dyad faces' cuts the faces out that the trainings want.",)
    return Found(pd.DataFrame(rows, dtype="str"), said if rows else ())


def _row(path: str, part: str, label: str) -> dict[str, str]:
    return {"path": path, "split": PARTS.get(part, part), "corpus_label": label, "label": our_label(label)}


def _of(order: Sequence[str], number: str, first: int) -> str:
    """The label of a class number, '' for what is none."""
    index = int(number) - first if number.strip().isdecimal() else -1
    return order[index] if 0 <= index < len(order) else ""


def _found(tree: Tree, rows: Sequence[dict[str, str]], images: Sequence[str]) -> Found:
    """The rows, and how many of their pictures are not there."""
    there = set(images)
    lost = [row["path"] for row in rows if row["path"] not in there]
    notes = (f"Not in {tree.root}: {some(lost, 'listed pictures')}.",) if lost else ()
    return Found(pd.DataFrame(rows, dtype="str"), notes)
