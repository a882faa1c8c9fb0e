"""Models in memory: loaded once, measured, and put aside where there is no room."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from flows.runtime.model_cache import GROUP_FILES, ModelCache, free_bytes, left_in_group, model_cache, storages_of


@dataclass(frozen=True)
class Weights:
    """A model of so many bytes."""

    network: torch.nn.Linear
    name: str = ""


def weights(megabytes: int) -> Weights:
    return Weights(torch.nn.Linear(1000, 250 * megabytes, bias=False))


def test_the_size_of_a_model_is_measured() -> None:
    model = weights(3)
    assert sum(storages_of(model).values()) == 3_000_000
    model.network.register_buffer("same", model.network.weight.data)
    assert sum(storages_of(model).values()) == 3_000_000, "one storage is counted once"


def test_what_two_models_share_counts_once() -> None:
    models, shared = ModelCache("cpu", room=100_000_000), weights(3)
    for name in "ab":
        models.get(name, lambda name=name: Weights(shared.network, name))  # type: ignore[misc]
    assert models.names() == ["a", "b"]
    assert models.size() == 3_000_000


def test_the_least_recently_used_model_makes_room() -> None:
    models = ModelCache("cpu", room=10_000_000)
    for name in "abc":
        models.get(name, lambda: weights(3))
    models.get("a", lambda: weights(3))
    models.get("d", lambda: weights(3))
    assert models.names() == ["c", "a", "d"]
    assert models.size() <= 10_000_000


def test_a_model_that_is_still_in_use_is_never_loaded_again() -> None:
    models, loaded = ModelCache("cpu", room=4_000_000), []

    def load() -> Weights:
        loaded.append(1)
        return weights(3)

    used = models.get("a", load)
    models.get("b", lambda: weights(3))
    assert models.names() == ["b"]
    assert models.get("a", load) is used
    del used
    models.get("b", lambda: weights(3))
    gc.collect()
    models.get("a", load)
    assert len(loaded) == 2, "nobody used it any more, so its memory was free"


def test_two_tasks_that_ask_at_once_load_once() -> None:
    models, loaded = ModelCache("cpu"), []

    def load() -> Weights:
        loaded.append(1)
        time.sleep(0.1)
        return weights(1)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: models.get("a", load), range(4)))
    assert len(loaded) == 1
    assert all(model is found[0] for model in found)


def test_a_load_without_memory_is_tried_again_with_everything_put_aside() -> None:
    models = ModelCache("cpu", room=10_000_000)
    models.get("a", lambda: weights(3))

    def load() -> Weights:
        if models.names():
            raise torch.OutOfMemoryError("out of memory")
        return weights(3)

    models.get("b", load)
    assert models.names() == ["b"]


def test_a_model_larger_than_the_room_is_still_used() -> None:
    models = ModelCache("cpu", room=1_000_000)
    assert models.get("a", lambda: weights(3)).network.weight.shape == (750, 1000)


def test_there_is_one_cache_a_device_and_it_knows_the_free_memory() -> None:
    assert model_cache("cpu") is model_cache("cpu")
    assert 0 < model_cache("cpu").room() < free_bytes("cpu") * 1.1 + model_cache("cpu").size()


@pytest.mark.parametrize("files", GROUP_FILES, ids=["v2", "v1"])
def test_files_that_can_be_dropped_are_free_memory_of_a_control_group(files: tuple[str, ...], tmp_path: Path) -> None:
    folder, limit, used, cached = tmp_path / files[0], *files[1:]
    folder.mkdir(exist_ok=True)
    (folder / used).write_text("900\n")
    (folder / "memory.stat").write_text(f"anon 250\n{cached} 600\nactive_file 50\n")
    assert left_in_group(tmp_path) == [], "no limit"
    for most, left in (("max", []), ("1000\n", [700])):
        (folder / limit).write_text(most)
        assert left_in_group(tmp_path) == left
