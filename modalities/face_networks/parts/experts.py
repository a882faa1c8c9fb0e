"""MoAE: a sparse mixture of adapter experts beside the MLP of a transformer block (S4D, arXiv 2409.06154).

    a = W_g u + b_g,  s = softplus(W_n u + b_n),  noisy = a + eps * s with eps ~ N(0, 1) in training, eps = 0 otherwise
    G = softmax over the k largest entries of noisy;  MoAE(u) = sum over those i of G_i E_i(u),  E_i = up(GELU(down(u)))

Tokens are sorted by expert once, and each of the two linear maps of all experts is one grouped product.
"""

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from modalities.face_networks.parts.vit import VitMlp

Balance = Literal["probabilities", "logits"]
"""What the balance loss multiplies the load of an expert by: its mean softmax probability, as in the Switch transformer (arXiv
2101.03961), or its mean raw logit, as the S4D release has it, which has no lower bound."""


class ExpertShape(NamedTuple):
    """experts: their number E; chosen: k; ratio: width of an expert by that of its input.

    capacity: tokens an expert takes in training, in units of its even share `tokens * k / E`; what comes later in the batch gets
    nothing from it. None: all. capacity_always: also outside training, as the release does, so that what one clip is answered
    depends on the others in its batch.
    """

    experts: int = 8
    chosen: int = 2
    ratio: float = 0.25
    capacity: float | None = 1.0
    capacity_always: bool = False
    balance: Balance = "probabilities"


class Routing(NamedTuple):
    """For M tokens: the logits [M, E] with their noise, the experts chosen [M, k] and their weights [M, k]."""

    logits: Tensor
    chosen: Tensor
    weights: Tensor


class Router(nn.Module):
    """Says which experts see a token. In float32 always: rounding must not change the choice."""

    def __init__(self, width: int, shape: ExpertShape) -> None:
        super().__init__()
        self.k = shape.chosen
        self.topkroute_linear = nn.Linear(width, shape.experts)
        self.noise_linear = nn.Linear(width, shape.experts)

    def forward(self, u: Tensor, noise: Tensor | None = None) -> Routing:
        """u [M, width]; `noise` [M, E] replaces what training draws."""
        with torch.autocast(u.device.type, enabled=False):
            exact = u.float()
            logits = _linear_in_float32(exact, self.topkroute_linear)
            if noise is None and self.training:
                noise = torch.randn_like(logits)
            if noise is not None:
                logits = logits + noise * F.softplus(_linear_in_float32(exact, self.noise_linear))
            largest, chosen = logits.topk(self.k, dim=1)
            return Routing(logits, chosen, largest.softmax(1))


class AdapterExperts(nn.Module):
    """The mixture: router and experts, whose parameters lie one by one as in the release's checkpoints."""

    def __init__(self, width: int, shape: ExpertShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or ExpertShape()
        self.router = Router(width, shape)
        self.experts = nn.ModuleList(VitMlp(width, int(width * shape.ratio)) for _ in range(shape.experts))

    def forward(self, u: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """u [B, N, width] -> what the experts add, the same shape, and the balance loss []."""
        tokens = u.flatten(0, 1)
        routing = self.router(tokens, None if noise is None else noise.flatten(0, 1))
        mixed = self.mixed(tokens, routing).view_as(u)
        return mixed, balance_loss(routing, u.shape[0], self.shape.balance)

    def mixed(self, tokens: Tensor, routing: Routing) -> Tensor:
        """[M, width] -> the weighted answers of each token's experts [M, width]."""
        k, experts = self.shape.chosen, self.shape.experts
        owner = routing.chosen.flatten()
        expert, order = owner.sort(stable=True)
        own = expert[:, None] == torch.arange(experts, device=owner.device)
        counts = own.sum(0)
        ends = counts.cumsum(0)
        slots = torch.arange(len(owner), device=owner.device)
        back = torch.empty_like(order).scatter_(0, order, slots).view(-1, k)
        weights = routing.weights
        if self.shape.capacity is not None and (self.training or self.shape.capacity_always):
            most = int(len(owner) / experts * self.shape.capacity)
            weights = weights * (slots - (ends - counts)[expert] < most)[back]
        sorted_tokens: Tensor = _SpreadToExperts.apply(tokens.to(_matmul_dtype(tokens)), order // k, back)  # type: ignore[no-untyped-call]
        seen, bias = self._grouped(sorted_tokens, weights.flatten().gather(0, order), own, ends.to(torch.int32))
        mixed: Tensor = _GatherFromExperts.apply(seen, order // k, back)  # type: ignore[no-untyped-call]
        shares = torch.zeros_like(routing.logits).scatter(1, routing.chosen, weights)
        return torch.addmm(mixed, shares.to(mixed.dtype), bias)

    def _grouped(self, sorted_tokens: Tensor, weights: Tensor, own: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens in the order of their experts [R, width] through all experts, and the last bias [E, width], still to be added.

        `weights` [R] scale the answers while they are narrow; `own` [R, E] says whose a row is, `ends` [E] where an expert's end.
        """
        dtype = sorted_tokens.dtype
        parts = zip(*map(_weights_and_biases, self.experts), strict=True)
        down, down_bias, up, up_bias = (torch.stack(each).to(dtype) for each in parts)
        hidden = F.gelu(torch.addmm(_grouped_linear(sorted_tokens, down, ends), own.to(dtype), down_bias))
        return _grouped_linear(hidden * weights[:, None].to(dtype), up, ends), up_bias


class _Context(Protocol):
    """What autograd keeps of a forward pass for the backward one."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _SpreadToExperts(torch.autograd.Function):
    """Rows [M, width] to the slots of their experts [M k, width]: slot i takes row `source[i]`, row m stands in `back[m]` [k].

    Its gradient is the sum that `_GatherFromExperts` makes, and the other way round: sums in a fixed order, so no chance on a
    GPU, and no scattering, which is slow on every device.
    """

    @staticmethod
    def forward(ctx: _Context, rows: Tensor, source: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(source, back)
        return rows.index_select(0, source)

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None, None]:
        source, back = ctx.saved_tensors
        return _sum_slots(gradient, back), None, None


class _GatherFromExperts(torch.autograd.Function):
    """The sum of each row's k slots [M k, width] -> [M, width]; see `_SpreadToExperts`."""

    @staticmethod
    def forward(ctx: _Context, slots: Tensor, source: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(source)
        return _sum_slots(slots, back)

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None, None]:
        (source,) = ctx.saved_tensors
        return gradient.index_select(0, source), None, None


def _sum_slots(slots: Tensor, back: Tensor) -> Tensor:
    """Slots [R, width] added up where `back` [M, k] says: [M, width]."""
    if slots.device.type in ("cpu", "cuda"):
        return F.embedding_bag(back, slots, mode="sum")
    return slots[back].sum(1)


def balance_loss(routing: Routing, batch: int, kind: Balance) -> Tensor:
    """`E^2 mean_i(f_i m_i)`, averaged over the clips of the batch: f_i is the share of a clip's tokens whose k experts hold i,
    m_i the mean probability (or raw logit) of i over its tokens."""
    experts = routing.logits.shape[1]
    held = (routing.chosen[..., None] == torch.arange(experts, device=routing.chosen.device)).any(1).to(routing.logits.dtype)
    wanted = routing.logits.softmax(1) if kind == "probabilities" else routing.logits
    shares, means = (values.view(batch, -1, experts).mean(1) for values in (held, wanted))
    return (shares * means).mean() * experts**2


def _linear_in_float32(x: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(x, layer.weight.float(), layer.bias.float())


def _weights_and_biases(expert: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    assert isinstance(expert, VitMlp)
    return expert.fc1.weight, expert.fc1.bias, expert.fc2.weight, expert.fc2.bias


def _matmul_dtype(x: Tensor) -> torch.dtype:
    """The dtype that autocast, which does not know grouped products, would choose."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _grouped_linear(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """x [R, in] in groups of rows that end at `ends` [E], each times its own of `weights` [E, out, in] -> [R, out]."""
    whole = not any(width * x.element_size() % 16 for width in weights.shape[1:])  # torch's kernels want rows of whole 16 bytes
    if not whole or x.device.type not in ("cpu", "cuda"):
        groups = x.tensor_split(ends[:-1].long().cpu())
        return torch.cat([group @ weight.T for group, weight in zip(groups, weights, strict=True)])
    product: Tensor = F.grouped_mm(x, weights.transpose(1, 2), offs=ends)
    return product
