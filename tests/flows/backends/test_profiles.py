"""Profiles cpu, gpu and ras end to end: tiny models where `dyad models download` puts the real ones, through the real flow."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from configs.settings import Settings, load_settings
from data.emotions import BASIC_EMOTIONS
from data.run_folder import RunFolder
from data.sample import sample_clip
from data.scores import MODALITIES
from flows.backends import MODULES, NotHere, backend_of, backends_of
from flows.backends.own_networks import shipped_weights
from flows.doctor import look
from flows.runtime.events import Event, listening
from flows.runtime.model_cache import model_cache
from flows.video import recognise_video
from modalities.model_store.table import model_table
from tests.tiny_profiles import download_tiny, save_heads
from tests.tiny_voice import save_layer, save_whisper

Dyad = Callable[..., tuple[int, str, str]]
ReadResult = Callable[[RunFolder], dict[str, Any]]
DESCRIPTIONS = sample_clip().with_name("sample_descriptions.csv")
FEW_WORDS = {"DYAD_SCENE_CONTEXT__VISION__MAX_TOKENS": "12", "DYAD_SCENE_CONTEXT__VISION__PIXELS": "12544"}
AFTER = {"fuse", "compose", "publish"}
OWN = "embedded"
BACKENDS = {
    "cpu": {"static_face": OWN, "dynamic_face": OWN, "scene_labels": "CLIP-ViT-B-32-laion2B-s34B-b79K", "scene_context": OWN,
            "voice": OWN, "text": "emotion-english-distilroberta-base"},
    "gpu": {"static_face": "vit-face-expression", "dynamic_face": OWN, "scene_labels": "CLIP-ViT-L-14-laion2B-s32B-b82K",
            "scene_context": "Qwen3-VL-4B-Instruct", "voice": "speech-emotion-recognition-with-openai-whisper-large-v3",
            "text": "emotion-english-distilroberta-base"},
    "ras": {"static_face": OWN, "dynamic_face": "vit_base_patch32_clip_224.openai + VideoMamba",
            "scene_labels": "vit_base_patch32_clip_224.openai", "scene_context": "Qwen2.5-VL-7B-Instruct",
            "voice": "LstmHead of RAS on wavlm", "text": "emotion-english-distilroberta-base"},
}  # fmt: skip
"""Profile -> modality -> the model in the result; 'embedded' for our own."""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror folder, filled by `machine`."""
    return tmp_path_factory.mktemp("mirror")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables that name two heads of Team RAS's form."""
    return save_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(autouse=True, scope="module")
def machine(mirror: Path, heads: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Dyad's folder of models with those of all profiles; the two heads are named, and scenes described in a few words."""
    store = download_tiny(tmp_path_factory.mktemp("store"), mirror)
    layer = save_layer(tmp_path_factory.mktemp("voice") / "voice.safetensors", save_whisper(store))
    shutil.copy(shipped_weights("voice").with_suffix(".md"), layer.with_suffix(".md"))
    own = {"DYAD_MODELS": str(store), "DYAD_VOICE__WEIGHTS": str(layer)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (own | FEW_WORDS | heads).items():
            patch.setenv(name, value)
        yield store


@pytest.fixture
def without_heads(heads: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The user names no heads."""
    for name in heads:
        monkeypatch.delenv(name)


@pytest.fixture
def without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where nothing was downloaded."""
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="module")
def ras_run(machine: Path, prefect_session: None, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The sample clip after profile ras in float32. Read it, never write to it."""
    return RunFolder(recognise_video(sample_clip(), ras(), tmp_path_factory.mktemp("runs")))


@pytest.fixture
def copied_run(ras_run: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of that to go on from."""
    return RunFolder(Path(shutil.copytree(ras_run.root, tmp_path / "runs" / ras_run.root.name)))


def ras(**more: dict[str, Any]) -> Settings:
    """Profile ras in float32, with other settings of sections."""
    return load_settings("ras", {"precision": "float32", "device": "cpu", **more})


def run(dyad: Dyad, clip: Path, output: Path, profile: str, *more: object) -> tuple[RunFolder, set[str]]:
    """Run a clip on the command line; its run folder, and the stages that were not skipped."""
    ran: set[str] = set()

    def note(event: Event) -> None:
        if event.state not in ("started", "skipped"):
            ran.add(event.stage)

    with listening(note):
        code, out, err = dyad("run", clip, "-o", output, "--profile", profile, "--device", "cpu", "--json", *more)
    assert code == 0, err
    return RunFolder(output / json.loads(out)["clip"]["clip_id"]), ran


def states_of(result: dict[str, Any]) -> dict[str, str]:
    return {name: entry["state"] for name, entry in result["modalities"].items()}


# ---- what the profiles answer --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("profile", BACKENDS)
def test_a_profile_answers_with_the_models_it_names(profile: str, dyad: Dyad, tmp_path: Path, result_of: ReadResult) -> None:
    more = ("--descriptions", DESCRIPTIONS) if profile == "cpu" else ()
    folder, _ = run(dyad, sample_clip(), tmp_path, profile, "--strict", *more)
    result = result_of(folder)
    assert result["profile"] == profile
    assert states_of(result) == dict.fromkeys(MODALITIES, "present")
    for modality, model in BACKENDS[profile].items():
        source = result["modalities"][modality]["source"]
        assert (source["backend"] if model == OWN else source["model"]) == model
        assert source["revision"]
        table = pd.read_parquet(folder.scores(modality))
        assert np.allclose(table.loc[table["present"], list(BASIC_EMOTIONS)].sum(axis=1), 1, atol=1e-3)
    assert result["windows"]
    described = pd.read_parquet(folder.evidence("scene_context"))
    assert described["text"].str.len().min() > 0
    _, ran = run(dyad, sample_clip(), tmp_path, profile, *more)
    assert ran == set()


@pytest.mark.slow
def test_ras_on_a_real_clip(shared: Path, dyad: Dyad, tmp_path: Path, result_of: ReadResult) -> None:
    """The words of a tiny Whisper are no English, but what it translates them into is; with given words nothing is heard."""
    clip = shared / "datasets" / "media" / "talking_2.mp4"
    folder, _ = run(dyad, clip, tmp_path, "ras")
    origin = folder.finished("transcript")["notes"]["origin"]
    assert origin.startswith("Whisper large-v3-turbo, ")
    assert origin.endswith(", translated into English by it")
    assert folder.transcript.read_text().count("-->") > 0
    result = result_of(folder)
    assert states_of(result) == dict.fromkeys(MODALITIES, "present")
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:04,000\nWhat a wonderful surprise\n")
    _, ran = run(dyad, clip, tmp_path, "ras", "--transcript", words, "--strict")
    assert ran == {"transcript", "text"} | AFTER
    assert states_of(result_of(folder)) == dict.fromkeys(MODALITIES, "present")


@pytest.mark.slow
def test_text_of_the_flow_is_that_of_transformers(ras_run: RunFolder, machine: Path) -> None:
    from transformers import pipeline

    folder = machine / model_table().models["emotion-distilroberta"].folder
    classify = pipeline("text-classification", model=str(folder), top_k=None, device="cpu")
    read, table = pd.read_parquet(ras_run.evidence("text")), pd.read_parquet(ras_run.scores("text"))
    assert len(read) > 3
    for window, text in zip(read["window"], read["text"], strict=True):
        theirs = {answer["label"]: answer["score"] for answer in classify([text])[0]}
        order = ("neutral", "anger", "disgust", "fear", "joy", "sadness", "surprise")
        ours = table.loc[window, list(BASIC_EMOTIONS)].to_numpy(float)
        assert ours == pytest.approx([theirs[label] for label in order], abs=1e-4)


@pytest.mark.long
def test_own_yaml_profile_and_two_clips_side_by_side(shared: Path, dyad: Dyad, tmp_path: Path) -> None:
    """Whatever batches the clips share, each gets what it gets alone; both use the same loaded models."""
    profile = tmp_path / "mine.yaml"
    profile.write_text(dyad("settings", "--profile", "ras")[1].replace("precision: auto", "precision: float32"))
    clips = [sample_clip(), shared / "datasets" / "media" / "expressive_2.mp4"]
    alone = [run(dyad, clip, tmp_path / "alone", str(profile))[0] for clip in clips]
    before, settings = model_cache("cpu").names(), load_settings(str(profile))
    reader = backend_of(settings, "text").load(settings)
    both, options = tmp_path / "both", ("--profile", profile, "--device", "cpu", "--workers", 2, "--json")
    code, out, err = dyad("run", *clips, "-o", both, *options)
    assert code == 0, err
    assert [json.loads(line)["clip"]["clip_id"] for line in out.splitlines()] == [folder.root.name for folder in alone]
    for folder in alone:
        for modality in MODALITIES:
            one, other = (pd.read_parquet(place.scores(modality))[list(BASIC_EMOTIONS)].to_numpy()
                          for place in (folder, RunFolder(both / folder.root.name)))  # fmt: skip
            np.testing.assert_allclose(one, other, atol=1e-4)
    assert sorted(map(str, model_cache("cpu").names())) == sorted(map(str, before))
    assert backend_of(settings, "text").load(settings) is reader


def test_a_classifier_that_reads_words_and_descriptions_is_in_memory_once(machine: Path) -> None:
    settings = ras(scene_context={"reader": "emotion-distilroberta"})
    assert backends_of("scene_context")["server"].load(settings) is backend_of(settings, "text").load(settings)


@pytest.mark.parametrize("profile", BACKENDS)
def test_backends_describe_the_models_that_are_here(profile: str, machine: Path) -> None:
    settings = load_settings(profile, {"device": "cpu"})
    for modality in MODULES:
        described = backend_of(settings, modality).describe(settings)
        assert (described.reason, described.remedy) == ("", "")
        assert described.revision
        assert described.licence
        assert described.device == "cpu"


def test_while_a_network_is_built_other_threads_keep_their_dtype(machine: Path) -> None:
    """transformers sets torch's default dtype, one for all threads, so that networks beside it became half precise."""
    import torch

    from modalities.scene_context.qwen_vl import load_qwen

    folder, seen = machine / model_table().models["qwen2.5-vl-7b"].folder, set()
    with ThreadPoolExecutor(2) as pool:
        loading = [pool.submit(load_qwen, folder, precision=precision) for precision in ("bfloat16", "float16")]  # type: ignore[arg-type]
        over = False
        while not over:
            over = all(one.done() for one in loading)
            seen.add(torch.nn.Linear(1, 1).weight.dtype)
    assert seen == {torch.float32}
    assert torch.get_default_dtype() == torch.float32
    assert [one.result().network.lm_head.weight.dtype for one in loading] == [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("profile", ["gpu", "ras"])
def test_score_uses_the_models_of_a_profile(profile: str, dyad: Dyad, tmp_path: Path) -> None:
    import soundfile

    texts, sounds = tmp_path / "texts.csv", tmp_path / "sounds"
    texts.write_text("text\nWhat a wonderful surprise!\nGo away.\n")
    sounds.mkdir()
    wave = np.random.default_rng(0).normal(0, 0.1, 32_000)
    soundfile.write(sounds / "noise.wav", wave, 16_000)
    for modality, table in (("text", texts), ("voice", sounds)):
        code, _, err = dyad("score", modality, table, "-o", tmp_path / "out.csv", "--profile", profile)
        assert code == (modality == "voice"), err  # nobody speaks in noise, so no sound has an answer
        rows = pd.read_csv(tmp_path / "out.csv")[list(BASIC_EMOTIONS)].dropna()
        assert rows.sum(axis=1).to_numpy() == pytest.approx(np.ones(len(rows)), abs=1e-3)
        assert len(rows) == (0 if modality == "voice" else 2)


# ---- what runs again -----------------------------------------------------------------------------------------------------


def again(folder: RunFolder, settings: Settings, **options: Any) -> set[str]:
    """Run the sample into the same output once more, with the folder's stages; the stages that were not skipped."""
    ran: set[str] = set()

    def note(event: Event) -> None:
        if event.state not in ("started", "skipped"):
            ran.add(event.stage)

    with listening(note):
        recognise_video(sample_clip(), settings, folder.root.parent, **options)
    return ran


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"text": {"batch": 3}, "scene_context": {"vision": {"batch": 1}}, "transcript": {"batch": 2}}, set()),
    ({"transcript": {"model": "small"}}, {"transcript", "text"} | AFTER),
    ({"text": {"english_only": False}}, {"text"} | AFTER),  # of the file's own subtitles there are none to choose among
    ({"scene_labels": {"prompts": "scene_labels_actions.yaml"}}, {"decode", "scene_labels"} | AFTER),
    ({"voice": {"backend": "embedded"}}, {"decode", "speech", "voices", "voice"} | AFTER),
    ({"dynamic_face": {"backend": "embedded"}}, {"decode", "faces", "dynamic_face"} | AFTER),
]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=[str(change) for change, _ in CHANGES])
def test_a_setting_runs_only_what_depends_on_it(copied_run: RunFolder, change: dict[str, Any], expected: set[str]) -> None:
    assert again(copied_run, ras(**change)) == expected


@pytest.mark.slow
def test_a_head_that_is_trained_again_is_used(copied_run: RunFolder, tmp_path: Path, heads: dict[str, str]) -> None:
    """Under the same name, in the same process: neither the run folder nor the loaded model may stand for the old one."""
    import torch

    head = Path(shutil.copy(heads["DYAD_VOICE__HEAD"], tmp_path / "head.pt"))
    settings = ras(voice={"head": str(head)})
    assert again(copied_run, settings) == {"decode", "speech", "voices", "voice"} | AFTER
    (own,) = (RunFolder(folder) for folder in copied_run.root.parent.iterdir() if folder != copied_run.root)
    before = pd.read_parquet(own.scores("voice"))
    state = torch.load(head, weights_only=True)["model_state_dict"]
    torch.save({key: -value for key, value in state.items()}, head)
    assert again(copied_run, settings) == {"decode", "speech", "voices", "voice"} | AFTER
    after = pd.read_parquet(own.scores("voice"))
    assert not np.allclose(before.loc[before["present"], "anger"], after.loc[after["present"], "anger"], atol=1e-3)


# ---- what is missing -----------------------------------------------------------------------------------------------------

NO_HEADS = {
    "dynamic_face": "Name one that you trained (VideoMamba or a transformer) with dynamic_face.head",
    "voice": "./dyad train voice-head --encoder wavlm-base-plus-sd --data FOLDER and name it with voice.head",
}


@pytest.mark.slow
def test_without_heads_two_modalities_are_absent(
    without_heads: None, dyad: Dyad, tmp_path: Path, result_of: ReadResult
) -> None:
    folder, _ = run(dyad, sample_clip(), tmp_path, "ras")
    result = result_of(folder)
    assert states_of(result) == dict.fromkeys(MODALITIES, "present") | dict.fromkeys(NO_HEADS, "absent")
    assert not result["degraded"]
    for modality, remedy in NO_HEADS.items():
        assert "Team RAS published none" in result["modalities"][modality]["reason"]
        assert remedy in result["modalities"][modality]["remedy"]
    code, _, err = dyad("run", sample_clip(), "-o", tmp_path, "--profile", "ras", "--device", "cpu", "--strict")
    said = " ".join(err.split())
    assert code == 1
    assert "2 of 6 have no answer" in said
    assert all(remedy in said for remedy in NO_HEADS.values())


@pytest.mark.slow
def test_a_backend_whose_head_nobody_named_says_so(without_heads: None) -> None:
    for modality, remedy in NO_HEADS.items():
        described = backend_of(ras(), modality).describe(ras())
        assert "Team RAS published none" in described.reason
        assert remedy in described.remedy
        with pytest.raises(NotHere, match=re.escape(described.reason)):
            backend_of(ras(), modality).load(ras())
        gone = ras(**{modality: {"head": "gone.pt"}})
        assert backend_of(gone, modality).describe(gone).reason == "There is no file gone.pt."


@pytest.mark.slow
def test_missing_models_are_told_with_their_commands_and_used_once_they_are_here(
    without_models: Path, dyad: Dyad, mirror: Path, tmp_path: Path, result_of: ReadResult
) -> None:
    folder, _ = run(dyad, sample_clip(), tmp_path / "runs", "ras")
    result = result_of(folder)
    wanted = {"dynamic_face": "clip-vit-b-32-openai", "scene_labels": "clip-vit-b-32-openai", "scene_context": "qwen2.5-vl-7b",
              "voice": "wavlm-base-plus-sd", "text": "emotion-distilroberta"}  # fmt: skip
    for modality, model in wanted.items():
        assert result["modalities"][modality]["state"] == "absent"
        assert f"The model {model} is not on this machine." in result["modalities"][modality]["reason"]
        assert f"./dyad models download {model};" in result["modalities"][modality]["remedy"]
    code, _, err = dyad("run", sample_clip(), "-o", tmp_path / "runs", "--profile", "ras", "--device", "cpu", "--strict")
    assert code == 1
    assert all(f"./dyad models download {model}" in " ".join(err.split()) for model in wanted.values())
    assert dyad("models", "download", "emotion-distilroberta", "--mirror", mirror)[0] == 0
    _, ran = run(dyad, sample_clip(), tmp_path / "runs", "ras")
    assert ran == {"text"} | AFTER
    assert states_of(result_of(folder))["text"] == "present"


def test_score_without_the_model_is_an_error_with_its_command(without_models: Path, dyad: Dyad, tmp_path: Path) -> None:
    texts = tmp_path / "texts.csv"
    texts.write_text("text\nGo away.\n")
    code, _, err = dyad("score", "text", texts, "-o", tmp_path / "out.csv", "--profile", "ras")
    assert code == 1
    assert "./dyad models download emotion-distilroberta" in err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.slow
def test_a_clip_without_words_beside_it_asks_for_whisper(
    without_models: Path, dyad: Dyad, tmp_path: Path, result_of: ReadResult
) -> None:
    alone = Path(shutil.copy(sample_clip(), tmp_path / "alone.mp4"))
    folder, _ = run(dyad, alone, tmp_path / "runs", "cpu")
    entry = result_of(folder)["modalities"]["text"]
    assert entry["reason"] == "The model whisper-small is not on this machine."
    assert "./dyad models download whisper-small" in entry["remedy"]


# ---- what the other commands say -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", BACKENDS)
def test_where_names_every_model_of_a_profile(
    profile: str, dyad: Dyad, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = dyad("models", "where", "--profile", profile)
    rows = {line.split(":")[0].strip(): line for line in out.split("In profile")[1].splitlines()[1:]}
    assert code == 0
    named = {"cpu": {"voice whisper"}, "gpu": set[str](), "ras": {"dynamic face head", "voice head"}}[profile]
    assert set(rows) == {*(name.replace("_", " ") for name in MODALITIES), "transcript"} | named
    assert "none" not in out.split("In profile")[1]
    for model in model_table().choose(profile):
        assert any(str(machine / model.folder) in row for row in rows.values())
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path))
    out = dyad("models", "where", "--profile", profile)[1]
    for model in model_table().choose(profile):
        assert f"./dyad models download {model.name};" in out


def test_where_says_that_a_head_is_wanted(without_heads: None, dyad: Dyad) -> None:
    out = dyad("models", "where", "--profile", "ras")[1]
    assert "none; name one with dynamic_face.head" in out
    assert "none; name one with voice.head" in out


def test_list_marks_what_is_here(dyad: Dyad) -> None:
    lines = {line.split()[0]: line for line in dyad("models", "list")[1].splitlines() if line}
    for profile in BACKENDS:
        assert all("here" in lines[model.name] for model in model_table().choose(profile))
    assert "here" not in lines["siglip-b-16"]


@pytest.mark.parametrize("profile", BACKENDS)
def test_settings_are_a_profile_to_start_from(profile: str, dyad: Dyad, tmp_path: Path) -> None:
    written = tmp_path / "mine.yaml"
    written.write_text(dyad("settings", "--profile", profile)[1])
    assert yaml.safe_load(written.read_text())["text"]["model"] == "emotion-distilroberta"
    assert load_settings(str(written)) == load_settings(profile)


def test_doctor_sees_what_is_here_and_what_is_not(machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = {finding.what: finding for finding in look()}
    assert found["Whisper"].state == found["CLIP"].state == "ok"
    assert str(machine) in found["Whisper"].seen
    assert {found[f"profile {profile}"].state for profile in BACKENDS} == {"ok"}
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path))
    found = {finding.what: finding for finding in look()}
    assert found["Whisper"].state == found["CLIP"].state == "absent"
    assert "./dyad models download" in found["CLIP"].remedy
    assert "0 of 6 models are here" in found["profile gpu"].seen
    assert found["profile ras"].remedy.endswith("./dyad models download ras")
