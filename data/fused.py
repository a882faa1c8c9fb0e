"""What fusion and composition answer for a clip: per window, per moment, as a timeline; and their files."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.files import atomic_path
from data.npz_files import read_arrays
from data.windows import Windows

Floats = NDArray[np.float64]
Composition = Literal["learned", "ppa", "pfsa", "avcer_rule1", "avcer_rule2", "avcer_both"]
"""How basic emotions become compounds: `fusion.compose.METHODS` has a function for each."""
OverTime = Literal["plain", "geometric", "neighbours"]
"""How the windows around a moment become its answer, see `fusion.over_time.WAYS`."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """The modalities fused into basic emotions, before composition: N windows, M modalities; NaN where nothing answers.

    `weighed` [N, M, 7] is what each modality adds to each emotion; its sum over the modalities, as a distribution, is
    `basic` [N, 7]. `matrices`, `presence`, `coverage` and `weights` are those of `Fusion`.
    """

    windows: Windows
    modalities: tuple[str, ...]
    weights: str
    basic: Floats
    weighed: Floats
    matrices: Floats
    presence: NDArray[np.bool_]
    coverage: Floats


@dataclass(frozen=True, eq=False)
class Fusion:
    """The fused answer for N windows, M modalities and K compounds; NaN and -1 where there is none.

    `basic` [N, 7] and `compound` [N, K] are distributions; `scores` [N, K] is what the composition computed before
    it was normalised. `winner` [N] is a position in `compounds`, or -1 with a sentence in `reasons` that says why.
    `contributions` [N, M] (NaN for an absent modality) add up to the winner's `compound` probability, or where no compound wins
    to the `basic` one of the strongest emotion, which then is the answer; `emotion_shares` [N, 2] (the winner's first and second
    emotion) add up to the winner's. `matrices` [N, M, 7] says how much of each emotion
    was taken from which modality (columns sum to 1), `presence` [N, M] which modalities answered, `coverage` [N] the
    part of the fusion's full trust that they hold (0..1). `sureness` [N, 3] is how likely the answer is right, calibrated, and
    its range (`fusion.sureness`). `blend` [N] is 4 p q in 0..1, with p and q the fused
    probabilities of the winner's two emotions: 1 when the two share all the evidence equally, near 0 when one of them
    stands alone or neutral rules. `none` [N] is the probability that none of the compounds is shown, but an emotion alone
    or another pair: with it, (1 - none) x `compound` and `none` are a distribution over K + 1 answers. A window has no
    winner where `none` exceeds `none_threshold` (0..1; 1: never). `over_time` says how the windows
    around a moment become its answer (`fusion.over_time.WAYS`), `context_seconds` how far windows heard those around them.
    """

    windows: Windows
    modalities: tuple[str, ...]
    compounds: tuple[Compound, ...]
    method: str
    weights: str
    basic: Floats
    scores: Floats
    compound: Floats
    present: NDArray[np.bool_]
    winner: NDArray[np.int64]
    sureness: Floats
    blend: Floats
    contributions: Floats
    emotion_shares: Floats
    matrices: Floats
    presence: NDArray[np.bool_]
    coverage: Floats
    none: Floats
    none_threshold: float
    over_time: str
    context_seconds: float
    reasons: tuple[str, ...]

    @property
    def emotion(self) -> NDArray[np.int64]:
        """The strongest basic emotion of each window [N]; -1 without evidence."""
        return strongest(self.basic)

    @property
    def neutral(self) -> Floats:
        """Fused probability of neutral [N]: how little a window shows at all, whichever compound wins it."""
        return self.basic[:, BASIC_EMOTIONS.index("neutral")]

    @property
    def is_absent(self) -> bool:
        """True when no window has a winning compound."""
        return not bool((self.winner >= 0).any())


@dataclass(frozen=True, eq=False)
class Moments:
    """The answer at T points in time (s), from the windows around each; NaN and -1 where no window answers.

    `winner` is also -1 where `none` [T] exceeds the fusion's threshold.
    """

    times: Floats
    basic: Floats
    compound: Floats
    winner: NDArray[np.int64]
    sureness: Floats
    blend: Floats
    none: Floats

    @property
    def emotion(self) -> NDArray[np.int64]:
        """The strongest basic emotion of each moment [T]; -1 without evidence."""
        return strongest(self.basic)


@dataclass(frozen=True)
class Stretch:
    """A stretch of time (s) with one answer: a winning compound, or where none wins (None) the strongest emotion alone.

    `emotion` is the strongest on the mean; `sureness` with its range, `blend` (NaN without a compound) and `neutral` are means
    over the stretch, 0..1.
    """

    start: float
    end: float
    compound: str | None
    emotion: str
    sureness: float
    sureness_range: tuple[float, float]
    blend: float
    neutral: float


def strongest(basic: Floats) -> NDArray[np.int64]:
    """Position of the strongest of basic emotions [N, 7] in each row; -1 where they are NaN."""
    known = ~np.isnan(basic[:, 0])
    return np.where(known, np.where(np.isnan(basic), -np.inf, basic).argmax(1), -1)


def write_fused(path: Path, fused: Pooled | Fusion) -> None:
    """Write the arrays and names as one .npz file, whole or not at all."""
    content = {field.name: getattr(fused, field.name) for field in fields(fused)}
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    names = {name: value for name, value in content.items() if name not in arrays and name != "compounds"}
    if isinstance(fused, Fusion):
        names["compounds"] = [asdict(compound) for compound in fused.compounds]
    with atomic_path(path) as aside, aside.open("wb") as stream:
        np.savez(stream, allow_pickle=False, names=np.array(json.dumps(names)), **arrays)


def read_pooled(path: Path) -> Pooled:
    """Read a `Pooled` that `write_fused` wrote; InputError when the file is missing or another."""
    return Pooled(**_content(path, Pooled))


def read_fusion(path: Path) -> Fusion:
    """Read a `Fusion` that `write_fused` wrote; InputError when the file is missing or another."""
    content = _content(path, Fusion)
    compounds = tuple(Compound(**compound) for compound in content["compounds"])
    return Fusion(**{**content, "compounds": compounds})


def _content(path: Path, kind: type[Pooled | Fusion]) -> dict[str, Any]:
    try:
        arrays = read_arrays(path)
        names = json.loads(str(arrays.pop("names")))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a readable fusion file ({error}); run the clip again.") from error
    content = {**arrays, **{name: tuple(value) if isinstance(value, list) else value for name, value in names.items()}}
    if set(content) != {field.name for field in fields(kind)}:
        raise InputError(f"{path} does not hold a {kind.__name__} of this version; run the clip again.")
    return content
