"""Training of the dynamic face: pseudo-sequences from stills, in the spirit of static-for-dynamic (S2D, Chen et al. 2024)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the field's name for it)

from data.emotions import BASIC_EMOTIONS
from data.metrics import calibration_error, per_class_recall, scores_of
from modalities.dynamic_face.embedded import LENGTH, gaps_of, load
from modalities.dynamic_face.network import DynamicAnswer, DynamicFaceNetwork, DynamicFaceShape
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Card, save_checkpoint
from modalities.static_face.embedded import CLASSES, StaticFace, describe_images
from modalities.static_face.embedded import load as load_static
from modalities.training.common import Progress, Report, command_line, read_resume, silent, write_resume
from modalities.training.faces.pseudo_sequences import PseudoSequence, make_sequences
from modalities.training.faces.static_face import TERMS, Splits, fit_temperature, prepare_splits
from modalities.training.faces.stills import FaceVotes

EPOCHS = 30
BATCH = 64
PEAK_RATE = 2e-3
SEQUENCES = 8000
"""Sequences to fit on; a quarter of that number to choose on, and as many held out."""


@dataclass(frozen=True)
class WatchedSequences:
    """Sequences as the static network sees them: what `DynamicFaceNetwork` takes [S, T, ...], shares [S, 8], label [S]."""

    features: Tensor
    logs: Tensor
    gaps: Tensor
    mask: Tensor
    shares: Tensor
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.features)

    def inputs(self, rows: Tensor | slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four inputs of the network for these rows."""
        return self.features[rows].float(), self.logs[rows], self.gaps[rows], self.mask[rows]


@dataclass
class DynamicFaceLearner:
    """Everything that a resumed training needs."""

    network: DynamicFaceNetwork
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    best: float = -1.0
    best_weights: dict[str, Tensor] | None = None


def watch(static: StaticFace, sequences: list[PseudoSequence]) -> WatchedSequences:
    """Run the static network over every frame."""
    count, width = len(sequences), static.centroids.shape[1]
    features, logs = np.zeros((count, LENGTH, width), np.float16), np.zeros((count, LENGTH, len(CLASSES)), np.float32)
    gaps, mask = np.zeros((count, LENGTH), np.float32), np.zeros((count, LENGTH), bool)
    for number, sequence in enumerate(sequences):
        mask[number, : len(sequence.frames)] = True
        gaps[number, : len(sequence.frames)] = gaps_of(sequence.times)
    answers = describe_images(static, np.concatenate([sequence.frames for sequence in sequences]))
    features[mask], logs[mask] = answers.features, np.log(np.maximum(answers.probabilities, 1e-6))
    shares = np.stack([sequence.shares for sequence in sequences]).astype(np.float32)
    label = np.array([sequence.label for sequence in sequences])
    tensors = [torch.from_numpy(array) for array in (features, logs, gaps, mask, shares)]
    return WatchedSequences(tensors[0], tensors[1], tensors[2], tensors[3], tensors[4], label)


def film_and_watch(static: StaticFace, faces: FaceVotes, count: int, seed: int) -> WatchedSequences:
    """Make `count` pseudo-sequences of these stills and watch them, a thousand at a time."""
    starts = range(0, count, 1000)
    parts = [watch(static, make_sequences(faces, min(1000, count - start), seed + start)) for start in starts]
    label = np.concatenate([part.label for part in parts])
    fields = ("features", "logs", "gaps", "mask", "shares")
    return WatchedSequences(label=label, **{name: torch.cat([getattr(part, name) for part in parts]) for name in fields})


def thinned(mask: Tensor, chance: torch.Generator) -> Tensor:
    """Leave out up to a third of the frames of every sequence, never the last one left."""
    share = torch.rand(len(mask), 1, generator=chance) * 0.33
    kept = mask & (torch.rand(mask.shape, generator=chance) > share)
    return torch.where(kept.any(1, keepdim=True), kept, mask)


def run_epoch(state: DynamicFaceLearner, watched: WatchedSequences, seed: int, epochs: int) -> float:
    """One pass over the sequences; returns the mean loss."""
    chance = torch.Generator().manual_seed(seed * 100_003 + state.epoch)
    torch.manual_seed(seed * 100_019 + state.epoch)
    batches = torch.split(torch.randperm(len(watched), generator=chance), BATCH)
    state.network.train()
    total = 0.0
    for number, rows in enumerate(batches):
        progress = (state.epoch + number / len(batches)) / epochs
        for group in state.optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, 20 * progress) * 0.5 * (1 + math.cos(math.pi * progress))
        features, logs, gaps, mask = watched.inputs(rows)
        logits = state.network(features, logs, gaps, thinned(mask, chance)).logits
        loss = F.cross_entropy(logits, watched.shares[rows])
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        state.optimiser.step()
        total += loss.item() * len(rows)
    state.epoch += 1
    return total / len(watched)


def answer(network: DynamicFaceNetwork, watched: WatchedSequences) -> DynamicAnswer:
    """Logits, features and attention of all sequences."""
    network.eval()
    with torch.inference_mode():
        parts = [network(*watched.inputs(slice(s, s + 512))) for s in range(0, len(watched), 512)]
    return DynamicAnswer(*(torch.cat(part) for part in zip(*parts, strict=True)))


def mean_over_frames(watched: WatchedSequences) -> NDArray[np.float32]:
    """The baseline: the mean [S, 8] of the frames' static probabilities."""
    present = watched.mask[:, :, None]
    return ((watched.logs.exp() * present).sum(1) / present.sum(1)).numpy()


def measure(probabilities: NDArray[np.float32], watched: WatchedSequences) -> dict[str, float]:
    """UAR, WAR, macro-F1 and calibration over sequences of one class, seven basic emotions."""
    clear, seven = watched.label >= 0, probabilities[:, : len(BASIC_EMOTIONS)]
    seven = seven / seven.sum(1, keepdims=True)
    figures = scores_of(watched.label[clear], seven[clear].argmax(1), range(7))
    return figures | {"calibration_error": calibration_error(seven[clear], watched.label[clear])}


def _restore(state: DynamicFaceLearner, path: Path, about: Mapping[str, object]) -> None:
    """Continue from `path` when it is there and of the same training."""
    if kept := read_resume(path, about):
        state.network.load_state_dict(kept["network"])
        state.optimiser.load_state_dict(kept["optimiser"])
        state.epoch, state.best, state.best_weights = kept["epoch"], kept["best"], kept["best_weights"]


def _save_state(state: DynamicFaceLearner, path: Path, about: Mapping[str, object]) -> None:
    write_resume(
        path, about, network=state.network.state_dict(), optimiser=state.optimiser.state_dict(), epoch=state.epoch,
        best=state.best, best_weights=state.best_weights,
    )  # fmt: skip


def export(network: DynamicFaceNetwork, static: StaticFace, fit: WatchedSequences, choose: WatchedSequences, path: Path) -> None:
    """Write the weights (fp16) with temperature (fitted on `choose`) and the classes' mean features over `fit`."""
    temperature = fit_temperature(answer(network, choose).logits, choose.shares)
    features = answer(network, fit).features
    rows = [torch.from_numpy(fit.label == k) for k in range(7)]
    centroids = torch.stack([features[r].mean(0) if r.any() else features.mean(0) for r in rows])
    settings = {"name": "dynamic_face", "shape": network.shape._asdict(), "static_revision": static.source.revision}
    state = {key: value.half() for key, value in network.state_dict().items()}
    save_checkpoint(path, state, {"centroids": centroids, "temperature": torch.tensor(temperature)}, settings)


def train(
    data: Path, output: Path, *, seed: int = 7, epochs: int = EPOCHS, limit: int | None = None, report: Report = silent
) -> Card:
    """Train over the static face of `output` (or the shipped one) and write `output`/dynamic_face.safetensors and .md.

    Sequences to fit, to choose the weights, and to report are made of the stills of the static training's three parts.
    `limit` keeps that many stills of each file and as many sequences. A broken-off training goes on from
    `output`/dynamic_face.resume.pt; the weights with the best mean of UAR and WAR are kept.
    """
    output.mkdir(parents=True, exist_ok=True)
    own = output / "static_face.safetensors"
    static, splits = load_static(own if own.is_file() else WEIGHTS_FOLDER / own.name), prepare_splits(data, seed, limit)
    count = min(SEQUENCES, limit or SEQUENCES)
    fit = film_and_watch(static, splits.fit, count, seed * 1_000_003)
    choose = film_and_watch(static, splits.choose, max(1, count // 4), seed * 1_000_003 + 500_000)
    state = _fit(static, fit, choose, output / "dynamic_face.resume.pt", seed, epochs, report)
    weights = output / "dynamic_face.safetensors"
    export(state.network, static, fit, choose, weights)
    held_out = held_out_sequences(static, splits, count, seed)
    command = command_line("dynamic-face", data=data, seed=seed, epochs=epochs, limit=limit)
    card = make_card(static, weights, held_out, count, seed, command)
    card.write(output / "dynamic_face.md")
    (output / "dynamic_face.resume.pt").unlink(missing_ok=True)
    return card


def held_out_sequences(static: StaticFace, splits: Splits, count: int, seed: int) -> WatchedSequences:
    """The sequences that a training with `count` to fit reports on."""
    return film_and_watch(static, splits.held_out, max(1, count // 4), seed * 1_000_003 + 900_000)


def _fit(
    static: StaticFace, fit: WatchedSequences, choose: WatchedSequences, resume: Path, seed: int, epochs: int, report: Report
) -> DynamicFaceLearner:
    """The training loop; the network of the state has its best weights at the end."""
    torch.manual_seed(seed)
    network = DynamicFaceNetwork(DynamicFaceShape(features=static.centroids.shape[1]))
    state = DynamicFaceLearner(network, torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.02))
    about = {"seed": seed, "epochs": epochs, "sequences": len(fit), "static": static.source.revision}
    _restore(state, resume, about)
    while state.epoch < epochs:
        loss = run_epoch(state, fit, seed, epochs)
        figures = measure(torch.softmax(answer(network, choose).logits, 1).numpy(), choose)
        if (merit := figures["uar"] + figures["war"]) > state.best:
            state.best, state.best_weights = merit, {k: v.clone() for k, v in network.state_dict().items()}
        _save_state(state, resume, about)
        report(Progress(state.epoch, epochs, {"loss": loss, **figures}))
    network.load_state_dict(state.best_weights or network.state_dict())
    return state


def make_card(static: StaticFace, weights: Path, held_out: WatchedSequences, count: int, seed: int, command: str) -> Card:
    """Measure the written file on held-out sequences beside the mean over the frames."""
    model = load(weights, static)
    logits = answer(model.network, held_out).logits / model.temperature
    probabilities = torch.softmax(logits, 1).numpy()
    metrics, clear = measure(probabilities, held_out), held_out.label >= 0
    baseline = measure(mean_over_frames(held_out), held_out)
    metrics |= {f"mean_over_frames_{key}": value for key, value in baseline.items()}
    recall = per_class_recall(held_out.label[clear], probabilities[clear, :7].argmax(1), 7)
    return Card(
        name="dynamic_face", terms=TERMS, command=command, seed=seed, date=date.today().isoformat(),
        data=f"{count} pseudo-sequences of face/ferplus_train.npz (FER+), over static_face {static.source.revision}",
        split=f"held out: {len(held_out)} pseudo-sequences of the stills of face/ferplus_valid.npz",
        metrics={key: round(value, 4) for key, value in metrics.items()},
        per_class_recall={n: round(float(v), 4) for n, v in zip(BASIC_EMOTIONS, recall, strict=True) if v == v},
        corpora=["ferplus"], text=PROSE,
    )  # fmt: skip


PROSE = """# Dynamic face

Two dilated convolutions over time and an attention pooling (0.06 million parameters) over what the static face network
says of up to 20 frames of a window. It was fitted to pseudo-sequences made of FER+ stills: a neutral face of similar
looks is bent along the optical flow into an expressive one and back, with a shaky and badly lit camera, speaking mouths,
missing frames, and short stretches of another emotion or another face. The label is the apex still's share of votes;
for two expressions in turn, both by their time. The static network saw the stills to fit on, but neither those to choose
on nor the held-out ones.

`uar`, `war`, `macro_f1`: held-out sequences of one class. `mean_over_frames_*`: the same sequences, answered by the mean
of the static network's probabilities. The sequences are synthetic: they show that the network finds the apex and sees
through distractors, not how well it does on real films."""
