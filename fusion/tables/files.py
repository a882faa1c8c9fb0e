"""Tables in files: fit, apply and compare ways to fuse anybody's probabilities; each says in words what was done."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.files import file_digest
from data.metrics import calibration_error, scores_of
from fusion.arrays import Flags, Floats, Integers
from fusion.tables.fit import (
    COMMON,
    Fitted,
    apply_fusion,
    best_of,
    check_enough,
    fit_carefully,
    fit_fusion,
    parts_of,
    seen_in_training,
)
from fusion.tables.fitted import FoldedFusion, agreement_of, read_fitted, write_fitted
from fusion.tables.long_table import LongTable, read_long_table, write_fused_table
from fusion.tables.pooling import POOLINGS

TRAINING = "train"
OUTER_PARTS = 5
SEED = 7


def fit_table(table: Path, output: Path, method: str = "auto", split: str | None = None) -> str:
    """Fit the fusion of a table and write `weights.json`; returns what was done, in words.

    Rows: those of `split`; without one, the held-out rows of the folds where two folds or more have such (each fold then
    gets weights of its own, fitted without it); else those of the split 'train' where there are some; else all.
    """
    rows, why, by_fold = fitting_rows(read_long_table(table), split)
    methods = tuple(POOLINGS) if method == "auto" else (method.replace("-", "_"),)
    check_enough(rows)
    whole, doubt = trusted_fit(rows, methods)
    folds = sorted(set(rows.folds)) if by_fold else []
    fits = {fold: trusted_fit(rows.rows(rows.folds != fold), methods)[0] for fold in folds}
    careful = whole if doubt else fit_carefully(rows, SEED)
    about = {
        "table": table.name, "sha256": file_digest(table), "date": date.today().isoformat(), "rows": why,
        "answers": len(rows.clips), "clips": len(set(rows.clips)), "groups": len(set(rows.groups)), "seed": SEED,
    }  # fmt: skip
    write_fitted(output, FoldedFusion(whole, fits, about, careful, agreement_of(rows)))
    return _fit_in_words(whole, fits, why, len(rows.clips), output, doubt)


def trusted_fit(rows: LongTable, methods: Sequence[str]) -> tuple[Fitted, str]:
    """The best of some ways by validation; where the rows cannot be trusted with that, a careful one, and why.

    One way alone was asked for: it stays, with the common temperature.
    """
    if len(set(rows.groups.tolist())) < 2:
        return fit_carefully(rows, SEED), "the rows are of one fold or group, so nothing can be validated among them"
    if not (seen := seen_in_training(rows)):
        return best_of(fit_fusion(rows, methods, SEED)), ""
    careful = best_of(fit_fusion(rows, methods, SEED)).careful if len(methods) == 1 else fit_carefully(rows, SEED)
    right = "right about nearly all of these rows, as in what was learned"
    return careful, f"{' and '.join(seen)} {'is' if len(seen) == 1 else 'are'} {right}"


def apply_table(weights: Path, table: Path, output: Path) -> tuple[str, list[str]]:
    """Fuse a table by fitted weights and write one row a clip.

    Returns what was done, with the scores of labelled rows, and sentences about rows of which something is wrong.
    """
    problems: list[str] = []
    fusion, given = read_fitted(weights), read_long_table(table, problems)
    given = given.aligned(fusion.whole.models, fusion.whole.classes)
    fusion, doubt = fusion.for_table(given)
    fused = fusion.apply(given)
    write_fused_table(output, given, fused)
    answered = ~np.isnan(fused[:, 0])
    lines = [f"{len(fused)} clips fused, {int((~answered).sum())} without an answer; written to {output}"]
    lines += [doubt] if doubt else []
    for name in sorted(set(given.splits)):
        rows = answered & (given.labels >= 0) & (given.splits == name)
        if rows.any():
            figures = figures_of(fused[rows], given.labels[rows])
            where = f"split {name}" if name else "labelled clips"
            reached = f"accuracy {100 * figures['accuracy']:.1f} %, UAR {100 * figures['uar']:.1f} %"
            lines.append(f"{where}: n {int(rows.sum())}, {reached}")
    return "\n".join(lines), problems


def compare_table(table: Path, split: str | None = None, methods: Sequence[str] = tuple(POOLINGS)) -> str:
    """Every way to fuse, and each model alone, on rows that its fit did not see; a Markdown table and how it was made."""
    rows, why, by_fold = fitting_rows(read_long_table(table), split)
    answers, parts = cross_fitted(rows, by_fold, methods)
    lines = [f"Each part of the rows answered by fits on the others: {len(rows.clips)} answers in {parts} parts; {why}.", ""]
    lines += ["| way | n | accuracy % | UAR % | log loss | ECE % |", "|---|---|---|---|---|---|"]
    for name, fused in answers.items():
        known = ~np.isnan(fused[:, 0])
        if not known.any():
            lines.append(f"| {name} | 0 | - | - | - | - |")
            continue
        figures = figures_of(fused[known], rows.labels[known])
        cells = [f"{100 * figures['accuracy']:.1f}", f"{100 * figures['uar']:.1f}", f"{figures['log_loss']:.3f}"]
        lines.append(f"| {name} | {int(known.sum())} | {' | '.join(cells)} | {100 * figures['calibration_error']:.1f} |")
    return "\n".join(lines)


def fitting_rows(table: LongTable, split: str | None) -> tuple[LongTable, str, bool]:
    """The rows that `choose_rows` chooses; where folds are kept apart and no groups are named, validation divides by fold.

    The speakers of a fold are then in one part, whatever the clips are called.
    """
    chosen, why, by_fold = choose_rows(table, split)
    rows = table.rows(chosen)
    ungrouped = bool((rows.groups == rows.clips).all())
    return (replace(rows, groups=rows.folds) if by_fold and ungrouped else rows), why, by_fold


def choose_rows(table: LongTable, split: str | None) -> tuple[Flags, str, bool]:
    """Which rows to fit on [N], why, and whether each fold gets a fit without it. InputError when there are none.

    A cross-validated table has each model's answers to what it was trained on (in-sample, far too sure) and to what it was
    not; only the latter show what fused answers to new clips will be like.
    """
    labelled = (table.labels >= 0) & table.present.any(1)
    training, held = table.splits == TRAINING, (table.splits != TRAINING) & (table.splits != "")
    folds = set(table.folds[labelled & held])
    if split is not None:
        chosen, why, by_fold = labelled & (table.splits == split), f"rows of split '{split}'", False
    elif len(folds - {""}) > 1 and (labelled & training).any():
        chosen, why, by_fold = labelled & held, "held-out rows of every fold; each fold by a fit without it", True
    elif (labelled & training).any():
        chosen, by_fold = labelled & training, False
        why = f"rows of split '{TRAINING}' (if the models were trained on them, too sure)"
    else:
        chosen, why, by_fold = labelled, "all labelled rows", len(set(table.folds[labelled]) - {""}) > 1
    if not chosen.any():
        wanted, known = f" of split '{split}'" if split else "", ", ".join(sorted(set(table.splits))) or "none"
        raise InputError(f"The table has no labelled answers{wanted} (splits: {known}); fill the column 'label'.")
    return chosen, why, by_fold


def cross_fitted(
    rows: LongTable, by_fold: bool, methods: Sequence[str] = tuple(POOLINGS)
) -> tuple[dict[str, Floats], int]:
    """Held-out answers [N, C] by each model alone, mean and product as given, every way to fuse, and the automatic choice."""
    check_enough(rows)
    part = np.unique(rows.folds, return_inverse=True)[1] if by_fold else parts_of(rows.groups, OUTER_PARTS, SEED)
    answers = as_given(rows) | {name: np.full(rows.probabilities[:, 0].shape, np.nan) for name in (*methods, "chosen by fit")}
    for number in np.unique(part):
        outside = np.flatnonzero(part == number)
        inside, tested = rows.rows(part != number), rows.rows(outside)
        if len(set(inside.groups.tolist())) > 1:
            fits = fit_fusion(inside, methods, SEED)
            chosen = fit_carefully(inside, SEED) if seen_in_training(inside) else best_of(fits)
        else:  # one fold is left: nothing can be validated, and no way but the careful one is fitted
            fits, chosen = {}, fit_carefully(inside, SEED)
        for name, fitted in (fits | {"chosen by fit": chosen}).items():
            answers[name][outside] = apply_fusion(fitted, tested)
    return answers, len(np.unique(part))


def as_given(rows: LongTable) -> dict[str, Floats]:
    """Each model alone, and mean and product of the probabilities without calibration."""
    answers = {name: rows.probabilities[:, index] for index, name in enumerate(rows.models)}
    counted = np.where(rows.present[..., None], rows.probabilities, 0.0)
    logs = np.where(rows.present[..., None], np.log(np.maximum(rows.probabilities, 1e-7)), 0.0).sum(1)
    product = np.exp(logs - logs.max(1, keepdims=True))
    return answers | {
        "mean, uncalibrated": counted.sum(1) / counted.sum((1, 2))[:, None],
        "product, uncalibrated": product / product.sum(1, keepdims=True),
    }


def figures_of(fused: Floats, labels: Integers) -> dict[str, float]:
    """accuracy, uar, macro_f1, log_loss and calibration_error of distributions [N, C]."""
    scores = scores_of(labels, fused.argmax(1))
    loss = -np.log(np.maximum(fused[np.arange(len(labels)), labels], 1e-12)).mean()
    return {
        "accuracy": scores["war"], "uar": scores["uar"], "macro_f1": scores["macro_f1"],
        "log_loss": float(loss), "calibration_error": calibration_error(fused, labels),
    }  # fmt: skip


def _fit_in_words(whole: Fitted, folds: Mapping[str, Fitted], why: str, count: int, output: Path, doubt: str) -> str:
    lines = [f"Fitted on {count} answers ({why}); written to {output}."]
    lines += [f"{name:20} log loss {figures['log_loss']:.3f}, accuracy {100 * figures['accuracy']:5.1f} %  (inner validation)"
              for name, figures in whole.validation.items()]  # fmt: skip
    if doubt:
        lines.append(f"These rows choose nothing: {doubt}. All models get the temperature {COMMON.temperature:g} and the floor "
                     f"{COMMON.floor:g}; give rows of people whom the models did not learn.")  # fmt: skip
    lines.append(f"Chosen: {whole.method}" + _of_folds(folds))
    lines += [f"{model}: temperature {given.temperature:.2f}, floor {given.floor:g}, calibration error "
              f"{100 * given.error_before:.1f}" + ("" if doubt else f" -> {100 * given.error_after:.1f}") + " %"
              for model, given in zip(whole.models, whole.calibrations, strict=True)]  # fmt: skip
    return "\n".join(lines)


def _of_folds(folds: Mapping[str, Fitted]) -> str:
    return "".join(f"; fold {fold}: {fitted.method}" for fold, fitted in folds.items())
