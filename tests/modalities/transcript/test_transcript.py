import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from data.batches import LONG_BATCH
from data.errors import InputError, MediaError, WeightsError
from data.languages import LANGUAGES, code_of
from data.media.subtitles import read_transcript, to_vtt
from data.tables import read_table, write_table
from data.windows import make_windows
from modalities.model_store.local import find_whisper, models_folder
from modalities.speech.detect import read_audio
from modalities.text.words import window_texts
from modalities.transcript import whisper as transcript
from modalities.transcript.decoding import PIECE, SAMPLE_RATE, Gate, Recogniser
from modalities.transcript.repetitions import clean
from tests.tiny_models import save_tiny_whisper

RATE = SAMPLE_RATE
OPEN = Gate(no_speech=1.0, log_probability=-1e9, compression=1e9)
"""Nothing is rejected: a network with random weights is never sure."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper") / "small.pt")


@pytest.fixture(scope="module")
def speech(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence of 11 s, as decoding writes it: 16 kHz, mono, 16 bit."""
    path = tmp_path_factory.mktemp("sound") / "audio.wav"
    soundfile.write(path, read_audio(shared / "datasets" / "media" / "jfk.flac"), RATE)
    return path


@pytest.fixture(scope="module")
def recogniser(checkpoint: Path) -> Recogniser:
    return transcript.load(checkpoint, precision="float32")


@pytest.mark.slow
@pytest.mark.parametrize("word_times", [False, True])
def test_recognised_words_are_those_of_whisper_called_directly(
    recogniser: Recogniser, checkpoint: Path, speech: Path, word_times: bool
) -> None:
    import whisper

    plain = replace(OPEN, shortest=0.0)
    table = transcript.transcribe(recogniser, speech, language="en", word_times=word_times, gate=plain)
    samples, _ = soundfile.read(speech, dtype="float32")
    direct = whisper.load_model(str(checkpoint), device="cpu").transcribe(
        samples, language="en", temperature=0.0, condition_on_previous_text=False, fp16=False, word_timestamps=word_times
    )
    expected = clean(pd.DataFrame({"text": [segment["text"] for segment in direct["segments"]]}))
    assert table["text"].to_list() == expected["text"].to_list()
    assert table["text"].str.len().sum() > 10
    assert table["start"].iloc[0] == pytest.approx(direct["segments"][0]["start"])
    assert table["end"].max() <= len(samples) / RATE


def test_words_of_a_later_piece_carry_the_time_of_the_clip(recogniser: Recogniser, speech: Path) -> None:
    late = transcript.transcribe(recogniser, speech, language="en", speech=[(6.0, 9.5)], gate=OPEN)
    assert not late.empty
    assert late["start"].min() >= 6.0
    assert late["end"].max() <= 9.5
    for start, end, words in zip(late["start"], late["end"], late["words"], strict=True):
        times = [time for word in words for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert start <= times[0]
        assert times[-1] <= end
    again = transcript.transcribe(recogniser, speech, language="en", speech=[(6.0, 9.5)], gate=OPEN)
    pd.testing.assert_frame_equal(late, again)


def test_the_language_is_detected_once_and_said(checkpoint: Path, speech: Path) -> None:
    import whisper.tokenizer

    table = transcript.recognise_speech(speech, checkpoint, speech=np.array([[0.0, 4.0], [8.0, 10.0]]))
    assert table["language"].nunique() == 1
    assert table["language"].iloc[0] in whisper.tokenizer.LANGUAGES


def test_without_speech_there_are_no_words(checkpoint: Path, speech: Path) -> None:
    table = transcript.recognise_speech(speech, checkpoint, speech=[])
    assert table.empty
    assert list(table.columns) == ["start", "end", "text", "language", "words", "rejected"]


def test_a_transcript_survives_the_disk_and_goes_to_windows(
    recogniser: Recogniser, speech: Path, tmp_path: Path
) -> None:
    table = transcript.transcribe(recogniser, speech, language="en", gate=OPEN)
    windows = make_windows(11.0)
    texts = window_texts(table, windows)
    assert " ".join(table["text"]) != ""
    write_table(tmp_path / "cues.parquet", table)
    assert window_texts(read_table(tmp_path / "cues.parquet"), windows) == texts
    (tmp_path / "words.vtt").write_text(to_vtt(table), encoding="utf-8")
    again = read_transcript(tmp_path / "words.vtt")
    shown = table[table["end"] > table["start"]]
    assert again["text"].to_list() == [" ".join(text.split()) for text in shown["text"]]


def test_words_are_not_timed_where_nobody_asks(recogniser: Recogniser, speech: Path) -> None:
    table = transcript.transcribe(recogniser, speech, language="en", word_times=False, gate=OPEN)
    assert table["words"].to_list() == [[]] * len(table)


def test_an_unknown_language_is_a_sentence(recogniser: Recogniser, speech: Path) -> None:
    with pytest.raises(InputError, match="small does not know the language 'Cantonese'; give one of en, zh"):
        transcript.transcribe(recogniser, speech, language="Cantonese")
    assert set(transcript.transcribe(recogniser, speech, language="German")["language"]) <= {"de"}


def test_languages_are_those_of_whisper_in_its_order() -> None:
    from whisper.tokenizer import LANGUAGES as NAMES
    from whisper.tokenizer import TO_LANGUAGE_CODE

    assert {code: names[0] for code, names in LANGUAGES.items()} == NAMES
    assert list(LANGUAGES) == list(NAMES)
    assert all(code_of(name) == code for name, code in TO_LANGUAGE_CODE.items())


@pytest.mark.parametrize("clip", ["two_speakers.wav", "talking_1.mp4"])
def test_a_real_clip_runs_through(recogniser: Recogniser, shared: Path, clip: str, tmp_path: Path) -> None:
    from data.media.decode import DecodeOptions, decode
    from data.media.probe import probe
    from modalities.speech.detect import speech_in

    found = probe(shared / "datasets" / "media" / clip)
    audio = decode(found, tmp_path, DecodeOptions(5.0, 960)).audio
    assert audio is not None
    speech = speech_in(audio)
    table = transcript.transcribe(recogniser, audio, speech=speech)
    assert len(speech)
    assert not table.empty
    assert table["start"].is_monotonic_increasing
    assert table["end"].max() <= found.duration + 0.1


def test_memory_does_not_grow_with_the_sound(checkpoint: Path, tmp_path: Path) -> None:
    """Ten minutes of sound are 38 MB as numbers; a piece of 30 s is 2 MB."""
    import tracemalloc

    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 60).astype(np.float32)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", RATE, 1) as sound:
        for _ in range(10):
            sound.write(noise)
    recogniser = transcript.load(checkpoint, precision="float32")
    transcript.transcribe(recogniser, tmp_path / "long.wav", language="en", speech=[(0.0, 1.0)])
    tracemalloc.start()
    transcript.transcribe(recogniser, tmp_path / "long.wav", language="en", speech=[(60.0, 80.0), (590.0, 600.0)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6


@pytest.mark.slow
def test_much_of_one_sentence_is_heard_once_in_little_memory(checkpoint: Path, speech: Path, tmp_path: Path) -> None:
    """As numbers twenty minutes are 77 MB; their pieces are cut out of the file one batch after the other."""
    import tracemalloc

    sentence, _ = soundfile.read(speech, dtype="float32", frames=10 * RATE)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", RATE, 1) as sound:
        for _ in range(120):
            sound.write(sentence)
    recogniser = transcript.load(checkpoint)
    asked: list[int] = []

    def counted(work: Any, model: Any, items: Any, size: int) -> Iterator[Any]:
        stream = iter(items)
        while batch := list(islice(stream, size)):
            asked.append(len(batch))
            yield from work(model, batch)

    once = replace(OPEN, shortest=30.0)  # a network with random weights leaves rests, which would be heard again
    intervals = [(10.0 * start, 10.0 * start + 9.9) for start in range(120)]
    tracemalloc.start()
    table = transcript.transcribe(
        recogniser, tmp_path / "long.wav", language="en", word_times=False, gate=once, speech=intervals, batches=counted
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6
    assert sum(asked) == 40
    assert max(asked) == LONG_BATCH
    assert len(table) > 40
    assert table["end"].iloc[-1] == pytest.approx(1200, abs=10)


def test_pieces_join_short_pauses_and_cut_long_speech_where_it_is_quiet() -> None:
    loudness = np.ones(1000, np.float32)
    loudness[255] = 0.0  # 25.5 s
    assert transcript.pieces([(0, 4), (5, 9), (20, 24)], loudness) == [(0, 9), (20, 24)]
    assert transcript.pieces([(0, 40)], loudness) == [(0, pytest.approx(25.55)), (pytest.approx(25.55), 40)]
    assert transcript.pieces([], loudness) == []
    long = transcript.pieces([(0, 100)], loudness)
    assert all(end - start <= PIECE for start, end in long)
    assert [start for start, _ in long[1:]] == [end for _, end in long[:-1]]


def _script_archive(path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))


def _pickled_program(path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(path.with_name("harmed")),)

    torch.save({"dims": Harm()}, path)


def _other_weights(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)


@pytest.mark.parametrize(
    "write", [_script_archive, _pickled_program, _other_weights, lambda path: path.write_bytes(b""), lambda path: None]
)
def test_an_unusable_checkpoint_is_refused_in_one_sentence(write: object, tmp_path: Path) -> None:
    path = tmp_path / "small.pt"
    write(path)  # type: ignore[operator]
    with pytest.raises(WeightsError, match=r"small\.pt.*; (give|copy)"):
        transcript.load(path)
    assert not (tmp_path / "harmed").exists()


def test_a_cut_checkpoint_and_wrong_shapes_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pt"
    cut.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="cut.pt is not a readable Whisper checkpoint"):
        transcript.load(cut)
    content = torch.load(checkpoint, weights_only=True)
    content["dims"]["n_text_state"] = 128
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="other.pt is not a readable Whisper checkpoint"):
        transcript.load(tmp_path / "other.pt")
    content = torch.load(checkpoint, weights_only=True)
    del content["model_state_dict"]["decoder.ln.bias"]
    torch.save(content, tmp_path / "less.pt")
    with pytest.raises(WeightsError, match=r"less.pt is not a readable Whisper checkpoint \(decoder.ln.bias is missing\)"):
        transcript.load(tmp_path / "less.pt")
    torch.save(content | {"model_state_dict": ["no weights"]}, tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="list.pt is not a readable Whisper checkpoint"):
        transcript.load(tmp_path / "list.pt")


def test_weights_that_are_cast_while_they_are_read_are_those_that_are_cast_afterwards(checkpoint: Path) -> None:
    half, whole = (transcript.load(checkpoint, precision=kind).network.state_dict() for kind in ("bfloat16", "float32"))
    assert {str(value.dtype) for value in half.values()} == {"torch.bfloat16", "torch.float32"}
    assert all(torch.equal(value, whole[name].to(value.dtype)) for name, value in half.items())
    network = transcript.read_network(checkpoint, checkpoint, lambda made: made.encoder.conv1.weight.data.zero_())
    assert network.encoder.conv1.weight.any(), "what is prepared is so before the weights come"


def test_sound_of_another_kind_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    recogniser = transcript.load(checkpoint)
    soundfile.write(tmp_path / "fast.wav", np.zeros(44_100, np.float32), 44_100)
    with pytest.raises(MediaError, match="fast.wav is not 16 kHz mono"):
        transcript.transcribe(recogniser, tmp_path / "fast.wav")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(MediaError, match="text.wav cannot be read as sound"):
        transcript.transcribe(recogniser, tmp_path / "text.wav")


def test_whisper_is_found_where_it_lies(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    assert find_whisper(environment=environment).found is None
    cached = [tmp_path / ".cache" / "whisper" / name for name in ("tiny.pt", "medium.pt")]
    for path in cached:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_whisper(environment=environment).found
    assert found is not None
    assert found.path == cached[1]
    own = models_folder(environment) / "whisper" / "mine.pt"
    own.parent.mkdir(parents=True)
    own.touch()
    found = find_whisper(environment=environment).found
    assert found is not None
    assert (found.path, found.name) == (own, "mine")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        find_whisper(tmp_path / "missing.pt", environment=environment)
