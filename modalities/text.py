"""Emotion of spoken words: MiniLM with low-rank adapters and two heads, over the words that fall into each window.

One head judges comments, the other what is spoken, with what was said before. The words of a clip are spoken; of a text that
comes without such knowledge, its own words tell how much each head counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import WeightsError
from data.scores import Scores, Source
from data.windows import Windows, windows_of
from modalities.checkpoint import WEIGHTS_FOLDER, load_checkpoint
from modalities.sentence_encoder import SentenceEncoder, is_readable, load_encoder, plain_text, pooled_states

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.networks.text import DialogueHead, EmotionHead

WEIGHTS = WEIGHTS_FOLDER / "text.safetensors"
ABSENT_REASON = "There is no transcript, so there are no words to judge."
REMEDY = "Give the words with --transcript FILE (.srt, .vtt, .txt or .csv), or put such a file of the same name beside the clip."
COMMON_WORDS = """
the a an and or but if so not no yes i you he she it we they me him her us them my your his its our their this that these
those is are was were be been am do does did have has had will would can could should of to in on at for with from by about
up out what who how when where why there here just like know get go think oh okay
"""
FOREIGN_REASON = "The words do not seem to be English, the only language that the embedded model knows."
FOREIGN_REMEDY = "Give an English transcript with --transcript FILE, or choose a profile with a multilingual text model."


@dataclass(frozen=True)
class Text:
    """The adapted encoder and the heads on its mean token states, with the softmax temperature.

    `dialogue` is None for weights of one head, that of comments, which then judges everything;
    `multilabel_thresholds` [7]: the probability from which an emotion counts as present where a text may carry several;
    `centroids` [7, 384]: the mean feature of each emotion.
    """

    encoder: SentenceEncoder
    head: EmotionHead
    temperature: float
    multilabel_thresholds: NDArray[np.float32]
    centroids: NDArray[np.float32]
    source: Source
    dialogue: DialogueHead | None = None


def load(path: Path | None = None, device: str = "cpu") -> Text:
    """Load the shipped weights or those at `path`; WeightsError when they are missing, damaged or of another modality."""
    from modalities.networks.text import dialogue_head

    checkpoint = load_checkpoint(path or WEIGHTS)
    if checkpoint.settings.get("modality") != "text":
        raise WeightsError(
            f"{path or WEIGHTS} does not hold weights of the text modality; give a file that 'dyad train text' wrote."
        )
    network = checkpoint.network()
    adapters = _named(network, "adapters.")
    source = Source(
        "embedded", "MiniLM-L6 with low-rank adapters", checkpoint.revision,
        "words of each window, lower case, pictographs as words, pieces of at most 256 tokens",
    )  # fmt: skip
    return Text(
        encoder=load_encoder(adapters, device),
        head=head_from(_named(network, "head."), device),
        temperature=float(checkpoint.settings["temperature"]),
        multilabel_thresholds=np.array(checkpoint.settings["multilabel_thresholds"], np.float32),
        centroids=checkpoint.tensors["centroids"].float().numpy(),
        source=source,
        dialogue=dialogue_head(dialogue).to(device) if (dialogue := _named(network, "dialogue.")) else None,
    )


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def head_from(tensors: Mapping[str, Tensor], device: str) -> EmotionHead:
    """The head with the given weights, in evaluation mode."""
    from modalities.networks.text import EmotionHead

    head = EmotionHead()
    head.load_state_dict({name: value.float() for name, value in tensors.items()})
    return head.requires_grad_(False).eval().to(device)


def score_texts(model: Text, texts: Sequence[str], dialogues: Sequence[object] | None = None) -> NDArray[np.float32]:
    """Probabilities [B, 7] of texts of any length; NaN rows where a text has no words, or none in Latin letters.

    `dialogues` names for each text the conversation that it belongs to, in order of time: then each is judged as a line of it,
    with the three said before. Without, each text stands for itself, and tells itself how much it is like speech.
    """
    return _score(model, texts, None if dialogues is None else earlier_lines(dialogues))[0]


def earlier_lines(dialogues: Sequence[object]) -> NDArray[np.int64]:
    """For each text the places of the three said before it in its dialogue, the last first; -1 where there is none [B, 3]."""
    from modalities.networks.text import EARLIER

    said: dict[object, list[int]] = {}
    earlier = np.full((len(dialogues), EARLIER), -1, np.int64)
    for place, name in enumerate(dialogues):
        before = said.setdefault(name, [])[: -EARLIER - 1 : -1]
        earlier[place, : len(before)] = before
        said[name].append(place)
    return earlier


def earlier_windows(windows: Windows) -> NDArray[np.int64]:
    """For each window [N, 2] the last one that ends before it starts, the one before that, and so on; else -1 [N, 3]."""
    from modalities.networks.text import EARLIER

    before = np.searchsorted(windows[:, 1], windows[:, 0] + 1e-6, side="right") - 1
    steps = [before]
    while len(steps) < EARLIER:
        steps.append(np.where(steps[-1] < 0, -1, before[steps[-1]]))
    return np.stack(steps, 1)


def _score(
    model: Text, texts: Sequence[str], earlier: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities [B, 7] and features [B, 384]; `earlier` [B, 3], given where texts are spoken, as of `earlier_lines`."""
    import torch

    features = pooled_states(model.encoder, [text if is_readable(text) else "" for text in texts])
    with torch.inference_mode():
        logits = _logits(model, torch.from_numpy(features).to(model.encoder.device), earlier) / model.temperature
    return logits.softmax(1).cpu().numpy(), features


def _logits(model: Text, features: Tensor, earlier: NDArray[np.int64] | None) -> Tensor:
    """Logits [B, 7] of features [B, 384], NaN where these are."""
    import torch

    from modalities.networks.text import EARLIER, mixed_logits

    if model.dialogue is None:
        return cast("Tensor", model.head(features))
    silent = features[:, 0].isnan().cpu().numpy()
    places = np.full((len(features), EARLIER), -1, np.int64) if earlier is None else earlier
    places = np.where(np.append(silent, True)[places], -1, places)  # place -1 is the True appended
    known = torch.full((len(features),), earlier is not None, device=features.device)
    return mixed_logits(features, torch.from_numpy(places).to(features.device), known, model.head, model.dialogue)


def recognise(model: Text, transcript: pd.DataFrame, windows: Windows) -> Scores:
    """Score the words of each window [N, 2] (s), heard after those of the windows before it that it does not overlap.

    `transcript` is a table for `window_texts`. Windows without words are absent. An optional column `language` (code) that
    names another language than English makes those cues unreadable.
    """
    texts = window_texts(transcript, windows)
    if not any(texts):
        return Scores.absent("text", windows, ABSENT_REASON, REMEDY, model.source)
    if not seems_english(transcript):
        return Scores.absent("text", windows, FOREIGN_REASON, FOREIGN_REMEDY, model.source)
    probabilities, features = _score(model, texts, earlier_windows(windows))
    present = ~np.isnan(probabilities[:, 0])
    evidence = pd.DataFrame({"window": range(len(windows)), "start": windows[:, 0], "end": windows[:, 1], "text": texts})
    evidence = evidence[present].reset_index(drop=True)
    reason, remedy = ("", "") if present.any() else (ABSENT_REASON, REMEDY)
    return Scores("text", windows, probabilities, present, model.source, reason, remedy, features, evidence)


def window_texts(transcript: pd.DataFrame, windows: Windows) -> list[str]:
    """The words that are said in each window [N, 2] (s), "" where none are: what any classifier of text reads.

    `transcript` has the columns `start`, `end` (s) and `text`, one row a cue or a word, and perhaps `words`: for each cue a
    list of `{"word": " so", "start": 1.2, "end": 1.4}` with the space before a word kept, as `modalities.transcript` makes
    them and `data.subtitles` reads them from WebVTT. A window gets the words whose middle lies in it; where a cue has no
    such list, or an empty one, its words are spread evenly over its time.

        texts = window_texts(read_transcript(path, clip.duration), make_windows(clip.duration))
    """
    words = words_of(transcript)
    inside = windows_of(words["middle"].to_numpy(np.float64), windows)
    return ["".join(words["word"][chosen]).strip() for chosen in inside]


def words_of(transcript: pd.DataFrame) -> pd.DataFrame:
    """Every word, with the space before it, and the `middle` (s) of its time: columns `word`, `middle`, in order of time."""
    rows: list[tuple[str, float]] = []
    if not transcript.empty:
        timed = transcript["words"] if "words" in transcript else [None] * len(transcript)
        cues = zip(transcript["start"], transcript["end"], transcript["text"], timed, strict=True)
        for start, end, text, words in cues:
            rows += _timed(words) if isinstance(words, Iterable) and len(list(words)) else _spread(start, end, text)
    return pd.DataFrame(rows, columns=["word", "middle"]).sort_values("middle", kind="stable", ignore_index=True)


def _timed(words: Iterable[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """A cue's words at their real times; only what is written without a space inside the cue stays without one."""
    rows: list[tuple[str, float]] = []
    for word in words:
        if plain := plain_text(word["word"]):
            space = " " if not rows or str(word["word"])[:1].isspace() else ""
            rows.append((space + plain, (float(word["start"]) + float(word["end"])) / 2))
    return rows


def _spread(start: float, end: float, text: object) -> list[tuple[str, float]]:
    """A cue's words spread evenly over its time."""
    words = plain_text(text).split()
    return [(f" {word}", start + (end - start) * (place + 0.5) / len(words)) for place, word in enumerate(words)]


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


@cache
def common_words() -> frozenset[str]:
    """English words that make up about half of what people say."""
    return frozenset(COMMON_WORDS.split())
