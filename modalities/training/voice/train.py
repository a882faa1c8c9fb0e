"""Training of the voice: one layer over the lower blocks of Whisper's encoder, on RAVDESS (Livingstone & Russo 2018) and nEMO
(Christop 2024).

The encoder hears every utterance once and is not changed. The published figures come from utterances of others than those
learned: of a corpus left out whole, and of speakers left out of both. The shipped layer is then fitted in the same way on
everybody.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data.emotions import BASIC_EMOTIONS
from data.errors import InputError
from data.metrics import calibration_error, per_class_recall, scores_of
from modalities.loading.checkpoint import Card, save_checkpoint
from modalities.reference import OPEN, PRIOR, WITHIN, Floats, Gate, Reference, moments_of, shrunk
from modalities.training import common
from modalities.training.common import Progress, Report, read_resume, silent, with_command, write_resume
from modalities.training.voice.corpus import SpeechCorpus, distort, read_nemo, read_ravdess
from modalities.voice.whisper_states import WhisperStates, find_encoder, load_states

if TYPE_CHECKING:
    from collections.abc import Callable

CORPORA: "dict[str, Callable[[Path, int | None], SpeechCorpus]]" = {"ravdess": read_ravdess, "nemo": read_nemo}
TITLES = {"ravdess": "RAVDESS speech, audio only, calm counts as neutral", "nemo": "nEMO, Polish, without disgust"}
FOLDS = 5
"""Parts of a corpus's speakers, each left out once."""
COPIES = 1
"""Distorted copies of every utterance: learned with it, and measured apart."""
RIDGE = 0.17
"""Twice the weight of the layer's squared weights: the strength C = 0.003 of a logistic regression on 2,000 utterances."""
USUAL = 0.99
"""Share of the training's utterances that are not unlike the training."""
KEPT_EVERY = 100
"""Utterances after which what was heard is kept, so that a training that breaks off goes on from there."""


@dataclass(frozen=True)
class Recipe:
    """How the layer is fitted, and how a speaker's own reference is shrunk; the defaults ship, others are there to be measured.

    `copies` distorted copies are learned with every utterance; `alone`: each counts by the training's reference, too;
    `corpora_alike`: each corpus weighs the same, else each emotion over all corpora.
    """

    ridge: float = RIDGE
    copies: int = COPIES
    alone: bool = True
    corpora_alike: bool = True
    prior: float = PRIOR
    gate: Gate = WITHIN


SHIPPED = Recipe()


@dataclass(frozen=True)
class Utterances:
    """What the encoder holds of N utterances, states [N, 1 + COPIES, D], the clean one first; emotions [N], and who says each.

    `speakers` are numbers that no two corpora share; `corpora` are indices of `CORPORA`.
    """

    states: Floats
    emotions: NDArray[np.int64]
    speakers: NDArray[np.int64]
    corpora: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> "Utterances":
        """The chosen utterances."""
        return Utterances(self.states[chosen], self.emotions[chosen], self.speakers[chosen], self.corpora[chosen])


@dataclass(frozen=True)
class Fitted:
    """A layer [7, D] and [7] over states that are standardised by a reference, and the reference of what it was fitted on."""

    weight: Floats
    bias: Floats
    training: Reference

    def logits(self, standardised: Floats) -> Floats:
        """Answers [N, 7] to standardised states [N, D]."""
        return np.asarray(standardised @ self.weight.T + self.bias, np.float32)


def train(
    data: Path, output: Path, *, seed: int = 7, epochs: int = 1, limit: int | None = None, whisper: Path | None = None,
    report: Report = silent,
) -> Card:  # fmt: skip
    """Train on the corpora in `data`/audio and write `output`/voice.safetensors and voice.md; returns the card.

    `whisper` is the checkpoint of Whisper base, the one on this machine unless given. A training that broke off goes on after
    the last hundred utterances that it heard. `limit` keeps that many utterances of each speaker, for a trial. InputError when
    recordings are missing or `epochs` is not 1 (a layer is fitted in one go), WeightsError without Whisper.
    """
    if epochs != 1:
        raise InputError("The layer of the voice is fitted in one go; leave out --epochs.")
    encoder = load_states(whisper or find_encoder())
    corpora = [read(data, limit) for read in CORPORA.values()]
    output.mkdir(parents=True, exist_ok=True)
    unfinished = output / ".voice.unfinished.pt"
    utterances = hear_all(encoder, corpora, unfinished, seed, report)
    card = publish(utterances, encoder, output, seed)
    unfinished.unlink(missing_ok=True)
    return with_command(card, output / "voice.md", "voice", data=data, seed=seed, limit=limit)


def hear_all(
    encoder: WhisperStates, corpora: list[SpeechCorpus], unfinished: Path, seed: int, report: Report = silent
) -> Utterances:
    """The states of all utterances and of their distorted copies, kept in `unfinished` as they come."""
    total = sum(len(corpus.waves) for corpus in corpora)
    about = {"encoder": encoder.fingerprint, "utterances": total, "seed": seed, "copies": COPIES}
    kept = read_resume(unfinished, about)
    states: list[Tensor] = list(kept["states"]) if kept else []
    with torch.inference_mode():
        for index, copies in enumerate(_with_copies(corpora, seed, len(states)), len(states)):
            states.append(torch.stack([encoder(torch.from_numpy(wave)) for wave in copies]).half())
            if (index + 1) % KEPT_EVERY == 0 or index + 1 == total:
                write_resume(unfinished, about, states=torch.stack(states))
                report(Progress(index + 1, total, {}))
    numbers = [np.full(len(corpus.waves), number) for number, corpus in enumerate(corpora)]
    return Utterances(
        torch.stack(states).float().numpy(),
        np.concatenate([corpus.emotions for corpus in corpora]),
        np.concatenate([1000 * number + corpus.actors for number, corpus in enumerate(corpora)]),
        np.concatenate(numbers),
    )


def _with_copies(corpora: list[SpeechCorpus], seed: int, first: int) -> Iterator[list[NDArray[np.float32]]]:
    """Every utterance from the `first` on, followed by its distorted copies, which depend on the seed and its index.

    The babble under a voice is its own speaker's, or a fold would hear those that it is measured on.
    """
    index = 0
    for corpus in corpora:
        for wave, actor in zip(corpus.waves, corpus.actors, strict=True):
            if index >= first:
                chance = np.random.default_rng([seed, index])
                company = [corpus.waves[other] for other in np.flatnonzero(corpus.actors == actor)]
                yield [wave, *(distort(wave, company, chance) for _ in range(COPIES))]
            index += 1


# ---- learning ------------------------------------------------------------------------------------------------------------


def fit(utterances: Utterances, recipe: Recipe = SHIPPED) -> Fitted:
    """A balanced logistic regression, as the recipe says: in the shipped one each corpus weighs the same.

    Every utterance and every distorted copy counts twice: by the training's reference, and by its own speaker's in its corpus.
    """
    corpora = utterances.corpora if recipe.corpora_alike else np.zeros_like(utterances.corpora)
    clean, weights = utterances.states[:, 0], _weights(utterances.emotions, corpora)
    training = Reference(clean.mean(0), clean.var(0), 0.0)
    copies = [utterances.states[:, copy] for copy in range(1 + recipe.copies)]
    seen = list[Floats]()
    for states in copies:
        seen += [training.standardised(states)] if recipe.alone else []
        seen.append(_related(states, utterances, recipe.prior))
    truth = np.tile(utterances.emotions, len(seen))
    weight, bias = fit_layer(np.concatenate(seen), truth, np.tile(weights, len(seen)), recipe.ridge)
    fitted = Fitted(weight, bias, training)
    spread = moments_of(clean, fitted.logits(training.standardised(clean))).spread
    return Fitted(weight, bias, Reference(training.mean, training.variance, spread))


def _related(states: Floats, utterances: Utterances, prior: float) -> Floats:
    """States [N, D] standardised by their speakers' references, shrunk to their corpora's; in training all speakers are
    varied."""
    related = np.empty_like(states)
    for corpus in np.unique(utterances.corpora):
        inside = utterances.corpora == corpus
        wider = Reference(states[inside].mean(0), states[inside].var(0), 0.0)
        unknown = np.zeros((int(inside.sum()), 1), np.float32)
        related[inside] = by_speaker(states[inside], unknown, utterances.speakers[inside], wider, OPEN, prior)
    return related


def _weights(emotions: NDArray[np.int64], corpora: NDArray[np.int64]) -> Floats:
    """Weights [N] by which each corpus counts alike, and in it each emotion that it has; together 1."""
    groups, counts = np.unique(np.stack([corpora, emotions]), axis=1, return_counts=True)
    weights = np.zeros(len(emotions), np.float32)
    for (corpus, emotion), count in zip(groups.T, counts, strict=True):
        classes = (groups[0] == corpus).sum() * len(np.unique(corpora))
        weights[(corpora == corpus) & (emotions == emotion)] = 1 / count / classes
    return weights


def fit_layer(
    states: Floats, emotions: NDArray[np.int64], weights: Floats, ridge: float = RIDGE
) -> tuple[Floats, Floats]:
    """A logistic regression with ridge from standardised states [N, D] to the emotions; weight [7, D] and bias [7]."""
    layer = nn.Linear(states.shape[1], len(BASIC_EMOTIONS))
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    seen, truth, share = torch.from_numpy(states), torch.from_numpy(emotions), torch.from_numpy(weights / weights.sum())
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=100, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(layer(seen), truth, reduction="none") @ share + ridge / 2 * layer.weight.square().sum()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def by_speaker(
    states: Floats, logits: Floats, speakers: NDArray[np.int64], wider: Reference, gate: Gate, prior: float = PRIOR
) -> Floats:
    """States [N, D], each standardised by its speaker's reference, shrunk to a wider one; `logits` [N, 7] say how varied they
    are."""
    related = np.empty_like(states)
    for speaker in np.unique(speakers):
        own = speakers == speaker
        related[own] = shrunk(moments_of(states[own], logits[own]), wider, gate, prior).standardised(states[own])
    return related


# ---- measuring and publishing ----------------------------------------------------------------------------------------------


def answer(fitted: Fitted, utterances: Utterances, recipe: Recipe = SHIPPED) -> Floats:
    """Logits [2, 2, N, 7]: by the training's reference and by the speaker's, of the clean utterance and of its distorted copy.

    Each corpus is a data set of its own, of which its speakers are known.
    """
    known = Reference(np.zeros_like(fitted.training.mean), np.ones_like(fitted.training.mean), fitted.training.spread)
    found = np.zeros((2, 2, len(utterances.emotions), len(BASIC_EMOTIONS)), np.float32)
    for copy in (0, min(1, COPIES)):
        for corpus in np.unique(utterances.corpora):
            inside = utterances.corpora == corpus
            states = fitted.training.standardised(utterances.states[inside, copy])
            alone = fitted.logits(states)
            wider = shrunk(moments_of(states, alone), known, OPEN)
            found[0, copy, inside] = alone
            own = by_speaker(states, alone, utterances.speakers[inside], wider, recipe.gate, recipe.prior)
            found[1, copy, inside] = fitted.logits(own)
    return found


def corpora_left_out(utterances: Utterances, recipe: Recipe = SHIPPED) -> Floats:
    """Logits [2, 2, N, 7], each row's by a layer that heard nothing of the row's corpus."""
    return _left_out(utterances, utterances.corpora, recipe)


def speakers_left_out(utterances: Utterances, recipe: Recipe = SHIPPED, folds: int = FOLDS) -> Floats:
    """Logits [2, 2, N, 7], each row's by a layer that heard both corpora, but not the row's speaker."""
    return _left_out(utterances, utterances.speakers % 1000 % folds, recipe)


def _left_out(utterances: Utterances, parts: NDArray[np.int64], recipe: Recipe) -> Floats:
    found = np.zeros((2, 2, len(parts), len(BASIC_EMOTIONS)), np.float32)
    for part in np.unique(parts):
        out = parts == part
        found[:, :, out] = answer(fit(utterances.where(~out), recipe), utterances.where(out), recipe)
    return found


def best_temperature(logits: Tensor, truth: Tensor) -> float:
    """The softmax temperature, from 0.3 to 3, at which the logits [N, 7] explain the truth best."""
    return common.best_temperature(logits, truth, torch.logspace(-0.5, 0.5, 61).tolist())


def publish(utterances: Utterances, encoder: WhisperStates, output: Path, seed: int) -> Card:
    """Measure, fit on everybody, and write weights and card."""
    truth, shared = utterances.emotions, learnable(utterances)
    away, home = corpora_left_out(utterances), speakers_left_out(utterances)
    unheard = away[:, 0, shared].reshape(-1, len(BASIC_EMOTIONS))
    temperature = best_temperature(torch.from_numpy(unheard), torch.from_numpy(np.tile(truth[shared], 2)))
    fitted = fit(utterances)
    states = fitted.training.standardised(utterances.states[:, 0])
    logits = fitted.logits(states) / temperature
    relative = logits - logits.mean(1, keepdims=True)
    shown = [relative[truth == k] for k in range(len(BASIC_EMOTIONS))]
    centroids = np.stack([rows.mean(0) if len(rows) else np.zeros(len(shown), np.float32) for rows in shown])
    deviation = np.sqrt(fitted.training.variance + 1e-6)
    constants = {"mean": fitted.training.mean, "deviation": deviation, "centroids": centroids}
    save_checkpoint(
        output / "voice.safetensors",
        {"weight": torch.from_numpy(fitted.weight).half(), "bias": torch.from_numpy(fitted.bias)},
        {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in constants.items()},
        {
            "modality": "voice", "encoder": encoder.fingerprint, "temperature": temperature,
            "spread": moments_of(states, logits).spread, "usual": float(np.quantile((states**2).mean(1), USUAL)),
        },
    )  # fmt: skip
    card = describe(away / temperature, home / temperature, utterances, seed)
    card.write(output / "voice.md")
    return card


def learnable(utterances: Utterances) -> NDArray[np.bool_]:
    """Utterances of emotions that another corpus has, too: nobody can learn disgust from a corpus without it."""
    pairs = {(int(corpus), int(emotion)) for corpus, emotion in zip(utterances.corpora, utterances.emotions, strict=True)}
    count = len(np.unique(utterances.corpora))
    common_to_all = [all((corpus, emotion) in pairs for corpus in range(count)) for emotion in range(len(BASIC_EMOTIONS))]
    return np.array(common_to_all)[utterances.emotions]


def describe(away: Floats, home: Floats, utterances: Utterances, seed: int) -> Card:
    """The model card: `away` and `home` are the logits [2, 2, N, 7] with a corpus and with speakers left out."""
    truth, shared = utterances.emotions, learnable(utterances)
    metrics: dict[str, float] = {}
    for number, name in enumerate(CORPORA):
        inside = utterances.corpora == number
        for where, logits, rows in (("away", away, inside & shared), ("home", home, inside)):
            for how, copy, ending in ((1, 0, ""), (0, 0, "_alone"), (1, 1, "_distorted")):
                metrics[f"{where}_{name}{ending}_uar"] = uar(truth[rows], logits[how, copy, rows])
    metrics["uar"] = float(np.mean([metrics[f"away_{name}_alone_uar"] for name in CORPORA]))
    for ending, how in (("", 1), ("_alone", 0)):
        answers = probabilities_of(away[how, 0, shared])
        metrics[f"away{ending}_calibration_error"] = calibration_error(answers, truth[shared])
        metrics[f"away{ending}_confidence"] = float(answers.max(1).mean())
    recall = [per_class_recall(truth[rows], away[0, 0, rows].argmax(1), len(BASIC_EMOTIONS))
              for rows in (shared & (utterances.corpora == number) for number in range(len(CORPORA)))]  # fmt: skip
    mean = dict(zip(BASIC_EMOTIONS, np.mean(recall, 0).tolist(), strict=True))
    return Card(
        name="voice",
        data=", ".join(f"{TITLES[name]}: {len(np.unique(utterances.speakers[utterances.corpora == number]))} speakers, "
                       f"{int((utterances.corpora == number).sum())} utterances" for number, name in enumerate(CORPORA)),
        terms="CC BY-NC-SA 4.0 (RAVDESS, nEMO); it hears with Whisper base, MIT, and finds speech with Silero VAD, MIT, which "
        "are not part of this file",
        command="",
        seed=seed,
        date=date.today().isoformat(),
        split=f"away: a corpus left out whole; home: {FOLDS} parts of the speakers, each left out; shipped: fitted on all",
        metrics={name: round(value, 4) for name, value in metrics.items()},
        per_class_recall={emotion: round(value, 4) for emotion, value in mean.items() if not np.isnan(value)},
        corpora=list(CORPORA),
        text=CARD_TEXT.format(folds=FOLDS),
    )  # fmt: skip


def uar(truth: NDArray[np.int64], logits: Floats) -> float:
    """Mean recall of the answers over the emotions that occur."""
    return scores_of(truth, logits.argmax(1), range(len(BASIC_EMOTIONS)))["uar"]


def probabilities_of(logits: Floats) -> Floats:
    """Softmax of logits [N, 7]."""
    return torch.from_numpy(logits).softmax(-1).numpy()


CARD_TEXT = """# Emotion of a voice

One layer over what the second and the third block of Whisper base's encoder hold of an utterance (mean and deviation over time;
the encoder is frozen, the sound is cut to the speech and not padded): a logistic regression in which each corpus weighs the
same, and each emotion within it. What is heard is standardised by a reference: by the training's, by the data set's, and by the
speaker's own, as far as there is much of it and as far as it is varied (`modalities/reference.py`). The layer has learned every
utterance and a distorted copy of it (speed, room, channel, noise, babble of the same speaker, clipping, companding), each by the
training's reference and by its speaker's.

How it was measured: `away` figures are of a corpus of which nothing was learned, nEMO by a layer fitted on RAVDESS alone and the
reverse, over the six emotions that both have; `home` figures are of speakers left out of both corpora ({folds} parts of the
speakers, seven emotions in RAVDESS). Without an ending they are relative to the speaker, whose other utterances are known;
`alone` are by the training's reference, as a single short clip is judged; `distorted` are those of such copies. `uar` is the
mean of both corpora away and `alone`, as in a stranger's clip, and so is the recall of each emotion but disgust, which nEMO
lacks. Blocks, strength and gates were chosen by the same away figures, which may flatter them a little. The temperature is the
best one for all away answers, of both references. What ships is fitted in the same way on everybody, so this data cannot give a
figure of the very file on unheard speakers.

Acted sentences in North American English and Polish: expect less in spontaneous speech. Do not use it to judge persons.
"""
