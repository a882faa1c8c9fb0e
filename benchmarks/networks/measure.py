"""How `benchmarks/networks/table.py` measures a network: as it is, in its plainest form, and compiled."""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.gpu import measure as gpu_measure
from benchmarks.gpu.measure import matmul_peak, said
from benchmarks.networks.experts import in_processor_time, median_seconds, mixed_by_loop, seconds_of
from benchmarks.networks.subjects import Run, Subject
from modalities.face_networks.parts.clip_face import ClipFaceNetwork
from modalities.face_networks.parts.experts import AdapterExperts
from modalities.loading.batching import free_memory
from modalities.loading.devices import precision_of

Way = Literal["ours", "plain", "compiled"]
Task = Literal["forward", "training step"]
WAYS: tuple[Way, ...] = ("ours", "plain", "compiled")
TASKS: tuple[Task, ...] = ("forward", "training step")
MOST = 1024
"""The largest batch that is tried on a GPU."""
SIDE = 1024
"""Of the product whose speed is a processor's peak."""
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler announces itself otherwise


@dataclass(frozen=True)
class Speed:
    """Items a second in batches of `batch`, and what memory held at most, in GB; `trouble` says why there is nothing."""

    rate: float = 0.0
    batch: int = 0
    gigabytes: float = 0.0
    trouble: str = ""


@cache
def peak(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product in this type, the best of rounds."""
    if not in_processor_time(device):
        return matmul_peak(device, dtype)
    left, right = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2.0 * SIDE**3 / min(seconds_of(device, lambda: torch.mm(left, right)) for _ in range(8))


@contextmanager
def plainly() -> Iterator[None]:
    """The plainest form of the same mathematics: attention as softmax(QK')V in three steps, experts in a loop."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    grouped, fast = AdapterExperts.mixed, torch.backends.mha.get_fastpath_enabled()
    AdapterExperts.mixed = mixed_by_loop  # type: ignore[method-assign, assignment]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        AdapterExperts.mixed = grouped  # type: ignore[method-assign]
        torch.backends.mha.set_fastpath_enabled(fast)


def dtype_of(subject: Subject, task: Task, way: Way, device: str) -> torch.dtype:
    """What the product computes in: its own precision (heads over features: float32, training on a processor too)."""
    if way == "plain" or not subject.face and task == "forward" or task == "training step" and device == "cpu":
        return torch.float32
    return precision_of(device)


def measured(subject: Subject, task: Task, way: Way, device: str, sizes: Sequence[int], seconds: float) -> Speed:
    """The speed of one way; out of memory, or any other error of this network alone, becomes its `trouble`."""
    try:
        if way != "plain":
            return _measured(subject, task, way, device, sizes, seconds)
        with plainly():
            return _measured(subject, task, way, device, [1], seconds)
    except Exception as error:
        return Speed(trouble=said(error))
    finally:
        if way == "compiled":
            torch._dynamo.reset()
        if not subject.tiny and not gpu_measure.broken(device):
            free_memory()


def _measured(subject: Subject, task: Task, way: Way, device: str, sizes: Sequence[int], seconds: float) -> Speed:
    torch.manual_seed(0)
    made = _answering if task == "forward" else _training
    run, held = made(subject, dtype_of(subject, task, way, device), device, way == "compiled")
    if way == "compiled":
        run(sizes[0])  # compiles
    if device.startswith("cuda"):
        return _on_gpu(run, device, sizes, seconds)
    (batch,) = sizes or [1]
    first, most = _allocated(run, batch)
    gigabytes = (held() + most) / 1e9
    took = first if first > 4 * seconds else median_seconds(device, lambda: run(batch), seconds)
    return Speed(batch / took, batch, gigabytes)


def _on_gpu(run: Run, device: str, sizes: Sequence[int], seconds: float) -> Speed:
    workload = gpu_measure.Workload(run, _of_so_many, [None], first=1, most=MOST)
    found = gpu_measure.sweep(workload, device, sizes, seconds)
    torch.cuda.reset_peak_memory_stats(device)
    run(found.size)
    return Speed(found.rate, found.size, torch.cuda.max_memory_allocated(device) / 1e9)


def _of_so_many(run: Run, items: list[None]) -> list[None]:
    run(len(items))
    return items


# ---- one pass ------------------------------------------------------------------------------------------------------------


def _answering(subject: Subject, dtype: torch.dtype, device: str, compiled: bool) -> tuple[Run, Callable[[], int]]:
    """A forward pass as a recogniser does it: weights in the type it computes in."""
    network = subject.build().to(device=device, dtype=dtype).eval().requires_grad_(False)
    inputs = _Kept(lambda count: subject.inputs(count, device, dtype))
    answer = _maybe_compiled(lambda given: subject.answer(network, given), compiled)
    if isinstance(network, ClipFaceNetwork):
        with torch.inference_mode():
            network.text_embeddings()  # remembered from now on, as in a run

    def run(count: int) -> None:
        with torch.inference_mode():
            answer(inputs(count))

    return run, lambda: _bytes(network, inputs.last)


def _training(subject: Subject, dtype: torch.dtype, device: str, compiled: bool) -> tuple[Run, Callable[[], int]]:
    """A step as the training does it: weights in float32, autocast, gradient clipped, the optimiser of the recipe."""
    network = subject.build().to(device).train()
    optimiser = subject.optimiser(network)
    trained = [value for group in optimiser.param_groups for value in group["params"]]
    inputs = _Kept(lambda count: (subject.inputs(count, device, torch.float32), subject.targets(count, device)))
    loss = _maybe_compiled(lambda given, targets: subject.loss(network, given, targets), compiled)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def run(count: int) -> None:
        with torch.autocast(device.partition(":")[0], dtype, enabled=dtype != torch.float32):
            found: Tensor = loss(*inputs(count))
        found.backward()  # type: ignore[no-untyped-call]
        step()

    for value in trained:
        value.grad = torch.zeros_like(value)
    step()  # the optimiser has its memory from now on
    return run, lambda: _bytes(network, inputs.last) + _bytes(optimiser.state)


def _maybe_compiled(function: Callable[..., Tensor], compiled: bool) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=False) if compiled else function


class _Kept:
    """Inputs of the last number of items that was asked for."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make, self.count, self.last = make, 0, None

    def __call__(self, count: int) -> Any:
        if count != self.count:
            self.last = None
            self.last, self.count = self.make(count), count
        return self.last


# ---- memory and operations -----------------------------------------------------------------------------------------------


def _bytes(*trees: Any) -> int:
    """Bytes of the tensors in modules, dictionaries and tuples, each storage counted once."""
    found: dict[int, int] = {}

    def look(tree: Any) -> None:
        if isinstance(tree, Tensor):
            storage = tree.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(tree, nn.Module):
            look((*tree.parameters(), *tree.buffers()))
        elif isinstance(tree, dict):
            look(tuple(tree.values()))
        elif isinstance(tree, tuple | list):
            for part in tree:
                look(part)

    look(trees)
    return sum(found.values())


def _allocated(run: Run, count: int) -> tuple[float, int]:
    """Seconds of a pass on the processor, and the bytes that torch had allocated for it at most, beside what was there before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        took = seconds_of("cpu", lambda: run(count))
    events: Any = seen.profiler
    changes = sorted((event.start_ns(), event.nbytes()) for event in events.kineto_results.events() if event.name() == "[memory]")
    held, most = 0, 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return took, most


def flops_an_item(subject: Subject, task: Task, count: int) -> float:
    """FLOP of matrix products, convolutions and attention for each of `count` items; nothing is computed or allocated.

    Recomputation by an attention kernel does not count; of convolutions, torch's own count overlooks groups in the gradient.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = subject.build()
    network.train(task != "forward")
    if task != "forward":
        subject.optimiser(network)  # says what is trained
    own = {torch.ops.aten._grouped_mm: _of_grouped, torch.ops.aten.convolution_backward: _of_convolutions_gradient}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation that is not counted, as is mkldnn's LSTM
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()), torch.backends.mkldnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(task != "forward"),
        ):  # fmt: skip
            _give_shapes(network)
            inputs, targets = subject.inputs(count, "cpu", torch.float32), subject.targets(count, "cpu")
            if task == "forward":
                subject.answer(network, inputs)  # embeddings of texts are remembered from now on
            with FlopCounterMode(display=False, custom_mapping=own) as counted:
                if task == "forward":
                    subject.answer(network, inputs)
                else:
                    subject.loss(network, inputs, targets).backward()  # type: ignore[no-untyped-call]
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counted.get_total_flops()) / count


def _give_shapes(network: nn.Module) -> None:
    """Parameters and buffers that have shapes and no values, on a processor in name."""
    for module in network.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                setattr(module, name, nn.Parameter(torch.empty(value.shape), requires_grad=value.requires_grad))
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)


def _of_grouped(left: Sequence[int], right: Sequence[int], *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Rows in groups [R, K] times [E, K, N]; or, for the gradient of the weights, [K, R] times [R, N] in groups."""
    return 2 * math.prod(left) * right[-1]


def _of_convolutions_gradient(
    gradient: Sequence[int], x: Sequence[int], weight: Sequence[int], *others: Any, out_shape: Any = None, **_: Any
) -> int:
    """As much as the convolution for each of the two gradients that are wanted."""
    wanted: Sequence[bool] = others[-1]
    return 2 * math.prod(gradient) * math.prod(weight[1:]) * sum(wanted[:2])
