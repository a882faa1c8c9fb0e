"""Speed of the full-size models on a device: items a second, share of its matmul peak, and ratio to the plain loop.

    ./dyad benchmark gpu [--device cuda:0] [--only clip-l-14,qwen3-vl-4b] [--out docs/gpu_h100.md]

Architectures have their full size and random weights (speed does not depend on the values); on a CPU, or with --tiny, a few
channels, which shows that everything runs and says nothing of speed. Each model runs through the product's own batch function
and the device's queue, in the precision that the product chooses, with synthetic inputs from four clips at once.

* Batches double from a first size until memory, or a gain of 5 %, ends it (--batch gives the sizes); the queue may enlarge them.
* The plain loop has one thread and one item at a time, in float32 with torch's defaults (no TF32 in matrix products).
* FLOP are counted by torch (matrix products, convolutions, attention); the peak is that of a large square product in the
  model's type, measured here.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import header, make_parser, names_among
from benchmarks.gpu.measure import (
    Allowance,
    Batched,
    Workload,
    broken,
    device_of,
    flops_an_item,
    idle_gpu,
    let_go,
    matmul_peak,
    plain_loop,
    said,
    sweep,
    through_queue,
)
from benchmarks.gpu.models import CASES, Case
from benchmarks.gpu.qwen import TOKENS
from data.files import write_text
from modalities.loading.batching import free_memory, is_out_of_memory
from modalities.loading.devices import precision_of

RATIO = 5.0
HEADS = ("model", "items", "type", "batch", "items/s", "batch alone, items/s", "GFLOP an item", "share of peak", "plain items/s",
         "ratio", "memory GB", "goals")  # fmt: skip
peak = cache(matmul_peak)


@dataclass(frozen=True)
class ModelRow:
    """What was measured of a model; `trouble` says why there is nothing."""

    case: Case
    trouble: str = ""
    dtype: str = ""
    batched: Batched = Batched(0, 0.0)
    rate: float = 0.0
    flops: float = 0.0
    peak: float = 1.0
    plain: float = 0.0
    gigabytes: float | None = None
    tiny: bool = False

    @property
    def share(self) -> float:
        """Of the peak, as the product runs the model."""
        return self.rate * self.flops / self.peak

    @property
    def ratio(self) -> float:
        """Of the product's speed to the plain loop's."""
        return self.rate / self.plain if self.plain else 0.0

    def cells(self) -> list[str]:
        """The row of the table."""
        named = [self.case.what + (", tiny" if self.tiny else ""), self.case.items]
        if self.trouble:
            return [*named, self.trouble, *[""] * (len(HEADS) - 3)]
        batch = f"{self.batched.size}{' (memory)' if self.batched.memory_ended else ''}"
        speeds = [f"{number:.4g}" for number in (self.rate, self.batched.rate, self.flops / 1e9)]
        memory = "" if self.gigabytes is None else f"{self.gigabytes:.1f}"
        ratios = [f"{self.share:.1%}", f"{self.plain:.4g}", f"{self.ratio:.1f}"]
        return [*named, self.dtype, batch, *speeds, *ratios, memory, self.goals()]

    def goals(self) -> str:
        """Which goals the model has, and whether they are reached; tiny sizes are not judged."""
        if self.tiny:
            return "not judged"
        goals = [(f"≥ {RATIO:g} x", self.ratio >= RATIO)]
        if self.case.share:
            goals.append((f"≥ {self.case.share:.0%}", self.share >= self.case.share))
        return ", ".join(f"{goal} {'ok' if met else 'missed'}" for goal, met in goals)


def measured(case: Case, device: str, tiny: bool, sizes: Sequence[int], seconds: float) -> ModelRow:
    """Everything about one model; out of memory, or another error of its own, is a row that says so."""
    try:
        return _measured(case, device, tiny, sizes, seconds)
    except Exception as error:
        if not is_out_of_memory(error):
            traceback.print_exc()
        return ModelRow(case, said(error))
    finally:
        if not broken(device):
            let_go(device)


def _measured(case: Case, device: str, tiny: bool, sizes: Sequence[int], seconds: float) -> ModelRow:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    torch.manual_seed(0)
    dtype, batched, rate, flops = _product(case.build(device, "auto", tiny), device, sizes, seconds)
    gigabytes = torch.cuda.max_memory_allocated(device) / 1e9 if device.startswith("cuda") else None
    let_go(device)
    plain = plain_loop(case.build(device, "float32", tiny), device, seconds)
    name = str(dtype).removeprefix("torch.")
    return ModelRow(case, "", name, batched, rate, flops, peak(device, dtype), plain, gigabytes, tiny)


def _product(
    workload: Workload, device: str, sizes: Sequence[int], seconds: float
) -> tuple[torch.dtype, Batched, float, float]:
    """Type, best batch, items a second through the queue, and FLOP an item; the model is gone when it returns."""
    flops = flops_an_item(workload)
    batched = sweep(workload, device, sizes, seconds)
    return _type_of(workload.model, device), batched, through_queue(workload, device, batched, seconds), flops


def _type_of(model: Any, device: str) -> torch.dtype:
    """The type in which most of a model computes."""
    from modalities.static_face.embedded import StaticFace

    if isinstance(model, StaticFace):
        return precision_of(device)  # its weights stay in float32
    network: torch.nn.Module = model.network
    return next(network.parameters()).dtype


def rows(cases: Sequence[Case], device: str, options: argparse.Namespace) -> Iterator[ModelRow]:
    """Rows of the models, one after the other, which share the time; none runs once it is used up or the device has failed."""
    allowance = Allowance(time.monotonic() + options.limit)
    for number, case in enumerate(cases):
        allowance.rows = len(cases) - number
        if refused := broken(device) or allowance.refusal():
            yield ModelRow(case, refused)
            continue
        yield measured(case, device, options.tiny, options.batch, allowance.seconds(options.seconds))
        if not broken(device):
            free_memory()


def lines(device: str, tiny: bool) -> list[str]:
    """What stands before the table."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "processor"
    what = "Tiny sizes: this table shows that everything runs, and nothing about speed. " if tiny else "Full-size architectures. "
    return [
        f"{header()}; device {device} ({name})", "",
        f"{what}Weights are random, since speed does not depend on their values. Plain loop: one item at a time, float32 with "
        f"torch's defaults, no queue. Qwen answers {8 if tiny else TOKENS} tokens, Whisper {16 if tiny else 224} with their "
        "times.", "",
        "| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and write it to a file as it grows; 1 when a model failed for another reason than memory."""
    options = parsed(arguments)
    device = options.device
    options.tiny = options.tiny or device == "cpu" and not options.full
    options.seconds = options.seconds or (0.2 if options.tiny else 3.0)
    known = {case.name: case for case in CASES}
    cases = [known[name] for name in options.only] or list(CASES)
    text, failed = lines(device, options.tiny), False
    if warning := idle_gpu(device):
        print(warning, file=sys.stderr)
    print("\n".join(text), flush=True)
    peaks = set()
    for row in rows(cases, device, options):
        text.append("| " + " | ".join(row.cells()) + " |")
        print(text[-1], flush=True)
        failed |= row.trouble.startswith("failed")
        if row.dtype:
            peaks.add(f"{row.dtype} {row.peak / 1e12:.4g} TFLOP/s")
        if options.out:
            write_text(options.out, "\n".join([*text, "", f"Measured matmul peak: {', '.join(sorted(peaks))}.", ""]))
    print(f"\nMeasured matmul peak: {', '.join(sorted(peaks))}.")
    return int(failed)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = make_parser(__doc__)
    parser.add_argument("--device", type=device_of, default="auto", help="auto, cpu, cuda:0 or another number, mps")
    parser.add_argument("--tiny", action="store_true", help="a few channels instead of full sizes (always so on a CPU)")
    parser.add_argument("--full", action="store_true", help="full sizes even on a CPU")
    names = [case.name for case in CASES]
    parser.add_argument("--only", type=names_among(names, "model"), default=[], metavar="NAME,...",
                        help=f"some of {', '.join(names)}")  # fmt: skip
    parser.add_argument("--batch", type=_numbers, default=[], metavar="N,...", help="these batch sizes instead of doubling")
    parser.add_argument("--seconds", type=float, default=None, help="of each measurement, or less to fit --limit (3; tiny 0.2)")
    parser.add_argument("--limit", type=float, default=420.0, help="seconds after which no further model is begun")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file for the table")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return sorted(int(number) for number in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
