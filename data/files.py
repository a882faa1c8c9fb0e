"""Writing that leaves nothing half-written: aside first, then renamed."""

import contextlib
import hashlib
import os
import re
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path

_ASIDE = re.compile(r"\..*\.[0-9a-f]{8}(\.[^.]+)?")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to; it becomes `path` when the block ends well and is removed when it does not.

    The temporary name keeps the suffix, since writers choose their format by it.
    """
    # At most 80 letters of the stem: a name that fills the 255 bytes of a file system leaves no room for what is added.
    aside = path.with_name(f".{path.stem[:80]}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def clear_aside(folder: Path) -> None:
    """Remove what processes that were killed left of `atomic_path` in `folder` and below; nobody may write there meanwhile."""
    for path in folder.rglob(".*"):
        if _ASIDE.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def is_hidden(path: Path, root: Path) -> bool:
    """Whether a file, or a folder between it and `root`, has a name that begins with a dot: hidden files, and what Macs leave."""
    return any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts)


def as_it_is_named(path: Path) -> Path:
    """The path of a file as the disk writes it, where letters with accents are composed there and not here, or the other way."""
    if path.exists() or not path.parent.is_dir() or path.name.isascii():
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    return next((file for file in path.parent.iterdir() if unicodedata.normalize("NFC", file.name) == wanted), path)


def name_problem(path: Path) -> str:
    """A sentence where a path is no UTF-8, which no table, page or document of ours could hold; else ''."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        return f"The name {shown} is no UTF-8; rename it, or use a locale with UTF-8 (LC_ALL=C.UTF-8)."
    return ""


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as aside:
        aside.write_text(text, encoding="utf-8")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content as hex; reads in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def quick_digest(path: Path, piece: int = 2**20, most: int = 2**26) -> str:
    """SHA-256 of a file; of one larger than `most` bytes, of its size and a piece of its beginning, middle and end.

    For deciding whether a checkpoint of gigabytes is still the same one, where reading all of it would take longer than using it.
    """
    size = path.stat().st_size
    if size <= most:
        return file_digest(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for offset in (0, size // 2, size - piece):
            stream.seek(offset)
            digest.update(stream.read(piece))
    return digest.hexdigest()


_digests: dict[tuple[Path, int, int], str] = {}


def digest(path: Path | None) -> str:
    """`quick_digest`, read again only when the file's size or time changes; empty when there is no file."""
    if path is None or not path.is_file():
        return ""
    status = path.stat()
    key = (path, status.st_size, status.st_mtime_ns)
    if key not in _digests:
        _digests[key] = quick_digest(path)
    return _digests[key]
