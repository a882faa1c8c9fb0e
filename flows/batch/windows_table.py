"""dataset.parquet: the windows of all clips in one table, in pieces; what has not changed is taken from the former one."""

import hashlib
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from data.dataset_files import DATASET
from data.errors import DyadError
from data.files import atomic_path
from data.manifest.manifest import ManifestRow
from flows.batch.journal import Entry
from flows.batch.storage import OutputFolder

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

OWN = ("clip_id", "split", "label", "speaker")
"""Columns that the manifest gives, before those of a clip's windows.parquet; `TIMES` stand between them."""
TIMES = ("segment_start", "ended")
"""Where in its file a segment begins (s), and when the clip ended (s since 1970), by which rows are known to be still true."""
ROWS = 50_000
"""Rows that are held in memory at most, before they are written."""


class DatasetTable:
    """Writes dataset.parquet anew, clip by clip in the order of `add`; it appears when the block has ended well."""

    def __init__(self, output: OutputFolder) -> None:
        self._output, self._rows = output, 0
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None
        self._parts: list[pa.Table] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._former = _former(self._output.folder / DATASET) if self._output.get(DATASET) else None
        self._aside = self._stack.enter_context(atomic_path(self._output.folder / DATASET))
        return self

    def add(self, row: ManifestRow, entry: Entry) -> None:
        """Add a clip's windows; a clip without them (not made by recognition) adds nothing."""
        windows = self._former.windows(entry) if self._former else None
        if windows is None:
            windows = self._read(row.clip_id)
        if windows is not None and len(windows):
            self._parts.append(self._fitted(_with_own(row, entry, windows)))
            self._rows += len(windows)
        if self._rows >= ROWS:
            self._write()

    def _read(self, clip_id: str) -> "pa.Table | None":
        import pyarrow.parquet as pq

        file = self._output.location / f"{clip_id}/windows.parquet"
        try:
            with file.open() as stream:
                return pq.read_table(stream)
        except FileNotFoundError:
            return None
        except ValueError as error:
            how = "with --fresh" if self._output.address else f"when you have removed the folder {clip_id}"
            raise DyadError(f"{file} is damaged ({error}); start the same command again {how}.") from error

    def _fitted(self, table: "pa.Table") -> "pa.Table":
        """A table in the form of the first one; clips of other settings may have other columns."""
        import pyarrow as pa

        if self._schema is None:
            kinds = [(field.name, pa.string() if pa.types.is_null(field.type) else field.type) for field in table.schema]
            self._schema = pa.schema(kinds)
        columns = [
            table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
            for field in self._schema
        ]
        return pa.table(columns, schema=self._schema)

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._schema is None:
            self._schema = pa.schema([(name, pa.string()) for name in OWN])
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._aside, self._schema)
        if self._parts:
            self._writer.write_table(pa.concat_tables(self._parts))
        self._parts, self._rows = [], 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._write()
        finally:
            if self._writer is not None:
                self._writer.close()
            self._stack.__exit__(kind, error, trace)


class FormerTable:
    """The dataset.parquet of the run before, read by clip: a small index, and one piece of the table in memory at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        self._piece: tuple[int, pa.Table] | None = None
        keys, ranges, ended = array("Q"), array("q"), array("d")
        for group in range(self._file.num_row_groups if "ended" in self._file.schema_arrow.names else 0):
            read = self._file.read_row_group(group, columns=["clip_id", "ended"])
            names = read["clip_id"].to_numpy(zero_copy_only=False)
            begins = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]).tolist()
            ended.extend(read["ended"].to_numpy()[begins].tolist())
            for begin, end in zip(begins, [*begins[1:], len(names)], strict=True):
                keys.append(_key(str(names[begin])))
                ranges.extend((group, begin, end - begin))
        order = np.argsort(np.array(keys, np.uint64), kind="stable")
        self._keys, self._ended = np.array(keys, np.uint64)[order], np.array(ended)[order]
        self._ranges = np.array(ranges, np.int64).reshape(-1, 3)[order]

    def windows(self, entry: Entry) -> "pa.Table | None":
        """The rows of a clip as it ended then; None for one that is not there, or has ended again since."""
        key = np.uint64(_key(entry.run_folder))
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key or self._ended[at] != entry.ended:
            return None
        group, begin, rows = (int(value) for value in self._ranges[at])
        if self._piece is None or self._piece[0] != group:
            self._piece = (group, self._file.read_row_group(group))
        return self._piece[1].slice(begin, rows).drop_columns([*OWN, *TIMES])


def _former(path: Path) -> FormerTable | None:
    try:
        return FormerTable(path)
    except ValueError:  # it is damaged: all is read anew
        return None


def _with_own(row: ManifestRow, entry: Entry, windows: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    def repeated(value: object, kind: pa.DataType) -> pa.Array:
        return pa.array([value] * len(windows), kind)

    columns = {name: repeated(getattr(row, name), pa.string()) for name in OWN}
    columns |= {name: repeated(value, pa.float64()) for name, value in zip(TIMES, (row.start, entry.ended), strict=True)}
    names: Sequence[str] = windows.column_names
    return pa.table(columns | {name: windows[name] for name in names})


def _key(clip_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8).digest())
