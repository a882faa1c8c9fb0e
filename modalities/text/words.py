"""Emotion of spoken words: MiniLM with low-rank adapters and two heads, over the words that fall into each window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.media.cues import TimedWord, spread_words
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.encoders.sentence_encoder import plain_text

ABSENT_REASON = "There is no transcript, so there are no words to judge."
REMEDY = "Give the words with --transcript FILE (.srt, .vtt, .txt or .csv), or put such a file of the same name beside the clip."
MEANING_KEPT = 0.4
"""Share of an answer to translated words that counts: so many of 30 Polish sentences meant the same in Whisper base's English."""
COMMON_WORDS = """
the a an and or but if so not no yes i you he she it we they me him her us them my your his its our their this that these
those is are was were be been am do does did have has had will would can could should of to in on at for with from by about
up out what who how when where why there here just like know get go think oh okay
"""


def window_texts(transcript: pd.DataFrame, windows: Windows) -> list[str]:
    """The words that are said in each window [N, 2] (s), "" where none are: what any classifier of text reads.

    `transcript` has the columns `start`, `end` (s) and `text`, one row a cue or a word, and perhaps `words`: for each cue a
    list of `{"word": " so", "start": 1.2, "end": 1.4}` with the space before a word kept, as `transcript.whisper` makes
    them and `data.media.subtitles` reads them from WebVTT. A window gets the words whose middle lies in it; where a cue has no
    such list, or an empty one, its words are spread evenly over its time.

        texts = window_texts(read_transcript(path, clip.duration), make_windows(clip.duration))
    """
    words = words_of(transcript)
    inside = windows_of(words["middle"].to_numpy(np.float64), windows)
    return ["".join(words["word"][chosen]).strip() for chosen in inside]


def words_of(transcript: pd.DataFrame) -> pd.DataFrame:
    """Every word, with the space before it, and the `middle` (s) of its time: columns `word`, `middle`, cue by cue.

    What two speakers say at once is not shuffled: all words of the cue that begins first come first.
    """
    rows: list[tuple[str, float]] = []
    if not transcript.empty:
        transcript = transcript.sort_values("start", kind="stable")
        timed = transcript["words"] if "words" in transcript else [None] * len(transcript)
        cues = zip(transcript["start"], transcript["end"], transcript["text"], timed, strict=True)
        for start, end, text, words in cues:
            spread = spread_words(plain_text(text), start, end)
            untimed = [(word["word"], (word["start"] + word["end"]) / 2) for word in spread]
            rows += _at_their_times(words) if isinstance(words, Iterable) and len(list(words)) else untimed
    return pd.DataFrame(rows, columns=["word", "middle"])


def _at_their_times(words: Iterable[TimedWord]) -> list[tuple[str, float]]:
    """A cue's words at their real times; only what is written without a space inside the cue stays without one."""
    rows: list[tuple[str, float]] = []
    for word in words:
        if plain := plain_text(word["word"]):
            space = " " if not rows or str(word["word"])[:1].isspace() else ""
            rows.append((space + plain, (float(word["start"]) + float(word["end"])) / 2))
    return rows


def seems_english(transcript: pd.DataFrame) -> bool:
    """Whether a transcript is English: by its column `language` where there is one, else by its share of common words.

    Fewer than 12 words are given the benefit of the doubt.
    """
    if "language" in transcript:
        named = transcript["language"].fillna("").astype(str).str.strip().str.lower()
        named = named[named != ""]
        if len(named):
            return bool(named.str.startswith("en").mean() >= 0.5)
    words = [word.strip(".,!?;:\"'").lower() for text in transcript["text"] for word in plain_text(text).split()]
    words = [word for word in words if word.isalpha()]
    return len(words) < 12 or sum(word in common_words() for word in words) > 0.2 * len(words)


def text_scores(
    windows: Windows, texts: Sequence[str], probabilities: NDArray[np.float32], features: NDArray[np.float32], source: Source
) -> Scores:
    """The scores of windows from the answers to their texts, [N, 7] and [N, D], NaN where a text has no words.

    The evidence is the text of each window that has an answer.
    """
    present = ~np.isnan(probabilities[:, 0])
    if not present.any():
        return Scores.absent("text", windows, ABSENT_REASON, REMEDY, source)
    evidence = pd.DataFrame({"window": range(len(windows)), "start": windows[:, 0], "end": windows[:, 1], "text": texts})
    evidence = evidence[present].reset_index(drop=True)
    return Scores("text", windows, probabilities, present, source, features=features, evidence=evidence)


def weigh_translated(scores: Scores, transcript: pd.DataFrame) -> Scores:
    """The scores, of which those of translated words say less, for a translation often means something else.

    `transcript` may have a column `translated` (bool). A window whose words are all translated keeps `MEANING_KEPT` of its
    answer, the rest is shared by all seven; the evidence says in `translated` whether any of its words are.
    """
    if scores.is_absent or "translated" not in transcript:
        return scores
    foreign = transcript[transcript["translated"].astype(bool)]
    all_words, theirs = ([len(text.split()) for text in window_texts(cues, scores.windows)] for cues in (transcript, foreign))
    share = np.array(theirs) / np.maximum(all_words, 1)
    kept = (1 - (1 - MEANING_KEPT) * share).astype(np.float32)[:, None]
    evidence = scores.evidence.assign(translated=share[scores.evidence["window"]] > 0)
    weighed = kept * scores.probabilities + (1 - kept) / scores.probabilities.shape[1]
    return replace(scores, probabilities=weighed, evidence=evidence)


@cache
def common_words() -> frozenset[str]:
    """English words that make up about half of what people say."""
    return frozenset(COMMON_WORDS.split())
