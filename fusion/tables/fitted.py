"""The file `weights.json` of a fitted fusion: every number beside its model and class, and what it was fitted on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputError
from data.files import write_text
from data.json_files import read_json
from fusion.arrays import Floats, softmax
from fusion.tables.fit import COMMON, Calibration, Fitted, apply_fusion
from fusion.tables.long_table import LongTable
from fusion.tables.pooling import FEATURES, HEADS, POOLINGS

FORMAT = "dyad-fitted-fusion"
VERSION = 1
FAR_LESS = 5.0
"""Standard errors by which an agreement is far less."""


@dataclass(frozen=True, eq=False)
class FoldedFusion:
    """A fit on all rows, and for each fold one that saw nothing of that fold (none where the rows had no folds).

    `fitted_on` says in words and numbers on which rows. `careful` is what to use where the models agree far less than they did
    there (`agreement`, see `agreement_of`): None in files of before.
    """

    whole: Fitted
    folds: Mapping[str, Fitted]
    fitted_on: Mapping[str, object]
    careful: Fitted | None = None
    agreement: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def for_table(self, table: LongTable) -> tuple["FoldedFusion", str]:
        """This fusion, or its careful form where two models agree far less on new rows than on fitted ones; and a sentence."""
        new = table.rows(~np.isin(table.folds, list(self.folds)))
        careful_already = all(given.temperature == COMMON.temperature for given in self.whole.calibrations)
        if self.careful is None or careful_already or not len(new.clips):
            return self, ""
        for name, (now, count) in agreement_of(new).items():
            before, rows = self.agreement.get(name, (0.0, 0))
            if rows and fewer(before, rows, now, count) > FAR_LESS:
                said = (
                    f"{name} agree on {100 * now:.0f} % of these clips and on {100 * before:.0f} % of those fitted on: the "
                    "models had learned those, or these are of another kind. So clips of no fitted fold are fused by the "
                    f"weighted product, all models with the temperature {COMMON.temperature:g}."
                )
                return replace(self, whole=self.careful), said
        return self, ""

    def apply(self, table: LongTable) -> Floats:
        """Fused distributions [N, C]: rows of a known fold by the fit that saw nothing of it, others by the one on all rows."""
        fused = np.full((len(table.clips), len(self.whole.classes)), np.nan)
        known = np.array([fold if fold in self.folds else "" for fold in table.folds], object)
        for fold in sorted(set(known)):
            chosen = known == fold
            fused[chosen] = apply_fusion(self.folds.get(fold, self.whole), table.rows(chosen))
        return fused


def agreement_of(table: LongTable) -> dict[str, tuple[float, int]]:
    """For each two models ('face and voice') the share of clips for which both have the same answer, and of how many."""
    answers = np.where(table.present, np.nan_to_num(table.probabilities).argmax(2), -1)
    found = {}
    for one, other in combinations(range(len(table.models)), 2):
        both = (answers[:, one] >= 0) & (answers[:, other] >= 0)
        if both.any():
            alike = float((answers[both, one] == answers[both, other]).mean())
            found[f"{table.models[one]} and {table.models[other]}"] = (alike, int(both.sum()))
    return found


def fewer(before: float, rows: int, now: float, count: int) -> float:
    """By how many standard errors a share of `count` is below one of `rows`."""
    pooled = (before * rows + now * count) / (rows + count)
    error = np.sqrt(pooled * (1.0 - pooled) * (1.0 / rows + 1.0 / count))
    return float((before - now) / error) if error > 0 else 0.0


def write_fitted(path: Path, fusion: FoldedFusion) -> None:
    """Write `weights.json`, whole or not at all."""
    content = {
        "format": FORMAT, "version": VERSION, "fitted_on": dict(fusion.fitted_on),
        "models": fusion.whole.models, "classes": fusion.whole.classes, **_entry(fusion.whole),
        "folds": {fold: _entry(fitted) for fold, fitted in fusion.folds.items()},
        "careful": None if fusion.careful is None else _entry(fusion.careful),
        "agreement": {name: {"share": share, "clips": count} for name, (share, count) in fusion.agreement.items()},
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_fitted(path: Path) -> FoldedFusion:
    """Read what `write_fitted` wrote; InputError naming the file and the error otherwise."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise InputError(f"There are no fitted weights at {path}; make them with 'dyad fuse fit TABLE -o {path.name}'.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); fit the weights again.") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{path} is not a file of fitted weights ('{FORMAT}', version {VERSION}); fit the weights again.")
    try:
        models, classes = tuple(map(str, content["models"])), tuple(map(str, content["classes"]))
        folds = {str(fold): _fitted(entry, models, classes) for fold, entry in content["folds"].items()}
        careful = _fitted(content["careful"], models, classes) if content.get("careful") else None
        agreement = {name: (float(row["share"]), int(row["clips"])) for name, row in content.get("agreement", {}).items()}
        return FoldedFusion(_fitted(content, models, classes), folds, dict(content["fitted_on"]), careful, agreement)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} lacks or spoils an entry ({error!r}); fit the weights again.") from error


def is_fitted(path: Path) -> bool:
    """True when a file says that it is one of these; False for any other content, which its own reader judges."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def matrix_of(fitted: Fitted) -> Floats | None:
    """The share of each model in each class [M, C] when all are present, where the way of pooling has such shares."""
    if fitted.method == "dirichlet":
        return np.asarray(fitted.parameters["share"])
    if fitted.method not in ("mhpf", "conditional_mhpf"):
        return None
    heads = softmax(fitted.parameters["head"])[:, None, None]
    matrix: Floats = (heads * softmax(fitted.parameters["weight"], axis=1)).sum(0)
    return matrix


def _names(fitted_models: Sequence[str], classes: Sequence[str]) -> dict[str, Sequence[str]]:
    heads = [f"head {number + 1}" for number in range(HEADS)]
    counts = [f"{number} present" for number in range(1, len(fitted_models) + 1)]
    return {"model": fitted_models, "class": classes, "head": heads, "feature": FEATURES, "count": counts}


def _entry(fitted: Fitted) -> dict[str, object]:
    names, axes = _names(fitted.models, fitted.classes), POOLINGS[fitted.method].axes
    matrix = matrix_of(fitted)
    return {
        "method": fitted.method,
        "meaning": POOLINGS[fitted.method].describe,
        "strength": fitted.strength,
        "validation": {name: dict(figures) for name, figures in fitted.validation.items()},
        "calibration": dict(zip(fitted.models, map(asdict, fitted.calibrations), strict=True)),
        "parameters": {key: _named(value, [names[axis] for axis in axes[key]]) for key, value in fitted.parameters.items()},
        "shares": None if matrix is None else _named(matrix, [fitted.models, fitted.classes]),
    }


Nested = float | Mapping[str, "Nested"]
"""Numbers by the names along the axes of an array."""


def _named(values: Floats, names: Sequence[Sequence[str]]) -> "Nested":
    """Nested {name: value} along every axis."""
    if not names:
        return float(values)
    return {name: _named(part, names[1:]) for name, part in zip(names[0], values, strict=True)}


def _array(named: "Nested", names: Sequence[Sequence[str]]) -> Floats:
    """The inverse of `_named`; KeyError for a name that lacks, ValueError for other axes or a number that is not finite."""
    if isinstance(named, Mapping):
        if not names:
            raise ValueError(f"{named} is not a number")
        return np.array([_array(named[name], names[1:]) for name in names[0]], np.float64)
    if names or not np.isfinite(float(named)):
        raise ValueError(f"{named} is not a finite number by {len(names)} names")
    return np.asarray(float(named))


def _fitted(entry: Mapping[str, Any], models: tuple[str, ...], classes: tuple[str, ...]) -> Fitted:
    names, axes = _names(models, classes), POOLINGS[entry["method"]].axes
    calibrations = tuple(Calibration(**entry["calibration"][model]) for model in models)
    parameters = {key: _array(entry["parameters"][key], [names[axis] for axis in axes[key]]) for key in axes}
    return Fitted(entry["method"], models, classes, calibrations, parameters, float(entry["strength"]), entry["validation"])
