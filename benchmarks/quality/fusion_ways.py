"""How models are fused best when only data that they never saw says how far to trust them: one table over four corpora.

    ./dyad benchmark fusion_ways --data ../shared/datasets [--only "AFEW, face and voice"] [--trust 0.5] [--curve]

Each part of the people (or clips) is answered with weights from the others. `derived` is the rule of the default weights
(`fusion.reliability`, `fusion.log_linear`), its recalls and temperatures measured on those others; means over ten ways to make
the parts, since of 200 clips a way moves the accuracy by one or two of them. `fitted` is what `dyad fuse fit` chooses, for one
way. `--curve`: how many points `derived` is above the product of the probabilities, and its log loss, by how much the worth of a
model is drawn to equal weights (`fusion.reliability.PULLS`). Accuracy, and the log loss in brackets.

AFEW (film, half of dev): models of EmotiW 2013 that learned AFEW's train clips (home), and our scene context on descriptions of
the same clips by a model of 32 billion parameters (home). IEMOCAP, RAVDESS, CREMA-D: posteriors and votes of other people's
models, each at home, of speakers that the model did not hear.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import header, make_parser, print_table
from benchmarks.quality.quality import Row, crema_table
from data.bootstrap import drawn_sums, middle
from data.emotions import BASIC_EMOTIONS
from fusion.arrays import Floats, Integers
from fusion.log_linear import log_linear
from fusion.reliability import PULLS, MeasuredCard, Pulls, derive_weights, measured_card
from fusion.tables.files import as_given, cross_fitted, figures_of, fitting_rows
from fusion.tables.fit import parts_of
from fusion.tables.long_table import LongTable, read_long_table

HEADS = ("table", "n", "models", "best single", "mean", "product", "derived", "fitted", "derived less product", "95 % interval")
PARTS, SEED, WAYS = 5, 7, 10
PULLS_TRIED = ((5.0, 5.0), (20.0, 5.0), (20.0, 20.0), (40.0, 5.0), (80.0, 0.0), PULLS, (80.0, 20.0), (200.0, 5.0), (1e6, 1e6))
PRODUCT = "product, uncalibrated"
FIT_METHODS = ("mean", "product", "weighted_product", "mhpf")
FOUR = ("anger", "happiness", "neutral", "sadness")


Divided = tuple[Integers, dict[int, dict[str, MeasuredCard]]]
"""The part [N] of each row, and what the rows of the other parts show of the models."""


def divided(rows: LongTable, by_fold: bool) -> list[Divided]:
    """The ways to make the parts: by fold, or at random."""
    random = (parts_of(rows.groups, PARTS, SEED + number) for number in range(WAYS))
    parts = [np.unique(rows.folds, return_inverse=True)[1]] if by_fold else list(random)
    return [(part, {int(number): cards_of(rows.rows(part != number)) for number in np.unique(part)}) for part in parts]


def derived_answers(rows: LongTable, ways: Sequence[Divided], trust: float = 1.0, pulls: Pulls = PULLS) -> Floats:
    """Answers [W, N, C] of the derived weights, each part by what the others show of the models; `trust` times the log-odds."""
    answers = np.full((len(ways), *rows.probabilities[:, 0].shape), np.nan)
    for way, (part, cards) in zip(answers, ways, strict=True):
        for number, shown in cards.items():
            weights = derive_weights(shown, "", rows.models, rows.classes, pulls)
            weights = replace(weights, head_weights=trust * weights.head_weights)
            tested = rows.rows(part == number)
            way[part == number] = log_linear(weights, tested.probabilities.transpose(1, 0, 2), tested.present.T)
    return answers


def cards_of(rows: LongTable) -> dict[str, MeasuredCard]:
    """What labelled rows show of each model."""
    return {
        name: measured_card(rows.probabilities[known, index], rows.labels[known], rows.groups[known].tolist(), rows.classes)
        for index, name in enumerate(rows.models)
        if (known := rows.present[:, index]).any()
    }


def table_row(name: str, rows: LongTable, by_fold: bool, trust: float = 1.0) -> Row:
    """A row: everything on the rows where every model answers."""
    fitted, _ = cross_fitted(rows, by_fold, FIT_METHODS)
    every = {way: fused[None] for way, fused in (as_given(rows) | {"fitted": fitted["chosen by fit"]}).items()}
    every["derived"] = derived_answers(rows, divided(rows, by_fold), trust)
    whole = rows.present.all(1)
    figures = {way: reached(fused[:, whole], rows.labels[whole]) for way, fused in every.items()}
    best = max(rows.models, key=lambda model: figures[model][0])
    shown = (figures[way] for way in (best, "mean, uncalibrated", PRODUCT, "derived", "fitted"))
    right = {way: (every[way][:, whole].argmax(2) == rows.labels[whole]).mean(0) for way in ("derived", PRODUCT)}
    gain = right["derived"] - right[PRODUCT]
    sums, sizes = drawn_sums(np.stack([gain, np.ones(len(gain))], 1), rows.groups[whole]).T
    low, high = middle(100 * sums / np.where(sizes > 0, sizes, np.nan))
    cells = [f"{100 * accuracy:.1f} ({loss:.2f})" for accuracy, loss in shown]
    return (name, int(whole.sum()), len(rows.models), *cells, f"{100 * gain.mean():+.1f}", f"{low:.1f} to {high:.1f}")


def reached(answers: Floats, labels: Integers) -> tuple[float, float]:
    """Accuracy and log loss of answers [W, N, C], means over the W ways."""
    figures = [figures_of(fused, labels) for fused in answers]
    accuracy, loss = (float(np.mean([one[name] for one in figures])) for name in ("accuracy", "log_loss"))
    return accuracy, loss


def curve(tables: Mapping[str, LongTable]) -> Iterator[Row]:
    """A row for each pull tried, a cell for each table."""
    ways = {name: divided(rows, name in FOLDED) for name, rows in tables.items()}
    for pulls in PULLS_TRIED:
        cells = []
        for name, rows in tables.items():
            whole = rows.present.all(1)
            accuracy, loss = reached(derived_answers(rows, ways[name], pulls=pulls)[:, whole], rows.labels[whole])
            product, _ = reached(as_given(rows)[PRODUCT][None, whole], rows.labels[whole])
            cells.append(f"{100 * (accuracy - product):+.1f} ({loss:.2f})")
        yield (*(f"{pull:g}" for pull in pulls), *cells)


def film_table(data: Path, models: Sequence[str]) -> LongTable:
    """AFEW's dev clips; `scene` among the models is our own answer to their descriptions."""
    rows = pd.read_csv(data / "fusion" / "afew2013_face_voice.csv", dtype={"clip": str}).query("split == 'dev'")
    wide = {name: own.set_index("clip")[list(BASIC_EMOTIONS)] for name, own in rows.groupby("model")}
    if "scene" in models:
        wide["scene"] = scene_words(data)
    first = rows.drop_duplicates("clip")
    return _long([wide[name].reindex(first["clip"]) for name in models], models, first["label"].tolist(), first["clip"].tolist())


def scene_words(data: Path) -> pd.DataFrame:
    """Probabilities of our scene context by clip."""
    from modalities.scene_context import embedded as scene_context

    told = pd.read_csv(data / "scene" / "afew_dev_qwen2.5-vl-32b_prompt1.csv")
    basic = scene_context.score_texts(scene_context.load(), told["text"].astype(str).tolist())
    clips = told["video_name"].str.split("___").str[0]
    table = pd.DataFrame(basic, columns=list(BASIC_EMOTIONS), index=clips)
    return table[~table.index.duplicated()]


def iemocap_table(data: Path, models: Sequence[str]) -> LongTable:
    rows = pd.read_csv(data / "fusion" / "iemocap_4class_sessions1-3.csv")
    wide = {name: own.set_index("clip")[list(FOUR)] for name, own in rows.groupby("model")}
    first = rows.drop_duplicates("clip")
    parts = [wide[name].reindex(first["clip"]) for name in models]
    return _long(parts, models, first["label"].tolist(), first["speaker"].tolist())


def _long(parts: Sequence[pd.DataFrame], models: Sequence[str], labels: Sequence[str], groups: Sequence[str]) -> LongTable:
    classes = tuple(parts[0].columns)
    probabilities = np.stack([part.to_numpy(float) for part in parts], 1)
    probabilities /= probabilities.sum(2, keepdims=True)
    nothing, clips = np.full(len(labels), "", object), parts[0].index.to_numpy(object)
    truth = np.array([classes.index(word) for word in labels])
    named = np.array(groups, object)
    present = ~np.isnan(probabilities[:, :, 0])
    return LongTable(tuple(models), classes, clips, probabilities, present, truth, nothing, nothing, named)


def ravdess_table(data: Path) -> LongTable:
    rows, _, _ = fitting_rows(read_long_table(data / "fusion" / "ravdess_posteriors_folds0-2.csv"), None)
    return replace(rows, groups=np.array([clip.split("-")[-1] for clip in rows.clips], object))


TABLES: dict[str, Callable[[Path], LongTable]] = {
    "AFEW, face and voice": lambda data: film_table(data, ("face_svm", "voice")),
    "AFEW, face, voice, scene": lambda data: film_table(data, ("face_svm", "voice", "scene")),
    "AFEW, two faces, voice, scene": lambda data: film_table(data, ("face_svm", "face_convnet", "voice", "scene")),
    "RAVDESS, voice and two faces": ravdess_table,
    "IEMOCAP, voice and words": lambda data: iemocap_table(data, ("voice_dag", "words_dag")),
    "IEMOCAP, two voices and words": lambda data: iemocap_table(data, ("voice_iaan", "voice_bigru_att", "words_dag")),
    "CREMA-D, votes on face and voice": lambda data: crema_table(data / "fusion" / "cremad_votes_actors1001-1061.csv"),
}


FOLDED = ("RAVDESS, voice and two faces",)
"""Tables whose folds are the parts."""


def rows(data: Path, names: Sequence[str], trust: float) -> Iterator[Row]:
    for name in names:
        yield table_row(name, TABLES[name](data), name in FOLDED, trust)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "fusion/ and scene/")
    parser.add_argument("--only", choices=TABLES, help="one table")
    parser.add_argument("--trust", type=float, default=1.0, help="by how much models count by their worth; 0: all alike")
    parser.add_argument("--curve", action="store_true", help="by how much weights are drawn to equal ones")
    options = parser.parse_args(arguments)
    print(header())
    names = [options.only] if options.only else list(TABLES)
    if options.curve:
        print_table(("emotions", "models", *names), curve({name: TABLES[name](options.data) for name in names}))
    else:
        print_table(HEADS, rows(options.data, names, options.trust))
    return 0


if __name__ == "__main__":
    sys.exit(main())
