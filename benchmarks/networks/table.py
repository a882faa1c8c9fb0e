"""Speed and memory of every face network of the table: answers and training steps, beside their plainest form and compiled.

    ./dyad benchmark networks [--device cuda:0] [--only s4d,moae] [--out table.md]
    ./dyad benchmark networks --device cpu --batch 1          # full sizes take their time on a processor
    ./dyad benchmark networks --tiny                          # a few channels: does everything run?

Networks have their full size and random weights, inputs are random numbers. docs/network_speed.md says what is measured and how.
"""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.common import header, make_parser, names_among
from benchmarks.gpu.measure import Allowance, broken, device_of, idle_gpu, said
from benchmarks.networks import experts as networks_experts
from benchmarks.networks.experts import expert_rows, in_processor_time
from benchmarks.networks.measure import TASKS, WAYS, Speed, Task, Way, dtype_of, flops_an_item, measured, peak
from benchmarks.networks.subjects import ITEMS, Subject, subjects
from data.files import write_text
from modalities.face_networks.registry import network_table

GOALS: dict[tuple[str, Task], float] = {("s4d", "forward"): 0.45, ("s4d", "training step"): 0.35}
"""Shares of the peak that a network should reach on a GPU."""
EXPERTS = "moae"
MOST_OF_EXPERTS = 0.5
"""Seconds of each measurement of the experts at most; on GPUs there are twenty."""
HEADS = ("network", "items", "what", "type", "batch", "items/s", "GFLOP an item", "share of peak", "memory GB", "plain items/s",
         "ratio", "plain memory GB", "compiled items/s", "ratio", "compiled memory GB", "goals")  # fmt: skip


@dataclass(frozen=True)
class NetworkMeasured:
    """What was measured of a network; `same` names another row that is the same network."""

    subject: Subject
    task: Task
    dtype: torch.dtype = torch.float32
    flops: float = 0.0
    peak: float = 1.0
    ours: Speed = Speed()
    plain: Speed = Speed()
    compiled: Speed = Speed()
    same: str = ""
    on_gpu: bool = False

    @property
    def share(self) -> float:
        """Of the peak of the device, measured in the same run."""
        return self.ours.rate * self.flops / self.peak

    def cells(self) -> list[str]:
        """The row of the table."""
        named = [self.subject.row.name + (", tiny" if self.subject.tiny else ""), self.subject.said(), self.task]
        if self.same:
            return [*named, f"the same network as {self.same}", *[""] * (len(HEADS) - 4)]
        counted = [_number(self.flops / 1e9), f"{self.share:.1%}" if self.ours.rate else ""]
        own = [str(self.ours.batch or ""), _rate(self.ours), *counted, _memory(self.ours)]
        plain = [_rate(self.plain), _ratio(self.ours, self.plain), _memory(self.plain)]
        compiled = [_rate(self.compiled), _ratio(self.compiled, self.ours), _memory(self.compiled)]
        return [*named, str(self.dtype).removeprefix("torch."), *own, *plain, *compiled, self.goals()]

    def goals(self) -> str:
        """Whether the goal is reached; on GPUs and at full size alone."""
        goal = GOALS.get((self.subject.row.name, self.task))
        if goal is None:
            return ""
        if not self.on_gpu or self.subject.tiny:
            return "not judged"
        return f"≥ {goal:.0%} {'ok' if self.share >= goal else 'missed'}"


def _number(value: float) -> str:
    return f"{value:.4g}" if value else ""


def _rate(speed: Speed) -> str:
    return speed.trouble or _number(speed.rate)


def _memory(speed: Speed) -> str:
    return f"{speed.gigabytes:.3g}" if speed.rate else ""


def _ratio(faster: Speed, slower: Speed) -> str:
    return f"{faster.rate / slower.rate:.2f}" if faster.rate and slower.rate else ""


def rows(chosen: Sequence[Subject], options: argparse.Namespace, allowance: Allowance) -> Iterator[NetworkMeasured]:
    """Two rows a network and kind of items, until the time is used up."""
    same = [next((other.row.name for other in chosen[:number] if one.same_as(other)), "") for number, one in enumerate(chosen)]
    allowance.rows = len(TASKS) * same.count("")
    for subject, known in zip(chosen, same, strict=True):
        for task in TASKS:
            if known:
                yield NetworkMeasured(subject, task, same=known)
                continue
            yield row_or_why_not(subject, task, options, allowance)
            allowance.rows -= 1


def row_or_why_not(subject: Subject, task: Task, options: argparse.Namespace, allowance: Allowance) -> NetworkMeasured:
    """The row of a network; one that says why, where not even its operations can be counted or the device has failed."""
    try:
        if refused := broken(options.device):
            return NetworkMeasured(subject, task, ours=Speed(trouble=refused))
        return row_of(subject, task, options, allowance)
    except Exception as error:
        return NetworkMeasured(subject, task, ours=Speed(trouble=said(error)))


def row_of(subject: Subject, task: Task, options: argparse.Namespace, allowance: Allowance) -> NetworkMeasured:
    """A network's answers or training steps in all three ways."""
    device: str = options.device
    dtype, on_gpu = dtype_of(subject, task, "ours", device), device.startswith("cuda")
    sizes = options.batch or ([] if on_gpu else [2 if options.tiny else 1])
    if refused := allowance.refusal():
        return NetworkMeasured(subject, task, dtype, ours=Speed(trouble=refused))
    counted = sizes[0] if sizes else 1
    flops = flops_an_item(subject, task, counted)
    found: dict[Way, Speed] = {}
    for way in WAYS:
        if way not in options.ways:
            found[way] = Speed()
            continue
        own = [found["ours"].batch or 1] if way == "compiled" else sizes
        speed = peak(device, dtype_of(subject, task, way, device))
        refused = allowance.refusal(flops * (own[0] if own and way != "plain" else 1) / speed)
        refused = refused or (allowance.refusal_to_compile() if way == "compiled" else "")
        began, seconds = time.monotonic(), allowance.seconds(options.seconds)
        found[way] = Speed(trouble=refused) if refused else measured(subject, task, way, device, own, seconds)
        if way == "compiled" and not refused:
            allowance.compiling = max(allowance.compiling, time.monotonic() - began)
    if found["ours"].batch not in (0, counted):
        flops = flops_an_item(subject, task, found["ours"].batch)  # texts count once for a batch
    ours, plain, compiled = (found[way] for way in WAYS)
    return NetworkMeasured(subject, task, dtype, flops, peak(device, dtype), ours, plain, compiled, on_gpu=on_gpu)


def lines(device: str, tiny: bool) -> list[str]:
    """What stands before the tables."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"processor, {torch.get_num_threads()} threads"
    what = "Tiny sizes: these tables show that everything runs, and nothing about speed. " if tiny else "Full sizes. "
    clock = " Seconds are those of processor time." if in_processor_time(device) else ""
    return [
        f"{header()}; device {device} ({name})", "",
        f"{what}Weights are random. Plain: eager, float32, one item at a time, attention in three steps, a loop over experts. "
        f"Ratios: ours to plain, compiled to ours.{clock}", "",
    ]  # fmt: skip


class Report:
    """The lines of the report, printed and, if wished, written to a file as they come."""

    def __init__(self, out: Path | None) -> None:
        self.out, self.lines = out, list[str]()

    def add(self, *lines: str) -> None:
        """Further lines."""
        self.lines += lines
        print("\n".join(lines), flush=True)
        if self.out:
            write_text(self.out, "\n".join([*self.lines, ""]))

    def table(self, heads: Sequence[str]) -> None:
        """The head of a table."""
        self.add("| " + " | ".join(heads) + " |", "|" + "---|" * len(heads))

    def row(self, cells: Sequence[str]) -> None:
        """A row of a table."""
        self.add("| " + " | ".join(cells) + " |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, and write them to a file as they grow; 1 when a network failed for another reason than memory."""
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)  # what does not compile has a row that says so
    options = parsed(arguments)
    report, failed = Report(options.out), False
    if warning := idle_gpu(options.device):
        print(warning, file=sys.stderr)
    report.add(*lines(options.device, options.tiny))
    ends = time.monotonic() + options.limit
    if not options.only or EXPERTS in options.only:
        failed |= _or_say_why(report, "The experts", lambda: _write_experts(report, options))
    chosen = [one for one in subjects(options.tiny) if _wanted(one, options)]
    if chosen:
        report.table(HEADS)
    for row in rows(chosen, options, Allowance(ends, options.longest)):
        report.row(row.cells())
        failed |= any(speed.trouble.startswith("failed") for speed in (row.ours, row.plain))
    failed |= _or_say_why(report, "The peak", lambda: _write_peaks(report, options.device))
    return int(failed)


def _write_peaks(report: Report, device: str) -> None:
    used = [torch.float32, dtype_of(Subject(network_table().choose("s4d"), "clips"), "forward", "ours", device)]
    peaks = {str(dtype).removeprefix("torch."): peak(device, dtype) / 1e12 for dtype in used}
    report.add("", f"Measured matmul peak: {', '.join(f'{name} {value:.4g} TFLOP/s' for name, value in peaks.items())}.")


def _write_experts(report: Report, options: argparse.Namespace) -> None:
    report.table(networks_experts.HEADS)
    for row in expert_rows(options.device, options.tiny, min(options.seconds, MOST_OF_EXPERTS)):
        report.row(row.cells())
    report.add("")


def _or_say_why(report: Report, what: str, work: Callable[[], None]) -> bool:
    """True, and a line that says why, when the work failed."""
    try:
        work()
    except Exception as error:
        report.add("", f"{what}: {said(error)}", "")
        return True
    return False


def _wanted(subject: Subject, options: argparse.Namespace) -> bool:
    return (not options.only or subject.row.name in options.only) and subject.items in options.items


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = make_parser(__doc__)
    names = [*network_table().networks, EXPERTS]
    parser.add_argument("--device", type=device_of, default="auto", help="auto, cpu, cuda:0 or another number, mps")
    parser.add_argument("--tiny", action="store_true", help="a few channels instead of full sizes")
    parser.add_argument("--only", type=names_among(names, "network of the table"), default=[], metavar="NAME,...",
                        help=f"some of {', '.join(names)}")  # fmt: skip
    parser.add_argument("--items", type=names_among(ITEMS, "kind of items of the table"), default=list(ITEMS), metavar="KIND,...",
                        help=f"some of {', '.join(ITEMS)}")  # fmt: skip
    parser.add_argument("--ways", type=names_among(WAYS, "way of the table"), default=list(WAYS), metavar="WAY,...",
                        help="some of ours, plain, compiled: compiling takes minutes a network on a processor")  # fmt: skip
    parser.add_argument("--batch", type=_batch_size, default=[], metavar="N",
                        help="this batch size; without it 1, and on a GPU doubled until speed or memory end it")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=None, help="of each measurement (2; on a processor 1, tiny 0.05)")
    parser.add_argument("--limit", type=float, default=420.0, help="seconds after which no further measurement is begun")
    parser.add_argument("--longest", type=float, default=60.0,
                        help="leave out what takes longer than so many seconds even at the device's peak")  # fmt: skip
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file for the tables")
    options = parser.parse_args(arguments)
    options.seconds = options.seconds or (0.05 if options.tiny else 1.0 if options.device == "cpu" else 2.0)
    return options


def _batch_size(text: str) -> list[int]:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no batch size; give a whole number of 1 or more.")
    return [int(text)]


if __name__ == "__main__":
    sys.exit(main())
