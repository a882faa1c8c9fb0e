"""Write the default fusion weights from the model cards of the shipped models.

    ./dyad benchmark derive_fusion_weights [--cards modalities/weights] [--output fusion/weights/mhpf.json]

Reads the YAML front matter of every card and prints which part of each emotion the fusion then takes from whom.
"""

import datetime
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import make_parser
from data.errors import DyadError, InputError
from data.scores import MODALITIES
from fusion.mhpf import collapse
from fusion.reliability import derive_weights
from fusion.weights import DEFAULT_WEIGHTS, FusionWeights, write_weights

ROOT = Path(__file__).resolve().parents[2]


def read_cards(folder: Path) -> dict[str, Mapping[str, Any]]:
    return {name: front_matter(folder / f"{name}.md") for name in MODALITIES if (folder / f"{name}.md").is_file()}


def front_matter(path: Path) -> Mapping[str, Any]:
    _, *rest = path.read_text(encoding="utf-8").split("---\n", 2)
    front = yaml.safe_load(rest[0]) if rest else None
    if not isinstance(front, dict):
        raise InputError(f"{path} has no YAML front matter; train its model again.")
    return front


def table(weights: FusionWeights) -> str:
    rows = [" " * 14 + "".join(f"{word[:9]:>10}" for word in weights.classes)]
    for name, shares in zip(weights.modalities, collapse(weights), strict=True):
        rows.append(f"{name:14}" + "".join(f"{100 * share:9.1f}%" for share in shares))
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--cards", type=Path, default=ROOT / "modalities" / "weights")
    parser.add_argument("--output", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    options = parser.parse_args(arguments)
    try:
        weights = derive_weights(read_cards(options.cards), options.date)
    except DyadError as error:
        print(error, file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_weights(options.output, weights)
    print(f"{options.output}: {weights.description}\n{table(weights)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
