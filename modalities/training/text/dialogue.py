"""Second part of the training of text: dialogues, heard with what was said before, beside a share of the comments.

The updates of the first part join the encoder; fresh ones of low rank in its last blocks, the linear head of comments and a new
head of dialogues learn on. What the lower blocks make of a text no longer changes, so it is computed once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from modalities.encoders.minilm import LAYERS, MiniLM, adapter_state, add_adapters, joined_adapters, mean_of_tokens
from modalities.encoders.sentence_encoder import load_encoder
from modalities.text.embedded import earlier_lines
from modalities.text.heads import EARLIER, DialogueHead, EmotionHead, dialogue_head, mixed_logits
from modalities.training.common import Progress, Report, read_resume, silent, write_resume
from modalities.training.text.corpora import TextExamples

EPOCHS = 2
RATE, HEAD_RATE = 7e-4, 1e-3
DIALOGUES = 10
"""Whole dialogues in a batch, about a hundred lines."""
COMMENT_WEIGHT = 0.5
RARE = 0.3
"""A line counts by its class's share to the power of minus this."""
SMOOTHING = 0.05
UNHEARD = 0.3
"""Share of the dialogues whose lines are learned without those before."""
AVERAGED = 0.98
DROPOUT = 0.1


@dataclass(frozen=True)
class Size:
    """How much learns: updates of `rank` in the last `blocks` blocks, the `hidden` width of the new head; the width of its view
    of each earlier line; and beside each batch of dialogues so many `comments` and reports."""

    blocks: int = 3
    rank: int = 16
    hidden: int = 256
    narrow: int = 96
    comments: int = 48


SHIPPED = Size()


@dataclass
class DialogueLearner:
    """What changes while learning dialogues, the running mean of it, and how many epochs are done."""

    size: Size
    network: MiniLM
    comments: EmotionHead
    dialogue: DialogueHead
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    average: list[Tensor] = field(default_factory=list)
    steps: int = 0
    epoch: int = 0

    def weights(self) -> list[nn.Parameter]:
        """Everything that learns."""
        modules = (self.network, self.comments, self.dialogue)
        return [weight for module in modules for weight in module.parameters() if weight.requires_grad]


def learn_dialogues(
    kept: Mapping[str, Tensor], examples: TextExamples, *, seed: int, epochs: int, unfinished: Path, size: Size = SHIPPED,
    report: Report = silent,
) -> dict[str, Tensor]:  # fmt: skip
    """Learn on from the tensors of the first part; returns those that ship, in half precision."""
    torch.manual_seed(seed)
    spoken, written = dialogues_of(examples), np.flatnonzero(examples.dialogue < 0)
    batches = -(-len(spoken) // DIALOGUES)
    learner = start_learner(kept, max(epochs * batches, 1), size)
    settings = f"{seed} {epochs} {len(examples.tokens)} {size.rank} {size.blocks} {RATE} {size.comments}"
    resume(learner, unfinished, settings)
    order = np.random.default_rng(seed).permutation(written)[: epochs * batches * size.comments]
    shares = np.array_split(order, max(epochs, 1))
    needed = np.concatenate([*spoken, *shares[learner.epoch :]]) if learner.epoch < epochs else order[:0]
    lower = lower_states(learner.network, LAYERS - size.blocks, examples, needed)
    while learner.epoch < epochs:
        torch.manual_seed(2000 * seed + learner.epoch)  # so that a training that goes on draws what an unbroken one draws
        random = np.random.default_rng([seed, 2000 + learner.epoch])
        loss = learn_epoch(learner, examples, lower, spoken, shares[learner.epoch], random)
        learner.epoch += 1
        keep(learner, unfinished, settings)
        report(Progress(learner.epoch, epochs, {"loss": loss}))
    lines = epochs * sum(map(len, spoken))
    return shipped_tensors(learner, kept, float(np.log(lines / len(order))) if lines and len(order) else 0.0)


def dialogues_of(examples: TextExamples) -> list[NDArray[np.int64]]:
    """The indices of each dialogue's lines, in order of time."""
    lines = np.flatnonzero(examples.dialogue >= 0)
    return [lines[examples.dialogue[lines] == name] for name in dict.fromkeys(examples.dialogue[lines].tolist())]


def start_learner(kept: Mapping[str, Tensor], steps: int, size: Size = SHIPPED) -> DialogueLearner:
    """The encoder with the first part's updates inside and fresh ones in its last blocks, both heads, and AdamW."""
    network = load_encoder(part_of(kept, "adapters.")).network
    for block in list(network.blocks)[LAYERS - size.blocks :]:
        block.dropout.p = DROPOUT  # type: ignore[union-attr]
    add_adapters(network, size.rank, size.blocks)
    comments, dialogue = EmotionHead(), DialogueHead(size.hidden, size.narrow)
    comments.load_state_dict(part_of(kept, "head."))
    dialogue.norm.load_state_dict(comments.norm.state_dict())
    groups = [
        {"params": [weight for weight in network.parameters() if weight.requires_grad], "lr": RATE},
        {"params": [*comments.parameters(), *dialogue.parameters()], "lr": HEAD_RATE},
    ]

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / 40) * 0.5 * (1 + float(np.cos(np.pi * min(1.0, step / steps))))

    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    learner = DialogueLearner(size, network, comments, dialogue, optimiser, schedule)
    learner.average = [weight.detach().clone() for weight in learner.weights()]
    return learner


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one module, without its prefix, in full precision."""
    return {name.removeprefix(prefix): value.float() for name, value in tensors.items() if name.startswith(prefix)}


@torch.inference_mode()
def lower_states(network: MiniLM, blocks: int, examples: TextExamples, rows: NDArray[np.int64]) -> dict[int, Tensor]:
    """What the first `blocks` blocks, which do not change, make of the texts `rows`: bfloat16 states [L, 384] of each."""
    states: dict[int, Tensor] = {}
    network.eval()
    lengths = np.array([len(examples.tokens[row]) for row in rows], np.int64)
    for chosen in np.array_split(np.argsort(lengths, kind="stable"), len(rows) // 64 + 1):
        if not len(chosen):
            break
        batch = rows[chosen]
        tokens, mask = padded([torch.tensor(examples.tokens[row]) for row in batch])
        with torch.autocast("cpu", torch.bfloat16):
            made = network.lower(tokens, mask, blocks).bfloat16()
        states |= {int(row): made[number, : lengths[chosen[number]]].clone() for number, row in enumerate(batch)}
    return states


def padded(pieces: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Pieces [L, ...] in one tensor [B, L, ...] with their mask [B, L]."""
    joined = nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    lengths = torch.tensor([len(piece) for piece in pieces])
    return joined, torch.arange(joined.shape[1]) < lengths[:, None]


def learn_epoch(
    learner: DialogueLearner,
    examples: TextExamples,
    lower: Mapping[int, Tensor],
    spoken: list[NDArray[np.int64]],
    written: NDArray[np.int64],
    random: np.random.Generator,
) -> float:
    """Every dialogue once, in batches of whole ones beside some comments; returns the mean loss."""
    for module in (learner.network, learner.comments, learner.dialogue):
        module.train()
    targets = torch.from_numpy(examples.labels / examples.labels.sum(1, keepdims=True))
    rare = rare_weights(targets[np.concatenate(spoken)]) if spoken else torch.ones(targets.shape[1])
    losses = []
    for lines, earlier, beside in batches_of(spoken, written, random):
        pooled = pooled_upper(learner.network, learner.size.blocks, [lower[int(row)] for row in [*lines, *beside]])
        said, wrote = pooled[: len(lines)], pooled[len(lines) :]
        kind = (torch.arange(len(pooled)) < len(lines)).float()
        loss = functional.binary_cross_entropy_with_logits(learner.dialogue.said_logit(pooled), kind)
        loss = loss + functional.cross_entropy(
            learner.dialogue(said, earlier), targets[lines], weight=rare, label_smoothing=SMOOTHING
        )
        if len(beside):
            loss = loss + COMMENT_WEIGHT * functional.cross_entropy(learner.comments(wrote), targets[beside])
        step(learner, loss)
        losses.append(float(loss.detach()))
    return float(np.mean(losses)) if losses else 0.0


def rare_weights(targets: Tensor) -> Tensor:
    """A weight for each class of targets [N, 7], larger where it is rare; their mean over the targets is 1."""
    share = targets.mean(0).clamp(min=1e-3)
    weights = share**-RARE
    return weights / (weights * share).sum()


def batches_of(
    spoken: list[NDArray[np.int64]], written: NDArray[np.int64], random: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], Tensor, NDArray[np.int64]]]:
    """Indices of the lines [L] of some dialogues, where in them the earlier lines are [L, 3], and indices of comments."""
    order = random.permutation(len(spoken))
    groups = [order[start : start + DIALOGUES] for start in range(0, len(order), DIALOGUES)]
    for group, beside in zip(groups, np.array_split(written, max(1, len(groups))), strict=True):
        earlier = earlier_lines([number for number in group for _ in spoken[number]])
        heard = np.concatenate([np.full(len(spoken[number]), random.random() >= UNHEARD) for number in group])
        lines = np.concatenate([spoken[number] for number in group])
        yield lines, torch.from_numpy(np.where(heard[:, None], earlier, -1)), beside


def pooled_upper(network: MiniLM, blocks: int, states: list[Tensor]) -> Tensor:
    """Mean token states [B, 384] of texts, from their states [L, 384] before the last `blocks` blocks."""
    lengths = np.array([len(one) for one in states])
    order = np.argsort(lengths, kind="stable")
    made = []
    with torch.autocast("cpu", torch.bfloat16):
        for part in np.array_split(order, max(1, min(len(order), int(lengths.sum()) // 500))):
            joined, mask = padded([states[number] for number in part])
            made.append(mean_of_tokens(network.upper(joined, mask, blocks).float(), mask))
    return torch.cat(made)[torch.from_numpy(np.argsort(order))]


def step(learner: DialogueLearner, loss: Tensor) -> None:
    """One step of the optimiser, and of the running mean."""
    learner.optimiser.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(learner.network.parameters(), 1.0)
    learner.optimiser.step()
    learner.schedule.step()
    learner.steps += 1
    share = min(AVERAGED, (1 + learner.steps) / (10 + learner.steps))
    with torch.no_grad():
        for mean, weight in zip(learner.average, learner.weights(), strict=True):
            mean.lerp_(weight, 1 - share)


def shipped_tensors(learner: DialogueLearner, kept: Mapping[str, Tensor], spoken_odds: float = 0.0) -> dict[str, Tensor]:
    """The running means with the first part's updates: 'adapters.*', 'head.*' and 'dialogue.*' in half precision.

    `spoken_odds` are the log odds of lines among what was learned; without them both kinds are taken as equally likely.
    """
    with torch.no_grad():
        for mean, weight in zip(learner.average, learner.weights(), strict=True):
            weight.copy_(mean)
        learner.dialogue.said.bias.sub_(spoken_odds)
    adapters = joined_adapters(part_of(kept, "adapters."), adapter_state(learner.network))
    state = {f"adapters.{name}": value for name, value in adapters.items()}
    state |= {f"head.{name}": value for name, value in learner.comments.state_dict().items()}
    state |= {f"dialogue.{name}": value for name, value in learner.dialogue.state_dict().items()}
    return {name: value.detach().half().clone() for name, value in state.items()}


def keep(learner: DialogueLearner, path: Path, settings: str) -> None:
    """Write everything that going on needs."""
    write_resume(
        path, {"settings": settings}, weights=[weight.detach() for weight in learner.weights()], average=learner.average,
        steps=learner.steps, epoch=learner.epoch,
        optimiser=learner.optimiser.state_dict(), schedule=learner.schedule.state_dict(),
    )  # fmt: skip


def resume(learner: DialogueLearner, path: Path, settings: str) -> None:
    """Go on from what `keep` wrote, where it was written with the same settings."""
    state = read_resume(path, {"settings": settings})
    if state is None:
        return
    with torch.no_grad():
        for weight, value in zip(learner.weights(), state["weights"], strict=True):
            weight.copy_(value)
    learner.average, learner.steps, learner.epoch = state["average"], state["steps"], state["epoch"]
    learner.optimiser.load_state_dict(state["optimiser"])
    learner.schedule.load_state_dict(state["schedule"])


@torch.inference_mode()
def predict(tensors: Mapping[str, Tensor], examples: TextExamples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [N, 7] (log probabilities of the heads' mixture) and features [N, 384] that shipped tensors give."""
    network = load_encoder(part_of(tensors, "adapters.")).network
    comments, dialogue = EmotionHead().eval(), dialogue_head(part_of(tensors, "dialogue."))
    comments.load_state_dict(part_of(tensors, "head."))
    pooled = torch.zeros(len(examples.tokens), comments.logits.in_features)
    order = np.argsort([len(tokens) for tokens in examples.tokens], kind="stable")
    for chosen in np.array_split(order, max(1, len(order) // 64)):
        tokens, mask = padded([torch.tensor(examples.tokens[row]) for row in chosen])
        with torch.autocast("cpu", torch.bfloat16):
            states = network(tokens, mask)
        pooled[torch.from_numpy(chosen)] = mean_of_tokens(states.float(), mask)
    earlier = torch.from_numpy(examples.earlier().reshape(-1, EARLIER))
    spoken = torch.from_numpy(examples.dialogue >= 0)
    return mixed_logits(pooled, earlier, spoken, comments, dialogue).numpy(), pooled.numpy()
