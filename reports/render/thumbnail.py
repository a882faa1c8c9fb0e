"""Small pictures of a clip, for tables of many and for its own page: the frame in the middle of what is surest."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.media.frames import read_index
from reports.documents import ResultDocument


class Size(NamedTuple):
    """The box that a picture fits into, in pixels, and the bytes that it may have."""

    width: int
    height: int
    most_bytes: int


THUMBNAIL = Size(128, 72, 3000)
"""Three hundred of them in a page are a little more than a megabyte."""
POSTER = Size(640, 640, 60_000)
"""Of a clip's own page."""


def surest_time(result: ResultDocument) -> float:
    """The middle (s) of the surest stretch of the clip's likeliest compound; of the whole clip where none is."""
    stretches = [row for row in result["timeline"] if row["compound"] == result["summary"]["top"]]
    if not stretches:
        return result["clip"]["duration"] / 2
    best = max(stretches, key=lambda row: row.get("sureness") or 0.0)
    return (best["start"] + best["end"]) / 2


def make_picture(frames: Path, index: Path, time_s: float, size: Size = THUMBNAIL) -> bytes | None:
    """The sampled frame nearest to a time as a JPEG of a `size`; None when no frame was sampled.

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
    return None if image is None else _small(image, size)


def _small(image: NDArray[np.uint8], box: Size) -> bytes | None:
    import cv2

    height, width = image.shape[:2]
    scale = min(box.width / width, box.height / height, 1.0)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for quality in (85, 70, 55, 40, 25, 10):
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(jpeg) <= box.most_bytes:
            return bytes(jpeg)
    return None
