"""What `dyad score` is given, a table, a folder or an .npz, as inputs in their order; and the answers about them."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import DyadError, InputError
from data.files import is_hidden
from data.given_files import GivenFile
from data.given_tables import GivenTable, read_given_table
from data.location import Location, address_problem, is_address
from data.media.limits import USUAL
from data.media.probe import check_still
from data.npz_files import read_arrays
from flows.runtime.errors import sentence
from flows.runtime.events import Listeners
from modalities.loading.side_by_side import side_by_side

Probabilities = NDArray[np.float32]
"""[B, 7], a NaN row where an input has no answer."""
Image = NDArray[np.uint8]
"""Grey [H, W] or RGB [H, W, 3]."""
Item = TypeVar("Item")
Read = TypeVar("Read")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
CHUNK = 256
"""Inputs read and scored at a time, so that memory does not grow with their number."""
FILES_AT_ONCE = 64
"""Images or clips of any size in memory at a time."""


class Answers(NamedTuple):
    """Names of B inputs, their probabilities [B, 7] (NaN rows where absent), why an input has none, by name, how well each
    could be seen or heard [B] (`modalities.quality`; None where nothing says it), and the names of those that cannot be read."""

    names: list[str]
    basic: Probabilities
    reasons: dict[str, str] = {}
    quality: NDArray[np.float32] | None = None
    broken: frozenset[str] = frozenset()


class Transcripts(NamedTuple):
    """Names of B inputs and what was heard in each: `text`, `language`, `rejected` (what is not believed); why an input has none,
    by name, and the names of those that cannot be read."""

    names: list[str]
    heard: pd.DataFrame
    reasons: dict[str, str] = {}
    broken: frozenset[str] = frozenset()


class Scored(NamedTuple):
    """How many inputs of all were scored so far."""

    done: int
    total: int


_root: ContextVar[Path | None] = ContextVar("root", default=None)
_remote: ContextVar[Collection[str]] = ContextVar("remote", default=())


@contextlib.contextmanager
def paths_from(root: Path | None = None, remote: Collection[str] = ()) -> Iterator[None]:
    """Inside the block the paths of a table start from `root` (None: its folder), and it may name addresses of the file systems
    `remote` (s3, https)."""
    before = _root.set(root), _remote.set(remote)
    try:
        yield
    finally:
        _root.reset(before[0])
        _remote.reset(before[1])


_listeners: Listeners[Scored] = Listeners()
tell, watching = _listeners.tell, _listeners.listening


class Beside(NamedTuple):
    """What a table knows of a file besides: the file with a feature of its context, what is said of it; '' for nothing."""

    context: str = ""
    caption: str = ""


def in_chunks(
    items: Sequence[Item], score: Callable[[Sequence[Item]], Probabilities], size: int = CHUNK, *, device: str = ""
) -> Probabilities:
    """Probabilities [B, 7] of B items, of which `score` is shown at most `size` at a time.

    device: where a small network computes, whose chunks are scored side by side on a processor (`side_by_side`).
    """
    chunks = [items[first : first + size] for first in range(0, len(items), size)]
    parts: list[Probabilities] = []
    tell(Scored(0, len(items)))
    done = 0
    for part in side_by_side(score, chunks, device):
        parts.append(part)
        done += len(part)
        tell(Scored(done, len(items)))
    return np.concatenate(parts) if parts else np.zeros((0, len(BASIC_EMOTIONS)), np.float32)


def by_length(texts: Sequence[str], score: Callable[[Sequence[str]], Probabilities], device: str) -> Probabilities:
    """Probabilities [B, 7] of B texts, each read once: those of one length together, so that little is padded."""
    kinds = sorted(set(texts), key=lambda text: (len(text), text))
    row = {text: number for number, text in enumerate(kinds)}
    return in_chunks(kinds, score, device=device)[[row[text] for text in texts]]


def readable(
    items: Sequence[Item], read: Callable[[Item], Read | None], reasons: dict[str, str], name: Callable[[Item], str]
) -> list[Read | None]:
    """What `read` makes of each item; None, with the sentence in `reasons`, for those that cannot be read."""
    done: list[Read | None] = []
    for item in items:
        try:
            done.append(read(item))
        except (DyadError, OSError) as error:
            reasons[name(item)] = sentence(error)
            done.append(None)
    return done


def with_gaps(part: Sequence[Read | None], score: Callable[[list[Read]], Probabilities]) -> Probabilities:
    """Probabilities [B, 7] of what could be read; NaN rows for the rest."""
    answers = np.full((len(part), len(BASIC_EMOTIONS)), np.nan, np.float32)
    rows = [row for row, item in enumerate(part) if item is not None]
    if rows:
        answers[rows] = score([item for item in part if item is not None])
    return answers


def read_inputs(table: Path) -> GivenTable:
    """The table that names or holds the inputs, rows of the wrong form among them; InputError when it is none or has no rows."""
    return _read_inputs(table, *Location.at(table).version())


@lru_cache(maxsize=2)
def _read_inputs(table: Path, *_version: object) -> GivenTable:
    given = read_given_table(table, "table of inputs")
    replace(given, errors={}).checked("give a row for each input")
    return given


def misshapen(table: Path) -> dict[int, str]:
    """Rows of a table that have more or fewer cells than its first line: what each says is not sure. By row, a sentence."""
    given = read_inputs(table)
    wrong = {row: given.errors[line] for row, line in enumerate(given.lines.tolist()) if line in given.errors}
    return {row: f"{given.where(row)}: {problem}." for row, problem in wrong.items()}


def column(table: Path, names: tuple[str, ...]) -> list[str]:
    """The first of the columns `names` that a table has, as text, '' in misshapen rows; InputError when it has none."""
    given, wrong = read_inputs(table), misshapen(table)
    name = next((name for name in names if name in given), names[0])
    return ["" if row in wrong else cell for row, cell in enumerate(given.text(name))]


def texts_answers(table: Path, score: Callable[[list[str]], Probabilities], change: Callable[[str], str] = str) -> Answers:
    """Answers about the column `text` of a table, each cell after `change`; misshapen rows are broken, named by their line."""
    given, texts = read_inputs(table), list(map(change, column(table, ("text",))))
    wrong = {given.where(row): (row, said) for row, said in misshapen(table).items()}
    names = list(texts)
    for name, (row, _) in wrong.items():
        names[row] = name
    return Answers(names, score(texts), {name: said for name, (_, said) in wrong.items()}, broken=frozenset(wrong))


def column_if_any(table: Path, name: str) -> list[str]:
    """A column that a table may have; empty without it."""
    return column(table, (name,)) if name in read_inputs(table) else []


def files_in(table: Path, endings: frozenset[str]) -> list[GivenFile]:
    """The files below a folder by name, or those of a CSV's column `path`; of a row whose file may not be read the problem.

    A relative path starts from the CSV's folder, or that of `paths_from`, and may not leave it; an absolute one is taken as is.
    """
    if table.is_dir():
        found = sorted(file for file in table.rglob("*") if file.suffix.lower() in endings and not is_hidden(file, table))
        if not found:
            raise InputError(f"{table} holds no file ending in one of {' '.join(sorted(endings))}.")
        return [GivenFile(str(file)) for file in found]
    given, names = read_inputs(table), ("path", "file", "filename", "audio", "image", "input")
    header = next((name for name in names if name in given), names[0])
    empty = f"the cell in the column '{header}' is empty; name a file, or remove the row"
    files, wrong = enumerate(_named(table, names)), misshapen(table)
    told = [wrong.get(row, f"{given.where(row)}: {empty}.") for row in range(len(given))]
    return [file if file.name else GivenFile(given.where(row), told[row]) for row, file in files]


def with_what_is_known(table: Path, files: Sequence[GivenFile]) -> list[tuple[GivenFile, Beside]]:
    """Each file with what a CSV says of it in the columns `context` (a file) and `caption`."""
    if table.is_dir():
        return [(file, Beside()) for file in files]
    captions = column_if_any(table, "caption") or [""] * len(files)
    contexts = _named(table, ("context",)) if "context" in read_inputs(table) else [GivenFile("")] * len(files)
    return [_knowing(*known) for known in zip(files, contexts, captions, strict=True)]


def _knowing(file: GivenFile, context: GivenFile, caption: str) -> tuple[GivenFile, Beside]:
    far = f"{context}: a context is read from this machine; fetch it first." if is_address(context.name) else ""
    return replace(file, problem=file.problem or context.problem or far), Beside(context.name, caption)


def _named(table: Path, columns: tuple[str, ...]) -> list[GivenFile]:
    """The files that the first of these columns of a CSV names; one without a name for an empty cell."""
    given, cells, root = read_inputs(table), column(table, columns), (_root.get() or table.parent).resolve()
    return [_given_file(cell, given.where(row), root, _remote.get()) for row, cell in enumerate(cells)]


def _given_file(cell: str, where: str, root: Path, remote: Collection[str]) -> GivenFile:
    name = Location.at(cell).text if is_address(cell) else cell
    if is_address(name):
        problem = address_problem(name, remote)
        return GivenFile(name, f"{where}: {name} {problem}." if problem else "")
    if name and not Path(name).is_absolute() and not (root / name).resolve().is_relative_to(root):
        return GivenFile(name, f"{where}: {name} is outside of {root}; write its absolute path if that is meant.")
    return GivenFile(str(root / name) if name else "")


def stored_images(table: Path) -> NDArray[np.uint8]:
    """The array `images` of an .npz, uint8 [B, H, W] or [B, H, W, 3]; InputError when it has none."""
    try:
        images: NDArray[np.uint8] = read_arrays(table, "images")["images"]
    except (OSError, ValueError) as error:
        raise InputError(f"{table} is not an .npz with the array 'images' ({error}).") from error
    return images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images


def read_image(file: Path) -> Image:
    """RGB [H, W, 3]; InputError when it cannot be read, MediaError for one of too many pixels."""
    import cv2

    if file.is_file():
        check_still(file, USUAL)
    image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR_RGB) if file.is_file() else None
    if image is None:
        raise InputError(f"{file} is not a picture that can be read; remove it or give another.")
    return np.asarray(image, np.uint8)


def by_shape(images: Sequence[Image], score: Callable[[NDArray[np.uint8]], Probabilities]) -> Probabilities:
    """Probabilities [B, 7] of images of any sizes; `score` is shown those of one size together, [N, H, W] or [N, H, W, 3]."""
    answers = np.zeros((len(images), len(BASIC_EMOTIONS)), np.float32)
    shapes = [image.shape for image in images]
    for shape in set(shapes):
        rows = [row for row, own in enumerate(shapes) if own == shape]
        answers[rows] = score(np.stack([images[row] for row in rows]))
    return answers
