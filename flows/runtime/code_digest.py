"""What a stage's code is: every module of ours that its own can import, and the data files that these read, as one digest.

Imports are read from the sources, wherever in a file they stand: what a function imports when it is called counts like the rest.
What was read of a file is kept on disk until the file changes, so that a process need not parse anything.
"""

import ast
import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from data.errors import InputError
from data.files import file_digest
from flows.runtime.state_folder import state_folder, write_private

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("configs", "data", "flows", "fusion", "modalities", "reports")
OUTSIDE = ("flows.runtime", "flows.server", "modalities.added")
"""Packages that are left out. The first two change no answer: there, what happens is told and stopped, batches wait in queues,
models are kept in memory, and Prefect is prepared. The files in the third are the user's, and come as entries of their own."""
VALUES = "configs"
"""The package whose data files are no code: they are read into the settings, whose values are in the keys."""
CodeEntry = str | Path
"""A module by its name, or a Python file that is no module of ours."""


class FileState(NamedTuple):
    """What tells that a file is still the same; the second time cannot be set, as tools that unpack archives set the first."""

    size: int
    modified_ns: int
    changed_ns: int


class SourceFile(NamedTuple):
    """What was read of a file: its digest, the names that it imports from our packages, and strings that may name data files."""

    digest: str
    imports: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()


class SourceTree:
    """The modules and data files of our packages below `root`, as they are now; `cache_file` keeps what was read of them.

    Files go by their path below `root`; files of the user by their whole path.
    """

    def __init__(self, root: Path = ROOT, cache_file: Path | None = None) -> None:
        self.root, self._cache_file = root, cache_file
        self._modules: dict[str, str] = {}
        self._data: dict[str, list[str]] = {}
        self._states: dict[str, FileState] = {}
        for package in PACKAGES:
            self._list(package)
        self._sources = _read_cache(cache_file, self._states) if cache_file else {}
        self._unsaved, self._lock = False, threading.Lock()
        self._direct: dict[str, tuple[str, ...]] = {}
        self._digests: dict[object, str] = {}

    def digest(self, entries: Sequence[CodeEntry]) -> str:
        """Digest of all that can be reached from `entries`; InputError when there is no module of such a name."""
        key = tuple((entry, _state_of(entry)) if isinstance(entry, Path) else entry for entry in entries)
        with self._lock:  # several clips of a batch begin at once
            if key not in self._digests:
                content = sorted((self._label(file), self._source(file).digest) for file in self.reached(entries))
                self._digests[key] = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
                self._save()
            return self._digests[key]

    def reached(self, entries: Sequence[CodeEntry]) -> set[str]:
        """The modules and data files that can be reached from `entries`, these among them."""
        found: set[str] = set()
        waiting = [file for entry in entries for file in self._files_of(entry)]
        while waiting:
            file = waiting.pop()
            if file not in found:
                found.add(file)
                waiting += self._next(file)
        return found

    def _list(self, package: str) -> None:
        """Note the files of a package and of those in it."""
        folder = package.replace(".", "/")
        if package in OUTSIDE or not (self.root / folder).is_dir():
            return
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                file = f"{folder}/{entry.name}"
                if entry.is_dir():
                    if entry.name != "__pycache__":
                        self._list(f"{package}.{entry.name}")
                    continue
                if suffix == ".py":
                    self._modules[package if stem == "__init__" else f"{package}.{stem}"] = file
                elif not folder.startswith(VALUES):
                    self._data.setdefault(entry.name, []).append(file)
                status = entry.stat()
                self._states[file] = FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _files_of(self, entry: CodeEntry) -> list[str]:
        if isinstance(entry, Path):
            return [str(entry)]
        if entry not in self._modules:
            raise InputError(f"The module {entry} is not installed; install Dyad again.")
        return self._run_by(entry)

    def _run_by(self, name: str) -> list[str]:
        """The files that importing `name` runs: its own and its packages'; of a name in a module that module's."""
        parts = name.split(".")
        names = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
        return [self._modules[name] for name in names if name in self._modules]

    def _next(self, file: str) -> tuple[str, ...]:
        """What a file itself imports or reads."""
        if file not in self._direct:
            source = self._source(file)
            imported = [module for name in source.imports for module in self._run_by(name)]
            found = tuple(dict.fromkeys([*imported, *self._read_by(file, source.strings)]))
            if file not in self._states:
                return found
            self._direct[file] = found
        return self._direct[file]

    def _read_by(self, module: str, strings: Sequence[str]) -> Iterator[str]:
        """The data files that strings of a module name: those beside or below it, else those of its package."""
        folder, package = module.rpartition("/")[0], module.partition("/")[0]
        for name in strings:
            there = self._data.get(name, [])
            near = [file for file in there if file.startswith(f"{folder}/")]
            yield from near or [file for file in there if file.startswith(f"{package}/")]

    def _label(self, file: str) -> str:
        """What a file is called in a digest: not where it lies on this machine."""
        return file if file in self._states else os.path.basename(file)

    def _source(self, file: str) -> SourceFile:
        if file not in self._states:
            return _read(Path(file))
        if file not in self._sources:
            self._sources[file] = _read(self.root / file)
            self._unsaved = True
        return self._sources[file]

    def _save(self) -> None:
        """Keep what was read; where nothing can be written it is read again next time."""
        if self._unsaved and self._cache_file is not None:
            files = {file: [self._states[file], *source] for file, source in self._sources.items()}
            with contextlib.suppress(OSError):
                write_private(self._cache_file, json.dumps({"reader": _reader(), "files": files}, separators=(",", ":")))
        self._unsaved = False


@cache
def sources() -> SourceTree:
    """Our packages as they were when this process first asked: it goes on with the code that it has."""
    name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return SourceTree(ROOT, state_folder() / "code" / f"{name}.json")


def code_digest(entries: Sequence[CodeEntry]) -> str:
    """Digest of all code and data files that can be reached from `entries`; InputError when there is no module of a name."""
    return sources().digest(entries)


def _read_cache(file: Path, states: Mapping[str, FileState]) -> dict[str, SourceFile]:
    """What was kept about files that are still the same; nothing when the cache is damaged, or was written by other code."""
    found: dict[str, SourceFile] = {}
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["reader"] == _reader():
            for name, (status, digest, imports, strings) in kept["files"].items():
                if states.get(name) == tuple(status):
                    found[name] = SourceFile(digest, tuple(imports), tuple(strings))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return found


@cache
def _reader() -> str:
    """What the cache depends on besides the files: how they are read."""
    return file_digest(Path(__file__))


def _state_of(path: Path) -> FileState | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: Path) -> SourceFile:
    """Read a file; one that is gone or no Python imports nothing, and fails where it is used."""
    try:
        content = path.read_bytes()
    except OSError:
        return SourceFile("")
    imports, strings = set[str](), set[str]()
    if path.suffix == ".py":
        with contextlib.suppress(SyntaxError, ValueError):
            _collect(_tree(content), imports, strings)
    return SourceFile(hashlib.sha256(content).hexdigest(), tuple(sorted(imports)), tuple(sorted(strings)))


def _tree(content: bytes) -> ast.Module:
    """A source's tree. Python 3.11 counts how deep trees are for all at once, and fails where another comes between: again."""
    for _ in range(20):
        with contextlib.suppress(SystemError):
            return ast.parse(content)
    return ast.parse(content)


def _collect(node: ast.AST, imports: set[str], strings: set[str]) -> None:
    """Names that are imported in a tree, but for those that only type checkers import, and strings that may name a file."""
    if isinstance(node, ast.Import):
        imports.update(alias.name for alias in node.names if alias.name.split(".")[0] in PACKAGES)
    elif isinstance(node, ast.ImportFrom):
        if node.module and node.module.split(".")[0] in PACKAGES:
            imports.update(f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and re.fullmatch(r"[\w./-]{1,100}\.\w+", node.value):
            strings.add(node.value.rpartition("/")[2])
    elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for statement in node.orelse:
            _collect(statement, imports, strings)
    else:
        for part in ast.iter_child_nodes(node):
            _collect(part, imports, strings)
