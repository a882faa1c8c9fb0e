"""One modality on many inputs: a table, a folder or an .npz in, one row an input out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from configs.settings import Settings
from data.bootstrap import drawn_scores, middle
from data.corpora.known import corpus_of_file
from data.csv_files import write_csv
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.manifest.labels import label_name
from data.metrics import scores_of
from flows.backends import MODULES, NotHere, backend_of
from flows.backends.base import ScoringBackend, by_priors
from flows.backends.score_inputs import Answers, Transcripts, column_if_any
from flows.backends.transcript import WHISPER, Whisper
from fusion.compose import compound_distribution, method_named
from fusion.composer import read_composer
from modalities.transcript.word_errors import plain_words, word_error_rate, word_errors


class Labels(NamedTuple):
    """What a table says of its B inputs: its basic emotion's index (-1 for none of them), whom bootstrap keeps together, and the
    labels that are none of the seven with how often they occur."""

    truth: NDArray[np.int64]
    groups: list[str]
    others: Mapping[str, int]


def score_table(modality: str, table: Path, output: Path, settings: Settings) -> Answers | Transcripts:
    """Score every input of `table` and write `output`; returns the answers.

    Columns of emotions: `input`, the seven, the compounds (by the composition of the settings), `quality`; empty where absent.
    A table's column `label` is repeated, in our words, and empty where it is none of the seven. Columns of `words`: `input`,
    `text`, `language`, `rejected`; where a table has a column `transcript`, also this, its `words` and the `errors` of the text.
    """
    backend = WHISPER if modality == "words" else backend_of(settings, modality) if modality in MODULES else None
    if not isinstance(backend, ScoringBackend | Whisper) or modality == "transcript":
        able = (name for name in MODULES if isinstance(backend_of(settings, name), ScoringBackend))
        raise InputError(f"'{modality}' cannot score tables; use one of {', '.join([*able, 'words']).replace('_', '-')}.")
    if not table.exists():
        raise InputError(f"There is no file or folder {table}.")
    try:
        answers = backend.score(table, settings)
    except NotHere as missing:
        raise WeightsError(f"{missing.reason} {missing.remedy}") from missing
    if isinstance(answers, Transcripts):
        rows = _rows_of_words(answers, transcripts_of(table))
    else:
        answers = answers._replace(basic=by_priors(answers.basic, modality, settings))
        rows = _rows(answers, settings)
        if (labels := labels_of(table)) is not None:
            rows["label"] = [BASIC_EMOTIONS[index] if index >= 0 else "" for index in labels.truth]
    output.parent.mkdir(parents=True, exist_ok=True)
    write_csv(output, rows)
    return answers


def absent(answers: Answers | Transcripts) -> int:
    """How many inputs have no answer."""
    if isinstance(answers, Transcripts):
        return int((answers.heard["text"] == "").sum())
    return int(np.isnan(answers.basic[:, 0]).sum())


def measured(table: Path, answers: Answers | Transcripts, trained_on: Sequence[str] = ()) -> str:
    """How many answers are right, in a sentence, where the table says what would be; else empty.

    trained_on: the corpora of the model's training; the sentence says how many of the inputs are of them.
    """
    if isinstance(answers, Transcripts):
        said = transcripts_of(table)
        return "" if said is None else words_reached(answers, said, _groups(table, len(said)))
    known = labels_of(table)
    if known is None:
        return ""
    said = (None if table.is_dir() else column_if_any(table, "corpus")) or [""] * len(answers.names)
    counted = Counter(map(corpus_of_file, answers.names, said))
    seen = {corpus: counted[corpus] for corpus in trained_on if counted[corpus]}
    told = ", ".join(f"{count} of {corpus}" for corpus, count in seen.items())
    trained = f"Trained on this: {told}; the figures say little about other inputs" if told else ""
    return ". ".join(filter(None, (reached(answers, known).rstrip("."), trained, _other_labels(known.others))))


def trained_on(modality: str, settings: Settings) -> tuple[str, ...]:
    """The corpora that a modality's model was trained on, where a card tells."""
    return backend_of(settings, modality).corpora(settings) if modality in MODULES else ()


def transcripts_of(table: Path) -> list[str] | None:
    """What is said in each file by a table's column `transcript`; None without it."""
    return None if table.is_dir() else column_if_any(table, "transcript") or None


def words_reached(answers: Transcripts, said: Sequence[str], groups: Sequence[str]) -> str:
    """The word error rate of the files whose transcript is known, with its interval over groups, in a sentence."""
    rows = _rows_of_words(answers, said)
    known = rows["transcript"] != ""
    if not rows["words"].sum():
        return "No transcript has a word, so nothing is measured."
    named = [group for group, is_known in zip(groups, known, strict=True) if is_known]
    found = word_error_rate(rows.loc[known, "errors"].to_list(), rows.loc[known, "words"].to_list(), named)
    within = f"({100 * found.low:.1f} to {100 * found.high:.1f})" if len(set(named)) > 1 else "(no interval of one)"
    return (
        f"{int(known.sum())} with a transcript, {len(set(named))} speakers or groups: word error rate {100 * found.rate:.1f} % "
        f"{within}, {found.errors} errors in {found.words} words"
    )


def _rows_of_words(answers: Transcripts, said: Sequence[str] | None) -> pd.DataFrame:
    """Inputs with what was heard in them, beside what is said where that is known."""
    rows = answers.heard.copy()
    rows.insert(0, "input", answers.names)
    if said is not None:
        references = list(map(plain_words, said))
        rows["transcript"], rows["words"] = list(said), list(map(len, references))
        rows["errors"] = list(map(word_errors, references, map(plain_words, rows["text"])))
    return rows


def labels_of(table: Path) -> Labels | None:
    """The column `label` of a table, in any spelling of the seven emotions, and its `speaker` or `group`; None without labels."""
    if table.is_dir() or table.suffix.lower() == ".npz" or not (words := column_if_any(table, "label")):
        return None
    indices = {word: _index(word) for word in set(words)}
    others = Counter(word for word in words if word and indices[word] < 0)
    return Labels(np.array([indices[word] for word in words], np.int64), _groups(table, len(words)), others)


def _groups(table: Path, count: int) -> list[str]:
    """The column `speaker` or `group` of a table; without either each row is its own."""
    return column_if_any(table, "speaker") or column_if_any(table, "group") or list(map(str, range(count)))


def _index(word: str) -> int:
    try:
        name = label_name(word)
    except InputError:  # a label of another kind of table, which nobody is asked to change
        name = ""
    return BASIC_EMOTIONS.index(name) if name in BASIC_EMOTIONS else -1


def reached(answers: Answers, labels: Labels) -> str:
    """UAR, WAR and macro-F1 of the labelled inputs in a sentence, over the emotions that occur; no answer is a wrong one.

    The interval is that of drawing speakers (groups; without any, inputs) anew; one alone gives none.
    """
    rows = np.flatnonzero(labels.truth >= 0)
    if not len(rows):
        return "No label is one of the seven basic emotions, so nothing is measured."
    truth, groups = labels.truth[rows], np.array(labels.groups, object)[rows].astype(str)
    answer = np.where(np.isnan(answers.basic[rows, 0]), len(BASIC_EMOTIONS), np.nan_to_num(answers.basic[rows]).argmax(1))
    classes = sorted(set(truth.tolist()))
    figures = scores_of(truth, answer, classes)
    count = len(set(groups.tolist()))
    within = "({:.1f} to {:.1f})".format(*middle(100 * drawn_scores(truth, answer, len(BASIC_EMOTIONS), groups)["uar"]))
    return (
        f"{len(rows)} labelled, {count} speakers or groups, {len(classes)} emotions: UAR {100 * figures['uar']:.1f} % "
        f"{within if count > 1 else '(no interval of one)'}, WAR {100 * figures['war']:.1f} %, "
        f"macro-F1 {100 * figures['macro_f1']:.1f} %"
    )


def _other_labels(others: Mapping[str, int]) -> str:
    """What is said of labels that are none of the seven; '' without such."""
    if not others:
        return ""
    named = ", ".join(f"{word} ({count})" for word, count in Counter(others).most_common(5))
    named += ", ..." if len(others) > 5 else ""
    count = sum(others.values())
    one = "1 row has a label that is none of the seven and is"
    rows = one if count == 1 else f"{count} rows have a label that is none of the seven and are"
    return f"{rows} left out: {named}"


def _rows(answers: Answers, settings: Settings) -> pd.DataFrame:
    """Inputs with their basic emotions [B, 7] and the compounds made of them."""
    asked = settings.fusion
    method = method_named(asked.composition, read_composer(asked.composer) if asked.composer else None)
    if method.on_features:
        raise InputError("PFSA compares features of clips; 'dyad score' composes with ppa or AVCER's rules.")
    compounds = settings.compound_table()
    compound = compound_distribution(method(answers.basic.astype(np.float64), compounds))
    columns: dict[str, object] = {"input": answers.names}
    columns |= {emotion: answers.basic[:, index] for index, emotion in enumerate(BASIC_EMOTIONS)}
    columns |= {item.name: compound[:, index] for index, item in enumerate(compounds)}
    missing = np.isnan(answers.basic[:, 0])
    columns["quality"] = np.where(missing, np.nan, np.nan if answers.quality is None else answers.quality)
    return pd.DataFrame(columns).round(6)
