"""A small picture of a clip for tables of many clips: the frame in the middle of what the answer is surest of."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.media.frames import read_index
from reports.documents import ResultDocument

WIDTH, HEIGHT = 128, 72
"""The box that a thumbnail fits into, in pixels."""
MOST_BYTES = 3000
"""Three hundred of them in a page are a little more than a megabyte."""


def surest_time(result: ResultDocument) -> float:
    """The middle (s) of the surest stretch of the clip's likeliest compound; of the whole clip where none is."""
    stretches = [row for row in result["timeline"] if row["compound"] == result["summary"]["top"]]
    if not stretches:
        return result["clip"]["duration"] / 2
    best = max(stretches, key=lambda row: row.get("sureness") or 0.0)
    return (best["start"] + best["end"]) / 2


def make_thumbnail(frames: Path, index: Path, time_s: float) -> bytes | None:
    """The sampled frame nearest to a time as a JPEG of at most `MOST_BYTES` bytes; None when no frame was sampled.

    `frames` and `index` are those of `data.media.frames`.
    """
    import cv2

    table = read_index(index)
    sampled = table[table["sampled"]]
    if sampled.empty:
        return None
    row = sampled.iloc[int((sampled["time_s"] - time_s).abs().to_numpy().argmin())]
    with frames.open("rb") as stream:
        stream.seek(int(row["offset"]))
        image = cv2.imdecode(np.frombuffer(stream.read(int(row["size"])), np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else _small(image)


def _small(image: NDArray[np.uint8]) -> bytes | None:
    import cv2

    height, width = image.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height, 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for quality in (70, 55, 40, 25, 10):
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(jpeg) <= MOST_BYTES:
            return bytes(jpeg)
    return None
