"""Films in time order: what the scene-context network reads in descriptions of Aff-Wild2's segments, and what people saw."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from data.emotions import BASIC_EMOTIONS
from data.windows import LENGTH, Windows
from fusion.arrays import Floats

FILE = Path("scene") / "affwild2_qwen2.5-vl-3b.csv.gz"
COLUMNS = [*BASIC_EMOTIONS, "other"]
BOTH = 0.25
"""Frames of a segment that each of two emotions needs, for it to count as one of their compound: they follow each other there."""


class Film(NamedTuple):
    """One video: windows [N, 2] (s), basic probabilities [N, 7], and the share of frames with each of `COLUMNS` [N, 8]."""

    windows: Windows
    basic: Floats
    shares: Floats


def read_films(data: Path) -> list[Film]:
    """Every video of the file, by the answers to the free prompt's descriptions."""
    from modalities.scene_context import embedded as scene_context

    rows = pd.read_csv(data / FILE, keep_default_na=False)
    rows = rows[rows["prompt"] == 1].reset_index(drop=True)
    answers = np.nan_to_num(scene_context.score_texts(scene_context.load(), rows["text"].tolist()), nan=1 / len(BASIC_EMOTIONS))
    told = [f"told {word}" for word in BASIC_EMOTIONS]
    # A segment's name tells its frames, '119___96_192_0002.avi'; whole ones last four seconds at the video's own rate.
    bounds = rows["video_name"].str.extract(r"___(?P<start>\d+)_(?P<end>\d+)_").astype(float)
    rows = pd.concat([rows, bounds, pd.DataFrame(answers, columns=told)], axis=1)
    films = []
    for _, segments in rows.sort_values("start").groupby("full_video_name"):
        frames = segments[["start", "end"]].to_numpy()
        rate = np.median(frames[:, 1] - frames[:, 0]) / LENGTH
        films.append(Film(frames / rate, segments[told].to_numpy(float), segments[COLUMNS].to_numpy(float)))
    return films
