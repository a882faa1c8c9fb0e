"""The words of a clip: heard, refused, switched off, given."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from configs.settings import Settings, load_settings
from data.errors import InputError, WeightsError
from data.media.clip import Clip
from data.media.probe import probe
from data.media.subtitles import read_transcript
from data.run_folder import RunFolder
from data.tables import read_notes, read_table, write_table
from flows.backends import backend_of
from flows.backends.base import NotHere
from flows.backends.score_inputs import Scored, watching
from flows.backends.score_table import absent, measured, score_table
from flows.backends.text import _cues
from flows.backends.transcript import WHISPER
from flows.cli.options import words_overrides
from flows.clip.steps.decode import decode
from flows.clip.steps.publish import entry_of_words
from flows.clip.steps.transcript import find_words
from flows.job import Brought, Job
from modalities.loading.devices import precision_of
from modalities.model_store.local import find_whisper
from modalities.transcript import whisper as transcript
from modalities.transcript.word_errors import plain_words
from tests.media_makers import make_clip
from tests.tiny_models import make_unsure, save_tiny_whisper
from tests.tiny_voice import save_layer


@pytest.fixture
def whisper_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Whisper with random weights where Dyad looks for one."""
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path / "models"))
    return save_tiny_whisper(tmp_path / "models" / "whisper" / "base.pt")


def decoded(clip: Path, output: Path, *, settings: Settings | None = None, transcript: Path | None = None) -> Job:
    """A job whose sound is decoded."""
    job = Job(probe(clip), RunFolder(output), settings or load_settings(), Brought(transcript))
    job.folder.create()
    job.folder.mark_done("decode", "key", 0.0, dict(decode(job)))
    return job


def overridden(language: str | None = None, no_words: bool = False) -> Settings:
    """The settings that `dyad run` makes of its options."""
    return load_settings(overrides=words_overrides(language, no_words))


def test_words_are_heard_and_the_transcript_says_by_whom(whisper_here: Path, shared: Path, tmp_path: Path) -> None:
    job = decoded(shared / "datasets" / "media" / "jfk.flac", tmp_path / "run", settings=overridden("en"))
    assert find_words(job) == {"origin": "Whisper base, en", "notes": [], "problems": []}
    assert job.folder.transcript.read_text().startswith("WEBVTT\n\nNOTE Words: Whisper base, en.\n")
    assert read_transcript(job.folder.transcript)["text"].to_list() == _cues(job)["text"].to_list()
    before = WHISPER.inputs(job)
    make_unsure(whisper_here)
    assert WHISPER.inputs(job) != before


def test_what_nobody_should_believe_is_absent_and_can_be_read(whisper_here: Path, shared: Path, tmp_path: Path) -> None:
    make_unsure(whisper_here)
    job = decoded(shared / "datasets" / "media" / "jfk.flac", tmp_path / "run", settings=overridden("en"))
    assert str(find_words(job)["absent"]).startswith("What was heard is not believed: ")
    assert not job.folder.transcript.exists()
    assert read_table(job.folder.cues).empty
    words = entry_of_words(job)
    assert all(row["reason"] and row["text"] for row in words["rejected"])
    assert words["origin"] == ""
    assert words["rejected"] == read_notes(job.folder.cues)["rejected"] != []
    with pytest.raises(NotHere, match="not believed") as absent:
        _cues(job)
    assert absent.value.remedy == transcript.GIVE_WORDS


def test_voice_and_words_hear_with_the_same_lower_blocks(whisper_here: Path, tmp_path: Path) -> None:
    import torch

    layer = save_layer(tmp_path / "voice.safetensors", whisper_here)
    settings = load_settings(overrides={"voice": {"weights": layer}})
    voice, words = backend_of(settings, "voice").load(settings), WHISPER.load(settings)
    own, theirs = voice.states.encoder, words.network.encoder  # type: ignore[attr-defined]
    for part in ("conv1", "conv2", "blocks"):
        pairs = zip(getattr(own, part).parameters(), getattr(theirs, part).parameters(), strict=True)
        assert all(one is other for one, other in pairs)
    assert next(theirs.parameters()).dtype == precision_of("cpu")
    mel, alone = torch.randn(1, 80, 3000).to(precision_of("cpu")), transcript.load(whisper_here)
    with torch.inference_mode():
        assert torch.equal(theirs(mel), alone.network.encoder(mel))


def test_no_words_hears_none_and_given_ones_win(whisper_here: Path, shared: Path, tmp_path: Path) -> None:
    clip, settings = shared / "datasets" / "media" / "jfk.flac", overridden(no_words=True)
    assert find_words(decoded(clip, tmp_path / "off", settings=settings))["absent"] == transcript.OFF_REASON
    given = tmp_path / "words.vtt"
    given.write_text("WEBVTT\n\n00:00.000 --> 00:05.000\nWhat a wonderful surprise\n")
    job = decoded(clip, tmp_path / "given", settings=settings, transcript=given)
    assert find_words(job)["origin"] == "words.vtt"
    written = job.folder.transcript.read_text()
    assert "NOTE Words: words.vtt." in written
    assert "What a wonderful surprise" in written


def test_without_whisper_the_words_are_absent_with_the_command_that_fetches_it(shared: Path, tmp_path: Path) -> None:
    job = decoded(shared / "datasets" / "media" / "jfk.flac", tmp_path / "run")
    assert find_words(job)["absent"] == transcript.ABSENT_REASON
    assert "./dyad models download whisper-base" in read_notes(job.folder.cues)["remedy"]


@pytest.mark.parametrize(
    ("level", "reason"), [(None, "The file has no sound."), (0.0, "Nobody speaks: no speech"), (0.05, "Nobody speaks: no speech")]
)
def test_where_there_is_nothing_to_hear_whisper_is_not_what_lacks(
    level: float | None, reason: str, whisper_here: Path, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=1, sound=None)
    if level is not None:
        clip = tmp_path / "clip.wav"
        soundfile.write(clip, np.random.default_rng(0).normal(0, level, 32_000), 16_000)
    job = decoded(clip, tmp_path / "run")
    assert str(find_words(job)["absent"]).startswith(reason)
    assert not job.folder.transcript.exists()
    with pytest.raises(NotHere, match=reason) as absent:
        _cues(job)
    assert absent.value.remedy == transcript.GIVE_WORDS
    if level is None:
        whisper_here.unlink()
        assert find_words(job)["absent"] == reason


def test_the_wanted_size_goes_before_others(whisper_here: Path, tmp_path: Path) -> None:
    environment = {"DYAD_MODELS": str(tmp_path / "models"), "HOME": str(tmp_path)}
    for name in ("small.pt", "tiny.en.safetensors"):
        whisper_here.with_name(name).touch()
    found = [find_whisper(preferred=size, environment=environment).found for size in ("base", "tiny.en", "medium")]
    assert [model.name for model in found if model] == ["base", "tiny.en", "small"]
    named = find_whisper(name="small", preferred="base", environment=environment).found
    assert named is not None
    assert named.name == "small"


def test_the_text_network_reads_the_english_of_another_language(tmp_path: Path) -> None:
    job = Job(Clip(tmp_path / "clip.wav", "clip-0", "0" * 64, 3.0, has_audio=True), RunFolder(tmp_path / "run"), load_settings())
    job.folder.create()
    cues = pd.DataFrame({"start": [0.0, 2.0], "end": [2.0, 3.0], "text": ["Co za dzień!", "Hm."], "language": "pl",
                         "words": [[], []], "english": ["What a day!", ""]})  # fmt: skip
    write_table(job.folder.cues, cues, {"origin": "Whisper base, pl, translated into English by it"})
    read = _cues(job)
    assert read["text"].to_list() == ["What a day!", "Hm."]
    assert read["language"].to_list() == ["en", "pl"]
    assert read["translated"].to_list() == [True, False]
    spoken = pd.DataFrame([{"word": " Nice", "start": 2.0, "end": 2.5}]).to_dict("records")
    mixed = cues.assign(language=["pl", "en"], english=["What a day!", ""], text=["Co za dzień!", "Nice."])
    mixed["words"] = pd.Series([spoken, spoken])
    write_table(job.folder.cues, mixed, {"origin": "Whisper base, en, pl, translated into English by it"})
    read = _cues(job)
    assert read["text"].to_list() == ["What a day!", "Nice."]
    assert read["translated"].to_list() == [True, False]
    assert [len(words) for words in read["words"]] == [0, 1], "times of foreign words are not those of their English"


def test_files_are_written_down_and_wrong_words_counted(whisper_here: Path, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    clip = shared / "datasets" / "media" / "jfk.flac"
    table = pd.DataFrame({"path": [clip, "broken.wav", clip], "language": ["en", "", "pl"]})
    table.to_csv(tmp_path / "in.csv", index=False)
    told: list[Scored] = []
    with watching(told.append):
        answers = score_table("words", tmp_path / "in.csv", tmp_path / "out.csv", load_settings())
    assert told == [Scored(done, 3) for done in range(4)]
    assert measured(tmp_path / "in.csv", answers) == ""
    assert absent(answers) == 1
    assert "broken.wav holds text, not video or sound" in answers.reasons[str(tmp_path / "broken.wav")]
    rows = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert rows.columns.to_list() == ["input", "text", "language", "rejected"]
    assert rows["language"].to_list() == ["en", "", "pl"]
    said = [rows["text"][0], "lost", f"{rows['text'][2].upper()}! one two"]
    table.assign(transcript=said, speaker=["a", "b", "b"]).to_csv(tmp_path / "in.csv", index=False)
    answers = score_table("words", tmp_path / "in.csv", tmp_path / "out.csv", load_settings())
    rows = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert rows["errors"].to_list() == [0, 1, 2]
    total = int(rows["words"].sum())
    assert total == sum(len(plain_words(text)) for text in said)
    assert measured(tmp_path / "in.csv", answers).startswith(
        f"3 with a transcript, 2 speakers or groups: word error rate {300 / total:.1f} % (0.0 to "
    )


def test_words_of_a_table_are_not_written_without_whisper(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="./dyad models download whisper-base"):
        score_table("words", shared / "datasets" / "media", tmp_path / "out.csv", load_settings())
    with pytest.raises(InputError, match="'transcript' cannot score tables; use one of .*words"):
        score_table("transcript", shared / "datasets" / "media", tmp_path / "out.csv", load_settings())
