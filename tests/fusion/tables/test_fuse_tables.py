"""`dyad fuse`: long tables of anybody's probabilities, ways to pool them, fits that improve, weights that can be read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from flows.cli.app import main
from fusion.tables.files import apply_table, choose_rows, compare_table, fit_table, fitting_rows
from fusion.tables.fit import Calibration, Fitted, apply_fusion, apply_temperature, best_of, calibrate, fit_fusion, parts_of
from fusion.tables.fitted import read_fitted
from fusion.tables.long_table import LongTable, read_long_table
from fusion.tables.pooling import POOLINGS

CLASSES = ("calm", "cross", "glad")
QUICK = ("mean", "product", "weighted_product", "mhpf")


def make_table(count: int = 240, seed: int = 0, absent: float = 0.0) -> LongTable:
    """Three models of unequal worth: one good, one weak, one that guesses and is sure of it."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    truth = np.eye(3)[labels][:, None] * np.array([2.5, 1.0, 0.0])[None, :, None]
    scores = truth + random.normal(size=(count, 3, 3)) * np.array([1.0, 1.0, 4.0])[None, :, None]
    probabilities = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    probabilities[random.random((count, 3)) < absent] = np.nan
    clips = np.array([f"clip{number}" for number in range(count)], object)
    folds, empty = np.array([str(number % 3) for number in range(count)], object), np.full(count, "", object)
    present = ~np.isnan(probabilities[:, :, 0])
    return LongTable(("good", "weak", "loud"), CLASSES, clips, probabilities, present, labels, empty, folds, clips)


def write_csv(path: Path, table: LongTable, split: str = "", label: bool = True) -> Path:
    rows = [
        {"clip": clip, "model": model, "label": CLASSES[table.labels[n]] if label else "", "split": split, "fold": table.folds[n],
         **dict(zip(CLASSES, table.probabilities[n, m], strict=True))}
        for n, clip in enumerate(table.clips) for m, model in enumerate(table.models) if table.present[n, m]
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table = make_table(30, absent=0.2)
    table = table.rows(table.present.any(1))
    read = read_long_table(write_csv(tmp_path / "t.csv", table)).aligned(table.models, table.classes)
    assert read.clips.tolist() == table.clips.tolist()
    np.testing.assert_allclose(read.probabilities, table.probabilities, atol=1e-9)
    np.testing.assert_array_equal(read.labels, table.labels)
    np.testing.assert_array_equal(read.present, table.present)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clip,a,b\nx,1,0\n", "no column 'model'"),
        ("clip,model,a\nx,m,1\n", "no two columns of classes"),
        ("clip,model,a,A\nx,m,1,0\n", "more than one column for a"),
        ("clip,model,a,b\nx,m,1,0\n,m,1,0\n", "line 3: the column 'clip' is empty"),
        ("clip,model,a,b\nx,m,1,0,9\n", "line 2: it has 5 cells"),
        ("clip,model,a,b\nx,m,1,0\nx,m,0,1\n", "twice"),
        ("clip,model,a,b\nx,m,one,0\n", "line 2"),
        ("clip,model,a,b\nx,m,-1,2\n", "line 2"),
        ("clip,model,a,b\nx,m,,2\n", "line 2"),
        ("clip,model,label,a,b\nx,m,c,1,0\n", "label 'c'"),
        ("clip,model,label,a,b\nx,m,a,1,0\nx,n,b,1,0\n", "two labels"),
        ("clip,model,a,b\n", "no rows"),
    ],
)
def test_a_bad_table_is_named_in_a_sentence(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_long_table(tmp_path / "t.csv")


def some_fit(method: str, seed: int) -> Fitted:
    """Parameters of any size, for the properties that hold whatever was fitted."""
    random = np.random.default_rng(seed)
    sizes = {"model": 3, "class": 3, "head": 2, "feature": 5, "count": 3}
    shapes = {name: tuple(sizes[axis] for axis in axes) for name, axes in POOLINGS[method].axes.items()}
    values = {name: np.abs(random.normal(size=shape)) + 0.1 for name, shape in shapes.items()}
    return Fitted(method, ("good", "weak", "loud"), CLASSES, (Calibration(1.5),) * 3, values)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(POOLINGS)), st.integers(0, 10_000), st.sampled_from([0.0, 0.5]))
def test_every_way_answers_with_distributions_and_ignores_what_is_absent(method: str, seed: int, absent: float) -> None:
    table, fitted = make_table(12, seed, absent), some_fit(method, seed)
    fused, answered = apply_fusion(fitted, table), table.present.any(1)
    assert np.isnan(fused[~answered]).all()
    np.testing.assert_allclose(fused[answered].sum(1), 1.0)
    order = [2, 0, 1]
    shuffled = replace(table, models=tuple(table.models[k] for k in order), probabilities=table.probabilities[:, order],
                       present=table.present[:, order])
    np.testing.assert_allclose(apply_fusion(fitted, shuffled), fused, equal_nan=True)


@pytest.mark.parametrize("method", [*QUICK, pytest.param("conditional_mhpf", marks=pytest.mark.slow)])
def test_fusion_weighs_evidence_and_leaves_the_absent_out(method: str) -> None:
    fits = fit_fusion(make_table(60), [method])
    table = make_table(400, seed=1)
    alone = replace(table, present=np.array([[True, False, False]] * 400), probabilities=np.where(
        np.array([True, False, False])[None, :, None], table.probabilities, np.nan))
    right = (apply_fusion(fits[method], alone).argmax(1) == table.labels).mean()
    assert right == pytest.approx((table.probabilities[:, 0].argmax(1) == table.labels).mean(), abs=0.02)


@pytest.mark.slow
def test_a_fit_beats_the_plain_mean_and_the_best_model_on_new_clips() -> None:
    fits = fit_fusion(make_table(150), QUICK)
    table = make_table(1500, seed=2)
    right = {name: (apply_fusion(fitted, table).argmax(1) == table.labels).mean() for name, fitted in fits.items()}
    chosen = right[best_of(fits).method]
    assert chosen > (table.probabilities.mean(1).argmax(1) == table.labels).mean() + 0.03
    assert chosen >= (table.probabilities[:, 0].argmax(1) == table.labels).mean()


def six_models(count: int, seed: int) -> LongTable:
    """Six models from good to guessing, as many as there are modalities."""
    random = np.random.default_rng(seed)
    labels, worth = random.integers(0, 3, count), np.array([2.5, 2.0, 1.5, 1.0, 0.5, 0.0])
    scores = np.eye(3)[labels][:, None] * worth[None, :, None] + random.normal(size=(count, 6, 3))
    probabilities = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    clips, empty = np.array([f"clip{number}" for number in range(count)], object), np.full(count, "", object)
    return LongTable(tuple("abcdef"), CLASSES, clips, probabilities, np.ones((count, 6), bool), labels, empty, empty, clips)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["weighted_product", "mhpf", "conditional_mhpf"])
def test_no_subset_is_worse_than_its_best_member_by_more_than_noise(method: str) -> None:
    fitted, table = fit_fusion(six_models(240, 1), [method])[method], six_models(1500, 2)
    alone = table.probabilities.argmax(2) == table.labels[:, None]
    for number in range(1, 64):
        members = np.array([bool(number >> place & 1) for place in range(6)])
        part = replace(table, present=np.tile(members, (1500, 1)),
                       probabilities=np.where(members[None, :, None], table.probabilities, np.nan))
        right = apply_fusion(fitted, part).argmax(1) == table.labels
        best = alone[:, members].mean(0).max()
        assert right.mean() >= best - 2.5 * np.sqrt(best * (1 - best) / 1500), f"subset {number:06b}"


def seen_well_or_not(count: int, seed: int) -> LongTable:
    """Two models alike; each is right where its quality is high and guesses, as surely, where it is low."""
    random = np.random.default_rng(seed)
    labels, quality = random.integers(0, 3, count), random.integers(0, 2, (count, 2)) * 100.0
    shown = np.where(quality > 50, labels[:, None], random.integers(0, 3, (count, 2)))
    probabilities = 0.1 + 0.7 * np.eye(3)[shown]
    table = make_table(count, seed)
    return replace(table, models=("one", "two"), labels=labels, probabilities=probabilities, present=np.ones((count, 2), bool),
                   quality=quality)


@pytest.mark.slow
def test_gates_hear_the_model_that_sees_well_and_are_static_without_quality() -> None:
    fits, table = fit_fusion(seen_well_or_not(400, 1), ["mhpf", "conditional_mhpf"]), seen_well_or_not(1000, 2)
    right = {name: (apply_fusion(fitted, table).argmax(1) == table.labels).mean() for name, fitted in fits.items()}
    assert right["conditional_mhpf"] > right["mhpf"] + 0.08
    blind = replace(table, quality=None)
    known, unknown = (apply_fusion(fits["conditional_mhpf"], given) for given in (table, blind))
    assert not np.allclose(known, unknown)
    some = replace(table, quality=np.where(np.arange(1000)[:, None] < 500, table.quality, np.nan))
    np.testing.assert_allclose(apply_fusion(fits["conditional_mhpf"], some)[:500], known[:500])


@pytest.mark.slow
def test_conditional_fusion_is_the_static_one_where_the_gates_say_nothing() -> None:
    fits = fit_fusion(make_table(60), ["mhpf", "conditional_mhpf"])
    conditional, static = fits["conditional_mhpf"], fits["mhpf"]
    np.testing.assert_array_equal(conditional.parameters["weight"], static.parameters["weight"])
    figures = conditional.validation
    assert figures["conditional_mhpf"]["log_loss"] <= figures["mhpf"]["log_loss"] + 1e-6, "the static one is among its choices"
    silent = replace(conditional, parameters={**conditional.parameters, "gate": np.zeros((3, 5))})
    table = make_table(50, seed=4)
    np.testing.assert_allclose(apply_fusion(silent, table), apply_fusion(static, table))


@given(st.integers(0, 99), st.floats(0.3, 5.0), st.floats(0.3, 5.0))
def test_temperatures_multiply_and_keep_the_order_of_classes(seed: int, one: float, other: float) -> None:
    given_, floor = make_table(5, seed).probabilities, 0.0
    twice = apply_temperature(apply_temperature(given_, one, floor), other, floor)
    np.testing.assert_allclose(twice, apply_temperature(given_, one * other, floor), atol=1e-9)
    np.testing.assert_array_equal(twice.argmax(2), given_.argmax(2))
    np.testing.assert_allclose(twice.sum(2), 1.0)


def test_a_table_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(";Clip;Model;Label;Freude;Ärger;\r\n0;x;m;freude;70,5%;29,5 %;\r\n".encode("cp1252"))
    table = read_long_table(tmp_path / "t.csv")
    assert table.classes == ("Freude", "Ärger")
    np.testing.assert_allclose(table.probabilities, [[[0.705, 0.295]]])
    assert table.labels.tolist() == [0]


def test_quality_is_read_and_anything_else_in_its_column_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("clip,model,quality,a,b\nx,m,40,1,0\nx,n,,0,1\ny,m,90.5,1,0\n")
    table = read_long_table(tmp_path / "t.csv")
    assert table.classes == ("a", "b")
    np.testing.assert_array_equal(table.quality, [[40, np.nan], [90.5, np.nan]])
    assert table.rows(np.array([1])).aligned(["n", "m"], ["b", "a"]).quality.tolist()[0][1] == 90.5
    (tmp_path / "t.csv").write_text("clip,model,quality,a,b\nx,m,good,1,0\n")
    with pytest.raises(InputError, match="'good' in the column 'quality' is not a number"):
        read_long_table(tmp_path / "t.csv")


def test_calibration_finds_the_model_that_is_too_sure() -> None:
    good, _, loud = calibrate(make_table(2000))
    assert loud.temperature > 2 * good.temperature
    assert loud.error_after < 0.2 * loud.error_before


@given(st.lists(st.sampled_from("abcdefg"), min_size=8, max_size=40), st.integers(0, 99))
def test_no_group_is_divided(groups: list[str], seed: int) -> None:
    part = parts_of(np.array(groups, object), 4, seed)
    assert all(len({int(part[n]) for n in range(len(groups)) if groups[n] == name}) == 1 for name in groups)


def test_held_out_rows_of_folds_are_preferred_to_what_the_models_were_trained_on() -> None:
    table = make_table(60)
    table = replace(table, splits=np.array(["train", "test"] * 30, object))
    chosen, why, by_fold = choose_rows(table, None)
    assert by_fold
    assert set(table.splits[chosen]) == {"test"}
    assert "held-out" in why
    assert set(table.splits[choose_rows(table, "train")[0]]) == {"train"}
    one = replace(table, folds=np.full(60, "0", object))
    assert set(table.splits[choose_rows(one, None)[0]]) == {"train"}, "a single test set is for the user to keep"


def test_weights_are_readable_and_each_fold_is_answered_without_itself(tmp_path: Path) -> None:
    csv = write_csv(tmp_path / "t.csv", make_table(120))
    words = fit_table(csv, tmp_path / "w.json", "weighted-product")
    content = json.loads((tmp_path / "w.json").read_text())
    assert "Chosen: weighted_product" in words
    assert content["fitted_on"]["answers"] == 120
    assert set(content["parameters"]["weight"]) == {"good", "weak", "loud"}
    assert set(content["folds"]) == {"0", "1", "2"}
    assert {"temperature", "error_before", "error_after"} <= set(content["calibration"]["good"])
    fusion, table = read_fitted(tmp_path / "w.json"), read_long_table(csv)
    of_fold = table.rows(table.folds == "1")
    np.testing.assert_allclose(fusion.apply(of_fold), apply_fusion(fusion.folds["1"], of_fold))
    assert "accuracy" in apply_table(tmp_path / "w.json", csv, tmp_path / "o.csv")[0]
    answers = pd.read_csv(tmp_path / "o.csv")
    assert len(answers) == 120
    np.testing.assert_allclose(answers[list(CLASSES)].sum(axis=1), 1.0, atol=1e-5)


def test_wrong_rows_are_told_and_blank_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_csv(tmp_path / "t.csv", make_table(60))
    fit_table(whole, tmp_path / "w.json", "mean")
    head, *rows = whole.read_text().splitlines()
    rows[0] = rows[0].replace(rows[0].split(",")[5], "much")
    rows[4] += ",0.5"
    rows[7] = rows[7].replace(rows[7].split(",")[2], "bored")
    (tmp_path / "wrong.csv").write_text("\n".join([head, *rows, rows[9]]))
    apply_table(tmp_path / "w.json", whole, tmp_path / "0.csv")
    files = tmp_path / "w.json", tmp_path / "wrong.csv", "-o", tmp_path / "1.csv"
    code, _, said = call(monkeypatch, capsys, "fuse", "apply", *files)
    assert code == 1
    for part in ("line 2: 'much' in the column 'calm' is not a number", "line 6: it has 9 cells, the first line 8",
                 "line 9: the label 'bored' is none", "line 182: clip clip3 of model good is there twice"):  # fmt: skip
        assert f"{tmp_path / 'wrong.csv'}, {part}" in said
    right, answers = (pd.read_csv(tmp_path / f"{code}.csv").set_index("clip") for code in (0, 1))
    pd.testing.assert_frame_equal(answers.iloc[2:], right.iloc[2:])
    assert answers.loc["clip0", "calm"] != right.loc["clip0", "calm"]
    assert answers.iloc[:2].notna().all(axis=None), "what the other models say of these clips counts"
    with pytest.raises(InputError, match=r"wrong\.csv, line 6: it has 9 cells"):
        fit_table(tmp_path / "wrong.csv", tmp_path / "w.json", "mean")


def knowing(table: LongTable, model: int = 0) -> LongTable:
    """The same with a model that has learned the very rows: it is always right, and sure."""
    probabilities = table.probabilities.copy()
    probabilities[:, model] = 0.999 * np.eye(3)[table.labels] + 0.001 / 3
    return replace(table, probabilities=probabilities)


def test_rows_that_a_model_has_learned_choose_nothing_and_a_sentence_says_so(tmp_path: Path) -> None:
    honest = write_csv(tmp_path / "honest.csv", make_table(120))
    assert "choose nothing" not in fit_table(honest, tmp_path / "w.json")
    words = fit_table(write_csv(tmp_path / "t.csv", knowing(make_table(120))), tmp_path / "w.json")
    assert "These rows choose nothing: good is right about nearly all of these rows" in words
    assert "Chosen: weighted_product" in words
    fusion = read_fitted(tmp_path / "w.json")
    assert {(given.temperature, given.floor) for given in fusion.whole.calibrations} == {(2.0, 1e-4)}
    asked = fit_table(tmp_path / "t.csv", tmp_path / "w.json", "product")
    assert "Chosen: product" in asked, "a way that was asked for stays"
    assert read_fitted(tmp_path / "w.json").whole.calibrations[0].temperature == 2.0


def test_models_that_agree_far_less_on_new_clips_are_fused_carefully(tmp_path: Path) -> None:
    fitted, weights = replace(make_table(600), folds=np.full(600, "", object)), tmp_path / "w.json"
    fit_table(write_csv(tmp_path / "t.csv", fitted), weights, "product")
    alike, other = replace(make_table(600, seed=5), folds=np.full(600, "", object)), make_table(600, seed=5)
    shuffled = other.probabilities.copy()
    shuffled[:, 0] = shuffled[::-1, 0]
    other = replace(other, probabilities=shuffled, folds=np.full(600, "", object))
    assert "agree on" not in apply_table(weights, write_csv(tmp_path / "a.csv", alike), tmp_path / "o.csv")[0]
    said, _ = apply_table(weights, write_csv(tmp_path / "b.csv", other), tmp_path / "o.csv")
    assert "good and weak agree on" in said
    careful = read_fitted(weights).careful
    assert careful is not None
    given_ = read_long_table(tmp_path / "b.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "o.csv")[list(CLASSES)], apply_fusion(careful, given_), atol=1e-6)


def test_two_folds_without_groups_never_divide_a_fold(tmp_path: Path) -> None:
    table = make_table(120)
    table = replace(table, folds=np.array([str(number % 2) for number in range(120)], object))
    rows, _, by_fold = fitting_rows(read_long_table(write_csv(tmp_path / "t.csv", table)), None)
    assert by_fold
    assert set(rows.groups) == {"0", "1"}
    assert "Fitted on 120 answers" in fit_table(tmp_path / "t.csv", tmp_path / "w.json")
    fusion = read_fitted(tmp_path / "w.json")
    assert {fitted.method for fitted in fusion.folds.values()} == {"weighted_product"}
    assert fusion.folds["0"].calibrations[0].temperature == 2.0, "one fold alone validates nothing"


def test_spoiled_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text('{"format": "other"}')
    with pytest.raises(InputError, match="not a file of fitted weights"):
        read_fitted(tmp_path / "w.json")


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["dyad", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    return code, *capsys.readouterr()


def test_the_command_line_fits_and_applies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    csv, weights, output = write_csv(tmp_path / "t.csv", make_table(90)), tmp_path / "w.json", tmp_path / "o.csv"
    assert call(monkeypatch, capsys, "fuse", "fit", csv, "-o", weights, "--method", "product")[0] == 0
    unlabelled = write_csv(tmp_path / "new.csv", make_table(10, seed=3), label=False)
    assert call(monkeypatch, capsys, "fuse", "apply", weights, unlabelled, "-o", output)[0] == 0
    assert list(pd.read_csv(output).columns) == ["clip", "fold", "predicted", *CLASSES]
    code, _, err = call(monkeypatch, capsys, "fuse", "fit", unlabelled, "-o", weights)
    assert (code, "no labelled answers" in err) == (2, True)
    code, _, err = call(monkeypatch, capsys, "fuse", "fit", csv, "-o", weights, "--method", "magic")
    assert (code, "no method 'magic'" in err) == (2, True)
    code, _, err = call(monkeypatch, capsys, "fuse", "apply", tmp_path / "none.json", csv, "-o", output)
    assert (code, "dyad fuse fit" in err) == (2, True)


@pytest.mark.slow
def test_comparison_shows_every_way(tmp_path: Path) -> None:
    ways = ("product", "dirichlet", "stacking")
    shown = compare_table(write_csv(tmp_path / "t.csv", make_table(60)), methods=ways)
    assert all(f"| {name} |" in shown for name in (*ways, "good", "mean, uncalibrated", "chosen by fit"))
