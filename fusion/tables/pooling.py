"""Ways to pool M distributions over C classes into one, for any pattern of present models.

Each takes `logs` [N, M, C] (calibrated log-probabilities, 0 where absent) and `present` [N, M] (0 or 1) and answers
unnormalised log-scores [N, C]; `log_softmax` of them is the fused answer. Parameters are arrays by name, as `weights.json`
shows them. An absent model has no influence: its share goes to the present ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Parameters = Mapping[str, "Tensor"]
FEATURES = ("confidence", "entropy", "agreement", "present", "quality")
"""What a conditional gate sees of a model: its highest probability, its entropy (of ln C), how much it agrees with the mean
of the present models, the share of the models that are present, and the quality of what it judged (size of a face, share of
speech, ..., standardised; 0 where unknown)."""
HEADS = 2
Axes = tuple[str, ...]


@dataclass(frozen=True)
class Pooling:
    """A way to pool: the axes of each parameter, the scores, and the penalty that is 0 where all models count alike.

    `learned` is 'likelihood' where training minimises the log loss, 'search' for a random search, '' for no training. With
    `shrinks_to` another way is fitted first, and only the parameters that it lacks are then learned, from 0.
    """

    describe: str
    axes: Mapping[str, Axes]
    scores: Callable[..., "Tensor"]
    penalty: Callable[[Parameters], "Tensor"]
    learned: str = "likelihood"
    shrinks_to: str = ""

    def answer(self, values: Parameters, logs: "Tensor", present: "Tensor", quality: "Tensor") -> "Tensor":
        """The scores [N, C]; `quality` [N, M] is for those ways that see it."""
        return self.scores(values, logs, present, quality) if "gate" in self.axes else self.scores(values, logs, present)


def _mean(_: Parameters, logs: "Tensor", present: "Tensor") -> "Tensor":
    return (logs.exp() * present[..., None]).sum(1).clamp_min(1e-12).log()


def _product(_: Parameters, logs: "Tensor", present: "Tensor") -> "Tensor":
    return (logs * present[..., None]).sum(1)


def _weighted(values: Parameters, logs: "Tensor", present: "Tensor") -> "Tensor":
    shares = values["weight"].expand_as(present).masked_fill(present == 0, -1e9).softmax(1) * present
    sharpness = values["sharpness"][(present.sum(1).long() - 1).clamp_min(0)]
    return sharpness[:, None] * (logs * shares[..., None]).sum(1)


def _mixed(shares: "Tensor", logs: "Tensor", present: "Tensor") -> "Tensor":
    """Log of the sum over models of shares [N or 1, M, C], already of the present ones, times probabilities."""
    return (shares * logs.exp() * present[..., None]).sum(1).clamp_min(1e-12).log()


def _dirichlet(values: Parameters, logs: "Tensor", present: "Tensor") -> "Tensor":
    shares = values["share"] * present[..., None]
    return _mixed(shares / shares.sum(1, keepdim=True).clamp_min(1e-12), logs, present)


def _shares(values: Parameters, scores: "Tensor", present: "Tensor") -> "Tensor":
    """Softmax of head scores [N, H, M, C] over the present models, mixed over the heads: [N, M, C]."""
    kept = scores.masked_fill(present[:, None, :, None] == 0, -1e9).softmax(2)
    mixed: Tensor = (values["head"].softmax(0)[:, None, None] * kept).sum(1)
    return mixed


def _mhpf(values: Parameters, logs: "Tensor", present: "Tensor") -> "Tensor":
    return _mixed(_shares(values, values["weight"][None], present), logs, present)


def _conditional(values: Parameters, logs: "Tensor", present: "Tensor", quality: "Tensor") -> "Tensor":
    gates = (features_of(logs, present, quality) * values["gate"]).sum(-1)
    return _mixed(_shares(values, values["weight"][None] + gates[:, None, :, None], present), logs, present)


def features_of(logs: "Tensor", present: "Tensor", quality: "Tensor") -> "Tensor":
    """What the gates see, [N, M, 5] in the order of `FEATURES`, each about 0 to 1, but `quality` [N, M] about -1 to 1."""
    import math

    import torch

    probabilities, count = logs.exp() * present[..., None], present.sum(1, keepdim=True).clamp_min(1)
    consensus = probabilities.sum(1, keepdim=True) / count[..., None]
    entropy = -(probabilities * logs).sum(2) / math.log(logs.shape[2])
    agreement = (probabilities * consensus).sum(2)
    known = (count / present.shape[1]).expand_as(entropy)
    return torch.stack([probabilities.amax(2), entropy, agreement, known, quality * present], -1)


def _stacked(values: Parameters, logs: "Tensor", present: "Tensor") -> "Tensor":
    import torch

    centred = (logs - logs.mean(2, keepdim=True)) * present[..., None]
    return torch.einsum("nmc,mcd->nd", centred, values["coefficient"]) + present @ values["offset"] + values["bias"]


def _nothing(values: Parameters) -> "Tensor":
    import torch

    return torch.zeros(())


def _unequal(values: Parameters) -> "Tensor":
    """Squares of the scores before the softmax, and of how much the sharpness differs from that of the plain product."""
    import torch

    counts = torch.arange(1, len(values["sharpness"]) + 1)
    return (values["weight"] ** 2).sum() + ((values["sharpness"] / counts - 1) ** 2).sum()


def _squares(values: Parameters) -> "Tensor":
    """Sum of squares: of softmax scores, 0 is an equal share of each model."""
    import torch

    return torch.stack([(value**2).sum() for value in values.values()]).sum()


POOLINGS: dict[str, Pooling] = {
    "mean": Pooling("mean of the probabilities", {}, _mean, _nothing, ""),
    "product": Pooling("product of the probabilities (log-linear pooling)", {}, _product, _nothing, ""),
    "weighted_product": Pooling(
        "product with an exponent for each model (weighted log-linear pooling): its share among the present ones, by the "
        "softmax of `weight`, times the `sharpness` for so many present",
        {"weight": ("model",), "sharpness": ("count",)}, _weighted, _unequal,
    ),
    "dirichlet": Pooling(
        "mean with the best of many Dirichlet draws of each class's weights (AVCER)",
        {"share": ("model", "class")}, _dirichlet, _nothing, "search",
    ),
    "stacking": Pooling(
        "logistic regression on all log-probabilities",
        {"coefficient": ("model", "class", "class"), "offset": ("model", "class"), "bias": ("class",)}, _stacked, _squares,
    ),
    "mhpf": Pooling(
        "mean with weights for each model and class (MHPF)",
        {"weight": ("head", "model", "class"), "head": ("head",)}, _mhpf, _squares,
    ),
    "conditional_mhpf": Pooling(
        "MHPF whose weights see each model's confidence, entropy, agreement, presence and quality",
        {"weight": ("head", "model", "class"), "head": ("head",), "gate": ("model", "feature")}, _conditional, _squares,
        shrinks_to="mhpf",
    ),
}  # fmt: skip
