"""Whether the face networks for clips learn what only the order of frames tells: small ones, on clips made of real stills.

    ./dyad benchmark learning_clips --data ../shared/datasets --seeds 3 [--only s4d,dfer-clip] [--log rows.jsonl]

An expression comes or goes: a FER+ still of a calm face is bent and blended into one of happiness or surprise that looks like it.
Every clip is there forwards (the expression comes) and backwards (it goes), with the same frames: a model that does not know
which frame is when gives both the same answer and is right half of the time, whatever it has learned. Where in the change a clip
begins is drawn at random, so that a single frame says little even to a model that knows which one it is. The held-out clips are
made of other stills than those learned from, and no expression is in two pairs of them.

The networks over CLIP start from a small CLIP whose image tower has learned stills, S4D from its own training on stills, AVCER's
LSTM stands on a small EmoAffectNet of stills, IFDD, which sees clips alone, has learned which of the two expressions they show;
all by `modalities.training.face_networks.train.train`.
`cliper` and `ke-fer-clip` take the mean over frames, by their papers: they are controls, and must not pass.
"""

import argparse
import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import header, make_parser, print_table
from benchmarks.learning.learning import LABELS, Interval, append_row, clear_faces, mean_interval, write_clip, write_stills
from modalities.face_networks.own_checkpoints import load_trained
from modalities.face_networks.parts.base import FaceInputs
from modalities.face_networks.parts.clip_tower import clip_of_state
from modalities.face_networks.registry import Kind
from modalities.loading.state_dicts import read_state_dict
from modalities.training.face_networks.corpus import FaceSample, read_face_corpus
from modalities.training.face_networks.train import FaceTrainingOptions, files_of, train
from modalities.training.faces.pseudo_sequences import morph, prepare, similar
from modalities.training.faces.stills import FaceVotes

SHOWN = ("happiness", "surprise")
"""The expressions that come and go."""
WAYS = {"comes": "happiness", "goes": "neutral"}
"""The two classes, and the labels that stand for them in a manifest."""
SIDE = 32
SPAN = 0.5
"""Share of the way from calm to apex that a clip shows."""
TOWER = {"embedding": 64, "size": SIDE, "patch": 8, "width": 64, "layers": 3, "heads": 2, "text_width": 64, "text_heads": 1,
         "text_layers": 1, "context": 24}  # fmt: skip
RESNET = {"layers": [1, 1, 1, 1], "width": 16, "features": 64}
S4D = {"size": SIDE, "patch": 8, "frames": 4, "width": 64, "depth": 3, "heads": 2, "expert_blocks": [1, 2],
       "experts": {"experts": 4}}  # fmt: skip
IFDD = {"frames": 8, "size": SIDE, "widths": [16, 32, 64, 128], "drop": 0.0, "head_dropout": 0.0}
RECIPE = {"batch": 32, "rate": 1e-3, "layer_decay": 1.0, "augment": 0.0, "mixup": 0.0, "smoothing": 0.0, "groups": {},
          "optimiser": "adamw", "schedule": "cosine", "warmup": 0.1, "weight_decay": 0.02}  # fmt: skip


@dataclass(frozen=True)
class SmallNetwork:
    """A network of the table in a small size, its frames, what changes in `RECIPE`, and the name of what it starts from.

    `more`: how many times as many pairs of clips as the others it learns from.
    """

    network: str
    settings: Mapping[str, Any]
    frames: int = 4
    epochs: int = 8
    recipe: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    more: int = 1


NETWORKS = {
    "s4d": SmallNetwork("s4d", S4D, start="s4d"),
    "dfer-clip": SmallNetwork(
        "dfer-clip", {"shape": TOWER, "temporal": {"frames": 4, "heads": 2, "head_width": 32, "hidden": 128}}, start="clip"),
    "fineclip": SmallNetwork("fineclip", {"shape": TOWER, "frames": 4}, recipe={"rate": 3e-3}, start="clip"),
    "avcer": SmallNetwork("avcer", {"trunk": RESNET, "head": {"features": 64, "hidden": 64, "last": 32}}, recipe={"rate": 3e-3},
                   start="emoaffectnet"),
    "ifdd-xs": SmallNetwork("ifdd-xs", IFDD, 8, 4, {"rate": 5e-4}, "ifdd-xs", more=4),
}  # fmt: skip
CONTROLS = {
    "cliper": SmallNetwork("cliper", {"shape": TOWER}, recipe={"stages": [
        {"epochs": 1, "rate": 1e-2, "groups": {r"^text_generator\.": 1e-2}},
        {"epochs": 7, "rate": 1e-3, "groups": {r"^net\.visual\.": 1e-3}}]}, start="clip"),
    "ke-fer-clip": SmallNetwork("ke-fer-clip", {"shape": TOWER}, start="clip"),
}  # fmt: skip
STARTS = {
    "s4d": SmallNetwork("s4d", S4D, 1, 8),
    "clip": SmallNetwork("ke-fer-clip", {"shape": TOWER}, 1, 8, start="random clip"),
    "emoaffectnet": SmallNetwork("emoaffectnet", RESNET, 1, 8),
    "ifdd-xs": SmallNetwork("ifdd-xs", IFDD, 8, 3, more=4),
}
"""Those of one frame learn stills, that of several which expression its clips show, whether it comes or goes."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--only", default="", help="names of networks, or baselines, with commas between")
    given = parser.parse_args(arguments)
    print(header())
    with bench_of(given) as bench:
        every = NETWORKS | CONTROLS
        wanted = [name for name in given.only.split(",") if name] or ["baselines", *every]
        if "baselines" in wanted:
            for start, like in itertools.product(("clip", "emoaffectnet"), ("s4d", "ifdd-xs")):
                head = f"logistic regression on features of {start}, from the clips of {like}"
                print_table([head, "accuracy", "95 %"], baselines(bench, start, NETWORKS[like]))
        rows = [row_of(name, every[name], bench, range(given.seeds), given.log) for name in every if name in wanted]
        print_table(["network", "accuracy", "lowest, highest seed", "95 % over pairs", "95 % over seeds", "seconds"], rows)


def clip_parser(text: str | None, pairs: int = 2000, held_out: int = 480, seeds: int = 3) -> argparse.ArgumentParser:
    """The options of a benchmark over clips made of stills, of which `bench_of` makes a `Bench`."""
    parser = make_parser(text, "face/ferplus_train.npz and ferplus_valid.npz")
    parser.add_argument("--pairs", type=int, default=pairs, help="pairs of clips to learn from")
    parser.add_argument("--held-out", type=int, default=held_out, help="pairs of clips to measure on")
    parser.add_argument("--each", type=int, default=1500, help="stills a class that are learned beside them or before")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--log", type=Path, help="JSON lines, a row for each training; what is there is not trained again")
    parser.add_argument("--keep", type=Path, help="a folder that keeps corpora and starts for another run")
    return parser


@contextlib.contextmanager
def bench_of(given: argparse.Namespace) -> Iterator["Bench"]:
    """The stills and clips of these options, in the folder that keeps them or one that goes at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(given.keep or Path(folder), *clear_faces(given.data), given.pairs, given.held_out, given.each)


# ---- clips whose order is the label --------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """A clip uint8 [T, S, S] in which an expression comes, and which; backwards it goes."""

    frames: NDArray[np.uint8]
    emotion: str


def make_pairs(
    faces: FaceVotes, count: int, frames: int, seed: int = 2, *, apex_seen: bool = False
) -> Iterator[Pair]:
    """`count` clips, the emotions in turn; an apex is used again only when all of its emotion have been.

    `apex_seen`: every clip shows the apex; else it begins anywhere between calm and the middle.
    """
    import cv2

    stills, chance = prepare(faces), np.random.default_rng(seed)
    orders = {word: chance.permutation(stills.members[LABELS.index(word)]) for word in SHOWN}
    for number in range(count):
        word = SHOWN[number % len(SHOWN)]
        apex = int(orders[word][number // len(SHOWN) % len(orders[word])])
        calm = similar(stills, apex, LABELS.index("neutral"), chance)
        start = 1 - SPAN if apex_seen else chance.uniform(0, 1 - SPAN)
        seen = morph(faces.images[calm], faces.images[apex], np.linspace(start, start + SPAN, frames))
        yield Pair(np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in seen]), word)


def write_pairs(
    folder: Path, fit: FaceVotes, held_out: FaceVotes, pairs: int, held_out_pairs: int, frames: int, *, apex_seen: bool = False
) -> Path:
    """Each pair as two .npy [T, S, S, 3]; two manifests, of which the first is returned.

    `manifest.csv` has the way as the label (see `WAYS`), `emotions.csv` the emotion, the same for both clips of a pair.
    """
    folder.mkdir(parents=True)
    ways, emotions = ["path,label,split"], ["path,label,split"]
    for split, faces, count in (("train", fit, pairs), ("test", held_out, held_out_pairs)):
        for number, pair in enumerate(make_pairs(faces, count, frames, apex_seen=apex_seen)):
            for way, clip in (("comes", pair.frames), ("goes", pair.frames[::-1])):
                np.save(folder / f"{split}{number}-{way}.npy", np.repeat(clip[..., None], 3, 3))
                ways.append(f"{split}{number}-{way}.npy,{WAYS[way]},{split}")
                emotions.append(f"{split}{number}-{way}.npy,{pair.emotion},{split}")
    (folder / "emotions.csv").write_text("\n".join(emotions) + "\n", encoding="utf-8")
    (folder / "manifest.csv").write_text("\n".join(ways) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


@dataclass(frozen=True)
class Bench:
    """Where everything lies, the stills to learn from and those held out, and how much is made of them."""

    folder: Path
    fit: FaceVotes
    held_out: FaceVotes
    pairs: int
    held_out_pairs: int
    each: int

    def clips(self, frames: int, *, more: int = 1, apex_seen: bool = False) -> Path:
        """The manifest of clips of so many frames, in which the emotions come and go, `more` times the pairs to learn from."""
        path = self.folder / f"clips{frames}{'-apex' if apex_seen else ''}" / "manifest.csv"
        if path.exists():
            return path
        held_out = min(self.held_out_pairs, len(SHOWN) * min(_count(self.held_out, word) for word in SHOWN))
        return write_pairs(path.parent, self.fit, self.held_out, more * self.pairs, held_out, frames, apex_seen=apex_seen)

    def stills(self) -> Path:
        """The manifest of stills, which the starts learn."""
        path = self.folder / "stills" / "manifest.csv"
        return path if path.exists() else write_stills(path.parent, self.fit, self.held_out, self.each, 200)

    def start(self, name: str) -> Path | None:
        """The weights of that name: what a training on stills wrote, for 'clip' as a CLIP with its image tower."""
        if not name:
            return None
        path = self.folder / f"{name}.safetensors"
        if not path.exists() and name == "random clip":
            write_clip(path, TOWER)
        elif not path.exists():
            self._learn(name, path)
        return path

    def _learn(self, name: str, path: Path) -> None:
        small = STARTS[name]
        kind: Kind = "static" if small.frames == 1 else "dynamic"
        corpus = self.stills() if kind == "static" else self.clips(small.frames, more=small.more).with_name("emotions.csv")
        card = train(corpus, self.folder / f"start-{name}", network=small.network, kind=kind, seed=0, epochs=small.epochs,
                     options=options_of(small, self))  # fmt: skip
        print(f"Start {name}: {small.network} of expressions, accuracy {card.metrics['war']:.3f}, UAR {card.metrics['uar']:.3f}")
        written = files_of(self.folder / f"start-{name}", kind, small.network).weights
        if name == "clip":
            write_learned_clip(path, self.start("random clip"), written)
        else:
            written.rename(path)


def _count(faces: FaceVotes, word: str) -> int:
    return int((faces.majority == LABELS.index(word)).sum())


def write_learned_clip(path: Path, clip: Path | None, trained: Path) -> None:
    """A CLIP whose image tower is that of a trained `ke-fer-clip`, which learned to match its texts."""
    from safetensors.torch import save_file

    assert clip is not None
    whole = clip_of_state(read_state_dict(clip))
    whole.visual.load_state_dict(load_trained(trained).network.get_submodule("encoder").state_dict())
    save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, path)


# ---- trainings -----------------------------------------------------------------------------------------------------------


def options_of(small: SmallNetwork, bench: Bench, **others: Any) -> FaceTrainingOptions:
    """What the training of a small network is told."""
    start, over_clip = bench.start(small.start), small.start.endswith("clip")
    base = {name: value for name, value in RECIPE.items() if "stages" not in small.recipe or name not in ("rate", "groups")}
    given = {
        "labels": "basic", "clip": start if over_clip else None, "start": None if over_clip else start,
        "settings": small.settings, "recipe": base | dict(small.recipe),
        "reads": {"size": SIDE, "frames": small.frames, "stride": 0, "views": 1},
    }  # fmt: skip
    return FaceTrainingOptions(**(given | others))


def trained(
    title: str, small: SmallNetwork, bench: Bench, manifest: Path, seed: int, log: Path | None, **others: Any
) -> dict[str, Any]:
    """The row of one training: what the product measured on the test part, and its seconds; from the log where it is there."""
    for row in read_log(log):
        if (row["title"], row["seed"]) == (title, seed):
            return row
    options, start = options_of(small, bench, **others), time.monotonic()
    with tempfile.TemporaryDirectory(dir=bench.folder) as output:
        card = train(manifest, Path(output), network=small.network, kind="dynamic", seed=seed, epochs=small.epochs,
                     options=options)  # fmt: skip
    seconds = round(time.monotonic() - start, 1)
    row = {"title": title, "seed": seed, "war": card.metrics["war"], "uar": card.metrics["uar"], "seconds": seconds}
    print(row, flush=True)
    append_row(log, row)
    return row


def read_log(log: Path | None) -> list[dict[str, Any]]:
    """The rows that an earlier run wrote."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log and log.exists() else []


def row_of(title: str, small: SmallNetwork, bench: Bench, seeds: Sequence[int], log: Path | None) -> list[object]:
    manifest = bench.clips(small.frames, more=small.more)
    rows = [trained(title, small, bench, manifest, seed, log) for seed in seeds]
    reached, seconds = [row["war"] for row in rows], np.mean([row["seconds"] for row in rows])
    found = over_pairs(float(np.mean(reached)), len(read_face_corpus(manifest, LABELS).test) // 2)
    extremes = f"{min(reached):.3f}, {max(reached):.3f}"
    return [title, f"{np.mean(reached):.3f}", extremes, said(found), said(mean_interval(reached)), f"{seconds:.0f}"]


def over_pairs(share: float, pairs: int) -> Interval:
    """Wilson's 95 % interval of a share of right answers with the two clips of a pair, which hold the same frames, as one."""
    from scipy.stats import binomtest

    found = binomtest(round(share * pairs), pairs).proportion_ci(0.95, "wilson")
    return Interval(share, float(found.low), float(found.high))


def said(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


# ---- models of single frames ---------------------------------------------------------------------------------------------


def baselines(bench: Bench, start: str = "clip", like: SmallNetwork = NETWORKS["s4d"]) -> Iterator[list[object]]:
    """Logistic regression on what a network that learned stills makes of frames, fitted on all clips that `like` learns from."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    corpus = read_face_corpus(bench.clips(like.frames, more=like.more), LABELS)
    (seen, known), (new, truth) = (frame_features(bench, start, part) for part in ((*corpus.fit, *corpus.choose), corpus.test))

    def model(x: NDArray[np.float32], y: NDArray[np.int64]) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)).fit(x, y)

    frames = new.shape[1]
    every = model(seen.reshape(-1, seen.shape[2]), np.repeat(known, frames))
    votes = every.predict_log_proba(new.reshape(-1, new.shape[2])).reshape(len(new), frames, -1).sum(1)
    yield _said("the frames' mean", float(model(seen.mean(1), known).score(new.mean(1), truth)), len(truth) // 2)
    yield _said("every frame, answers multiplied", float((every.classes_[votes.argmax(1)] == truth).mean()), len(truth) // 2)
    for number in range(frames):
        score = float(model(seen[:, number], known).score(new[:, number], truth))
        yield _said(f"frame {number + 1} of {frames} alone, its number known", score, len(truth) // 2)
    both = (part.reshape(len(part), -1) for part in (seen, new))
    yield _said("no single frame: all in their order", float(model(next(both), known).score(next(both), truth)), len(truth) // 2)


def _said(what: str, share: float, pairs: int) -> list[object]:
    return [what, f"{share:.3f}", said(over_pairs(share, pairs))]


def frame_features(
    bench: Bench, start: str, samples: Sequence[FaceSample]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features [N, T, D] of each frame apart, and the classes [N]."""
    weights = bench.start(start)
    assert weights is not None
    own = files_of(bench.folder / "start-clip", "static", "ke-fer-clip").weights
    found = load_trained(own if start == "clip" else weights)
    clips = torch.from_numpy(np.stack([np.load(sample.path) for sample in samples])).permute(0, 1, 4, 2, 3)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (found.reads.mean, found.reads.std))
    with torch.no_grad():
        answers = [found.network.answer(FaceInputs((clip[:, None] / 255 - mean) / std)).features for clip in clips]
    return torch.cat(answers).view(*clips.shape[:2], -1).numpy(), np.array([sample.label for sample in samples], np.int64)


if __name__ == "__main__":
    main()
