"""The paths of a manifest: below a root that is a folder or an fsspec address (s3://bucket/talks, memory://set)."""

import os
import posixpath
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

import pandas as pd

from data.files import as_it_is_named
from data.location import ADDRESS, Location, address_problem

WHOLE = rf"{ADDRESS}|^/"
"""What a path begins with that is not relative to the root."""
LISTED_FROM = 32
"""Files of one folder from which on the folder is listed once instead of asking for each of them."""


def below(paths: pd.Series, root: str, remote: Collection[str] = ()) -> tuple[pd.Series, pd.Series]:
    """Paths relative to `root`, in normal form, and for each why it cannot be used ('' where it can).

    Absolute paths are fine inside `root`, addresses of the file systems `remote` (s3, https) everywhere. The check is one of
    names: a link inside the root may point anywhere, since whoever owns the root has made it.
    """
    paths, problems = paths.str.strip(), pd.Series("", index=paths.index, dtype="str")
    local = paths.str.replace(r"^(?:file|local)://", "", regex=True)
    addresses = local.str.contains(ADDRESS, regex=True)
    crooked = ~addresses & local.str.contains(r"(?:^|/)\.{1,2}(?:/|$)|//|\x00", regex=True)
    if crooked.any():
        normal = [posixpath.normpath(path) for path in local[crooked]]
        local[crooked] = pd.Series(normal, index=local.index[crooked], dtype="str")
    folder = Location(root)
    if not folder.is_remote:
        inside = local.str.startswith(folder.prefix) & ~addresses
        local = local.where(~inside, local.str.slice(len(folder.prefix)))
    outside = ~addresses & (local.str.startswith("/") | local.str.startswith("../") | local.isin(["..", "."]))
    problems[outside] = f"leaves the root {root}; correct it, or name a root that holds it"
    problems[addresses] = local[addresses].map(lambda address: address_problem(address, remote))
    return local.where(~outside, paths), problems


def not_files(paths: Iterable[str], root: str) -> dict[str, str]:
    """Those of the relative `paths` below the folder `root` that are no files, with what they are: 'missing', 'a folder', ..."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders[folder].append(name)
    wrong: dict[str, str] = {}
    for folder, names in folders.items():
        kinds = _kinds(f"{root}/{folder}" if folder else root, names)
        wrong |= {f"{folder}/{name}" if folder else name: kinds[name] for name in names if kinds[name] != "a file"}
    return wrong


def as_on_disk(paths: Iterable[str], root: str) -> dict[str, str]:
    """For relative paths that are not there, those of files whose names differ only in how letters with accents are composed."""
    found = {path: as_it_is_named(Path(root) / path) for path in paths if not path.isascii()}
    return {path: f"{path.rpartition('/')[0]}/{file.name}".lstrip("/") for path, file in found.items() if file.exists()}


def _kinds(folder: str, names: list[str]) -> dict[str, str]:
    if len(names) < LISTED_FROM:
        return {name: _kind(f"{folder}/{name}") for name in names}
    try:
        with os.scandir(folder) as entries:
            files = {entry.name for entry in entries if entry.is_file()}
    except OSError:
        files = set()
    return {name: "a file" if name in files else _kind(f"{folder}/{name}") for name in names}


def _kind(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except UnicodeEncodeError:
        return "unnameable"
    except (OSError, ValueError):
        return "missing"
    return "a file" if stat.S_ISREG(mode) else "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
