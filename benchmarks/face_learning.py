"""Whether the face networks learn: small ones, from random weights, on FER+ stills and on clips whose order is the label.

    ./dyad benchmark face_learning --data ../shared/datasets [--stills 1500] [--clips 600] [--epochs 15] [--seeds 3]

Static: accuracy on held-out stills beside a linear probe (logistic regression) on the features of the untrained network.
Dynamic: real stills are bent from neutral into happy (the label happiness) or back (neutral), so that a clip and its reverse hold
the same frames: whatever looks at single frames is right half of the time. KE-FER is trained with and without its neutral
reference. No weights are fetched: what large networks reach from their authors' weights, this does not tell.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import header, print_table
from modalities.face.clip_tower import Clip, ClipShape
from modalities.face.network import FaceNetwork
from modalities.face.registry import Kind, network_table
from modalities.training.face_batches import Maker
from modalities.training.face_corpus import FaceSample, read_face_corpus, read_views
from modalities.training.face_networks import FaceOptions, network_input, network_settings, new_network, train
from modalities.training.faces import FaceVotes, read_faces
from modalities.training.pseudo_sequences import morph

LABELS = network_table().labels("basic")
TOWER = {"embedding": 64, "size": 48, "patch": 8, "width": 64, "layers": 3, "text_width": 64, "text_heads": 1, "text_layers": 1}
S4D = {"size": 48, "patch": 8, "frames": 4, "width": 64, "depth": 3, "heads": 4, "expert_blocks": [1, 2],
       "experts": {"experts": 4}}  # fmt: skip
RECIPE = {"batch": 32, "rate": 1e-3, "layer_decay": 1.0, "augment": 0.3, "mixup": 0.0, "smoothing": 0.0, "groups": {},
          "optimiser": "adamw", "schedule": "cosine", "warmup": 0.05, "weight_decay": 0.02}  # fmt: skip
STATIC: dict[str, tuple[str, dict[str, Any]]] = {
    "s4d": ("s4d", S4D),
    "fineclip": ("fineclip", {"shape": TOWER, "frames": 1}),
    "ke-fer": ("ke-fer-clip", {"shape": TOWER}),
    "ke-fer, matching alone": ("ke-fer-clip", {"shape": TOWER, "weights": {"transformation": 0.0, "contrast": 0.0}}),
}
DYNAMIC: dict[str, tuple[str, dict[str, Any]]] = {
    "s4d": ("s4d", S4D),
    "dfer-clip": ("dfer-clip", {"shape": TOWER, "temporal": {"frames": 4, "heads": 4, "head_width": 16, "hidden": 128}}),
    "fineclip": ("fineclip", {"shape": TOWER, "frames": 4}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    for name, number in (("stills", 1500), ("clips", 600), ("epochs", 15), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--only", default="", help="networks whose name begins so")
    given = parser.parse_args(arguments)
    print(header())
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        clip = write_clip(place / "clip.safetensors")
        fit, held_out = (clear(read_faces(given.data / "face" / f"ferplus_{part}.npz")) for part in ("train", "valid"))
        rows = [["chance", "static", f"{1 / 7:.3f}", ""], ["any model of single frames", "dynamic", "0.500", ""]]
        for kind, networks in (("static", STATIC), ("dynamic", DYNAMIC)):
            made = write_stills if kind == "static" else write_clips
            manifest = made(place / kind, fit, held_out, given.stills if kind == "static" else given.clips)
            for title, (name, settings) in networks.items():
                if title.startswith(given.only):
                    rows.append(measured(title, name, kind, settings, manifest, clip, place, given.epochs, given.seeds))
                    print(rows[-1], flush=True)
    print_table(["network", "kind", "accuracy (mean of seeds, lowest to highest)", "linear probe before training"], rows)


def measured(
    title: str, name: str, kind: Kind, settings: dict[str, Any], manifest: Path, clip: Path, place: Path, epochs: int, seeds: int
) -> list[str]:  # fmt: skip
    size = 4 if kind == "dynamic" else 1
    options = FaceOptions(
        labels="basic", clip=None if name == "s4d" else clip, settings=settings, recipe=RECIPE,
        reads={"size": 48, "frames": size, "stride": 0, "views": 1},
    )  # fmt: skip
    reached = []
    for seed in range(seeds):
        card = train(manifest, place / f"{title}-{seed}", network=name, kind=kind, seed=seed, epochs=epochs, options=options)
        reached.append(card.metrics["war"])
    shown = f"{np.mean(reached):.3f} ({min(reached):.3f} to {max(reached):.3f})"
    return [title, kind, shown, f"{probe(name, kind, options, manifest):.3f}"]


def probe(name: str, kind: Kind, options: FaceOptions, manifest: Path) -> float:
    """Accuracy of a logistic regression on what the untrained network makes of the samples."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    row = network_table().choose(name, kind)
    network = new_network(row, network_settings(row, LABELS, kind, options), options, 0)
    maker = Maker(row, network_input(row, kind, options), 7, streams=False, captions=False, device="cpu")
    corpus = read_face_corpus(manifest, LABELS, seed=0)
    (seen, known), (new, truth) = (features(network, maker, part) for part in ((*corpus.fit, *corpus.choose), corpus.test))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(seen, known)
    return float(model.score(new, truth))


def features(network: FaceNetwork, maker: Maker, samples: Sequence[FaceSample]) -> tuple[np.ndarray, np.ndarray]:
    network.eval()
    found = []
    for start in range(0, len(samples), 64):
        part = samples[start : start + 64]
        drawn = maker.drawn(part, [read_views(one.path, maker.reads) for one in part])
        with torch.no_grad():
            found.append(network.answer(maker.normalised(maker.inputs(drawn))).features.numpy())
    return np.concatenate(found), np.array([one.label for one in samples])


# ---- what they learn from ------------------------------------------------------------------------------------------------


def clear(faces: FaceVotes) -> FaceVotes:
    """Stills on which more than half of the taggers agree."""
    return faces.rows(faces.agreed)


def write_clip(path: Path) -> Path:
    """A small CLIP with random weights that tells texts apart."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    clip = Clip(ClipShape()._replace(**TOWER))
    with torch.no_grad():
        clip.token_embedding.weight.mul_(50)
        clip.get_parameter("transformer.resblocks.0.attn.out_proj.weight").mul_(100)
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, path)
    return path


def write_stills(folder: Path, fit: FaceVotes, held_out: FaceVotes, count: int) -> Path:
    """PNGs of `count` stills to learn from and half as many to test on, each class as often as the others where it can be."""
    import cv2

    folder.mkdir(parents=True)
    rows, chance = ["path,label,split"], np.random.default_rng(1)
    for split, faces, most in (("train", fit, count), ("test", held_out, count // 2)):
        for label, word in enumerate(LABELS):
            members = chance.permutation(np.flatnonzero(faces.majority == label))[: most // len(LABELS)]
            for number in members:
                cv2.imwrite(str(folder / f"{split}{number}.png"), faces.images[number])
                rows.append(f"{split}{number}.png,{word},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


def write_clips(folder: Path, fit: FaceVotes, held_out: FaceVotes, count: int) -> Path:
    """Clips of four frames from a neutral still to a happy one or back: `count` to learn from, half as many to test on."""
    folder.mkdir(parents=True)
    rows, chance = ["path,label,split"], np.random.default_rng(2)
    for split, faces, most in (("train", fit, count), ("test", held_out, count // 2)):
        calm, happy = (np.flatnonzero(faces.majority == LABELS.index(word)) for word in ("neutral", "happiness"))
        for number in range(most):
            frames = morph(faces.images[chance.choice(calm)], faces.images[chance.choice(happy)], np.linspace(0, 1, 4))
            frames = frames if number % 2 else frames[::-1]
            np.save(folder / f"{split}{number}.npy", np.repeat(frames[..., None], 3, 3))
            rows.append(f"{split}{number}.npy,{'happiness' if number % 2 else 'neutral'},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "manifest.csv"


if __name__ == "__main__":
    main()
