"""Windows, frames, fusion, composition and metrics give the authors' numbers (../shared/parity)."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from data.emotions import ABAW_COMPOUNDS
from data.metrics import scores_of
from data.windows import make_windows
from fusion.arrays import softmax
from fusion.compose import METHODS, pair_parts, pairs_of
from fusion.mhpf import collapse, head_shares, mhpf
from fusion.over_time import forward_fill, spans_of_frames, spread
from fusion.weights import FusionWeights, from_state_dict
from tests.parity import Parity, assert_parity, read_parity

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")


@pytest.fixture(scope="module")
def parity(shared: Path) -> Path:
    return shared / "parity"


@pytest.fixture(scope="module")
def released(parity: Path) -> tuple[Parity, FusionWeights]:
    sheet = read_parity(parity / "ras_prob_fusion_v6_mhpf.json")
    return sheet, from_state_dict(sheet.weights, ["a", "fs", "fd", "t", "s", "c"], CLASSES)


def test_mhpf_loads_the_authors_state_dict_and_gives_their_vectors(released: tuple[Parity, FusionWeights]) -> None:
    sheet, weights = released
    fused = mhpf(weights, sheet.inputs["pred"], normalise=False)
    shares, heads = head_shares(weights, np.ones(6, bool)), softmax(weights.head_combine)
    assert_parity({"fused": fused, "head_normalized": shares, "combine_weights": heads}, sheet)


def test_all_heads_amount_to_one_matrix_whose_columns_sum_to_one(released: tuple[Parity, FusionWeights]) -> None:
    sheet, weights = released
    matrix = collapse(weights)
    assert_parity({"fused": np.einsum("mc,mnc->nc", matrix, sheet.inputs["pred"])}, sheet)
    np.testing.assert_allclose(matrix.sum(0), 1.0, atol=1e-12)


def test_the_same_winner_after_our_normalisation(released: tuple[Parity, FusionWeights]) -> None:
    sheet, weights = released
    ours = mhpf(weights, sheet.inputs["pred"])
    np.testing.assert_allclose(ours.sum(1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(ours.argmax(1), sheet.outputs["fused"].argmax(1))


def test_windows_of_every_duration(parity: Path) -> None:
    cases = json.loads((parity / "segmentation.json").read_text())["cases"]
    assert len(cases) == 125
    for case in cases:
        windows = make_windows(case["duration"])
        expected = [[segment["start"], segment["end"]] for segment in case["segments"]]
        np.testing.assert_array_equal(windows, expected, err_msg=str(case["duration"]))
        listed = [[s["first_listed_frame"], s["last_listed_frame"]] for s in case["segments"]]
        # The authors count frames from 1 and include the last one, so first - 1 and last are our half-open span.
        ours = spans_of_frames(windows, case["fps_value"], past_end=1) + [1, 0]
        np.testing.assert_array_equal(ours, listed, err_msg=str(case["duration"]))


def test_windows_of_other_lengths_and_shifts(parity: Path) -> None:
    cases = json.loads((parity / "segmentation.json").read_text())["helper_cases"]
    for case in (case for case in cases if "args" in case):
        asked = case["args"]
        begin, duration = asked["start_time"], asked["end_time"] - asked["start_time"]
        windows = make_windows(duration, asked["win_max_length"], asked["win_shift"], asked["win_min_length"])
        np.testing.assert_allclose(windows + begin, [[w["start"], w["end"]] for w in case["windows"]], atol=1e-12)


@pytest.mark.parametrize("case", ["ppa", "ppa_missing", "direct_compound"])
def test_frames_and_official_list(parity: Path, case: str) -> None:
    sheet = json.loads((parity / "frame_aggregation.json").read_text())
    arrays = load_file(parity / sheet["file"])
    compound = arrays["compound_probs"]
    if case != "direct_compound":
        known = np.ones(len(sheet["segment_names"]), bool)
        known[sheet["missing_segments"] if case == "ppa_missing" else []] = False
        basic = forward_fill(arrays["basic_probs"], known)  # across videos, as the authors do
        np.testing.assert_array_equal(basic, arrays[f"{case}/segment_basic_after_ffill"])
        compound = METHODS["ppa"](basic, ABAW_COMPOUNDS)
        np.testing.assert_allclose(compound, arrays[f"{case}/segment_compound"], atol=sheet["tolerance"])
    rows, labels, first = [], {}, 0
    for video, about in sheet["videos"].items():
        windows = make_windows(about["duration"])
        spans = spans_of_frames(windows, about["fps"], past_end=1)
        means = spread(compound[first : first + len(windows)], spans, int(spans.max()))
        first += len(windows)
        rows.append(means)
        labels |= {f"{video[:-4]}/{frame + 1:05d}.jpg": int(mean.argmax()) for frame, mean in enumerate(means)}
    assert list(labels) == sheet["frame_rows"]
    np.testing.assert_allclose(np.concatenate(rows), arrays[f"{case}/frame_mean"], atol=sheet["tolerance"])
    np.testing.assert_array_equal(list(labels.values()), arrays[f"{case}/frame_argmax"])
    official = sheet["official_list"]
    found = [labels.get(name, -1) for name in official]
    filled = forward_fill(found, np.array(found) >= 0)
    np.testing.assert_array_equal(filled, arrays[f"{case}/official_list_labels"])


def test_pairs_are_those_of_the_challenge(parity: Path) -> None:
    sheet = json.loads((parity / "frame_aggregation.json").read_text())
    np.testing.assert_array_equal(pairs_of(ABAW_COMPOUNDS), sheet["ppa_pairs"])
    assert [compound.name.title() for compound in ABAW_COMPOUNDS] == sheet["compound_order"]


@pytest.mark.parametrize(
    ("method", "name"),
    [("ppa", "none"), ("avcer_rule1", "rule1"), ("avcer_rule2", "rule2"), ("avcer_both", "rule1_rule2")],
)
def test_avcer_rules_and_their_ties(parity: Path, method: str, name: str) -> None:
    sheet = read_parity(parity / "avcer_ce_rules.json")
    scores = METHODS[method](sheet.inputs["pred"], ABAW_COMPOUNDS)
    assert_parity({f"score_{name}": scores, f"argmax_{name}": scores.argmax(1)}, sheet)


def test_pair_parts_take_the_two_emotions_of_each_compound(parity: Path) -> None:
    sheet = read_parity(parity / "avcer_ce_rules.json")
    parts = pair_parts(sheet.inputs["pred"], ABAW_COMPOUNDS)
    assert_parity({"score_none": parts.sum(2)}, sheet)


def test_metrics(parity: Path) -> None:
    sheet = json.loads((parity / "metrics.json").read_text())
    arrays = load_file(parity / sheet["file"])
    names = {"uar": "uar", "war": "war", "mf1": "macro_f1", "wf1": "weighted_f1"}
    compared = 0
    for case, systems in sheet["cases"].items():
        if "ras_video" in systems:
            ours = scores_of(arrays[f"{case}/labels"], arrays[f"{case}/preds"])
            for theirs, name in names.items():
                assert ours[name] == pytest.approx(systems["ras_video"][theirs], abs=sheet["tolerance"]), (case, name)
                compared += 1
    assert compared >= 32


def test_metrics_of_soft_vectors(parity: Path) -> None:
    sheet = json.loads((parity / "metrics.json").read_text())
    arrays, expected = load_file(parity / sheet["file"]), sheet["cases"]["soft_2d"]["ras_common"]
    ours = scores_of(arrays["soft_2d/targets"].argmax(1), arrays["soft_2d/scores"].argmax(1))
    assert ours["uar"] == pytest.approx(expected["uar_emo"], abs=1e-9)
    assert ours["macro_f1"] == pytest.approx(expected["macro_f1_emo"], abs=1e-9)
