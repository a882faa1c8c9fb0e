"""The benchmark of the face networks, on a processor and at tiny sizes: all of them run in every way, and its figures add up."""

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.gpu.measure import Allowance
from benchmarks.networks.experts import expert_rows, mixed_by_loop
from benchmarks.networks.measure import Speed, flops_an_item, measured, plainly
from benchmarks.networks.subjects import Subject, subjects
from benchmarks.networks.table import NetworkMeasured, main, parsed, row_of, row_or_why_not
from modalities.face_networks.papers.cliper import descriptor_loss
from modalities.face_networks.parts.experts import AdapterExperts, ExpertShape, Routing
from modalities.face_networks.registry import network_table


def tiny(name: str, items: str = "clips") -> Subject:
    return Subject(network_table().choose(name), items, tiny=True)


def options(*more: str) -> list[str]:
    return ["--tiny", "--device", "cpu", "--ways", "ours,plain", "--seconds", "0.01", *more]


# ---- the tables ----------------------------------------------------------------------------------------------------------


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of the table of networks, by the heads of its columns (the first of each name)."""
    lines = [line for line in text.splitlines() if line.count("|") > 12 and "---" not in line]
    heads, *rows = ([cell.strip(" |") for cell in line.split(" | ")] for line in lines)
    return [dict(reversed(list(zip(heads, row, strict=True)))) for row in rows]


@pytest.mark.long
def test_every_network_of_the_table_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name in network_table().networks if name not in ("ke-fer-swin-t", "ifdd-s")]  # as their smaller kin
    networks_are_measured(names, tmp_path, capsys)


@pytest.mark.slow
def test_networks_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks_are_measured(["s4d", "emoaffectnet", "neutral-reference", "video-former"], tmp_path, capsys)


def networks_are_measured(names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "networks.md"
    assert main(options("--only", ",".join([*names, "moae"]), "--items", "clips,features", "--out", str(out))) == 0
    text = out.read_text()
    assert text == capsys.readouterr().out
    assert main(options("--only", "s4d,emoaffectnet,neutral-reference", "--items", "pictures", "--out", str(out))) == 0
    rows = rows_of(text) + rows_of(out.read_text())
    assert {row["network"].removesuffix(", tiny") for row in rows} == set(names)
    for row in rows:
        if row["type"] != "the same network as dfer-clip":
            assert min(float(row[key]) for key in ("items/s", "GFLOP an item", "memory GB", "plain items/s")) > 0, row
    assert len([row for row in rows if row["network"].startswith("s4d,")]) == 4
    assert "forward and backward" in text
    assert "Measured matmul peak: float32" in text


def test_what_takes_too_long_is_left_out() -> None:
    late = row_of(tiny("video-former", "features"), "forward", parsed(options()), Allowance(time.monotonic() - 1, 60))
    long = row_of(tiny("video-former", "features"), "forward", parsed(options()), Allowance(time.monotonic() + 60, 1e-9))
    assert "left out: no time left (--limit)" in late.cells()
    assert "left out: 0 s at least (--longest)" in long.cells()
    assert len(late.cells()) == len(long.cells()) == 16


def test_a_network_that_does_not_fit_or_fails_has_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = tiny("video-former", "features")
    for error, said in ((torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
                        (ValueError("no such | shape\nmore"), "failed: ValueError: no such / shape")):  # fmt: skip
        def broken(*_: object, raised: Exception = error) -> None:
            raise raised

        monkeypatch.setattr(Subject, "answer", broken)
        assert measured(subject, "forward", "ours", "cpu", [1], 0.01).trouble == said


def test_a_network_whose_operations_cannot_be_counted_has_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> float:
        raise AttributeError("'_OpNamespace' 'aten' object has no attribute '_grouped_mm'")

    monkeypatch.setattr("benchmarks.networks.table.flops_an_item", lacking)
    row = row_or_why_not(tiny("video-former", "features"), "forward", parsed(options()), Allowance(time.monotonic() + 60))
    assert "failed: AttributeError: '_OpNamespace' 'aten' object has no attribute '_grouped_mm'" in row.cells()


def test_goals_are_judged_on_gpus_alone() -> None:
    full = Subject(network_table().choose("s4d"), "clips")
    row = NetworkMeasured(full, "forward", torch.bfloat16, flops=4.0, peak=100.0, ours=Speed(10.0, 8, 1.0), on_gpu=True)
    assert row.share == 0.4
    assert row.goals() == "≥ 45% missed"
    assert NetworkMeasured(full, "training step", flops=4.0, peak=100.0, ours=Speed(10.0), on_gpu=True).goals() == "≥ 35% ok"
    assert NetworkMeasured(full, "forward", flops=4.0, peak=100.0, ours=Speed(10.0)).goals() == "not judged"


@pytest.mark.long
def test_a_network_compiled() -> None:
    speed = measured(tiny("wavlm-uncertain", "features"), "forward", "compiled", "cpu", [2], 0.01)
    assert (speed.trouble, speed.batch) == ("", 2)
    assert speed.rate > 0


def test_nothing_in_a_training_step_of_s4d_waits_for_the_device() -> None:
    """A value or a shape that must be known on the way would break the graph."""
    torch.manual_seed(1)
    subject = tiny("s4d")
    network, inputs, targets = subject.build().train(), subject.inputs(2, "cpu", torch.float32), subject.targets(2, "cpu")
    whole = torch.compile(lambda given, wanted: subject.loss(network, given, wanted), fullgraph=True, backend="eager")
    with torch.autocast("cpu", torch.bfloat16):
        loss: Tensor = whole(inputs, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is not None for key, value in network.named_parameters() if not key.startswith("head.image"))


def test_nor_in_the_loss_of_cliper() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 7, 5), torch.randint(7, (6,))
    whole = torch.compile(lambda given, wanted: descriptor_loss(given, wanted).loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(logits, labels), descriptor_loss(logits, labels).loss)


# ---- the plainest form ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [None, 0.7])
def test_the_loop_over_experts_gives_the_same_numbers(capacity: float | None) -> None:
    torch.manual_seed(2)
    layer = AdapterExperts(32, ExpertShape(experts=5, capacity=capacity)).train()
    tokens, pull = torch.randn(60, 32, requires_grad=True), torch.randn(60, 32)
    routing = layer.router(tokens, torch.randn(60, 5))

    def found(mixed: Tensor) -> list[Tensor]:
        wanted = [tokens, *layer.parameters()]
        return [mixed, *torch.autograd.grad((mixed * pull).sum(), wanted, retain_graph=True)]

    for ours, loop in zip(found(layer.mixed(tokens, routing)), found(mixed_by_loop(layer, tokens, routing)), strict=True):
        torch.testing.assert_close(ours, loop, atol=1e-5, rtol=1e-5)
    assert all(row.difference < 0.05 for row in expert_rows("cpu", True, 0.01))  # bfloat16 among them


@pytest.mark.parametrize(("name", "items"), [("s4d", "clips"), ("ifdd-xs", "clips"), ("wavlm-gru", "features")])
@torch.no_grad()
def test_the_plainest_form_gives_the_same_answers(name: str, items: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    subject = tiny(name, items)
    network, inputs = subject.build().eval(), subject.inputs(2, "cpu", torch.float32)
    ours, grouped, calls = subject.answer(network, inputs), AdapterExperts.mixed, list[Tensor]()

    def noted(layer: AdapterExperts, tokens: Tensor, routing: Routing) -> Tensor:
        calls.append(tokens)
        return mixed_by_loop(layer, tokens, routing)

    monkeypatch.setattr("benchmarks.networks.measure.mixed_by_loop", noted)
    with plainly():
        plain = subject.answer(network, inputs)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    assert len(calls) == (2 if name == "s4d" else 0)  # its blocks with experts
    assert AdapterExperts.mixed is grouped


# ---- operations and options ----------------------------------------------------------------------------------------------


def test_operations_of_s4d_are_those_of_its_formula() -> None:
    subject = tiny("s4d")
    tokens, width, depth, experts = 2 * 4 * 4, 32, 3, 2
    block = 4 * width**2 + 8 * width**2 + 2 * tokens * width  # projections, MLP, products with keys and values
    expert = 2 * 2 * width * width // 4 + 8 * width + 2 * 8 * width  # two chosen; the router; what the biases are added with
    patches = 3 * 2 * 8 * 8 * width
    forward = 2.0 * tokens * (patches + depth * block + experts * expert)
    assert flops_an_item(subject, "forward", 3) == pytest.approx(forward, rel=0.03)
    assert flops_an_item(subject, "training step", 3) == pytest.approx(3 * forward - 2.0 * tokens * patches, rel=0.03)


@pytest.mark.long
def test_the_gradient_of_a_convolution_in_groups_is_as_much_work_as_twice_the_convolution() -> None:
    """torch's own count overlooks the groups, which are as many as the channels in MViT."""
    forward, step = (flops_an_item(tiny("ifdd-xs"), task, 2) for task in ("forward", "training step"))
    assert 2.5 * forward < step <= 3 * forward


def test_texts_that_are_remembered_do_not_count() -> None:
    """Answers of a network over CLIP need its texts once; a training step needs them each time."""
    answer = [flops_an_item(tiny("cliper"), "forward", count) for count in (1, 4)]
    step = [flops_an_item(tiny("cliper"), "training step", count) for count in (1, 4)]
    assert answer[0] == answer[1]
    assert step[0] > 1.5 * step[1]


def test_networks_at_full_size_and_what_they_read() -> None:
    said = {(one.row.name, one.items): one.said() for one in subjects(tiny=False)}
    assert said["s4d", "clips"] == "clips 16 x 160 x 160"
    assert said["s4d", "pictures"] == "pictures 160 x 160"
    assert said["video-mamba", "features"] == "features 20 x 512"
    assert {name for name, _ in said} == set(network_table().networks)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--only", "s4d,resnet"], "'resnet' is no network of the table; use one of: s4d, "),
        (["--items", "sounds"], "'sounds' is no kind of items of the table; use one of: clips, pictures, features."),
        (["--batch", "0"], "'0' is no batch size; give a whole number of 1 or more."),
        (["--device", "cuda:9"], "The device cuda:9 is not there"),
    ],
)
def test_options_that_cannot_be_are_refused(given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(given)
    assert sentence in capsys.readouterr().err
