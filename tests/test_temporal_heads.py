"""The temporal heads of the dynamic face: the authors' numbers, padding, and loading from bare state dicts."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from modalities.networks.video_former import VideoFormer, VideoFormerShape
from modalities.networks.video_mamba import MambaBlock, VideoMamba, VideoMambaShape
from tests.parity import assert_parity, read_parity

TINY_MAMBA = VideoMambaShape(features=24, width=32, rank=2, layers=2, hidden=16)
TINY_FORMER = VideoFormerShape(features=24, width=32, layers=2, hidden=16)


def parameters_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_video_mamba_gives_the_authors_numbers(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ras_videomamba.json")
    network = VideoMamba(TINY_MAMBA).eval()
    network.load_state_dict(sheet.state_dict())
    with torch.inference_mode():
        answer, short = (network(sheet.tensors()[name]) for name in ("sequences", "short"))
    assert_parity({"logits": answer.logits, "features": answer.features, "logits_short": short.logits}, sheet)


def test_a_mamba_block_gives_the_authors_numbers(shared: Path) -> None:
    sheet = read_parity(shared / "parity" / "ras_mamba_block.json")
    block = MambaBlock(TINY_MAMBA).eval()
    block.load_state_dict(sheet.state_dict())
    with torch.inference_mode():
        x = sheet.tensors()["seq"]
        seen, states = block.state_space(x)
        assert_parity({"out": block(x), "ssm_out": seen, "ssm_hidden": states}, sheet)


@pytest.mark.parametrize(("file", "positions"), [("ras_videoformer", False), ("ras_videoformer_pe", True)])
def test_video_former_gives_the_authors_numbers(shared: Path, file: str, positions: bool) -> None:
    sheet = read_parity(shared / "parity" / f"{file}.json")
    network = VideoFormer(TINY_FORMER._replace(positions=positions)).eval()
    missing = network.load_state_dict(sheet.state_dict(), strict=False)
    assert (sorted(missing.missing_keys), missing.unexpected_keys) == (sheet.unsupplied, [])
    with torch.inference_mode():
        assert_parity({"logits": network(sheet.tensors()["sequences"]).logits}, sheet)


def test_full_size_has_the_published_number_of_parameters(shared: Path) -> None:
    sizes = json.loads((shared / "parity" / "ras_videomamba.json").read_text())["full_size"]
    assert parameters_of(VideoMamba()) == sizes["repo config d=512"]["params"]
    smaller = VideoMamba(VideoMambaShape(width=128, rank=8))
    assert parameters_of(smaller) == sizes["d=128 (probable final)"]["params"]
    former = json.loads((shared / "parity" / "ras_videoformer.json").read_text())["full_size"]
    assert parameters_of(VideoFormer()) == former["params"]


@pytest.mark.parametrize("network", [VideoMamba(TINY_MAMBA), VideoFormer(TINY_FORMER)], ids=["mamba", "former"])
def test_padding_does_not_change_the_answer(network: nn.Module) -> None:
    torch.manual_seed(3)
    network.eval()
    sequences, mask = torch.randn(2, 12, 24), torch.ones(2, 12, dtype=torch.bool)
    mask[1, 5:] = False
    with torch.inference_mode():
        together = network(sequences, mask)
        alone = network(sequences[1:, :5])
    torch.testing.assert_close(together.logits[1:], alone.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.features[1:], alone.features, atol=1e-5, rtol=1e-5)


def test_the_two_discretisations_differ_and_the_exponential_one_is_mambas() -> None:
    torch.manual_seed(4)
    published = MambaBlock(TINY_MAMBA).eval()
    right = MambaBlock(TINY_MAMBA._replace(discretisation="exponential")).eval()
    right.load_state_dict(published.state_dict())
    x = torch.randn(1, 6, 32)
    with torch.inference_mode():
        (_, theirs), (_, ours) = published.state_space(x), right.state_space(x)
        step = nn.functional.softplus(right.D + right.s_D(x))[..., None]
        state = torch.zeros(32, 4)
        for t in range(6):
            state = torch.exp(-right.A * step[0, t]) * state + step[0, t] * x[0, t, :, None] * right.s_B(x)[0, t]
    torch.testing.assert_close(ours[0, -1], state, atol=1e-5, rtol=1e-5)
    assert (ours - theirs).abs().max() > 1e-3
