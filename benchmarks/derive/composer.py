"""Fit the learned composer (from basic emotions to pairs, and to none of them) and write fusion/weights/composer.json.

    ./dyad benchmark derive_composer --data ../shared/datasets [--output fusion/weights/composer.json]

Rows that the shipped static face and text models were not trained on: FER+ stills of the training file's tenth that only chose
the epoch, with the state that their votes show, and GoEmotions comments of the tenth held out likewise, with their one or two
labels. A third source is what the default fusion makes of a still and a comment of the same state, drawn at random: the
composer answers for fused probabilities, which are less sure than a model's own. Run it again when a model or the fusion
weights change (one to five minutes). The files that quality is measured on (ferplus_valid, goemotions dev) are not touched.
"""

import datetime
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.common import make_parser
from configs.schema import StaticFaceSettings
from data.errors import DyadError
from data.scores import MODALITIES
from fusion.arrays import Floats
from fusion.composer import DEFAULT_COMPOSER, PAIRS, Composer, pair_name, write_composer
from fusion.fit_composer import EMOTIONS, StateRows, fit_composer, state_of_labels, state_of_votes
from fusion.log_linear import log_linear
from fusion.weights import read_weights
from modalities.priors import with_priors

SEED = 7


def face_rows(data: Path) -> tuple[StateRows, str]:
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.static_face import prepare_splits

    model, faces = static_face.load(), prepare_splits(data, SEED, None).choose
    basic = by_default_priors(static_face.score_images(model, faces.images))
    about = f"static_face {model.source.revision} on FER+ stills (face/ferplus_train.npz) not fitted on"
    return StateRows(basic, state_of_votes(faces.votes.astype(np.float64))).known(), about


def by_default_priors(basic: NDArray[np.float32]) -> Floats:
    """The still face's probabilities [N, 7] as a run has them."""
    asked = StaticFaceSettings()
    return with_priors(basic, "static_face", asked.priors, asked.prior_strength).astype(np.float64)


def text_rows(data: Path, split: str = "train") -> tuple[StateRows, str]:
    """Of the training file the tenth that is held out by comment; of the dev file everything."""
    from modalities.text import embedded as text
    from modalities.training.text.corpora import is_held_out, label_vector

    rows = pd.read_csv(data / "text" / f"goemotions_ekman_{split}.csv", keep_default_na=False)
    rows = rows[[is_held_out(key) for key in rows["id"]]] if split == "train" else rows
    model = text.load()
    basic = text.score_texts(model, rows["text"].tolist()).astype(np.float64)
    labels = np.array([label_vector(words) for words in rows["labels"]])
    about = f"text {model.source.revision} on GoEmotions comments (text/goemotions_ekman_{split}.csv) not fitted on"
    return StateRows(basic, state_of_labels(labels)).known(), about


def fused_rows(faces: StateRows, texts: StateRows, seed: int = SEED) -> StateRows:
    """Each still with a comment of the same state, fused by the default weights; states without a comment are left out."""
    chance = np.random.default_rng(seed)
    kept = np.isin(faces.state, texts.state)
    partners = [int(chance.choice(np.flatnonzero(texts.state == state))) for state in faces.state[kept]]
    probabilities = np.zeros((len(MODALITIES), int(kept.sum()), EMOTIONS))
    present = np.zeros(probabilities.shape[:2], bool)
    for name, basic in (("static_face", faces.basic[kept]), ("text", texts.basic[partners])):
        probabilities[MODALITIES.index(name)], present[MODALITIES.index(name)] = basic, True
    return StateRows(log_linear(read_weights(), probabilities, present), faces.state[kept])


def derive(faces: StateRows, of_faces: str, texts: StateRows, of_texts: str) -> Composer:
    """The composer of two sources, described in words, and of what the default fusion makes of them."""
    fused = fused_rows(faces, texts)
    sources = {of_faces: faces, of_texts: texts, "a still and a comment of the same state, fused by the default weights": fused}
    about: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "seed": SEED,
        "command": "./dyad benchmark derive_composer --data ../shared/datasets",
        "sources": {name: {"rows": len(rows.state), "pairs": int((rows.state >= EMOTIONS).sum())}
                    for name, rows in sources.items()},
    }  # fmt: skip
    return fit_composer(list(sources.values()), about)


def in_words(composer: Composer) -> Iterator[str]:
    yield (
        f"slopes: alone {composer.single_slope:.2f}, sum {composer.pair_slope:.2f}, balance {composer.balance_slope:.2f}; "
        f"pairs {composer.pair_offset:.2f}"
    )
    for name in ("alone", "joined"):
        yield f"{name}: " + ", ".join(f"{word} {value:+.2f}" for word, value in getattr(composer, name).items())
    usual = sorted(((composer.shares[pair_name(pair)], pair_name(pair)) for pair in PAIRS), reverse=True)
    yield "most frequent pairs: " + ", ".join(f"{name} {100 * share:.1f} %" for share, name in usual[:8])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/ and text/")
    parser.add_argument("--output", type=Path, default=DEFAULT_COMPOSER)
    options = parser.parse_args(arguments)
    try:
        composer = derive(*face_rows(options.data), *text_rows(options.data))
    except (DyadError, OSError, KeyError) as error:
        print(error, file=sys.stderr)
        return 1
    write_composer(options.output, composer)
    print(f"{options.output}:", *in_words(composer), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
