"""Whisper over pieces of sound from one clip or several at once: segments, the times of words, and what is no speech.

A piece is heard the way `whisper.transcribe` hears it (greedy, temperature 0, no text carried over, the rest after the last
timestamp heard again), but every step is taken for a whole batch.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.scores import Source
from modalities.loading.batching import trim_memory
from modalities.loading.side_by_side import one_thread_each
from modalities.transcript.warping import cheapest_path

if TYPE_CHECKING:
    from torch import Tensor
    from whisper import Whisper
    from whisper.decoding import DecodingResult, DecodingTask
    from whisper.tokenizer import Tokenizer

    from modalities.transcript.decoder import Cache, StepDecoder

SAMPLE_RATE = 16_000
PIECE = 30.0
"""Seconds that Whisper hears at once."""
FRAMES = 3000
"""Spectrogram frames of one piece, 100 a second."""
NO_SPACES = ("zh", "ja", "th", "lo", "my", "yue")
"""Languages written without spaces between words."""
_ALIGNING = Lock()  # whisper reads attention by a switch that all networks of a process share
ATTENDED = 320_000_000
"""Bytes of keys and values of the sound that a batch may have on a processor: eight pieces of Whisper base."""
SURE_LANGUAGE = 0.9
"""Probability from which a piece has a language of its own, where the one given for it is a guess."""

Task = Literal["transcribe", "translate"]


@dataclass(frozen=True)
class Recogniser:
    """A Whisper network in evaluation mode, where it came from, and the heads [H, 2] (layer, head) that follow the sound."""

    network: "Whisper"
    source: Source
    device: str
    alignment_heads: "Tensor"


@dataclass(frozen=True)
class Gate:
    """When what was decoded is rejected: no speech, or nonsense that Whisper writes for it.

    `no_speech`: Whisper's own probability, which alone decides: over noise, music and silence the words may well be likely.
    `log_probability`: the mean of the tokens below it is too unlikely; an English network writes so what another language only
    resembles. `compression`: bytes of the text to those of it compressed; a sentence said again and again, as in a language
    that is not the spoken one, lies above. `shortest` (s): a rest shorter than that, after the last timestamp, is not heard
    again, since Whisper invents thanks and farewells for it.
    """

    no_speech: float = 0.6
    log_probability: float = -1.0
    compression: float = 10.0
    shortest: float = 0.3

    def reason_against(self, text: str, no_speech: float, log_probability: float) -> str:
        """Why a text with these two figures of Whisper's is rejected; empty when it is not."""
        if no_speech > self.no_speech:
            return f"no speech (Whisper: {no_speech:.2f})"
        if log_probability < self.log_probability:
            return f"unlikely words (mean log probability {log_probability:.2f})"
        said = text.encode()
        if said and (ratio := len(said) / len(zlib.compress(said))) > self.compression:
            return f"one thing repeated (compression {ratio:.1f})"
        return ""


ENGLISH_GATE = Gate(log_probability=-0.7)
"""For networks that know English alone."""


@dataclass(frozen=True)
class Piece:
    """Sound to be heard at once: `samples` [T] float32 at 16 kHz, at most 30 s, the code of its language, and the task.

    `translate` writes English whatever the language is; words that are translated have no times of their own. With
    `is_guess` another language that the network is sure of is taken. `features` [S, D] are what `first_heard` has computed.
    """

    samples: NDArray[np.float32]
    language: str
    word_times: bool = True
    gate: Gate = Gate()
    task: Task = "transcribe"
    is_guess: bool = False
    features: "Tensor | None" = None


@dataclass(frozen=True, eq=False)
class FirstHeard:
    """The most probable language (code) of a piece, and its features [S, D]."""

    language: str
    features: "Tensor"


@dataclass(frozen=True)
class Word:
    """A word with the space before it, where there is one, and its time in the piece (s)."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class SpokenSegment:
    """What is said between two timestamps (s, in the piece); `words` is empty where their times were not asked for.

    `rejected` says why the text counts for nothing; empty where it counts.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...]
    no_speech: float
    log_probability: float
    rejected: str = ""
    language: str = ""


@dataclass
class _Hearing:
    """How far a piece is heard: `mel` [n_mels, frames], its language, the first frame not heard yet, the last word's end (s)."""

    piece: Piece
    mel: "Tensor"
    language: str = ""
    seek: int = 0
    last_word: float = 0.0
    segments: list[SpokenSegment] = field(default_factory=list)

    def correct_language(self, language: str, probability: float) -> None:
        """Take another language than was guessed for the piece, where the network is sure of it."""
        if self.piece.is_guess and not self.seek and probability >= SURE_LANGUAGE:
            self.language = language

    @property
    def size(self) -> int:
        """Frames still to hear."""
        return min(FRAMES, self.mel.shape[1] - self.seek)

    def is_open(self) -> bool:
        """Whether enough is left to be heard; a piece is always heard once."""
        return self.size > (self.piece.gate.shortest * 100 if self.seek else 0)


def pieces_at_once(model: Recogniser, most: int) -> int:
    """How many pieces are decoded together, `most` of them where that fits; the memory of a GPU is seen to by its queue."""
    dims = model.network.dims
    each = 2 * 4 * dims.n_text_layer * dims.n_audio_ctx * dims.n_text_state
    return max(1, min(most, ATTENDED // each)) if model.device == "cpu" else most


def decode_pieces(model: Recogniser, pieces: Sequence[Piece]) -> list[list[SpokenSegment]]:
    """The segments of each piece, in order of time; pieces of one language and task are decoded together."""
    import torch

    with torch.inference_mode(), one_thread_each(model.device):
        mels = _mels(model, [piece.samples for piece in pieces])
        hearings = [_Hearing(piece, mel, piece.language) for piece, mel in zip(pieces, mels, strict=True)]
        while waiting := [hearing for hearing in hearings if hearing.is_open()]:
            _hear_on(model, waiting)
            trim_memory()
    return [hearing.segments for hearing in hearings]


def _hear_on(model: Recogniser, waiting: Sequence[_Hearing]) -> None:
    """Decode once what each hearing has still to hear; the large keys and values of its sound end with that."""
    features = _features(model, waiting)
    attended = model.network.decoder.attended(features)
    if model.network.is_multilingual and any(one.piece.is_guess and not one.seek for one in waiting):
        for hearing, probable in zip(waiting, _probable_languages(model, features, attended), strict=True):
            hearing.correct_language(*probable)
    tasks = [(one.language, one.piece.task) for one in waiting]
    for task in dict.fromkeys(tasks):
        rows = [row for row, own in enumerate(tasks) if own == task]
        cache = attended if len(rows) == len(tasks) else _rows_of(attended, rows)
        _hear(model, [waiting[row] for row in rows], features[rows], cache, *task)


def first_heard(model: Recogniser, sounds: Sequence[NDArray[np.float32]]) -> list[FirstHeard]:
    """The language of each sound of at most 30 s, and what it was found on; English for an English-only network."""
    import torch

    with torch.inference_mode(), one_thread_each(model.device):
        pieces, mels = [Piece(sound, "") for sound in sounds], _mels(model, sounds)
        features = _features(model, list(map(_Hearing, pieces, mels)))
        if not model.network.is_multilingual:
            return [FirstHeard("en", own) for own in features]
        found = _probable_languages(model, features, model.network.decoder.attended(features))
    return [FirstHeard(code, own) for (code, _), own in zip(found, features, strict=True)]


def _features(model: Recogniser, hearings: Sequence[_Hearing]) -> "Tensor":
    """The features [B, S, D] of what each hearing has still to hear."""
    import torch
    import whisper

    known = [None if one.seek else one.piece.features for one in hearings]
    windows = [
        whisper.pad_or_trim(one.mel[:, one.seek : one.seek + one.size], FRAMES)
        for one, features in zip(hearings, known, strict=True)
        if features is None
    ]
    size = 1 if model.device == "cpu" else FRAMES
    parts = [windows[first : first + size] for first in range(0, len(windows), size)]
    new = (row for part in parts for row in encoded(model, torch.stack(part)))
    return torch.stack([next(new) if features is None else features.to(model.device) for features in known])


def _probable_languages(model: Recogniser, features: "Tensor", attended: "Cache") -> list[tuple[str, float]]:
    """The most probable language (code) of each row, and how probable it is among all."""
    import torch
    from whisper.tokenizer import get_tokenizer

    tokenizer = get_tokenizer(True, num_languages=model.network.num_languages)
    start = torch.full((len(features), 1), tokenizer.sot, device=model.device)
    logits = model.network.decoder(start, features, {**attended})[:, 0, list(tokenizer.all_language_tokens)]
    best, places = logits.softmax(-1).max(-1)
    return [(tokenizer.all_language_codes[place], share) for place, share in zip(places.tolist(), best.tolist(), strict=True)]


def _rows_of(cache: "Cache", rows: Sequence[int]) -> "Cache":
    """The keys and values of some rows."""
    return {attention: (keys[rows], values[rows]) for attention, (keys, values) in cache.items()}


def encoded(model: Recogniser, mels: "Tensor") -> "Tensor":
    """Features [B, 1500, D] of spectrograms [B, n_mels, 3000], in the decoder's precision, which may be another one."""
    encoder, decoder = model.network.encoder, model.network.decoder
    features: Tensor = encoder(mels.to(encoder.conv1.weight.dtype))
    return features.to(decoder.token_embedding.weight.dtype)


def _mels(model: Recogniser, sounds: Sequence[NDArray[np.float32]]) -> list["Tensor"]:
    """The log-mel spectrogram [n_mels, T // 160] of each sound in float32, levelled as if silence followed, as in whisper."""
    from whisper.audio import mel_filters

    from modalities.speech.log_mel import FFT_SIZE, STEP, log_mel, on_device

    longest = max(map(len, sounds), default=0)
    heard = on_device(sounds, longest + 2 * FFT_SIZE, model.device)  # no frame that is kept reaches the end
    mels = log_mel(heard, mel_filters(heard.device, model.network.dims.n_mels))
    return [mel[:, : len(sound) // STEP] for mel, sound in zip(mels, sounds, strict=True)]


def _hear(
    model: Recogniser, hearings: Sequence[_Hearing], features: "Tensor", attended: "Cache", language: str, kind: Task
) -> None:
    """Decode what each hearing has still to hear, all of them at once, and move each on."""
    task = decoding_task(model, language, kind, attended)
    for row, (hearing, result) in enumerate(zip(hearings, task.run(features), strict=True)):
        figures = result.text, result.no_speech_prob, result.avg_logprob
        if reason := hearing.piece.gate.reason_against(*figures):
            start, hearing.seek = hearing.seek / 100, hearing.seek + hearing.size
            if result.text.strip():
                said = result.text, tuple(result.tokens), (), *figures[1:], reason, language
                hearing.segments.append(SpokenSegment(start, hearing.seek / 100, *said))
        else:
            _take(model, hearing, result, task.tokenizer, _rows_of(attended, [row]) if hearing.piece.word_times else {})


def _take(
    model: Recogniser, hearing: _Hearing, result: "DecodingResult", tokenizer: "Tokenizer", attended: "Cache"
) -> None:
    """Add the segments of a result to the hearing and move it to where the next ones begin."""
    spans, heard, ended = segment_spans(result.tokens, tokenizer.timestamp_begin, hearing.size)
    offset, seek = hearing.seek / 100, hearing.seek + heard
    found: list[dict[str, Any]] = [
        {"seek": hearing.seek, "start": offset + first, "end": offset + last, "tokens": tokens} for first, last, tokens in spans
    ]
    if hearing.piece.word_times:
        _align(model, hearing, found, tokenizer, result.audio_features, attended)
        ends = [segment["words"][-1]["end"] if segment["words"] else None for segment in found]
        hearing.last_word = next((end for end in reversed(ends) if end is not None), found[-1]["end"])
        if not ended and hearing.last_word > offset:
            seek = round(hearing.last_word * 100)
    hearing.segments += [segment for one in found for segment in _segment(one, result, tokenizer, hearing.language)]
    hearing.seek = max(seek, hearing.seek + round(hearing.piece.gate.shortest * 100))


def segment_spans(
    tokens: Sequence[int], first_timestamp: int, size: int
) -> tuple[list[tuple[float, float, list[int]]], int, bool]:
    """Cut decoded tokens at their timestamps: (start, end, tokens) a segment (s from the window's start).

    Also how many of the window's `size` frames are heard with that (two timestamps in a row at the end mean that the
    unfinished segment after them has to be heard again), and whether the last segment is finished, with nothing after it.
    """
    stamped = [token >= first_timestamp for token in tokens]
    ended = stamped[-2:] == [False, True]
    cuts = [place for place in range(1, len(tokens)) if stamped[place - 1] and stamped[place]]
    if not cuts:
        stamps = [token for token, is_stamp in zip(tokens, stamped, strict=True) if is_stamp]
        last = (stamps[-1] - first_timestamp) / 50 if stamps and stamps[-1] > first_timestamp else size / 100
        return [(0.0, last, list(tokens))], size, ended
    bounds = pairwise([0, *cuts, *([len(tokens)] if ended else [])])
    parts = [list(tokens[begin:end]) for begin, end in bounds]
    spans = [((part[0] - first_timestamp) / 50, (part[-1] - first_timestamp) / 50, part) for part in parts]
    return spans, size if ended else round(spans[-1][1] * 100), ended


def _segment(
    found: dict[str, Any], result: "DecodingResult", tokenizer: "Tokenizer", language: str
) -> Iterator[SpokenSegment]:
    """The segment that whisper's dictionary describes; none when it says nothing or takes no time."""
    text = tokenizer.decode([token for token in found["tokens"] if token < tokenizer.eot])
    if text.strip() and found["start"] != found["end"]:
        words = joined_words(found.get("words", []), tokenizer.language or "en")
        figures = result.no_speech_prob, result.avg_logprob, "", language
        yield SpokenSegment(found["start"], found["end"], text, tuple(found["tokens"]), tuple(words), *figures)


def joined_words(parts: Sequence[dict[str, Any]], language: str) -> list[Word]:
    """Whisper's parts of words as words: what is written without a space before it belongs to the word before it."""
    words: list[Word] = []
    for part in parts:
        if words and language not in NO_SPACES and not part["word"][:1].isspace():
            before = words.pop()
            words.append(Word(before.text + part["word"], before.start, max(part["end"], before.end)))
        elif part["word"].strip():
            words.append(Word(part["word"], part["start"], part["end"]))
    return words


def _align(
    model: Recogniser,
    hearing: _Hearing,
    found: list[dict[str, Any]],
    tokenizer: "Tokenizer",
    features: "Tensor",
    attended: "Cache",
) -> None:
    """Add `words` to whisper's segments, and move their starts and ends to those of their words (whisper.timing)."""
    import warnings

    from whisper import timing

    timing.dtw_cpu = cheapest_path  # the same path without a compiler
    with _ALIGNING, _ReadAttention(model, attended) as reading, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to launch Triton")  # the slower way gives the same answer
        timing.add_word_timestamps(
            segments=found, model=reading, tokenizer=tokenizer, mel=features, num_frames=hearing.size,
            last_speech_timestamp=hearing.last_word,
        )  # fmt: skip


class _ReadAttention:
    """Stands for the network where whisper reads its attention: the sound is encoded already, other layers are forgotten."""

    def __init__(self, model: Recogniser, attended: "Cache") -> None:
        self.dims, self.device, self.decoder = model.network.dims, model.network.device, model.network.decoder
        self.alignment_heads, self.attended = model.alignment_heads, attended
        self._layers = set(model.alignment_heads.indices()[0].tolist())

    def __call__(self, features: "Tensor", tokens: "Tensor") -> "Tensor":
        """Logits of zeros: whisper makes probabilities of words of them, which nobody reads; the attention is what counts."""
        self.decoder.states(tokens, features, {**self.attended})
        return features.new_zeros(1, 1, 1).expand(1, tokens.shape[-1], self.dims.n_vocab)

    def __enter__(self) -> "_ReadAttention":
        blocks = enumerate(self.decoder.blocks)
        self._hooks = [block.cross_attn.register_forward_hook(self._keep(layer in self._layers)) for layer, block in blocks]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, wanted: bool) -> Callable[[Any, Any, tuple["Tensor", "Tensor"]], tuple["Tensor", Any]]:
        def kept(_: Any, __: Any, outputs: tuple["Tensor", "Tensor"]) -> tuple["Tensor", Any]:
            attention = outputs[1].cpu() if self.device.type == "mps" else outputs[1]  # mps knows no float64
            return outputs[0], attention if wanted else (None,)

        return kept


def decoding_task(model: Recogniser, language: str, kind: Task = "transcribe", attended: "Cache | None" = None) -> "DecodingTask":
    """whisper's greedy decoding with timestamps: `run` takes features of any precision, and the rules whole batches.

    `attended` are the keys and values of the features, where they are known (`StepDecoder.attended`).
    """
    from whisper.decoding import ApplyTimestampRules, DecodingOptions, DecodingTask

    class OwnTask(DecodingTask):  # type: ignore[misc]
        def _get_audio_features(self, features: "Tensor") -> "Tensor":
            return features  # whisper's own knows two precisions only

    task = OwnTask(model.network, DecodingOptions(task=kind, language=language, temperature=0.0, fp16=False))
    task.inference = _Steps(model.network.decoder, attended)
    task.logit_filters = [
        TimestampRules(rules) if isinstance(rules, ApplyTimestampRules) else rules for rules in task.logit_filters
    ]
    return task


class _Steps:
    """whisper.decoding.PyTorchInference with a cache that knows the sound."""

    def __init__(self, decoder: "StepDecoder", attended: "Cache | None") -> None:
        self.decoder, self.attended = decoder, attended
        self.cache: Cache = {}

    def logits(self, tokens: "Tensor", features: "Tensor") -> "Tensor":
        """Logits of what may follow the tokens [B, T]; after the first call only the last token is new."""
        if self.cache:
            tokens = tokens[:, -1:]
        else:
            self.cache = {**(self.decoder.attended(features) if self.attended is None else self.attended)}
        logits: Tensor = self.decoder(tokens, features, self.cache)
        return logits

    def cleanup_caching(self) -> None:
        """Forget what was decoded."""
        self.cache = {}


class TimestampRules:
    """whisper.decoding.ApplyTimestampRules without a loop over the batch, which on a GPU costs more than the network."""

    def __init__(self, rules: Any) -> None:
        self.first, self.end_of_text = rules.tokenizer.timestamp_begin, rules.tokenizer.eot
        self.no_timestamps, self.begin = rules.tokenizer.no_timestamps, rules.sample_begin
        self.latest_start = rules.max_initial_timestamp_index

    def apply(self, logits: "Tensor", tokens: "Tensor") -> None:
        """Forbid in `logits` [B, V] what may not follow `tokens` [B, T]."""
        import torch

        infinity = float("-inf")
        logits[:, self.no_timestamps] = infinity
        if tokens.shape[1] == self.begin:
            logits[:, : self.first] = infinity
            if self.latest_start is not None:
                logits[:, self.first + self.latest_start + 1 :] = infinity
        else:
            logits.masked_fill_(self._forbidden(tokens[:, self.begin :], logits.shape[1]), infinity)
        logs = torch.log_softmax(logits.float(), -1)
        timed = logs[:, self.first :].logsumexp(-1) > logs[:, : self.first].max(-1).values
        logits[:, : self.first].masked_fill_(timed[:, None], infinity)

    def _forbidden(self, sampled: "Tensor", vocabulary: int) -> "Tensor":
        """[B, V]: timestamps come in pairs except before the end, never fall, and a segment takes some time."""
        import torch

        numbers = torch.arange(vocabulary, device=sampled.device)
        stamped = sampled >= self.first
        last = stamped[:, -1:]
        before = stamped[:, -2:-1] if sampled.shape[1] > 1 else torch.ones_like(last)
        opened = last & ~before
        lowest = sampled.masked_fill(~stamped, 0).max(1, keepdim=True).values + (~opened).long()
        falling = (numbers >= self.first) & (numbers < lowest)
        forbidden: Tensor = falling | (last & before & (numbers >= self.first)) | (opened & (numbers < self.end_of_text))
        return forbidden
