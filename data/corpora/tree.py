"""What lies in the folder of a corpus: walked once, then searched by name."""

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data.errors import InputError
from data.given_tables import as_text, read_given_table
from data.manifest.labels import label_name
from data.manifest.manifest import MEDIA, VIDEO

IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
_OF_FACES = ("face", "crop", "align", "224", "256")
"""In the names of folders with clips of faces only; the whole picture is preferred where there is one."""


@dataclass(frozen=True)
class Tree:
    """A corpus folder: `files` but images and `image_folders` (those with images), both relative and sorted."""

    root: Path
    files: tuple[str, ...]
    image_folders: tuple[str, ...]

    @property
    def media(self) -> list[str]:
        """The video and sound files."""
        return [path for path in self.files if os.path.splitext(path)[1].lower() in MEDIA]


@dataclass(frozen=True)
class Found:
    """The rows of a corpus (the columns of a manifest and `corpus_label`, the label in its own words), and what is missing."""

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def tree_of(folder: Path) -> Tree:
    """Walk a folder, links to folders included (each real folder once); InputError when it cannot be read."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; give the folder that the corpus was unpacked in.")
    files: list[str] = []
    images: list[str] = []
    seen: set[str] = set()
    for current, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        inside = os.path.relpath(current, folder)
        visible = [name for name in names if not name.startswith(".")]
        others = [name for name in visible if not name.lower().endswith(IMAGES)]
        files += [name if inside == "." else f"{inside}/{name}" for name in others]
        if len(others) < len(visible):
            images.append(inside)
    return Tree(folder.absolute(), tuple(sorted(files)), tuple(sorted(images)))


def image_files(tree: Tree) -> list[str]:
    """The pictures of a corpus, relative and sorted; they are listed when they are asked for, since clips have many."""
    found = []
    for folder in tree.image_folders:
        with os.scandir(tree.root / folder) as entries:
            names = [one.name for one in entries if one.name.lower().endswith(IMAGES) and not one.name.startswith(".")]
        found += names if folder == "." else [f"{folder}/{name}" for name in names]
    return sorted(found)


def stem(path: str) -> str:
    """The name of a file without folder and ending."""
    return os.path.splitext(os.path.basename(path))[0]


def media_by(tree: Tree, key: Callable[[str], Hashable | None]) -> dict[Hashable, str]:
    """The best media file for each key that `key(path)` gives (None: not of the corpus): video, and not of faces only, first."""
    best: dict[Hashable, str] = {}
    for path in sorted(tree.media, key=_rank):
        found = key(path)
        if found is not None:
            best.setdefault(found, path)
    return best


def _rank(path: str) -> tuple[bool, bool, str, str]:
    folders = os.path.dirname(path).lower()
    ending = os.path.splitext(path)[1].lower()
    return ending not in VIDEO, any(word in folders for word in _OF_FACES), "" if ending == ".wav" else ending, path


def our_label(text: str) -> str:
    """Our name for a corpus' label, '' for what we have no name for, such as contempt or a mix of three."""
    try:
        return label_name(text)
    except InputError:
        return ""


def read_listing(tree: Tree, path: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table of the corpus as text, with these columns under these names; InputError when it lacks one."""
    table = read_given_table(tree.root / path, "list of the corpus").checked("copy it again from the corpus")
    named = {table.required(name): name for name in columns}
    read = table.rows.rename(columns=named)
    return read.assign(**{name: as_text(read[name]) for name in columns})


def some(names: list[str], what: str) -> str:
    """'3 of the clips (a, b, c)', at most five of them by name."""
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} of the {what} ({listed})"
