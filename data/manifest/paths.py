"""Where the files of a data set lie: paths below a root that is a folder or an fsspec URL (s3://bucket/talks, memory://set)."""

import os
import posixpath
import re
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

URL = r"^[A-Za-z][A-Za-z0-9+.\-]+(?:://|::)"
"""What an address begins with; a single letter before the colon is a drive."""
WHOLE = rf"{URL}|^/"
"""What a path begins with that is not relative to the root."""
LISTED_FROM = 32
"""Files of one folder from which on the folder is listed once instead of asking for each of them."""


def is_url(place: str | Path) -> bool:
    """True for fsspec addresses, `file://` included."""
    return isinstance(place, str) and re.match(URL, place) is not None


def plain_root(root: str | Path) -> str:
    """A root as text: an address as it is (without the last slash), a folder as an absolute, normal path."""
    text = os.fspath(root)
    if text.startswith(("file://", "local://")):
        text = "/" + text.partition("://")[2].lstrip("/")
    if not is_url(text):
        return os.path.abspath(text)
    system, between, place = text.partition("://")
    return f"{system}{between}{place.rstrip('/')}"


def parent(place: str | Path) -> str:
    """The folder that a file or address lies in."""
    text = os.fspath(place)
    if not is_url(text):
        return os.path.dirname(os.path.abspath(text))
    system, between, path = text.partition("://")
    return f"{system}{between}{path.rpartition('/')[0]}"


def opened(root: str) -> str:
    """A root with the slash that a path inside it comes after."""
    return root if root.endswith("/") else root + "/"


def below(paths: pd.Series, root: str) -> tuple[pd.Series, pd.Series]:
    """Paths relative to `root`, in normal form, and for each why it cannot be used ('' where it can).

    Absolute paths are fine inside `root`, addresses of file systems that fsspec knows everywhere. The check is one of names:
    a link inside the root may point anywhere, since whoever owns the root has made it.
    """
    paths, problems = paths.str.strip(), pd.Series("", index=paths.index, dtype="str")
    local = paths.str.replace(r"^(?:file|local)://", "", regex=True)
    addresses = local.str.contains(URL, regex=True)
    crooked = ~addresses & local.str.contains(r"(?:^|/)\.{1,2}(?:/|$)|//|\x00", regex=True)
    if crooked.any():
        normal = [posixpath.normpath(path) for path in local[crooked]]
        local[crooked] = pd.Series(normal, index=local.index[crooked], dtype="str")
    if not is_url(root):
        inside = local.str.startswith(opened(root)) & ~addresses
        local = local.where(~inside, local.str.slice(len(opened(root))))
    outside = ~addresses & (local.str.startswith("/") | local.str.startswith("../") | local.isin(["..", "."]))
    problems[outside] = f"leaves the root {root}; correct it, or name a root that holds it"
    problems[addresses & local.str.contains("::", regex=False)] = "is a chain of addresses; give the address of the file itself"
    unknown = addresses & ~local.str.replace(r"://.*$", "", regex=True).str.lower().isin(_protocols()) & (problems == "")
    problems[unknown] = "is an address of a file system that fsspec does not know; correct what stands before ://"
    return local.where(~outside, paths), problems


def _protocols() -> list[str]:
    from fsspec import available_protocols

    return [name for name in available_protocols() if name not in ("file", "local")]


def not_files(paths: Iterable[str], root: str) -> dict[str, str]:
    """Those of the relative `paths` below the folder `root` that are no files, with what they are: 'missing' or 'a folder'."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        folders[folder].append(name)
    wrong: dict[str, str] = {}
    for folder, names in folders.items():
        kinds = _kinds(f"{root}/{folder}" if folder else root, names)
        wrong |= {f"{folder}/{name}" if folder else name: kinds[name] for name in names if kinds[name] != "a file"}
    return wrong


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
    except (OSError, ValueError):
        return "missing"
    return "a file" if stat.S_ISREG(mode) else "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
