"""Voice: where in a clip somebody speaks, and which emotion each window's speech sounds like, relative to its speaker.

Speech is found first (Silero VAD, its packaged weights); a window with less than `SPEECH_NEEDED` seconds of it is absent. From
each other window the span from its first to its last speech is heard by the lower blocks of Whisper's encoder
(`modalities/voice/whisper_states.py`); one layer of ours says the emotion from what they hold, standardised by a reference: what
this speaker, this clip or this data set usually sounds like (`modalities/reference.py`). Hearing is the costly part and is done
once; relating is light and is done again when more is known of a speaker. The large models of the voice
(`modalities/voice/audio_classifier.py`, `speech_encoder.py`) share how speech is found and read. Sound is read window by window:
memory does not grow with the clip.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.emotions import BASIC_EMOTIONS
from data.errors import WeightsError
from data.given_files import GivenFile
from data.scores import Scores, Source
from data.windows import Cut, Windows
from modalities.loading.batching import Batches, in_batches
from modalities.loading.checkpoint import WEIGHTS_FOLDER, load_checkpoint
from modalities.loading.side_by_side import one_thread_each, side_by_side
from modalities.reference import ABROAD, WITHIN, Floats, Known, Moments, Reference, References, moments_of, shrunk
from modalities.speech.detect import SPEECH_NEEDED, Wave, load_detector
from modalities.speech.windows import BATCH, AudioScores, Heard, HeardFile, Hearing, hear_file, recognise_with, scored

if TYPE_CHECKING:
    from modalities.speech.vad_network import SpeechNetwork
    from modalities.voice.whisper_states import WhisperStates

Kind = Literal["speaker", "clip", "dataset", "none"]
"""By whose usual voice one is judged: what of it is not known is the next wider one's, in the end the training's."""
UTTERANCE = 2.0
"""Seconds of speech that count as one utterance of a reference."""


@dataclass(frozen=True)
class Layer:
    """What answers: a layer (weight [7, D], bias [7]) over standardised states; the training's mean and deviation [D] of states;
    the spread of its answers, and the mean squared standardised state that 99 % of the training keep below; which encoder it
    knows; temperature, mean features of each emotion [7, 7], and what it is."""

    weight: Floats
    bias: Floats
    mean: Floats
    deviation: Floats
    spread: float
    usual: float
    encoder: str
    temperature: float
    centroids: Floats
    source: Source

    @property
    def training(self) -> Known:
        """The training's reference: of states that are standardised by it, the mean is 0 and the variance is 1."""
        nothing, one = np.zeros_like(self.mean), np.ones_like(self.mean)
        return Known(Reference(nothing, one, self.spread, 0.0), "training", 0.0)

    def logits(self, states: Floats, reference: Reference) -> Floats:
        """Answers [N, 7] to states [N, D] that are standardised by the training's reference, by another one."""
        return np.asarray((reference.standardised(states) @ self.weight.T + self.bias) / self.temperature, np.float32)

    def moments(self, states: Floats, seconds: float) -> Moments:
        """What some windows of one voice with so many seconds of speech add to a reference."""
        return moments_of(states, self.logits(states, self.training.reference), seconds / UTTERANCE)


@dataclass(frozen=True)
class Voice:
    """A loaded voice model: speech detector, Whisper's lower blocks, and the layer over them."""

    detector: "SpeechNetwork"
    states: "WhisperStates"
    layer: Layer
    device: str = "cpu"


def load_layer(path: Path | None = None) -> Layer:
    """What answers, from `path` (default: the shipped weights); WeightsError when it is unusable."""
    path = path or WEIGHTS_FOLDER / "voice.safetensors"
    checkpoint = load_checkpoint(path)
    try:
        settings, tensors = checkpoint.settings, {name: value.float().numpy() for name, value in checkpoint.tensors.items()}
        return Layer(
            tensors["network.weight"], tensors["network.bias"], tensors["mean"], tensors["deviation"],
            float(settings["spread"]), float(settings["usual"]), str(settings["encoder"]), float(settings["temperature"]),
            tensors["centroids"],
            Source("embedded", "layer over the lower blocks of Whisper base", checkpoint.revision,
                   f"Silero VAD, windows with {SPEECH_NEEDED} s of speech or more, 16 kHz mono, relative to the speaker"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} does not hold a voice model of this version; "
                           "restore the shipped file or run `dyad train voice`.") from error  # fmt: skip


def load(states: "WhisperStates", path: Path | None = None, device: str = "cpu") -> Voice:
    """Load the voice model: Whisper's lower blocks on their device, and the layer in `path` (default: the shipped weights).

    WeightsError when the layer is unusable, or does not know this Whisper.
    """
    layer = load_layer(path)
    if states.fingerprint != layer.encoder:
        raise WeightsError("The Whisper base here is not the one that the voice was trained with; remove it and run "
                           "`./dyad models download whisper-base`, or train on it with `dyad train voice`.")  # fmt: skip
    return Voice(load_detector().to(device), states, layer, device)


# ---- hearing


def hear_clip(
    model: Voice, audio: Path | None, windows: Windows, *, batches: Batches = in_batches, batch: int = BATCH
) -> Scores:
    """Scores of a clip's windows by the training's reference; `features` [N, D] are what `relate` needs. See `recognise_with`."""
    heard = recognise_with(model.detector, hear_batch, model, model.layer.source, audio, windows, batches=batches, batch=batch)
    return heard if heard.features is None else replace(heard, features=heard.features.astype(np.float16))


def hear_batch(model: Voice, waves: list[Wave]) -> list[Heard]:
    """States of utterances, standardised by the training, and the answers to them, one after another: each has its own length."""
    import torch

    layer, known = model.layer, model.layer.training.reference
    with torch.inference_mode(), one_thread_each(model.device):
        states = [model.states(torch.from_numpy(wave).to(model.device)).float().cpu().numpy() for wave in waves]
    rows = [(state - layer.mean) / layer.deviation for state in states]
    return [Heard(softmax(layer.logits(row[None], known))[0], row) for row in rows]


# ---- relating


def relate(
    layer: Layer, heard: Scores, asked: Kind = "speaker", known: Known | None = None, turns: pd.DataFrame | None = None
) -> Scores:
    """What `hear_clip` heard, judged by a reference; `features` [N, 7] are then the answers' logits.

    `known` is the speaker's reference or the data set's where there is a data set. `turns` (start, end (s), speaker) tell the
    voices of the clip apart, so that each has a reference of its own. `evidence` says in each window which `reference` was used,
    of how many seconds of speech (`reference_seconds`), how much of it is not the training's or the data set's (`trust`), and
    how far the voice is from the training's (`unlike_training`: above 1 it is like nothing heard there).
    """
    if heard.features is None:
        return heard
    states, wider = heard.features.astype(np.float32), known or layer.training
    voices = np.full(len(states), "", object)
    if turns is not None and asked == "speaker" and wider.whose != "speaker":
        voices = voice_of_windows(turns, heard.windows)
    logits = np.zeros((len(states), len(BASIC_EMOTIONS)), np.float32)
    used = [layer.training] * len(states)
    for voice in dict.fromkeys(voices[heard.present]):
        own = heard.present & (voices == voice)
        seconds = seconds_of_speech(heard.evidence[own[heard.evidence["window"]]])
        judged = judge(layer, states[own], seconds, asked, wider, "speaker" if voice else "clip")
        logits[own] = judged.logits
        used = [judged.reference if mine else before for mine, before in zip(own, used, strict=True)]
    told = pd.DataFrame({
        "reference": [one.whose for one in used],
        "reference_seconds": [one.seconds for one in used],
        "trust": [one.reference.trust for one in used],
        "unlike_training": np.where(heard.present, (states**2).mean(1) / layer.usual, np.nan),
    })  # fmt: skip
    of_windows = told.loc[heard.evidence["window"]].reset_index(drop=True)
    evidence = pd.concat([heard.evidence.reset_index(drop=True), of_windows], axis=1)
    probabilities = np.where(heard.present[:, None], softmax(logits), np.nan).astype(np.float32)
    return replace(heard, probabilities=probabilities, features=logits - logits.mean(1, keepdims=True), evidence=evidence)


def voice_of_windows(turns: pd.DataFrame, windows: Windows) -> NDArray[np.object_]:
    """Whose turns (start, end, speaker) fill most of each window; '' where nobody has one."""
    names = list(dict.fromkeys(turns["speaker"]))
    common = np.zeros((len(windows), len(names)))
    for start, end, speaker in zip(turns["start"], turns["end"], turns["speaker"], strict=True):
        common[:, names.index(speaker)] += (np.minimum(windows[:, 1], end) - np.maximum(windows[:, 0], start)).clip(0)
    found = [names[row.argmax()] if row.any() else "" for row in common]
    return np.array(found, object)


class Judged(NamedTuple):
    """The reference that was used, and the answers by it, logits [N, 7]."""

    reference: Known
    logits: Floats


def judge(layer: Layer, states: Floats, seconds: float, asked: Kind, wider: Known, whose: str = "clip") -> Judged:
    """Answers to the states of a clip, or of one voice in it, with so many seconds of speech; `wider` is the speaker's in the
    whole data set, the data set's or the training's."""
    if asked == "none" or not len(states):
        used = layer.training
    elif asked == "dataset" or (asked == "speaker" and wider.whose == "speaker"):
        used = wider
    else:
        gate = ABROAD if wider.whose == "training" else WITHIN
        own = shrunk(layer.moments(states, seconds), wider.reference, gate)
        used = Known(own, whose, seconds) if own.trust else wider
    return Judged(used, layer.logits(states, used.reference))


def no_references(layer: Layer) -> References:
    """References of a data set's voices before any of its clips has told anything."""
    return References(layer.training.reference)


def known_of(layer: Layer, references: References, speakers: Iterable[str], asked: Kind) -> dict[str, Known]:
    """For each speaker of a data set ('' where unknown) what is known beyond a single clip: the speaker's reference or, for
    `dataset`, the data set's; the training's where a clip is to stand alone."""
    named = dict.fromkeys(speakers)
    if asked not in ("speaker", "dataset"):
        return dict.fromkeys(named, layer.training)
    return {speaker: references.of(speaker if asked == "speaker" else "") for speaker in named}


def add_clip(layer: Layer, references: References, speaker: str, clip: str, heard: Scores) -> None:
    """Take in what `hear_clip` heard of a speaker ('' where unknown) in a clip; nothing where nobody speaks."""
    if heard.features is not None and heard.present.any():
        seconds = seconds_of_speech(heard.evidence)
        references.add(speaker, clip, layer.moments(heard.features[heard.present].astype(np.float32), seconds), seconds)


def seconds_of_speech(evidence: pd.DataFrame) -> float:
    """Seconds that the stretches of speech in some windows cover together; windows overlap."""
    spoken = evidence.dropna(subset=["start", "end"]).sort_values("start")
    starts, ends = spoken["start"].to_numpy(np.float64), spoken["end"].to_numpy(np.float64)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(ends)[:-1]]) if len(ends) else ends
    return float((ends - np.maximum(starts, before)).clip(0).sum())


def softmax(logits: Floats) -> Floats:
    """Probabilities [N, 7] of logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


# ---- many files


def score_audio(
    model: Voice, files: Sequence[Path | GivenFile], cut: Cut, speakers: Sequence[str] = (), asked: Kind = "speaker", *,
    batches: Batches = in_batches, batch: int = BATCH, on_file: Callable[[int], None] = lambda done: None,
) -> AudioScores:  # fmt: skip
    """Probabilities of audio files of any format, rate and length; see `hear_file` and `scored`.

    All files are heard first; then each is judged by the reference that is asked for: of its speaker over all its files, where
    `speakers` name it, else its own; or of all files. `on_file` is told how many files were heard.
    """
    layer, names = model.layer, speakers or [""] * len(files)
    heard: list[HeardFile] = []
    references = no_references(layer)

    def hear(file: Path | GivenFile) -> HeardFile:
        return hear_file(model.detector, hear_batch, model, file, cut, batches=batches, batch=batch)

    heard_files = zip(side_by_side(hear, files, model.device), files, names, strict=True)
    for number, (item, file, speaker) in enumerate(heard_files, 1):
        if item.windows is not None:
            references.add(speaker, str(file), layer.moments(item.windows.features, item.speech), item.speech)
            kept = Hearing(item.windows.probabilities, item.windows.features.astype(np.float16))
            item = item._replace(windows=kept)
        heard.append(item)
        on_file(number)
    known = known_of(layer, references, names, asked)
    judged: list[Floats | None] = []
    for item, speaker in zip(heard, names, strict=True):
        states = None if item.windows is None else item.windows.features.astype(np.float32)
        judged.append(None if states is None else softmax(judge(layer, states, item.speech, asked, known[speaker]).logits))
    return scored(files, heard, judged)
