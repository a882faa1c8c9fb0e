"""Write the default fusion weights from what the shipped models reach on data that they never saw.

    ./dyad benchmark derive_fusion_weights --data ../shared/datasets [--cards FOLDER] [--output fusion/weights/mhpf.json]

Home figures are no measure of what happens in a stranger's video, so these are taken, each as far as it is there:
* faces: film clips (AFEW, dev), as two other networks of faces read them, for no labelled film is here to show ours;
* voice: its card, where that tells of a corpus left out whole; and the same film clips, as another network hears them;
* scene context: our own answers to descriptions of Aff-Wild2, whose like it never read.
A modality without any gets the mean of the others. Without --data the cards' figures count, those at home too. Prints which part
of each emotion the fusion then takes from whom.
"""

import datetime
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import yaml

from benchmarks.common import make_parser
from benchmarks.quality.films import read_films
from data.emotions import BASIC_EMOTIONS
from data.errors import DyadError, InputError
from data.scores import MODALITIES
from fusion.mhpf import collapse
from fusion.reliability import ENOUGH, MeasuredCard, derive_weights, measured_card
from fusion.weights import DEFAULT_WEIGHTS, FusionWeights, write_weights

ROOT = Path(__file__).resolve().parents[2]
FILM_CLIPS = Path("fusion") / "afew2013_face_voice.csv"
FACES, VOICE = ("face_svm", "face_convnet"), ("voice",)
"""Models of the film clips that were not trained on the part called dev."""
AWAY = "away"
"""How a card's `split` begins where its recall is that of a corpus left out whole."""


def read_cards(folder: Path) -> dict[str, Mapping[str, Any]]:
    return {name: front_matter(folder / f"{name}.md") for name in MODALITIES if (folder / f"{name}.md").is_file()}


def front_matter(path: Path) -> Mapping[str, Any]:
    _, *rest = path.read_text(encoding="utf-8").split("---\n", 2)
    front = yaml.safe_load(rest[0]) if rest else None
    if not isinstance(front, dict):
        raise InputError(f"{path} has no YAML front matter; train its model again.")
    return front


def cards_away(data: Path, cards: Mapping[str, Mapping[str, Any]]) -> dict[str, MeasuredCard]:
    """What is known of each modality away from its training; those of which nothing is are left out."""
    faces = read_film_clips(data, FACES)
    heard = read_film_clips(data, VOICE)
    own = cards.get("voice", {})
    if str(own.get("split", "")).startswith(AWAY):
        heard = joined(heard, cast(MeasuredCard, own), temperature=1.0)
    films = read_films(data)
    shares = np.concatenate([film.shares for film in films])
    named = np.repeat(np.arange(len(films)), [len(film.basic) for film in films])
    seen = shares[:, : len(BASIC_EMOTIONS)].max(1) >= 0.5
    basic = np.concatenate([film.basic for film in films])
    scenes = measured_card(basic[seen], shares[seen].argmax(1), named[seen].tolist(), BASIC_EMOTIONS)
    return {"static_face": faces, "dynamic_face": faces, "scene_context": scenes, "voice": heard}


def read_film_clips(data: Path, models: Sequence[str]) -> MeasuredCard:
    """What other people's models reach on the film clips; their temperatures are not ours, and are left out."""
    rows = pd.read_csv(data / FILM_CLIPS, dtype={"clip": str}).query("split == 'dev'")
    rows = rows[rows["model"].isin(models)].dropna(subset=list(BASIC_EMOTIONS))
    labels = np.array([BASIC_EMOTIONS.index(word) for word in rows["label"]])
    card = measured_card(rows[list(BASIC_EMOTIONS)].to_numpy(float), labels, rows["clip"].tolist(), BASIC_EMOTIONS)
    return {"per_class_recall": card["per_class_recall"], "counts": card["counts"]}


def joined(one: MeasuredCard, other: MeasuredCard, temperature: float) -> MeasuredCard:
    """Recalls of two measurements together, each class by how many people or films it was seen in."""
    recalls, counts = dict[str, float](), dict[str, float]()
    for word in BASIC_EMOTIONS:
        known = [((card.get("counts") or {}).get(word, ENOUGH), (card.get("per_class_recall") or {})[word])
                 for card in (one, other) if word in (card.get("per_class_recall") or {})]  # fmt: skip
        counts[word] = sum(count for count, _ in known)
        recalls[word] = sum(count * recall for count, recall in known) / counts[word]
    return {"per_class_recall": recalls, "counts": counts, "temperature": temperature}


def table(weights: FusionWeights) -> str:
    rows = [" " * 14 + "".join(f"{word[:9]:>10}" for word in weights.classes) + "  temperature"]
    for name, shares, over in zip(weights.modalities, collapse(weights), weights.temperatures, strict=True):
        rows.append(f"{name:14}" + "".join(f"{100 * share:9.1f}%" for share in shares) + f"{over:13.2f}")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder with fusion/ and scene/, for figures away from home")
    parser.add_argument("--cards", type=Path, default=ROOT / "modalities" / "weights")
    parser.add_argument("--output", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    options = parser.parse_args(arguments)
    try:
        cards = read_cards(options.cards)
        measured = cards_away(options.data, cards) if options.data else cast(Mapping[str, MeasuredCard], cards)
        weights = derive_weights(measured, options.date)
    except (DyadError, OSError, KeyError) as error:
        print(error, file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_weights(options.output, weights)
    print(f"{options.output}: {weights.description}\n{table(weights)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
