"""Large models that are damaged, foreign or incomplete, through the whole flow: a sentence, and the other modalities answer."""

import os
import shutil
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from data.run_folder import RunFolder
from data.sample import sample_clip
from tests import tiny_faces, tiny_models, tiny_qwen, tiny_speech, tiny_text
from tests.tiny_profiles import save_heads

Dyad = Callable[..., tuple[int, str, str]]
ReadResult = Callable[[RunFolder], dict[str, Any]]
Fault = Callable[[Path], dict[str, Any]]
"""Makes a broken model in a folder and returns the settings of the sections that name it."""
DESCRIPTIONS = sample_clip().with_name("sample_descriptions.csv")
STRANGE = ("red", "green", "blue")


def damage(file: Path, share: float = 0.5) -> Path:
    """Cut a file off, as an interrupted copy does."""
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    return file


def emptied(folder: Path, *names: str) -> Path:
    """Remove files that are there."""
    for name in names:
        (folder / name).unlink()
    return folder


class Touch:
    """What a pickle may do when it is read as a program: here, make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def program(file: Path) -> Path:
    """A file of weights with a program in it, which leaves a folder `ran` behind when it is run."""
    torch.save({"model_state_dict": {"weight": torch.zeros(1)}, "dims": {}, "more": Touch(file.with_name("ran"))}, file)
    return file


def static_face(folder: Path, **more: Any) -> dict[str, Any]:
    return {"static_face": {"backend": "transformers", "model": str(folder), **more}}


def voice(folder: Path, **more: Any) -> dict[str, Any]:
    return {"voice": {"backend": "transformers", "model": str(folder), **more}}


def text(folder: Path, **more: Any) -> dict[str, Any]:
    return {"text": {"backend": "transformers", "model": str(folder), **more}}


def vision(folder: Path) -> dict[str, Any]:
    return {"scene_context": {"backend": "transformers", "vision": {"model": str(folder), "pixels": 12544, "max_tokens": 4}}}


def labels(checkpoint: Path, **more: Any) -> dict[str, Any]:
    return {"scene_labels": {"checkpoint": str(checkpoint), **more}}


def whisper(checkpoint: Path) -> dict[str, Any]:
    return {"transcript": {"checkpoint": str(checkpoint)}}


def over_clip(folder: Path, head: Path) -> dict[str, Any]:
    """Profile ras's dynamic face with this head."""
    tiny_models.save_tiny_clip(folder / "clip")
    return {"dynamic_face": {"backend": "clip", "model": str(folder / "clip"), "head": str(head)}}


def over_wavlm(folder: Path, head: Path, **sizes: int) -> dict[str, Any]:
    """Profile ras's voice with this head."""
    tiny_speech.save_tiny_encoder(folder / "wavlm", "wavlm", **sizes)
    return {"voice": {"backend": "encoder", "model": str(folder / "wavlm"), "head": str(head)}}


def narrow_head(folder: Path) -> Path:
    return tiny_faces.save_head(tiny_faces.tiny_head("former", features=48), folder / "head.safetensors")


def cut_classifier(folder: Path) -> dict[str, Any]:
    damage(tiny_faces.save_classifier(folder) / "model.safetensors")
    return static_face(folder)


def cut_shard(folder: Path) -> dict[str, Any]:
    tiny_qwen.save_tiny_qwen(folder, shard_size="200KB")
    damage(sorted(folder.glob("model-*.safetensors"))[1])
    return vision(folder)


def other_sizes(folder: Path) -> dict[str, Any]:
    tiny_speech.change_config(tiny_faces.save_classifier(folder), hidden_size=64)
    return static_face(folder)


def other_vocabulary(folder: Path) -> dict[str, Any]:
    tiny_speech.change_config(tiny_text.save_tiny_classifier(folder), vocab_size=500)
    return text(folder)


FAULTS: dict[str, tuple[str, Fault, str]] = {
    "face, weights cut off": ("static_face", cut_classifier, "cannot be loaded"),
    "face, other sizes": ("static_face", other_sizes, "where config.json asks for"),
    "face, a reader of texts": ("static_face", lambda f: static_face(tiny_text.save_tiny_classifier(f)), "roberta"),
    "face, no preparation": (
        "static_face", lambda f: static_face(emptied(tiny_faces.save_classifier(f), "preprocessor_config.json")),
        "preprocessor_config.json"),
    "face, strange labels": (
        "static_face", lambda f: static_face(tiny_faces.save_classifier(f, labels=STRANGE)), 'green: "?"'),
    "moving face, head of another width": ("dynamic_face", lambda f: over_clip(f, narrow_head(f)), "reads features of length 48"),
    "moving face, a program": ("dynamic_face", lambda f: over_clip(f, program(f / "head.pt")), "weights alone"),
    "moving face, head gone": ("dynamic_face", lambda f: over_clip(f, f / "gone" / "head.pt"), "There are no weights at"),
    "scene labels, cut off": (
        "scene_labels", lambda f: labels(damage(tiny_models.save_tiny_clip(f))), "open_clip_model.safetensors"),
    "scene labels, pickle cut off": (
        "scene_labels", lambda f: labels(damage(tiny_models.save_tiny_clip(f, file="open_clip_pytorch_model.bin"))),
        "open_clip_pytorch_model.bin"),
    "scene labels, a program": (
        "scene_labels", lambda f: labels(program(tiny_models.save_tiny_clip(f, file="open_clip_pytorch_model.bin"))),
        "open_clip_pytorch_model.bin"),
    "scene labels, gone": ("scene_labels", lambda f: labels(f / "gone" / "clip.safetensors"), "There is no checkpoint at"),
    "scene labels, no prompts": (
        "scene_labels", lambda f: labels(tiny_models.save_tiny_clip(f), prompts=str(f / "none.yaml")), "none.yaml"),
    "scene labels, another architecture": (
        "scene_labels", lambda f: labels(tiny_models.save_tiny_clip(f), architecture="ViT-S-32-alt"), "ViT-S-32-alt"),
    "describer, no tokenizer": (
        "scene_context", lambda f: vision(emptied(tiny_qwen.save_tiny_qwen(f), "tokenizer.json")), "lacks a tokenizer"),
    "describer, no preparation": (
        "scene_context", lambda f: vision(emptied(tiny_qwen.save_tiny_qwen(f), "processor_config.json")),
        "lacks a picture processor"),
    "describer, a reader of texts": (
        "scene_context", lambda f: vision(tiny_text.save_tiny_classifier(f)), "a model of the kind 'roberta'"),
    "describer, shard cut off": ("scene_context", cut_shard, "cannot be loaded"),
    "voice, a reader of texts": ("voice", lambda f: voice(tiny_text.save_tiny_classifier(f)), "preprocessor_config.json"),
    "voice, no preparation": (
        "voice", lambda f: voice(emptied(tiny_speech.save_tiny_classifier(f, "wav2vec2"), "preprocessor_config.json")),
        "preprocessor_config.json"),
    "voice, strange labels": (
        "voice", lambda f: voice(tiny_speech.save_tiny_classifier(f, "hubert", STRANGE)), 'green: "?"'),
    "voice, an encoder without a head": (
        "voice", lambda f: voice(tiny_speech.save_tiny_encoder(f, "wavlm", id2label={0: "sad", 1: "happy"})), "lack"),
    "voice, head of another width": (
        "voice", lambda f: over_wavlm(f, Path(save_heads(f)["DYAD_VOICE__HEAD"]), hidden_size=64), "for an encoder of width 64"),
    "voice, head is a program": ("voice", lambda f: over_wavlm(f, program(f / "head.pt")), "weights alone"),
    "text, no tokenizer": (
        "text", lambda f: text(emptied(tiny_text.save_tiny_classifier(f), "tokenizer.json", "tokenizer_config.json")),
        "tokenizer"),
    "text, other vocabulary": ("text", other_vocabulary, "where config.json asks for"),
    "text, an image classifier": ("text", lambda f: text(tiny_faces.save_classifier(f)), "does not classify texts"),
    "text, strange labels": ("text", lambda f: text(tiny_text.save_tiny_classifier(f, labels=[*STRANGE])), 'green: "?"'),
    "text, no file of labels": (
        "text", lambda f: text(tiny_text.save_tiny_classifier(f), labels=str(f / "mine.yaml")), "mine.yaml"),
    "words, Whisper cut off": ("text", lambda f: whisper(damage(tiny_models.save_tiny_whisper(f / "tiny.pt"))), "tiny.pt"),
    "words, a program": ("text", lambda f: whisper(program(f / "tiny.pt")), "tiny.pt"),
    "words, gone": ("text", lambda f: whisper(f / "gone.pt"), "There is no checkpoint at"),
}  # fmt: skip
"""Name -> the modality that fails, what breaks it, and words of the sentence."""


def profile_of(folder: Path, settings: dict[str, Any]) -> Path:
    """A profile with these settings."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The sample without the words that lie beside it."""
    (tmp_path / "clips").mkdir()
    return Path(shutil.copy(sample_clip(), tmp_path / "clips"))


def run(dyad: Dyad, clip: Path, folder: RunFolder, settings: dict[str, Any], *more: str) -> tuple[int, str]:
    """Run the clip into a run folder with all that it may be given but what `settings` name a model for; exit code, stderr."""
    brought = () if "transcript" in settings else ("--transcript", sample_clip().with_name("sample.vtt"))
    brought += () if "scene_context" in settings else ("--descriptions", DESCRIPTIONS)
    profile = profile_of(clip.parent, settings)
    code, _, err = dyad("run", clip, "-o", folder.root.parent, "--profile", profile, *brought, *more)
    return code, err


def newest(folder: RunFolder) -> RunFolder:
    """The run folder of the last answer: other settings have a folder of their own."""
    return max(map(RunFolder, folder.root.parent.iterdir()), key=lambda run: run.result.stat().st_mtime_ns)


def in_threes(cases: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cases' names, together those that a run can have at once: of three modalities, so that the other three answer."""
    halves = ("static_face", "scene_labels", "text"), ("dynamic_face", "scene_context", "voice")
    of = {modality: [name for name, case in cases.items() if case[0] == modality] for half in halves for modality in half}
    runs = [names for half in halves for names in zip_longest(*(of[modality] for modality in half))]
    return [tuple(name for name in names if name) for names in runs]


def one_in_four(groups: list[tuple[str, ...]]) -> list[Any]:
    """The groups as parameters of a test; three in four are long."""
    return [pytest.param(group, marks=pytest.mark.long if index % 4 else ()) for index, group in enumerate(groups)]


@pytest.mark.slow
@pytest.mark.parametrize("names", one_in_four(in_threes(FAULTS)), ids=" + ".join)
def test_a_broken_model_is_told_in_a_sentence(
    names: tuple[str, ...], clip: Path, copied_run: RunFolder, dyad: Dyad, tmp_path: Path, result_of: ReadResult
) -> None:
    settings, before = {}, result_of(copied_run)["modalities"]
    for name in names:
        modality, fault, _ = FAULTS[name]
        (tmp_path / modality).mkdir()
        settings |= fault(tmp_path / modality)
    code, err = run(dyad, clip, copied_run, settings)
    result = result_of(newest(copied_run))
    assert code == 0, err
    assert result["degraded"]
    for name in names:
        modality, _, words = FAULTS[name]
        entry = result["modalities"][modality]
        assert entry["state"] == "failed", name
        assert words in entry["reason"]
        assert str(tmp_path / modality) in entry["reason"]
        assert entry["reason"].endswith(".") or words.endswith('"?"')
        assert "Unexpected" not in entry["reason"]
        assert " ".join(entry["reason"].split()) in " ".join(err.split())
        assert not (tmp_path / modality / "ran").exists()
    for other in set(before) - {FAULTS[name][0] for name in names}:
        assert result["modalities"][other]["state"] == before[other]["state"], other
    assert newest(copied_run).log.read_text().count("Traceback") >= len(names)


@pytest.mark.parametrize("name", ["voice, strange labels", "text, no tokenizer", "words, gone"])
def test_strict_makes_an_error_of_it(name: str, clip: Path, copied_run: RunFolder, dyad: Dyad, tmp_path: Path) -> None:
    modality, fault, words = FAULTS[name]
    code, err = run(dyad, clip, copied_run, fault(tmp_path / "broken"), "--strict")
    assert code == 1
    assert f"{modality}: " in err.split("--strict wants every modality")[1]
    assert words in err.split("--strict wants every modality")[1]


SHARD = "model-00002-of-00005.safetensors"
ABSENT: dict[str, tuple[str, Fault, str, str]] = {
    "a folder that is gone": ("voice", lambda f: voice(f / "gone" / "model"), "There is no folder", "Name an existing folder"),
    "a folder without a model": ("static_face", static_face, "config.json is not there", "as save_pretrained writes it"),
    "a folder that lacks a shard": (
        "scene_context", lambda f: vision(emptied(tiny_qwen.save_tiny_qwen(f, shard_size="200KB"), SHARD)),
        f"{SHARD} of its weights is not there", "as save_pretrained writes it"),
    "a repository of the table": (
        "text", lambda f: text(Path("SamLowe/roberta-base-go_emotions")), "is not on this machine",
        "./dyad models download go-emotions"),
    "a repository that is not in the table": (
        "text", lambda f: text(Path("somebody/reader")), "is not on this machine", "hf download somebody/reader"),
    "a CLIP of the table": (
        "scene_labels", lambda f: {"scene_labels": {"model": "ViT-L-14/openai"}}, "is not on this machine",
        "./dyad models download clip-vit-l-14-openai"),
}  # fmt: skip
"""Name -> the modality that is absent, settings, words of the reason and of the remedy."""


@pytest.mark.parametrize("names", in_threes(ABSENT), ids=" + ".join)
def test_what_is_not_there_is_absent_with_what_to_do(
    names: tuple[str, ...], clip: Path, copied_run: RunFolder, dyad: Dyad, tmp_path: Path, result_of: ReadResult
) -> None:
    settings: dict[str, Any] = {}
    for name in names:
        modality, chosen, _, _ = ABSENT[name]
        (tmp_path / modality).mkdir()
        settings |= chosen(tmp_path / modality)
    code, err = run(dyad, clip, copied_run, settings)
    result = result_of(newest(copied_run))
    assert code == 0, err
    for name in names:
        modality, _, reason, remedy = ABSENT[name]
        entry = result["modalities"][modality]
        assert entry["state"] == "absent", name
        assert reason in entry["reason"]
        assert remedy in entry["remedy"]
    assert not result["degraded"]


def test_a_model_that_was_mended_in_its_place_is_used(
    clip: Path, copied_run: RunFolder, dyad: Dyad, tmp_path: Path, result_of: ReadResult
) -> None:
    settings = FAULTS["text, strange labels"][1](tmp_path / "broken")
    run(dyad, clip, copied_run, settings)
    assert result_of(newest(copied_run))["modalities"]["text"]["state"] == "failed"
    table = tmp_path / "labels.yaml"
    table.write_text("red: anger\ngreen: neutral\nblue: {sadness: 0.5, fear: 0.5}\n")
    settings["text"]["labels"] = str(table)
    code, err = run(dyad, clip, copied_run, settings)
    entry = result_of(newest(copied_run))["modalities"]["text"]
    assert code == 0, err
    assert entry["state"] == "present"
    assert "cannot answer" in entry["source"]["preprocessing"]
