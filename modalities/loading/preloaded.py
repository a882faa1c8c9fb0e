"""The libraries that recognising a clip takes: a process that others are forked from imports this, once for all of them."""

import contextlib

from modalities.loading.spared import spare_pyplot, without_numba

spare_pyplot()
with contextlib.suppress(ImportError), without_numba():
    import whisper  # noqa: F401
with contextlib.suppress(ImportError):
    import mediapipe.python.solutions.face_mesh  # noqa: F401
import av  # noqa: E402, F401
import cv2  # noqa: E402, F401
import pyarrow.parquet  # noqa: E402, F401
import scipy.cluster.hierarchy  # noqa: E402, F401
import torch  # noqa: E402, F401
