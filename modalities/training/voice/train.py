"""Training of the voice on RAVDESS speech (Livingstone & Russo 2018): a network, and a layer over an encoder of speakers.

The published figures come from five folds of actors: neither of a fold's two listeners heard the actors it is measured on. The
shipped ones are then fitted in the same way on all actors.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.metrics import calibration_error, per_class_recall, scores_of
from modalities.loading.checkpoint import Card, save_checkpoint
from modalities.model_store.local import archive_file
from modalities.training import common
from modalities.training.common import Progress, Report, follow, read_resume, silent, write_resume
from modalities.training.voice.corpus import SpeechCorpus, distort, read_ravdess
from modalities.training.voice.start import MODEL, read_speaker
from modalities.voice.network import MEL_BANDS, SpeechFeatures, VoiceNetwork
from modalities.voice.speaker import SpeakerStates, both, packed

EPOCHS = 40
FOLDS = 5
VARIANTS = 12
"""Distorted copies of every utterance, beside the clean one."""
CLEAN_SHARE = 0.15
BATCH = 48
SHORTEST, LONGEST = 100, 190
"""Frames of a batch's utterances: each batch draws its own length, and pieces of that length from its utterances."""
RATE, WEIGHT_DECAY, AVERAGING = 2e-3, 0.02, 0.98
LABEL_SMOOTHING, MIXUP = 0.1, 0.3
RIDGE = 0.02
"""Twice the weight of the layer's squared weights; with a third or three times of it nothing changes by more than chance."""
COMMAND = "dyad train voice --data ../shared/datasets"


@dataclass(frozen=True)
class SpeechExamples:
    """Frames of all utterances and variants on end [F, 70] (half precision); where each begins and how many it has.

    `starts` and `lengths` are [N, 1 + VARIANTS], variant 0 being the clean utterance; `emotions` and `actors` are [N]. `states`
    [N, 1 + VARIANTS, 512] is what the encoder of speakers holds of each.
    """

    frames: Tensor
    starts: Tensor
    lengths: Tensor
    emotions: Tensor
    actors: Tensor
    states: Tensor

    def where(self, chosen: Tensor) -> "SpeechExamples":
        """The chosen utterances."""
        rest = (part[chosen] for part in (self.starts, self.lengths, self.emotions, self.actors, self.states))
        return SpeechExamples(self.frames, *rest)

    def utterance(self, index: int, variant: int = 0) -> Tensor:
        """Frames [70, T] of one utterance."""
        start = int(self.starts[index, variant])
        return self.frames[start : start + int(self.lengths[index, variant])].T.float()


class Unfinished:
    """The file of what an interrupted training has finished: the frames, then the network of each fold."""

    def __init__(self, path: Path, settings: str) -> None:
        self.path, self.about = path, {"settings": settings}
        self.parts = read_resume(path, self.about) or {}

    def keep(self, name: str, part: object) -> None:
        """Add a part and write the file anew."""
        self.parts[name] = part
        write_resume(self.path, self.about, **self.parts)


def train(
    data: Path, output: Path, *, seed: int = 7, epochs: int = EPOCHS, limit: int | None = None, start: str = "",
    report: Report = silent,
) -> Card:  # fmt: skip
    """Train on `data`/audio/ravdess_speech and write `output`/voice.safetensors and voice.md; returns the card.

    An interrupted training goes on after its last finished part (the frames, then each fold) when it is started again with
    the same settings. `limit` keeps that many utterances of each actor, for a quick trial. `start` is the archive with the
    encoder of speakers, the one that 'dyad models download' fetched when empty. InputError when the recordings are missing.
    """
    if epochs < 1:
        raise InputError("The training has no epoch; give --epochs 1 or more.")
    speaker = read_speaker(Path(start) if start else archive_file(MODEL, "The training hears with"))
    output.mkdir(parents=True, exist_ok=True)
    unfinished = Unfinished(output / ".voice.unfinished.pt", f"{seed} {epochs} {limit} {VARIANTS} {FOLDS} {start}")
    if "examples" not in unfinished.parts:
        unfinished.keep("examples", vars(make_examples(read_ravdess(data, limit), speaker, seed, VARIANTS)))
    examples = SpeechExamples(**unfinished.parts["examples"])
    logits = torch.zeros(2, len(examples.emotions), len(BASIC_EMOTIONS))
    for fold in range(FOLDS):
        away = (examples.actors - 1) % FOLDS == fold
        if f"fold {fold}" not in unfinished.parts:
            learned = examples.where(~away)
            network = fit(learned, seed + 1 + fold, epochs, _within(report, fold, epochs))
            unfinished.keep(f"fold {fold}", answers_of(network, fit_layer(learned), examples.where(away)))
        logits[:, away] = unfinished.parts[f"fold {fold}"]
    network = fit(examples, seed, epochs, _within(report, FOLDS, epochs))
    card = publish(network, speaker, examples, logits, output, seed, epochs)
    unfinished.path.unlink(missing_ok=True)
    return card


def _within(report: Report, part: int, epochs: int) -> Report:
    """Report the steps of one of the `FOLDS` + 1 fits as steps of the whole."""
    return lambda progress: report(Progress(part * epochs + progress.step, (FOLDS + 1) * epochs, progress.figures))


# ---- examples ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def make_examples(corpus: SpeechCorpus, speaker: SpeakerStates, seed: int, variants: int) -> SpeechExamples:
    """What both listeners read of every utterance and of its distorted copies, which depend on the seed and its index."""
    features = SpeechFeatures()
    features.set_filters()
    found, states = list[Tensor](), list[Tensor]()
    for index, wave in enumerate(corpus.waves):
        chance = np.random.default_rng([seed, index])
        copies = [wave, *(distort(wave, corpus.waves, chance) for _ in range(variants))]
        found += [features(torch.from_numpy(copy)).T.half() for copy in copies]
        states += [speaker(torch.from_numpy(copy)) for copy in copies]
    lengths = torch.tensor([len(frames) for frames in found])
    shape = (len(corpus.waves), 1 + variants)
    return SpeechExamples(torch.cat(found), (lengths.cumsum(0) - lengths).view(shape), lengths.view(shape),
                    torch.from_numpy(corpus.emotions), torch.from_numpy(corpus.actors), torch.stack(states).view(*shape, -1))


def draw(examples: SpeechExamples, rows: Tensor, chance: np.random.Generator) -> Tensor:
    """Pieces [B, 70, T] of the utterances `rows`, each of a random variant, start, tempo, vocal tract and with parts masked.

    A piece that is longer than its utterance starts over at the utterance's beginning.
    """
    count, length = len(rows), 2 * int(chance.integers(SHORTEST // 2, LONGEST // 2))
    variants = np.where(chance.random(count) < CLEAN_SHARE, 0, chance.integers(0, examples.starts.shape[1], count))
    sizes = examples.lengths[rows, variants].numpy()
    tempo = np.where(chance.random(count) < 0.6, 2.0 ** chance.uniform(-0.3, 0.3, count), 1.0)
    starts = (chance.random(count) * np.maximum(sizes - length * tempo, 0.0)).astype(np.int64)
    steps = (np.arange(length) * tempo[:, None]).astype(np.int64)
    indices = examples.starts[rows, variants][:, None] + torch.from_numpy((starts[:, None] + steps) % sizes[:, None])
    bands = _other_tract(count, chance)
    frames = examples.frames[indices[:, :, None], bands[:, None, :]].transpose(1, 2).float()
    return _masked(frames, chance)


def _other_tract(count: int, chance: np.random.Generator) -> Tensor:
    """Rows of the frames [B, 70] with the bands moved by up to two in half of the cases, as another length of throat does."""
    moved = np.where(chance.random(count) < 0.5, chance.integers(-2, 3, count), 0)
    bands = (np.arange(MEL_BANDS) - moved[:, None]).clip(0, MEL_BANDS - 1)
    prosody = np.arange(MEL_BANDS, MEL_BANDS + 6)
    return torch.from_numpy(np.concatenate([bands, np.tile(prosody, (count, 1))], 1))


def _masked(frames: Tensor, chance: np.random.Generator) -> Tensor:
    """Two stretches of time and two of frequency silenced at random (Park et al. 2019); sometimes all prosody; pitch moved."""
    count, _, length = frames.shape
    frames[:, MEL_BANDS + 1] += torch.from_numpy(chance.normal(0, 0.1, (count, 1))).float() * frames[:, MEL_BANDS + 3]
    for _ in range(2):
        frames[:, :MEL_BANDS] *= ~_stretch(count, MEL_BANDS, 10, chance)[:, :, None]
        frames *= ~_stretch(count, length, 14, chance)[:, None, :]
    frames[:, MEL_BANDS:] *= torch.from_numpy(chance.random((count, 1, 1)) > 0.1)
    return frames


def _stretch(count: int, length: int, longest: int, chance: np.random.Generator) -> Tensor:
    """A random stretch [B, length] of up to `longest` steps, none in 3 of 5 cases."""
    sizes = np.where(chance.random(count) < 0.4, chance.integers(1, longest, count), 0)
    starts = (chance.random(count) * (length - sizes)).astype(np.int64)
    steps = np.arange(length)
    return torch.from_numpy((steps >= starts[:, None]) & (steps < (starts + sizes)[:, None]))


# ---- learning ------------------------------------------------------------------------------------------------------------


def fit(
    examples: SpeechExamples, seed: int, epochs: int, report: Report = silent, classes: int = len(BASIC_EMOTIONS)
) -> VoiceNetwork:
    """A network fitted to the examples: mixup, smoothed labels, classes weighted by the root of their rarity.

    What is returned is the running mean of its weights; `classes` is 8 where calm is not neutral.
    """
    torch.manual_seed(seed)
    network, mean = VoiceNetwork(classes=classes), VoiceNetwork(classes=classes)
    mean.load_state_dict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    steps = max(1, len(examples.emotions) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=epochs * steps + 1, pct_start=0.15)
    rarity = rarity_of(examples.emotions, classes)
    for epoch in range(1, epochs + 1):
        chance = np.random.default_rng([seed, epoch])
        network.train()
        losses = []
        for rows in torch.from_numpy(chance.permutation(len(examples.emotions))).tensor_split(steps):
            loss = _loss(network, draw(examples, rows, chance), examples.emotions[rows], rarity, chance)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            done = schedule.last_epoch
            follow(mean, network, min(AVERAGING, (1.0 + done) / (10.0 + done)))  # faster in the first steps
            losses.append(float(loss.detach()))
        report(Progress(epoch, epochs, {"loss": float(np.mean(losses))}))
    return mean.eval()


def _loss(network: VoiceNetwork, frames: Tensor, emotions: Tensor, rarity: Tensor, chance: np.random.Generator) -> Tensor:
    """Cross-entropy of utterances of which each is mixed with a little of another (Zhang et al. 2018)."""
    share = float(chance.beta(MIXUP, MIXUP))
    share = max(share, 1.0 - share)
    other = torch.from_numpy(chance.permutation(len(emotions)))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network.classify(network.embedded(share * frames + (1.0 - share) * frames[other])).float()
    return sum((part * F.cross_entropy(logits, target, rarity, label_smoothing=LABEL_SMOOTHING)
                for part, target in ((share, emotions), (1.0 - share, emotions[other]))), torch.zeros(()))


def rarity_of(emotions: Tensor, classes: int) -> Tensor:
    """Weights [classes] of the classes: the root of how rare each is."""
    counts = torch.bincount(emotions, minlength=classes).clamp_min(1)
    return (len(emotions) / classes / counts).sqrt()


def fit_layer(examples: SpeechExamples, classes: int = len(BASIC_EMOTIONS)) -> nn.Linear:
    """A logistic regression from the encoder's states, of all variants, to the emotions; their standardising is within it."""
    states = examples.states.flatten(0, 1)
    emotions = examples.emotions.repeat_interleave(examples.states.shape[1])
    mean, deviation = states.mean(0), states.std(0).clamp_min(1e-4)
    layer, seen, rarity = nn.Linear(states.shape[1], classes), (states - mean) / deviation, rarity_of(emotions, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(layer(seen), emotions, rarity) + RIDGE / 2 * layer.weight.square().sum()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.div_(deviation)
        layer.bias.sub_(layer.weight @ mean)
    return layer.eval()


def answers_of(network: VoiceNetwork, layer: nn.Linear, examples: SpeechExamples) -> Tensor:
    """Logits [2, N, classes] of both listeners together on the clean utterances and on their first distorted copies."""
    count = range(len(examples.emotions))
    with torch.inference_mode():
        heard = torch.stack([torch.cat([network(examples.utterance(index, variant)[None])[0] for index in count])
                             for variant in (0, 1)])
        return both(heard, layer(examples.states[:, :2]).transpose(0, 1)).clone()


def best_temperature(logits: Tensor, truth: Tensor) -> float:
    """The softmax temperature, from 0.3 to 3, at which the logits [N, 7] explain the truth best."""
    return common.best_temperature(logits, truth, torch.logspace(-0.5, 0.5, 61).tolist())


# ---- publishing ----------------------------------------------------------------------------------------------------------


def publish(
    network: VoiceNetwork, speaker: SpeakerStates, examples: SpeechExamples, logits: Tensor, output: Path, seed: int, epochs: int
) -> Card:
    """Write weights and card; `logits` [2, N, 7] are the answers of the folds on actors that they never heard."""
    truth = examples.emotions
    temperature = best_temperature(logits[0], truth)
    with torch.inference_mode():
        embedding = torch.cat([network(examples.utterance(index)[None])[1] for index in range(len(truth))])
    centroids = torch.stack([embedding[truth == k].mean(0) for k in range(len(BASIC_EMOTIONS))])
    features = SpeechFeatures()
    features.set_filters()
    beside = {f"speaker.{name}": value for name, value in packed(speaker.state_dict()).items()}
    beside |= {f"layer.{name}": value for name, value in fit_layer(examples).state_dict().items()}
    save_checkpoint(output / "voice.safetensors", {name: value.half() for name, value in network.state_dict().items()},
                    {"centroids": centroids, "mel": features.mel.half(), **beside},
                    {"modality": "voice", "temperature": temperature, "network": network.settings})
    card = describe((logits / temperature).softmax(-1).numpy(), examples, seed, epochs)
    card.write(output / "voice.md")
    return card


def describe(probabilities: NDArray[np.float32], examples: SpeechExamples, seed: int, epochs: int) -> Card:
    """The model card with the figures of the folds on clean and on distorted speech, [2, N, 7]."""
    truth, actors = examples.emotions.numpy(), examples.actors.numpy()
    by_fold = [scores_of(truth[own], probabilities[0, own].argmax(1))["uar"]
               for own in ((actors - 1) % FOLDS == fold for fold in range(FOLDS)) if own.any()]
    clean, distorted = (scores_of(truth, part.argmax(1)) for part in probabilities)
    metrics = clean | {"calibration_error": calibration_error(probabilities[0], truth), "distorted_uar": distorted["uar"]}
    recall = per_class_recall(truth, probabilities[0].argmax(1), len(BASIC_EMOTIONS))
    return Card(
        name="voice",
        data=f"RAVDESS speech, audio only, {len(set(actors.tolist()))} actors, {len(truth)} utterances; calm counts as neutral",
        terms="CC BY-NC-SA 4.0 (RAVDESS); the encoder of speakers is Resemblyzer's, Apache-2.0; the speech detector is "
        "Silero VAD, MIT, and is not part of this file",
        command=COMMAND,
        seed=seed,
        date=date.today().isoformat(),
        split=f"metrics: {FOLDS} folds of actors, all answers on actors never heard; shipped weights: fitted on all actors",
        metrics={name: round(float(value), 4) for name, value in metrics.items()},
        per_class_recall=dict(zip(BASIC_EMOTIONS, np.round(recall, 4).tolist(), strict=True)),
        text=CARD_TEXT.format(epochs=epochs, variants=VARIANTS, folds=FOLDS,
                              by_fold=", ".join(f"{uar:.3f}" for uar in by_fold)),
    )


CARD_TEXT = """# Emotion of a voice

A convolutional network over an utterance's log-mel spectrum and prosody (pitch, periodicity, loudness) with attentive
statistics pooling. {epochs} epochs, the running mean of the weights kept, no early stopping; {variants} distorted copies of
every utterance (speed, room, channel, noise, other voices, clipping, companding), tempo, throat, masks, mixup. Beside it a
logistic regression, fitted on the same utterances and copies, over mean and deviation of the states in the second layer of an
encoder that tells speakers apart (GE2E, arXiv 1710.10467; Resemblyzer's weights, learned from LibriSpeech and VoxCeleb, kept in 8
bits and not changed). The two count alike: their probabilities are multiplied.

How it was measured: actors are dealt into {folds} folds; both are fitted on four and answer for the fifth; the figures
are over all those answers together. The folds' own UAR: {by_fold}. Network and training were
chosen in a handful of trials by the UAR of the first fold, the encoder's layer and the strength of the regression by that
of all folds, which may flatter it a little. What ships is fitted in the same way on all actors, so this data cannot give a
figure of the very file on unseen actors. `distorted_uar` is measured on distorted copies of the unseen actors' utterances. The
temperature is fitted on the same answers as the calibration error. Of RAVDESS's utterances the speech detector misses about one
in a hundred (screams, mostly): they count in these figures, cut by their loudness, but the recogniser says "no speech" of them.

Two sentences, North American English, acted: expect much less in other languages and in spontaneous speech. Do not use it to
judge persons.
"""
