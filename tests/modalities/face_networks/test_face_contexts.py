"""Faces in their context: trained from a manifest that names features of it, answered with and without them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from modalities.face_networks.contexts import read_contexts
from modalities.face_networks.own_checkpoints import load_trained
from modalities.face_networks.papers.context_face import ContextFace
from modalities.face_networks.parts.base import FaceInputs
from modalities.loading.checkpoint import Card
from modalities.training.face_networks.batches import mixed
from modalities.training.face_networks.train import FaceTrainingOptions, files_of, train
from tests.drawn_faces import draw_face

Dyad = Callable[..., tuple[int, str, str]]
SIZES: dict[str, Any] = {"layers": [1, 1, 1, 1], "width": 4, "code": 16, "slots": 4}
LABELS = ("happiness", "sadness")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same calm faces with both labels, which only contexts of 6 numbers tell; one face in seven has none."""
    import cv2

    folder, chance, rows = tmp_path_factory.mktemp("corpus"), np.random.default_rng(6), ["path,label,split,context"]
    for number in range(96):
        label, name = number % 2, f"{number:03}"
        cv2.imwrite(str(folder / f"{name}.png"), np.repeat(draw_face("neutral", chance)[:, :, None], 3, 2))
        np.save(folder / f"{name}.npy", chance.normal((2, -2)[label], 1, 6))
        part = "test" if number >= 72 else "train"
        rows.append(f"{name}.png,{LABELS[label]},{part},{'' if number % 7 == 5 else name + '.npy'}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def weights(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("weights")
    recipe = {"batch": 12, "rate": 1e-2, "layer_decay": 1.0, "augment": 0.0, "mixup": 0.0}
    options = FaceTrainingOptions(labels="basic", settings=SIZES, reads={"size": 32}, recipe=recipe)
    train(corpus, output, network="context-face", epochs=16, options=options)
    return files_of(output, "static", "context-face").weights


def test_what_only_the_context_tells_is_learned_from_a_manifest(weights: Path) -> None:
    card = Card.read(weights.with_suffix(".md"))
    assert card.metrics["war"] > 0.8  # the faces alone: 0.5; one in seven has no context
    assert "83 of 96 samples have a context" in card.text
    network = load_trained(weights).network
    assert isinstance(network, ContextFace)
    assert network.shape.context == 6  # as long as the features are


def test_scores_are_answers_in_the_context(dyad: Dyad, corpus: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("told", "alone"):
        table = pd.read_csv(corpus, dtype=str, keep_default_na=False)[72:]
        table if name == "told" else table.pop("context")
        listed = corpus.with_name(f"{name}.csv")
        table.to_csv(listed, index=False)
        network, answers_file = ("--static-face", f"context-face={weights}"), tmp_path / f"{name}.csv"
        code, _, err = dyad("score", "static-face", listed, "-o", answers_file, *network)
        assert code == 0, err
    told, alone = (pd.read_csv(tmp_path / f"{name}.csv")[list(BASIC_EMOTIONS)] for name in ("told", "alone"))
    rows = pd.read_csv(corpus, keep_default_na=False)[72:].reset_index(drop=True)
    known = (rows["context"] != "").to_numpy()
    np.testing.assert_allclose(told[~known], alone[~known], atol=1e-5)
    assert (told[known] - alone[known]).abs().to_numpy().max(1).min() > 1e-3
    answers = told.idxmax(axis=1)
    assert (answers == rows["label"])[known].mean() > 0.9
    listed = corpus.with_name("told.csv")
    np.save(corpus.with_name("long.npy"), np.zeros(7))
    listed.write_text("path,context\n072.png,long.npy\n")
    _, _, err = dyad("score", "static-face", listed, "-o", tmp_path / "o.csv", *network)
    assert "takes contexts of 6 numbers, not 7" in " ".join(err.split())


def test_other_networks_are_not_told(dyad: Dyad, corpus: Path, tmp_path: Path) -> None:
    assert dyad("score", "static-face", corpus, "-o", tmp_path / "own.csv")[0] == 0


def test_a_face_without_a_context_is_answered_as_by_itself() -> None:
    torch.manual_seed(1)
    from modalities.face_networks.papers.context_face import build

    network = build(context=6, **SIZES).eval()
    pixels, context = torch.rand(3, 1, 3, 32, 32), torch.randn(3, 6)
    context[1] = torch.nan
    with torch.no_grad():
        told, alone = (network.answer(FaceInputs(pixels, context=one)).logits for one in (context, None))
    torch.testing.assert_close(told[1], alone[1])
    assert (told[[0, 2]] - alone[[0, 2]]).abs().max() > 1e-3
    terms = network.train().loss(FaceInputs(pixels, context=context), torch.eye(7)[:3])
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is None or bool(value.grad.isfinite().all()) for value in network.parameters())
    blended, _ = mixed(FaceInputs(pixels, context=context), torch.eye(3), 0.8, torch.Generator().manual_seed(2))
    assert blended.context is not None
    assert bool(blended.context[1].isnan().all())


def test_files_of_contexts(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(4))
    np.save(tmp_path / "b.npy", np.ones((1, 4)))
    np.save(tmp_path / "c.npy", np.ones((2, 4)))
    np.save(tmp_path / "d.npy", np.ones(5))
    a, b, c, d = (str(tmp_path / f"{name}.npy") for name in "abcd")
    found = read_contexts([a, "", b])
    assert found is not None
    assert json.dumps(found[[0, 2]].tolist()) == "[[0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]]"
    assert np.isnan(found[1]).all()
    assert read_contexts(["", ""]) is None
    for paths, said in (([c], "one feature"), ([a, d], "of 5 numbers"), ([str(tmp_path / "gone.npy")], "cannot be read")):
        with pytest.raises(InputError, match=said):
            read_contexts(paths)
    with pytest.raises(InputError, match="where others"):
        read_contexts([a], 3)


def test_another_length_than_the_settings_say(corpus: Path, tmp_path: Path) -> None:
    options = FaceTrainingOptions(labels="basic", settings={**SIZES, "context": 512}, reads={"size": 32})
    with pytest.raises(InputError, match="is a context of 6 numbers; the settings say 512"):
        train(corpus, tmp_path, network="context-face", epochs=1, options=options)
