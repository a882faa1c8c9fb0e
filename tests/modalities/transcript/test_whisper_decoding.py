"""Pieces of sound decoded together: the same as one by one, and the same as whisper itself to the token."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from modalities.loading.batching import in_batches
from modalities.transcript import decoding
from modalities.transcript import whisper as transcript
from modalities.transcript.decoder import pack_vocabulary
from modalities.transcript.decoding import (
    ENGLISH_GATE,
    Gate,
    Piece,
    Recogniser,
    SpokenSegment,
    TimestampRules,
    Word,
    decode_pieces,
    decoding_task,
    encoded,
    first_heard,
    joined_words,
    segment_spans,
)
from tests.tiny_models import save_tiny_whisper

OPEN = Gate(no_speech=1.0, log_probability=-1e9, compression=1e9)
"""Nothing is rejected: a network with random weights is never sure."""
AS_WHISPER = replace(OPEN, shortest=0.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper") / "mine.pt")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Recogniser:
    return transcript.load(checkpoint, precision="float32")


def sounds() -> list[np.ndarray]:
    """Noise, tones and quiet of several lengths."""
    random = np.random.default_rng(3)
    time = np.arange(16_000 * 6) / 16_000
    return [
        random.normal(0, 0.1, 16_000 * 4).astype(np.float32),
        np.sin(440 * 6.283 * time).astype(np.float32) * 0.3,
        random.normal(0, 1e-4, 16_000 * 9).astype(np.float32),
        (np.sin(150 * 6.283 * time) * np.sin(3 * time)).astype(np.float32)[: 16_000 * 2],
    ]


def tokens_of(segments: list[SpokenSegment]) -> list[int]:
    return [token for segment in segments for token in segment.tokens]


@pytest.mark.slow
@pytest.mark.parametrize("word_times", [False, True])
def test_a_batch_gives_what_whisper_gives_for_each_piece(checkpoint: Path, model: Recogniser, word_times: bool) -> None:
    import whisper

    network = whisper.load_model(str(checkpoint), device="cpu")
    pieces = [Piece(sound, "en", word_times, AS_WHISPER) for sound in sounds()]
    together = list(in_batches(decode_pieces, model, pieces, 8))
    assert sum(map(len, together)) > 4
    assert len({tuple(tokens_of(segments)) for segments in together}) > 2
    for piece, segments in zip(pieces, together, strict=True):
        said = network.transcribe(
            piece.samples, language="en", temperature=0.0, condition_on_previous_text=False, fp16=False,
            word_timestamps=word_times,
        )  # fmt: skip
        direct = [segment for segment in said["segments"] if segment["text"].strip()]
        assert tokens_of(segments) == [token for segment in direct for token in segment["tokens"]]
        np.testing.assert_allclose([one.end for one in segments], [one["end"] for one in direct], atol=1e-4)
        if word_times:
            ends = [part["end"] for segment in direct for part in segment["words"]]
            assert {word.end for segment in segments for word in segment.words} <= set(ends)
            spoken = ["".join(word.text for word in segment.words) for segment in segments]
            assert spoken == ["".join(part["word"] for part in segment["words"]) for segment in direct]


@pytest.mark.slow
def test_pieces_of_several_languages_and_lengths_equal_single_ones(model: Recogniser) -> None:
    pieces = [Piece(sound, language, gate=OPEN) for sound, language in zip(sounds(), ["en", "de", "en", "zh"], strict=True)]
    pieces += [Piece(np.zeros(0, np.float32), "en"), Piece(np.zeros(100, np.float32), "de")]
    together = decode_pieces(model, pieces)
    assert [tokens_of(one) for one in together] == [tokens_of(decode_pieces(model, [piece])[0]) for piece in pieces]
    assert together[4:] == [[], []]


def test_words_lie_in_their_segments_in_order(model: Recogniser) -> None:
    for segments in decode_pieces(model, [Piece(sound, "en", gate=OPEN) for sound in sounds()]):
        for segment in segments:
            assert segment.words
            starts = [word.start for word in segment.words]
            assert starts == sorted(starts)
            assert "".join(word.text for word in segment.words).split() == segment.text.split()


def test_what_is_no_speech_unlikely_or_repeated_is_rejected_with_its_reason(model: Recogniser) -> None:
    sound = sounds()[0]
    (heard,) = decode_pieces(model, [Piece(sound, "en", gate=OPEN)])
    assert heard
    assert not any(segment.rejected for segment in heard)
    figures = heard[0].no_speech, heard[0].log_probability
    gates = {
        "no speech": replace(OPEN, no_speech=figures[0] / 2),
        "unlikely words": replace(OPEN, log_probability=figures[1] + 0.1),
        "one thing repeated": replace(OPEN, compression=0.01),
    }
    found = decode_pieces(model, [Piece(sound, "en", gate=gate) for gate in gates.values()])
    for reason, segments in zip(gates, found, strict=True):
        assert [segment.rejected.startswith(reason) for segment in segments] == [True] * len(segments), reason
        assert "".join(segment.text for segment in segments).strip(), "what is rejected can still be read"
        assert not any(segment.words for segment in segments)


def test_figures_of_real_networks_and_what_the_gate_says_of_them() -> None:
    """Whisper base over speech, a chord (likely words, yet no speech) and Polish taken for Turkish; tiny.en over German."""
    assert Gate().reason_against(" And so my fellow Americans", 0.02, -0.25) == ""
    assert Gate().reason_against(" Thank you.", 0.71, -0.4).startswith("no speech")
    assert Gate().reason_against(" Bu bir masa." * 60, 0.1, -0.2).startswith("one thing repeated")
    assert Gate().reason_against(" The hoister is shown.", 0.1, -0.85) == ""
    assert ENGLISH_GATE.reason_against(" The hoister is shown.", 0.1, -0.85).startswith("unlikely words")


def test_a_translation_starts_from_another_token(model: Recogniser) -> None:
    said, translated = (decoding_task(model, "de", kind).tokenizer for kind in ("transcribe", "translate"))
    assert said.sot_sequence[-1] == said.transcribe
    assert translated.sot_sequence[-1] == translated.translate
    sound = sounds()[1]
    apart = [decode_pieces(model, [Piece(sound, "de", gate=OPEN, task=task)])[0] for task in ("transcribe", "translate")]
    together = decode_pieces(model, [Piece(sound, "de", gate=OPEN, task=task) for task in ("transcribe", "translate")])
    assert [tokens_of(one) for one in together] == [tokens_of(one) for one in apart]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_hears_nearly_the_same(checkpoint: Path, model: Recogniser, precision: str) -> None:
    half = transcript.load(checkpoint, precision=precision)  # type: ignore[arg-type]
    assert precision in half.source.preprocessing
    assert all(decode_pieces(half, [Piece(sounds()[0], "en", gate=OPEN)]))
    mel = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0)) * 0.3
    features = encoded(half, mel)
    assert features.dtype == torch.float32  # the decoder's
    assert half.network.encoder.conv1.weight.dtype == getattr(torch, precision)
    difference = (features - encoded(model, mel)).abs().max()
    assert 0 < difference < 0.15


def test_the_whole_network_runs_in_half_precision(checkpoint: Path) -> None:
    """As it does on a GPU."""
    half = transcript.load(checkpoint, precision="bfloat16")
    transcript._cast(half.network, torch.bfloat16)
    (segments,) = decode_pieces(half, [Piece(sounds()[0], "en", gate=OPEN)])
    assert segments
    assert encoded(half, torch.zeros(1, 80, 3000)).dtype == torch.bfloat16
    assert all(word.start <= word.end for segment in segments for word in segment.words)


def test_languages_are_detected_together_as_alone(model: Recogniser) -> None:
    found = [heard.language for heard in first_heard(model, sounds())]
    assert found == [first_heard(model, [sound])[0].language for sound in sounds()]


def test_the_rules_of_timestamps_are_those_of_whisper(model: Recogniser) -> None:
    from whisper.decoding import ApplyTimestampRules

    task = decoding_task(model, "en")
    slow = ApplyTimestampRules(task.tokenizer, task.sample_begin, 50)
    fast, first = TimestampRules(slow), task.tokenizer.timestamp_begin
    random = torch.Generator().manual_seed(1)
    for continued in (
        [[]], [[first + 3], [first]], [[first, 5], [first + 1, 9]], [[first, 5, first + 9], [first, 5, 6]],
        [[first, 5, first + 9, first + 9], [first, 5, task.tokenizer.eot, task.tokenizer.eot]],
    ):  # fmt: skip
        tokens = torch.tensor([[*task.initial_tokens, *more] for more in continued])
        for scale in (1.0, 8.0):
            ours = torch.randn(len(tokens), 51865, generator=random) * scale
            theirs = ours.clone()
            fast.apply(ours, tokens)
            slow.apply(theirs, tokens)
            assert torch.equal(ours, theirs)


def test_tokens_are_cut_at_timestamps() -> None:
    assert segment_spans([100, 1, 2, 150], 100, 900) == ([(0.0, 1.0, [100, 1, 2, 150])], 900, True)
    assert segment_spans([100, 1, 2], 100, 900) == ([(0.0, 9.0, [100, 1, 2])], 900, False)
    pair = [(0.0, 1.0, [100, 1, 150]), (1.0, 3.0, [150, 2, 250])]
    assert segment_spans([100, 1, 150, 150, 2, 250], 100, 900) == (pair, 900, True)
    assert segment_spans([100, 1, 150, 150, 2, 250, 250, 3], 100, 900) == (pair, 300, False)


def test_parts_without_a_space_belong_to_the_word_before() -> None:
    parts = [{"word": word, "start": place, "end": place + 1} for place, word in enumerate([" well", "-known", " so"])]
    assert joined_words(parts, "en") == [Word(" well-known", 0, 2), Word(" so", 2, 3)]
    assert [word.text for word in joined_words(parts, "ja")] == [" well", "-known", " so"]


def test_heads_that_follow_the_sound_are_those_published_for_openais_checkpoints(tmp_path: Path, model: Recogniser) -> None:
    from whisper import _ALIGNMENT_HEADS, ModelDimensions, Whisper

    tiny = Whisper(ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4))
    tiny.set_alignment_heads(_ALIGNMENT_HEADS["tiny"])
    torch.save({"dims": vars(tiny.dims), "model_state_dict": tiny.state_dict()}, tmp_path / "tiny.pt")
    found = transcript.load(tmp_path / "tiny.pt", precision="float32").alignment_heads
    assert torch.equal(found.to_dense(), tiny.alignment_heads.to_dense())
    assert model.alignment_heads.to_dense().tolist() == [[False, False], [True, True]]


def test_a_packed_vocabulary_chooses_as_the_exact_one(checkpoint: Path) -> None:
    exact, packed = (transcript.load(checkpoint, precision="float32").network.decoder for _ in range(2))
    pack_vocabulary(type("Network", (), {"decoder": packed}))
    random = torch.Generator().manual_seed(2)
    tokens, features = torch.randint(0, 50_000, (3, 9), generator=random), torch.randn(3, 1500, 64, generator=random)
    with torch.inference_mode():
        wanted, found = exact(tokens, features), packed(tokens, features)
    assert not torch.equal(wanted, found)
    likely = wanted.topk(8).indices
    torch.testing.assert_close(found.gather(-1, likely), wanted.gather(-1, likely))
    torch.testing.assert_close(found[..., 50_257:], wanted[..., 50_257:])
    torch.testing.assert_close(found, wanted, atol=0.05 * float(wanted.std()), rtol=0.05)


def test_a_cache_that_knows_the_sound_gives_what_all_tokens_at_once_give(model: Recogniser) -> None:
    random = torch.Generator().manual_seed(2)
    tokens, features = torch.randint(0, 50_000, (2, 6), generator=random), torch.randn(2, 1500, 64, generator=random)
    decoder = model.network.decoder
    with torch.inference_mode():
        cache = {**decoder.attended(features)}
        parts = [tokens[:, :3], tokens[:, 3:4], tokens[:, 4:5], tokens[:, 5:]]
        stepwise = torch.cat([decoder(part, features, cache) for part in parts], 1)
        torch.testing.assert_close(stepwise, decoder(tokens, features), atol=1e-3, rtol=1e-3)


def test_a_piece_in_another_language_is_written_in_its_own(model: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest piece says what the others are taken for; only one that is plainly another is not."""
    monkeypatch.setattr(decoding, "_probable_languages", lambda *_: [("pl", 0.95), ("nn", 0.4)])
    for is_guess, languages in ((True, ["pl", "en"]), (False, ["en", "en"])):
        pieces = [Piece(sound, "en", gate=OPEN, is_guess=is_guess) for sound in sounds()[:2]]
        assert [{one.language for one in found} for found in decode_pieces(model, pieces)] == [{code} for code in languages]


def test_what_the_language_was_found_on_is_not_encoded_again(model: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = sounds()[0]
    (first,) = first_heard(model, [sound])
    fresh = decode_pieces(model, [Piece(sound, first.language, gate=OPEN)])
    monkeypatch.setattr(decoding, "encoded", lambda *_: pytest.fail("encoded again"))
    (found,) = decode_pieces(model, [Piece(sound, first.language, gate=replace(OPEN, shortest=30.0), features=first.features)])
    assert tokens_of(found) == tokens_of(fresh[0])[: len(tokens_of(found))]
    assert found


def test_on_processors_one_thread_decodes_and_the_others_are_left_as_they_were(
    model: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, before = [], torch.get_num_threads()
    really = decoding.encoded
    monkeypatch.setattr(decoding, "encoded", lambda *given: (seen.append(torch.get_num_threads()), really(*given))[1])
    try:
        torch.set_num_threads(2)
        first_heard(model, sounds()[:1])
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
