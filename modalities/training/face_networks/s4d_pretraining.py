"""S4D's masked pre-training on corpora of faces, images and clips alike, without labels: `dyad train s4d-pretraining`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.errors import InputError, WeightsError
from data.files import digest, file_digest
from data.location import Location
from data.precision import Precision
from modalities.face_networks.papers.s4d_pretraining import (
    IMAGE_MASK,
    VIDEO_MASK,
    MaskedPretraining,
    PretrainingShape,
    random_mask,
)
from modalities.face_networks.registry import NetworkInput, network_table
from modalities.face_networks.views import IMAGE_SUFFIXES, read_views
from modalities.faces.crops import Pixels
from modalities.loading.checkpoint import Card, save_checkpoint
from modalities.loading.devices import precision_of
from modalities.loading.side_by_side import read_ahead
from modalities.loading.state_dicts import JsonObject, read_state_dict
from modalities.training.common import Progress, Report, command_line, read_resume, silent, write_resume
from modalities.training.face_networks.corpus import usable_rows, without_time
from modalities.training.face_networks.ranks import Ranks, joined, own_device
from modalities.training.face_networks.recipes import Recipe, rate_factor
from modalities.training.face_networks.train import Files, files_named, write_curves
from modalities.training.faces.stills import warp

NAME = "s4d-pretraining"
RATE = 1.6e-3
"""Of a batch of 512; it falls and rises with the batch."""
HELD_OUT = 0.05
"""Share of the samples, at most `MOST_HELD_OUT` of each kind, whose loss is told and that are never learned from."""
MOST_HELD_OUT = 256
Kind = Literal["pictures", "clips"]
SHARES: Mapping[Kind, float] = {"pictures": IMAGE_MASK, "clips": VIDEO_MASK}


@dataclass(frozen=True)
class PretrainingOptions:
    """What a pre-training can be told beside its corpora and its folder.

    roots: the folders that the paths of each manifest start from (none: the manifests' own); fold: rows that this official fold
    tests are left out; settings: changes of the sizes (fields of `PretrainingShape`); start: weights to start from; batch: clips
    or images in a step; rate: of a step of this batch (0: what S4D's release takes for it); save_every: steps between two
    states that a pre-training can go on from.
    """

    roots: tuple[Path, ...] = ()
    fold: int | None = None
    settings: JsonObject = field(default_factory=dict)
    start: Path | None = None
    batch: int = 32
    rate: float = 0.0
    device: str = "cpu"
    precision: Precision = "auto"
    save_every: int = 200


class Samples(NamedTuple):
    """Paths of images and of clips."""

    pictures: tuple[str, ...]
    clips: tuple[str, ...]

    def of(self, kind: Kind) -> tuple[str, ...]:
        """Those of one kind."""
        return self.pictures if kind == "pictures" else self.clips


@dataclass(frozen=True)
class PretrainingPlan:
    """All that a pre-training is, but its state."""

    fit: Samples
    held_out: Samples
    reads: NetworkInput
    recipe: Recipe
    seed: int
    dtype: torch.dtype
    options: PretrainingOptions
    files: Files
    about: Mapping[str, object]
    ranks: Ranks

    @property
    def steps(self) -> int:
        """Steps of an epoch, each of one kind."""
        return sum(-(-len(part) // self.options.batch) for part in self.fit)


@dataclass
class PretrainingState:
    """Where a pre-training is."""

    network: MaskedPretraining
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)


def read_samples(
    manifests: Sequence[Path], roots: Sequence[Path] = (), fold: int | None = None, limit: int | None = None, seed: int = 7
) -> Samples:
    """The images and clips of manifests but those that are tested (split test, or the fold given), each path once.

    InputError when a manifest cannot be used, or has official folds and none is given: its test faces would be learned from.
    """
    if roots and len(roots) != len(manifests):
        raise InputError(f"Give a root for each of the {len(manifests)} corpora, or none.")
    found: dict[str, None] = {}
    for number, manifest in enumerate(manifests):
        table, root, _ = usable_rows(manifest, roots[number] if roots else None)
        folds = sorted({int(one[1]) for split in set(table["split"]) if (one := re.fullmatch(r"fold(\d+)", split))})
        if folds and fold not in folds:
            known = ", ".join(map(str, folds))
            raise InputError(f"{manifest} has the folds {known}; name the one that is tested later (--fold).")
        kept = table.loc[~table["split"].isin(["test", f"fold{fold}"]), "path"]
        found |= dict.fromkeys(str(Location(root) / path) for path in kept)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(found))[:limit])
    paths = [list(found)[index] for index in drawn]
    stills = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
    return Samples(tuple(stills), tuple(path for path in paths if not path.lower().endswith(IMAGE_SUFFIXES)))


def pretrain(
    corpora: Sequence[Path], output: Path, *, seed: int = 7, epochs: int = 100, limit: int | None = None,
    options: PretrainingOptions | None = None, report: Report = silent,
) -> Card:  # fmt: skip
    """Pre-train S4D's trunk on the faces of manifests; write s4d-pretraining.safetensors, card and curves into `output`.

    `dyad train ... --network s4d --start s4d-pretraining.safetensors` fills the trunk with it. A broken-off pre-training goes on
    where it was when it is started again with the same arguments. InputError for corpora or arguments that do not fit.
    """
    given = options or PretrainingOptions()
    given = replace(given, device=own_device(given.device))
    with joined(given.device) as ranks:
        return _pretrain(corpora, output, seed, epochs, limit, given, report, ranks)


def _pretrain(
    corpora: Sequence[Path], output: Path, seed: int, epochs: int, limit: int | None, options: PretrainingOptions,
    report: Report, ranks: Ranks,
) -> Card:  # fmt: skip
    network = new_network(options, seed)
    plan = _make_plan(corpora, output, seed, epochs, limit, options, ranks, network.shape)
    output.mkdir(parents=True, exist_ok=True)
    state = PretrainingState(network, _optimiser(network, plan.recipe), torch.amp.GradScaler(enabled=plan.dtype == torch.float16))
    _restore(state, plan)
    while state.epoch < epochs:
        _epoch(state, plan)
        _close_epoch(state, plan)
        if ranks.first:
            write_curves(plan.files, state.curves)
            report(Progress(state.epoch, epochs, {name: value for name, value in state.curves[-1].items() if name != "epoch"}))
    card = _make_card(plan, state, corpora, limit)
    ranks.wait()
    if ranks.first:
        about = {"name": NAME, "settings": network.shape._asdict()}
        save_checkpoint(plan.files.weights, network.state_dict(), {}, about)
        card.write(plan.files.card)
        plan.files.resume.unlink(missing_ok=True)
    return card


def new_network(options: PretrainingOptions, seed: int) -> MaskedPretraining:
    """Encoder and decoder before the first step, on their device; what fits of the weights to start from is loaded."""
    torch.manual_seed(seed)
    try:
        network = MaskedPretraining(PretrainingShape(**options.settings))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"S4D's pre-training cannot be built with these settings ({error}).") from error
    if options.start is not None:
        own = network.state_dict()
        given = {re.sub(r"^network\.", "", key): value for key, value in read_state_dict(options.start).items()}
        named = {key if key in own else f"encoder.{key}": value for key, value in given.items()}
        fitting = {key: value for key, value in named.items() if key in own and own[key].shape == value.shape}
        if not any(key.startswith("encoder.") for key in fitting):
            raise WeightsError(f"{options.start} has no tensor of S4D's trunk; give a ViT of it or leave --start out.")
        network.load_state_dict(fitting, strict=False)
    return network.to(options.device)


def _make_plan(
    corpora: Sequence[Path], output: Path, seed: int, epochs: int, limit: int | None, options: PretrainingOptions, ranks: Ranks,
    shape: PretrainingShape,
) -> PretrainingPlan:  # fmt: skip
    samples = read_samples(corpora, options.roots, options.fold, limit, seed)
    fit, held_out = _hold_out(samples, seed)
    if not any(fit):
        raise InputError(f"{', '.join(map(str, corpora))}: there are no faces to learn from, but those that are tested.")
    reads = replace(network_table().choose("s4d").input, size=shape.size, frames=shape.frames, views=1)
    rate = options.rate or RATE * options.batch / 512
    cpu = options.device == "cpu" and options.precision == "auto"
    dtype = torch.float32 if cpu else precision_of(options.device, options.precision)
    about = {
        "name": NAME, "manifests": [file_digest(one) for one in corpora], "seed": seed, "epochs": epochs, "limit": limit or 0,
        "shape": list(shape), "fold": options.fold or 0, "batch": options.batch, "rate": rate, "start": digest(options.start),
        "dtype": str(dtype), "device": options.device.partition(":")[0], "ranks": ranks.count,
    }  # fmt: skip
    recipe = Recipe(epochs=epochs, batch=options.batch, rate=rate, weight_decay=0.05, warmup=0.05)
    return PretrainingPlan(fit, held_out, reads, recipe, seed, dtype, options, files_named(output, NAME), about, ranks)


def _hold_out(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Samples to learn from, and those that are held out: none of a kind of which there are fewer than 20."""
    parts: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for paths in samples:
        count = min(int(len(paths) * HELD_OUT), MOST_HELD_OUT)
        out = set(np.random.default_rng([seed, 1]).permutation(len(paths))[:count].tolist())
        fit = tuple(path for index, path in enumerate(paths) if index not in out)
        parts.append((fit, tuple(path for index, path in enumerate(paths) if index in out)))
    return Samples(parts[0][0], parts[1][0]), Samples(parts[0][1], parts[1][1])


def _optimiser(network: MaskedPretraining, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices alone, as VideoMAE is trained."""
    named = [value for value in network.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in named if (value.ndim > 1) == big], "weight_decay": recipe.weight_decay * big}
        for big in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.95))


# ---- steps ---------------------------------------------------------------------------------------------------------------


Batch = tuple[Kind, list[int]]


def epoch_batches(fit: Samples, batch: int, seed: int, epoch: int) -> list[Batch]:
    """The batches of an epoch, each of images or of clips alone, in a random order."""
    chance = np.random.default_rng([seed, epoch])
    batches: list[Batch] = []
    for kind in SHARES:
        order = chance.permutation(len(fit.of(kind))).tolist()
        batches += [(kind, order[start : start + batch]) for start in range(0, len(order), batch)]
    return [batches[index] for index in chance.permutation(len(batches)).tolist()]


def _epoch(state: PretrainingState, plan: PretrainingPlan) -> None:
    """The steps of an epoch that are still to be done."""
    batches = epoch_batches(plan.fit, plan.options.batch, plan.seed, state.epoch)[state.step :]
    own = [(kind, list(plan.ranks.share(numbers))) for kind, numbers in batches]
    for (kind, numbers), pixels in zip(batches, _read_batches(plan.fit, own, plan.reads, (plan.seed, state.epoch)), strict=True):
        _step(state, plan, kind, pixels, len(numbers))
        state.step += 1
        if state.step < plan.steps and state.step % plan.options.save_every == 0:
            _save(state, plan)


def _read_batches(
    samples: Samples, batches: Sequence[Batch], reads: NetworkInput, seed: Sequence[int] | None
) -> Iterator[list[Pixels]]:
    """The frames [T, S, S, 3] of each batch's samples, read ahead by threads; with `seed` at random, by sample and epoch."""

    def load(batch: Batch) -> list[Pixels]:
        kind, numbers = batch
        asked = without_time(reads) if kind == "pictures" else reads
        chances = [None if seed is None else np.random.default_rng([*seed, number]) for number in numbers]
        return [read_views(samples.of(kind)[one], asked, chance)[0] for one, chance in zip(numbers, chances, strict=True)]

    return read_ahead(load, batches)


def _step(state: PretrainingState, plan: PretrainingPlan, kind: Kind, pixels: list[Pixels], whole: int) -> None:
    """One step over a batch of `whole` samples, of which `pixels` are this process's."""
    done = state.epoch * plan.steps + state.step
    chance = torch.Generator().manual_seed(plan.seed * 7_919 + plan.ranks.number * 15_485_863 + done)
    for group in state.optimiser.param_groups:
        group["lr"] = plan.recipe.rate * rate_factor(plan.recipe, done, plan.recipe.epochs * plan.steps)
    if pixels:
        loss = _loss(state.network.train(), plan, kind, cropped(_levels(pixels), chance), chance)
        state.scaler.scale(loss * (len(pixels) / whole)).backward()  # type: ignore[no-untyped-call]
        state.losses[kind] = state.losses.get(kind, 0.0) + float(loss.detach()) * len(pixels)
    trained = [value for group in state.optimiser.param_groups for value in group["params"]]
    plan.ranks.add_gradients(trained)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.optimiser.zero_grad(set_to_none=True)


def _levels(pixels: list[Pixels]) -> Tensor:
    """Frames as levels 0..1 [B, T, 3, S, S]."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 1, 4, 2, 3).float() / 255


def cropped(levels: Tensor, chance: torch.Generator) -> Tensor:
    """A random square of 0.2 to 1 of the area of [B, T, 3, S, S], the same one in all frames of a clip; half are mirrored."""
    count, side = len(levels), levels.shape[-1]
    part = (0.2 + 0.8 * torch.rand(count, generator=chance)).sqrt()
    shift = (torch.rand(count, 2, generator=chance) * 2 - 1) * (1 - part[:, None])
    mirror = torch.rand(count, generator=chance) < 0.5
    scale = (1 / part)[:, None].expand(-1, 2)
    return warp(levels.flatten(1, 2), torch.zeros(count), scale, shift, mirror, side).view(levels.shape)


def _loss(network: MaskedPretraining, plan: PretrainingPlan, kind: Kind, levels: Tensor, chance: torch.Generator) -> Tensor:
    """Mean squared error over what is hidden of images or clips [B, T, 3, S, S] in 0..1."""
    device = plan.options.device
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (plan.reads.mean, plan.reads.std))
    normal = ((levels - mean) / std).to(device)
    shown = normal[:, 0] if kind == "pictures" else normal.transpose(1, 2)
    tubelets = network.shape.tubelets // (network.shape.frames // 2) if kind == "pictures" else network.shape.tubelets
    mask = random_mask(len(levels), tubelets, SHARES[kind], chance).to(device)
    with torch.autocast(device.partition(":")[0], plan.dtype, enabled=plan.dtype != torch.float32):
        return network.loss(shown, mask)


@torch.no_grad()
def held_out_losses(network: MaskedPretraining, plan: PretrainingPlan) -> dict[str, float]:
    """The loss on faces that were never learned from, by kind: whole images, the same tubelets hidden each time."""
    network.eval()
    figures: dict[str, float] = {}
    for kind in SHARES:
        numbers, total = list(range(len(plan.held_out.of(kind)))), 0.0
        batches = [(kind, numbers[start : start + plan.options.batch]) for start in range(0, len(numbers), plan.options.batch)]
        chance = torch.Generator().manual_seed(plan.seed)
        for pixels in _read_batches(plan.held_out, batches, plan.reads, None):
            total += float(_loss(network, plan, kind, _levels(pixels), chance)) * len(pixels)
        if numbers:
            figures[f"held_out_{kind}"] = total / len(numbers)
    return figures


# ---- state, files --------------------------------------------------------------------------------------------------------


def _close_epoch(state: PretrainingState, plan: PretrainingPlan) -> None:
    """Note the figures of the epoch, and go on to the next."""
    losses = plan.ranks.add_up(state.losses)
    row = {"epoch": float(state.epoch + 1)}
    row |= {f"loss_{kind}": losses[kind] / len(plan.fit.of(kind)) for kind in SHARES if kind in losses}
    state.curves.append(row | held_out_losses(state.network, plan))
    state.epoch, state.step, state.losses = state.epoch + 1, 0, {}
    _save(state, plan)


def _save(state: PretrainingState, plan: PretrainingPlan) -> None:
    """Write all that is needed to go on; every process calls it, the first one writes."""
    losses = plan.ranks.add_up(state.losses)
    if plan.ranks.first:
        write_resume(
            plan.files.resume, plan.about, network=state.network.state_dict(), optimiser=state.optimiser.state_dict(),
            scaler=state.scaler.state_dict(), epoch=state.epoch, step=state.step, losses=losses, curves=state.curves,
        )  # fmt: skip


def _restore(state: PretrainingState, plan: PretrainingPlan) -> None:
    """Go on from what an earlier run of the same plan left."""
    kept = read_resume(plan.files.resume, plan.about)
    plan.ranks.wait()  # nobody writes the file before all have read it
    if kept is None:
        return
    state.network.load_state_dict(kept["network"])
    state.optimiser.load_state_dict(kept["optimiser"])
    state.scaler.load_state_dict(kept["scaler"])
    state.epoch, state.step, state.curves = kept["epoch"], kept["step"], kept["curves"]
    state.losses = kept["losses"] if plan.ranks.first else {}


def _make_card(plan: PretrainingPlan, state: PretrainingState, corpora: Sequence[Path], limit: int | None) -> Card:
    named = ", ".join(one.name for one in corpora)
    options, fold = plan.options, "" if plan.options.fold is None else str(plan.options.fold)
    counts = f"{len(plan.fit.pictures)} pictures and {len(plan.fit.clips)} clips"
    command = command_line(
        NAME, corpus=list(corpora), root=list(options.roots), epochs=plan.recipe.epochs, batch=options.batch, seed=plan.seed,
        limit=limit, fold=fold, start=options.start, rate=options.rate,
    )  # fmt: skip
    return Card(
        name=NAME, data=f"{named}: {counts}, without their labels", seed=plan.seed, command=command,
        terms=f"those of {named}" + (f", and of {options.start.name}" if options.start else ""),
        date=date.today().isoformat(), per_class_recall={},
        split="losses on samples that were held out of it" if any(plan.held_out) else "losses of the last epoch",
        metrics={key: round(value, 4) for key, value in state.curves[-1].items() if key != "epoch"},
        text=f"""# S4D's trunk after masked pre-training

arXiv 2409.06154. What is hidden of a face ({IMAGE_MASK:.0%} of a picture, {VIDEO_MASK:.0%} of a clip) was to be drawn from what
is seen, for {plan.recipe.epochs} epochs. The figures are mean squared errors over hidden tubelets whose colours are standardised:
1 is what drawing the mean gives. `dyad train static-face|dynamic-face --network s4d --start {plan.files.weights.name}`
starts from it; it recognises nothing by itself.""",
    )  # fmt: skip
