"""Archives of arrays that were not made here, read within a limit: a small one can unpack to as much as it likes."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 4 * 10**9
"""Bytes that an archive may unpack to."""


def read_arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays `names` of an .npz, without any all of them.

    OSError when there is no such file, ValueError, with what is wrong, when it is damaged, lacks one, holds objects of Python, or
    unpacks to more than `MOST` bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MOST:
            raise ValueError(f"it unpacks to {unpacked / 1e9:,.0f} GB, and at most {MOST / 1e9:,.0f} are read; divide it")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}
    except MemoryError:
        raise ValueError("an array in it claims to be larger than the memory") from None
    except KeyError as error:
        raise ValueError(str(error.args[0])) from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(str(error)) from error
