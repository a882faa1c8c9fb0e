"""How well the shipped models and the fitted fusion do on data that they never saw.

    ./dyad benchmark quality --data ../shared/datasets [--only fusion]

Every row says whether its corpus is one that the model learned from (home) or never saw (away). Trains nothing but the fusion of
the two tables and the trivial baseline (the most frequent class of the same rows; for fusion
the mean of the models' probabilities). Intervals: 95 % by bootstrap over speakers, dialogues, clips or images. A model
without weights, or without its data, is left out with the reason.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import header, make_parser, print_table
from benchmarks.derive.fusion_weights import front_matter
from benchmarks.quality.films import BOTH, read_films
from data.bootstrap import drawn_figures, drawn_scores, middle
from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, basic_emotion
from data.errors import DyadError
from data.metrics import calibration_error, scores_of
from data.votes import compound_of_votes
from fusion.arrays import as_distribution
from fusion.compose import METHODS, similarities, winners
from fusion.composer import default_composer, none_probability, states_of
from fusion.tables.files import cross_fitted, fitting_rows
from fusion.tables.fit import apply_fusion, fit_fusion, parts_of
from fusion.tables.long_table import LongTable, read_long_table
from modalities.loading.checkpoint import WEIGHTS_FOLDER

HEADS = ("task", "split", "n", "metric", "ours %", "95 % interval", "chance", "trivial", "published", "source")
VOICE_CORPORA = {"ravdess": "RAVDESS", "nemo": "nEMO"}
CREMA_CLASSES = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
CREMA_METHODS = ("mean", "weighted_product", "mhpf", "conditional_mhpf", "stacking")
SUBSET_METHODS = ("weighted_product", "mhpf", "conditional_mhpf")
MELD_TEST = {"neutral": 1256, "anger": 345, "disgust": 68, "fear": 50, "happiness": 402, "sadness": 208, "surprise": 281}
"""Lines of each emotion in MELD's test split (Poria et al. 2019, arXiv 1810.02508; README of declare-lab/MELD)."""
Row = tuple[object, ...]
Vector = np.ndarray


def interval(draws: Vector) -> str:
    """The middle 95 % of a figure's draws (`data.bootstrap`), in percent."""
    return "{:.1f} to {:.1f}".format(*middle(100 * draws))


def row(
    task: str, split: str, truth: Vector, answer: Vector, metric: str, published: str, source: str,
    groups: Vector | None = None, classes: int = 7, trivial: Vector | None = None,
) -> Row:  # fmt: skip
    """One row; metrics average over those of `classes` classes that occur in the split, and in a draw."""
    usual = np.full(len(truth), np.bincount(truth).argmax()) if trivial is None else trivial

    ours, simple = (f"{100 * scores_of(truth, given, range(classes))[metric]:.1f}" for given in (answer, usual))
    spread = interval(drawn_scores(truth, answer, classes, np.arange(len(truth)) if groups is None else groups)[metric])
    return task, split, len(truth), metric, ours, spread, f"{100 / classes:.1f}", simple, published, source


def difference(
    task: str, split: str, truth: Vector, one: Vector, other: Vector, metric: str, groups: Vector, classes: int = 7
) -> Row:
    """By how much a figure of one set of answers exceeds that of another to the same rows, with a paired interval."""
    once, again = (scores_of(truth, given, range(classes))[metric] for given in (one, other))
    drawn = drawn_scores(truth, one, classes, groups)[metric] - drawn_scores(truth, other, classes, groups)[metric]
    return task, split, len(truth), "difference", f"{100 * (once - again):+.1f}", interval(drawn), *["-"] * 4


def static_face_rows(data: Path) -> Iterator[Row]:
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.stills import read_faces

    model, faces = static_face.load(), read_faces(data / "face" / "ferplus_valid.npz")
    answers, split = static_face.describe_images(model, faces.images).probabilities, "ferplus_valid (held out, home)"
    known, agreed = faces.majority >= 0, faces.agreed & (faces.majority >= 0) & (faces.majority < 7)
    name = f"static_face {model.source.revision}"
    yield row(f"{name}, 8 classes, majority", split, faces.majority[known], answers[known].argmax(1), "war", "84-85",
              "VGG13 on the test split, Barsoum 2016", classes=8)
    for metric in ("war", "uar"):
        yield row(f"{name}, 7 classes, most agree", split, faces.majority[agreed], answers[agreed, :7].argmax(1), metric, "-",
                  "-")


def text_rows(data: Path) -> Iterator[Row]:
    """Comments with one label, comments with any number of labels, and lines of dialogues with and without those before."""
    from modalities.text import embedded as text

    model, split = text.load(), "dev (only measured, home)"
    name = f"text {model.source.revision}"
    go = pd.read_csv(data / "text" / "goemotions_ekman_dev.csv", keep_default_na=False)
    probabilities = np.nan_to_num(text.score_texts(model, go["text"].tolist()))
    single = ~go["labels"].str.contains("|", regex=False).to_numpy()
    truth = _emotions(go["labels"][single])
    for metric, published in (("macro_f1", "62.4-64"), ("uar", "-")):
        yield row(f"{name}, GoEmotions-Ekman, one label", split, truth, probabilities[single].argmax(1), metric, published,
                  "BERT-base, test, all rows" if published != "-" else "-")
    yield _multilabel(f"{name}, GoEmotions-Ekman, all labels", split, go["labels"], probabilities, model.multilabel_thresholds)
    meld = pd.read_csv(data / "text" / "meld_dev.csv", keep_default_na=False)
    lines, dialogues = meld["Utterance"].tolist(), meld["Dialogue_ID"].to_numpy()
    for heard, known in (("with the lines before", dialogues.tolist()), ("each line alone", None)):
        answers = np.nan_to_num(text.score_texts(model, lines, known)).argmax(1)
        truth, source = _emotions(meld["Emotion"]), "text-CNN / DialogueRNN, test"
        yield row(f"{name}, MELD, {heard}", split, truth, answers, "weighted_f1", "55.0 / 57.0", source, dialogues)
        task = f"{name}, MELD, {heard}, classes as often as in test"
        yield _as_in_test(task, split, truth, answers, "55.0 / 57.0", source, dialogues)


def _as_in_test(
    task: str, split: str, truth: Vector, answer: Vector, published: str, source: str, groups: Vector
) -> Row:
    """Weighted F1 of MELD's dev lines, each weighing what makes the classes as frequent as in the test split.

    Neutral, the easiest class, is 42 % of dev and 48 % of test: figures of the two splits do not compare without this.
    """
    from sklearn.metrics import f1_score

    wanted = np.array([MELD_TEST[emotion] for emotion in BASIC_EMOTIONS]) / sum(MELD_TEST.values())
    weights = (wanted / (np.bincount(truth, minlength=len(wanted)) / len(truth)))[truth]

    def reached(rows: Vector, given: Vector = answer) -> float:
        return float(f1_score(truth[rows], given[rows], average="weighted", sample_weight=weights[rows], zero_division=0))

    everything, spread = np.arange(len(truth)), interval(drawn_figures(reached, groups))
    trivial = reached(everything, np.full(len(truth), wanted.argmax()))
    return (task, split, len(truth), "weighted_f1", f"{100 * reached(everything):.1f}", spread, "14.3",
            f"{100 * trivial:.1f}", published, source)


def _emotions(labels: pd.Series) -> Vector:
    return np.array([BASIC_EMOTIONS.index(basic_emotion(word)) for word in labels])


def _multilabel(task: str, split: str, labels: pd.Series, probabilities: Vector, thresholds: Vector) -> Row:
    """Macro-F1 of the emotions called present; trivial is to call every emotion present."""
    from sklearn.metrics import f1_score

    from modalities.training.text.corpora import label_vector

    truth, called = np.array([label_vector(words) for words in labels]), probabilities >= thresholds

    def reached(rows: Vector, answers: Vector = called) -> float:
        occurring = np.flatnonzero(truth[rows].any(0))
        return float(f1_score(truth[rows], answers[rows], labels=occurring, average="macro", zero_division=0))

    everything = np.arange(len(truth))
    spread = interval(drawn_figures(reached, everything))
    return (task, split, len(truth), "macro_f1", f"{100 * reached(everything):.1f}", spread, "-",
            f"{100 * reached(everything, np.ones_like(called)):.1f}", "62.4-64", "BERT-base, test, all rows")


def scene_rows(data: Path) -> Iterator[Row]:
    from modalities.scene_context import embedded as scene_context

    model = scene_context.load()
    for size, published in (("32b", "36.5 counting words; 32.0 RAS"), ("7b", "-"), ("3b", "-")):
        rows = pd.read_csv(data / "scene" / f"afew_dev_qwen2.5-vl-{size}_prompt1.csv")
        labels = rows[[emotion.capitalize() for emotion in BASIC_EMOTIONS]].to_numpy()
        rows, truth = rows[labels.sum(1) > 0], labels[labels.sum(1) > 0].argmax(1)
        answer = np.nan_to_num(scene_context.score_texts(model, rows["text"].astype(str).tolist())).argmax(1)
        clips = rows["video_name"].str.split("___").str[0].to_numpy(object)
        for metric in ("uar", "macro_f1"):
            yield row(f"scene_context {model.source.revision}, AFEW, {size}", "dev (only measured, home)", truth, answer, metric,
                      published if metric == "uar" else "-", "datasets/README.md", clips)


def voice_rows(data: Path) -> Iterator[Row]:
    """What ships heard all speakers, so only its card says how well it does on others: `home` on other speakers of the corpora
    that it learned, `away` on a corpus of which it learned nothing."""
    card = front_matter(WEIGHTS_FOLDER / "voice.md")
    for where, classes in (("home", {"ravdess": 7, "nemo": 6}), ("away", {"ravdess": 6, "nemo": 6})):
        for name, count in classes.items():
            for ending, words in (("", "relative to the speaker"), ("_alone", "by the training's reference")):
                uar = 100 * card["metrics"][f"{where}_{name}{ending}_uar"]
                chance = f"{100 / count:.1f}"
                task = f"voice {where}, {VOICE_CORPORA[name]}, {count} classes, {words}"
                yield task, f"its card ({where})", "-", "uar", f"{uar:.1f}", "-", chance, chance, "-", "-"


def away_rows(data: Path) -> Iterator[Row]:
    """What the shipped readers make of corpora that they never saw: descriptions of films, those of the other's, too."""
    from modalities.scene_context import embedded as scene_context
    from modalities.text import embedded as text

    films = read_films(data)
    shares = np.concatenate([film.shares for film in films])[:, : len(BASIC_EMOTIONS)]
    seen, truth = shares.max(1) >= 0.5, shares.argmax(1)
    groups = np.repeat(np.arange(len(films)), [len(film.basic) for film in films])[seen]
    answer = np.concatenate([film.basic for film in films])[seen].argmax(1)
    model = scene_context.load()
    for metric in ("war", "uar", "macro_f1"):
        yield row(f"scene_context {model.source.revision}, Aff-Wild2, 3B descriptions", "43 videos (away)", truth[seen], answer,
                  metric, "-", "-", groups)
    told = pd.read_csv(data / "scene" / "afew_dev_qwen2.5-vl-32b_prompt1.csv")
    labels = told[[emotion.capitalize() for emotion in BASIC_EMOTIONS]].to_numpy()
    told, truth = told[labels.sum(1) > 0], labels[labels.sum(1) > 0].argmax(1)
    reader = text.load()
    answer = np.nan_to_num(text.score_texts(reader, told["text"].astype(str).tolist())).argmax(1)
    clips = told["video_name"].str.split("___").str[0].to_numpy(object)
    for metric in ("war", "uar", "macro_f1"):
        task = f"text {reader.source.revision}, AFEW, 32B descriptions, no speech"
        yield row(task, "dev (away)", truth, answer, metric, "-", "-", clips)


COMPOSITIONS = ("learned", "ppa", "avcer_rule1", "avcer_rule2", "avcer_both")
DIFFUSE = "diffuse (temperature 3, 60 % uniform)"


def diffuse(basic: Vector, temperature: float = 3.0, uniform: float = 0.6) -> Vector:
    """Probabilities [N, 7] as a model that is unsure, or the mean of many, gives them: flattened, and mixed with the uniform."""
    mixed: Vector = (1.0 - uniform) * as_distribution(basic ** (1.0 / temperature)) + uniform / basic.shape[1]
    return mixed


def composition_rows(data: Path) -> Iterator[Row]:
    """Every way to compose, on stills whose votes and comments whose labels name two emotions; and none of the seven."""
    from benchmarks.derive.composer import by_default_priors
    from benchmarks.derive.composer import text_rows as texts_with_states
    from fusion.fit_composer import state_of_votes
    from modalities.static_face import embedded as static_face
    from modalities.training.faces.stills import read_faces

    model, faces = static_face.load(), read_faces(data / "face" / "ferplus_valid.npz")
    described = static_face.describe_images(model, faces.images)
    basic, pairs, split = by_default_priors(described.basic), compound_of_votes(faces.votes), "ferplus_valid (held out, home)"
    shown = pairs >= 0
    pfsa = METHODS["pfsa"](similarities("static_face", described.features[shown], model.centroids), ABAW_COMPOUNDS)
    yield from _composed("compound stills, FER+ votes", split, basic[shown], pairs[shown], {"pfsa": pfsa.argmax(1)}, "52")
    yield from _composed(f"the same, {DIFFUSE}", split, diffuse(basic[shown]), pairs[shown], {}, "-", COMPOSITIONS[:2])
    for name, given in (("stills", basic), (f"stills, {DIFFUSE}", diffuse(basic))):
        yield from _none(name, split, given, state_of_votes(faces.votes.astype(np.float64)))
    texts, _ = texts_with_states(data, "dev")
    numbers = {int(state): number for number, state in enumerate(states_of(ABAW_COMPOUNDS))}
    labels = np.array([numbers.get(int(state), -1) for state in texts.state])
    split = "GoEmotions dev (only measured, home)"
    both, truth = texts.basic[labels >= 0], labels[labels >= 0]
    yield from _composed("comments with two labels", split, both, truth, {}, "-")
    yield from _composed(f"the same, {DIFFUSE}", split, diffuse(both), truth, {}, "-", COMPOSITIONS[:2])
    for name, given in (("comments", texts.basic), (f"comments, {DIFFUSE}", diffuse(texts.basic))):
        yield from _none(name, split, given, texts.state)
    yield from _of_films(data)


def _of_films(data: Path) -> Iterator[Row]:
    """Descriptions of segments in which both emotions of a compound are seen."""
    films = read_films(data)
    basic, shares = (np.concatenate(parts) for parts in ([film.basic for film in films], [film.shares for film in films]))
    truth = compound_of_votes(shares, BOTH)
    groups = np.repeat(np.arange(len(films)), [len(film.basic) for film in films])
    task, split = "film descriptions with two emotions (Aff-Wild2)", "43 videos (away)"
    shown = truth >= 0
    yield from _composed(task, split, basic[shown], truth[shown], {}, "-", COMPOSITIONS[:2], groups[shown])


def _composed(
    task: str, split: str, basic: Vector, truth: Vector, more: dict[str, Vector], published: str,
    ways: Sequence[str] = COMPOSITIONS, groups: Vector | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Macro-F1 over the compounds that occur."""
    answers = {name: winners(METHODS[name](basic, ABAW_COMPOUNDS)) for name in ways} | more
    occurring = len(set(truth.tolist()))
    for name, answer in answers.items():
        compared = (published, "quick net's pair sum (goals)") if name == "ppa" and published != "-" else ("-", "-")
        yield row(f"{task}: {name}, the {occurring} compounds that occur", split, truth, answer, "macro_f1", *compared, groups)

    drawn, both = np.arange(len(truth)) if groups is None else groups, (answers["learned"], answers["ppa"])
    yield difference(f"{task}: learned less pair sum", split, truth, *both, "macro_f1", drawn)


def _none(task: str, split: str, basic: Vector, state: Vector) -> Iterator[Row]:
    """Whether one of the seven is shown at all: UAR at the default threshold, and calibration at the data's own share."""
    known = state >= 0
    basic, none = basic[known], ~np.isin(state[known], states_of(ABAW_COMPOUNDS))
    judged = none_probability(default_composer(), basic, ABAW_COMPOUNDS)
    found = (judged > 0.5).astype(int)
    yield row(f"none of the seven or one, {task}", split, none.astype(int), found, "uar", "-", "-", classes=2)
    share = float(1 - none.mean())
    fair = none_probability(default_composer(), basic, ABAW_COMPOUNDS, share)
    error = calibration_error(np.stack([1 - fair, fair], 1), none)
    yield (f"none, {task}: calibration error at the share of {share:.1%}", split, len(none), "ece", f"{100 * error:.1f}",
           *["-"] * (len(HEADS) - 5))


def fusion_rows(data: Path) -> Iterator[Row]:
    rows, _, by_fold = fitting_rows(read_long_table(data / "fusion" / "ravdess_posteriors_folds0-2.csv"), None)
    actors = np.array([clip.split("-")[-1] for clip in rows.clips], object)
    unheard = cross_fitted(rows, by_fold)[0]
    yield from _fused("fusion, RAVDESS posteriors", "held-out actors, folds 0-2 (home)", rows, unheard, actors, "86.7 / 86.9",
                      "authors' fusion / product, 5 folds")
    crema = crema_table(data / "fusion" / "cremad_votes_actors1001-1061.csv")
    yield from _fused("fusion, CREMA-D votes", "5 parts of actors (home)", crema, cross_fitted(crema, False, CREMA_METHODS)[0],
                      crema.groups, "77.3 / 76.8", "mean of both / face alone (goals)")
    for method in SUBSET_METHODS:
        folds = np.unique(rows.folds, return_inverse=True)[1]
        yield subsets_row("fusion, RAVDESS", "held-out actors, folds 0-2 (home)", rows, folds, actors, method)
        yield subsets_row("fusion, CREMA-D", "5 parts of actors (home)", crema, parts_of(crema.groups, 5, 7), crema.groups,
                          method)


def subsets_row(task: str, split: str, rows: LongTable, part: Vector, groups: Vector, method: str) -> Row:
    """The subset of models whose fused accuracy is least above (most below) that of its best member."""
    fits = {int(n): fit_fusion(rows.rows(part != n), (method,))[method] for n in np.unique(part)}
    alone = {index: rows.probabilities[:, index].argmax(1) == rows.labels for index in range(len(rows.models))}
    found = {}
    for size in range(2, len(rows.models) + 1):
        for members in combinations(alone, size):
            fused = np.full(len(rows.labels), -1)
            for number, fitted in fits.items():
                fused[part == number] = np.nan_to_num(apply_fusion(fitted, only(rows.rows(part == number), members))).argmax(1)
            found[members] = fused == rows.labels
    best = {members: max((alone[index] for index in members), key=np.mean) for members in found}
    worst = min(found, key=lambda members: found[members].mean() - best[members].mean())
    name = " + ".join(rows.models[index] for index in worst)
    right, both = np.ones(len(rows.labels), int), (found[worst].astype(int), best[worst].astype(int))
    return difference(f"{task}: {method}, worst subset ({name}) less its best member", split, right, *both, "war", groups, 2)


def only(table: LongTable, members: Sequence[int]) -> LongTable:
    """The table as if no other models had answered."""
    kept = np.isin(np.arange(len(table.models)), members)
    present = table.present & kept
    return replace(table, present=present, probabilities=np.where(present[..., None], table.probabilities, np.nan))


def _fused(
    task: str, split: str, rows: LongTable, answers: dict[str, Vector], groups: Vector, published: str, source: str
) -> Iterator[Row]:
    trivial = answers["mean, uncalibrated"].argmax(1)
    for name, fused in answers.items():
        compared = (published, source) if name == "chosen by fit" else ("-", "-")
        yield row(f"{task}: {name}", split, rows.labels, fused.argmax(1), "war", *compared, groups, len(rows.classes), trivial)


def crema_table(path: Path) -> LongTable:
    """Shares of the voice's and the face's votes; the label is the audiovisual plurality (the first class of a tie)."""
    votes = pd.read_csv(path).set_index(["presentation", "fileName"])
    counts = {kind: votes.loc[kind].sort_index() for kind in ("voice", "face", "audiovisual")}
    shares = [counts[kind][list(CREMA_CLASSES)].to_numpy(float) for kind in ("face", "voice")]
    labels = counts["audiovisual"][list(CREMA_CLASSES)].to_numpy().argmax(1)
    clips = counts["face"].index.to_numpy(object)
    empty = np.full(len(clips), "", object)
    shares = [part / part.sum(1, keepdims=True) for part in shares]
    table = LongTable(("face", "voice"), CREMA_CLASSES, clips, np.stack(shares, 1),
                      np.ones((len(clips), 2), bool), labels, empty, empty, clips)
    return replace(table, groups=counts["face"]["actor"].to_numpy().astype(str).astype(object))


TASKS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "static_face": static_face_rows, "text": text_rows, "scene_context": scene_rows, "voice": voice_rows,
    "away": away_rows, "composition": composition_rows, "fusion": fusion_rows,
}  # fmt: skip


def collected(data: Path, tasks: Sequence[str]) -> Iterator[Row]:
    for task in tasks:
        try:
            yield from TASKS[task](data)
        except (DyadError, OSError, KeyError) as error:
            yield task, f"left out: {error}", *["-"] * (len(HEADS) - 2)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "face/, text/, scene/ and fusion/")
    parser.add_argument("--only", choices=TASKS, help="one task")
    options = parser.parse_args(arguments)
    print(header())
    print_table(HEADS, collected(options.data, [options.only] if options.only else list(TASKS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
