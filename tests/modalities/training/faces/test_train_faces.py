"""The trainings of static and dynamic face: they learn, go on after a break, and keep their parts of the data apart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.metrics import scores_of
from data.votes import compound_of_votes
from fusion.composer import states_of
from fusion.fit_composer import state_of_votes
from modalities.dynamic_face.embedded import load as load_dynamic
from modalities.loading.checkpoint import Card, load_checkpoint
from modalities.static_face.embedded import load as load_static
from modalities.static_face.embedded import score_images
from modalities.static_face.network import StaticFaceShape
from modalities.training.common import Progress
from modalities.training.faces import dynamic_face, static_face
from modalities.training.faces.pseudo_sequences import make_sequences, morph
from modalities.training.faces.stills import augment, duplicate_groups, read_faces, split_groups
from tests.drawn_faces import write_drawn_faces

TINY = StaticFaceShape(16, (32, 64, 64, 128), (2, 2, 1, 2), 32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Card, list[Progress]]:
    folder = tmp_path_factory.mktemp("drawn")
    data, output, seen = write_drawn_faces(folder / "data", 480, 120), folder / "weights", []
    card = static_face.train(data, output, epochs=12, start="random", shape=TINY, report=seen.append)
    return data, output, card, seen


@pytest.mark.slow
def test_static_training_learns_drawn_faces(trained: tuple[Path, Path, Card, list[Progress]]) -> None:
    data, output, card, seen = trained
    assert seen[-1].figures["loss"] < seen[0].figures["loss"]
    assert [p.step for p in seen] == list(range(1, 13))
    held_out = read_faces(data / "face" / "ferplus_valid.npz")
    answers = score_images(load_static(output / "static_face.safetensors"), held_out.images)
    war = scores_of(held_out.majority, answers.argmax(1))["war"]
    assert war > 0.5  # four classes: chance is 0.25
    assert card.metrics["war"] == pytest.approx(war, abs=1e-4)
    assert Card.read(output / "static_face.md") == card
    assert not (output / "static_face.resume.pt").exists()


@pytest.mark.slow
def test_dynamic_training_learns_over_the_static_face(trained: tuple[Path, Path, Card, list[Progress]]) -> None:
    data, output, _, _ = trained
    seen: list[Progress] = []
    card = dynamic_face.train(data, output, epochs=6, limit=240, report=seen.append)
    assert seen[-1].figures["loss"] < seen[0].figures["loss"]
    assert card.metrics["war"] > 0.35
    model = load_dynamic(output / "dynamic_face.safetensors", load_static(output / "static_face.safetensors"))
    assert model.centroids.shape == (7, 128)
    with pytest.raises(WeightsError, match="trained over the static face weights"):
        load_dynamic(output / "dynamic_face.safetensors", load_static())


class Broken(Exception):
    """Stands for a power cut."""


@pytest.mark.slow
def test_a_broken_off_training_goes_on(tmp_path: Path) -> None:
    data = write_drawn_faces(tmp_path / "data", 160, 20)

    def cut(progress: Progress) -> None:
        raise Broken

    whole, seen = tmp_path / "whole", []
    static_face.train(data, whole, epochs=2, start="random", shape=TINY)
    with pytest.raises(Broken):
        static_face.train(data, tmp_path / "cut", epochs=2, start="random", shape=TINY, report=cut)
    static_face.train(data, tmp_path / "cut", epochs=2, start="random", shape=TINY, report=seen.append)
    assert [p.step for p in seen] == [2]
    first, second = (load_checkpoint(f / "static_face.safetensors").tensors for f in (whole, tmp_path / "cut"))
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=0.02, atol=0.02)


def test_a_damaged_resume_file_is_named(tmp_path: Path) -> None:
    data = write_drawn_faces(tmp_path / "data", 40, 8)
    (tmp_path / "static_face.resume.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="static_face.resume.pt"):
        static_face.train(data, tmp_path, epochs=1, start="random", shape=TINY)


def test_data_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ferplus_train.npz"):
        static_face.train(tmp_path, tmp_path / "out", epochs=1, start="random")
    (tmp_path / "face").mkdir()
    np.savez(tmp_path / "face" / "ferplus_train.npz", images=np.zeros((2, 48, 48), np.uint8))
    with pytest.raises(InputError, match="votes"):
        static_face.train(tmp_path, tmp_path / "out", epochs=1, start="random")


def test_duplicates_stay_in_one_part() -> None:
    chance = np.random.default_rng(0)
    base = chance.integers(0, 255, (50, 48, 48), dtype=np.uint8)
    brighter = (base * 0.8 + 20).astype(np.uint8)
    groups = duplicate_groups(np.concatenate([base, brighter]))
    assert (groups[:50] == groups[50:]).all()
    assert len(np.unique(groups)) == 50
    chosen = split_groups(groups, 0.3, seed=1)
    assert (chosen[:50] == chosen[50:]).all()
    assert 0 < chosen.mean() < 1


def test_held_out_look_alikes_are_not_trained_on(tmp_path: Path) -> None:
    data = write_drawn_faces(tmp_path, 60, 20)
    train, valid = (dict(np.load(data / "face" / f"ferplus_{part}.npz")) for part in ("train", "valid"))
    chance = np.random.default_rng(3)
    train["images"] = chance.integers(0, 255, train["images"].shape, dtype=np.uint8)
    valid["images"] = train["images"][:20] // 2
    np.savez(data / "face" / "ferplus_train.npz", **train)
    np.savez(data / "face" / "ferplus_valid.npz", **valid)
    splits = static_face.prepare_splits(data, 7, None)
    assert len(splits.fit) + len(splits.choose) == 40


def test_compound_of_votes() -> None:
    order = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt")
    def votes(**given: int) -> list[int]:
        return [given.get(name, 0) for name in order]

    rows = [votes(fear=4, surprise=6), votes(happiness=3, surprise=3, neutral=4), votes(sadness=5, anger=3, neutral=2),
            votes(fear=2, surprise=8), votes(happiness=5, sadness=5)]  # fmt: skip
    assert compound_of_votes(np.array(rows, np.float32)).tolist() == [0, -1, 6, -1, -1]


def test_stills_whose_votes_fit_two_pairs_are_left_out_as_the_composer_does() -> None:
    """Three votes each for the second emotion: fearful or sad surprise, angry or neutral sadness."""
    rows = np.zeros((3, 8), np.float32)
    votes = [{"surprise": 4, "fear": 3, "sadness": 3}, {"sadness": 4, "anger": 3, "neutral": 3}, {"surprise": 4, "fear": 4}]
    for row, given in enumerate(votes):
        for emotion, count in given.items():
            rows[row, BASIC_EMOTIONS.index(emotion)] = count
    assert compound_of_votes(rows).tolist() == [-1, -1, 0]
    drawn = np.random.default_rng(5).integers(0, 6, (2000, 8)).astype(np.float32)
    fitted = np.isin(state_of_votes(drawn), states_of(ABAW_COMPOUNDS))
    assert fitted.sum() > 100
    np.testing.assert_array_equal(compound_of_votes(drawn) >= 0, fitted)


def test_augmentation_keeps_shape_and_is_repeatable() -> None:
    faces = torch.rand(6, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    first, again = (augment(faces, torch.Generator().manual_seed(5), 64) for _ in range(2))
    assert first.shape == (6, 1, 64, 64)
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(faces, torch.Generator().manual_seed(6), 64))


def test_morph_ends_at_both_faces() -> None:
    chance = np.random.default_rng(0)
    first, second = (np.kron(chance.integers(0, 255, (6, 6)), np.ones((8, 8))).astype(np.uint8) for _ in range(2))
    frames = morph(first, second, np.array([0.0, 0.5, 1.0]))
    assert np.array_equal(frames[0], first)
    assert np.array_equal(frames[2], second)
    assert (frames[1] != first).any()


def test_pseudo_sequences_are_repeatable_and_labelled(tmp_path: Path) -> None:
    faces = read_faces(write_drawn_faces(tmp_path, 80, 8) / "face" / "ferplus_train.npz")
    first, again = make_sequences(faces, 30, seed=4), make_sequences(faces, 30, seed=4)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(first, again, strict=True))
    for sequence in first:
        assert sequence.frames.shape == (len(sequence.times), 48, 48)
        assert 1 <= len(sequence.times) <= 20
        assert (np.diff(sequence.times) > 0).all()
        assert sequence.shares.sum() == pytest.approx(1, abs=1e-5)
    assert len({sequence.label for sequence in first}) > 2


@pytest.mark.slow
def test_static_training_reads_real_stills(shared: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    card = static_face.train(shared / "datasets", tmp_path, epochs=3, limit=300, start="random", shape=TINY, report=seen.append)
    assert seen[2].figures["loss"] < seen[1].figures["loss"]  # both of the student
    assert "300" not in card.data  # look-alikes of held-out stills are left out of the 300
    assert "--limit 300" in card.command
    assert "--start random" in card.command
    assert "VGGFace2" not in card.terms, "of which it has nothing"
    assert "random weights" in card.text
