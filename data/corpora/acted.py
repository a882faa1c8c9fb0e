"""Acted corpora whose file names say everything: RAVDESS, CREMA-D and Emo-DB."""

import re

import pandas as pd

from data.corpora.tree import Found, Tree, media_by, our_label, stem

RAVDESS = re.compile(r"0[123]-0[12]-0[1-8]-0[12]-0[12]-0[12]-\d\d")
_RAVDESS_EMOTIONS = dict(
    zip(("01", "02", "03", "04", "05", "06", "07", "08"),
        ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"), strict=True)
)  # fmt: skip
_RAVDESS_WORDS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}

CREMA_D = re.compile(r"\d{4}_[A-Z]{3}_(?:ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{1,2}")
_CREMA_EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_CREMA_LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}
_CREMA_WORDS = {
    "IEO": "It's eleven o'clock.", "TIE": "That is exactly what happened.", "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.", "TAI": "The airplane is almost full.", "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.", "ITH": "I think I have a doctor's appointment.", "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.", "TSI": "The surface is slick.", "WSI": "We'll stop in a couple of minutes.",
}  # fmt: skip

EMO_DB = re.compile(r"\d\d[ab]\d\d[WLEAFTN][a-f]")
_EMO_DB_EMOTIONS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral"
}  # fmt: skip
"""By the first letter of the German word: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral."""


def ravdess(tree: Tree) -> Found:
    """RAVDESS: modality-channel-emotion-intensity-statement-repetition-actor; picture alone and sound alone where not both."""
    files = media_by(tree, lambda path: stem(path) if RAVDESS.fullmatch(stem(path)) else None)
    whole = {str(name)[3:] for name in files if str(name).startswith("01-")}
    rows = []
    for name in sorted(map(str, files)):
        modality, channel, emotion, intensity, statement, _, actor = name.split("-")
        if modality == "01" or name[3:] not in whole:
            rows.append({
                "path": files[name], "clip_id": name, "corpus_label": _RAVDESS_EMOTIONS[emotion], "speaker": f"Actor_{actor}",
                "language": "en", "transcript": _RAVDESS_WORDS[statement],
                "channel": {"01": "speech", "02": "song"}[channel], "intensity": {"01": "normal", "02": "strong"}[intensity],
            })  # fmt: skip
    return _labelled(rows)


def crema_d(tree: Tree) -> Found:
    """CREMA-D: actor_sentence_emotion_level; the video where it is there, else the sound."""
    files = media_by(tree, lambda path: stem(path) if CREMA_D.fullmatch(stem(path)) else None)
    rows = []
    for name in sorted(map(str, files)):
        actor, sentence, emotion, level = name.split("_")
        rows.append({
            "path": files[name], "clip_id": name, "corpus_label": _CREMA_EMOTIONS[emotion], "speaker": actor, "language": "en",
            "transcript": _CREMA_WORDS.get(sentence, ""), "intensity": _CREMA_LEVELS.get(level, "unspecified"),
        })  # fmt: skip
    return _labelled(rows)


def emo_db(tree: Tree) -> Found:
    """Emo-DB (Burkhardt et al. 2005): speaker, sentence, emotion, take; sound alone, in German, without label for boredom."""
    files = media_by(tree, lambda path: stem(path) if EMO_DB.fullmatch(stem(path)) else None)
    return _labelled([
        {"path": files[name], "clip_id": name, "corpus_label": _EMO_DB_EMOTIONS[name[5]], "speaker": name[:2], "language": "de"}
        for name in sorted(map(str, files))
    ])


def _labelled(rows: list[dict[str, str]]) -> Found:
    table = pd.DataFrame(rows, dtype="str")
    return Found(table.assign(label=table["corpus_label"].map(our_label)) if rows else table)
