"""Voice: who speaks when, what absent means, by whose reference, and that scores do not depend on level, batch or file format."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from data.emotions import BASIC_EMOTIONS
from data.errors import MediaError, WeightsError
from data.scores import Scores
from data.windows import make_windows
from modalities.loading.checkpoint import WEIGHTS_FOLDER, save_checkpoint
from modalities.speech.detect import CHUNK, SAMPLE_RATE, SPEECH_NEEDED, Wave, find_speech, load_detector, segments_of
from modalities.speech.windows import Heard, recognise_with, score_audio_with
from modalities.voice import embedded as voice
from modalities.voice.said import said_reference
from modalities.voice.whisper_states import load_states
from tests.tiny_voice import save_layer, save_whisper

RATE = SAMPLE_RATE


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def model(whisper: Path) -> voice.Voice:
    return voice.load(load_states(whisper), save_layer(whisper.with_name("voice.safetensors"), whisper))


@pytest.fixture(scope="module")
def speakers(shared: Path) -> Path:
    """30 s at 16 kHz mono; nobody speaks in the first 6.7 s."""
    return shared / "datasets" / "media" / "two_speakers.wav"


@pytest.fixture(scope="module")
def wave(speakers: Path) -> Wave:
    return soundfile.read(speakers, dtype="float32")[0]


def tone(seconds: float, pitch: float = 220.0) -> Wave:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seconds: float) -> Wave:
    return np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def write(path: Path, samples: Wave, rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate)
    return path


@pytest.mark.parametrize("sound", [tone(9), noise(9), np.zeros(9 * RATE, np.float32)], ids=["tone", "noise", "silence"])
def test_without_speech_the_voice_is_absent_and_says_why(model, tmp_path, sound):
    scores = voice.hear_clip(model, write(tmp_path / "audio.wav", sound), make_windows(9.0))
    assert scores.is_absent
    assert np.isnan(scores.probabilities).all()
    assert "no speech" in scores.reason
    assert scores.remedy.endswith(".")


@pytest.mark.parametrize("audio", [None, Path("nowhere") / "audio.wav"])
def test_a_clip_without_sound_is_absent(model, audio):
    scores = voice.hear_clip(model, audio, make_windows(5.0))
    assert scores.is_absent
    assert "no sound" in scores.reason


def test_an_empty_sound_is_absent(model, tmp_path):
    assert voice.hear_clip(model, write(tmp_path / "audio.wav", np.zeros(0, np.float32)), make_windows(2.0)).is_absent


def test_windows_with_speech_have_scores_and_the_others_do_not(model, speakers):
    windows = make_windows(30.0)
    scores = voice.hear_clip(model, speakers, windows)
    assert scores.modality == "voice"
    assert scores.present.tolist() == [False, False] + [True] * 12
    assert np.isnan(scores.probabilities[:2]).all()
    assert scores.probabilities[2:].sum(1) == pytest.approx(1.0, abs=1e-4)
    assert scores.features.shape == (14, model.states.width)
    assert scores.features.dtype == np.float16
    assert (scores.features[:2] == 0).all()
    assert scores.source.revision


def test_the_evidence_counts_speech_in_seconds(model, speakers):
    """The release of the authors divides samples by seconds there, so that any speech at all passes."""
    windows = make_windows(30.0)
    evidence = voice.hear_clip(model, speakers, windows).evidence
    per_window = evidence.groupby("window").first().speech_seconds
    assert list(per_window.index) == list(range(len(windows)))
    assert per_window[0] == 0.0
    assert per_window[2] == pytest.approx(0.86, abs=0.1)
    assert per_window.max() <= 4.0
    spoken = evidence.dropna()
    assert (spoken.start >= windows[spoken.window, 0]).all()
    assert (spoken.end <= windows[spoken.window, 1]).all()
    assert (spoken.end - spoken.start).groupby(spoken.window).sum().to_numpy() == pytest.approx(per_window[per_window > 0])


def lengths(model: list[int], waves: list[Wave]) -> list[Heard]:
    """Notes how many samples it is given; hears nothing of the seven in utterances under two seconds."""
    model += [len(wave) for wave in waves]
    even = np.full(len(BASIC_EMOTIONS), 1 / len(BASIC_EMOTIONS), np.float32)
    return [Heard(even if len(wave) > 2 * RATE else even * np.nan, np.float32([len(wave)])) for wave in waves]


def test_another_network_can_hear_the_same_speech(model, speakers):
    windows, heard = make_windows(30.0), []
    scores = recognise_with(model.detector, lengths, heard, model.layer.source, speakers, windows, batch=5)
    ours = voice.hear_clip(model, speakers, windows)
    assert len(heard) == ours.present.sum() == 12
    assert scores.features[ours.present, 0].tolist() == heard
    assert min(heard) < 2 * RATE < max(heard) <= 4 * RATE
    assert scores.present.sum() == sum(length > 2 * RATE for length in heard)  # NaN is no answer
    assert scores.evidence.equals(ours.evidence)


def test_a_network_may_hear_whole_windows(model, speakers):
    heard: list[int] = []
    recognise_with(model.detector, lengths, heard, model.layer.source, speakers, make_windows(30.0), whole=True)
    assert heard == [4 * RATE] * 12
    files = [speakers]
    assert score_audio_with(model.detector, lengths, heard, files, make_windows, whole=True).reasons == ("",)
    assert heard == [4 * RATE] * 24


def test_a_network_that_hears_none_of_the_seven_says_so(model, speakers):
    scores = recognise_with(model.detector, lengths, [], model.layer.source, speakers, make_windows(30.0)[2:3])
    assert scores.is_absent
    assert "none of the seven" in scores.reason


@pytest.mark.slow
def test_batches_of_any_size_give_the_same(model, speakers):
    one, many = (voice.hear_clip(model, speakers, make_windows(30.0), batch=size) for size in (1, 50))
    assert np.array_equal(one.probabilities, many.probabilities, equal_nan=True)


def test_too_little_speech_is_absent_but_shown(model, wave, tmp_path):
    silence = np.zeros(2 * RATE, np.float32)
    short = np.concatenate([silence, wave[int(9.0 * RATE) : int(9.33 * RATE)], silence])
    scores = voice.hear_clip(model, write(tmp_path / "audio.wav", short), make_windows(4.33))
    assert scores.is_absent
    assert scores.evidence.speech_seconds.max() < SPEECH_NEEDED


def test_a_window_scores_the_same_alone_and_among_others(model, speakers):
    windows = make_windows(30.0)
    among = voice.hear_clip(model, speakers, windows)
    alone = voice.hear_clip(model, speakers, windows[7:8])
    assert alone.probabilities[0] == pytest.approx(among.probabilities[7], abs=1e-5)


def test_the_level_of_the_recording_does_not_matter(model, wave):
    loud, quiet = (voice.hear_batch(model, [wave[10 * RATE : 13 * RATE] * gain])[0].probabilities for gain in (1.0, 0.2))
    assert quiet == pytest.approx(loud, abs=0.02)


def test_the_speech_detector_answers_as_its_package(wave):
    threads = torch.get_num_threads()
    import silero_vad

    theirs = silero_vad.load_silero_vad().audio_forward(torch.from_numpy(wave[: 20 * RATE // 512 * 512]), RATE)[0]
    torch.set_num_threads(threads)  # the import sets them to one
    with torch.inference_mode():
        ours, _ = load_detector()(torch.from_numpy(np.pad(wave[: 20 * RATE // 512 * 512], (64, 0))))
    assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-4)


def test_speech_is_found_alike_whole_and_in_blocks(model, wave):
    blocks = [wave[start : start + 100 * 512] for start in range(0, len(wave), 100 * 512)]
    assert find_speech(model.detector, blocks) == pytest.approx(find_speech(model.detector, [wave]))


def test_segments_start_at_half_last_through_short_pauses_and_drop_clicks():
    probabilities = np.zeros(100, np.float32)
    probabilities[10:12] = 0.9  # a click of 64 ms
    probabilities[29] = 0.4  # not yet speech
    probabilities[30:50] = 0.8
    probabilities[40:42] = 0.1  # a pause of 64 ms
    probabilities[50] = 0.4  # still speech
    chunk = CHUNK / RATE
    assert segments_of(probabilities, 3.2) == pytest.approx(np.array([[30 * chunk - 0.03, 51 * chunk + 0.03]]))


def test_files_of_any_format_rate_and_length_are_scored(model, shared, tmp_path, wave):
    media = shared / "datasets" / "media"
    stereo = write(tmp_path / "étude 1.flac", np.stack([wave, wave], 1)[10 * RATE : 13 * RATE], RATE)
    files = [media / "jfk.flac", media / "talking_1.mp4", stereo, media / "two_speakers.wav"]
    scores = voice.score_audio(model, files, make_windows, asked="none")
    assert scores.probabilities.shape == (4, len(BASIC_EMOTIONS))
    assert scores.probabilities.sum(1) == pytest.approx(1.0, abs=1e-4)
    assert scores.reasons == ("",) * 4
    alone = voice.score_audio(model, files[2:3], make_windows, asked="none").probabilities[0]
    assert alone == pytest.approx(scores.probabilities[2], abs=1e-6)


def test_a_file_without_an_answer_has_a_nan_row_and_a_reason(model, tmp_path):
    text = tmp_path / "notes.wav"
    text.write_text("these are words, not sound")
    files = [write(tmp_path / "tone.wav", tone(3)), text, tmp_path / "missing.flac"]
    scores = voice.score_audio(model, files, make_windows)
    assert np.isnan(scores.probabilities).all()
    for file, reason in zip(files, scores.reasons, strict=True):
        assert str(file) in reason
        assert reason.endswith(".")


def test_score_voice_cuts_long_files_as_the_settings_say(shared, tmp_path, model, whisper, monkeypatch):
    from configs.settings import load_settings
    from flows.backends.score_table import score_table

    monkeypatch.setenv("DYAD_MODELS", str(whisper.parents[1]))
    (tmp_path / "voices.csv").write_text(f"path\n{shared / 'datasets' / 'media' / 'jfk.flac'}\n")

    def heard(length: float) -> np.ndarray:
        own = {"weights": str(whisper.with_name("voice.safetensors"))}
        settings = load_settings(overrides={"windows": {"length": length, "shift": length / 2}, "voice": own})
        return score_table("voice", tmp_path / "voices.csv", tmp_path / "out.csv", settings).basic

    assert not np.allclose(heard(4.0), heard(20.0), atol=0.01)
    assert heard(20.0) == pytest.approx(heard(12.0), abs=1e-6)  # one window either way: the file lasts 11 s


def test_no_files_no_rows(model):
    assert voice.score_audio(model, [], make_windows).probabilities.shape == (0, 7)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2)])
def test_sound_that_the_decoder_did_not_write_is_refused(model, tmp_path, rate, channels):
    path = write(tmp_path / "audio.wav", np.zeros((rate, channels), np.float32), rate)
    with pytest.raises(MediaError, match="audio.wav"):
        voice.hear_clip(model, path, make_windows(1.0))


def test_a_damaged_sound_is_refused(model, tmp_path):
    (tmp_path / "audio.wav").write_bytes(b"RIFF" + bytes(50))
    with pytest.raises(MediaError, match="audio.wav"):
        voice.hear_clip(model, tmp_path / "audio.wav", make_windows(1.0))


def test_weights_of_something_else_are_refused(whisper, tmp_path):
    with pytest.raises(WeightsError, match="no weights"):
        voice.load(load_states(whisper), tmp_path / "missing.safetensors")
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, {"weight": torch.zeros(2)}, {}, {"modality": "other"})
    with pytest.raises(WeightsError, match="dyad train voice"):
        voice.load(load_states(whisper), other)


def test_another_whisper_than_the_layer_knows_is_refused(whisper, tmp_path):
    with pytest.raises(WeightsError, match="is not the one that the voice was trained with.*download whisper-base"):
        voice.load(load_states(whisper))  # the shipped layer knows Whisper base


def test_the_shipped_layer_is_small_and_ready_for_fusion_by_features():
    layer = voice.load_layer()
    assert layer.weight.shape == (7, 2048)
    assert layer.centroids.shape == (7, 7)
    assert (layer.centroids.argmax(1) == np.arange(7)).all(), "each emotion's own answer is the highest of its mean answers"
    assert 0.3 < layer.temperature < 3.2
    assert (WEIGHTS_FOLDER / "voice.safetensors").stat().st_size < 100_000


# ---- by whose reference


def moods(count: int, shown: int, seed: int, throat: float = 0.0) -> np.ndarray:
    """States of utterances in which the first `shown` of seven moods take turns, each in its own number, and a throat in the
    rest."""
    states = np.random.default_rng(seed).normal(0, 0.3, (count, 16)).astype(np.float32)
    states[np.arange(count), np.arange(count) % shown] += 4.0
    states[:, 7:] += throat
    return states


@pytest.fixture(scope="module")
def layer(model: voice.Voice) -> voice.Layer:
    """A layer that answers by the first seven numbers, and takes the throat for anger."""
    weight = np.eye(7, 16, dtype=np.float32)
    weight[1, 7:] = 0.5
    spread = voice.moments_of(moods(70, 7, 1), moods(70, 7, 1) @ weight.T).spread
    zeros, ones = np.zeros(16, np.float32), np.ones(16, np.float32)
    return voice.Layer(weight, np.zeros(7, np.float32), zeros, ones, spread, 2.0, "", 1.0, np.eye(7, dtype=np.float32),
                       model.layer.source)  # fmt: skip


def heard(states: np.ndarray, seconds: float = 2.0) -> Scores:
    """What a clip of windows beside one another would give, all of it speech."""
    count = len(states)
    windows = np.stack([np.arange(count), np.arange(count) + 1], 1) * seconds
    even = np.full((count, 7), 1 / 7, np.float32)
    evidence = pd.DataFrame({"window": range(count), "speech_seconds": seconds, "start": windows[:, 0], "end": windows[:, 1]})
    return Scores("voice", windows, even, np.ones(count, bool), features=states.astype(np.float16), evidence=evidence)


def test_a_clip_of_many_moods_is_judged_by_its_own_voice(layer):
    states = moods(28, 7, 2, throat=1.0)
    alone, own = (voice.relate(layer, heard(states), kind) for kind in ("none", "clip"))
    assert (alone.probabilities.argmax(1) == np.arange(28) % 7).mean() < 0.5, "the throat is taken for anger"
    assert (own.probabilities.argmax(1) == np.arange(28) % 7).mean() > 0.8
    told = own.evidence.iloc[0]
    assert (told["reference"], told["reference_seconds"]) == ("clip", 56.0)
    assert told["trust"] == pytest.approx(28 / (28 + 8))
    assert alone.evidence["reference"].unique().tolist() == ["training"]
    assert said_reference(own.evidence) == (
        "Judged relative to how the clip usually sounds, known from 56 s of speech."
    )
    assert "by how the voices of the training sound" in said_reference(alone.evidence)
    assert own.features.shape == (28, 7)
    assert own.features.mean(1) == pytest.approx(0, abs=1e-5)


def test_a_clip_of_one_mood_keeps_it(layer):
    sad = moods(28, 1, 2)
    sad = np.roll(sad, 5, axis=1)
    sad[:, :5], sad[:, 7:] = 0, 0
    own = voice.relate(layer, heard(sad), "speaker")
    assert own.evidence["reference"].unique().tolist() == ["training"]
    assert own.evidence["trust"].max() == 0
    assert (own.probabilities.argmax(1) == 5).all()


def test_a_known_speaker_goes_before_the_clip(layer):
    references = voice.References(layer.training.reference)
    for clip in range(4):
        states = moods(14, 7, clip, throat=1.0)
        references.add("Anna", f"a{clip}", layer.moments(states, 28.0), 28.0)
        references.add("Bert", f"b{clip}", layer.moments(moods(14, 7, 9 + clip), 28.0), 28.0)
    one = heard(moods(3, 3, 5, throat=1.0))
    by_clip, by_speaker, by_data_set = (
        voice.relate(layer, one, kind, references.of(name))
        for kind, name in (("clip", "Anna"), ("speaker", "Anna"), ("dataset", ""))
    )
    assert (by_speaker.probabilities.argmax(1) == np.arange(3)).all()
    assert by_speaker.evidence.iloc[0][["reference", "reference_seconds"]].tolist() == ["speaker", 112.0]
    assert by_data_set.evidence.iloc[0][["reference", "reference_seconds"]].tolist() == ["data set", 224.0]
    assert by_clip.evidence.iloc[0]["reference"] == "clip"
    assert voice.relate(layer, one, "speaker", references.of("")).evidence.iloc[0]["reference"] == "clip"


def test_two_voices_in_a_clip_have_a_reference_each(layer):
    states = np.concatenate([moods(28, 7, 2, throat=1.0), moods(28, 7, 3, throat=-1.0)])
    turns = pd.DataFrame({"start": [0.0, 56.0, 111.0], "end": [57.0, 110.0, 112.0], "speaker": ["A", "B", "B"]})
    both = heard(states)
    assert voice.voice_of_windows(turns, both.windows).tolist() == ["A"] * 28 + ["B"] * 27 + ["B"]
    together, apart = voice.relate(layer, both), voice.relate(layer, both, turns=turns)
    right = np.tile(np.arange(28) % 7, 2)
    assert (apart.probabilities.argmax(1) == right).mean() > (together.probabilities.argmax(1) == right).mean() + 0.2
    assert apart.evidence["reference"].unique().tolist() == ["speaker"]
    assert apart.evidence["reference_seconds"].unique().tolist() == [56.0]
    assert "the speaker usually sounds, known from 56 s" in said_reference(apart.evidence)
    silent = turns.assign(end=turns["start"])
    assert voice.relate(layer, both, turns=silent).evidence["reference"].unique().tolist() == ["clip"]


def test_what_is_like_nothing_in_training_is_told(layer):
    strange = voice.relate(layer, heard(np.concatenate([moods(3, 3, 1), 10 * moods(3, 3, 1)])), "none").evidence
    assert (strange["unlike_training"] > 1).tolist() == [False] * 3 + [True] * 3
    assert said_reference(strange).endswith(" In 3 of 6 windows the voice is like nothing heard in training.")
    assert said_reference(strange.head(0)) == said_reference(pd.DataFrame()) == ""


def test_stretches_of_windows_that_overlap_count_once():
    rows = pd.DataFrame({"window": [0, 1, 1, 2], "start": [1.0, 2.0, 5.0, np.nan], "end": [4.0, 4.0, 5.5, np.nan]})
    assert voice.seconds_of_speech(rows) == pytest.approx(3.5)
    assert voice.seconds_of_speech(rows[3:]) == 0


def test_files_are_judged_by_their_speakers_other_files(model, speakers, shared):
    files = [speakers, shared / "datasets" / "media" / "jfk.flac"]
    done: list[int] = []
    alone = voice.score_audio(model, files, make_windows, on_file=done.append).probabilities
    same = voice.score_audio(model, files, make_windows, ["Anna", "Anna"]).probabilities
    assert done == [1, 2]
    assert np.allclose(alone.sum(1), 1, atol=1e-4)
    assert not np.allclose(alone, same, atol=1e-4)
    by_all, by_clip = (
        [voice.score_audio(model, files, make_windows, names, asked).probabilities for names in ((), ["Anna", "Ben"])]
        for asked in ("dataset", "clip")
    )
    assert np.array_equal(*by_all)
    assert np.array_equal(*by_clip)
    assert not np.allclose(by_all[0], by_clip[0], atol=1e-4)
