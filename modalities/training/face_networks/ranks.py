"""Training on several devices of one machine: processes that torchrun starts, each with a part of every batch."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
LONGEST_WAIT = timedelta(hours=6)
"""How long a process waits for another one, which may be answering a large test part."""


@dataclass(frozen=True)
class Ranks:
    """This process among `count`; alone it is number 0 of 1, and nothing is sent."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """True for the process that writes files."""
        return self.number == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This process's part of a list, every `count`-th item."""
        return items[self.number :: self.count]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def add_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Sum the gradients [of each parameter] over all processes; one that has none gives zeros."""
        if self.count == 1:
            return
        for value in parameters:
            if value.grad is None:
                value.grad = torch.zeros_like(value)
            torch.distributed.all_reduce(value.grad)

    def take_buffers(self, network: torch.nn.Module) -> None:
        """Give every process the first one's running statistics."""
        for value in network.buffers() if self.count > 1 else ():
            torch.distributed.broadcast(value, 0)

    def gather(self, part: Sequence[Item], total: int) -> list[Item]:
        """The answers to a list of `total` items, of which each process has those of its `share`."""
        if self.count == 1:
            return list(part)
        parts: list[list[Item]] = [[] for _ in range(self.count)]
        torch.distributed.all_gather_object(parts, list(part))
        return [parts[index % self.count][index // self.count] for index in range(total)]

    def add_up(self, figures: dict[str, float]) -> dict[str, float]:
        """Figures by name, added up over all processes."""
        if self.count == 1:
            return figures
        parts: list[dict[str, float]] = [{} for _ in range(self.count)]
        torch.distributed.all_gather_object(parts, figures)
        return {name: sum(part.get(name, 0.0) for part in parts) for name in sorted({name for part in parts for name in part})}


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


def own_device(device: str) -> str:
    """The device of this process: with CUDA that of its number."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if started_by_torchrun() and device.startswith("cuda") else device


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started, by NCCL on CUDA and gloo elsewhere; alone where it did not start this one."""
    if not started_by_torchrun():
        yield Ranks()
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if cuda else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
