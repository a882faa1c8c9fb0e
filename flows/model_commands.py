"""`dyad models`: list, download, verify and find the models that are too large to ship."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

models_app = typer.Typer(
    help="Fetch and check the models that are too large to ship.\n\nExample: dyad models download clip", no_args_is_help=True
)


@models_app.command("list")
def list_models() -> None:
    """Show the models that can be fetched, their licences, and which are here.

    Example: dyad models list
    """
    from modalities.model_store import is_here
    from modalities.model_table import model_table

    table = model_table()
    for model in table.models.values():
        notes = ["here"] if is_here(model) else []
        notes += ["no commercial use"] if model.non_commercial else []
        notes += ["unverified"] if model.unverified else []
        print(f"{model.name:<24} {model.size:>5} MB  {model.purpose:<18} {model.licence}  {', '.join(notes)}".rstrip())
    print("\nGroups: " + "; ".join(f"{name} = {', '.join(rows)}" for name, rows in table.profiles.items()))
    print("Unverified rows could not be checked against the hub: they fetch its newest revision. Sizes are approximate.")


@models_app.command()
def download(
    what: Annotated[str, typer.Argument(help="A model or a group that 'dyad models list' shows.", show_default=False)],
    mirror: Annotated[Path | None, typer.Option(help="Folder to copy from instead of the network; also DYAD_MIRROR.")] = None,
) -> None:
    """Fetch models into Dyad's own folder, where every run finds them.

    Example: dyad models download clip
    """
    from modalities.model_store import Origin, fetch, is_here
    from modalities.model_table import model_table

    chosen = model_table().choose(what)
    source = mirror or (Path(os.environ["DYAD_MIRROR"]) if os.environ.get("DYAD_MIRROR") else None)
    for model in chosen:
        sys.stderr.write(f"{model.name}: {model.size} MB, licence: {model.licence}\n")
        if model.non_commercial:
            sys.stderr.write(f"{model.name}: this licence FORBIDS COMMERCIAL USE.\n")
    with _network() as offline:
        for model in chosen:
            known = is_here(model)
            with _progress(model.name) as progress:
                folder = fetch(model, Origin(source, offline), progress)
            print(f"{model.name} {'was already' if known else 'is now'} in {folder}")


@models_app.command()
def verify() -> None:
    """Read the fetched files again and compare them with their digests.

    Example: dyad models verify
    """
    from modalities import model_store
    from modalities.model_table import model_table

    checked = list(model_store.verify(model_table().models))
    for item in checked:
        print(item.problem or f"{item.path} is whole.")
    if not checked:
        print("No model has been fetched yet; see 'dyad models list'.")
    sys.exit(1 if any(item.problem for item in checked) else 0)


@models_app.command()
def where() -> None:
    """Show the folders where models are looked for, and those that runs use.

    Example: dyad models where
    """
    from modalities.local_models import find_clip, find_whisper, hub_cache, models_folder, whisper_cache

    print(f"Dyad's own folder (DYAD_MODELS): {models_folder()}")
    print(f"Hugging Face cache (HF_HOME):    {hub_cache()}")
    print(f"Whisper's cache:                 {whisper_cache()}")
    print(f"Mirror (DYAD_MIRROR):            {os.environ.get('DYAD_MIRROR') or 'none'}")
    for name, found in (("CLIP", find_clip().found), ("Whisper", find_whisper().found)):
        command = f"none; run 'dyad models download {name.lower()}'"
        print(f"{name + ' in use:':<32} {found.path if found else command}")


@contextlib.contextmanager
def _network() -> Iterator[bool]:
    """Lift HF_HUB_OFFLINE inside the block where Dyad itself has set it; yields True when the user wants no network."""
    from flows.prefect_setup import set_by_dyad

    if "HF_HUB_OFFLINE" not in set_by_dyad:
        yield os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        return
    before = os.environ.pop("HF_HUB_OFFLINE", None)
    from huggingface_hub import constants

    known, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False  # it was read when the library was imported
    try:
        yield False
    finally:
        constants.HF_HUB_OFFLINE = known
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr for what Dyad fetches itself; huggingface_hub draws its own."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total or None, visible=True)
