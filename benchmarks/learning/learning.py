"""What the proofs of learning share (`learning_stills`, `learning_clips`): FER+ stills as files, a small CLIP, the linear probe,
intervals over seeds, and a log of rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.metrics import scores_of
from modalities.face_networks.parts.base import FaceNetwork
from modalities.face_networks.parts.clip_tower import ClipNetwork, ClipShape
from modalities.face_networks.registry import Kind, network_table
from modalities.face_networks.views import read_views
from modalities.training.face_networks.batches import BatchMaker
from modalities.training.face_networks.corpus import FaceSample, read_face_corpus
from modalities.training.face_networks.train import FaceTrainingOptions, network_input, network_settings, new_network
from modalities.training.faces.stills import FaceVotes, read_faces

LABELS = network_table().labels("basic")
PENALTIES = (1e-3, 1e-2, 0.1)
"""Inverse strengths of the probe's penalty, of which the validation part chooses one."""


class Interval(NamedTuple):
    """A mean over seeds and the interval that holds it with the stated share."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


class Reached(NamedTuple):
    """Figures on the held-out part: accuracy (WAR) and the mean recall of the classes that occur (UAR)."""

    war: float
    uar: float


# ---- data ----------------------------------------------------------------------------------------------------------------


def clear_faces(data: Path) -> tuple[FaceVotes, FaceVotes]:
    """FER+ stills on which more than half of the taggers agree: those to learn from, and those held out."""
    read = (read_faces(data / "face" / f"ferplus_{part}.npz") for part in ("train", "valid"))
    fit, held_out = (faces.rows(faces.agreed) for faces in read)
    return fit, held_out


def evened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey still without its light: each pixel's distance from the mean around it, over the deviation around it.

    What is around a pixel is weighted by Gaussians of 6 and 8 pixels; 128 is the mean, 48 levels a deviation.
    """
    import cv2

    levels = image.astype(np.float32)
    away = levels - cv2.GaussianBlur(levels, (0, 0), 6)
    deviation = np.sqrt(cv2.GaussianBlur(away * away, (0, 0), 8)) + 6
    return np.asarray(np.clip(128 + 48 * away / deviation, 0, 255), np.uint8)


def write_stills(
    folder: Path, fit: FaceVotes, held_out: FaceVotes, each: int, each_held_out: int, seed: int = 1, *, even: bool = False
) -> Path:  # fmt: skip
    """PNGs and a manifest of at most `each` stills a class to learn from (split train) and `each_held_out` to test on.

    Classes with fewer stills give all they have. The seed chooses the stills, `even` takes their light out (see `evened`); the
    manifest is the path that is returned.
    """
    import cv2

    folder.mkdir(parents=True)
    rows, chance = ["path,label,split"], np.random.default_rng(seed)
    for split, faces, most in (("train", fit, each), ("test", held_out, each_held_out)):
        for label, word in enumerate(LABELS):
            for number in chance.permutation(np.flatnonzero(faces.majority == label))[:most]:
                image = faces.images[number]
                cv2.imwrite(str(folder / f"{split}{number}.png"), evened(image) if even else image)
                rows.append(f"{split}{number}.png,{word},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def write_clip(path: Path, shape: Mapping[str, Any], seed: int = 0) -> Path:
    """A small CLIP with random weights as a checkpoint; as drawn it would hardly tell one text from another, this one does."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    clip = ClipNetwork(ClipShape()._replace(**shape))
    with torch.no_grad():
        clip.token_embedding.weight.mul_(50)
        clip.get_parameter("transformer.resblocks.0.attn.out_proj.weight").mul_(100)
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, path)
    return path


# ---- the probe -----------------------------------------------------------------------------------------------------------


def probe(name: str, kind: Kind, options: FaceTrainingOptions, manifest: Path, seed: int = 0) -> Reached:
    """A logistic regression on the features of the network as its training would start it, on the test part.

    It learns from all that the training sees (parts to fit and to choose on), its penalty chosen as the training chooses its
    epoch: by the validation part.
    """
    row, labels = network_table().choose(name, kind), LABELS
    network = new_network(row, network_settings(row, labels, kind, options), options, seed)
    maker = BatchMaker(row, network_input(row, kind, options), len(labels), streams=False, captions=False, device="cpu")
    corpus = read_face_corpus(manifest, labels, fold=options.fold, seed=seed)
    parts = [features(network, maker, part) for part in (corpus.fit, corpus.choose, corpus.test)]
    return probe_features(*parts)


Features = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Vectors [N, D] and their classes [N]."""


def probe_features(fit: Features, choose: Features, test: Features) -> Reached:
    """The probe over features that are already there."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(penalty: float, seen: Features) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000)).fit(*seen)

    merits = [sum(_reached(fitted(penalty, fit), choose)) for penalty in PENALTIES]
    whole = np.concatenate([fit[0], choose[0]]), np.concatenate([fit[1], choose[1]])
    return _reached(fitted(PENALTIES[int(np.argmax(merits))], whole), test)


def _reached(model: Any, part: Features) -> Reached:
    figures = scores_of(part[1], model.predict(part[0]), np.unique(part[1]).tolist())
    return Reached(float(figures["war"]), float(figures["uar"]))


def features(network: FaceNetwork, maker: BatchMaker, samples: Sequence[FaceSample]) -> Features:
    """What the network makes of samples, in evaluation mode: the features that its answers come from."""
    network.eval()
    found = []
    for start in range(0, len(samples), 64):
        part = samples[start : start + 64]
        drawn = maker.drawn(part, [read_views(one.path, maker.reads) for one in part])
        with torch.no_grad():
            found.append(network.answer(maker.normalised(maker.inputs(drawn))).features.float().numpy())
    return np.concatenate(found), np.array([one.label for one in samples], np.int64)


# ---- seeds ---------------------------------------------------------------------------------------------------------------


def mean_interval(values: Sequence[float], share: float = 0.95) -> Interval:
    """The mean of one value a seed with Student's interval, (-inf, inf) around a single one."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, -np.inf, np.inf)
    half = float(t.ppf((1 + share) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return Interval(mean, mean - half, mean + half)


def paired_interval(first: Sequence[float], second: Sequence[float], share: float = 0.95) -> Interval:
    """The mean of first - second, seed by seed, with the interval of Student's paired test."""
    return mean_interval([one - other for one, other in zip(first, second, strict=True)], share)


def append_row(log: Path | None, row: Mapping[str, Any]) -> None:
    """Add a row, as a line of JSON, to a log: what is measured stays when a long benchmark is cut off."""
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
