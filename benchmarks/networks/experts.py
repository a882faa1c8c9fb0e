"""The experts of S4D side by side: all in grouped products, as the network has them, and one after the other in a loop."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu.measure import timed
from modalities.face_networks.parts.experts import AdapterExperts, ExpertShape, Routing
from modalities.loading.devices import precision_of

WIDTH = 768
TOKENS = {"clips": 800, "pictures": 100}
"""Tokens of an item of S4D: 8 x 10 x 10 of a clip, 10 x 10 of an image."""
RATIO = 3.0
HEADS = ("tokens", "what", "type", "grouped ms", "loop ms", "ratio", "largest difference", "goals")


def mixed_by_loop(layer: AdapterExperts, tokens: Tensor, routing: Routing) -> Tensor:
    """What `AdapterExperts` computes, [M, width] -> [M, width], by a loop over the experts: each takes its tokens in turn."""
    shape, chosen, weights = layer.shape, routing.chosen.flatten(), routing.weights.flatten()
    mixed = torch.zeros(tokens.shape, device=tokens.device)
    for number, expert in enumerate(layer.experts):
        slots = (chosen == number).nonzero()[:, 0]
        if shape.capacity is not None and (layer.training or shape.capacity_always):
            slots = slots[: int(len(chosen) / shape.experts * shape.capacity)]
        rows = slots // shape.chosen
        mixed = mixed.index_add(0, rows, (expert(tokens[rows]) * weights[slots, None]).float())
    return mixed.to(tokens.dtype)


@dataclass(frozen=True)
class ExpertRow:
    """Both ways on some tokens: milliseconds, and how far their answers lie apart beside the largest one."""

    tokens: str
    what: str
    dtype: str
    grouped: float
    loop: float
    difference: float
    judged: bool

    @property
    def ratio(self) -> float:
        """How many times faster the grouped products are."""
        return self.loop / self.grouped

    def cells(self) -> list[str]:
        """The row of the table."""
        goal = f"≥ {RATIO:g} x {'ok' if self.ratio >= RATIO else 'missed'}" if self.judged else "not judged"
        numbers = [f"{self.grouped:.3g}", f"{self.loop:.3g}", f"{self.ratio:.2f}", f"{self.difference:.1e}"]
        return [self.tokens, self.what, self.dtype, *numbers, goal]


def expert_rows(device: str, tiny: bool, seconds: float) -> Iterator[ExpertRow]:
    """The layer at S4D's size (a tenth of its width if `tiny`) on the tokens of clips and of images."""
    several = {"clips": (1, 32, 64), "pictures": (64, 256)} if device.startswith("cuda") else {"clips": (1, 4), "pictures": (8,)}
    width = 64 if tiny else WIDTH
    for items, counts in several.items():
        for count in counts[: 1 if tiny else None]:
            tokens, said = count * (TOKENS[items] // (10 if tiny else 1)), f"{count} {items[:-1] if count == 1 else items}"
            for training in (False, True):
                yield _row(device, width, tokens, f"{tokens} ({said})", training, not tiny and device.startswith("cuda"), seconds)


def _row(device: str, width: int, tokens: int, said: str, training: bool, judged: bool, seconds: float) -> ExpertRow:
    torch.manual_seed(0)
    cpu = device == "cpu"
    dtype = torch.float32 if training and cpu else precision_of(device)
    layer = AdapterExperts(width, ExpertShape()).to(device).train(training)
    seen = torch.randn(tokens, width, device=device).requires_grad_(training)
    with torch.no_grad():
        routing = layer.router(seen)
    if not training:
        layer, seen = layer.to(dtype).requires_grad_(False), seen.to(dtype)
    pull = torch.randn(seen.shape, device=device)
    ways = [_run(layer, mixed, seen, routing, pull, dtype) for mixed in (AdapterExperts.mixed, mixed_by_loop)]
    ours, loop = (way() for way in ways)
    apart = max(float(((one - other).abs().max() / other.abs().max()).detach()) for one, other in zip(ours, loop, strict=True))
    grouped, looped = (1000 * median_seconds(device, way, seconds) for way in ways)
    what = "forward and backward" if training else "forward"
    return ExpertRow(said, what, str(dtype).removeprefix("torch."), grouped, looped, apart, judged)


def _run(
    layer: AdapterExperts, mixed: Callable[..., Tensor], seen: Tensor, routing: Routing, pull: Tensor, dtype: torch.dtype
) -> Callable[[], Sequence[Tensor]]:
    """One pass; in training the gradients of the tokens and of all weights follow the answers, for a gradient `pull` of those."""
    parameters = [value for name, value in layer.named_parameters() if name.startswith("experts.")]

    def run() -> Sequence[Tensor]:
        if not layer.training:
            with torch.inference_mode():
                return [mixed(layer, seen, routing).float()]
        with torch.autocast(seen.device.type, dtype, enabled=dtype != torch.float32):
            answers = mixed(layer, seen, routing).float()
        return [answers, *torch.autograd.grad((answers * pull).sum(), [seen, *parameters])]

    return run


# ---- seconds -------------------------------------------------------------------------------------------------------------


def in_processor_time(device: str) -> bool:
    """True where seconds are those of processor time, in which other work on the machine does not count: with one thread."""
    return device == "cpu" and torch.get_num_threads() == 1


def seconds_of(device: str, run: Callable[[], object]) -> float:
    """Seconds of one call, the device's work included."""
    if not in_processor_time(device):
        return timed(device, run)
    began = time.process_time()
    run()
    return time.process_time() - began


def median_seconds(device: str, run: Callable[[], object], seconds: float) -> float:
    """The median of at least three calls, after one that does not count."""
    seconds_of(device, run)
    found: list[float] = []
    while sum(found) < seconds or len(found) < 3:
        found.append(seconds_of(device, run))
    return sorted(found)[len(found) // 2]
