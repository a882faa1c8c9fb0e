"""The options that several commands have, and how groups of commands show their help."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from configs import DEFAULT_PROFILE
from data.errors import InputError
from data.location import Location, is_address
from flows.cli.export import ExportsOption

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

    from configs.settings import Settings
    from modalities.face_networks.registry import Kind


class Sections(TyperGroup):
    """Commands under the heading of their section (`rich_help_panel`), each with its whole first sentence."""

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            said = (command.help or "").partition("\n\n")[0].replace("\n", " ")
            sections.setdefault(getattr(command, "rich_help_panel", None) or "Commands", []).append((name, said))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def local_path(text: str) -> Path:
    """A path of this machine; InputError, which shows it as it was written, for an address."""
    if is_address(text) and not text.startswith(("file://", "local://")):
        raise InputError(f"{text} is an address; this command knows files of this machine: copy it first, or use 'dyad batch'.")
    return Location.at(text).path if is_address(text) else Path(text)


StaticOption = Annotated[
    str | None, typer.Option("--static-face", help="NAME=CHECKPOINT of a network ('dyad models networks'), or a backend.")
]
DynamicOption = Annotated[
    str | None, typer.Option("--dynamic-face", help="NAME=CHECKPOINT of a network ('dyad models networks'), or a backend.")
]
OutputOption = Annotated[
    Path, typer.Option("-o", "--output", help="Folder that gets a run folder for each clip.", parser=local_path, metavar="FOLDER")
]
NameOption = Annotated[str, typer.Option(help="Name of the run folder of one clip; else made of the file's name and content.")]
AudioTrackOption = Annotated[int | None, typer.Option(min=1, help="The sound track to hear, from 1; else the one that sounds.")]
ProfileOption = Annotated[str, typer.Option(help="A profile in configs/, or a YAML file with settings.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--settings", metavar="KEY=VALUE", help="Any other setting ('dyad settings' explains all): windows.length=2; repeatable."
    ),
]
DescriptionsOption = Annotated[
    Path | None,
    typer.Option(
        help="Scene descriptions: CSV with window or start,end, and text; of several clips also clip.", parser=local_path,
        metavar="FILE",
    ),
]
DetectorOption = Annotated[str | None, typer.Option(help="Face detector: auto, mediapipe or opencv.")]
CompoundsOption = Annotated[
    str | None, typer.Option(help="The pairs to tell apart: a file in configs/compounds, or a YAML file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document a clip on stdout and nothing else there.")]
ExplainOption = Annotated[bool, typer.Option(help="Say in words what made each window's answer.")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Tell all: each stage, the evidence, why some is absent.")]
ProfileTimeOption = Annotated[
    bool, typer.Option("--profile-time", help="Say where the time went: by stage, computing, loading models and waiting.")
]
StrictOption = Annotated[bool, typer.Option(help="Fail when a modality fails or lacks its model.")]
DeviceOption = Annotated[str | None, typer.Option(help="Where networks run: auto (the best there is), cpu, cuda:0 or mps.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, max=256, help="Clips under way at once; else as fits cores and device.")
]
FreshOption = Annotated[bool, typer.Option(help="Do everything again, also what is already done.")]
PrefectOption = Annotated[
    bool, typer.Option("--prefect", help="Run as a flow of Prefect also where no server is up; a temporary one is started.")
]
RootOption = Annotated[str | None, typer.Option(help="Folder that the paths start from; else the table's own.")]
RemoteOption = Annotated[
    str | None, typer.Option(help="File systems whose addresses a table may name, e.g. s3,https; a manifest also its own one.")
]
FaceOption = Annotated[str | None, typer.Option(help="Whose faces the answer is about: main, all, or person=2 (see people.csv).")]
LanguageOption = Annotated[str | None, typer.Option(help="The language spoken, e.g. en; else found.")]
NoWordsOption = Annotated[bool, typer.Option("--no-words", help="Hear no words; those that are given count all the same.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What 'run' and 'batch' are both asked: how clips are recognised, which are, and what is told of their answers."""

    profile: ProfileOption = DEFAULT_PROFILE
    descriptions: DescriptionsOption = None
    audio_track: AudioTrackOption = None
    language: LanguageOption = None
    no_words: NoWordsOption = False
    face: FaceOption = None
    detector: DetectorOption = None
    static_face: StaticOption = None
    dynamic_face: DynamicOption = None
    device: DeviceOption = None
    compounds: CompoundsOption = None
    workers: WorkersOption = None
    explain: ExplainOption = False
    verbose: VerboseOption = False
    json: JsonOption = False
    strict: StrictOption = False
    fresh: FreshOption = False
    profile_time: ProfileTimeOption = False
    exports: ExportsOption = None
    single: SettingsOption = None

    def settings(self) -> "Settings":
        """The settings that the profile and the options mean."""
        from configs.settings import load_settings

        faces = {"which": self.face, "detector": self.detector}
        whole = {"device": self.device, "compounds": self.compounds}
        overrides = (
            {"faces": {name: value for name, value in faces.items() if value is not None}}
            | {name: value for name, value in whole.items() if value is not None}
            | face_overrides(self.static_face, self.dynamic_face)
            | words_overrides(self.language, self.no_words)
            | ({"decode": {"audio_track": self.audio_track}} if self.audio_track else {})
        )
        return load_settings(self.profile, overrides, single=self.single or ())


def takes_asked(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of `Asked`, which it gets together as `asked`."""
    own = signature(command, eval_str=True)
    shared = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in signature(Asked, eval_str=True).parameters.values()]

    @wraps(command)
    def asking(**given: Any) -> None:
        asked = Asked(**{one.name: given.pop(one.name) for one in shared})
        command(asked=asked, **given)

    together = [one for each in own.parameters.values() for one in (shared if each.name == "asked" else [each])]
    vars(asking)["__signature__"] = own.replace(parameters=together)
    asking.__annotations__ = {one.name: one.annotation for one in together} | {"return": None}
    return asking


def face_overrides(static: str | None, dynamic: str | None) -> dict[str, object]:
    """The settings that both options mean; InputError for a name that is neither a backend nor a network of that branch.

    `s4d=s4d.safetensors` is the network with its checkpoint, `avcer=resnet.pt,lstm.pt` one of two files, `embedded` a backend.
    """
    given: dict[Kind, str | None] = {"static": static, "dynamic": dynamic}
    return {f"{kind}_face": _meaning(kind, text) for kind, text in given.items() if text is not None}


def _meaning(kind: "Kind", text: str) -> dict[str, object]:
    from configs.schema import DynamicFaceSettings, StaticFaceSettings
    from modalities.face_networks.registry import network_table

    section = StaticFaceSettings if kind == "static" else DynamicFaceSettings
    name, _, files = text.partition("=")
    if name in get_args(section.model_fields["backend"].annotation) and name != "network":
        return {"backend": name}
    row = network_table().choose(name, kind)
    fields = zip(("checkpoint", "head"), filter(None, files.split(",")), strict=False)
    return {"backend": "network", "network": row.name, **dict(fields)}


def words_overrides(language: str | None, no_words: bool) -> dict[str, object]:
    """The settings that --language and --no-words mean."""
    words = ({"language": language} if language else {}) | ({"words": "off"} if no_words else {})
    return {"transcript": words} if words else {}


def file_systems(named: str | None) -> list[str]:
    """The names in --allow-remote; InputError for one that fsspec does not know, as in 's3://bucket'."""
    from fsspec import available_protocols

    names = [name.strip().lower() for name in (named or "").split(",") if name.strip()]
    for name in names:
        if name not in available_protocols():
            raise InputError(f"--allow-remote: '{name}' is no file system; write for example s3,https.")
    return names
