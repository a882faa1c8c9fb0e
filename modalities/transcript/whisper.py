"""Words from speech with openai-whisper, from a checkpoint that is already on the machine.

The sound is read in pieces of at most 30 s that begin and end in silence, so memory does not grow with the clip, and
silence is never shown to the recogniser, which would invent words for it; what Whisper itself takes for silence has no words
either. Decoding is greedy at temperature 0: the same sound gives the same words.
"""

import contextlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.batches import LONG_BATCH
from data.errors import InputError, MediaError, WeightsError
from data.files import file_digest
from data.json_files import parse_json
from data.languages import LANGUAGES, code_of
from data.precision import Precision
from data.scores import Source
from modalities.loading.batching import Batches, in_batches
from modalities.loading.devices import precision_of
from modalities.model_store.local import is_torchscript
from modalities.transcript.decoding import (
    ENGLISH_GATE,
    PIECE,
    SAMPLE_RATE,
    Gate,
    Piece,
    Recogniser,
    SpokenSegment,
    Task,
    decode_pieces,
    first_heard,
    pieces_at_once,
)
from modalities.transcript.repetitions import clean

if TYPE_CHECKING:
    import torch
    from whisper import Whisper
    from whisper.model import AudioEncoder

__all__ = ["Gate", "Recogniser", "load", "pieces", "place", "recognise_speech", "transcribe"]

GAP = 3.0
"""Silence (s) that does not end a piece: each piece costs Whisper as much as 30 s of sound."""
NONE = np.zeros(0, np.float32)
COLUMNS = {"start": "float64", "end": "float64", "text": "str", "language": "str", "words": "object", "rejected": "str"}
Interval = tuple[float, float]
Said = dict[str, Any]

ABSENT_REASON = "No transcript was given and no Whisper checkpoint is on this machine."
REMEDY = (
    "Put a .srt, .vtt, .txt or .csv of the same name beside the clip, or give --transcript FILE, or download Whisper base "
    "(145 MB) with ./dyad models download whisper-base; it is used from then on."
)
GIVE_WORDS = "Give the words with --transcript FILE, or put such a file of the same name beside the clip."
OFF_REASON = "No transcript was given, and the settings say that none is to be heard."
OFF_REMEDY = "Give the words with --transcript FILE, or leave out --no-words (transcript.words)."


def load(
    checkpoint: Path, device: str = "cpu", precision: Precision = "auto", lower: "AudioEncoder | None" = None
) -> Recogniser:
    """Load a checkpoint in openai-whisper's layout (`dims` and `model_state_dict`), or as Dyad converts it, as weights only.

    `precision` auto is float16 on GPUs, the precision that OpenAI's weights are published in, and else that of
    `precision_of`. On processors the decoder's sums, norms and vocabulary stay in float32: nearly equal words are told apart
    better. `lower` are the first blocks of this checkpoint's encoder where they are in memory already, placed alike: they are
    used and not kept twice. WeightsError when the file is missing, damaged, a TorchScript archive or not such a checkpoint.
    """
    path = checkpoint.resolve()  # a bare name such as "tiny" would mean a download
    if not path.is_file():
        raise WeightsError(f"There is no Whisper checkpoint at {checkpoint}; give the path of an existing file.")
    if is_torchscript(path):
        raise WeightsError(f"{checkpoint} is a TorchScript archive and not a Whisper checkpoint; give another file.")
    network, digest = read_network(path, checkpoint, partial(_place_cast, device=device, precision=precision)), file_digest(path)
    heads = _alignment_heads(network, checkpoint.stem, digest)
    network.register_buffer("alignment_heads", None)  # sparse, which not every device can hold
    network = settle(network, device, precision)
    if lower is not None:
        _share(network.encoder, lower)
    name = str(network.encoder.conv1.weight.dtype).removeprefix("torch.")
    preprocessing = f"pieces of at most 30 s cut in silence, greedy, temperature 0, no-speech gate, {name}"
    source = Source("openai-whisper", checkpoint.stem, digest[:12], preprocessing)
    return Recogniser(network, source, device, heads)


def settle(network: "Whisper", device: str, precision: Precision = "auto") -> "Whisper":
    """A network in the precision that `load` says, in evaluation mode and frozen, on its device."""
    from modalities.transcript.decoder import pack_vocabulary, use_step_decoder

    use_step_decoder(network)
    place(network.encoder, device, precision)
    if device == "cpu":
        place(network.decoder.blocks, device, precision)
        if precision == "auto":
            pack_vocabulary(network)
    else:
        place(network.decoder, device, precision)
    return network.to(device).eval().requires_grad_(False)


def place(part: "torch.nn.Module", device: str, precision: Precision = "auto") -> None:
    """Put a part of a Whisper on its device, in the precision that `load` says, in evaluation mode and frozen."""
    import torch

    from modalities.speech.log_mel import compute_norms_in_half

    chosen = precision_of(device, "float16" if precision == "auto" and device.startswith("cuda") else precision)
    _cast(part, chosen)
    if device != "cpu" and chosen != torch.float32:
        compute_norms_in_half(part, chosen)
    part.to(device).eval().requires_grad_(False)


def _share(encoder: "AudioEncoder", lower: "AudioEncoder") -> None:
    """Let an encoder use another one's layers for its own first ones."""
    encoder.conv1, encoder.conv2, encoder.positional_embedding = lower.conv1, lower.conv2, lower.positional_embedding
    for number, block in enumerate(lower.blocks):
        encoder.blocks[number] = block


def _place_cast(network: "Whisper", device: str, precision: Precision) -> None:
    """Cast on a processor what `settle` casts there, before the weights come: so they are never there in float32."""
    if device == "cpu":
        place(network.encoder, device, precision)
        place(network.decoder.blocks, device, precision)


def read_network(path: Path, named: Path, prepare: "Callable[[Whisper], None]" = lambda network: None) -> "Whisper":
    """The network of a checkpoint in either layout; WeightsError, which calls it `named`, when it cannot be read.

    In float32, but for what `prepare` casts, which gets the network before its weights are read, one after the other.
    """
    from modalities.loading.spared import without_numba

    with without_numba():
        import whisper  # noqa: F401

    try:
        return (_converted if path.suffix == ".safetensors" else _published)(path, prepare)
    except (RuntimeError, pickle.UnpicklingError, AttributeError, KeyError, TypeError, ValueError, EOFError, OSError) as error:
        said = str(error).strip().splitlines()
        raise WeightsError(
            f"{named} is not a readable Whisper checkpoint ({said[0][:120] if said else type(error).__name__}); "
            "copy or download it again."
        ) from error


def _published(path: Path, prepare: "Callable[[Whisper], None]") -> "Whisper":
    """The network of a file as OpenAI publishes them."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=True)
    return _filled(content["dims"], content["model_state_dict"].items(), prepare)


def _converted(path: Path, prepare: "Callable[[Whisper], None]") -> "Whisper":
    """The network of a file that `modalities.model_store.ctranslate2` wrote."""
    from safetensors import SafetensorError, safe_open

    def tensors(names: Sequence[str]) -> "Iterator[tuple[str, torch.Tensor]]":
        for start in range(0, len(names), 16):  # opened anew, as what is read of a file stays in memory as long as it is open
            with safe_open(path, framework="pt") as opened:
                for name in names[start : start + 16]:
                    yield name, opened.get_tensor(name)

    try:
        with safe_open(path, framework="pt") as opened:
            dims, names = parse_json((opened.metadata() or {})["dims"]), list(opened.keys())
        return _filled(dims, tensors(names), prepare)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _filled(
    dims: Mapping[str, int], weights: "Iterable[tuple[str, torch.Tensor]]", prepare: "Callable[[Whisper], None]"
) -> "Whisper":
    """A network of these dimensions with these weights; ValueError unless they are all that it has, in its shapes."""
    from whisper.model import ModelDimensions, Whisper

    from modalities.loading.unfilled import unfilled

    with unfilled():
        network = Whisper(ModelDimensions(**dims))
    prepare(network)
    places = network.state_dict()
    for name, weight in weights:
        if name not in places or places[name].shape != weight.shape:
            raise ValueError(f"{name} of shape {list(weight.shape)} does not fit")
        places.pop(name).copy_(weight)
    if places:
        raise ValueError(f"{min(places)} is missing")
    return network


def _alignment_heads(network: "Whisper", name: str, digest: str) -> "torch.Tensor":
    """The attention heads that follow the sound, sparse [layers, heads].

    OpenAI published them for its own checkpoints, which are known by their digest, else by their name; for others all heads
    of the later half of the layers are taken, as whisper does.
    """
    from whisper import _ALIGNMENT_HEADS, _MODELS

    known = {url.split("/")[-2]: official for official, url in _MODELS.items()}
    official = known.get(digest, name)
    if official in _ALIGNMENT_HEADS:
        with contextlib.suppress(RuntimeError):  # another network under an official name
            network.set_alignment_heads(_ALIGNMENT_HEADS[official])
    heads: torch.Tensor = network.alignment_heads
    return heads


def _cast(network: "torch.nn.Module", dtype: "torch.dtype") -> None:
    """Cast what is large; whisper adds positions before it casts, and computes norms in float32 if nobody changes that."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Embedding):
            module.to(dtype)


def recognise_speech(
    audio: Path,
    checkpoint: Path,
    *,
    language: str | None = None,
    device: str = "cpu",
    precision: Precision = "auto",
    speech: Sequence[Interval] | None = None,
) -> pd.DataFrame:
    """Load a checkpoint and transcribe one file with it; see `transcribe`."""
    return transcribe(load(checkpoint, device, precision), audio, language=language, speech=speech)


def transcribe(
    recogniser: Recogniser,
    audio: Path,
    *,
    language: str | None = None,
    speech: Sequence[Interval] | None = None,
    word_times: bool = True,
    task: Task = "transcribe",
    gate: Gate | None = None,
    batches: Batches = in_batches,
    batch: int = LONG_BATCH,
    on_time: Callable[[float], None] = lambda seconds: None,
) -> pd.DataFrame:
    """Recognise the words of a 16 kHz mono file: a table of `start`, `end` (s), `text`, `language`, `words`, `rejected`, by time.

    `speech` are the intervals (s) in which somebody speaks, from voice activity detection: only they are heard, and an
    empty sequence gives an empty table. Without it the whole file is heard. Without `language` (code or English name) it is
    detected on the longest piece, and on each that is plainly in another. `words` is for each row a list of
    `{"word": " so", "start": 1.2, "end": 1.4}`, the space before a word kept, empty without `word_times`; parquet,
    `data.media.subtitles.to_vtt` and `text.window_texts` take it as it is. `rejected` says why a text is none (`Gate`), and is
    empty for those that count. With `task` translate the text is English, whatever is spoken. `on_time` is told up to which
    second the file was heard. MediaError when the file cannot be read or has another rate, InputError for a language that the
    network lacks.
    """
    import soundfile

    try:
        with soundfile.SoundFile(audio) as sound:
            if sound.samplerate != SAMPLE_RATE or sound.channels != 1:
                raise MediaError(f"{audio} is not 16 kHz mono sound; give the audio.wav that decoding the clip makes.")
            heard = [(0.0, len(sound) / SAMPLE_RATE)] if speech is None else speech
            cuts = pieces(heard, _loudness(sound)) if len(heard) else []
            gate = gate or (Gate() if recogniser.network.is_multilingual else ENGLISH_GATE)
            batch = pieces_at_once(recogniser, batch)
            items = _pieces_of(recogniser, sound, cuts, language, Piece(NONE, "", word_times, gate, task), batches, batch)
            rows: list[tuple[float, float, str, str, list[Said], str]] = []
            for cut, segments in zip(cuts, batches(decode_pieces, recogniser, items, batch), strict=True):
                rows += _rows(cut, segments, task)
                on_time(cut[1])
    except soundfile.SoundFileError as error:
        raise MediaError(f"{audio} cannot be read as sound ({error}); decode the clip again.") from error
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    counts = table["rejected"] == ""
    kept = clean(table[counts].reset_index(drop=True))
    return pd.concat([kept, table[~counts]]).sort_values("start", kind="stable", ignore_index=True)


def _pieces_of(
    recogniser: Recogniser, sound: Any, cuts: Sequence[Interval], language: str | None, like: Piece, batches: Batches, batch: int
) -> Iterator[Piece]:
    """The pieces, read as they are needed; without a language each has that of the longest, or its own where that is plain."""
    code = _code(recogniser, language) if language else ""
    longest = None if code else max(cuts, key=lambda cut: cut[1] - cut[0], default=None)
    first = next(batches(first_heard, recogniser, [_read(sound, *longest)], batch)) if longest else None
    for cut in cuts:
        like = replace(like, samples=_read(sound, *cut), language=first.language if first else code, is_guess=not code)
        yield replace(like, features=first.features if first and cut == longest else None)


def _rows(
    cut: Interval, segments: Sequence[SpokenSegment], task: Task
) -> Iterator[tuple[float, float, str, str, list[Said], str]]:
    """Rows of a piece: times are moved to the clip's and kept inside the piece, and words never run backwards."""
    begin, end = cut
    for segment in segments:
        first, last = (min(max(begin + time, begin), end) for time in (segment.start, segment.end))
        words: list[Said] = []
        latest = first
        for word in segment.words:
            start = min(max(begin + word.start, latest), last)
            latest = min(max(begin + word.end, start), last)
            words.append({"word": word.text, "start": start, "end": latest})
        language = "en" if task == "translate" else segment.language
        yield first, last, segment.text, language, words, segment.rejected


def _code(recogniser: Recogniser, language: str) -> str:
    """The code of a language given as code or English name; InputError when the network does not know it."""
    network, code = recogniser.network, code_of(language)
    known = list(LANGUAGES)[: network.num_languages] if network.is_multilingual else ["en"]
    if code not in known:
        raise InputError(
            f"The Whisper checkpoint {recogniser.source.model} does not know the language '{language}'; "
            f"give one of {', '.join(known)}, or leave the language empty to have it detected."
        )
    return code


def _read(sound: Any, start: float, end: float) -> NDArray[np.float32]:
    sound.seek(min(round(start * SAMPLE_RATE), len(sound)))
    samples: NDArray[np.float32] = sound.read(max(round((end - start) * SAMPLE_RATE), 0), dtype="float32")
    return samples


def _loudness(sound: Any, step: float = 0.1) -> NDArray[np.float32]:
    """Root mean square of each `step` seconds, read in blocks of 30 s."""
    size = round(step * SAMPLE_RATE)
    sound.seek(0)
    levels = [
        np.sqrt(np.square(block[: len(block) // size * size].reshape(-1, size)).mean(1))
        for block in sound.blocks(size * 300, dtype="float32")
    ]
    return np.concatenate(levels) if levels else np.zeros(0, np.float32)


def pieces(
    speech: Iterable[Interval], loudness: NDArray[np.float32], longest: float = PIECE, step: float = 0.1
) -> list[Interval]:
    """Join intervals of speech into pieces of at most `longest` seconds; a longer interval is cut where it is quietest.

    `loudness` [T] is the level of every `step` seconds; a cut falls into the last third of the longest piece.
    """
    joined: list[Interval] = []
    for start, end in sorted((float(start), float(end)) for start, end in speech):
        while end - start > longest:
            quiet = _quietest(loudness, start + longest * 2 / 3, start + longest, step)
            joined.append((start, quiet))
            start = quiet
        if joined and end - joined[-1][0] <= longest and start - joined[-1][1] < GAP:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > start:
            joined.append((start, end))
    return joined


def _quietest(loudness: NDArray[np.float32], earliest: float, latest: float, step: float) -> float:
    levels = loudness[round(earliest / step) : round(latest / step)]
    return earliest + (int(levels.argmin()) + 0.5) * step if levels.size else latest
