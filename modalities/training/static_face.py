"""Training of the static face: FER+ votes as soft labels, a residual CNN, averaged weights."""

import copy
import math
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.metrics import per_class_recall
from modalities.checkpoint import Card, save_checkpoint
from modalities.networks.static_face import StaticFaceNetwork, StaticFaceShape, resize, standardise
from modalities.static_face import CLASSES
from modalities.training.common import Progress, Report, silent
from modalities.training.faces import (
    FaceVotes,
    augment,
    duplicate_groups,
    measure,
    read_faces,
    read_resume,
    split_groups,
    write_resume,
)

EPOCHS = 40
SIZE = 48
BATCH = 128
PEAK_RATE = 0.08
TERMS = "FER2013 images: research use only; FERPlus votes: MIT (Microsoft)."


@dataclass(frozen=True)
class Splits:
    """Stills to fit on, to choose on (both of the training file), and the validation file, kept out of every choice."""

    fit: FaceVotes
    choose: FaceVotes
    held_out: FaceVotes


@dataclass
class State:
    """Everything that a resumed training needs."""

    network: StaticFaceNetwork
    average: StaticFaceNetwork
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


def prepare_splits(data: Path, seed: int, limit: int | None) -> Splits:
    """Read FER+ so that no group of near-duplicates is in two parts; training rows like a held-out one are left out."""
    train, held_out = read_faces(data / "face" / "ferplus_train.npz"), read_faces(data / "face" / "ferplus_valid.npz")
    if limit is not None:
        chosen = np.random.default_rng(seed).permutation(len(train))[:limit]
        train, held_out = train.rows(np.sort(chosen)), held_out.rows(np.arange(min(limit, len(held_out))))
    groups = duplicate_groups(np.concatenate([train.images, held_out.images]))
    seen = np.isin(groups[: len(train)], groups[len(train) :])
    choose = split_groups(groups[: len(train)], 0.1, seed)
    useful = (train.votes.sum(1) > 0) & ~seen
    if not (useful & choose & (train.majority >= 0)).any() or not (useful & ~choose).any():
        raise InputError(
            f"{data / 'face'} leaves too few different faces to train on (of {len(train)}, {int(seen.sum())} look like a "
            "held-out one); give more stills or a larger limit."
        )
    return Splits(train.rows(useful & ~choose), train.rows(useful & choose), held_out)


def rates(step: int, total: int) -> float:
    """Learning rate: 5 % linear warm-up, then half a cosine to zero."""
    warm = max(1, total // 20)
    if step < warm:
        return PEAK_RATE * step / warm
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def picture_size(epoch: int, epochs: int) -> int:
    """Side of the training pictures: smaller, and so cheaper, at first (Tan & Le 2021)."""
    return 40 if epoch < 0.4 * epochs else SIZE


def sampling_weights(faces: FaceVotes) -> Tensor:
    """Weights [N] that draw stills of rare classes somewhat more often (class frequency to the power -0.2)."""
    label = faces.votes.argmax(1)
    frequency = np.bincount(label, minlength=len(CLASSES)) / len(label)
    return torch.from_numpy(frequency[label] ** -0.2)


def mix(pixels: Tensor, targets: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend neighbours for a fifth of the batch (mixup, Zhang et al. 2018): two emotions at once, as compounds are."""
    count = len(pixels)
    drawn = torch.rand(2, count, generator=chance, device=chance.device)
    amount = 0.5 * drawn[0] * (drawn[1] < 0.2)
    pixels = torch.lerp(pixels, pixels.roll(1, 0), amount[:, None, None, None])
    return pixels, torch.lerp(targets, targets.roll(1, 0), amount[:, None])


def _optimiser(network: nn.Module) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=PEAK_RATE, momentum=0.9, nesterov=True)


def new_state(seed: int, shape: StaticFaceShape | None = None, device: str = "cpu") -> State:
    """A network with random weights from `seed`, its running average and its optimiser."""
    torch.manual_seed(seed)
    network = StaticFaceNetwork(shape).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(network, copy.deepcopy(network), _optimiser(network))


def _save_state(state: State, path: Path, about: dict[str, Any]) -> None:
    write_resume(
        path, about, network=state.network.state_dict(), average=state.average.state_dict(), epoch=state.epoch,
        optimiser=state.optimiser.state_dict(), best=state.best, best_epoch=state.best_epoch,
        best_weights=state.best_weights,
    )  # fmt: skip


def _restore(state: State, path: Path, about: dict[str, Any]) -> None:
    """Continue from `path` when it is there and of the same training."""
    if kept := read_resume(path, about):
        state.network.load_state_dict(kept["network"])
        state.average.load_state_dict(kept["average"])
        state.optimiser.load_state_dict(kept["optimiser"])
        state.epoch, state.best = kept["epoch"], kept["best"]
        state.best_epoch, state.best_weights = kept["best_epoch"], kept["best_weights"]


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the running average of the weights (and of the normalisation statistics) towards the network."""
    with torch.no_grad():
        for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if slow.dtype.is_floating_point:
                slow.lerp_(fast, 1 - decay)
            else:
                slow.copy_(fast)


def run_epoch(state: State, faces: FaceVotes, seed: int, epochs: int) -> float:
    """One pass of as many stills as `faces` has, drawn anew by `sampling_weights`; returns the mean loss."""
    device = state.device
    chance = torch.Generator(device).manual_seed(seed * 100_003 + state.epoch)
    torch.manual_seed(seed * 100_019 + state.epoch)
    certain = faces.votes.sum(1) / np.maximum(faces.taggers, 1)
    images, shares, certainty = (torch.from_numpy(part).to(device) for part in (faces.images, faces.shares, certain))
    order = torch.multinomial(sampling_weights(faces).to(device), len(faces), replacement=True, generator=chance)
    batches = torch.split(order, BATCH)
    size, losses = picture_size(state.epoch, epochs), torch.zeros((), device=device)
    state.network.train()
    for number, rows in enumerate(batches):
        step = state.epoch * len(batches) + number
        for group in state.optimiser.param_groups:
            group["lr"] = rates(step, epochs * len(batches))
        pixels = augment(images[rows][:, None].float() / 255, chance, size)
        pixels, targets = mix(standardise(pixels), shares[rows], chance)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits, _ = state.network(pixels.contiguous(memory_format=torch.channels_last))
        loss = (F.cross_entropy(logits.float(), targets, reduction="none") * certainty[rows]).mean()
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        _follow(state.average, state.network, min(0.998, (1 + step) / (10 + step)))
        losses = losses + loss.detach() * len(rows)
    state.epoch += 1
    return float(losses) / len(faces)


def answer(network: StaticFaceNetwork, images: NDArray[np.uint8], size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Logits [N, 8] and features [N, D] of grey stills seen at `size` pixels, without augmentation; on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    logits, features = [], []
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
        for part in torch.split(torch.from_numpy(images), 256):
            pixels = resize(part.to(device)[:, None].float() / 255, size)
            out, inner = network(standardise(pixels).contiguous(memory_format=torch.channels_last))
            logits.append(out.float().cpu())
            features.append(inner.float().cpu())
    return torch.cat(logits), torch.cat(features)


def fit_temperature(logits: Tensor, shares: Tensor) -> float:
    """The T that brings softmax(logits / T) closest to the taggers' shares (Guo et al. 2017, on soft labels)."""
    grid = torch.exp(torch.linspace(math.log(0.4), math.log(2.5), 64))
    losses = torch.stack([F.cross_entropy(logits / t, shares) for t in grid])
    return float(grid[losses.argmin()])


def class_centroids(features: Tensor, faces: FaceVotes) -> Tensor:
    """Mean feature [7, D] of the stills whose taggers agree; a class without any takes all by their share of votes."""
    rows = []
    for emotion in range(len(BASIC_EMOTIONS)):
        weights = torch.from_numpy((faces.agreed & (faces.majority == emotion)).astype(np.float32))
        weights = weights if weights.sum() else torch.from_numpy(faces.shares[:, emotion]) + 1e-6
        rows.append((features * weights[:, None]).sum(0) / weights.sum())
    return torch.stack(rows)


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions and matrices as fp16; normalisation statistics stay as they are."""
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return {key: (value.half() if value.ndim > 1 else value).cpu() for key, value in kept.items()}


def export(network: StaticFaceNetwork, splits: Splits, path: Path, size: int = SIZE) -> None:
    """Write the weights with temperature (fitted on the `choose` part) and centroids (of the `fit` part)."""
    logits, _ = answer(network, splits.choose.images, size)
    temperature = fit_temperature(logits, torch.from_numpy(splits.choose.shares))
    _, features = answer(network, splits.fit.images, size)
    shape = network.shape
    settings = {"name": "static_face", "size": size, "classes": CLASSES, "stem": shape.stem, "widths": shape.widths,
                "depths": shape.depths, "preprocessing": f"grey, {size}x{size}, standardised per picture"}  # fmt: skip
    constants = {"centroids": class_centroids(features, splits.fit), "temperature": torch.tensor(temperature)}
    save_checkpoint(path, _half(network.state_dict()), constants, settings)


def make_card(weights: Path, splits: Splits, about: dict[str, Any], command: str, epoch: int) -> Card:
    """Measure the written file on the held-out stills, through the same code that users run."""
    from modalities.static_face import describe_images, load

    model, held = load(weights), splits.held_out
    started = time.perf_counter()
    answers = describe_images(model, held.images)
    metrics = {"faces_per_second": len(held) / (time.perf_counter() - started), **measure(answers.probabilities, held)}
    chosen = measure(describe_images(model, splits.choose.images).probabilities, splits.choose)
    metrics |= {f"choice_{key}": chosen[key] for key in ("accuracy_8_classes", "war_agreed", "uar_agreed")}
    basic = (held.majority >= 0) & (held.majority < 7)
    recall = per_class_recall(held.majority[basic], answers.probabilities[basic, :7].argmax(1), 7)
    return Card(
        name="static_face", terms=TERMS, command=command, seed=about["seed"], date=date.today().isoformat(),
        data=f"FER+ (face/ferplus_train.npz): {len(splits.fit)} stills to fit, {len(splits.choose)} to choose on",
        split=f"held out: face/ferplus_valid.npz, {len(held)} stills; 'choice_' figures: a tenth of the training file",
        metrics={key: round(value, 4) for key, value in metrics.items()},
        per_class_recall={n: round(float(v), 4) for n, v in zip(BASIC_EMOTIONS, recall, strict=True) if v == v},
        text=_prose(about, epoch),
    )  # fmt: skip


def _prose(about: dict[str, Any], epoch: int) -> str:
    return f"""# Static face

A residual CNN with squeeze-and-excitation (1.6 million parameters) on one grey face of {SIZE}x{SIZE} pixels. It was
fitted to the shares of the FER+ taggers' votes over eight emotions, {about["epochs"]} epochs, with a running average
of the weights; the kept weights are those after epoch {epoch}, chosen on stills of the training file whose
near-duplicates are in no other part. Training stills that look like a held-out one (thumbnails correlating above 0.95)
were left out.

Figures are fractions of 1. `accuracy_8_classes`: the plain majority of the votes; rows whose majority is 'unknown' or
'no face' are left out. `uar`, `war`, `macro_f1`: the same rows without contempt, probabilities renormalised over the
seven basic emotions. `_agreed`: rows where more than half of the taggers agree. `compound_macro_f1_pair_sum`: stills
with two emotions of at least 3 votes each and no third above the weaker; the answer is the compound with the largest
sum of its two probabilities. `calibration_error` compares with the majority, while the temperature was fitted to the
taggers' shares. `faces_per_second`: on the machine that trained it, whatever else ran there.

Disgust, fear and contempt are rare in the data and recognised least well. The faces are those of web pictures of 2013:
not a sample of any population, and often posed. The output estimates what people would call the expression, not what
the person feels."""


def keep_if_better(state: State, figures: dict[str, float]) -> None:
    """Remember the averaged weights when the mean of accuracy and UAR is the best so far."""
    merit = (figures["accuracy_8_classes"] + figures["uar"]) / 2
    if merit > state.best:
        state.best, state.best_epoch = merit, state.epoch
        state.best_weights = {key: value.clone() for key, value in state.average.state_dict().items()}


def train(
    data: Path,
    output: Path,
    *,
    seed: int = 7,
    epochs: int = EPOCHS,
    limit: int | None = None,
    device: str = "cpu",
    report: Report = silent,
) -> Card:
    """Train on `data`/face/ferplus_*.npz and write `output`/static_face.safetensors and .md; returns the card.

    `limit` keeps that many stills of each file. A broken-off training goes on from `output`/static_face.resume.pt,
    which is removed at the end. The weights with the best mean of accuracy and UAR on the `choose` part are kept. The seed
    gives the same draws on the same kind of `device` only.
    """
    output.mkdir(parents=True, exist_ok=True)
    weights, resume = output / "static_face.safetensors", output / "static_face.resume.pt"
    splits = prepare_splits(data, seed, limit)
    state = new_state(seed, device=device)
    about = {
        "device": state.device.type, "seed": seed, "epochs": epochs, "limit": limit or 0, "shape": str(tuple(state.network.shape))
    }  # fmt: skip
    _restore(state, resume, about)
    while state.epoch < epochs:
        loss = run_epoch(state, splits.fit, seed, epochs)
        logits, _ = answer(state.average, splits.choose.images, picture_size(state.epoch - 1, epochs))
        figures = measure(F.softmax(logits, 1).numpy(), splits.choose)
        keep_if_better(state, figures)
        _save_state(state, resume, about)
        report(Progress(state.epoch, epochs, {"loss": loss, **figures}))
    state.average.load_state_dict(state.best_weights)
    export(state.average, splits, weights, picture_size(state.best_epoch - 1, epochs))
    command = f"dyad train static-face --data ../shared/datasets --seed {seed} --epochs {epochs}"
    card = make_card(weights, splits, about, command + (f" --limit {limit}" if limit else ""), state.best_epoch)
    card.write(output / "static_face.md")
    resume.unlink(missing_ok=True)
    return card
