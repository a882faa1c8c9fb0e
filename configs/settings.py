"""The settings of a run: one frozen tree, read from a profile, the environment and the command line, in that order.

Also the typed form that Prefect shows for the parameter `settings`.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from configs import DEFAULT_PROFILE
from configs.explained import changes, mistake
from configs.schema import (
    CompoundSetting,
    DecodeSettings,
    DynamicFaceSettings,
    FaceSettings,
    FusionSettings,
    LimitSettings,
    PeopleSettings,
    SceneContextSettings,
    SceneLabelSettings,
    Section,
    StaticFaceSettings,
    TextSettings,
    TranscriptSettings,
    VoiceSettings,
    WindowSettings,
    checking,
)
from data.added_modalities import check_added
from data.emotions import ABAW_COMPOUNDS, BASIC_EMOTIONS, Compound
from data.errors import InputError
from data.precision import Precision
from data.yaml_files import parse_yaml, read_yaml

ALONE = ("DYAD_DEVICE", "DYAD_PRECISION", "DYAD_COMPOUNDS")
"""Variables of settings that belong to no section."""
COLUMNS = frozenset({
    *BASIC_EMOTIONS, "start", "end", "present", "top", "emotion", "sureness", "sureness_low", "sureness_high", "blend", "none",
    "frame", "time_s", "faces",
})  # fmt: skip
"""Names that columns of the tables have already."""
LINES = "'name: value' lines; see configs/embedded.yaml"
"""What a file of settings holds."""
PROFILES = Path(__file__).resolve().parents[1] / "configs"


class Settings(Section):
    """All settings of a run."""

    profile: str = DEFAULT_PROFILE
    """The profile these settings started from."""
    device: str = "cpu"
    """Where networks run: `auto` (the best there is), `cpu`, `cuda:0`, `mps`."""
    precision: Precision = "auto"
    """Of the large models: `auto` takes half precision where the device computes it natively."""
    windows: WindowSettings = WindowSettings()
    decode: DecodeSettings = DecodeSettings()
    limits: LimitSettings = LimitSettings()
    faces: FaceSettings = FaceSettings()
    people: PeopleSettings = PeopleSettings()
    static_face: StaticFaceSettings = StaticFaceSettings()
    dynamic_face: DynamicFaceSettings = DynamicFaceSettings()
    scene_labels: SceneLabelSettings = SceneLabelSettings()
    scene_context: SceneContextSettings = SceneContextSettings()
    voice: VoiceSettings = VoiceSettings()
    transcript: TranscriptSettings = TranscriptSettings()
    text: TextSettings = TextSettings()
    fusion: FusionSettings = FusionSettings()
    added: dict[str, dict[str, object]] = {}
    """Options of modalities that you add, by the modality's name (docs/how-to/add-a-modality.md)."""
    compounds: tuple[CompoundSetting, ...] = Field(
        default=tuple(CompoundSetting(name=c.name, first=c.first, second=c.second) for c in ABAW_COMPOUNDS), min_length=1
    )
    """The compounds to tell apart; the ABAW challenge's seven unless given: as here, as `name: [first, second]`, or the name of
    such a file in configs/compounds, or its path."""

    @field_validator("compounds", mode="before")
    @classmethod
    @checking()
    def _compounds(cls, given: object) -> object:
        """The table, from a file where one is named."""
        return compound_rows(given)

    @field_validator("compounds")
    @classmethod
    @checking()
    def _nameable(cls, given: tuple[CompoundSetting, ...]) -> tuple[CompoundSetting, ...]:
        """Compounds of basic emotions, with names that columns can have."""
        names = [compound.name for compound in _table(given)]
        for name in names:
            if names.count(name) > 1 or not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in COLUMNS:
                raise InputError(f"'{name}' cannot name a compound: take small letters and underscores, and no name twice.")
        return given

    def compound_table(self) -> tuple[Compound, ...]:
        """The compounds as value objects."""
        return _table(self.compounds)


def _table(rows: Iterable[CompoundSetting]) -> tuple[Compound, ...]:
    return tuple(Compound(row.name, row.first, row.second) for row in rows)


def load_settings(
    profile: str = DEFAULT_PROFILE,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    single: Iterable[str] = (),
) -> Settings:
    """Read a profile (a name in configs/, or a YAML file), then DYAD_SECTION__FIELD variables, then `overrides`, then `single`.

    `overrides` is a nested mapping, `single` are pairs such as 'windows.length=2'. InputError tells the field, what it means, and
    the file or variable that is wrong.
    """
    check_added()
    path, environment, single = profile_path(profile), os.environ if environment is None else environment, list(single)
    tree = read_yaml(path, LINES)
    tree.setdefault("profile", path.stem)
    tree = _merged(tree, _from_environment(environment))
    tree = _merged(tree, overrides or {})
    tree = _merged(tree, changes(single, Settings))
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        said, where = _sentence(error), _sources(error, path, environment, overrides or {}, single)
        raise InputError(f"The settings of {where} do not fit: {said}{'' if said.endswith(('?', '.')) else '.'}") from error


def profile_path(profile: str) -> Path:
    """The YAML file of a profile: a name in configs/ or a path."""
    for candidate in (PROFILES / f"{profile}.yaml", Path(profile)):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.yaml")))
    raise InputError(f"There is no profile '{profile}': give one of {known}, or the path of a YAML file.")


def compound_rows(given: object) -> object:
    """Rows (name, first, second) of a table of compounds: `name: [first, second]` lines, or the name of a file that has them.

    InputError for a file that is not there, a pair that is none, and names that are not in snake case or occur twice.
    """
    tree = read_yaml(_compounds_path(given), LINES) if isinstance(given, str) else given
    if isinstance(tree, Mapping):
        for name, pair in tree.items():
            if not isinstance(pair, list) or len(pair) != 2:
                raise InputError(f"The compound '{name}' must be a pair, e.g. '{name}: [fear, surprise]'.")
        tree = [{"name": name, "first": pair[0], "second": pair[1]} for name, pair in tree.items()]
    return tree


def _compounds_path(name: str) -> Path:
    for candidate in (PROFILES / "compounds" / f"{name}.yaml", Path(name)):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(file.stem for file in (PROFILES / "compounds").glob("*.yaml")))
    raise InputError(f"There are no compounds '{name}': give one of {known}, or the path of a YAML file.")


def read_prompts(name: str) -> dict[str, object]:
    """Read a prompt file of configs/prompts, or a YAML file anywhere."""
    return read_yaml(prompts_path(name), LINES)


def prompts_path(name: str) -> Path:
    """The prompt file of configs/prompts that has this name, else the path `name`."""
    path = PROFILES / "prompts" / name
    return path if path.is_file() else Path(name)


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """DYAD_FACES__DETECTOR=opencv -> {'faces': {'detector': 'opencv'}}; names without '__' are settings only if in ALONE."""
    tree: dict[str, object] = {}
    for name, value in environment.items():
        if place := _place_of(name):
            *sections, field = place
            one: dict[str, object] = {field: parse_yaml(value, name)}
            for section in reversed(sections):
                one = {section: one}
            tree = _merged(tree, one)
    return tree


def _place_of(variable: str) -> tuple[str, ...]:
    """The names that lead to the setting that a variable gives; none for other variables."""
    is_one = variable in ALONE or (variable.startswith("DYAD_") and "__" in variable)
    return tuple(variable.removeprefix("DYAD_").lower().split("__")) if is_one else ()


def _merged(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def _sources(
    error: ValidationError, path: Path, environment: Mapping[str, str], overrides: Mapping[str, object], single: Iterable[str]
) -> str:
    """Where what does not fit was said: the file, a variable, options, or one of the pairs `single`; the last counts."""
    said = [(place, name) for name in environment if (place := _place_of(name))]
    said += [(place, "the options") for place in _places_in(overrides)]
    said += [(tuple(pair.partition("=")[0].strip().split(".")), pair) for pair in single]
    found = dict[str, None]()
    for at in (tuple(map(str, one["loc"])) for one in error.errors()):
        alike = (name for place, name in reversed(said) if at and all(map(str.__eq__, place, at)))
        found[next(alike, str(path))] = None
    return ", ".join(found)


def _places_in(tree: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    """The names that lead to each value of a nested mapping."""
    for name, value in tree.items():
        yield from ((name, *below) for below in _places_in(value)) if isinstance(value, Mapping) else [(name,)]


def _sentence(error: ValidationError) -> str:
    return "; ".join(mistake(one["loc"], one["msg"], one["type"], Settings) for one in error.errors())
