"""The settings of a run: one frozen tree, read from a profile, the environment and the command line, in that order.

Also the typed form that Prefect shows for the parameter `settings`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.emotions import ABAW_COMPOUNDS, Compound
from data.errors import InputError
from modalities.chat_server import ServerOptions

PROFILES = Path(__file__).resolve().parents[1] / "configs"
Device = str


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class WindowSettings(_Section):
    """How a clip is cut."""

    length: float = Field(default=4.0, gt=0)
    """Seconds of a window."""
    shift: float = Field(default=2.0, gt=0)
    """Seconds from one window's start to the next."""
    shortest: float = Field(default=1.0, ge=0)
    """The last window is kept from this many seconds."""


class DecodeSettings(_Section):
    """What is taken from the media file."""

    frames_per_second: float = Field(default=5.0, gt=0, le=120)
    """Frames taken from each second of the video."""
    longest_side: int = Field(default=960, ge=64)
    """Frames are shrunk to this many pixels on their longer side."""


class FaceSettings(_Section):
    """How faces are found."""

    detector: Literal["auto", "mediapipe", "opencv"] = "auto"
    """`auto` is MediaPipe where it is installed, else OpenCV."""
    crop_size: int = Field(default=112, ge=48, le=512)
    """Side of the aligned square crops, pixels."""
    which: Literal["main", "all"] = "main"
    """Faces that the answer is about: the main track, or everybody."""


class NetworkSettings(_Section):
    """A modality that one of our own small networks recognises."""

    weights: Path | None = None
    """A .safetensors file; empty for the shipped one."""


class SceneLabelSettings(_Section):
    """CLIP's view of the whole picture."""

    checkpoint: Path | None = None
    """An open_clip checkpoint; empty: one that is already on this machine."""
    architecture: str = ""
    """open_clip's name of the architecture; empty: known from where the checkpoint lies."""
    frames_per_second: float = Field(default=1.0, gt=0)
    """Frames encoded from each second."""
    temperature: float | None = Field(default=None, gt=0)
    """Factor on the similarities; empty: the model's own logit scale."""
    prompts: str = "scene_labels.yaml"
    """File in configs/prompts."""


class ServerSettings(_Section):
    """An OpenAI-compatible server (vLLM, SGLang, Ollama, llama.cpp) that runs a vision-language model."""

    base_url: str = ""
    """Its address up to the version, e.g. `http://localhost:8000/v1`."""
    model: str = ""
    """The model's name there."""
    key_variable: str = "DYAD_SERVER_KEY"
    """The environment variable that holds the key, where the server wants one; the key itself is never a setting."""
    prompt: str = "scene_description.yaml"
    """File in configs/prompts, or a YAML file: what the model is asked."""
    label_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the label that a constrained prompt asks for, against the words of the description."""
    pictures: int = Field(default=8, ge=1, le=64)
    """Pictures shown of each window."""
    longest_side: int = Field(default=512, ge=64)
    """Pixels of the pictures' longer side."""
    max_tokens: int = Field(default=200, ge=1)
    """Tokens of an answer at most."""
    concurrency: int = Field(default=4, ge=1, le=256)
    """Requests under way at once, over all clips of the process."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one answer."""
    retries: int = Field(default=5, ge=0)
    """Tries after the first, for rate limits, errors of the server and time-outs."""
    backoff: float = Field(default=1.0, gt=0)
    """Seconds before the first retry, doubled each time; a server's Retry-After goes before it."""
    longest_wait: float = Field(default=120.0, gt=0)
    """Seconds waited at most before a retry."""


class SceneContextSettings(NetworkSettings):
    """What the scene means to the people in it, from descriptions."""

    backend: Literal["descriptions", "server"] = "descriptions"
    """Who describes: the file given with --descriptions, or, where none is given, a server."""
    server: ServerSettings = ServerSettings()
    """The server."""

    @model_validator(mode="after")
    def _names_a_server(self) -> Self:
        """An address that is none, or one with a password in it, is told before anything is run or written."""
        if self.backend == "server":
            ServerOptions(self.server.base_url, self.server.model)
        return self


class TranscriptSettings(_Section):
    """Where the words come from when none are given."""

    checkpoint: Path | None = None
    """A Whisper checkpoint (.pt); empty: one that is already on this machine."""
    language: str | None = None
    """The language spoken, e.g. `en`; empty: recognised."""


class FusionSettings(_Section):
    """From six modalities to the seven compounds."""

    weights: Path | None = None
    """A weights file of Multi-Head Probability Fusion; empty for the shipped one."""
    composition: Literal["ppa", "pfsa", "avcer_rule1", "avcer_rule2", "avcer_both"] = "ppa"
    """How basic emotions become compounds."""


class CompoundSetting(_Section):
    """One compound expression."""

    name: str
    """Its name in snake case, e.g. `fearfully_surprised`."""
    first: str
    """One basic emotion."""
    second: str
    """The other."""


class Settings(_Section):
    """All settings of a run."""

    profile: str = "embedded"
    """The profile these settings started from."""
    device: str = "cpu"
    """Where networks run: `cpu`, `cuda:0`, `mps`."""
    windows: WindowSettings = WindowSettings()
    decode: DecodeSettings = DecodeSettings()
    faces: FaceSettings = FaceSettings()
    static_face: NetworkSettings = NetworkSettings()
    dynamic_face: NetworkSettings = NetworkSettings()
    scene_labels: SceneLabelSettings = SceneLabelSettings()
    scene_context: SceneContextSettings = SceneContextSettings()
    voice: NetworkSettings = NetworkSettings()
    transcript: TranscriptSettings = TranscriptSettings()
    text: NetworkSettings = NetworkSettings()
    fusion: FusionSettings = FusionSettings()
    compounds: tuple[CompoundSetting, ...] = tuple(
        CompoundSetting(name=c.name, first=c.first, second=c.second) for c in ABAW_COMPOUNDS
    )
    """The compounds to tell apart; the ABAW challenge's seven unless given."""

    def compound_table(self) -> tuple[Compound, ...]:
        """The compounds as value objects."""
        return tuple(Compound(c.name, c.first, c.second) for c in self.compounds)


def load_settings(
    profile: str = "embedded",
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read a profile (a name in configs/, or a YAML file), then DYAD_SECTION__FIELD variables, then `overrides`.

    `overrides` is a nested mapping. InputError tells the field and the file or variable that is wrong.
    """
    path = profile_path(profile)
    tree = _read_yaml(path)
    tree.setdefault("profile", path.stem)
    tree = _merged(tree, _from_environment(os.environ if environment is None else environment))
    tree = _merged(tree, overrides or {})
    try:
        settings = Settings.model_validate(tree)
        settings.compound_table()
    except ValidationError as error:
        raise InputError(f"The settings of {path} do not fit: {_sentence(error)}.") from error
    return settings


def profile_path(profile: str) -> Path:
    """The YAML file of a profile: a name in configs/ or a path."""
    for candidate in (PROFILES / f"{profile}.yaml", Path(profile)):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yaml")))
    raise InputError(f"There is no profile '{profile}': give one of {known}, or the path of a YAML file.")


def read_prompts(name: str) -> dict[str, Any]:
    """Read a prompt file of configs/prompts, or a YAML file anywhere."""
    path = PROFILES / "prompts" / name
    return _read_yaml(path if path.is_file() else Path(name))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path} must hold 'name: value' lines; see configs/embedded.yaml.")
    return tree


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """DYAD_FACES__DETECTOR=opencv -> {'faces': {'detector': 'opencv'}}; only names with '__' are settings, of any depth."""
    tree: dict[str, Any] = {}
    for name, value in environment.items():
        if name.startswith("DYAD_") and "__" in name:
            *sections, field = name.removeprefix("DYAD_").lower().split("__")
            one: dict[str, Any] = {field: yaml.safe_load(value)}
            for section in reversed(sections):
                one = {section: one}
            tree = _merged(tree, one)
    return tree


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _sentence(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
