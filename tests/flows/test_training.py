"""`dyad train` of Dyad's own networks: each has something that trains it, and what is asked wrongly is a sentence."""

import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import training

Dyad = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("network", training.TRAINERS)
def test_every_network_has_a_trainer_that_takes_what_the_flow_gives(network: str) -> None:
    trainer = pkgutil.resolve_name(training.TRAINERS[network])
    inspect.signature(trainer).bind_partial(Path("data"), Path("weights"), seed=7, epochs=1, limit=10, report=print)


def test_a_folder_that_is_not_there_is_a_sentence(dyad: Dyad, prefect_session: None, tmp_path: Path) -> None:
    code, _, said = dyad("train", "voice", "--data", tmp_path / "none", "-o", tmp_path)
    assert code == 2
    assert f"There is no data folder {tmp_path / 'none'}; give it with --data." in " ".join(said.split())
