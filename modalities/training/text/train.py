"""Training of the text modality: low-rank adapters in MiniLM and its heads, on GoEmotions, MELD and ISEAR.

First every text alone, with a linear head; then MELD's dialogues, whose lines hear what was said before (`dialogue`).
GoEmotions' comments may carry several emotions: their target is spread evenly over them. A tenth of the comments (by their
id) and of MELD's dialogues is held out to choose the epoch, the temperature and the thresholds; the corpora's own dev files
are only measured, at the end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from modalities.encoders.minilm import MiniLM, adapter_state, add_adapters, mean_of_tokens
from modalities.encoders.sentence_encoder import load_encoder
from modalities.loading.checkpoint import Card, save_checkpoint
from modalities.text.heads import EmotionHead
from modalities.training.common import Progress, Report, read_resume, silent, with_command, write_resume
from modalities.training.text import dialogue as text_dialogue
from modalities.training.text.corpora import TextExamples, is_held_out, label_vector, read_corpora
from modalities.training.text.measures import (
    best_temperature,
    best_thresholds,
    class_means,
    describe,
    measure,
    softmax,
    some_of_each,
)

__all__ = ["is_held_out", "label_vector", "read_corpora", "train"]

EPOCHS = 3
BATCH = 64
RANK = 16
ADAPTED_BLOCKS = 6
RATE = 1e-3
EASY_SHARE = 0.5
"""Share of GoEmotions' plainly neutral or happy comments seen in an epoch: they are two thirds of the corpus."""
CORPUS_WEIGHT = {"goemotions": 1.0, "meld": 1.5, "isear": 1.0}


@dataclass
class TextLearner:
    """What changes while training, and how many epochs are done."""

    network: MiniLM
    head: EmotionHead
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    epoch: int = 0
    best: float = -1.0
    kept: dict[str, Tensor] | None = None


def train(
    data: Path, output: Path, *, seed: int = 7, epochs: int = EPOCHS, limit: int | None = None, report: Report = silent
) -> Card:
    """Train on `data`/text and write `output`/text.safetensors and text.md; returns the card.

    `epochs` of every text alone, then two thirds as many of dialogues. An interrupted training goes on from its last whole epoch
    when it is started again with the same settings. `limit` keeps that many texts of each file, for a quick trial.
    InputError when a file of the corpora is missing, and where there is nothing to learn.
    """
    torch.manual_seed(seed)
    everything = read_corpora(data / "text", "train", limit)
    training, validation = everything.where(~everything.held), everything.where(everything.held)
    dialogue_epochs = -(-epochs * text_dialogue.EPOCHS // EPOCHS)
    output.mkdir(parents=True, exist_ok=True)
    parts = output / ".text.unfinished.pt", output / ".text.dialogue.unfinished.pt"
    learner = learn_texts(training, validation, seed, epochs, limit, parts[0], _as_part(report, 0, epochs + dialogue_epochs))
    if learner.kept is None:
        raise InputError("The training had no epoch; give --epochs 1 or more.")
    tensors = text_dialogue.learn_dialogues(
        learner.kept, training, seed=seed, epochs=dialogue_epochs, unfinished=parts[1],
        report=_as_part(report, epochs, epochs + dialogue_epochs),
    )  # fmt: skip
    size = text_dialogue.SHIPPED
    recipe = {"rank": RANK, "epochs": epochs, "added": size.rank, "blocks": size.blocks, "dialogue_epochs": dialogue_epochs}
    card = publish(tensors, training, validation, read_corpora(data / "text", "dev", limit), output, seed, recipe)
    for part in parts:
        part.unlink(missing_ok=True)
    return with_command(card, output / "text.md", "text", data=data, seed=seed, epochs=epochs, limit=limit)


def _as_part(report: Report, before: int, total: int) -> Report:
    """Progress of one part, told as of the whole training."""
    return lambda progress: report(Progress(before + progress.step, total, progress.figures))


def learn_texts(
    training: TextExamples, validation: TextExamples, seed: int, epochs: int, limit: int | None, unfinished: Path, report: Report
) -> TextLearner:
    """The first part: every text alone; the learner keeps the tensors of its best epoch on the validation part."""
    seen = len(seen_this_epoch(training, np.random.default_rng(seed)))
    learner = start_learner(max(epochs * seen // BATCH, 1))
    settings = f"{seed} {epochs} {limit} {RANK} {ADAPTED_BLOCKS} {RATE}"
    resume(learner, unfinished, settings)
    while learner.epoch < epochs:
        torch.manual_seed(1000 * seed + learner.epoch)  # so that a training that goes on draws what an unbroken one draws
        loss = learn_epoch(learner, training, np.random.default_rng([seed, learner.epoch]))
        figures = measure(predict(learner, validation)[0], validation)
        learner.epoch += 1
        if figures["score"] > learner.best:
            learner.best, learner.kept = figures["score"], trained_tensors(learner)
        keep(learner, unfinished, settings)
        report(Progress(learner.epoch, epochs, {"loss": loss, **figures}))
    return learner


def publish(
    tensors: dict[str, Tensor], training: TextExamples, validation: TextExamples, dev: TextExamples, output: Path, seed: int,
    recipe: dict[str, int],
) -> Card:  # fmt: skip
    """Calibrate on the validation part, measure on the dev files, and write weights and card."""
    logits, _ = text_dialogue.predict(tensors, validation)
    temperature = best_temperature(logits, validation.labels)
    go = validation.corpus == "goemotions"
    thresholds = best_thresholds(softmax(logits, temperature)[go], validation.labels[go])
    shown = training.where(some_of_each(training.labels))
    constants = {"centroids": class_means(text_dialogue.predict(tensors, shown)[1], shown.labels)}
    settings = {"modality": "text", "temperature": temperature, "multilabel_thresholds": thresholds}
    save_checkpoint(output / "text.safetensors", tensors, constants, settings)
    dev_logits = text_dialogue.predict(tensors, dev)[0] / temperature
    card = describe(dev_logits, dev, thresholds, seed, len(training.tokens), recipe)
    card.write(output / "text.md")
    return card


# ---- learning ------------------------------------------------------------------------------------------------------------


def start_learner(steps: int) -> TextLearner:
    """MiniLM with fresh adapters in its last blocks, a fresh head, AdamW, and a cosine schedule over `steps` with a warm-up."""
    network = MiniLM()
    network.load_state_dict(load_encoder().network.state_dict())
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the adapters are small enough, and it costs a tenth of the time
    add_adapters(network, RANK, ADAPTED_BLOCKS)
    head = EmotionHead()
    weights = [weight for weight in [*network.parameters(), *head.parameters()] if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    warm = min(200, steps // 10 + 1)

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / warm) * 0.5 * (1 + float(np.cos(np.pi * min(1.0, step / steps))))

    return TextLearner(network, head, optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor))


def learn_epoch(learner: TextLearner, examples: TextExamples, random: np.random.Generator) -> float:
    """One pass with bfloat16 matrix products; returns the mean loss."""
    learner.network.train()
    learner.head.train()
    targets = torch.from_numpy(examples.labels / examples.labels.sum(1, keepdims=True))
    weights = torch.tensor([CORPUS_WEIGHT[name] for name in examples.corpus])
    losses = []
    for chosen, tokens, mask in batches(examples.tokens, seen_this_epoch(examples, random), random):
        with torch.autocast("cpu", torch.bfloat16):
            states = learner.network(tokens, mask)
        logits = learner.head(mean_of_tokens(states.float(), mask))
        loss = (functional.cross_entropy(logits, targets[chosen], reduction="none") * weights[chosen]).mean()
        learner.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(learner.network.parameters(), 1.0)
        learner.optimiser.step()
        learner.schedule.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def seen_this_epoch(examples: TextExamples, random: np.random.Generator) -> NDArray[np.int64]:
    """Indices of all examples but for a share of GoEmotions' plainly neutral or happy comments."""
    single = examples.labels.sum(1) == 1
    common = (examples.labels[:, 0] + examples.labels[:, BASIC_EMOTIONS.index("happiness")]) == 1
    easy = single & common & (examples.corpus == "goemotions")
    return np.flatnonzero(~easy | (random.random(len(easy)) < EASY_SHARE))


def batches(
    pieces: Sequence[list[int]], rows: NDArray[np.int64], random: np.random.Generator | None = None
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Indices [B], padded tokens [B, L] and mask [B, L] of texts of similar length; in random order with `random`."""
    lengths = np.array([len(piece) for piece in pieces])
    shuffled = random.permutation(rows) if random else rows
    pools = [shuffled[start : start + 50 * BATCH] for start in range(0, len(shuffled), 50 * BATCH)]
    ordered = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    groups = [pool[start : start + BATCH] for pool in ordered for start in range(0, len(pool), BATCH)]
    for number in random.permutation(len(groups)) if random else range(len(groups)):
        chosen = groups[number]
        tokens = nn.utils.rnn.pad_sequence([torch.tensor(pieces[text]) for text in chosen], batch_first=True)
        yield chosen, tokens, torch.arange(tokens.shape[1]) < torch.from_numpy(lengths[chosen])[:, None]


def trained_tensors(learner: TextLearner) -> dict[str, Tensor]:
    """What is shipped, in half precision: 'adapters.*' and 'head.*'."""
    state = {f"adapters.{name}": value for name, value in adapter_state(learner.network).items()}
    state |= {f"head.{name}": value for name, value in learner.head.state_dict().items()}
    return {name: value.detach().half().clone() for name, value in state.items()}


def keep(learner: TextLearner, path: Path, settings: str) -> None:
    """Write everything that going on needs."""
    write_resume(
        path, {"settings": settings}, epoch=learner.epoch, best=learner.best, kept=learner.kept,
        adapters=adapter_state(learner.network), head=learner.head.state_dict(),
        optimiser=learner.optimiser.state_dict(), schedule=learner.schedule.state_dict(),
    )  # fmt: skip


def resume(learner: TextLearner, path: Path, settings: str) -> None:
    """Go on from what `keep` wrote, where it was written with the same settings."""
    if state := read_resume(path, {"settings": settings}):
        learner.network.load_state_dict(state["adapters"], strict=False)
        learner.head.load_state_dict(state["head"])
        learner.optimiser.load_state_dict(state["optimiser"])
        learner.schedule.load_state_dict(state["schedule"])
        learner.epoch, learner.best, learner.kept = state["epoch"], state["best"], state["kept"]


def predict(learner: TextLearner, examples: TextExamples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [N, 7] and features [N, 384]."""
    learner.network.eval()
    learner.head.eval()
    logits = np.zeros((len(examples.tokens), len(BASIC_EMOTIONS)), np.float32)
    features = np.zeros((len(examples.tokens), learner.head.logits.in_features), np.float32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for chosen, tokens, mask in batches(examples.tokens, np.arange(len(examples.tokens))):
            pooled = mean_of_tokens(learner.network(tokens, mask).float(), mask)
            logits[chosen], features[chosen] = learner.head(pooled).float().numpy(), pooled.numpy()
    return logits, features
