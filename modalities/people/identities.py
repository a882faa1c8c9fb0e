"""Which tracks of faces are one person's, over cuts and gaps."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from modalities.people.turns import Embeddings

ALIKE = 0.62
"""Mean cosine of two groups of tracks from which they are one person's. Of pairs of tracks of different people in the real clips
the most alike have 0.63, 99 % less than 0.6; of one person 99 % more than 0.68."""
FACES = 6
"""Faces of a track that are looked at: its sharpest and surest, one from each equal part of its time."""
CERTAIN_SIDE = 22.0
"""Pixels that a face must be wide to be told by: a smaller one is its track's, and joins no other but by lying near it. From
here on `./dyad benchmark people --faces` finds far faces joined with their near ones, and with no other's."""
APART = 1e3
"""Distance of two tracks that one picture shows: they are two people."""
MOST = 20
"""Persons that are told apart; whoever is seen for less time is among the others."""


def telling_faces(faces: pd.DataFrame) -> pd.DataFrame:
    """The rows of `faces.parquet` to look at: of each track up to FACES, spread over its time."""
    ordered = faces.assign(worth=faces["score"] * np.sqrt(faces["sharpness"].clip(lower=1e-6)) * faces["width"])
    numbers = ordered.groupby("track_id").cumcount()
    sizes = ordered.groupby("track_id")["face"].transform("size")
    ordered["part"] = (numbers * FACES // sizes.clip(lower=FACES)).astype(int)
    best = ordered.sort_values("worth", ascending=False, kind="stable").groupby(["track_id", "part"]).head(1)
    return best.sort_values("face").drop(columns=["worth", "part"])


def track_embeddings(telling: pd.DataFrame, embeddings: Embeddings) -> tuple[NDArray[np.int64], Embeddings]:
    """The numbers of the tracks [T] and their embeddings [T, D]: means over their faces, the larger counting more."""
    tracks = np.unique(telling["track_id"].to_numpy(np.int64))
    weights = telling["width"].clip(upper=112).to_numpy(np.float64)[:, None] * embeddings
    sums = np.stack([weights[telling["track_id"].to_numpy() == track].sum(0) for track in tracks])
    return tracks, np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)


def group_tracks(faces: pd.DataFrame, tracks: NDArray[np.int64], embeddings: Embeddings, alike: float = ALIKE) -> dict[int, int]:
    """The person of each track, numbered from 1 in order of appearance, by agglomerative clustering (mean cosine).

    Two tracks that one picture shows are two people. A track of faces smaller than CERTAIN_SIDE is a person of its own.
    """
    if not len(tracks):
        return {}
    small = faces.groupby("track_id")["width"].max().reindex(tracks).to_numpy() < CERTAIN_SIDE
    groups = clustered(embeddings, seen_together(faces, tracks) | small[:, None] | small, alike)
    begins = faces.groupby("track_id")["time_s"].min()
    order: dict[int, int] = {}
    for track in sorted(tracks.tolist(), key=lambda one: (begins.loc[one], one)):
        order.setdefault(int(groups[np.searchsorted(tracks, track)]), len(order) + 1)
    return {int(track): order[int(group)] for track, group in zip(tracks, groups, strict=True)}


def clustered(embeddings: Embeddings, never: NDArray[np.bool_], alike: float) -> NDArray[np.int64]:
    """The group of each of N embeddings [N, D] by agglomerative clustering (mean cosine); `never` [N, N]: pairs that are two."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(embeddings) < 2:
        return np.ones(len(embeddings), np.int64)
    distances = 1 - np.asarray(embeddings, np.float64) @ embeddings.T
    distances[never] = APART
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances.clip(0), checks=False), "average")
    return np.asarray(fcluster(tree, 1 - alike, "distance"), np.int64)


def seen_together(faces: pd.DataFrame, tracks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which tracks [T, T] some picture shows together."""
    shown = pd.crosstab(faces["frame"], faces["track_id"]).reindex(columns=tracks, fill_value=0).to_numpy(np.float32)
    return np.asarray(shown.T @ shown > 0) & ~np.eye(len(tracks), dtype=bool)
