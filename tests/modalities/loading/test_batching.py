"""Batches and devices: order, laziness, halving when memory is too small, sentences for devices that are not there."""

from collections.abc import Iterator

import pytest
import torch

from data.errors import InputError
from modalities.loading.batching import in_batches, is_out_of_memory
from modalities.loading.devices import devices_here, precision_of, resolve_device


def doubled(memory: list[int], items: list[int]) -> list[int]:
    """A network that holds at most `memory[0]` items at once; notes the sizes of the batches that fitted."""
    if len(items) > memory[0]:
        raise torch.OutOfMemoryError(f"CUDA out of memory: {len(items)} items")
    memory.append(len(items))
    return [2 * item for item in items]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 40])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_answers_come_in_the_order_of_the_items(count: int, size: int) -> None:
    assert list(in_batches(doubled, [100], range(count), size)) == [2 * item for item in range(count)]


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost() -> None:
    memory = [3]
    assert list(in_batches(doubled, memory, range(10), 10)) == [2 * item for item in range(10)]
    assert max(memory[1:]) <= 3


@pytest.mark.slow
def test_one_item_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches(doubled, [0], range(4), 4))


def test_items_are_taken_only_when_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    answers = in_batches(doubled, [100], items(), 4)
    assert next(answers) == 0
    assert len(taken) == 4


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def broken(model: None, items: list[int]) -> list[int]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_batches(broken, None, range(4), 4))


def test_the_processor_says_so_when_memory_is_too_small() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)


def test_auto_is_a_device_that_is_there() -> None:
    assert resolve_device("auto") == devices_here()[0]
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("asked", ["cuda:17", "tpu", "nonsense", "cpu:3"])
def test_a_device_that_is_not_there_is_a_sentence(asked: str) -> None:
    with pytest.raises(InputError, match="device"):
        resolve_device(asked)


def test_the_precision_asked_for_is_given() -> None:
    assert precision_of("cpu", "float32") is torch.float32
    assert precision_of("cpu") in (torch.float32, torch.bfloat16)
