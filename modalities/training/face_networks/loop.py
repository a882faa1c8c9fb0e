"""The training loop of the face networks: steps that can be repeated exactly, and a state that outlives any kill."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modalities.face_networks.own_checkpoints import load_own, own_tensors
from modalities.face_networks.parts.base import FaceNetwork
from modalities.faces.crops import Pixels
from modalities.training.common import read_resume, write_resume
from modalities.training.face_networks.batches import BatchMaker, changed, epoch_order, mixed
from modalities.training.face_networks.corpus import FaceSample, views_in_order
from modalities.training.face_networks.ranks import Ranks
from modalities.training.face_networks.recipes import Recipe, make_optimiser, rate_factor

STILLS_A_CLIP = 2
"""Images in a batch of stills for each clip in one of clips, as S4D has it."""


@dataclass(frozen=True)
class AddedStills:
    """Images that are trained on along with clips, and what makes batches of them."""

    samples: Sequence[FaceSample]
    maker: BatchMaker


@dataclass(frozen=True)
class TrainingPlan:
    """All that a training is, but its state: samples, stages, batches, seed, precision; `total` steps in `per_epoch` of them.

    `about` names what a broken-off training must share to be gone on with; `resume` is its file, `best` that of the best weights;
    `ranks` are the processes that share every batch; `stills` are images that have steps of their own between those of clips.
    """

    samples: Sequence[FaceSample]
    recipes: tuple[Recipe, ...]
    maker: BatchMaker
    seed: int
    dtype: torch.dtype
    save_every: int
    resume: Path
    best: Path
    about: Mapping[str, object]
    ranks: Ranks = field(default_factory=Ranks)
    stills: AddedStills | None = None

    def steps(self, stage: int) -> int:
        """Steps of an epoch of a stage, those over stills included."""
        return sum(self.steps_apart(self.recipes[stage]))

    def steps_apart(self, recipe: Recipe) -> tuple[int, int]:
        """Steps of an epoch over the samples, and over the stills beside them."""
        own = -(-len(self.samples) // (recipe.batch * recipe.accumulate))
        return own, max(round(recipe.still_steps * own), int(recipe.still_steps > 0)) if self.stills else 0

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(recipe.epochs for recipe in self.recipes)


@dataclass
class TrainingState:
    """Where a training is: the next step of an epoch of a stage, and all that changes."""

    network: FaceNetwork
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: FaceNetwork | None
    stage: int = 0
    epoch: int = 0
    step: int = 0
    updates: int = 0
    best: float = -1.0
    losses: dict[str, float] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)

    @property
    def judged(self) -> FaceNetwork:
        """The network whose answers count: the averaged weights where there are any."""
        return self.network if self.average is None else self.average


Judge = Callable[[FaceNetwork], dict[str, float]]
"""Figures of a network on the part that the weights are chosen on; `uar` and `war` decide."""


def new_state(network: FaceNetwork, plan: TrainingPlan) -> TrainingState:
    """The beginning of a training."""
    optimiser = make_optimiser(network, plan.recipes[0])
    average = copy.deepcopy(network).eval() if plan.recipes[0].average else None
    return TrainingState(network, optimiser, torch.amp.GradScaler(enabled=plan.dtype == torch.float16), average)


def fit(network: FaceNetwork, plan: TrainingPlan, judge: Judge, after_epoch: Callable[[TrainingState], None]) -> TrainingState:
    """Train to the end, from where a broken-off training of the same plan was; the best weights lie in `plan.best` then.

    Random draws are those of the seed, the epoch and the step alone, so that a training that goes on ends as one that was never
    interrupted: on a processor to the last bit, on a GPU but for what its kernels sum in any order.
    """
    state = new_state(network, plan)
    _restore(state, plan)
    while state.stage < len(plan.recipes):
        _epoch(state, plan)
        _close_epoch(state, plan, judge)
        after_epoch(state)
    return state


def _epoch(state: TrainingState, plan: TrainingPlan) -> None:
    """The steps of an epoch that are still to be done."""
    recipe, total = plan.recipes[state.stage], plan.steps(state.stage)
    for batches in _batches_of_steps(state, plan, recipe):
        _step(state, plan, recipe, batches)
        state.step += 1
        if state.step < total and state.updates % plan.save_every == 0:
            save_state(state, plan)


class _Batch(NamedTuple):
    """The samples of a batch that are this process's, their frames, how many samples the whole batch has, what makes it, what is
    put before the names of its losses, and what a sample counts in an epoch's mean loss."""

    samples: Sequence[FaceSample]
    views: list[Pixels]
    whole: int
    maker: BatchMaker
    prefix: str = ""
    weight: float = 1.0


def _batches_of_steps(state: TrainingState, plan: TrainingPlan, recipe: Recipe) -> Iterator[list[_Batch]]:
    """For each remaining step its batches, read ahead; steps over stills lie at random between the others."""
    seen = _epochs_before(state, plan) + state.epoch
    turns = np.repeat([0, 1], plan.steps_apart(recipe))
    np.random.default_rng([plan.seed, seen, 2]).shuffle(turns)
    done = int((turns[: state.step] == 0).sum())
    parts = [_clip_batches(plan, recipe, seen, done), _still_batches(plan, recipe, seen, state.step - done)]
    for turn in turns[state.step :].tolist():
        yield list(islice(parts[turn], recipe.accumulate))


def _clip_batches(plan: TrainingPlan, recipe: Recipe, seen: int, done: int) -> Iterator[_Batch]:
    """The batches of an epoch after its first `done` steps."""
    order = epoch_order(_classes(plan.samples), recipe, plan.seed, seen)
    skipped = done * recipe.accumulate
    for samples, views, whole in _read_batches(plan, plan.samples, order, recipe.batch, skipped, plan.maker, (seen,)):
        yield _Batch(samples, views, whole, plan.maker)


def _still_batches(plan: TrainingPlan, recipe: Recipe, seen: int, done: int) -> Iterator[_Batch]:
    """The same of the stills, of which an epoch sees as many as its steps take, some of them or all several times."""
    if plan.stills is None:
        return
    classes, size = _classes(plan.stills.samples), STILLS_A_CLIP * recipe.batch
    count = plan.steps_apart(recipe)[1] * recipe.accumulate * size
    rounds = -(-count // len(classes))
    order = np.concatenate([epoch_order(classes, recipe, plan.seed + 1, seen * rounds + one) for one in range(rounds)])[:count]
    weight, skipped = len(plan.samples) / count, done * recipe.accumulate
    for samples, views, whole in _read_batches(plan, plan.stills.samples, order, size, skipped, plan.stills.maker, (seen, 1)):
        yield _Batch(samples, views, whole, plan.stills.maker, "stills_", weight)


def _read_batches(
    plan: TrainingPlan, samples: Sequence[FaceSample], order: NDArray[np.int64], size: int, skipped: int, maker: BatchMaker,
    seed: tuple[int, ...],
) -> Iterator[tuple[Sequence[FaceSample], list[Pixels], int]]:  # fmt: skip
    """Samples of this process with their frames, and the size of the whole batch, for each batch but the `skipped` first ones."""
    batches = [order[start : start + size].tolist() for start in range(0, len(order), size)][skipped:]
    own = [plan.ranks.share(numbers) for numbers in batches]
    views = views_in_order(samples, own, maker.reads, (plan.seed, *seed))
    for numbers, loaded, whole in zip(own, views, map(len, batches), strict=True):
        yield [samples[number] for number in numbers], loaded, whole


def _classes(samples: Sequence[FaceSample]) -> NDArray[np.int64]:
    return np.array([sample.label for sample in samples], np.int64)


def _epochs_before(state: TrainingState, plan: TrainingPlan) -> int:
    return sum(recipe.epochs for recipe in plan.recipes[: state.stage])


def _step(state: TrainingState, plan: TrainingPlan, recipe: Recipe, batches: Sequence[_Batch]) -> None:
    """One step of the optimiser over the mean loss of its batches."""
    draw = plan.ranks.number * 15_485_863 + state.updates  # processes draw apart; a step that is done again draws the same
    torch.manual_seed(plan.seed * 1_000_003 + draw)
    chance = torch.Generator(plan.maker.device).manual_seed(plan.seed * 7_919 + draw)
    count = sum(batch.whole for batch in batches)
    done = state.epoch * plan.steps(state.stage) + state.step
    factor = rate_factor(recipe, done, recipe.epochs * plan.steps(state.stage))
    for group in state.optimiser.param_groups:
        group["lr"] = group["full"] * factor
    state.network.train()
    for batch in batches:
        if not batch.samples:
            continue
        terms = _losses(state.network, plan, recipe, batch, chance)
        share = len(batch.samples) / count
        state.scaler.scale(torch.stack(list(terms.values())).sum() * share).backward()  # type: ignore[no-untyped-call]
        for name, value in terms.items():
            name = batch.prefix + name
            state.losses[name] = state.losses.get(name, 0.0) + float(value.detach()) * len(batch.samples) * batch.weight
    _update(state, plan.ranks, recipe)


def _losses(
    network: FaceNetwork, plan: TrainingPlan, recipe: Recipe, batch: _Batch, chance: torch.Generator
) -> dict[str, Tensor]:
    """The named terms of the loss for one batch, its samples changed and mixed as the recipe says."""
    maker = batch.maker
    drawn = maker.drawn(batch.samples, batch.views)
    inputs, shares = changed(maker.inputs(drawn), recipe, chance), maker.shares(drawn, recipe.smoothing)
    inputs, shares = mixed(inputs, shares, recipe.mixup, chance)
    with torch.autocast(maker.device.partition(":")[0], plan.dtype, enabled=plan.dtype != torch.float32):
        return network.loss(maker.normalised(inputs), shares)


def _update(state: TrainingState, ranks: Ranks, recipe: Recipe) -> None:
    """Clip the gradient, step, and let the average follow."""
    trained = [value for group in state.optimiser.param_groups for value in group["params"]]
    ranks.add_gradients(trained)
    state.scaler.unscale_(state.optimiser)
    torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.optimiser.zero_grad(set_to_none=True)
    state.updates += 1
    if state.average:
        follow(state.average, state.network, min(recipe.average, (1 + state.updates) / (10 + state.updates)))


@torch.no_grad()
def follow(average: FaceNetwork, network: FaceNetwork, decay: float) -> None:
    """Move averaged weights towards the network's: decay * average + (1 - decay) * network; statistics are copied."""
    for ours, theirs in zip(average.parameters(), network.parameters(), strict=True):
        ours.lerp_(theirs, 1 - decay)
    for kept, fresh in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(fresh)


def _close_epoch(state: TrainingState, plan: TrainingPlan, judge: Judge) -> None:
    """Judge, keep the best weights, note the figures, and go on to the next epoch or stage."""
    plan.ranks.take_buffers(state.network)
    plan.ranks.take_buffers(state.judged)
    figures = judge(state.judged)
    losses = plan.ranks.add_up(state.losses)
    terms = {f"loss_{name}": value / len(plan.samples) for name, value in losses.items()}
    rate = max(group["lr"] for group in state.optimiser.param_groups)
    row = {"epoch": float(len(state.curves) + 1), "stage": float(state.stage + 1), "loss": sum(terms.values()), **terms}
    state.curves.append(row | {"rate": rate} | figures)
    if (merit := figures["uar"] + figures["war"]) > state.best:
        state.best = merit
        if plan.ranks.first:
            _write_tensors(plan.best, own_tensors(state.judged))
    state.epoch, state.step, state.losses = state.epoch + 1, 0, {}
    if state.epoch == plan.recipes[state.stage].epochs:
        _next_stage(state, plan)
    save_state(state, plan)


def _next_stage(state: TrainingState, plan: TrainingPlan) -> None:
    """Go on to the next stage, which trains other parameters, where there is one."""
    state.stage, state.epoch = state.stage + 1, 0
    if state.stage < len(plan.recipes):
        state.optimiser = make_optimiser(state.network, plan.recipes[state.stage])


# ---- what outlives a kill ------------------------------------------------------------------------------------------------


def save_state(state: TrainingState, plan: TrainingPlan) -> None:
    """Write everything that `fit` needs to go on, whole or not at all; every process calls it, the first one writes."""
    losses = plan.ranks.add_up(state.losses)
    if not plan.ranks.first:
        return
    average = own_tensors(state.average) if state.average else {}
    write_resume(
        plan.resume, plan.about, optimiser=_on_cpu(state.optimiser.state_dict()), scaler=state.scaler.state_dict(),
        stage=state.stage, epoch=state.epoch, step=state.step, updates=state.updates, best=state.best, losses=losses,
        curves=state.curves, network=_on_cpu(own_tensors(state.network)), average=_on_cpu(average),
    )  # fmt: skip


def _on_cpu(tree: object) -> object:
    """The same dictionaries and lists with their tensors in the processor's memory, where any device can read them from."""
    if isinstance(tree, Tensor):
        return tree.cpu()
    if isinstance(tree, dict):
        return {key: _on_cpu(value) for key, value in tree.items()}
    return [_on_cpu(value) for value in tree] if isinstance(tree, list) else tree


def _restore(state: TrainingState, plan: TrainingPlan) -> None:
    """Go on from what an earlier run of the same plan left; without it, no best weights are left over either."""
    kept = read_resume(plan.resume, plan.about)
    plan.ranks.wait()  # nobody writes the file before all have read it
    if kept is None:
        plan.best.unlink(missing_ok=True)
        return
    state.stage = kept["stage"]
    if 0 < state.stage < len(plan.recipes):
        state.optimiser = make_optimiser(state.network, plan.recipes[state.stage])
    load_own(state.network, kept["network"], str(plan.resume))
    if state.average:
        load_own(state.average, kept["average"], str(plan.resume))
    if state.stage < len(plan.recipes):
        state.optimiser.load_state_dict(kept["optimiser"])
    state.scaler.load_state_dict(kept["scaler"])
    for name in ("epoch", "step", "updates", "best", "losses", "curves"):
        setattr(state, name, kept[name])
    state.losses = state.losses if plan.ranks.first else {}


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    from data.files import atomic_path

    with atomic_path(path) as aside:
        save_file({key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}, aside)


def read_best(network: FaceNetwork, plan: TrainingPlan) -> None:
    """Give the network the weights that were chosen."""
    from safetensors.torch import load_file

    plan.ranks.wait()
    load_own(network, load_file(plan.best), str(plan.best))
