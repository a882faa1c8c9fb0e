"""Training of our head over a frozen speech encoder on RAVDESS speech (Livingstone & Russo 2018).

The encoder hears every utterance, and its distorted copies, once; what it says is kept in a file, and the head learns from it.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.files import write_text
from data.metrics import calibration_error, per_class_recall, scores_of
from data.precision import Precision
from modalities.loading.batching import answer_batch
from modalities.loading.checkpoint import Card, save_checkpoint
from modalities.speech.detect import Wave
from modalities.training.common import Progress, Report, read_resume, silent, with_command, write_resume
from modalities.training.voice.corpus import SpeechCorpus, distort, read_ravdess
from modalities.training.voice.train import best_temperature
from modalities.voice.speech_encoder import OURS, SpeechEncoder, by_length, layered_states, load_encoder
from modalities.voice.speech_heads import HeadAnswer, LayeredHead

EPOCHS = 60
COPIES = 3
"""Distorted copies of every utterance, beside the clean one."""
HEARD, BATCH = 8, 32
RATE, WEIGHT_DECAY, LABEL_SMOOTHING = 1e-3, 0.02, 0.1
CLEAN_SHARE = 0.4
"""Chance of the clean utterance rather than a copy."""


@dataclass(frozen=True)
class States:
    """What the encoder said of all utterances and copies on end [F, L, D] (half precision), and where each begins.

    `starts` and `lengths` are [N, 1 + copies], copy 0 being the clean utterance; `emotions` and `actors` are [N].
    """

    frames: NDArray[np.float16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    emotions: Tensor
    actors: NDArray[np.int64]

    def batch(self, rows: NDArray[np.int64], copies: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """States [B, L, T, D] and mask [B, T] of a copy of each of some utterances."""
        lengths, starts = self.lengths[rows, copies], self.starts[rows, copies]
        states = np.zeros((len(rows), lengths.max(), *self.frames.shape[1:]), np.float32)
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            states[row, :length] = self.frames[start : start + length]
        mask = np.arange(states.shape[1]) < lengths[:, None]
        return torch.from_numpy(states).transpose(1, 2), torch.from_numpy(mask)


@dataclass(frozen=True)
class Split:
    """Numbers of the utterances to learn from, to choose the epoch by, and to measure on; no actor is in two of them."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def train(
    data: Path, output: Path, *, encoder: Path, seed: int = 7, epochs: int = EPOCHS, limit: int | None = None,
    copies: int = COPIES, device: str = "cpu", precision: Precision = "auto", report: Report = silent,
) -> Card:  # fmt: skip
    """Train a head over the encoder in the folder `encoder`; write `output`/speech_head.safetensors and speech_head.md.

    The recordings are those in `data`/audio/ravdess_speech. An interrupted training goes on where it was when it is started
    again with the same settings. `limit` keeps that many utterances of each actor. The states are kept in `output` until the
    end, in half precision: about 25 kB for each layer and second of audio. InputError when the recordings are missing.
    """
    if epochs < 1:
        raise InputError("The training has no epoch; give --epochs 1 or more.")
    corpus = read_ravdess(data, limit)
    split = split_of(corpus.actors)
    listener = load_encoder(encoder, device=device, precision=precision)
    output.mkdir(parents=True, exist_ok=True)
    settings = f"{listener.digest} {listener.dtype} {seed} {limit} {copies}"
    total = -(-len(corpus.waves) * (1 + copies) // HEARD) + epochs
    states = hear_all(listener, corpus, output, settings, seed, copies, lambda step: report(Progress(step, total, {})))
    unfinished = output / ".speech_head.unfinished.pt"
    head = fit(states, split, seed, epochs, unfinished, f"{settings} {epochs}",
               lambda done: report(Progress(total - epochs + done.step, total, done.figures)))
    card = publish(head, states, split, output, encoder.name, listener.digest, seed)
    for file in (unfinished, *_states_files(output)):
        file.unlink(missing_ok=True)
    given = {"encoder": encoder, "data": data, "seed": seed, "epochs": epochs, "limit": limit}
    return with_command(card, output / "speech_head.md", "voice-head", **given)


def split_of(actors: NDArray[np.int64]) -> Split:
    """The utterances by pairs of actors, a man and a woman each; InputError when a part would be empty."""
    pair = (actors - 1) // 2 % 4
    split = Split(*(np.flatnonzero(np.isin(pair, chosen)) for chosen in ((0, 2), (1,), (3,))))
    if not (len(split.training) and len(split.validation) and len(split.test)):
        raise InputError("The recordings are of too few actors to learn, choose and measure on different ones; give those of "
                         "actors 1 to 8 at least.")
    return split


# ---- what the encoder says -----------------------------------------------------------------------------------------------


def hear_all(
    encoder: SpeechEncoder, corpus: SpeechCorpus, output: Path, settings: str, seed: int, copies: int,
    report: Callable[[int], None],
) -> States:  # fmt: skip
    """The encoder's states of all utterances and copies, heard now or in an earlier run; `report` is told the batches done."""
    frames, notes = _states_files(output)
    known = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() and frames.is_file() else {}
    if known.get("settings") != settings:
        known = {"settings": settings, "lengths": [], "shape": []}
    lengths: list[int] = known["lengths"]
    with frames.open("r+b" if lengths else "wb") as stream:
        stream.truncate(2 * sum(lengths) * int(np.prod(known["shape"])))
        stream.seek(0, 2)
        remaining = islice(_utterances(corpus, seed, copies), len(lengths), None)
        while waves := list(islice(remaining, HEARD)):
            found = answer_batch(listen, encoder, waves)
            stream.write(b"".join(part.tobytes() for part in found))
            stream.flush()
            lengths += [len(part) for part in found]
            write_text(notes, json.dumps({"settings": settings, "lengths": lengths, "shape": found[0].shape[1:]}))
            report(-(-len(lengths) // HEARD))
    shape = json.loads(notes.read_text(encoding="utf-8"))["shape"]
    sizes = np.array(lengths, np.int64).reshape(-1, 1 + copies)
    starts = (np.cumsum(sizes) - sizes.ravel()).reshape(sizes.shape)
    return States(np.memmap(frames, np.float16, "r", shape=(int(sizes.sum()), *shape)), starts, sizes,
                  torch.from_numpy(corpus.emotions), corpus.actors)


def listen(encoder: SpeechEncoder, waves: list[Wave]) -> list[NDArray[np.float16]]:
    """Pooled states [T, L, D] of each utterance, without padding."""

    def answer(part: list[Wave]) -> list[NDArray[np.float16]]:
        states, mask = layered_states(encoder, part)
        halves = states.transpose(1, 2).half().cpu().numpy()
        return [one[inside] for one, inside in zip(halves, mask.cpu().numpy(), strict=True)]

    return by_length(encoder, waves, answer)


def _utterances(corpus: SpeechCorpus, seed: int, copies: int) -> Iterator[Wave]:
    """Every utterance followed by its distorted copies, which depend on the seed and its index."""
    for index, wave in enumerate(corpus.waves):
        yield wave
        for copy in range(copies):
            yield distort(wave, corpus.waves, np.random.default_rng([seed, index, copy]))


def _states_files(output: Path) -> tuple[Path, Path]:
    """Where the states lie until the end, and what is known of them."""
    return output / ".speech_head.states", output / ".speech_head.states.json"


# ---- learning ------------------------------------------------------------------------------------------------------------


def fit(
    states: States, split: Split, seed: int, epochs: int, unfinished: Path, settings: str, report: Report = silent
) -> LayeredHead:
    """The head of the epoch with the best UAR on the validation actors; `unfinished` keeps every epoch until then."""
    torch.manual_seed(seed)
    head = LayeredHead(*states.frames.shape[1:])
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    about = {"settings": settings}
    if kept := read_resume(unfinished, about):
        head.load_state_dict(kept["head"])
        optimiser.load_state_dict(kept["optimiser"])
    else:
        kept = {"epoch": 0, "uar": -1.0}
    truth = states.emotions[split.validation].numpy()
    for epoch in range(kept["epoch"] + 1, epochs + 1):
        loss = _one_epoch(head, optimiser, states, split.training, seed, epoch, epochs)
        answers = logits_of(head, states, split.validation).argmax(1).numpy()
        uar = float(np.nanmean(per_class_recall(truth, answers, len(BASIC_EMOTIONS))))
        if uar > kept["uar"]:
            kept |= {"uar": uar, "best": {name: value.clone() for name, value in head.state_dict().items()}}
        kept |= {"epoch": epoch, "head": head.state_dict(), "optimiser": optimiser.state_dict()}
        write_resume(unfinished, about, **kept)
        report(Progress(epoch, epochs, {"loss": loss, "validation_uar": uar}))
    head.load_state_dict(kept["best"])
    return head.eval()


def _one_epoch(
    head: LayeredHead, optimiser: torch.optim.Optimizer, states: States, rows: NDArray[np.int64], seed: int, epoch: int,
    epochs: int,
) -> float:  # fmt: skip
    """One pass over the utterances, a copy of each by chance; the mean loss. Chance depends on seed and epoch alone."""
    chance = np.random.default_rng([seed, epoch])
    torch.manual_seed(1000 * seed + epoch)
    counts = torch.bincount(states.emotions[rows], minlength=len(BASIC_EMOTIONS)).clamp_min(1)
    rarity = (len(rows) / len(BASIC_EMOTIONS) / counts).sqrt()
    order = chance.permutation(rows)
    steps = max(1, len(order) // BATCH)
    losses = []
    head.train()
    for step, part in enumerate(np.array_split(order, steps)):
        _set_rate(optimiser, ((epoch - 1) * steps + step) / (epochs * steps))
        highest = states.lengths.shape[1]
        copies = np.where(chance.random(len(part)) < CLEAN_SHARE, 0, chance.integers(0, highest, len(part)))
        logits, _ = head(*states.batch(part, copies))
        loss = F.cross_entropy(logits, states.emotions[part], rarity, label_smoothing=LABEL_SMOOTHING)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(head.parameters(), 2.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def _set_rate(optimiser: torch.optim.Optimizer, done: float) -> None:
    """The learning rate at a part of the training: up within a tenth, then down by a cosine."""
    for group in optimiser.param_groups:
        group["lr"] = RATE * (max(done, 0.005) / 0.1 if done < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (done - 0.1) / 0.9))


def logits_of(head: LayeredHead, states: States, rows: NDArray[np.int64], copy: int = 0) -> Tensor:
    """Logits [B, 7] of utterances."""
    return torch.cat([part.logits for part in _answers(head, states, rows, copy)])


def _answers(head: LayeredHead, states: States, rows: NDArray[np.int64], copy: int = 0) -> Iterator[HeadAnswer]:
    """What the head says of utterances, a batch at a time."""
    head.eval()
    with torch.inference_mode():
        for part in np.array_split(rows, -(-len(rows) // BATCH)):
            yield head(*states.batch(part, np.full(len(part), copy)))


# ---- publishing ----------------------------------------------------------------------------------------------------------


def publish(head: LayeredHead, states: States, split: Split, output: Path, encoder: str, digest: str, seed: int) -> Card:
    """Write weights and card; temperature by the validation actors, centroids by the training's, figures by the test's."""
    temperature = best_temperature(logits_of(head, states, split.validation), states.emotions[split.validation])
    features = torch.cat([part.features for part in _answers(head, states, split.training)])
    learnt = states.emotions[split.training]
    centroids = torch.stack([features[learnt == k].mean(0) if (learnt == k).any() else torch.zeros(features.shape[1])
                             for k in range(len(BASIC_EMOTIONS))])
    save_checkpoint(output / "speech_head.safetensors", head.state_dict(), {"centroids": centroids},
                    {"modality": OURS, "temperature": temperature, "network": head.settings, "encoder": encoder,
                     "encoder_digest": digest})
    card = describe(head, states, split, temperature, encoder, digest, seed)
    card.write(output / "speech_head.md")
    return card


def describe(
    head: LayeredHead, states: States, split: Split, temperature: float, encoder: str, digest: str, seed: int
) -> Card:
    """The model card, its figures on actors who were neither learnt from nor used to choose the epoch."""
    truth = states.emotions[split.test].numpy()
    probabilities = (logits_of(head, states, split.test) / temperature).softmax(-1).numpy()
    metrics = scores_of(truth, probabilities.argmax(1)) | {"calibration_error": calibration_error(probabilities, truth)}
    if states.lengths.shape[1] > 1:
        metrics["distorted_uar"] = scores_of(truth, logits_of(head, states, split.test, 1).argmax(1).numpy())["uar"]
    recall = per_class_recall(truth, probabilities.argmax(1), len(BASIC_EMOTIONS))
    counts = [len(set(states.actors[rows].tolist())) for rows in (split.training, split.validation, split.test)]
    return Card(
        name="speech_head",
        data=f"RAVDESS speech, audio only, {sum(counts)} actors, {len(states.emotions)} utterances; calm counts as neutral",
        terms=f"CC BY-NC-SA 4.0 (RAVDESS); the encoder {encoder} has terms of its own and is not part of this file",
        command="",
        seed=seed,
        date=date.today().isoformat(),
        split="{} actors to learn from, {} to choose the epoch and the temperature, {} for the metrics".format(*counts),
        metrics={name: round(float(value), 4) for name, value in metrics.items()},
        per_class_recall=dict(zip(BASIC_EMOTIONS, np.round(recall, 4).tolist(), strict=True)),
        corpora=["ravdess"],
        text=CARD_TEXT.format(encoder=encoder, digest=digest, copies=states.lengths.shape[1] - 1),
    )


CARD_TEXT = """# Emotion of a voice, over a speech encoder

A head of ours over the frozen encoder {encoder} ({digest}): a learnt mixture of all its layers, attentive statistics over
time, two linear layers. It answers only over the very encoder it was trained with. {copies} distorted copies of every utterance
(speed, room, channel, noise, other voices, clipping, companding) were heard beside the clean one; `distorted_uar` is measured
on such copies of the test actors' utterances.

Two sentences, North American English, acted: expect much less in other languages and in spontaneous speech. Do not use it to
judge persons.
"""
