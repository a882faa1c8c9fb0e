"""The one table of backends: every backend of every modality can be asked the same, and settings, score and fusion go by it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from configs.settings import Settings, load_settings
from data.errors import InputError
from data.files import digest
from data.media.probe import probe
from data.run_folder import RunFolder
from data.sample import sample_clip
from flows.backends import MODULES, Backend, NotHere, backend_of, backends_of
from flows.backends.base import ScoringBackend
from flows.backends.own_networks import OwnNetwork, shipped_weights
from flows.backends.score_table import score_table
from flows.job import Brought, Job
from modalities.loading.checkpoint import Card
from modalities.model_store.local import row_of

ALL = [(modality, name) for modality in MODULES for name in backends_of(modality)]
MODELS = {
    ("static_face", "network"): {"network": "s4d"},
    ("static_face", "transformers"): {"model": "vit-face-expression"},
    ("dynamic_face", "network"): {"network": "ifdd-xs"},
    ("dynamic_face", "clip"): {"model": "clip-vit-b-32-openai"},
    ("voice", "transformers"): {"model": "whisper-large-v3-emotion"},
    ("voice", "encoder"): {"model": "wavlm-base-plus-sd"},
    ("text", "transformers"): {"model": "emotion-distilroberta"},
    ("scene_labels", "scene_labels"): {"model": "clip-vit-b-32-openai"},
    ("transcript", "transcript"): {"model": "whisper-small"},
    ("scene_context", "server"): {"server": {"base_url": "http://localhost:8000/v1", "model": "some-model"}},
    ("scene_context", "transformers"): {"vision": {"model": "qwen3-vl-4b"}},
}
"""Settings that name a model for each backend that has none of its own; our layer for voices stands on Whisper base."""


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what comes with Dyad."""
    monkeypatch.setenv("DYAD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)


def choosing(modality: str, name: str, **more: Any) -> Settings:
    """Settings that choose a backend."""
    section = dict(MODELS.get((modality, name), {})) | more
    return load_settings(overrides={modality: section if name == modality else section | {"backend": name}})


def job_of(settings: Settings, **brought: Path) -> Job:
    return Job(probe(sample_clip()), RunFolder(Path("nowhere")), settings, Brought(**brought))


@pytest.mark.parametrize(("modality", "name"), ALL)
def test_settings_choose_it_and_it_says_what_it_is(modality: str, name: str) -> None:
    settings = choosing(modality, name)
    backend = backend_of(settings, modality)
    assert backend is backends_of(modality)[name]
    described = backend.describe(settings)
    assert described.model
    assert described.device
    assert described.locations[""]
    if isinstance(backend, OwnNetwork):
        assert described.revision == digest(shipped_weights(modality))[:12]
        assert described.licence == Card.read(shipped_weights(modality).with_suffix(".md")).terms
        assert (described.reason, described.remedy) == ("", "")
    elif name != "server":
        assert described.reason
        assert described.remedy
        row = row_of(MODELS.get((modality, name), {"model": "whisper-base"}).get("model", ""))
        assert row is None or f"./dyad models download {row.name}" in described.remedy or "head" in described.locations
        with pytest.raises(NotHere) as missing:
            backend.load(settings)
        assert (missing.value.reason, missing.value.remedy) == (described.reason, described.remedy)


@pytest.mark.parametrize(("modality", "name"), ALL)
def test_what_it_depends_on_can_be_told_without_its_model(modality: str, name: str) -> None:
    inputs = backends_of(modality)[name].inputs(job_of(choosing(modality, name)))
    assert inputs
    assert all(isinstance(key, str) for key in inputs)


@pytest.mark.parametrize("modality", MODULES)
def test_the_settings_know_the_names_of_the_backends(modality: str) -> None:
    field = type(getattr(Settings(), modality)).model_fields.get("backend")
    assert set(backends_of(modality)) == (set(get_args(field.annotation)) if field else {modality})


def test_own_weights_are_told_and_used_by_their_path(tmp_path: Path) -> None:
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(shipped_weights("text").read_bytes())
    settings = choosing("text", "embedded", weights=str(copy))
    backend = backend_of(settings, "text")
    assert backend.load(settings) is backend.load(settings)
    assert backend.load(settings) is not backend.load(Settings())
    assert str(copy) in backend.describe(settings).locations[""]
    copy.with_suffix(".md").write_text("Notes of mine, no model card.")
    assert backend.describe(settings).licence == ""
    copy.unlink()
    assert f"There are no weights at {copy}." in backend.describe(settings).reason


@pytest.mark.parametrize(("modality", "name"), ALL)
def test_our_own_networks_have_centroids(modality: str, name: str) -> None:
    settings = choosing(modality, name)
    means = backend_of(settings, modality).centroids(settings)
    if name == "embedded" or modality == "scene_context":  # whoever describes the scene, our own network reads it
        assert means is not None
        assert means.shape[0] == 7
    else:
        assert means is None


def test_a_reader_of_descriptions_has_no_centroids_and_is_told() -> None:
    settings = choosing("scene_context", "descriptions", reader="emotion-distilroberta")
    backend = backend_of(settings, "scene_context")
    assert backend.centroids(settings) is None
    assert "./dyad models download emotion-distilroberta" in backend.describe(settings).locations["reader"]
    assert set(backend.inputs(job_of(settings))) == {"reader", "labels"}


def test_what_is_read_of_the_media(tmp_path: Path) -> None:
    read = {pair: backends_of(pair[0])[pair[1]].media(job_of(choosing(*pair))) for pair in ALL}
    faces = {pair: "picture" for pair in ALL if pair[0] in ("static_face", "dynamic_face", "scene_labels")}
    heard = {pair: "" for pair in ALL if pair[0] == "voice"}  # what there is to hear was heard in the stage before
    words = {("text", "embedded"): "", ("text", "transformers"): "", ("transcript", "transcript"): ""}  # a transcript lies beside
    scenes = {("scene_context", "descriptions"): "", ("scene_context", "server"): "picture",
              ("scene_context", "transformers"): "picture"}  # fmt: skip
    assert read == faces | heard | words | scenes
    given = tmp_path / "said.csv"
    server = choosing("scene_context", "server")
    assert backend_of(server, "scene_context").media(job_of(server, descriptions=given)) == ""
    job = job_of(Settings())
    alone = replace(job, clip=replace(job.clip, path=tmp_path / "alone.mp4"))
    assert backend_of(Settings(), "transcript").media(alone) == "any"
    assert backend_of(Settings(), "transcript").media(replace(alone, brought=Brought(transcript=given))) == ""


def test_score_offers_the_modalities_whose_backends_can(tmp_path: Path) -> None:
    able = {modality for modality, name in ALL if isinstance(backends_of(modality)[name], ScoringBackend)}
    assert able == {"static_face", "dynamic_face", "voice", "text", "scene_context"}
    for unable in ("scene_labels", "transcript", "gestures"):
        said = f"'{unable}' cannot score tables; use one of static-face, dynamic-face, scene-context, voice, text"
        with pytest.raises(InputError, match=said):
            score_table(unable, tmp_path, tmp_path / "out.csv", Settings())


def test_a_face_network_depends_on_the_module_that_the_table_names() -> None:
    settings = choosing("static_face", "network")
    assert backend_of(settings, "static_face").code(job_of(settings)) == ("modalities.face_networks.papers.s4d",)
    assert backend_of(Settings(), "static_face").code(job_of(Settings())) == ()


def test_every_backend_is_one_and_loads_nothing_heavy_when_its_table_is_read() -> None:
    assert all(isinstance(backends_of(modality)[name], Backend) for modality, name in ALL)
    program = (
        "import sys; from flows.backends import MODULES, backends_of; [backends_of(name) for name in MODULES]; "
        "print([name for name in ('torch', 'transformers', 'open_clip', 'whisper', 'cv2', 'prefect') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, cwd=Path.cwd(),
                          env={"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert told.stdout.strip() == "[]"
