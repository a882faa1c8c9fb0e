"""Profiles, variables and options become one tree of settings."""

from pathlib import Path

import pytest
import yaml

from configs.explained import meanings, with_comments
from configs.settings import load_settings, profile_path, read_prompts
from data.emotions import ABAW_COMPOUNDS
from data.errors import InputError
from flows.backends import voice
from modalities.model_store.table import model_table


def test_the_default_profile_is_embedded() -> None:
    settings = load_settings(environment={})
    assert settings.profile == "embedded"
    assert settings.compound_table() == ABAW_COMPOUNDS


def test_command_line_beats_environment_beats_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("faces: {crop_size: 96, detector: opencv, which: main}\nwindows: {length: 3}\n")
    environment = {"DYAD_FACES__DETECTOR": "mediapipe", "DYAD_FACES__CROP_SIZE": "128", "DYAD_MODELS": "/somewhere"}
    environment |= {"DYAD_DEVICE": "auto"}
    settings = load_settings(str(mine), {"faces": {"detector": "auto"}}, environment)
    assert settings.profile == "mine"
    assert settings.faces.model_dump() == {"detector": "auto", "crop_size": 128, "which": "main"}
    assert settings.windows.length == 3
    assert settings.device == "auto"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("faces: {colour: red}", "there is no setting faces.colour"),
        ("windows: {lenght: 2}", "did you mean windows.length (Seconds of a window)?"),
        ("windows: {length: 0}", "greater than or equal to 0.1 (Seconds of a window)"),
        ("decode: {frames_per_second: fast}", "decode.frames_per_second"),
        ("decode: {frames_per_second: -1}", "greater than 0"),
        ("transcript: {language: germn}", "knows no language 'germn'; did you mean 'german'"),
        ("compounds: [{name: x, first: joy, second: fear}]", "'joy', which is not a basic emotion"),
        ("- a list", "must hold 'name: value' lines"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_wrong_settings_name_the_file_and_the_field(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_settings(str(path), environment={})
    assert words in str(error.value)


def test_single_settings_come_last_and_wrong_names_are_told_with_the_nearest() -> None:
    single = ("windows.length=3", "faces.which=all", "voice.reference=none", "transcript.language=")
    settings = load_settings(overrides={"windows": {"length": 5.0, "shift": 1.0}}, environment={}, single=single)
    assert (settings.windows.length, settings.windows.shift, settings.faces.which) == (3.0, 1.0, "all")
    assert settings.transcript.language is None
    for given, code in (("no", "no"), ("German", "de")):
        assert load_settings(environment={}, single=[f"transcript.language={given}"]).transcript.language == code
    for wrong, words in (("lenght=2", "did you mean windows.length"), ("windows=2", "is a group"), ("length", "write KEY=VALUE")):
        with pytest.raises(InputError, match=words):
            load_settings(environment={}, single=[wrong])


@pytest.mark.parametrize(
    ("environment", "overrides", "single", "said"),
    [
        ({"DYAD_WINDOWS__LENGTH": "0"}, {}, [], "DYAD_WINDOWS__LENGTH"),
        ({"DYAD_WINDOWS__LENGTH": "2"}, {"windows": {"length": 0.0}}, [], "the options"),
        ({"DYAD_WINDOWS__LENGTH": "2"}, {"windows": {"length": 2.0}}, ["windows.length=0"], "windows.length=0"),
        ({"DYAD_STATE": "there", "DYAD_WINDOWS__SHIFT": "2"}, {}, [], "wrong.yaml"),
        ({"DYAD_TRANSCRIPT__LANGUAGE": "germn"}, {}, [], "DYAD_TRANSCRIPT__LANGUAGE"),
        ({"DYAD_TEXT__PRIORS": "{fear: 1}"}, {}, [], "DYAD_TEXT__PRIORS"),
        ({"DYAD_SCENE_CONTEXT__SERVER__BASE_URL": "here"}, {}, [], "DYAD_SCENE_CONTEXT__SERVER__BASE_URL"),
        ({}, {"scene_context": {"backend": "server"}}, [], "the options"),
        ({"DYAD_COMPOUNDS": "{fear: [fear, anger]}"}, {}, [], "DYAD_COMPOUNDS"),
    ],
)
def test_who_said_what_does_not_fit_is_named(
    environment: dict[str, str], overrides: dict[str, object], single: list[str], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("state: there" if said == path.name else "")
    with pytest.raises(InputError, match=f"^The settings of [^ ]*{said} do not fit"):
        load_settings(str(path), overrides, environment, single)


def test_every_setting_is_explained_and_what_is_printed_can_be_read() -> None:
    settings = load_settings(environment={})
    printed = "\n".join(with_comments(settings))
    assert "  # Seconds of a window.\n  length: " in printed
    assert yaml.safe_load(printed) == settings.model_dump(mode="json")
    assert all(meaning for _, meaning in meanings(type(settings)))


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="give one of .*embedded"):
        profile_path("nonesuch")


def test_prompts_are_read_from_configs_or_from_anywhere(tmp_path: Path) -> None:
    assert set(read_prompts("scene_labels.yaml")) >= {"basic", "compound"}
    own = tmp_path / "own.yaml"
    own.write_text("basic: {neutral: [a face]}\n")
    assert read_prompts(str(own)) == {"basic": {"neutral": ["a face"]}}


def test_the_schema_of_settings_makes_a_form() -> None:
    """Prefect makes its form of the schema; every field has a description for the person who fills it in."""
    schema = load_settings(environment={}).model_json_schema()
    for section in schema["$defs"].values():
        assert all("description" in field for field in section["properties"].values()), section["title"]


@pytest.mark.parametrize("profile", ["embedded", "cpu", "gpu", "ras"])
def test_a_profile_uses_exactly_the_models_of_its_group(profile: str) -> None:
    def named(tree: object) -> set[str]:
        if not isinstance(tree, dict):
            return set()
        found = {tree["model"]} if isinstance(tree.get("model"), str) and tree["model"] else set()
        return found.union(*(named(part) for part in tree.values()))

    settings = load_settings(profile, environment={})
    assert settings.profile == profile
    heard_by = {voice.WHISPER} if settings.voice.backend == "embedded" else set()
    assert named(settings.model_dump()) | heard_by == set(model_table().profiles[profile])
