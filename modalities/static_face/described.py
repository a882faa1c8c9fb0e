"""What the network for single faces said of a clip's crops, kept for the network over time, which asks for the same."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from modalities.static_face.embedded import FaceAnswers
    from modalities.static_face.network import StaticFaceNetwork

KEPT = 4
"""Answers of a network that are kept: of half an hour of one face each takes 8 MB."""
Answers = OrderedDict[Hashable, "Future[FaceAnswers]"]
_kept: "weakref.WeakKeyDictionary[StaticFaceNetwork, Answers]" = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def once(
    network: "StaticFaceNetwork", crops: Path, rows: NDArray[np.int64], describe: "Callable[[], FaceAnswers]"
) -> "FaceAnswers":
    """The answers to `rows` of a file of crops: those of `describe`, or of another thread's that began before, waited for.

    A file that was written anew is another one. Who waits has the error of the one who describes.
    """
    status = crops.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, rows.tobytes())
    with _guard:
        answers = _kept.setdefault(network, OrderedDict())
        begun = answers.get(key)
        own: Future[FaceAnswers] = Future()
        if begun is None:
            answers[key] = own
            if len(answers) > KEPT:
                answers.popitem(last=False)
    if begun is not None:
        return begun.result()
    try:
        own.set_result(describe())
    except BaseException as error:
        with _guard:
            answers.pop(key, None)
        own.set_exception(error)
        raise
    return own.result()
