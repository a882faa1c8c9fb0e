"""Faces followed from image to image beside faces searched in every image: the same tracks, and what each way costs.

    ./dyad benchmark faces --data ../shared/datasets [--detector mediapipe]

Both ways look at the same images, those of a run (5 a second, 960 pixels). A face that the searching way found is found again
when a followed one overlaps it by more than half; IoU is the overlap of the two boxes (mean, and what 5 % stay below). A track
is lost when fewer than half of its faces are found again. Milliseconds are of the processor, for an image, opening included.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.common import header, make_parser, print_table
from benchmarks.long_clip import make_long_clip
from configs.settings import load_settings
from data.media.decode import DecodeOptions, decode
from data.media.frames import Frame, read_frames
from data.media.probe import probe
from data.sample import sample_clip
from modalities.faces.detectors import choose_detector, overlap
from modalities.faces.find import FaceOptions, find_faces

BOX = ["x", "y", "width", "height"]
SAME = 0.5


def sampled(path: Path, folder: Path) -> list[Frame]:
    """The images of a clip that a run looks at."""
    asked = load_settings().decode
    made = decode(probe(path), folder, DecodeOptions(asked.frames_per_second, asked.longest_side))
    return list(read_frames(made.frames, made.index)) if made.frames and made.index else []


def best_overlaps(searched: pd.DataFrame, followed: pd.DataFrame) -> NDArray[np.float64]:
    """How much each searched face overlaps the followed face of the same frame that it overlaps most."""
    others = dict(iter(followed.groupby("frame")))
    boxes = searched[BOX].to_numpy(np.float64)
    shares = [
        overlap(box, others[frame][BOX].to_numpy(np.float64)).max() if frame in others else 0.0
        for frame, box in zip(searched["frame"], boxes, strict=True)
    ]
    return np.array(shares, np.float64)


def compared(path: Path, options: FaceOptions, folder: Path) -> list[object]:
    """A row of the table for one clip."""
    frames = sampled(path, folder)
    tables, costs = [], []
    for every in (0.0, options.search_every):
        began = time.process_time()
        tables.append(find_faces(frames, replace(options, search_every=every), folder / "crops.npy").table)
        costs.append(1000 * (time.process_time() - began) / max(len(frames), 1))
    searched, followed = tables
    shares = best_overlaps(searched, followed)
    again = shares[shares > SAME]
    lost = sum(found.mean() < SAME for _, found in pd.Series(shares > SAME).groupby(searched["track_id"].to_numpy()))
    extra = int((best_overlaps(followed, searched) <= SAME).sum())
    figures = [f"{value:.3f}" for value in (again.mean(), np.quantile(again, 0.05))] if len(again) else ["-", "-"]
    return [
        path.name, len(frames), len(searched), f"{100 * len(again) / max(len(searched), 1):.1f}", extra, *figures,
        searched["track_id"].nunique(), followed["track_id"].nunique(), lost, *costs, costs[0] / costs[1],
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = make_parser(__doc__, "media/")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--every", type=float, default=FaceOptions.search_every, help="seconds from one search to the next")
    options = parser.parse_args(arguments)
    print(header(), end="\n\n")
    chosen = FaceOptions(choose_detector(options.detector).name, 112, search_every=options.every)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = [sample_clip(), *sorted(path for path in (options.data / "media").iterdir() if path.suffix in (".mp4", ".mov"))]
        clips.append(make_long_clip(folder / "minute_720p.mp4", 60.0))
        compared(sample_clip(), chosen, folder)  # loads what is loaded once
        heads = ["clip", "images", "faces", "again %", "others", "IoU", "5 %", "tracks", "followed", "lost"]
        print_table([*heads, "searched ms", "followed ms", "times"], (compared(clip, chosen, folder) for clip in clips))
    return 0


if __name__ == "__main__":
    sys.exit(main())
