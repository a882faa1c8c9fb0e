"""One modality on many inputs: a table, a folder or an .npz in, one row of probabilities an input out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from configs.settings import Settings
from data.emotions import BASIC_EMOTIONS
from data.errors import InputError, WeightsError
from data.files import atomic_path
from data.manifest.labels import label_name
from data.manifest.manifest import MEDIA
from data.metrics import scores_of
from flows.backends import score_inputs as face_scoring
from flows.backends.base import NotHere, fetched
from flows.backends.score_inputs import Beside
from flows.backends.voice import head_of
from flows.runtime import loaded_models as models
from fusion.compose import compound_distribution, method_named
from fusion.composer import read_composer

if TYPE_CHECKING:
    from modalities.speech.windows import AudioScores

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
CHUNK = 512
"""Inputs read and scored at a time, so that memory does not grow with their number."""
FILES_AT_ONCE = 64
"""Pictures or clips of any size in memory at a time."""
Probabilities = NDArray[np.float32]


class Answers(NamedTuple):
    """Names of B inputs, their probabilities [B, 7] (NaN rows where absent), why an input has none, by name, and how well each
    could be seen or heard [B] (`modalities.quality`); None where nothing says it."""

    names: list[str]
    basic: Probabilities
    reasons: dict[str, str] = {}
    quality: NDArray[np.float32] | None = None


class Labels(NamedTuple):
    """What a table says of its B inputs: the basic emotion (place; -1 for none of them), and whom bootstrap keeps together."""

    truth: NDArray[np.int64]
    groups: list[str]


def score_table(modality: str, table: Path, output: Path, settings: Settings) -> Answers:
    """Score every input of `table` and write `output`; returns the answers.

    Columns: `input`, the seven basic emotions, the compounds (by the composition of the settings), `quality`; empty where absent.
    A CSV's column `label` is repeated, in our words, and empty where it is none of the seven.
    """
    if modality not in SCORERS:
        known = ", ".join(name.replace("_", "-") for name in SCORERS)
        raise InputError(f"'{modality}' cannot score tables; use one of {known}.")
    if not table.exists():
        raise InputError(f"There is no file or folder {table}.")
    try:
        answers = SCORERS[modality](table, settings)
    except NotHere as missing:
        raise WeightsError(f"{missing.reason} {missing.remedy}") from missing
    rows = _rows(answers, settings)
    if (labels := labels_of(table)) is not None:
        rows["label"] = [BASIC_EMOTIONS[place] if place >= 0 else "" for place in labels.truth]
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as aside:
        rows.to_csv(aside, index=False)
    return answers


def labels_of(table: Path) -> Labels | None:
    """The column `label` of a CSV, in any spelling of the seven emotions, and its `speaker` or `group`; None without labels."""
    if table.suffix.lower() != ".csv" or not (words := _column_if_any(table, "label")):
        return None
    places = {word: _place(word) for word in set(words)}
    groups = _column_if_any(table, "speaker") or _column_if_any(table, "group") or list(map(str, range(len(words))))
    return Labels(np.array([places[word] for word in words], np.int64), groups)


def _place(word: str) -> int:
    try:
        name = label_name(word)
    except InputError:  # a label of another kind of table, which nobody is asked to change
        name = ""
    return BASIC_EMOTIONS.index(name) if name in BASIC_EMOTIONS else -1


def reached(answers: Answers, labels: Labels) -> str:
    """UAR, WAR and macro-F1 of the labelled inputs in a sentence, over the emotions that occur; no answer is a wrong one.

    The interval is the middle 95 % of 1,000 bootstrap draws of speakers (groups; without any, inputs).
    """
    rows = np.flatnonzero(labels.truth >= 0)
    if not len(rows):
        return "No label is one of the seven basic emotions, so nothing is measured."
    truth, groups = labels.truth[rows], np.unique(np.array(labels.groups, object)[rows].astype(str), return_inverse=True)[1]
    answer = np.where(np.isnan(answers.basic[rows, 0]), len(BASIC_EMOTIONS), np.nan_to_num(answers.basic[rows]).argmax(1))
    classes = sorted(set(truth.tolist()))
    figures = scores_of(truth, answer, classes)
    counts = np.random.default_rng(7).multinomial(groups.max() + 1, np.full(groups.max() + 1, 1 / (groups.max() + 1)), 1000)
    weights = counts[:, groups]
    hits, of_class = (answer == truth).astype(float), np.eye(len(BASIC_EMOTIONS))[truth][:, classes]
    drawn = weights @ (of_class * hits[:, None]) / np.maximum(weights @ of_class, 1e-9)
    low, high = 100 * np.quantile(drawn.mean(1), [0.025, 0.975])
    return (
        f"{len(rows)} labelled, {groups.max() + 1} speakers or groups, {len(classes)} emotions: UAR {100 * figures['uar']:.1f} % "
        f"({low:.1f} to {high:.1f}), WAR {100 * figures['war']:.1f} %, macro-F1 {100 * figures['macro_f1']:.1f} %"
    )


def _rows(answers: Answers, settings: Settings) -> pd.DataFrame:
    """Inputs with their basic emotions [B, 7] and the compounds made of them."""
    asked = settings.fusion
    method = method_named(asked.composition, read_composer(asked.composer) if asked.composer else None)
    if method.on_features:
        raise InputError("PFSA compares features of clips; 'dyad score' composes with ppa or AVCER's rules.")
    compounds = settings.compound_table()
    compound = compound_distribution(method(answers.basic.astype(np.float64), compounds))
    columns: dict[str, Any] = {"input": answers.names}
    columns |= {emotion: answers.basic[:, place] for place, emotion in enumerate(BASIC_EMOTIONS)}
    columns |= {item.name: compound[:, place] for place, item in enumerate(compounds)}
    absent = np.isnan(answers.basic[:, 0])
    columns["quality"] = np.where(absent, np.nan, np.nan if answers.quality is None else answers.quality)
    return pd.DataFrame(columns).round(6)


def _score_text(table: Path, settings: Settings) -> Answers:
    from modalities.quality import words_quality

    texts = _column(table, ("text",))
    return Answers(texts, _read_texts(table, texts, settings), quality=words_quality(texts))


def _read_texts(table: Path, texts: list[str], settings: Settings) -> Probabilities:
    from modalities.text import classifier as text_classifier
    from modalities.text import embedded as text

    asked = settings.text
    if asked.backend == "embedded":
        own = models.text(settings)
        if dialogues := _column_if_any(table, "dialogue"):
            return text.score_texts(own, texts, dialogues)
        return _in_chunks(texts, lambda part: text.score_texts(own, part))
    model = models.text_classifier(fetched(asked.model, "text.model"), asked.labels, asked.head, settings)
    feeding = models.feeding(settings, asked.batch)
    return _in_chunks(texts, lambda part: text_classifier.score_texts(model, part, **feeding))


def _score_descriptions(table: Path, settings: Settings) -> Answers:
    from modalities.scene_context import embedded as scene_context
    from modalities.text import classifier as text_classifier

    texts, asked = _column(table, ("text",)), settings.scene_context
    if not asked.reader:
        own = models.scene_context(settings)
        return Answers(texts, _in_chunks(texts, lambda part: scene_context.score_texts(own, part)))
    model = models.text_classifier(fetched(asked.reader, "scene_context.reader"), asked.labels, None, settings)
    batches = models.batches(settings)
    return Answers(texts, _in_chunks(texts, lambda part: text_classifier.score_texts(model, part, batches=batches)))


def _score_voice(table: Path, settings: Settings) -> Answers:
    files = _files(table, MEDIA)
    listen = _listener(settings)
    reasons: dict[str, str] = {}
    shares: list[NDArray[np.float32]] = []

    def score(part: Sequence[Path]) -> Probabilities:
        heard = listen(part)
        reasons.update({str(file): reason for file, reason in zip(part, heard.reasons, strict=True) if reason})
        shares.append(heard.quality)
        return heard.probabilities

    basic = _in_chunks(files, score)
    return Answers([str(file) for file in files], basic, reasons, np.concatenate(shares) if shares else None)


def _listener(settings: Settings) -> Callable[[Sequence[Path]], "AudioScores"]:
    """The function of the voice backend that scores files."""
    from modalities.voice import audio_classifier, speech_encoder
    from modalities.voice import embedded as voice

    asked = settings.voice
    if asked.backend == "embedded":
        own = models.voice(settings)
        return lambda part: voice.score_audio(own, part, settings.windows.cut)
    folder, feeding = fetched(asked.model, "voice.model"), models.feeding(settings, asked.batch)
    if asked.backend == "transformers":
        classifier = models.audio_classifier(folder, settings)
        return lambda part: audio_classifier.score_audio(classifier, part, settings.windows.cut, **feeding)
    encoder = models.speech_encoder(folder, head_of(settings), settings)
    return lambda part: speech_encoder.score_audio(encoder, part, settings.windows.cut, **feeding)


def _score_faces(table: Path, settings: Settings) -> Answers:
    from modalities.quality import image_quality

    look = _looker(settings)
    if table.suffix.lower() == ".npz":
        images = _stored_images(table)
        names = [str(number) for number in range(len(images))]
        return Answers(names, _in_chunks(images, lambda part: look(np.asarray(part), ())), quality=image_quality(images))
    files, measured = _with_what_is_known(table, _files(table, PICTURES)), list[NDArray[np.float32]]()
    scored = look if settings.static_face.backend == "network" else _by_shape(look)

    def score(part: Sequence[tuple[Path, Beside]]) -> Probabilities:
        pictures = [_picture(file) for file, _ in part]
        measured.append(image_quality(pictures))
        return scored(pictures, [known for _, known in part])

    basic = _in_chunks(files, score, FILES_AT_ONCE)
    return Answers([str(file) for file, _ in files], basic, quality=np.concatenate(measured) if measured else None)


def _with_what_is_known(table: Path, files: Sequence[Path]) -> list[tuple[Path, Beside]]:
    """Each file with what a CSV says of it in the columns `context` (a file) and `caption`."""
    count = len(files)
    named, captions = ([] if table.is_dir() else _column_if_any(table, name) for name in ("context", "caption"))
    contexts = [str(one) if name else "" for name, one in zip(named, _inside(table, named), strict=True)]
    known = map(Beside, contexts or [""] * count, captions or [""] * count)
    return list(zip(files, known, strict=True))


def _looker(settings: Settings) -> Callable[[Any, Sequence[Beside]], Probabilities]:
    """The function of the static face backend that scores pictures uint8 [B, H, W] or [B, H, W, 3] and what is known."""
    from modalities.static_face import embedded as static_face
    from modalities.static_face import image_classifier

    asked = settings.static_face
    if asked.backend == "network":
        return face_scoring.picture_scorer(settings)
    if asked.backend == "embedded":
        own = models.static_face(settings)
        return lambda images, _: static_face.score_images(own, images)
    model = models.image_classifier(fetched(asked.model, "static_face.model"), settings)
    return lambda images, _: image_classifier.score_images(model, images, asked.batch)


def _score_moving_faces(table: Path, settings: Settings) -> Answers:
    score = face_scoring.clip_scorer(settings)
    clips = face_scoring.clips_in(table) if table.is_dir() else _files(table, MEDIA)
    return Answers([str(clip) for clip in clips], _in_chunks(_with_what_is_known(table, clips), score, FILES_AT_ONCE))


SCORERS: dict[str, Callable[[Path, Settings], Answers]] = {
    "text": _score_text,
    "scene_context": _score_descriptions,
    "voice": _score_voice,
    "static_face": _score_faces,
    "dynamic_face": _score_moving_faces,
}
"""Modality -> function that reads a table's inputs, names them, and gives their probabilities."""


def _in_chunks(items: Any, score: Callable[[Any], Probabilities], size: int = CHUNK) -> Probabilities:
    parts = [score(items[first : first + size]) for first in range(0, len(items), size)]
    return np.concatenate(parts) if parts else np.zeros((0, len(BASIC_EMOTIONS)), np.float32)


def _column(table: Path, names: tuple[str, ...]) -> list[str]:
    """The first of the columns `names` that a CSV has, as text, empty where it is; InputError when it has none."""
    try:
        rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{table} cannot be read as CSV ({error}); give a table with the column '{names[0]}'.") from error
    for name in names:
        if name in rows:
            return [str(value) for value in rows[name]]
    raise InputError(f"{table} has no column '{names[0]}', only {', '.join(map(str, rows.columns))}.")


def _column_if_any(table: Path, name: str) -> list[str]:
    """A column that a CSV may have; empty without it."""
    return _column(table, (name,)) if name in pd.read_csv(table, nrows=0) else []


def _files(table: Path, endings: frozenset[str]) -> list[Path]:
    """The files below a folder by name, or those of a CSV's column `path`.

    A relative path starts from the CSV's folder and may not leave it; an absolute one is taken as it stands.
    """
    if table.is_dir():
        found = sorted(file for file in table.rglob("*") if file.suffix.lower() in endings)
        if not found:
            raise InputError(f"{table} holds no file ending in one of {' '.join(sorted(endings))}.")
        return found
    return _inside(table, _column(table, ("path", "file", "filename", "audio", "image", "input")))


def _inside(table: Path, given: Sequence[str]) -> list[Path]:
    """The files that a CSV names; InputError for relative ones that leave its folder."""
    root, names = table.resolve().parent, [Path(name) for name in given]
    for name in names:
        if not name.is_absolute() and not (root / name).resolve().is_relative_to(root):
            raise InputError(f"{table} names {name}, which is outside of {root}; write its absolute path if that is meant.")
    return [root / name for name in names]


def _stored_images(table: Path) -> NDArray[np.uint8]:
    try:
        with np.load(table, allow_pickle=False) as stored:
            images: NDArray[np.uint8] = stored["images"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{table} is not an .npz with the array 'images' ({error}).") from error
    return images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images


def _by_shape(look: Callable[[Any, Sequence[Beside]], Probabilities]) -> Callable[[Any, Sequence[Beside]], Probabilities]:
    """`look` for pictures of any sizes: it sees those of one size together."""

    def scored(pictures: Sequence[NDArray[np.uint8]], _: Sequence[Beside]) -> Probabilities:
        shapes = [picture.shape for picture in pictures]
        answers = np.zeros((len(pictures), len(BASIC_EMOTIONS)), np.float32)
        for shape in set(shapes):
            places = [place for place, own in enumerate(shapes) if own == shape]
            answers[places] = look(np.stack([pictures[place] for place in places]), ())
        return answers

    return scored


def _picture(file: Path) -> NDArray[np.uint8]:
    """RGB [H, W, 3]; InputError when it cannot be read."""
    import cv2

    picture = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR_RGB) if file.is_file() else None
    if picture is None:
        raise InputError(f"{file} is not a picture that can be read; remove it or give another.")
    return np.asarray(picture, np.uint8)
