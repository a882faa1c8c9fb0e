"""What surrounds a face, as a feature of the voice or the scene in a .npy file, for networks that are told of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError


def read_context(path: str) -> NDArray[np.float32]:
    """The feature [D] in a .npy file; InputError, which names it, when it holds anything else."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as a context ({error}); give a .npy file with one feature.") from error
    values = np.squeeze(np.asarray(values))
    if values.ndim != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(f"{path} holds {values.dtype} {list(values.shape)}; a context is one feature [D] of finite numbers.")
    return np.asarray(values, np.float32)


def read_contexts(paths: Sequence[str], length: int | None = None) -> NDArray[np.float32] | None:
    """Features [B, D] of the contexts in .npy files, NaN rows where a path is ''; None where all are.

    length: D, where it is known; InputError, which names the file, for another one.
    """
    found = [read_context(path) if path else None for path in paths]
    length = length or next((len(one) for one in found if one is not None), 0)
    for path, one in zip(paths, found, strict=True):
        if one is not None and len(one) != length:
            raise InputError(f"{path} is a context of {len(one)} numbers, where others (or the network) have {length}.")
    if not any(paths):
        return None
    return np.stack([np.full(length, np.nan, np.float32) if one is None else one for one in found])
