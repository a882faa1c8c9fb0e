"""IFDD: the authors' numbers, torchvision's weights in its backbone, and a training step."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.face_networks.papers import ifdd
from modalities.face_networks.papers.ifdd import AdaptiveSplit, Lifting, LiftingShape
from modalities.face_networks.parts import mvit
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.parts.mvit import BlockShape, MultiscaleBlock, stages
from modalities.face_networks.registry import build_network, network_table
from tests.parity import assert_parity, read_parity


@pytest.fixture
def network() -> ifdd.IFDD:
    torch.manual_seed(4)
    return ifdd.build(size=32, frames=8, widths=[8, 16, 32, 64], drop=0.0, head_dropout=0.0, lifting={"drop": 0.0})


# ---- the authors' numbers ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_block_of_the_backbone(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ifdd_mvit_block.json")
    block, x = MultiscaleBlock(BlockShape(2, 16, 32, 2, 4), (4, 8, 8)).eval(), sheet.tensors()["x"]
    block.load_state_dict(sheet.state_dict())
    answer, grid = block(x, (4, 8, 8))
    assert_parity({"y": answer, "attn_out": block.attn(block.norm1(x), (4, 8, 8))[0], "thw": torch.tensor(grid)}, sheet)


@torch.no_grad()
def test_stems_of_8_16_and_32_frames(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ifdd_embed.json")
    for frames in (8, 16, 32):
        stem, prefix = ifdd.Stem(12, frames), f"t{frames}."
        weights = sheet.state_dict().items()
        stem.load_state_dict({key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)})
        assert_parity({f"y{frames}": stem(sheet.tensors()[f"x{frames}"])}, sheet)


@torch.no_grad()
def test_the_split_at_times_that_follow_the_content(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ifdd_issm.json")
    split, x = AdaptiveSplit(LiftingShape(width=24, release_sampling=True)), sheet.tensors()["x"]
    split.load_state_dict(sheet.state_dict())
    still, moving = split(x)
    assert_parity({"attn_raw": split.likeness(x), "x_approx": still, "x_detail": moving}, sheet)


@torch.no_grad()
@pytest.mark.parametrize("variant", ["config", "fullresidual", "nonorm_evenodd", "predict_first"])
def test_the_lifting(shared: Path, variant: str) -> None:
    sheet = read_parity(shared / "parity" / f"ifdd_ladm_{variant}.json")
    given, x = sheet.arguments, sheet.tensors()["x"]
    options = {"adaptive": given["AdaptSplit"], "norm": given["WaveNorm"], "update_first": given["WaveSF_preUpdate"]}
    lifting = Lifting(LiftingShape(width=given["embed_dim"], release_sampling=True, **options)).eval()
    lifting.load_state_dict(sheet.state_dict())
    code, residual = lifting(x)
    still, moving = lifting.lifted(x)
    found = {"x_d": code, "y_static_sub": still[:, ::6], "y_dynamic_sub": lifting.refined(moving)[:, ::6]}
    assert_parity(found | {"pool_a": ifdd.relaxed(residual) if given["relaxed_constrain"] else residual}, sheet)


def test_the_lifting_loss_and_its_gradient(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ifdd_lifting_loss.json")
    residual = sheet.tensors()["pool_a"].requires_grad_()
    loss = 0.1 * ifdd.lifting_losses(residual).sum()
    assert_parity({"loss": loss, "grad_pool_a": torch.autograd.grad(loss, residual)[0]}, sheet)


@torch.no_grad()
def test_the_whole_network(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ifdd_e2e_reduced.json")
    network = ifdd.build(widths=sheet.arguments["dims"], lifting={"release_sampling": True}).eval()
    network.load_state_dict(sheet.state_dict())
    video = sheet.tensors()["video"]
    found = network(video)
    assert_parity({"logits": found.logits, "x_d": found.features, "pool_a": ifdd.relaxed(found.residual)}, sheet)
    stages = network.backbone.backbone(network.embed(video))
    steps = (197, 97, 41, 13)
    assert_parity({f"stage{i}_sub": tokens[:, :: steps[i]] for i, (tokens, _) in enumerate(stages)}, sheet)


def test_sizes_are_those_of_the_paper(shared: Path) -> None:
    wanted = json.loads((shared / "parity" / "ifdd_xs_full.json").read_text())["weights"]
    for name, millions in (("ifdd-xs", 37.58), ("ifdd-s", 48.31)):
        row = network_table().choose(name, "dynamic")
        with torch.device("meta"):
            full = build_network(row)
        count = sum(value.numel() for value in full.parameters())
        assert count == row.parameters == pytest.approx(millions * 1e6, abs=5e3)
        if name == "ifdd-xs":
            assert count == wanted["params"]
            shapes = {key: list(value.shape) for key, value in full.state_dict().items()}
            assert shapes == wanted["key_shapes"]


# ---- ours ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["xs", "s"])
def test_kinetics_weights_of_torchvision_fill_the_backbone(variant: str) -> None:
    from torchvision.models.video import mvit_v2_s

    with torch.device("meta"):
        theirs, ours = mvit_v2_s(), ifdd.build(variant=variant)
    adapted = ours.adapted(theirs.state_dict())
    wanted = {key: value.shape for key, value in ours.state_dict().items()}
    found = {key: value.shape for key, value in adapted.items()}
    assert found == {key: wanted[key] for key in found}
    assert {key for key in wanted if key.startswith(("embed.", "backbone.backbone."))} == set(found)


@torch.no_grad()
def test_the_backbone_is_torchvisions() -> None:
    from torchvision.models.video.mvit import MSBlockConfig, MViT

    blocks = stages((1, 2, 1, 1), (8, 16, 32, 64))
    strides = [([1, b.query_stride, b.query_stride], [1, b.key_stride, b.key_stride]) for b in blocks]
    sizes = zip(blocks, strides, strict=True)
    settings = [MSBlockConfig(b.heads, b.width, b.out, [3, 3, 3], [3, 3, 3], *stride) for b, stride in sizes]
    norm = functools.partial(nn.LayerNorm, eps=1e-6)
    theirs = MViT((64, 64), 16, settings, True, False, True, True, num_classes=5, norm_layer=norm)
    ours = mvit.MViT(blocks, (8, 16, 16), 0.0)
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if not key.startswith(("conv_proj", "head"))})
    clips = torch.randn(2, 3, 16, 64, 64)
    last, _ = ours.eval()(theirs.conv_proj(clips))[-1]
    torch.testing.assert_close(theirs.eval().head(last[:, 0]), theirs(clips), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_times_between_steps_are_read_as_they_say() -> None:
    split, x = AdaptiveSplit(LiftingShape(width=4)), torch.randn(1, 4, 8, 49)
    read = split.read(x, torch.tensor([[0.0, 2.0, 2.25, 9.0]]))
    expected = torch.stack([x[:, :, 0], x[:, :, 2], 0.75 * x[:, :, 2] + 0.25 * x[:, :, 3], x[:, :, 7]], 2)
    torch.testing.assert_close(read, expected)


@torch.no_grad()
def test_answers_follow_the_order_of_the_frames_and_not_the_batch(network: ifdd.IFDD) -> None:
    clips = torch.rand(3, 8, 3, 32, 32)
    network.eval()
    together = network.answer(FaceInputs(clips))
    torch.testing.assert_close(together.logits[1:2], network.answer(FaceInputs(clips[1:2])).logits, rtol=1e-4, atol=1e-5)
    assert (together.logits - network.answer(FaceInputs(clips.flip(1))).logits).abs().max() > 1e-5


@pytest.mark.slow
def test_training_lowers_the_loss_and_reaches_every_weight(network: ifdd.IFDD) -> None:
    clips, wanted = FaceInputs(torch.rand(4, 8, 3, 32, 32)), F.one_hot(torch.arange(4), 7).float()
    steps, history = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 3e-3), []
    for _ in range(10):
        steps.zero_grad()
        terms = network.loss(clips, wanted)
        total: Tensor = terms["classification"] + terms["lifting"]
        total.backward()
        history.append(total.item())
        steps.step()
    assert terms["lifting"] > 0
    assert history[-1] < 0.9 * history[0]
    without = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert not without


def test_depths_for_rates_that_decay(network: ifdd.IFDD) -> None:
    depths = {name: network.depth_of(name)[0] for name, _ in network.named_parameters()}
    assert depths["embed.conv_proj.bias"] == depths["backbone.backbone.pos_encoding.class_token"] == 0
    assert depths["backbone.backbone.blocks.9.norm1.weight"] == 10
    assert depths["backbone.CatConv.weight"] == depths["head.head.1.bias"] == 11


def test_another_half_can_be_classified() -> None:
    clips = torch.rand(2, 3, 8, 32, 32)
    answers = []
    for half in ("moving", "still", "both"):
        torch.manual_seed(0)
        built = ifdd.build(size=32, frames=8, widths=[8, 16, 32, 64], lifting={"classified": half}).eval()
        still, moving = built.backbone.WaveLifts.lifted(torch.rand(2, 8, 64))
        expected = {"moving": moving, "still": still, "both": torch.cat([moving, still], 1)}[half]
        assert built.backbone.WaveLifts.project_compress.weight.shape == (1, expected.shape[1])
        with torch.no_grad():
            answers.append(built(clips).logits)
    assert not torch.allclose(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2])
    with pytest.raises(ValueError, match="moving, still, both"):
        ifdd.build(lifting={"classified": "neither"})
