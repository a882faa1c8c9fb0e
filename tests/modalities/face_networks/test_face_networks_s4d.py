"""S4D: the authors' numbers, the grouped experts, pictures and clips through one trunk, and the masked pre-training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from modalities.face_networks.papers import s4d, s4d_pretraining
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.parts.experts import AdapterExperts, ExpertShape, Routing, balance_loss
from modalities.face_networks.registry import build_network, network_table
from tests.parity import Parity, assert_parity, read_parity

TINY: dict[str, Any] = {
    "size": 16, "patch": 8, "frames": 4, "width": 24, "depth": 3, "heads": 4, "expert_blocks": [1, 2], "experts": {"experts": 4},
}  # fmt: skip


@pytest.fixture
def network() -> s4d.S4D:
    torch.manual_seed(3)
    return s4d.build(**TINY)


def of_the_release(sheet: Parity) -> dict[str, Any]:
    """Our settings for what the authors' constructor was given."""
    given = sheet.arguments
    names = {"img_size": "size", "patch_size": "patch", "all_frames": "frames", "embed_dim": "width", "depth": "depth",
             "num_heads": "heads", "init_values": "layer_scale", "use_learnable_pos_emb": "learnt_positions",
             "use_mean_pooling": "mean_pooling"}  # fmt: skip
    settings = {ours: given[theirs] for theirs, ours in names.items()}
    settings["image_classes"], settings["video_classes"] = given["multi_head"]
    moe = given["moe"] or {"layers": []}
    return settings | {"expert_blocks": moe["layers"], "experts": {"experts": moe.get("num_experts", 8), "balance": "logits"}}


# ---- the authors' numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", ["nocap", "cap1"])
def test_answers_are_the_authors(shared: Path, capacity: str) -> None:
    sheet = read_parity(shared / "parity" / "s4d_vit_moae.json")
    settings, x = of_the_release(sheet), sheet.tensors()
    settings["experts"]["capacity_always"] = capacity == "cap1"
    network = s4d.build(**settings).eval()
    network.load_state_dict(sheet.state_dict())
    with torch.no_grad():
        for kind in ("video", "image"):
            calm = network(x[kind])
            noisy = network(x[kind], [x[f"eps_{kind}.0"], x[f"eps_{kind}.1"]])
            found = {"logits_nonoise": calm.logits, "feature_nonoise": calm.features, "logits_eps": noisy.logits}
            assert_parity({f"{kind}_{name}_{capacity}": value for name, value in found.items()}, sheet)
            if capacity == "cap1":
                assert float(calm.balance) == pytest.approx(float(sheet.outputs[f"{kind}_aux_loss_layers"].sum()), rel=1e-4)


@pytest.mark.parametrize("variant", ["s4d_vit_moae_layerscale", "s4d_vit_plain_learnedpos_nopool"])
def test_the_releases_variants(shared: Path, variant: str) -> None:
    sheet = read_parity(shared / "parity" / f"{variant}.json")
    network = s4d.build(**of_the_release(sheet), experts_with_layer_scale=False).eval()
    network.load_state_dict(sheet.state_dict())
    x = sheet.tensors()
    with torch.no_grad():
        assert_parity({f"{kind}_logits": network(x[kind]).logits for kind in ("video", "image")}, sheet)


def test_pretraining_is_the_authors(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "s4d_mae_pretrain.json")
    decoder = {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 2}
    network = s4d_pretraining.build(size=32, patch=8, width=48, depth=2, heads=4, **decoder)
    network.load_state_dict(sheet.state_dict())
    x = sheet.tensors()
    with torch.no_grad():
        for kind, step in (("video", 4), ("image", 1)):
            pixels, mask = x[kind], x[f"{kind}_mask"]
            found = {
                f"{kind}_pred": network(pixels, mask)[:, ::step],
                f"{kind}_loss": network.loss(pixels, mask),
                f"{kind}_loss_nonorm": network.loss(pixels, mask, normalised=False),
            }
            assert_parity(found, sheet)


def test_sizes_are_those_of_the_paper(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "s4d_vit_moae.json")
    row = network_table().choose("s4d", "dynamic")
    with torch.device("meta"):
        full, plain, pretraining = build_network(row), s4d.build(expert_blocks=[]), s4d_pretraining.build()
    count = s4d_pretraining.parameter_count
    assert count(full) == row.parameters == sheet.json["full_size"]["params"] == 100_513_646
    assert count(plain) == sheet.json["full_size"]["params_without_moe"]
    assert count(full, ["blocks.6.moe_layer"]) == sheet.json["full_size"]["params_per_moe_layer"]
    assert (count(pretraining), count(pretraining, ["encoder."])) == (94_210_944, 86_227_200)
    keys = {name: list(value.shape) for name, value in full.state_dict().items()}
    assert keys == sheet.json["full_size"]["key_shapes"]


# ---- experts -------------------------------------------------------------------------------------------------------------


def one_expert_at_a_time(layer: AdapterExperts, tokens: Tensor, routing: Routing) -> Tensor:
    """The same mixture by a loop over tokens and experts."""
    rows = []
    for token, chosen, weights in zip(tokens, routing.chosen, routing.weights, strict=True):
        rows.append(sum(weight * layer.experts[int(number)](token) for number, weight in zip(chosen, weights, strict=True)))
    return torch.stack(rows)


def test_grouped_experts_are_the_experts_one_by_one() -> None:
    torch.manual_seed(0)
    layer, u = AdapterExperts(16, ExpertShape(experts=6, capacity=None)), torch.randn(3, 9, 16)
    mixed, _ = layer.eval()(u)
    expected = one_expert_at_a_time(layer, u.flatten(0, 1), layer.router(u.flatten(0, 1))).view_as(u)
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("ratio", [0.5, 0.25])  # rows of whole 16 bytes, and not
def test_gradients_of_the_grouped_experts(ratio: float) -> None:
    torch.manual_seed(0)
    layer, u = AdapterExperts(8, ExpertShape(experts=3, ratio=ratio, capacity=None)).train(), torch.randn(1, 12, 8)
    noise, weight = torch.randn(1, 12, 3), torch.randn(12, 8)
    parameters = list(layer.parameters())
    grouped = torch.autograd.grad((layer(u, noise)[0][0] * weight).sum(), parameters)
    looped = one_expert_at_a_time(layer, u[0], layer.router(u[0], noise[0]))
    for ours, expected in zip(grouped, torch.autograd.grad((looped * weight).sum(), parameters), strict=True):
        torch.testing.assert_close(ours, expected)


def test_in_training_an_expert_takes_its_share_and_no_more() -> None:
    layer, u = AdapterExperts(8, ExpertShape(experts=4, chosen=1)).train(), torch.randn(1, 8, 8)
    torch.nn.init.zeros_(layer.router.topkroute_linear.weight)
    with torch.no_grad():
        layer.router.topkroute_linear.bias.copy_(torch.tensor([5.0, 0, 0, 0]))  # every token wants the first expert
        mixed = layer(u, torch.zeros(1, 8, 4))[0][0]
        assert mixed.abs().sum(1).gt(0).tolist() == [True] * 2 + [False] * 6
        assert layer.eval()(u)[0][0].abs().sum(1).gt(0).all()


def test_the_balance_loss_is_least_for_even_loads() -> None:
    even = Routing(torch.eye(4).repeat(2, 1) * 3, torch.arange(4).repeat(2)[:, None], torch.ones(8, 1))
    uneven = Routing(torch.eye(4)[[0] * 8] * 3, torch.zeros(8, 1, dtype=torch.long), torch.ones(8, 1))
    assert float(balance_loss(even, 2, "probabilities")) == pytest.approx(1.0)
    assert float(balance_loss(uneven, 2, "probabilities")) > 2


def test_the_balance_loss_spreads_tokens_over_the_experts() -> None:
    torch.manual_seed(1)
    layer, u = AdapterExperts(8, ExpertShape(experts=4, chosen=1)).train(), torch.randn(4, 32, 8)
    with torch.no_grad():
        layer.router.topkroute_linear.bias.copy_(torch.tensor([2.0, 0, 0, 0]))

    def largest_share() -> float:
        return float(layer.router.eval()(u.flatten(0, 1)).chosen.flatten().bincount(minlength=4).max()) / 128

    before, steps = largest_share(), torch.optim.Adam(layer.router.parameters(), 0.05)
    layer.train()
    for _ in range(60):
        steps.zero_grad()
        layer(u)[1].backward()
        steps.step()
    assert before > 0.9
    assert largest_share() < 0.5


# ---- pictures and clips --------------------------------------------------------------------------------------------------


def test_a_picture_is_a_clip_of_one_frame_shown_twice(network: s4d.S4D) -> None:
    network.eval()
    picture = torch.randn(2, 3, 16, 16)
    network.head["video"].load_state_dict(network.head["image"].state_dict())
    twice = network(picture[:, :, None].expand(-1, -1, 2, -1, -1))
    torch.testing.assert_close(network(picture).logits, twice.logits)
    torch.testing.assert_close(network.answer(FaceInputs(picture[:, None])).logits, twice.logits)


def test_an_answer_depends_on_its_own_clip_alone(network: s4d.S4D) -> None:
    network.eval()
    clips = torch.randn(4, 4, 3, 16, 16)
    together = network.answer(FaceInputs(clips))
    alone = network.answer(FaceInputs(clips[2:3]))
    torch.testing.assert_close(together.logits[2:3], alone.logits)
    torch.testing.assert_close(network.answer(FaceInputs(clips)).logits, together.logits, rtol=0, atol=0)
    back = network.answer(FaceInputs(clips.flip(1)))
    assert (back.logits - together.logits).abs().max() > 1e-4  # the order of the frames counts


def test_training_lowers_both_losses(network: s4d.S4D) -> None:
    torch.manual_seed(5)
    images, clips = FaceInputs(torch.randn(6, 1, 3, 16, 16)), FaceInputs(torch.randn(6, 4, 3, 16, 16))
    wanted = F.one_hot(torch.arange(6), 7).float()
    steps, history = torch.optim.AdamW(network.parameters(), 3e-3), []
    for _ in range(12):
        steps.zero_grad()
        terms = [network.loss(images, wanted), network.loss(clips, wanted)]
        assert all(term["balance"] > 0 for term in terms)
        total = sum(sum(term.values()) for term in terms)
        assert isinstance(total, Tensor)
        total.backward()
        history.append(total.item())
        steps.step()
    assert history[-1] < 0.8 * history[0]
    assert all(value.grad is not None for value in network.parameters())


def test_pretrained_weights_enter_the_trunk(network: s4d.S4D) -> None:
    torch.manual_seed(9)
    sizes = {key: TINY[key] for key in ("size", "patch", "frames", "width", "depth", "heads")}
    pretraining = s4d_pretraining.build(**sizes, decoder_width=12, decoder_depth=1, decoder_heads=2)
    pixels = torch.rand(4, 3, 4, 16, 16)
    mask = s4d_pretraining.random_mask(4, 8, 0.75)
    assert mask.sum(1).tolist() == [6] * 4
    steps, history = torch.optim.AdamW(pretraining.parameters(), 3e-3), []
    for _ in range(15):
        steps.zero_grad()
        loss = pretraining.loss(pixels, mask) + pretraining.loss(pixels[:, :, 0], mask_of_half())
        loss.backward()
        history.append(loss.item())
        steps.step()
    assert history[-1] < 0.95 * history[0]
    adapted = network.adapted(pretraining.state_dict())
    found = network.load_state_dict(adapted, strict=False)
    assert not found.unexpected_keys
    assert {key.split(".")[0] for key in found.missing_keys if "moe_layer" not in key} == {"fc_norm", "head"}
    np.testing.assert_array_equal(network.state_dict()["blocks.0.mlp.fc1.weight"], adapted["blocks.0.mlp.fc1.weight"])


def mask_of_half() -> Tensor:
    """Two of the four tubelets of a tiny picture hidden."""
    return torch.tensor([[True, False, True, False]]).repeat(4, 1)


def test_depths_for_rates_that_decay(network: s4d.S4D) -> None:
    depths = {name: network.depth_of(name) for name, _ in network.named_parameters()}
    assert depths["patch_embed.proj.weight"] == (0, 5)
    assert depths["blocks.0.norm1.bias"] == (1, 5)
    assert depths["blocks.2.moe_layer.experts.0.fc1.weight"] == (3, 5)
    assert depths["head.video.weight"] == depths["fc_norm.bias"] == (4, 5)
