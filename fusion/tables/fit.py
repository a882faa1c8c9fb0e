"""Calibrating models and fitting their fusion on labelled rows, by the log loss of the fused distribution.

Every fit sees each row twice: as it is, and (counting half) with some of its models dropped, so that any subset works. The
strength of the pull to equal weights, and which way of pooling is best, are chosen by validation inside the rows; rows of one
group are never divided.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputError
from data.metrics import calibration_error
from fusion.arrays import Flags, Floats, Integers, as_distribution
from fusion.tables.long_table import LongTable, Words
from fusion.tables.pooling import FEATURES, HEADS, POOLINGS

if TYPE_CHECKING:
    from torch import Tensor

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
STATIC = 1e6
"""The strength that leaves nothing of what a way adds to the one it shrinks to."""
TEMPERATURES = np.geomspace(0.4, 8.0, 40)
FLOORS = (1e-7, 1e-4, 1e-3, 1e-2, 5e-2)
DROPPED = 0.5
"""How much a row with dropped models counts beside the whole row."""
DRAWS = 1000
INNER_PARTS = 4


@dataclass(frozen=True)
class Calibration:
    """Of one model: p' is proportional to (p + floor)^(1 / temperature); expected calibration error (0..1) before and after.

    Its quality, where the table has any, is centred and scaled by mean and spread.
    """

    temperature: float = 1.0
    floor: float = 1e-7
    error_before: float = float("nan")
    error_after: float = float("nan")
    quality_mean: float = 0.0
    quality_spread: float = 1.0


COMMON = Calibration(2.0, 1e-4)
"""Of every model, where the rows cannot say how sure each may be."""
NEARLY_ALWAYS = 0.98
"""No model is so often right about people whom it did not learn."""
SHARP, EXACT = 0.9, 0.05
"""So often right, and so little off in how sure it is, is a model that has learned the rows if it still wants the least
temperature of all; an honest one may be too modest, but then it is off by more."""
CAREFUL, CAREFUL_STRENGTH = "weighted_product", 10.0
"""The way of pooling where rows cannot choose one, and its strength where they cannot choose that either."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted fusion: the way of pooling, its parameters, each model's calibration, and how validation inside the rows went.

    `validation` gives for each way that was tried its log_loss, accuracy and strength.
    """

    method: str
    models: tuple[str, ...]
    classes: tuple[str, ...]
    calibrations: tuple[Calibration, ...]
    parameters: Mapping[str, Floats]
    strength: float = 0.0
    validation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def careful(self) -> "Fitted":
        """The same with one temperature and floor for all: what a model seems to deserve in-sample it does not elsewhere."""
        told = {"temperature": COMMON.temperature, "floor": COMMON.floor, "error_after": COMMON.error_after}
        return replace(self, calibrations=tuple(replace(given, **told) for given in self.calibrations))


def seen_in_training(table: LongTable) -> tuple[str, ...]:
    """The models that seem to have learned the labelled rows themselves: too often right, or wanting to be surer than sure."""
    found = []
    for index, (name, given) in enumerate(zip(table.models, calibrate(table), strict=True)):
        rows = table.present[:, index] & (table.labels >= 0)
        right = float((table.probabilities[rows, index].argmax(1) == table.labels[rows]).mean()) if rows.any() else 0.0
        sharp = given.temperature <= TEMPERATURES[0] and given.error_before <= EXACT
        if right >= NEARLY_ALWAYS or (right >= SHARP and sharp):
            found.append(name)
    return tuple(found)


def fit_carefully(table: LongTable, seed: int = 7) -> Fitted:
    """The weighted product with a common temperature and floor, for rows that must not choose: models have learned them, or
    they are of one group, so that nothing can be validated."""
    table = table.rows((table.labels >= 0) & table.present.any(1))
    check_enough(table, groups=1)
    if len(set(table.groups.tolist())) > 1:
        return fit_fusion(table, (CAREFUL,), seed)[CAREFUL].careful
    calibrations = calibrate(table)
    learned = _learn(table, calibrations, CAREFUL, {CAREFUL: CAREFUL_STRENGTH}, seed)
    return Fitted(CAREFUL, table.models, table.classes, calibrations, learned, CAREFUL_STRENGTH).careful


def calibrate(table: LongTable) -> tuple[Calibration, ...]:
    """Temperature and floor of each model by the least log loss on its labelled rows; no change for a model without any."""
    found = []
    for index in range(len(table.models)):
        rows = table.present[:, index]
        fitted = _calibrate(table.probabilities[rows, index], table.labels[rows])
        known = np.zeros(0) if table.quality is None else table.quality[rows, index]
        known = known[np.isfinite(known)]
        if len(known):
            fitted = replace(fitted, quality_mean=float(known.mean()), quality_spread=float(known.std()) or 1.0)
        found.append(fitted)
    return tuple(found)


def _calibrate(probabilities: Floats, labels: Integers) -> Calibration:
    if not len(labels):
        return Calibration()

    def loss(choice: tuple[float, float]) -> float:
        tempered = apply_temperature(probabilities, *choice)
        return float(-np.log(tempered[np.arange(len(labels)), labels]).mean())

    temperature, floor = min(((float(t), e) for t in TEMPERATURES for e in FLOORS), key=loss)
    after = calibration_error(apply_temperature(probabilities, temperature, floor), labels)
    return Calibration(temperature, floor, calibration_error(probabilities, labels), after)


def apply_temperature(probabilities: Floats, temperature: float, floor: float) -> Floats:
    """Distributions [..., C] with another temperature; NaN stays NaN."""
    return as_distribution((probabilities + floor) ** (1.0 / temperature))


def logs_of(table: LongTable, calibrations: Sequence[Calibration]) -> Floats:
    """Calibrated log-probabilities [N, M, C], 0 where absent."""
    columns = [apply_temperature(table.probabilities[:, index], given.temperature, given.floor)
               for index, given in enumerate(calibrations)]  # fmt: skip
    return np.where(table.present[..., None], np.log(np.maximum(np.stack(columns, 1), 1e-12)), 0.0)


def quality_of(table: LongTable, calibrations: Sequence[Calibration]) -> Floats:
    """Standardised quality [N, M], 0 where it is unknown."""
    if table.quality is None:
        return np.zeros(table.present.shape)
    mean, spread = (np.array([getattr(given, name) for given in calibrations]) for name in ("quality_mean", "quality_spread"))
    standardised: Floats = np.clip(np.nan_to_num((table.quality - mean) / spread), -3.0, 3.0)
    return standardised


def apply_fusion(fitted: Fitted, table: LongTable) -> Floats:
    """Fused distributions [N, C] of a table with the fit's models and classes; NaN where no model answers."""
    import torch

    given = table.aligned(fitted.models, fitted.classes)
    logs, present = torch.from_numpy(logs_of(given, fitted.calibrations)), torch.from_numpy(given.present.astype(np.float64))
    values = {name: torch.as_tensor(np.asarray(value, np.float64)) for name, value in fitted.parameters.items()}
    quality = torch.from_numpy(quality_of(given, fitted.calibrations))
    fused: Floats = POOLINGS[fitted.method].answer(values, logs, present, quality).softmax(1).numpy()
    fused[~given.present.any(1)] = np.nan
    return fused


def fit_fusion(table: LongTable, methods: Sequence[str] = tuple(POOLINGS), seed: int = 7) -> dict[str, Fitted]:
    """Fit every way of `methods` on the labelled rows, its strength by validation inside them; InputError for too few rows.

    All carry the same `validation`; the best way is the one with the least log_loss there (`best_of`).
    """
    table = table.rows((table.labels >= 0) & table.present.any(1))
    check_enough(table)
    if unknown := [name for name in methods if name not in POOLINGS]:
        raise InputError(f"There is no method '{unknown[0]}'; use one of {', '.join(POOLINGS)}.")
    strengths, validation = _strengths(table, methods, seed)
    calibrations = calibrate(table)
    return {
        name: Fitted(name, table.models, table.classes, calibrations,
                     _learn(table, calibrations, name, strengths, seed), strengths[name], validation)
        for name in methods
    }  # fmt: skip


def best_of(fits: Mapping[str, Fitted]) -> Fitted:
    """The fit with the least log loss in validation."""
    return min(fits.values(), key=lambda fitted: fitted.validation[fitted.method]["log_loss"])


def check_enough(table: LongTable, groups: int = 2) -> None:
    """InputError when a fit, and its validation where it needs `groups`, are impossible."""
    if len(table.clips) < 2 * len(table.classes) or len(set(table.labels.tolist())) < 2 or len(set(table.groups)) < groups:
        raise InputError(
            f"The table has {len(table.clips)} labelled answers to fit {len(table.classes)} classes on; give at least two for "
            "each class, of two clips or groups, in the column 'label'."
        )


def parts_of(groups: Words, parts: int, seed: int) -> Integers:
    """The validation part [N] of each row, all of a group in one; groups are dealt out in random order."""
    names, index = np.unique(groups.astype(str), return_inverse=True)
    dealt = np.arange(len(names)) % min(parts, len(names))
    shuffled: Integers = np.random.default_rng(seed).permutation(dealt)[index]
    return shuffled


Part = tuple[LongTable, tuple[Calibration, ...], Integers]
"""Of validation: the rows to fit on, the models' calibrations on them, and the indices of the rows to answer."""


def _strengths(
    table: LongTable, methods: Sequence[str], seed: int
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The best strength of each way, and of those it shrinks to; and the figures of validation for the ways asked for."""
    part = parts_of(table.groups, INNER_PARTS, seed)
    insides = {int(number): table.rows(part != number) for number in np.unique(part)}
    fits = [(inside, calibrate(inside), np.flatnonzero(part == number)) for number, inside in insides.items()]
    strengths: dict[str, float] = {}
    validation: dict[str, dict[str, float]] = {}
    bases = [base for name in methods if (base := POOLINGS[name].shrinks_to) and base not in methods]
    # Those that shrink to another come after it.
    for name in sorted({*methods, *bases}, key=lambda name: bool(POOLINGS[name].shrinks_to)):
        tried = {strength: _validate(table, fits, name, strengths | {name: strength}, seed) for strength in strengths_of(name)}
        strengths[name] = min((figures["log_loss"], strength) for strength, figures in tried.items())[1]
        validation[name] = tried[strengths[name]] | {"strength": strengths[name]}
    return strengths, {name: validation[name] for name in methods}


def _validate(
    table: LongTable, fits: Sequence[Part], method: str, strengths: Mapping[str, float], seed: int
) -> dict[str, float]:
    """Log loss and accuracy of a way and its strength on rows that the fit did not see."""
    loss, right = np.full(len(table.clips), np.nan), np.zeros(len(table.clips))
    for inside, calibrations, outside in fits:
        tested, values = table.rows(outside), _learn(inside, calibrations, method, strengths, seed)
        fused = apply_fusion(Fitted(method, table.models, table.classes, calibrations, values), tested)
        loss[outside] = -np.log(np.maximum(fused[np.arange(len(outside)), tested.labels], 1e-12))
        right[outside] = fused.argmax(1) == tested.labels
    return {"log_loss": float(loss.mean()), "accuracy": float(right.mean())}


def strengths_of(method: str) -> tuple[float, ...]:
    """The strengths to choose from; one for a way without a penalty."""
    if POOLINGS[method].shrinks_to:
        return (*STRENGTHS, STATIC)
    return STRENGTHS if POOLINGS[method].learned == "likelihood" else (0.0,)


def _learn(
    table: LongTable, calibrations: Sequence[Calibration], method: str, strengths: Mapping[str, float], seed: int
) -> dict[str, Floats]:
    pooling = POOLINGS[method]
    if not pooling.learned:
        return {}
    logs = logs_of(table, calibrations)
    if pooling.learned == "search":
        return _search(logs, table, seed)
    fixed = _learn(table, calibrations, pooling.shrinks_to, strengths, seed) if pooling.shrinks_to else {}
    return _minimise(logs, quality_of(table, calibrations), table, method, strengths[method], seed, fixed)


def _search(logs: Floats, table: LongTable, seed: int) -> dict[str, Floats]:
    """The best of random class-wise weights by mean recall over the classes (AVCER, arXiv 2403.12687)."""
    random = np.random.default_rng(seed)
    models, classes = logs.shape[1:]
    probabilities = np.exp(logs) * table.present[..., None]
    truth = np.eye(classes)[table.labels] / np.maximum(np.bincount(table.labels, minlength=classes), 1)
    draws = [np.full((models, classes), 1.0 / models), *random.dirichlet(np.ones(models), (DRAWS, classes)).transpose(0, 2, 1)]

    def recall(shares: Floats) -> float:
        answer = np.einsum("nmc,mc->nc", probabilities, shares).argmax(1)
        return float(truth[np.arange(len(answer)), answer].sum())

    return {"share": max(draws, key=recall)}


def _start(method: str, models: int, classes: int, seed: int) -> dict[str, Floats]:
    """All models alike; heads differ by a little noise, without which they would stay one."""
    sizes = {"model": models, "class": classes, "head": HEADS, "feature": len(FEATURES), "count": models}
    shapes = {name: tuple(sizes[axis] for axis in axes) for name, axes in POOLINGS[method].axes.items()}
    start = {name: np.zeros(shape) for name, shape in shapes.items()}
    if "sharpness" in start:
        start["sharpness"] += np.arange(1, models + 1)
    if "head" in start:
        start["weight"] += np.random.default_rng(seed).normal(0, 0.05, start["weight"].shape)
    return start


def _dropped(present: Flags, seed: int) -> Flags:
    """Presence with each model dropped by a fair coin, one (any) kept at least."""
    random = np.random.default_rng(seed)
    kept: Flags = present & (random.random(present.shape) < 0.5)
    chosen = np.where(present, random.random(present.shape), -1.0).argmax(1)
    empty = ~kept.any(1)
    kept[empty, chosen[empty]] = True
    return kept


def _minimise(
    logs: Floats, quality: Floats, table: LongTable, method: str, strength: float, seed: int, fixed: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Parameters with the least mean log loss plus `strength` x penalty / N, by L-BFGS; those in `fixed` stay."""
    import torch

    start = {name: value for name, value in _start(method, logs.shape[1], logs.shape[2], seed).items() if name not in fixed}
    whole, dropped = (torch.from_numpy(flags.astype(np.float64)) for flags in (table.present, _dropped(table.present, seed)))
    tensors, truth, pooling = torch.from_numpy(logs), torch.from_numpy(table.labels), POOLINGS[method]
    seen, held = torch.from_numpy(quality), {name: torch.from_numpy(value) for name, value in fixed.items()}

    def objective(flat: "Tensor") -> "Tensor":
        free = _unflat(flat, start)
        losses = [
            torch.nn.functional.cross_entropy(pooling.answer(free | held, tensors * flags[..., None], flags, seen), truth)
            for flags in (whole, dropped)
        ]
        fit = (losses[0] + DROPPED * losses[1]) / (1.0 + DROPPED)
        return fit + strength * pooling.penalty(free) / len(truth)

    found = lbfgs(objective, np.concatenate([value.ravel() for value in start.values()]))
    return dict(fixed) | {name: value.numpy() for name, value in _unflat(torch.from_numpy(found), start).items()}


def _unflat(flat: "Tensor", like: Mapping[str, Floats]) -> dict[str, "Tensor"]:
    values: dict[str, Tensor] = {}
    first = 0
    for name, value in like.items():
        values[name] = flat[first : first + value.size].reshape(value.shape)
        first += value.size
    return values


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tensors as small as these are slower on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def lbfgs(objective: Callable[["Tensor"], "Tensor"], start: Floats) -> Floats:
    """The point [P] of the least `objective`, from `start` [P], by at most 60 steps of L-BFGS."""
    import torch
    from scipy.optimize import minimize

    def value_and_slope(flat: Floats) -> tuple[float, Floats]:
        point = torch.from_numpy(flat.copy()).requires_grad_(True)
        loss = objective(point)
        (slope,) = torch.autograd.grad(loss, point)
        return float(loss.detach()), slope.numpy()

    with _one_thread():
        found: Floats = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x
    return found
