"""A fusion that was fitted to somebody's own table answers for videos too, and its contributions add up."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.settings import load_settings
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.run_folder import RunFolder
from data.scores import MODALITIES, Scores
from fusion.fuse import compose_compounds
from fusion.tables.apply import pool_fitted
from fusion.tables.files import fit_table
from fusion.tables.fit import apply_fusion
from fusion.tables.fitted import FoldedFusion, is_fitted, read_fitted
from fusion.tables.long_table import LongTable
from tests.flows.test_flow import ReadResult, again
from tests.fusion.test_fusion import some_scores

WORDS = BASIC_EMOTIONS[::-1]  # a table's columns may stand in any order
METHODS = ("product", "weighted-product", "stacking", "mhpf", "conditional-mhpf")


def own_table(folder: Path, models: tuple[str, ...] = MODALITIES) -> Path:
    """A long CSV of 200 clips of 40 speakers; the first model is right most often."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 7, 200)
    rows = []
    for clip, label in enumerate(labels):
        for place, model in enumerate(models):
            evidence = np.exp((4 - 3 * place / len(models)) * np.eye(7)[label] + random.normal(0, 1.2, 7))
            if random.random() < 0.8:
                shares = dict(zip(WORDS, evidence / evidence.sum(), strict=True))
                rows.append({"clip": clip, "group": f"speaker {clip % 40}", "model": model, "label": WORDS[label], **shares})
    pd.DataFrame(rows).to_csv(folder / "own.csv", index=False)
    return folder / "own.csv"


@pytest.fixture(scope="module", params=METHODS)
def fusion(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FoldedFusion:
    folder = tmp_path_factory.mktemp(request.param)
    fit_table(own_table(folder), folder / "weights.json", request.param)
    assert is_fitted(folder / "weights.json")
    return read_fitted(folder / "weights.json")


def test_contributions_add_up_for_every_way_to_pool(fusion: FoldedFusion) -> None:
    scores = [some_scores(name, 5, seed, absent=(4, seed % 4)) for seed, name in enumerate(MODALITIES)]
    pooled = pool_fitted(scores[::-1], fusion)
    assert pooled.modalities == fusion.whole.models
    assert np.isnan(pooled.basic[4]).all()
    np.testing.assert_allclose(pooled.basic[:4].sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(pooled.weighed[:4].sum(1), pooled.basic[:4], atol=1e-9)
    np.testing.assert_allclose(pooled.matrices[:4].sum(1), 1, atol=1e-9)
    assert (pooled.weighed[~pooled.presence] == 0).all()
    composed = compose_compounds(pooled, none_threshold=1.0)
    top = composed.compound[np.arange(4), composed.winner[:4]]
    np.testing.assert_allclose(np.nansum(composed.contributions[:4], axis=1), top, atol=1e-9)


def test_the_answer_is_that_of_the_table(fusion: FoldedFusion) -> None:
    scores = [some_scores(name, 3, seed) for seed, name in enumerate(MODALITIES)]
    none = np.full(3, "", object)
    probabilities = np.stack([item.probabilities for item in scores], 1).astype(float)
    table = LongTable(MODALITIES, BASIC_EMOTIONS, none, probabilities, np.ones((3, 6), bool), np.full(3, -1), none, none, none)
    expected = apply_fusion(fusion.whole, table)[:, [fusion.whole.classes.index(name) for name in BASIC_EMOTIONS]]
    np.testing.assert_allclose(pool_fitted(scores, fusion).basic, expected, atol=1e-9)


def test_a_modality_that_the_fit_lacks_is_refused_only_if_it_answers(tmp_path: Path) -> None:
    fit_table(own_table(tmp_path, MODALITIES[:3]), tmp_path / "weights.json", "product")
    fitted = read_fitted(tmp_path / "weights.json")
    scores = [some_scores(name, 2, 1) for name in MODALITIES[:4]]
    with pytest.raises(InputError, match=f"does not know {MODALITIES[3]}"):
        pool_fitted(scores, fitted)
    silent = Scores.absent(MODALITIES[3], scores[0].windows, "Nobody speaks.")
    assert pool_fitted([*scores[:3], silent], fitted).modalities == fitted.whole.models


def test_other_classes_are_refused(tmp_path: Path) -> None:
    path = own_table(tmp_path)
    path.write_text(path.read_text().replace("disgust", "boredom"))
    fit_table(path, tmp_path / "weights.json", "product")
    with pytest.raises(InputError, match="boredom"):
        pool_fitted([some_scores("voice", 2, 1)], read_fitted(tmp_path / "weights.json"))


@pytest.mark.slow
def test_a_run_fuses_by_the_users_own_fit(copied_run: RunFolder, tmp_path: Path, result_of: ReadResult) -> None:
    fit_table(own_table(tmp_path), tmp_path / "weights.json", "weighted-product")
    assert not is_fitted(tmp_path / "own.csv")
    own = load_settings(overrides={"fusion": {"weights": tmp_path / "weights.json", "none_threshold": 1.0}})
    result = result_of(again(copied_run, settings=own).folder)
    assert result["fusion"]["weights"] == "weighted_product fitted to own.csv"
    window = next(window for window in result["windows"] if window["top"])
    given = [value for value in window["contributions"].values() if value is not None]
    assert sum(given) == pytest.approx(window["compound"][window["top"]], abs=1e-4)
