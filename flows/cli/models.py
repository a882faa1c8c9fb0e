"""`dyad models`: list, download, verify, find and remove the models that are too large to ship."""

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs import DEFAULT_PROFILE
from flows.cli.options import Sections

if TYPE_CHECKING:
    from configs.settings import Settings
    from modalities.face_networks.registry import NetworkRow
    from modalities.model_store.table import PinnedModel

models_app = typer.Typer(
    name="models", cls=Sections,
    help="Fetch and check the models that are too large to ship.\n\nExample: dyad models download cpu", no_args_is_help=True
)


@models_app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the models that can be fetched, their licences, and which are here.

    Example: dyad models list
    """
    from modalities.model_store.store import is_here
    from modalities.model_store.table import model_table

    table = model_table()
    here = {model.name for model in table.models.values() if is_here(model)}
    if as_json:
        rows = [asdict(model) | {"here": model.name in here} for model in table.models.values()]
        print(json.dumps({"models": rows, "groups": {name: list(group) for name, group in table.profiles.items()}}, indent=1))
        return
    for purpose, models in _by_purpose(table.models.values()):
        print(f"{purpose}:")
        print("\n".join(_aligned([_columns(model, model.name in here) for model in models])))
    print("\ngroups:")
    sizes = {name: readable(sum(model.size for model in table.choose(name))) for name in table.profiles}
    print("\n".join(_aligned([(f"  {name}", sizes[name], ", ".join(rows)) for name, rows in table.profiles.items()])))
    print("\nUnverified rows are not confirmed. Where no commit or digests are known, the first download is noted and a later")
    print("one that brings something else is refused. Sizes are approximate.")


@models_app.command()
def download(
    what: Annotated[str, typer.Argument(help="A model or a group that 'dyad models list' shows.", show_default=False)],
    mirror: Annotated[Path | None, typer.Option(help="Folder to copy from instead of the network; also DYAD_MIRROR.")] = None,
) -> None:
    """Fetch models into Dyad's own folder, where every run finds them.

    Example: dyad models download cpu
    """
    from data.errors import WeightsError
    from modalities.model_store.store import fetch, is_here, missing_space
    from modalities.model_store.table import model_table

    chosen = model_table().choose(what)
    mirror = mirror or (Path(os.environ["DYAD_MIRROR"]) if os.environ.get("DYAD_MIRROR") else None)
    _announce(chosen)
    if mirror is None and (sentence := missing_space(chosen)):
        raise WeightsError(sentence)
    with _network_allowed():
        for model in chosen:
            known = is_here(model)
            folder = fetch(model, mirror)
            print(f"{model.name} {'was already' if known else 'is now'} in {folder}")


@models_app.command()
def verify() -> None:
    """Read the fetched files again and compare them with their digests.

    Example: dyad models verify
    """
    from modalities.model_store import store as model_store
    from modalities.model_store.table import model_table

    found = problems = 0
    for item in model_store.verify(model_table().models):
        found, problems = found + 1, problems + bool(item.problem)
        print(item.problem or f"{item.path} is whole.", flush=True)
    if not found:
        print("No model has been fetched yet; see 'dyad models list'.")
    sys.exit(1 if problems else 0)


@models_app.command()
def remove(what: Annotated[str, typer.Argument(help="A model or a group that was fetched.", show_default=False)]) -> None:
    """Remove fetched models from Dyad's own folder; nothing else is touched.

    Example: dyad models remove qwen3-vl-4b
    """
    from modalities.model_store import store as model_store
    from modalities.model_store.table import model_table

    for model in model_table().choose(what):
        freed = model_store.remove(model)
        print(f"{model.name} is removed, {freed / 1e6:.0f} MB are free again." if freed else f"{model.name} was not fetched.")


@models_app.command()
def where(
    profile: Annotated[str, typer.Option(help="A profile in configs/, or a YAML file with settings.")] = DEFAULT_PROFILE,
) -> None:
    """Show the folders where models are looked for, and the model that each modality uses in a profile.

    Example: dyad models where --profile gpu
    """
    from configs.settings import load_settings
    from modalities.model_store.local import hub_cache, models_folder, whisper_cache

    settings = load_settings(profile)
    print(f"Dyad's own folder (DYAD_MODELS): {models_folder()}")
    print(f"Hugging Face cache (HF_HOME):    {hub_cache()}")
    print(f"Whisper's cache:                 {whisper_cache()}")
    print(f"Mirror (DYAD_MIRROR):            {os.environ.get('DYAD_MIRROR') or 'none'}")
    print(f"\nIn profile {profile}:")
    print("\n".join(_aligned([(f"  {modality.replace('_', ' ')}:", seen) for modality, seen in _in_use(settings)])))


@models_app.command()
def networks(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the networks of the literature for the face: size, input, what they need, where their weights are.

    Example: dyad models networks
    """
    from modalities.face_networks.registry import network_table

    rows = network_table().networks
    if as_json:
        print(json.dumps({"networks": [asdict(row) for row in rows.values()]}, indent=1))
        return
    header = ("name", "branch", "parameters", "input", "needs", "licence of the weights")
    print("\n".join(_aligned([header, *map(_network_columns, rows.values())])))
    print("\ncheckpoints:")
    print("\n".join(_aligned([(f"  {row.name}", row.checkpoint["source"]) for row in rows.values()])))
    print("\nuse one with --static-face NAME=FILE, --dynamic-face NAME=FILE, or in YAML (docs/networks.md):")
    print("\n".join(_aligned([(f"  {row.name}", row.used) for row in rows.values() if row.used])))


def _network_columns(row: "NetworkRow") -> tuple[str, ...]:
    branch = "static, dynamic" if row.kind == "both" else row.kind
    return row.name, branch, f"{row.parameters / 1e6:.2f} M", row.input.said(), ", ".join(row.needs) or "-", row.licence


def readable(megabytes: int) -> str:
    """Megabytes for people: `605 MB`, `7.8 GB`."""
    from modalities.model_store.local import readable_size

    return readable_size(megabytes)


def _by_purpose(models: "Iterable[PinnedModel]") -> "Iterator[tuple[str, list[PinnedModel]]]":
    for purpose, group in itertools.groupby(models, key=lambda model: model.purpose):
        yield purpose, list(group)


def _columns(model: "PinnedModel", here: bool) -> tuple[str, ...]:
    marks = ["here"] if here else []
    marks += ["NO COMMERCIAL USE"] if model.non_commercial else []
    marks += ["unverified"] if model.unverified else []
    marks += [f"no {model.unpinned.replace(' and ', ' or ')} known"] if model.unpinned else []
    return f"  {model.name}", readable(model.size), model.licence, ", ".join(marks), model.note


def _aligned(rows: "Sequence[tuple[str, ...]]") -> list[str]:
    """Rows with their columns as wide as the widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _announce(chosen: "Sequence[PinnedModel]") -> None:
    """Sizes, licences and the total, before anything is fetched."""
    rows = [(f"{model.name}:", readable(model.size), f"licence: {model.licence}") for model in chosen]
    sys.stderr.write("\n".join(_aligned(rows)) + "\n")
    for model in chosen:
        if model.non_commercial:
            sys.stderr.write(f"{model.name}: this licence FORBIDS COMMERCIAL USE.\n")
    if len(chosen) > 1:
        sys.stderr.write(f"Together {readable(sum(model.size for model in chosen))}.\n")


def _in_use(settings: "Settings") -> Iterator[tuple[str, str]]:
    """For every modality what recognises it in a profile: a path, or the command that gets what is missing."""
    from flows.backends import MODULES, backend_of

    for modality in MODULES:
        for part, location in backend_of(settings, modality).describe(settings).locations.items():
            yield f"{modality} {part}".strip(), location


@contextlib.contextmanager
def _network_allowed() -> Iterator[None]:
    """Lift HF_HUB_OFFLINE inside the block where Dyad itself has set it and not the user."""
    from flows.server.prefect_setup import set_by_dyad

    if "HF_HUB_OFFLINE" not in set_by_dyad:
        yield
        return
    before = os.environ.pop("HF_HUB_OFFLINE", None)
    from huggingface_hub import constants

    known, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False  # it was read when the library was imported
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = known
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before
