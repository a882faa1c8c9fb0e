"""The face in its context, and the face with its neutral reference."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from modalities.face_networks.papers import context_face, neutral_reference
from modalities.face_networks.parts.base import FaceInputs, FaceNetwork

SMALL = {"code": 16, "slots": 4, "context": 6, "layers": [1, 1, 1, 1], "width": 4}
GENERATOR = {"generator_width": 12, "generator_depth": 1, "generator_heads": 2}
TINY = {"size": 16, "patch": 8, "width": 24, "depth": 2, "heads": 4, **GENERATOR}


@pytest.fixture
def in_context() -> context_face.ContextFace:
    torch.manual_seed(5)
    return context_face.build(**SMALL)


@pytest.fixture
def reference() -> neutral_reference.NeutralReference:
    torch.manual_seed(5)
    return neutral_reference.build(**TINY)


def trained(network: FaceNetwork, inputs: FaceInputs, targets: Tensor, rate: float, steps: int) -> list[dict[str, float]]:
    """The terms of the loss at each step."""
    optimiser, history = torch.optim.Adam(network.parameters(), rate), []
    for _ in range(steps):
        optimiser.zero_grad()
        terms = network.loss(inputs, targets)
        torch.stack(list(terms.values())).sum().backward()
        history.append({name: term.item() for name, term in terms.items()})
        optimiser.step()
    assert all(value.grad is not None for value in network.parameters())
    return history


def test_a_context_moves_the_answer_and_none_leaves_it(in_context: context_face.ContextFace) -> None:
    faces = torch.randn(3, 1, 3, 40, 40)
    in_context.eval()
    alone = in_context.answer(FaceInputs(faces))
    merry, grim = (in_context.answer(FaceInputs(faces, context=torch.full((3, 6), value))) for value in (1.0, -1.0))
    assert (merry.logits - grim.logits).abs().max() > 1e-4
    torch.testing.assert_close(alone.features, in_context.codes(FaceInputs(faces))[0])
    torch.testing.assert_close(in_context.answer(FaceInputs(faces[1:2])).logits, alone.logits[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_contexts_tell_apart_what_faces_do_not(in_context: context_face.ContextFace) -> None:
    face, context = torch.randn(1, 1, 3, 24, 24).expand(4, -1, -1, -1, -1), torch.eye(4, 6) * 3
    wanted = F.one_hot(torch.arange(4), 7).float()
    history = trained(in_context, FaceInputs(face, context=context), wanted, 0.02, 20)
    assert history[-1]["classification"] < 0.5 * history[0]["classification"]
    assert history[-1]["face alone"] > 1.2 * 0.5  # one face, four answers: without the context they cannot be told apart
    assert "face alone" not in in_context.loss(FaceInputs(face), wanted)


def test_emo_affect_net_starts_the_face_encoder(in_context: context_face.ContextFace) -> None:
    from modalities.face_networks.papers.emo_affect_net import EmoAffectNet

    pretrained = EmoAffectNet([1, 1, 1, 1], 4, 32)
    adapted = in_context.adapted(pretrained.state_dict())
    found = in_context.load_state_dict(adapted, strict=False)
    assert not found.unexpected_keys
    assert not [key for key in found.missing_keys if key.startswith("trunk.")]
    assert in_context.depth_of("trunk.layer2.0.conv1.weight") == (2, 7)
    assert in_context.depth_of("classifier.bias") == (6, 7)


def test_expression_and_residue_part(reference: neutral_reference.NeutralReference) -> None:
    torch.manual_seed(1)
    faces = FaceInputs(torch.randn(6, 1, 3, 16, 16))
    wanted = F.one_hot(torch.tensor([0, 0, 1, 2, 3, 4]), 7).float()
    history = trained(reference, faces, wanted, 5e-3, 40)
    assert history[-1]["classification"] < 0.5 * history[0]["classification"]
    assert history[-1]["reconstruction"] < 0.8 * history[0]["reconstruction"]
    assert history[-1]["neutral residue"] < 0.5 * history[0]["neutral residue"]
    assert history[-1]["orthogonality"] < 0.1
    with torch.no_grad():
        pictures = faces.pixels[:, 0]
        plain = reference.neutral_face(pictures)
        assert plain.shape == pictures.shape
        distance = (plain - pictures).abs().mean((1, 2, 3))
    assert distance[:2].mean() < distance[2:].mean()  # neutral faces are their own neutral reference


def test_patches_go_back_to_their_places(reference: neutral_reference.NeutralReference) -> None:
    from modalities.face_networks.parts.vit import patches_of

    pictures = torch.randn(2, 3, 16, 16)
    patches = patches_of(pictures[:, :, None], 8, 1).flatten(2)
    reference.drawn = lambda tokens: patches  # type: ignore[method-assign] (what would be drawn is the picture itself)
    torch.testing.assert_close(reference.neutral_face(pictures), pictures)


def test_a_neutral_label_is_needed(reference: neutral_reference.NeutralReference) -> None:
    with pytest.raises(ValueError, match="'neutral' must be one of its labels"):
        neutral_reference.build(labels=["anger", "fear"])
    assert reference.depth_of("blocks.1.norm1.bias") == (2, 4)
    assert reference.depth_of("generator.0.norm1.bias") == (3, 4)
