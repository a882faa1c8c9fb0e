"""How models are fused best when only data that they never saw says how far to trust them: one table over four corpora.

    ./dyad benchmark fusion_ways --data ../shared/datasets [--only "AFEW, face and voice"] [--trust 0.5]

Each part of the people (or clips) is answered with weights from the others. `derived` is the rule of the default weights
(`fusion.reliability`, `fusion.log_linear`), its recalls and temperatures measured on those others. `fitted` is what `dyad fuse
fit` chooses there. Accuracy, and the log loss in brackets. AFEW (film, half of dev): models of EmotiW 2013 that learned AFEW's
train clips (home), and our scene context on descriptions of the same clips by a model of 32 billion parameters (home). IEMOCAP,
RAVDESS, CREMA-D: posteriors and votes of other people's models, each at home, of speakers that the model did not hear.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
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
from fusion.reliability import MeasuredCard, derive_weights, measured_card
from fusion.tables.files import as_given, cross_fitted, figures_of, fitting_rows
from fusion.tables.fit import parts_of
from fusion.tables.long_table import LongTable, read_long_table

HEADS = ("table", "n", "models", "best single", "mean", "product", "derived", "fitted", "derived less product", "95 % interval")
PARTS, SEED = 5, 7
FIT_METHODS = ("mean", "product", "weighted_product", "mhpf")
FOUR = ("anger", "happiness", "neutral", "sadness")


def derived_answers(rows: LongTable, part: Integers, trust: float) -> Floats:
    """Answers [N, C] of the derived weights, each part by what the others show of the models; `trust` times the log-odds."""
    answers = np.full(rows.probabilities[:, 0].shape, np.nan)
    for number in np.unique(part):
        weights = derive_weights(cards_of(rows.rows(part != number)), "", rows.models, rows.classes)
        weights = replace(weights, head_weights=trust * weights.head_weights)
        tested = rows.rows(part == number)
        answers[part == number] = log_linear(weights, tested.probabilities.transpose(1, 0, 2), tested.present.T)
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
    part = np.unique(rows.folds, return_inverse=True)[1] if by_fold else parts_of(rows.groups, PARTS, SEED)
    fitted, _ = cross_fitted(rows, by_fold, FIT_METHODS)
    every = as_given(rows) | {"derived": derived_answers(rows, part, trust), "fitted": fitted["chosen by fit"]}
    whole = rows.present.all(1)
    figures = {way: figures_of(fused[whole], rows.labels[whole]) for way, fused in every.items()}
    best = max(rows.models, key=lambda model: figures[model]["accuracy"])
    shown = (figures[way] for way in (best, "mean, uncalibrated", "product, uncalibrated", "derived", "fitted"))
    right = {way: every[way][whole].argmax(1) == rows.labels[whole] for way in ("derived", "product, uncalibrated")}
    gain = right["derived"].astype(float) - right["product, uncalibrated"]
    sums, sizes = drawn_sums(np.stack([gain, np.ones(len(gain))], 1), rows.groups[whole]).T
    low, high = middle(100 * sums / np.where(sizes > 0, sizes, np.nan))
    cells = [f"{100 * one['accuracy']:.1f} ({one['log_loss']:.2f})" for one in shown]
    return (name, int(whole.sum()), len(rows.models), *cells, f"{100 * gain.mean():+.1f}", f"{low:.1f} to {high:.1f}")


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


def rows(data: Path, names: Sequence[str], trust: float) -> Iterator[Row]:
    for name in names:
        yield table_row(name, TABLES[name](data), name.startswith("RAVDESS"), trust)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "fusion/ and scene/")
    parser.add_argument("--only", choices=TABLES, help="one table")
    parser.add_argument("--trust", type=float, default=1.0, help="by how much models count by their worth; 0: all alike")
    options = parser.parse_args(arguments)
    print(header())
    print_table(HEADS, rows(options.data, [options.only] if options.only else list(TABLES), options.trust))
    return 0


if __name__ == "__main__":
    sys.exit(main())
