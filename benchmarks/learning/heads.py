"""Whether RAS's heads over CLIP's features, VideoMamba and VideoFormer, learn what only the order of frames tells.

    ./dyad benchmark learning_heads --data ../shared/datasets --seeds 3 [--log rows.jsonl] [--keep FOLDER]

The clips and the small CLIP are those of `learning_clips`; its image tower stays as it is and gives a feature a frame. The heads
are trained by the loop of `dyad train` (`face_networks.loop.fit`), which no command runs for them. A VideoFormer as released,
without codes of the positions in time, takes the mean over frames of what attention says: a control, which must not pass.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import header, print_table
from benchmarks.learning.clips import RECIPE, SIDE, Bench, bench_of, clip_parser, over_pairs, read_log, said
from benchmarks.learning.learning import LABELS, append_row, mean_interval
from data.metrics import scores_of
from modalities.dynamic_face.video_former import VideoFormer, VideoFormerShape
from modalities.dynamic_face.video_mamba import TemporalShell, VideoMamba, VideoMambaShape
from modalities.face_networks.parts.base import FaceAnswer, FaceInputs, FaceNetwork
from modalities.face_networks.parts.clip_face import in_pieces
from modalities.face_networks.parts.clip_tower import ImageTower, read_clip
from modalities.face_networks.registry import NetworkInput, network_table
from modalities.training.face_networks.batches import BatchMaker
from modalities.training.face_networks.corpus import FaceSample, read_face_corpus
from modalities.training.face_networks.loop import TrainingPlan, fit, read_best
from modalities.training.face_networks.recipes import recipes_of
from modalities.training.face_networks.train import probabilities_of

MAMBA = VideoMambaShape(features=64, width=64, rank=4, layers=2, hidden=32, classes=len(LABELS))
FORMER = VideoFormerShape(features=64, width=64, hidden=32, classes=len(LABELS))
HEADS = ("video-mamba", "video-mamba, exponential", "video-former, positions", "video-former, as released")
RATE = {**RECIPE, "rate": 3e-3}


class HeadOverTower(FaceNetwork):
    """A head over the features of frames that a frozen image tower gives."""

    def __init__(self, tower: ImageTower, head: TemporalShell) -> None:
        super().__init__()
        self.tower, self.head = tower.requires_grad_(False), head

    def answer(self, inputs: FaceInputs) -> FaceAnswer:
        """See `FaceNetwork`."""
        with torch.no_grad():
            features = in_pieces(self.tower, inputs.pixels)
        return FaceAnswer(*self.head(features))


def head_named(name: str) -> TemporalShell:
    if name.startswith("video-former"):
        return VideoFormer(FORMER._replace(positions="positions" in name))
    return VideoMamba(MAMBA._replace(discretisation="exponential" if "exponential" in name else "product"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = clip_parser(__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args(arguments)
    print(header())
    with bench_of(given) as bench:
        rows = [row_of(name, bench, given.epochs, range(given.seeds), given.log) for name in HEADS]
        print_table(["head", "accuracy", "95 % over pairs", "95 % over seeds", "seconds"], rows)


def row_of(name: str, bench: Bench, epochs: int, seeds: Sequence[int], log: Path | None) -> list[object]:
    rows = [trained_head(name, bench, epochs, seed, log) for seed in seeds]
    reached, seconds = [row["war"] for row in rows], np.mean([row["seconds"] for row in rows])
    pairs = len(read_face_corpus(bench.clips(4), LABELS).test) // 2
    found = over_pairs(float(np.mean(reached)), pairs)
    return [name, f"{found.mean:.3f}", said(found), said(mean_interval(reached)), f"{seconds:.0f}"]


def trained_head(name: str, bench: Bench, epochs: int, seed: int, log: Path | None) -> dict[str, Any]:
    """Train a head; the weights of the best epoch on the validation part are measured on the test part."""
    for row in read_log(log):
        if (row["title"], row["seed"]) == (name, seed):
            return row
    start, weights = time.monotonic(), bench.start("clip")
    assert weights is not None
    torch.manual_seed(seed)
    network = HeadOverTower(read_clip(weights).visual, head_named(name))
    known, corpus = network_table().choose("cliper"), read_face_corpus(bench.clips(4), LABELS, seed=seed)
    reads = NetworkInput(SIDE, 4, mean=known.input.mean, std=known.input.std)
    maker = BatchMaker(known, reads, len(LABELS), streams=False, captions=False, device="cpu")

    def figures(judged: FaceNetwork, part: Sequence[FaceSample] = corpus.choose) -> dict[str, float]:
        return scores_of(np.array([one.label for one in part]), probabilities_of(judged, part, plan).argmax(1))

    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        kept = Path(folder)
        recipes = recipes_of("cliper", {**RATE, "stages": [{}], "epochs": epochs})
        plan = TrainingPlan(
            corpus.fit, recipes, maker, seed, torch.float32, 10_000, kept / "resume.pt", kept / "best.safetensors", {"seed": seed}
        )
        fit(network, plan, figures, lambda state: None)
        read_best(network, plan)
        found = figures(network, corpus.test)
    made = {"title": name, "seed": seed, "war": found["war"], "uar": found["uar"], "seconds": time.monotonic() - start}
    print(made, flush=True)
    append_row(log, made)
    return made


if __name__ == "__main__":
    main()
