"""Keep weights of the static face in eight bits, and those of the dynamic face over them; measure again what their cards say.

    ./dyad benchmark derive_static_face_weights FOLDER --data ../shared/datasets [--output modalities/weights]

`dyad train static-face` keeps its weights so by itself; this is for a folder with both from before that. What the dynamic face
learned over the static one stays as it is.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from benchmarks.common import make_parser
from data.errors import DyadError
from modalities.loading.checkpoint import WEIGHTS_FOLDER, Card, Checkpoint, load_checkpoint, save_checkpoint
from modalities.static_face.embedded import load
from modalities.training.faces.dynamic_face import SEQUENCES, held_out_sequences
from modalities.training.faces.dynamic_face import make_card as make_dynamic_card
from modalities.training.faces.static_face import keep, prepare_splits
from modalities.training.faces.static_face import make_card as make_static_card

STATIC, DYNAMIC = "static_face.safetensors", "dynamic_face.safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/ferplus_*.npz")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=WEIGHTS_FOLDER)
    options = parser.parse_args(arguments)
    try:
        before, card = load_checkpoint(options.folder / STATIC), read_card(options.folder / STATIC)
        kept = options.output / STATIC
        keep(kept, before.network(), constants_of(before), before.settings)
        splits = prepare_splits(options.data, card.seed, None)
        measured = make_static_card(kept, splits, card.seed, card.command, card.text)
        speed = {"faces_per_second": card.metrics["faces_per_second"]}  # the network that is loaded is as fast
        replace(measured, metrics=measured.metrics | speed).write(kept.with_suffix(".md"))
        face, over = load(kept), load_checkpoint(options.folder / DYNAMIC)
        card, kept = read_card(options.folder / DYNAMIC), options.output / DYNAMIC
        save_checkpoint(kept, over.network(), constants_of(over), over.settings | {"static_revision": face.source.revision})
        watched = held_out_sequences(face, splits, SEQUENCES, card.seed)
        measured = make_dynamic_card(face, kept, watched, SEQUENCES, card.seed, card.command)
        data = f"{card.data}, whose eight-bit form is {face.source.revision}"
        replace(measured, data=data, text=card.text).write(kept.with_suffix(".md"))
    except DyadError as error:
        print(error, file=sys.stderr)
        return 1
    for name in (STATIC, DYNAMIC):
        sizes = [f"{(folder / name).stat().st_size / 1e6:.2f} MB" for folder in (options.folder, options.output)]
        print(f"{options.output / name}: {sizes[0]} before, {sizes[1]} now")
    return 0


def read_card(weights: Path) -> Card:
    """The card beside weights."""
    return Card.read(weights.with_suffix(".md"))


def constants_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors that are none of the network's."""
    return {name: value for name, value in checkpoint.tensors.items() if not name.startswith("network.")}


if __name__ == "__main__":
    sys.exit(main())
