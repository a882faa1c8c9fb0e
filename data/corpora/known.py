"""Which corpus a file is of: by what a table says of it, by a file name that only one corpus has, or by its pixels."""

import hashlib
import re
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from data.corpora.acted import CREMA_D, EMO_DB, RAVDESS
from data.corpora.meld import MELD

NAMES = {
    "ravdess": RAVDESS, "crema-d": CREMA_D, "emo-db": EMO_DB, "meld": MELD,
    "ferplus": re.compile(r"fer\d{7}"),
    "nemo": re.compile(r"[A-Z]{2}\d_(?:anger|fear|happiness|neutral|sadness|surprised)_\d+"),
}  # fmt: skip
"""The file names of a corpus, without their ending."""
OTHER_NAMES = {"fer+": "ferplus", "fer2013": "ferplus", "fer": "ferplus", "crema": "crema-d", "emodb": "emo-db"}


FACES = Path(__file__).parent / "ferplus_faces.npz"
"""Hashes of the pictures that the still face was fitted on, sorted, each less the one before (`./dyad benchmark
derive_known_faces`); whoever knows a picture can tell that it is one of them, and nobody can make one of its hash."""
SIDE = 48
"""Of the pictures of FER2013 and FER+, in pixels."""
LARGEST = 32_768
"""Bytes that a file with such a picture has at most; larger ones need not be read."""
PICTURES = frozenset({".png", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Endings of files that may hold pixels as they were."""


def corpus_of(path: str, said: str = "") -> str:
    """The corpus of a file as `dyad corpus` names it, '' where nothing tells; what a table says (`said`) goes before names."""
    if said.strip():
        name = re.sub(r"[\s_]+", "-", said.strip().lower())
        return OTHER_NAMES.get(name, name)
    stem = PurePosixPath(path.replace("\\", "/")).stem
    return next((corpus for corpus, form in NAMES.items() if form.fullmatch(stem)), "")


def corpus_of_file(path: str, said: str = "") -> str:
    """`corpus_of`, and where that tells nothing, of a small picture on this machine the corpus that has the same one."""
    return corpus_of(path, said) or _corpus_of_picture(Path(path))


def _corpus_of_picture(file: Path) -> str:
    import cv2

    if file.suffix.lower() not in PICTURES:
        return ""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            return ""
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):  # it cannot be read, or is empty, or claims to be huge: none that was learned
        return ""
    if image is None or image.dtype != np.uint8 or image.shape[:2] != (SIDE, SIDE):
        return ""
    if image.ndim == 3 and (image[..., :3] != image[..., :1]).any():
        return ""
    grey = image if image.ndim == 2 else image[..., 0]
    return "ferplus" if np.isin(hashes_of(grey[None]), _known_faces()).all() else ""


def hashes_of(images: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The first four bytes of the SHA-256 of each grey image [N, H, W]: one picture in 150,000 has a known hash by chance."""
    digests = (hashlib.sha256(image.tobytes()).digest()[:4] for image in images)
    return np.frombuffer(b"".join(digests), "<u4")


@cache
def _known_faces() -> NDArray[np.uint32]:
    with np.load(FACES) as stored:
        return np.cumsum(stored["steps"], dtype=np.uint32)
