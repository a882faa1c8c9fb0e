"""Who speaks when: windows of speech grouped by voice, and the turns that follow (speaker diarisation)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
"""Of unit length, [N, D]; a cosine says how alike two are."""
APART = 0.76
"""Mean cosine distance from which two groups of windows are two speakers; chosen on actors whom no figure is measured on."""
SMALLEST = 4
"""Windows that a speaker must have, where another has so many: single ones are coughs, laughs, two voices at once."""
MOST = 2000
"""Windows that are grouped; of more, every n-th is, and the others go to the nearest group: memory is bounded."""
RESOLUTION, SWITCH = 0.1, 0.3
"""Seconds of a step of time, and by how much another speaker must fit better, summed over steps, to have the turn."""


@dataclass(frozen=True)
class Turn:
    """Somebody speaks from `start` to `end` (s); `speaker` is a name within the clip."""

    start: float
    end: float
    speaker: str


def group_voices(voices: Embeddings, apart: float = APART, speakers: int | None = None) -> NDArray[np.int64]:
    """The speaker of each of N windows, from 0 in order of appearance, by agglomerative clustering (mean cosine distance).

    `speakers`: how many there are, as far as so many groups have SMALLEST windows; else groups are joined until they are `apart`.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    chosen = voices[:: -(-len(voices) // MOST)] if len(voices) > MOST else voices
    if len(chosen) < 2:
        return np.zeros(len(voices), np.int64)
    tree = linkage(pdist(chosen, "cosine"), "average")
    cuts = [fcluster(tree, apart, "distance")]
    if speakers:  # a stray window is a group before two speakers are: cut deeper until as many groups are large
        cuts = [fcluster(tree, count, "maxclust") for count in range(speakers, min(8 * speakers, len(chosen)) + 1)]
    groups = next((cut for cut in cuts if len(_large(cut)) == speakers), cuts[0])
    large = _large(groups)
    nearest = (voices @ _means(chosen, groups, large).T).argmax(1)
    if len(chosen) == len(voices):
        kept = np.isin(groups, large)
        nearest[kept] = np.searchsorted(large, groups[kept])
    _, first, numbers = np.unique(nearest, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[numbers], np.int64)


def _large(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The groups that have SMALLEST windows, or as many as the largest."""
    sizes = np.bincount(groups)
    return np.flatnonzero(sizes >= min(SMALLEST, int(sizes.max())))


def _means(voices: Embeddings, groups: NDArray[np.int64], names: NDArray[np.int64]) -> Embeddings:
    means = np.stack([voices[groups == name].mean(0) for name in names])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def turns_of(
    segments: NDArray[np.float64], windows: NDArray[np.float64], voices: Embeddings, groups: NDArray[np.int64]
) -> list[Turn]:
    """The turns in `segments` [S, 2] of speech, from the `windows` [N, 2] (s) that were heard in them and their speakers.

    Within a segment each step of time fits a speaker as well as the windows around it do, those whose middle is near counting
    most; the best sequence of speakers, with a price for each change, is found by Viterbi's method.
    """
    if not len(windows):
        return []
    fits = voices @ _means(voices, groups, np.unique(groups)).T
    turns: list[Turn] = []
    for start, end in segments:
        inside = (windows[:, 0] >= start - 1e-6) & (windows[:, 1] <= end + 1e-6)
        times = start + (np.arange(max(round((end - start) / RESOLUTION), 1)) + 0.5) * RESOLUTION
        path = _best_path(_fit_over_time(times, windows[inside], fits[inside]))
        changes = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
        for first, last in zip(changes, changes[1:], strict=False):
            until = end if last == len(path) else start + last * RESOLUTION
            turns.append(Turn(float(start + first * RESOLUTION), float(until), str(path[first] + 1)))
    return joined(turns)


def _fit_over_time(times: NDArray[np.float64], windows: NDArray[np.float64], fits: NDArray[np.float32]) -> NDArray[np.float64]:
    """How well each speaker fits at each time [T, K]."""
    covers = (windows[:, 0] <= times[:, None] + 1e-6) & (windows[:, 1] >= times[:, None] - RESOLUTION)
    far = np.abs(times[:, None] - windows.mean(1)) / max(float(np.diff(windows, axis=1).max()), RESOLUTION)
    weights = covers * np.clip(1 - far, 0.05, 1)
    return np.asarray((weights @ fits) / weights.sum(1, keepdims=True).clip(1e-9))


def _best_path(fits: NDArray[np.float64]) -> NDArray[np.int64]:
    best, came = fits[0].copy(), []
    for row in fits[1:]:
        change = best.max() - SWITCH
        came.append(np.where(best >= change, np.arange(len(best)), best.argmax()))
        best = np.maximum(best, change) + row
    path = [int(best.argmax())]
    for step in reversed(came):
        path.append(int(step[path[-1]]))
    return np.array(path[::-1])


def joined(turns: Sequence[Turn], pause: float = 0.5) -> list[Turn]:
    """Turns of one speaker with at most `pause` seconds between them as one."""
    kept: list[Turn] = []
    for turn in turns:
        if kept and kept[-1].speaker == turn.speaker and turn.start - kept[-1].end <= pause:
            kept[-1] = Turn(kept[-1].start, turn.end, turn.speaker)
        else:
            kept.append(turn)
    return kept
