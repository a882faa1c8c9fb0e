"""Scene labels: how well each emotion's texts match the whole image, by CLIP without any training on emotions.

A network comes from a checkpoint that is already on the machine (`modalities.encoders.clip`), its texts from a prompt file
(`prompts.py`). Scores are divided by a temperature before the softmax, the network's own by default: about 0.01. The
authors of RAS leave that out (temperature 1), and their seven probabilities are almost equal. A SigLIP was trained with a
sigmoid for each pair instead of a softmax; we still put a softmax over labels, with its own scale. Its bias is the same for all
labels and cancels out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import BATCH
from data.media.frames import Frame, Ticks
from data.precision import Precision
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.encoders.clip import ClipEncoder, FloatArray, each_picture, encode_texts, load_clip, shrunk
from modalities.loading.batching import Batches, in_batches
from modalities.scene_labels.prompts import (
    LabelSets,
    Prompts,
    TextBank,
    bank_of,
    pooled_probabilities,
    read_label_texts,
    seven_of,
)

if TYPE_CHECKING:
    from torch import nn

ABSENT_REASON = "No CLIP checkpoint is on this machine, and nothing smaller stands in for it."
REMEDY = "Download a CLIP checkpoint (605 MB) with ./dyad models download clip; it is used from then on."


@dataclass(frozen=True)
class SceneLabels:
    """A CLIP with embedded texts, the temperature that divides scores, and whether both sets share one softmax."""

    clip: ClipEncoder
    basic: TextBank
    compound: TextBank
    temperature: float
    source: Source
    together: bool = False

    @property
    def network(self) -> "nn.Module":
        """The network of the CLIP."""
        network: nn.Module = self.clip.network
        return network

    @property
    def device(self) -> str:
        """Where the network is."""
        return self.clip.device


def load(
    checkpoint: Path,
    architecture: str,
    prompts: Prompts | Path,
    *,
    tag: str = "",
    temperature: float | None = None,
    device: str = "cpu",
    precision: Precision = "auto",
) -> SceneLabels:
    """Open a CLIP (`load_clip`) and embed the texts of `prompts` (`attach_texts`).

    WeightsError for a checkpoint that is missing, damaged or of another architecture, InputError for malformed prompts.
    """
    sets = read_label_texts(prompts)
    return _attach(load_clip(checkpoint, architecture, tag, device=device, precision=precision), sets, temperature)


def attach_texts(clip: ClipEncoder, prompts: Prompts | Path, temperature: float | None = None) -> SceneLabels:
    """Embed the texts of a prompt file, or of its content, with a CLIP that is open already.

    `temperature` comes first, then the prompt file's, then the network's own: 1 / its logit scale. InputError for malformed
    prompts; those of a file are named with it.
    """
    return _attach(clip, read_label_texts(prompts), temperature)


def _attach(clip: ClipEncoder, sets: LabelSets, temperature: float | None) -> SceneLabels:
    """A CLIP with the embeddings of these texts, and what all of it is called."""
    basic, compound = (bank_of(entries, lambda texts: encode_texts(clip, texts)) for entries in (sets.basic, sets.compound))
    chosen = temperature or sets.temperature or 1.0 / clip.logit_scale
    over = "the basic and compound labels together" if sets.together else "the basic emotions"
    against = " minus that of its negative texts" if sets.basic[0].negative else ""
    words = f"per label the mean of its texts' embeddings{against}; softmax over {over} at temperature {chosen:.4g}"
    source = replace(clip.source, preprocessing=f"{clip.source.preprocessing}; {words}")
    return SceneLabels(clip, basic, compound, chosen, source, sets.together)


def recognise(
    model: SceneLabels,
    frames: Iterable[Frame],
    windows: Windows,
    *,
    frames_per_second: float,
    batches: Batches = in_batches,
    batch: int = BATCH,
) -> Scores:
    """Scores of a clip: per window the mean of its images' probabilities; features: their mean embedding [N, D].

    Each image is encoded once, though it belongs to two windows; `frames_per_second` are used, and every window that
    has a picture gets one. The evidence lists, per window, every basic and compound label with its probability, its score
    against the mean embedding (a cosine; with negative texts a difference of two) and that of its texts which fits best.
    """
    times: list[float] = []
    images = (shrunk(model.clip, image) for image in _sample(frames, windows, frames_per_second, times))
    rows = list(batches(each_picture, model.clip, images, batch))
    if not rows:
        return Scores.absent("scene_labels", windows, "The clip has no picture.", source=model.source)
    embeddings = np.stack(rows)
    inside = windows_of(np.array(times), windows)
    present: NDArray[np.bool_] = np.asarray(inside.any(1))
    shares = (inside / np.maximum(inside.sum(1, keepdims=True), 1)).astype(np.float32)
    basic, compound = pooled_probabilities(
        model.basic, model.compound, embeddings, shares[present], model.temperature, model.together
    )
    features = np.full((len(windows), embeddings.shape[1]), np.nan, np.float32)
    probabilities = np.full((len(windows), 7), np.nan, np.float32)
    features[present] = shares[present] @ embeddings
    probabilities[present] = seven_of(model.basic, basic)
    evidence = _evidence(np.flatnonzero(present), features[present], (model.basic, basic), (model.compound, compound))
    return Scores("scene_labels", windows, probabilities, present, model.source, features=features, evidence=evidence)


def _sample(
    frames: Iterable[Frame], windows: Windows, rate: float, times: list[float]
) -> Iterator[NDArray[np.uint8]]:
    """Images of the frames that are used, in time order; their times are appended to `times`."""
    ticks = Ticks(rate)
    covered = np.zeros(len(windows), bool)
    for frame in frames:
        inside = windows_of(np.array([frame.time_s]), windows)[:, 0]
        if ticks.takes(frame.time_s) or (inside & ~covered).any():
            covered |= inside
            times.append(frame.time_s)
            yield frame.rgb


def _evidence(windows: NDArray[np.intp], means: FloatArray, *answers: tuple[TextBank, FloatArray]) -> pd.DataFrame:
    """One row a window and label, best first; `kind` is basic or compound, `text` the one that fits best.

    The probabilities of a kind sum to 1 in each window; `other`, where the prompts have it, is one of the basic labels here.
    """
    tables = []
    for kind, (bank, probabilities) in zip(("basic", "compound"), answers, strict=True):
        columns = {
            "window": np.repeat(windows, len(bank.labels)),
            "kind": kind,
            "label": np.tile(bank.labels, len(windows)),
            "probability": probabilities.ravel(),
            "similarity": (means @ bank.vectors.T).ravel(),
            "text": [text for mean in means for text in _best_texts(bank, bank.text_vectors @ mean)],
        }
        tables.append(pd.DataFrame(columns))
    order = ["window", "kind", "probability"]
    return pd.concat(tables).sort_values(order, ascending=[True, True, False], kind="stable", ignore_index=True)


def _best_texts(bank: TextBank, fits: FloatArray) -> list[str]:
    """For each label, the one of its texts with the highest similarity; `fits` [P] are those of all texts."""
    own = [np.flatnonzero(bank.text_labels == number) for number in range(len(bank.labels))]
    return [bank.texts[int(texts[fits[texts].argmax()])] for texts in own]
