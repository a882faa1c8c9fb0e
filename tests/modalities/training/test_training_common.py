"""What every training shares: the state that it goes on from, the running mean of weights, the temperature."""

from pathlib import Path

import pytest
import torch
from torch import nn

from data.errors import WeightsError
from modalities.training.common import best_temperature, follow, read_resume, write_resume


def test_a_training_goes_on_from_its_own_state_alone(tmp_path: Path) -> None:
    path, about = tmp_path / "resume.pt", {"seed": 7, "epochs": 3}
    assert read_resume(path, about) is None
    write_resume(path, about, epoch=2, network={"weight": torch.ones(3)})
    state = read_resume(path, about)
    assert state is not None
    assert state["epoch"] == 2
    assert state["network"]["weight"].tolist() == [1.0, 1.0, 1.0]
    write_resume(path, about, **state)  # what was read can be written again
    assert read_resume(path, about) is not None
    assert read_resume(path, about | {"seed": 8}) is None, "another training starts anew"


def test_a_damaged_state_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    path.write_bytes(b"not a state")
    with pytest.raises(WeightsError, match=r"resume\.pt cannot be continued from .* remove it"):
        read_resume(path, {})


def test_the_running_mean_follows_weights_and_statistics_and_copies_counts() -> None:
    network, average = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(10.0)
        network.num_batches_tracked.fill_(5)
    follow(average, network, decay=0.75)
    assert average.weight.tolist() == [1.5, 1.5]  # 0.75 * 1 + 0.25 * 3
    assert average.running_mean.tolist() == [2.5, 2.5]
    assert average.num_batches_tracked.item() == 5


def test_the_temperature_makes_confidence_what_accuracy_is() -> None:
    """Three of four answers are right: the best temperature gives the chosen class a probability of 3/4."""
    logits = torch.tensor([[8.0, 0.0]]).repeat(4, 1)
    grid = [float(value) for value in torch.linspace(0.5, 16.0, 400)]
    for targets in (torch.tensor([0, 0, 0, 1]), torch.tensor([[0.75, 0.25]]).repeat(4, 1)):
        found = best_temperature(logits, targets, grid)
        assert torch.softmax(logits[0] / found, 0)[0].item() == pytest.approx(0.75, abs=0.01)
