"""How `benchmarks/gpu/run.py` measures: one network in batches, through its queue, and in the plain loop."""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch

from data.errors import InputError
from flows.runtime.batch_queue import batch_queue
from modalities.loading.batching import free_memory, in_batches, is_out_of_memory
from modalities.loading.devices import resolve_device
from modalities.static_face.network import IN_ONE

CLIPS = 4
"""Clips whose threads prepare items for the queue at the same time."""
RISE = 1.05
"""A batch twice as large must be faster by this factor, else the sweep ends."""


def as_it_is(model: Any, item: Any) -> Any:
    """For inputs that their clip's thread hands over as they are."""
    return item


@dataclass(frozen=True, eq=False)
class Workload:
    """A loaded model, the product's batch function for it, some inputs, and what the thread of a clip does with each of them.

    `first` and `most` are the batches with which the sweep begins and ends.
    """

    model: Any
    work: Callable[[Any, list[Any]], Sequence[Any]]
    inputs: Sequence[Any]
    prepare: Callable[[Any, Any], Any] = as_it_is
    first: int = 8
    most: int = 1024

    def items(self, number: int) -> Iterator[Any]:
        """`number` prepared items, the inputs over and over."""
        return (self.prepare(self.model, self.inputs[index % len(self.inputs)]) for index in range(number))


@dataclass(frozen=True)
class Batched:
    """The best batch of a sweep, items a second with it (the batch function alone), and whether memory ended the sweep."""

    size: int
    rate: float
    memory_ended: bool = False


MEASUREMENTS = 16
"""So many times the seconds of a measurement a row takes at most: a sweep, the queue or further ways, the plain loop."""


@dataclass
class Allowance:
    """How long a table may take: nothing begins after `ends` (`time.monotonic`), nothing that must take longer than `longest`
    seconds; the `rows` that are left share what is left, so that each of them is there."""

    ends: float
    longest: float = math.inf
    rows: int = 1
    compiling: float = 40.0

    def refusal(self, seconds: float = 0.0) -> str:
        """Why a measurement of at least so many seconds is left out; nothing if it is not."""
        if time.monotonic() > self.ends:
            return "left out: no time left (--limit)"
        return f"left out: {seconds:.0f} s at least (--longest)" if seconds > self.longest else ""

    def seconds(self, asked: float) -> float:
        """Of a measurement: as asked, or less where the rows that are left would not fit in."""
        return min(asked, max(self._share() / MEASUREMENTS, asked / 20))

    def refusal_to_compile(self) -> str:
        """Why a network is not compiled, which takes as long as the slowest did so far; nothing if it is."""
        spare = self.ends - time.monotonic() - self.compiling - KEPT * (self.rows - 1)
        return "" if spare > 0 else "left out: no time left to compile (--limit)"

    def _share(self) -> float:
        return max(self.ends - time.monotonic(), 0.0) / max(self.rows, 1)


DRIVER = Path("/proc/driver/nvidia/version")
"""What is there where the system has a driver of NVIDIA's."""
KEPT = 4.0
"""Seconds that are kept for each of the rows that are left when one is compiled: building, counting, short measurements."""


def said(error: BaseException) -> str:
    """What a cell of the table says of an error: its own first line, not those that a compiler wraps around it."""
    if is_out_of_memory(error):
        return "out of memory"
    inner = error.__cause__ or error.__context__
    if inner is not None:
        return said(inner)
    lines = str(error).strip().splitlines()
    return f"failed: {type(error).__name__}: {lines[0][:100] if lines else ''}".replace("|", "/")


def broken(device: str) -> str:
    """Why nothing more can run on a device: an error inside a kernel stays until the process ends; nothing where it is well."""
    try:
        synchronise(device)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0][:100]
        return f"left out: the device fails until the next start ({first})".replace("|", "/")
    return ""


def device_of(text: str) -> str:
    """For an option that names a device; one that is not there is an error of usage."""
    try:
        return resolve_device(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def idle_gpu(device: str) -> str:
    """A sentence where the machine has a GPU of NVIDIA's that this torch cannot use, and the processor stands in for it."""
    if device != "cpu" or not DRIVER.is_file():
        return ""
    why = "is built without CUDA" if torch.version.cuda is None else "finds no GPU that the driver lets it use"
    return f"This machine has a GPU, but torch {torch.__version__} {why}; docs/installation.md names others."


def synchronise(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def timed(device: str, run: Callable[[], object]) -> float:
    """Seconds of one call, the device's work included."""
    synchronise(device)
    began = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - began


def matmul_peak(device: str, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """FLOP/s of a large square matrix product of random numbers in a type, with torch's defaults: the best of rounds."""
    side = 8192 if device.startswith("cuda") else 1024
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    rounds = 10 if device.startswith("cuda") else 2

    def products() -> None:
        for _ in range(rounds):
            torch.mm(left, right)

    timed(device, products)
    found, ends = [timed(device, products)], time.perf_counter() + seconds
    while time.perf_counter() < ends:
        found.append(timed(device, products))
    return 2.0 * side**3 * rounds / min(found)


def flops_an_item(workload: Workload, number: int = 2) -> float:
    """FLOP an item of the matrix products, convolutions and attention that a batch runs, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    def rectified(x: Any, weight: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(conv_flop_count(list(x), list(weight), list(out_shape)))

    processors_own: dict[Any, Callable[..., int]] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    if IN_ONE:
        processors_own[torch.ops.mkldnn._convolution_pointwise] = rectified
    items = list(workload.items(number))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fast path of attention is one operation that is not counted
    try:
        with FlopCounterMode(display=False, custom_mapping=processors_own) as counted:
            workload.work(workload.model, items)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counted.get_total_flops()) / number


def sweep(workload: Workload, device: str, sizes: Sequence[int], seconds: float) -> Batched:
    """Double the batch from `workload.first` (or take `sizes`) until memory, speed or time (a batch of `seconds`) ends it.

    The error of memory is raised only when not even one item fits.
    """
    best, memory_ended = Batched(0, 0.0), False
    size = sizes[0] if sizes else workload.first
    for turn in count(1):
        try:
            took = _batch_seconds(workload, device, size, seconds)
        except Exception as error:
            if not is_out_of_memory(error) or size == 1:
                raise
            took, memory_ended = None, True
        if took is None:
            free_memory()
            if best.size:
                break
            size = max(size // 2, 1)
            continue
        rate, before = size / took, best
        best = Batched(size, rate) if rate > best.rate else best
        ended = turn == len(sizes) if sizes else rate < RISE * before.rate or took > 2 * seconds or 2 * size > workload.most
        if memory_ended or ended:
            break
        size = sizes[turn] if sizes else 2 * size
    return Batched(best.size, best.rate, memory_ended)


def _batch_seconds(workload: Workload, device: str, size: int, seconds: float) -> float:
    """Seconds of a batch of `size` prepared items: the median of a few, after one that does not count where that is quick."""
    kinds = list(workload.items(min(size, len(workload.inputs))))
    items = [kinds[index % len(kinds)] for index in range(size)]

    def run() -> None:
        workload.work(workload.model, items)

    found = [timed(device, run)]
    if found[0] > 4 * seconds:
        return found[0]
    found = [timed(device, run)]
    while sum(found) < seconds / 4 and len(found) < 9 or sum(found) < 2 * seconds and len(found) < 3:
        found.append(timed(device, run))
    return sorted(found)[len(found) // 2]


def through_queue(workload: Workload, device: str, batched: Batched, seconds: float) -> float:
    """Items a second of `CLIPS` clips that prepare their items in threads and share the batches of the device's queue."""
    batches = max(round(batched.rate * seconds / batched.size), 2)
    shares = [part for part in _shares(batches * batched.size) if part]

    def clip(number: int) -> None:
        for _ in batch_queue(device).batches(workload.work, workload.model, workload.items(number), batched.size):
            pass

    with ThreadPoolExecutor(len(shares)) as pool:
        took = timed(device, lambda: list(pool.map(clip, shares)))
    return sum(shares) / took


def _shares(number: int) -> list[int]:
    """`number` items shared out among the clips."""
    return [number // CLIPS + (index < number % CLIPS) for index in range(CLIPS)]


def let_go(device: str) -> None:
    """Have the queue run something else, since its thread holds the last model it has run, and give memory back."""
    for _ in batch_queue(device).batches(_nothing, None, [None], 1):
        pass
    free_memory()


def _nothing(model: None, items: list[None]) -> list[None]:
    return items


def plain_loop(workload: Workload, device: str, seconds: float) -> float:
    """Items a second when one thread prepares an item, waits for its answer, and goes on to the next."""
    for _ in in_batches(workload.work, workload.model, workload.items(1), 1):
        pass
    synchronise(device)
    began, done = time.perf_counter(), 0
    for _ in in_batches(workload.work, workload.model, workload.items(1_000_000), 1):
        done += 1
        if done >= 2 and time.perf_counter() - began > seconds:
            break
    return done / (time.perf_counter() - began)
