"""Write the hashes by which pictures are recognised that the still face was fitted on: data/corpora/ferplus_faces.npz.

    ./dyad benchmark derive_known_faces --data ../shared/datasets

Of FER+'s training stills alone: those of the validation file were not learned, and figures on them are what they seem.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import make_parser
from data.corpora.known import FACES, hashes_of
from data.files import atomic_path


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/")
    parser.add_argument("--output", type=Path, default=FACES)
    options = parser.parse_args(arguments)
    with np.load(options.data / "face" / "ferplus_train.npz") as stored:
        hashes = np.unique(hashes_of(stored["images"]))
    with atomic_path(options.output) as aside, aside.open("wb") as stream:
        np.savez_compressed(stream, steps=np.diff(hashes, prepend=np.uint32(0)))
    print(f"{options.output}: {len(hashes)} pictures, {options.output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
