"""Training of the static face: FER+ votes as soft labels, a MobileNet that knows faces already, averaged weights."""

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.metrics import per_class_recall
from modalities.loading.checkpoint import Card, in_eight_bits, save_checkpoint
from modalities.static_face.embedded import CLASSES
from modalities.static_face.network import StaticFaceNetwork, StaticFaceShape, resize, standardise
from modalities.training.common import Progress, Report, best_temperature, command_line, follow, read_resume, silent, write_resume
from modalities.training.faces.start import archive_path, read_weights, start_from
from modalities.training.faces.stills import (
    FaceVotes,
    augment,
    duplicate_groups,
    measure,
    read_faces,
    split_groups,
)

EPOCHS = 15
SIZE, LARGE = 112, 160
"""Side of the images as they are recognised, and as the teacher sees them."""
BATCH = 64
PEAK_RATE, PEAK_RATE_FROM_RANDOM = 5e-4, 4e-3
FROZEN = 7
"""Layers that keep the weights to start from: edges and textures are the same in every face."""
TERMS = "FER2013 images: research use only; FERPlus votes: MIT (Microsoft); start: Apache-2.0, of VGGFace2 (research use)."
START = """
It started from the network that Savchenko (PeerJ Computer Science 5:e197, 2019) trained to tell the people of VGGFace2
apart, and their age, as npm's package @vladmandic/human 3.3.6 has it; the first seven layers stay as they were."""


@dataclass(frozen=True)
class Splits:
    """Stills to fit on, to choose on (both of the training file), and the validation file, kept out of every choice."""

    fit: FaceVotes
    choose: FaceVotes
    held_out: FaceVotes


@dataclass
class StaticFaceLearner:
    """Everything that a resumed training needs."""

    network: StaticFaceNetwork
    average: StaticFaceNetwork
    optimiser: torch.optim.Optimizer
    frozen: int = 0
    peak_rate: float = PEAK_RATE_FROM_RANDOM
    epoch: int = 0
    teacher: StaticFaceNetwork | None = None
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


class Lesson(NamedTuple):
    """What an epoch sees: side of its images, its number among the epochs of its stage, and whether a teacher helps."""

    size: int
    epoch: int
    of: int
    taught: bool


def course(epochs: int) -> list[Lesson]:
    """The lessons of a training: three fifths make a teacher on large images, the others the network to ship.

    Large images are closer to those that the weights to start from were trained on, and too slow to ship. The teacher begins
    with smaller ones, which cost half.
    """
    first = int(0.6 * epochs)
    sizes = [SIZE] * (first // 3) + [LARGE] * (first - first // 3)
    teacher = [Lesson(size, epoch, first, False) for epoch, size in enumerate(sizes)]
    return teacher + [Lesson(SIZE, epoch, epochs - first, True) for epoch in range(epochs - first)]


def rates(step: int, total: int) -> float:
    """Share of the peak learning rate: 5 % linear warm-up, then half a cosine to zero."""
    warm = max(1, total // 20)
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


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
    """AdamW whose weight decay is on kernels and matrices alone."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups)


def new_state(
    seed: int, faces: FaceVotes, start: Path | None, device: str = "cpu", shape: StaticFaceShape | None = None
) -> StaticFaceLearner:
    """A network with the weights of the archive `start` (None: random ones from `seed`), its average and its optimiser."""
    torch.manual_seed(seed)
    network = StaticFaceNetwork(shape)
    if start:
        sample = torch.from_numpy(faces.images[:256])[:, None].float() / 255
        start_from(network, read_weights(start), standardise(resize(sample, SIZE)))
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average, optimiser = copy.deepcopy(network), _optimiser(network)
    if not start:
        return StaticFaceLearner(network, average, optimiser)
    return StaticFaceLearner(network, average, optimiser, FROZEN, PEAK_RATE)


def _save_state(state: StaticFaceLearner, path: Path, about: Mapping[str, object]) -> None:
    write_resume(
        path, about, network=state.network.state_dict(), average=state.average.state_dict(), epoch=state.epoch,
        optimiser=state.optimiser.state_dict(), best=state.best, best_epoch=state.best_epoch,
        best_weights=state.best_weights, teacher=state.teacher.state_dict() if state.teacher else None,
    )  # fmt: skip


def _restore(state: StaticFaceLearner, path: Path, about: Mapping[str, object]) -> None:
    """Continue from `path` when it is there and of the same training."""
    if kept := read_resume(path, about):
        state.network.load_state_dict(kept["network"])
        state.average.load_state_dict(kept["average"])
        state.optimiser.load_state_dict(kept["optimiser"])
        state.epoch, state.best = kept["epoch"], kept["best"]
        state.best_epoch, state.best_weights = kept["best_epoch"], kept["best_weights"]
        if kept["teacher"]:
            state.teacher = copy.deepcopy(state.average).eval()
            state.teacher.load_state_dict(kept["teacher"])


def become_student(state: StaticFaceLearner) -> None:
    """The best weights so far become the teacher, and where its student starts; nothing happens before any epoch."""
    if not state.best_weights:
        return
    state.average.load_state_dict(state.best_weights)
    state.network.load_state_dict(state.best_weights)
    state.teacher = copy.deepcopy(state.average).eval()
    state.optimiser = _optimiser(state.network)
    state.best, state.best_epoch = -1.0, 0


def _half_logits(network: StaticFaceNetwork, pixels: Tensor, size: int, frozen: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and features of images in 0..1, seen at `size` pixels, standardised, in bfloat16."""
    seen = standardise(resize(pixels, size)).contiguous(memory_format=torch.channels_last)
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        logits, features = network(seen, frozen)
    return logits.float(), features.float()


def taught(teacher: StaticFaceNetwork, pixels: Tensor, shares: Tensor) -> Tensor:
    """Targets half from the taggers, half from the teacher, who sees the same images larger (Hinton et al. 2015)."""
    with torch.no_grad():
        logits, _ = _half_logits(teacher, pixels, LARGE)
    return torch.lerp(shares, F.softmax(logits, 1), 0.5)


def run_epoch(state: StaticFaceLearner, faces: FaceVotes, seed: int, lesson: Lesson) -> float:
    """One pass of as many stills as `faces` has, drawn anew by `sampling_weights`; returns the mean loss."""
    device = state.device
    chance = torch.Generator(device).manual_seed(seed * 100_003 + state.epoch)
    torch.manual_seed(seed * 100_019 + state.epoch)
    certain = faces.votes.sum(1) / np.maximum(faces.taggers, 1)
    images, shares, certainty = (torch.from_numpy(part).to(device) for part in (faces.images, faces.shares, certain))
    order = torch.multinomial(sampling_weights(faces).to(device), len(faces), replacement=True, generator=chance)
    batches = torch.split(order, BATCH)
    losses, side = torch.zeros((), device=device), LARGE if state.teacher else lesson.size
    state.network.train()
    state.network.layers[: state.frozen].eval()
    for number, rows in enumerate(batches):
        step = lesson.epoch * len(batches) + number
        for group in state.optimiser.param_groups:
            group["lr"] = state.peak_rate * rates(step, lesson.of * len(batches))
        pixels, targets = mix(augment(images[rows][:, None].float() / 255, chance, side), shares[rows], chance)
        targets = taught(state.teacher, pixels, targets) if state.teacher else targets
        logits, _ = _half_logits(state.network, pixels, lesson.size, state.frozen)
        loss = (F.cross_entropy(logits, targets, reduction="none") * certainty[rows]).mean()
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        follow(state.average, state.network, min(0.998, (1 + step) / (10 + step)))
        losses = losses + loss.detach() * len(rows)
    state.epoch += 1
    return float(losses) / len(faces)


def answer(network: StaticFaceNetwork, images: NDArray[np.uint8], size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Logits [N, 8] and features [N, D] of grey stills seen at `size` pixels, without augmentation; on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        parts = [_half_logits(network, part.to(device)[:, None].float() / 255, size)
                 for part in torch.split(torch.from_numpy(images), 256)]  # fmt: skip
    return torch.cat([logits.cpu() for logits, _ in parts]), torch.cat([features.cpu() for _, features in parts])


def fit_temperature(logits: Tensor, shares: Tensor) -> float:
    """The T, from 0.4 to 2.5, that brings softmax(logits / T) closest to the taggers' shares."""
    return best_temperature(logits, shares, torch.exp(torch.linspace(math.log(0.4), math.log(2.5), 64)).tolist())


def class_centroids(features: Tensor, faces: FaceVotes) -> Tensor:
    """Mean feature [7, D] of the stills whose taggers agree; a class without any takes all by their share of votes."""
    rows = []
    for emotion in range(len(BASIC_EMOTIONS)):
        weights = torch.from_numpy((faces.agreed & (faces.majority == emotion)).astype(np.float32))
        weights = weights if weights.sum() else torch.from_numpy(faces.shares[:, emotion]) + 1e-6
        rows.append((features * weights[:, None]).sum(0) / weights.sum())
    return torch.stack(rows)


def export(network: StaticFaceNetwork, splits: Splits, path: Path) -> None:
    """Write the weights with temperature (fitted on the `choose` part) and centroids (of the `fit` part)."""
    logits, _ = answer(network, splits.choose.images)
    temperature = fit_temperature(logits, torch.from_numpy(splits.choose.shares))
    _, features = answer(network, splits.fit.images)
    settings = {"name": "static_face", "size": SIZE, "classes": CLASSES, "shape": network.shape._asdict(),
                "preprocessing": f"grey, {SIZE}x{SIZE}, standardised per picture"}  # fmt: skip
    constants = {"centroids": class_centroids(features, splits.fit), "temperature": torch.tensor(temperature)}
    keep(path, network.state_dict(), constants, settings)


def keep(path: Path, weights: Mapping[str, Tensor], constants: Mapping[str, Tensor], settings: Mapping[str, object]) -> None:
    """Write the weights in eight bits, as they ship: figures of the card are of what was written."""
    counted = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    save_checkpoint(path, in_eight_bits(counted), constants, settings)


def make_card(weights: Path, splits: Splits, seed: int, command: str, text: str) -> Card:
    """Measure the written file on the held-out stills, through the same code that users run."""
    from modalities.static_face.embedded import describe_images, load

    model, held = load(weights), splits.held_out
    started = time.perf_counter()
    answers = describe_images(model, held.images)
    metrics = {"faces_per_second": len(held) / (time.perf_counter() - started), **measure(answers.probabilities, held)}
    chosen = measure(describe_images(model, splits.choose.images).probabilities, splits.choose)
    metrics |= {f"choice_{key}": chosen[key] for key in ("accuracy_8_classes", "war_agreed", "uar_agreed")}
    basic = (held.majority >= 0) & (held.majority < 7)
    recall = per_class_recall(held.majority[basic], answers.probabilities[basic, :7].argmax(1), 7)
    return Card(
        name="static_face", terms=TERMS, command=command, seed=seed, date=date.today().isoformat(),
        data=f"FER+ (face/ferplus_train.npz): {len(splits.fit)} stills to fit, {len(splits.choose)} to choose on",
        split=f"held out: face/ferplus_valid.npz, {len(held)} stills; 'choice_' figures: a tenth of the training file",
        metrics={key: round(value, 4) for key, value in metrics.items()},
        per_class_recall={n: round(float(v), 4) for n, v in zip(BASIC_EMOTIONS, recall, strict=True) if v == v},
        corpora=["ferplus"], text=text,
    )  # fmt: skip


def _describe_training(epochs: int, started: bool, epoch: int) -> str:
    """The text of the card: `started` says whether from the archive's weights, `epoch` which one was chosen."""
    start = START if started else " It started from random weights."
    return f"""# Static face

MobileNet 1.0 with a layer of features (3.4 million parameters) on one grey face, enlarged to {SIZE}x{SIZE} pixels.{start}
It was fitted to the shares of the FER+ taggers' votes over eight emotions, {epochs} epochs, with a running average
of the weights: three fifths of them on pictures of up to {LARGE}x{LARGE}, which made a teacher; the others on {SIZE}x{SIZE},
starting from the teacher, with half of each target from its answer to the larger picture. The kept weights are those after epoch
{epoch}, chosen on stills of the training file whose near-duplicates are in no other part. Training stills that look like a
held-out one (thumbnails correlating above 0.95) were left out. Matrices and kernels but those of single
channels are kept as int8 with a scale for each output channel.

Figures are fractions of 1. `accuracy_8_classes`: the plain majority of the votes; rows whose majority is 'unknown' or
'no face' are left out. `uar`, `war`, `macro_f1`: the same rows without contempt, probabilities renormalised over the
seven basic emotions. `_agreed`: rows where more than half of the taggers agree. `compound_macro_f1_pair_sum`: stills
with two emotions of at least 3 votes each and no third as many as the weaker; the answer is the compound with the largest
sum of its two probabilities. `calibration_error` compares with the majority, while the temperature was fitted to the
taggers' shares. `faces_per_second`: on the machine that trained it, whatever else ran there.

Disgust, fear and contempt are rare in the data and recognised least well. The faces are those of web pictures of 2013:
not a sample of any population, and often posed. The output estimates what people would call the expression, not what
the person feels."""


def keep_if_better(state: StaticFaceLearner, figures: dict[str, float]) -> None:
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
    start: str = "",
    shape: StaticFaceShape | None = None,
    device: str = "cpu",
    report: Report = silent,
) -> Card:
    """Train on `data`/face/ferplus_*.npz and write `output`/static_face.safetensors and .md; returns the card.

    `start` is the archive with the weights to start from: the one that 'dyad models download' fetched when empty, 'random' for
    none. `limit` keeps that many stills of each file. A broken-off training goes on from `output`/static_face.resume.pt,
    which is removed at the end. The weights with the best mean of accuracy and UAR on the `choose` part are kept. The seed
    gives the same draws on the same kind of `device` only.
    """
    archive = None if start == "random" else Path(start) if start else archive_path()
    output.mkdir(parents=True, exist_ok=True)
    weights, resume = output / "static_face.safetensors", output / "static_face.resume.pt"
    splits = prepare_splits(data, seed, limit)
    state = new_state(seed, splits.fit, archive, device, shape)
    about = {
        "device": state.device.type, "seed": seed, "epochs": epochs, "limit": limit or 0,
        "start": archive.name if archive else "", "shape": str(tuple(state.network.shape)),
    }  # fmt: skip
    _restore(state, resume, about)
    for lesson in course(epochs)[state.epoch :]:
        if lesson.taught and not lesson.epoch:
            become_student(state)
        loss = run_epoch(state, splits.fit, seed, lesson)
        logits, _ = answer(state.average, splits.choose.images, lesson.size)
        figures = measure(F.softmax(logits, 1).numpy(), splits.choose)
        keep_if_better(state, figures)
        _save_state(state, resume, about)
        report(Progress(state.epoch, epochs, {"loss": loss, **figures}))
    state.average.load_state_dict(state.best_weights)
    export(state.average, splits, weights)
    command = command_line("static-face", data=data, seed=seed, epochs=epochs, limit=limit, start=start)
    text = _describe_training(epochs, archive is not None, state.best_epoch)
    card = make_card(weights, splits, seed, command, text)
    card = card if archive else replace(card, terms=TERMS.partition("; start:")[0])
    card.write(output / "static_face.md")
    resume.unlink(missing_ok=True)
    return card
