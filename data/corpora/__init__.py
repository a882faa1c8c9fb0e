"""Manifests of the field's corpora as they lie on disk: which folder holds what, whose voice, which label, which fold."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError

if TYPE_CHECKING:
    from data.corpora.tree import Found, Tree
    from data.manifest.manifest import Manifest


@dataclass(frozen=True)
class Corpus:
    """A corpus: how it must lie in its folder (`layout`), on which `terms` it is given, and what reads it.

    reader: the function of its rows, 'module.function' in this folder: named and not imported, so that the command line can list
    the corpora without pandas. stills: of pictures, which there is no running of, only training and scoring.
    """

    title: str
    layout: str
    terms: str
    reader: str
    stills: bool = False

    def collect(self, tree: "Tree") -> "Found":
        """The rows of the corpus that lies in a folder."""
        module, _, function = self.reader.partition(".")
        found: Found = getattr(import_module(f"{__name__}.{module}"), function)(tree)
        return found


CORPORA: dict[str, Corpus] = {
    "c-expr-db": Corpus(
        "C-EXPR-DB", "videos/01.mp4 ... videos/56.mp4", "from the organisers of the ABAW challenge", "abaw.c_expr_db"
    ),
    "aff-wild2": Corpus(
        "Aff-Wild2",
        "batch1/*.mp4, batch2/*.avi and EXPR_Recognition_Challenge/{Train_Set,Validation_Set}/<video>.txt",
        "from its authors, for academics who sign their agreement",
        "abaw.aff_wild2",
    ),
    "afew": Corpus(
        "AFEW",
        "Train_AFEW/Angry/000046280.avi, Val_AFEW/..., or {train,dev}_segment.csv and the pieces they name",
        "from its authors, under their agreement",
        "afew.afew",
    ),
    "meld": Corpus(
        "MELD",
        "{train,dev,test}_sent_emo.csv and train_splits/dia0_utt0.mp4, dev_splits_complete/..., output_repeated_splits_test/...",
        "GPL-3.0 (its repository)",
        "meld.meld",
    ),
    "dfew": Corpus(
        "DFEW",
        "EmoLabel_DataSplit/{train,test}(single-labeled)/set_1.csv ... set_5.csv and Clip/original/1.mp4",
        "from its authors, under their agreement",
        "listed.dfew",
    ),
    "ferv39k": Corpus(
        "FERV39k",
        "4_setups/All_scenes/{train,test}_All.csv (or FERV39K_{train,test}.txt) and 2_ClipsforFaceCrop/Action/Happy/0015.mp4",
        "from its authors, under their agreement",
        "listed.ferv39k",
    ),
    "mafw": Corpus(
        "MAFW",
        "Train & Test Set/single/no_caption/set_1/{train,test}.txt (or MAFW_set_1_{train,test}.txt) and clips/00025.mp4",
        "from its authors, for researchers of a university who sign their agreement; not for commerce",
        "listed.mafw",
    ),
    "raf-db": Corpus(
        "RAF-DB",
        "basic/EmoLabel/list_patition_label.txt and basic/Image/aligned/train_00001_aligned.jpg (and compound/...)",
        "from its authors, for researchers of a university who sign their agreement; not for commerce",
        "faces.raf_db",
        stills=True,
    ),
    "affectnet": Corpus(
        "AffectNet",
        "train_set/annotations/0_exp.npy and train_set/images/0.jpg, val_set/...; or {training,validation}.csv and pictures",
        "from its authors, under their agreement; not for commerce",
        "faces.affectnet",
        stills=True,
    ),
    "ferplus": Corpus(
        "FER+",
        "fer2013new.csv and FER2013Train/fer0000000.png, FER2013Valid/..., FER2013Test/...",
        "labels MIT; pictures for research",
        "faces.ferplus",
        stills=True,
    ),
    "caer": Corpus("CAER", "train/Anger/0001.avi, validation/..., test/...", "from its authors, for research", "faces.caer"),
    "caer-s": Corpus("CAER-S", "train/Anger/0001.png, test/...", "from its authors, for research", "faces.caer_s", stills=True),
    "ravdess": Corpus("RAVDESS", "Actor_01/01-01-03-01-01-01-01.mp4 (or .wav)", "CC BY-NC-SA 4.0", "acted.ravdess"),
    "crema-d": Corpus("CREMA-D", "VideoFlash/1001_IEO_ANG_HI.flv or AudioWAV/1001_IEO_ANG_HI.wav", "ODbL 1.0", "acted.crema_d"),
    "emo-db": Corpus("Emo-DB", "wav/03a01Fa.wav", "free, from its authors", "acted.emo_db"),
}
"""By the name that `dyad corpus NAME` takes."""


def corpus_named(name: str) -> Corpus:
    """The corpus of a name in any spelling ('CREMA-D', 'crema_d', 'CremaD'); InputError with all names for another."""
    plain = {_plain(known): corpus for known, corpus in CORPORA.items()}
    if _plain(name) not in plain:
        raise InputError(f"'{name}' is not a corpus that Dyad knows; use one of: {', '.join(CORPORA)}, or write a manifest.")
    return plain[_plain(name)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower().replace("+", "plus") if letter.isalnum())


def corpus_manifest(name: str, folder: Path, fold: int | None = None) -> "Manifest":
    """The manifest of a corpus that lies in `folder`; what is missing is said in its notes, and in the rows that miss a file.

    fold: of a corpus with folds, the one whose training and test set `split` tells; without it, `split` names for each clip the
    fold that tests it. InputError when the folder does not hold the corpus, or the corpus has no such fold.
    """
    from data.corpora.listed import of_fold
    from data.corpora.tree import tree_of
    from data.manifest.manifest import manifest_of_table

    corpus = corpus_named(name)
    found = corpus.collect(tree_of(folder))
    if found.table.empty:
        said = " ".join(["", *found.notes])
        raise InputError(f"{folder} does not hold {corpus.title} as expected: {corpus.layout} (see docs/datasets.md).{said}")
    table = found.table
    if "fold" in table:
        table = of_fold(table, fold)
    elif fold is not None:
        raise InputError(f"{corpus.title} has no folds; leave the fold out.")
    table = table.reset_index(drop=True).assign(corpus=name)
    return manifest_of_table(table, folder, str(folder), notes=found.notes)


def with_images(name: str, folder: Path, images: Path) -> Path:
    """Write the pictures that a corpus keeps in a table into the folder `pictures`, and return it: the corpus with its files.

    InputError for a corpus whose pictures are files already.
    """
    from data.corpora.faces import write_fer_images

    if corpus_named(name).reader != "faces.ferplus":
        raise InputError(f"{corpus_named(name).title} keeps no pictures in a table; leave --pictures out.")
    write_fer_images(folder, images)
    return images
