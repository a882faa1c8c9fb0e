"""Write how common each emotion was among what our own networks learned, and measure what other priors are worth.

    ./dyad benchmark derive_priors --data ../shared/datasets [--output modalities/weights/priors.yaml]

Static face: the taggers' shares of FER+'s training stills. Text: GoEmotions' training comments, the largest of its corpora.
Scene context: AFEW's training clips. The voice learned each emotion alike in each corpus, the dynamic face sequences of which
shares are not kept: they have none. The table: the still face on FER+'s validation file (home) and the text on GoEmotions' dev
comments (home) at several strengths of balanced priors.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from benchmarks.common import header, make_parser, print_table
from data.emotions import BASIC_EMOTIONS
from data.files import write_text
from data.metrics import scores_of
from fusion.arrays import Floats, Integers
from modalities.priors import FILE

HEADS = ("what", "n", "strength", "accuracy %", "UAR %", "macro-F1 %")
STRENGTHS = (0.0, 0.25, 0.5, 1.0)


def shares_of(data: Path) -> dict[str, Floats]:
    from modalities.training.faces.stills import read_faces
    from modalities.training.text.corpora import label_vector

    stills = read_faces(data / "face" / "ferplus_train.npz").shares[:, : len(BASIC_EMOTIONS)].sum(0)
    comments = pd.read_csv(data / "text" / "goemotions_ekman_train.csv", keep_default_na=False)["labels"]
    labels = np.array([label_vector(words) for words in comments], float)
    texts = (labels / np.maximum(labels.sum(1, keepdims=True), 1.0)).sum(0)
    clips = pd.read_csv(data / "scene" / "afew_train_qwen2.5-vl-32b_prompt1.csv")
    scenes = clips[[word.capitalize() for word in BASIC_EMOTIONS]].sum().to_numpy(float)
    return {name: np.asarray(counts / counts.sum(), float)
            for name, counts in {"static_face": stills, "scene_context": scenes, "text": texts}.items()}  # fmt: skip


def measured(data: Path, shares: dict[str, Floats]) -> Iterator[tuple[object, ...]]:
    from benchmarks.derive.composer import text_rows
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.stills import read_faces

    faces = read_faces(data / "face" / "ferplus_valid.npz")
    basic = static_face.score_images(static_face.load(), faces.images).astype(float)
    known = (faces.majority >= 0) & (faces.majority < len(BASIC_EMOTIONS))
    yield from _at_strengths("static face, FER+ valid, majority", basic[known], faces.majority[known], shares["static_face"])
    agreed = known & faces.agreed
    yield from _at_strengths("static face, FER+ valid, most agree", basic[agreed], faces.majority[agreed], shares["static_face"])
    texts, _ = text_rows(data, "dev")
    single = texts.state < len(BASIC_EMOTIONS)
    yield from _at_strengths("text, GoEmotions dev, one label", texts.basic[single], texts.state[single], shares["text"])


def _at_strengths(what: str, basic: Floats, truth: Integers, learned: Floats) -> Iterator[tuple[object, ...]]:
    for strength in STRENGTHS:
        figures = scores_of(truth, (basic / learned**strength).argmax(1), range(len(BASIC_EMOTIONS)))
        yield what, len(truth), strength, *(f"{100 * figures[name]:.1f}" for name in ("war", "uar", "macro_f1"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/, text/ and scene/")
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args(arguments)
    shares = shares_of(options.data)
    named = {name: dict(zip(BASIC_EMOTIONS, np.round(row, 4).tolist(), strict=True)) for name, row in shares.items()}
    command = "# ./dyad benchmark derive_priors --data ../shared/datasets\n"
    write_text(options.output, command + yaml.safe_dump(named, sort_keys=False))
    print(f"{header()}\n{options.output}\n")
    print_table(HEADS, measured(options.data, shares))
    return 0


if __name__ == "__main__":
    sys.exit(main())
