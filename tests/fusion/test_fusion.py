"""Fusion: exact for missing modalities, readable weights, contributions that add up, reliabilities that help."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.derive import fusion_weights
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.fused import Fusion, read_fusion, read_pooled, write_fused
from data.scores import MODALITIES, Scores
from data.windows import make_windows
from fusion.fuse import NO_FEATURES, NOTHING_PRESENT, compose_compounds, fuse, pool_modalities
from fusion.log_linear import log_linear, pool_by
from fusion.mhpf import collapse, mhpf
from fusion.reliability import derive_weights
from fusion.weights import FusionWeights, from_state_dict, read_weights, write_weights
from modalities.loading.checkpoint import Card

CARDS = {
    "static_face": {"metrics": {"uar": 0.8}, "per_class_recall": {"happiness": 0.95, "fear": 0.5}},
    "voice": {"metrics": {"uar": 0.6}, "per_class_recall": {"happiness": 0.4, "fear": 0.7}},
    "text": {"per_class_recall": dict.fromkeys(BASIC_EMOTIONS, 0.5)},
}


def random_weights(seed: int = 0, modalities: tuple[str, ...] = MODALITIES, heads: int = 3) -> FusionWeights:
    random = np.random.default_rng(seed)
    table = random.normal(0, 1.5, (heads, len(modalities), 7))
    return FusionWeights(modalities, BASIC_EMOTIONS, table, random.normal(0, 1, heads))


def some_scores(modality: str, count: int, seed: int, absent: tuple[int, ...] = (), features: int = 0) -> Scores:
    random = np.random.default_rng([seed, MODALITIES.index(modality)])
    present = ~np.isin(np.arange(count), absent)
    probabilities = random.dirichlet(np.full(7, 0.5), count).astype(np.float32)
    probabilities[~present] = np.nan
    vectors = random.normal(size=(count, features)).astype(np.float32) if features else None
    return Scores(modality, make_windows(2.0 * count + 2.0), probabilities, present, features=vectors)


@st.composite
def fusions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, FusionWeights]:
    """Probabilities [M, N, 7], presence [M, N] and weights, all of any kind."""
    modalities, count = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    raw = draw(arrays(np.float64, (modalities, count, 7), elements=st.floats(0.001, 1.0)))
    present = draw(arrays(bool, (modalities, count)))
    table = draw(arrays(np.float64, (2, modalities, 7), elements=st.floats(-6, 6)))
    weights = FusionWeights(MODALITIES[:modalities], BASIC_EMOTIONS, table, np.array([0.3, -0.4]))
    return raw / raw.sum(2, keepdims=True), present, weights


def keep(weights: FusionWeights, rows: list[int]) -> FusionWeights:
    """The weights of some modalities, in a given order."""
    names = tuple(weights.modalities[row] for row in rows)
    return dataclasses.replace(weights, modalities=names, head_weights=weights.head_weights[:, rows])


@given(fusions())
def test_a_missing_modality_is_as_if_it_had_never_been_there(drawn) -> None:
    probabilities, present, weights = drawn
    fused = mhpf(weights, probabilities, present)
    for window in range(present.shape[1]):
        rows = np.flatnonzero(present[:, window]).tolist()
        if rows:
            alone = mhpf(keep(weights, rows), probabilities[rows, window : window + 1])
            np.testing.assert_allclose(fused[window], alone[0], atol=1e-12)
        else:
            assert np.isnan(fused[window]).all()


@given(fusions(), st.sampled_from([np.nan, np.inf, 0.0, 9.0]))
def test_what_stands_in_an_absent_row_has_no_influence(drawn, rubbish: float) -> None:
    probabilities, present, weights = drawn
    spoilt = np.where(present[..., None], probabilities, rubbish)
    np.testing.assert_array_equal(mhpf(weights, spoilt, present), mhpf(weights, probabilities, present))


@given(fusions(), st.randoms())
def test_permuting_the_modalities_changes_nothing(drawn, random) -> None:
    probabilities, present, weights = drawn
    order = random.sample(range(len(present)), len(present))
    permuted = mhpf(keep(weights, order), probabilities[order], present[order])
    np.testing.assert_allclose(permuted, mhpf(weights, probabilities, present), atol=1e-12)


@given(fusions())
def test_the_fused_probabilities_sum_to_one_and_stay_within_the_modalities(drawn) -> None:
    probabilities, present, weights = drawn
    answered = present.any(0)
    fused = mhpf(weights, probabilities, present)[answered]
    np.testing.assert_allclose(fused.sum(1), 1.0, atol=1e-9)
    raw = mhpf(weights, probabilities, present, normalise=False)[answered]
    shown = np.where(present[..., None], probabilities, np.nan)[:, answered]
    assert (raw >= np.nanmin(shown, 0) - 1e-12).all() if answered.any() else True
    assert (raw <= np.nanmax(shown, 0) + 1e-12).all() if answered.any() else True


@given(fusions())
def test_modalities_that_agree_are_taken_at_their_word(drawn) -> None:
    probabilities, present, weights = drawn
    agreed = np.broadcast_to(probabilities[:1], probabilities.shape)
    answered = present.any(0)
    np.testing.assert_allclose(mhpf(weights, agreed, present)[answered], probabilities[0][answered], atol=1e-9)


@given(fusions(), st.integers(0, 6), st.floats(0.01, 0.9))
def test_more_evidence_for_an_emotion_never_lowers_it(drawn, emotion: int, step: float) -> None:
    probabilities, present, weights = drawn
    more = probabilities.copy()
    more[0] = (1 - step) * more[0] + step * np.eye(7)[emotion]
    before, after = (mhpf(weights, values, present)[present.any(0), emotion] for values in (probabilities, more))
    assert (after >= before - 1e-12).all()


@given(fusions(), st.integers(0, 5))
def test_a_modality_told_twice_at_half_the_weight_changes_nothing(drawn, which: int) -> None:
    probabilities, present, weights = drawn
    if len(present) == len(MODALITIES):
        return  # there is no seventh name
    twin = which % len(present)
    table = np.concatenate([weights.head_weights, weights.head_weights[:, [twin]]], 1)
    table[:, [twin, -1]] -= np.log(2)
    doubled = dataclasses.replace(weights, modalities=MODALITIES[: len(present) + 1], head_weights=table)
    both = mhpf(doubled, np.concatenate([probabilities, probabilities[[twin]]]), np.concatenate([present, present[[twin]]]))
    np.testing.assert_allclose(both, mhpf(weights, probabilities, present), atol=1e-12)


def test_the_result_does_not_depend_on_the_order_of_the_scores_nor_on_absent_ones() -> None:
    weights = random_weights()
    scores = [some_scores(name, 4, seed=1, absent=(place,)) for place, name in enumerate(("voice", "text", "static_face"))]
    straight = fuse(scores, weights)
    more = [*scores[::-1], Scores.absent("scene_labels", scores[0].windows, "There is no CLIP.")]
    np.testing.assert_array_equal(fuse(more, weights).compound, straight.compound)
    assert straight.modalities == MODALITIES
    assert straight.presence.sum() == 3 * 4 - 3
    assert np.isnan(straight.contributions[~straight.presence]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["learned", "ppa", "avcer_rule1", "avcer_rule2", "avcer_both", "pfsa"]))
def test_contributions_of_modalities_and_of_emotions_add_up_to_the_winner(seed: int, method: str) -> None:
    fusion = fused_example(seed, method)
    answered = np.flatnonzero(fusion.winner >= 0)
    won = fusion.compound[answered, fusion.winner[answered]]
    np.testing.assert_allclose(np.nansum(fusion.contributions[answered], axis=1), won, atol=1e-9)
    np.testing.assert_allclose(fusion.emotion_shares[answered].sum(1), won, atol=1e-9)
    np.testing.assert_allclose(fusion.compound[answered].sum(1), 1.0, atol=1e-9)
    assert np.isnan(fusion.contributions[~fusion.presence]).all(), "what is absent gave nothing, and no 0 either"
    assert all(bool(reason) == (winner < 0) for reason, winner in zip(fusion.reasons, fusion.winner, strict=True))


def fused_example(seed: int, method: str) -> Fusion:
    names = ("static_face", "dynamic_face", "voice", "text")
    absent = [(0, 3), (1, 3), (3,), (2, 3)]
    scores = [some_scores(name, 5, seed, gaps, 8) for name, gaps in zip(names, absent, strict=True)]
    centroids = {name: np.random.default_rng(3).normal(size=(7, 8)).astype(np.float32) for name in names[:3]}
    return fuse(scores, random_weights(seed), method=method, centroids=centroids)


def test_a_window_without_any_modality_is_absent_with_its_reason() -> None:
    fusion = fused_example(5, "ppa")
    assert fusion.winner[3] == -1
    assert fusion.reasons[3] == NOTHING_PRESENT
    assert np.isnan(fusion.compound[3]).all()
    assert np.isnan(fusion.blend[3])
    assert fusion.coverage[3] == 0
    assert not fusion.is_absent


def test_features_alone_decide_pfsa_and_their_lack_is_told() -> None:
    scores = [some_scores("text", 2, 1), some_scores("voice", 2, 1, absent=(1,), features=4)]
    centroids = {"voice": np.eye(7, 4, dtype=np.float32) + 0.1}
    fusion = fuse(scores, random_weights(), method="pfsa", centroids=centroids)
    assert fusion.present.all()
    assert fusion.winner.tolist()[1] == -1
    assert fusion.reasons[1] == NO_FEATURES
    assert fusion.contributions[0, MODALITIES.index("text")] == 0
    assert np.isnan(fusion.contributions[0, MODALITIES.index("static_face")])


def test_the_single_present_modality_gets_the_whole_score() -> None:
    fusion = fuse([some_scores("voice", 3, 2)], random_weights())
    voice = MODALITIES.index("voice")
    won = fusion.compound[np.arange(3), fusion.winner]
    np.testing.assert_allclose(fusion.contributions[:, voice], won, atol=1e-12)
    np.testing.assert_allclose(fusion.matrices[:, voice], 1.0, atol=1e-12)
    np.testing.assert_allclose(fusion.coverage, collapse(random_weights())[voice].mean(), atol=1e-12)


def test_both_steps_survive_their_files(tmp_path: Path) -> None:
    scores = [some_scores("voice", 3, 2, absent=(1,)), some_scores("text", 3, 2, absent=(1,))]
    pooled = pool_modalities(scores, random_weights())
    write_fused(tmp_path / "pooled.npz", pooled)
    fusion = compose_compounds(read_pooled(tmp_path / "pooled.npz"))
    write_fused(tmp_path / "fused.npz", fusion)
    again, direct = read_fusion(tmp_path / "fused.npz"), fuse(scores, random_weights())
    for field in dataclasses.fields(Fusion):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(direct, field.name), err_msg=field.name)
    assert again.compounds == direct.compounds
    with pytest.raises(InputError, match="does not hold a Pooled"):
        read_pooled(tmp_path / "fused.npz")
    (tmp_path / "fused.npz").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="run the clip again"):
        read_fusion(tmp_path / "fused.npz")


def test_scores_that_do_not_belong_together_are_refused_in_a_sentence() -> None:
    voice, text = some_scores("voice", 3, 1), some_scores("text", 4, 1)
    weights = random_weights()
    for scores, words in (([], "no scores"), ([voice, text], "windows of text"), ([voice, voice], "occurs 2 times")):
        with pytest.raises(InputError, match=words):
            fuse(scores, weights)
    with pytest.raises(InputError, match="do not know voice"):
        fuse([voice], random_weights(modalities=("text",)))
    with pytest.raises(InputError, match="ppa, pfsa"):
        fuse([voice], weights, method="sum")
    with pytest.raises(InputError, match="none were given"):
        fuse([voice], weights, method="pfsa")
    with pytest.raises(InputError, match="use some that were made for neutral"):
        fuse([voice], FusionWeights(("voice",), ("yes", "no"), np.zeros((1, 1, 2)), np.zeros(1)))


def test_weights_are_read_back_as_written_and_name_every_number(tmp_path: Path) -> None:
    weights = dataclasses.replace(random_weights(), derived_from="a test", date="2026-01-01")
    write_weights(tmp_path / "w.json", weights)
    again = read_weights(tmp_path / "w.json")
    np.testing.assert_array_equal(again.head_weights, weights.head_weights)
    np.testing.assert_array_equal(again.head_combine, weights.head_combine)
    assert (again.modalities, again.classes, again.description) == (MODALITIES, BASIC_EMOTIONS, weights.description)
    content = json.loads((tmp_path / "w.json").read_text())
    assert content["head_weights"][2]["voice"]["fear"] == weights.head_weights[2, MODALITIES.index("voice"), 3]


def test_bad_weights_files_are_named_with_their_fault(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    with pytest.raises(InputError, match=r"no fusion weights at .*w\.json"):
        read_weights(path)
    write_weights(path, random_weights())
    content = json.loads(path.read_text())
    del content["head_weights"][0]["voice"]["fear"]
    faults = {
        "{": "cannot be read as JSON",
        "[]": "not a file of fusion weights",
        json.dumps(content): "lacks the entry 'fear'",
        path.read_text().replace('"head_combine": [', '"head_combine": [0.5, '): "do not fit 4 heads",
        path.read_text().replace('"head_combine": [', '"head_combine": [NaN, '): "holds no usable",
    }
    for text, words in faults.items():
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_weights(path)
    with pytest.raises(InputError, match="no head_combine"):
        from_state_dict({"head_weights": np.zeros((1, 1, 7))}, ["voice"], BASIC_EMOTIONS)


def test_derived_weights_trust_who_was_right() -> None:
    weights = derive_weights(CARDS, "2026-01-01")
    shares = dict(zip(MODALITIES, collapse(weights), strict=True))
    happiness, fear = BASIC_EMOTIONS.index("happiness"), BASIC_EMOTIONS.index("fear")
    assert shares["static_face"][happiness] > shares["voice"][happiness] > shares["text"][happiness]
    assert shares["static_face"][happiness] > shares["static_face"][fear]
    assert shares["voice"][fear] > shares["voice"][happiness]
    assert "static_face 80.0" in weights.description
    assert "scene_labels, scene_context: no measurement, so the mean of the others" in weights.description


def test_an_unmeasured_modality_gets_the_mean_of_the_others() -> None:
    weights = derive_weights(CARDS)
    measured = [MODALITIES.index(name) for name in CARDS]
    mean = weights.head_weights[:, measured].mean(1)
    np.testing.assert_allclose(weights.head_weights[:, MODALITIES.index("scene_labels")], mean)


@pytest.mark.parametrize("card", [{}, {"metrics": {"uar": 57.0}}, {"per_class_recall": {"fear": -0.1}}])
def test_cards_without_usable_recall_are_refused(card: dict) -> None:
    with pytest.raises(InputError, match="model card of voice"):
        derive_weights({"voice": card})
    with pytest.raises(InputError, match="No model card"):
        derive_weights({"smell": {"metrics": {"uar": 0.5}}})


def test_the_shipped_weights_can_be_read_and_state_their_origin() -> None:
    weights = read_weights()
    assert weights.modalities == MODALITIES
    assert "held-out recall" in weights.derived_from


def test_reliabilities_from_other_people_help_on_real_posteriors(shared: Path) -> None:
    """RAVDESS: weights derived on two folds' held-out actors fuse the third fold's better than best model and mean."""
    table = pd.read_csv(shared / "datasets/fusion/ravdess_posteriors_folds0-2.csv").query("split == 'test'")
    classes = tuple(table.columns[5:])
    right = {"derived": 0, "mean": 0, **dict.fromkeys(table.model.unique(), 0)}
    for fold in (0, 1, 2):
        here = table.fold == fold
        train, held_out = posteriors(table[~here], classes), posteriors(table[here], classes)
        weights = derive_weights({name: card_of(*rows, classes) for name, rows in train.items()}, "", list(train), classes)
        stacked, truth = np.stack([rows[0] for rows in held_out.values()]), next(iter(held_out.values()))[1]
        answers = {"derived": mhpf(weights, stacked), "mean": stacked.mean(0), **dict(zip(held_out, stacked, strict=True))}
        for name, fused in answers.items():
            right[name] += int((fused.argmax(1) == truth).sum())
    assert right.pop("derived") > max(right.values())


def posteriors(table: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each model's probabilities [N, C] and the labels [N], in the same order of clips."""
    groups = table.sort_values(["fold", "clip"]).groupby("model")
    return {name: (rows[list(classes)].to_numpy(), rows.label.map(classes.index).to_numpy()) for name, rows in groups}


def card_of(probabilities: np.ndarray, truth: np.ndarray, classes: tuple[str, ...]) -> dict:
    hit = probabilities.argmax(1) == truth
    return {"per_class_recall": {word: float(hit[truth == place].mean()) for place, word in enumerate(classes)}}


def test_the_weights_file_is_derived_from_model_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recalls = {word: 0.3 + 0.1 * place for place, word in enumerate(BASIC_EMOTIONS)}
    card = Card("voice", "RAVDESS", "terms", "train", 7, "2026-01-01", "actors", {"uar": 0.6}, recalls, "Words.")
    card.write(tmp_path / "voice.md")
    output = tmp_path / "new" / "mhpf.json"
    monkeypatch.setattr("sys.argv", ["fusion_weights", "--cards", str(tmp_path), "--output", str(output)])
    assert fusion_weights.main() == 0
    weights = read_weights(output)
    assert weights.derived_from in capsys.readouterr().out
    assert "voice 60.0" in weights.derived_from
    np.testing.assert_allclose(collapse(weights), 1 / 6)  # one card only: every other modality is worth its mean
    (tmp_path / "voice.md").write_text("no front matter")
    assert fusion_weights.main() == 1
    assert capsys.readouterr().err.strip().endswith("has no YAML front matter; train its model again.")


@given(fusions(), st.floats(0.5, 4))
def test_a_product_is_exact_for_missing_modalities_and_its_parts_add_up(drawn, temperature: float) -> None:
    probabilities, present, weights = drawn
    over = tuple(np.linspace(1, temperature, len(present)))
    fused, parts = pool_by(dataclasses.replace(weights, pooling="product", temperatures=over), probabilities, present)
    for window in range(present.shape[1]):
        rows = np.flatnonzero(present[:, window]).tolist()
        if rows:
            few = dataclasses.replace(keep(weights, rows), pooling="product", temperatures=tuple(over[row] for row in rows))
            alone = log_linear(few, probabilities[rows, window : window + 1], np.ones((len(rows), 1), bool))
            np.testing.assert_allclose(fused[window], alone[0], atol=1e-12)
            np.testing.assert_allclose(parts[window].sum(0), fused[window], atol=1e-9)
            assert not parts[window][~present[:, window]].any()
        else:
            assert np.isnan(fused[window]).all()


def test_two_that_find_an_emotion_likely_outvote_one_that_is_sure_of_another() -> None:
    sure, likely = np.full(7, 0.02), np.full(7, 0.04)
    sure[1], likely[[1, 4]] = 0.88, (0.001, 0.799)
    given_ = np.stack([sure, likely, likely])[:, None]
    weights = FusionWeights(("a", "b", "c"), BASIC_EMOTIONS, np.zeros((1, 3, 7)), np.zeros(1), pooling="product")
    present = np.ones((3, 1), bool)
    assert pool_by(weights, given_, present)[0].argmax() == 4
    logs = np.log(given_[:, 0] + 1e-4)
    by_hand = np.exp(np.sqrt(3) * logs.mean(0))
    np.testing.assert_allclose(log_linear(weights, given_, present)[0], by_hand / by_hand.sum())
    flat = dataclasses.replace(weights, temperatures=(1.0, 50.0, 50.0))
    assert log_linear(flat, given_, present)[0].argmax() == 1, "who is over-sure hardly counts"


def test_thin_evidence_leaves_modalities_alike_and_much_of_it_does_not() -> None:
    recalls = {"voice": dict.fromkeys(BASIC_EMOTIONS, 0.3), "text": dict.fromkeys(BASIC_EMOTIONS, 0.8)}
    shares = []
    for count in (0.5, 20.0, 2000.0):
        seen = dict.fromkeys(BASIC_EMOTIONS, count)
        cards = {name: {"per_class_recall": known, "counts": seen} for name, known in recalls.items()}
        shares.append(collapse(derive_weights(cards, "", ("voice", "text")))[1, 0])
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.5, abs=0.03)
    assert shares[2] == pytest.approx(2 / (2 + np.sqrt(3 / 7)), abs=0.01)  # the roots of the odds: 4 and 3/7


def test_one_emotions_recall_in_a_few_films_counts_much_less_than_a_better_model() -> None:
    def share(text: dict[str, float]) -> float:
        recalls, seen = {"voice": dict.fromkeys(BASIC_EMOTIONS, 0.4), "text": text}, dict.fromkeys(BASIC_EMOTIONS, 20.0)
        cards = {name: {"per_class_recall": known, "counts": seen} for name, known in recalls.items()}
        return float(collapse(derive_weights(cards, "", ("voice", "text")))[1, BASIC_EMOTIONS.index("fear")])

    once, always = share(dict.fromkeys(BASIC_EMOTIONS, 0.4) | {"fear": 0.6}), share(dict.fromkeys(BASIC_EMOTIONS, 0.6))
    assert once > 0.5
    assert once - 0.5 < (always - 0.5) / 2


def test_a_products_weights_come_back_from_their_file_and_bad_ones_are_refused(tmp_path: Path) -> None:
    weights = derive_weights(CARDS, "2026-01-01")
    write_weights(tmp_path / "w.json", weights)
    again = read_weights(tmp_path / "w.json")
    assert (again.pooling, again.temperatures) == ("product", weights.temperatures)
    assert "log-linear pooling" in again.description
    with pytest.raises(InputError, match="can be for one of: mean, product"):
        dataclasses.replace(weights, pooling="sum")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one temperature above 0 for each"):
        dataclasses.replace(weights, temperatures=(1.0,))
