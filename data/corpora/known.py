"""Which corpus a file is of: by what a table says of it, or by a file name that only one corpus has."""

import re
from pathlib import PurePosixPath

from data.corpora.acted import CREMA_D, EMO_DB, RAVDESS
from data.corpora.meld import MELD

NAMES = {
    "ravdess": RAVDESS, "crema-d": CREMA_D, "emo-db": EMO_DB, "meld": MELD,
    "nemo": re.compile(r"[A-Z]{2}\d_(?:anger|fear|happiness|neutral|sadness|surprised)_\d+"),
}  # fmt: skip
"""The file names of a corpus, without their ending."""
OTHER_NAMES = {"fer+": "ferplus", "fer2013": "ferplus", "fer": "ferplus", "crema": "crema-d", "emodb": "emo-db"}


def corpus_of(path: str, said: str = "") -> str:
    """The corpus of a file as `dyad corpus` names it, '' where nothing tells; what a table says (`said`) goes before names."""
    if said.strip():
        name = re.sub(r"[\s_]+", "-", said.strip().lower())
        return OTHER_NAMES.get(name, name)
    stem = PurePosixPath(path.replace("\\", "/")).stem
    return next((corpus for corpus, form in NAMES.items() if form.fullmatch(stem)), "")
