"""What of the installation works, what does not, and what to do about it (`dyad doctor`)."""

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.markup import escape
from rich.table import Table

from configs.settings import Settings, load_settings
from data import terminal
from data.errors import DyadError

if TYPE_CHECKING:
    from modalities.model_store.table import PinnedModel

COLOURS = {"ok": "green", "absent": "yellow", "broken": "red"}
LIBRARIES = ("torch", "torchvision", "open_clip", "transformers", "whisper", "av", "cv2", "prefect", "pandas")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its state, what was seen, and what to do where it is not `ok`."""

    what: str
    state: Literal["ok", "absent", "broken"]
    seen: str
    remedy: str = ""


def examine() -> int:
    """Print all findings; returns 0 when nothing is broken, 1 otherwise."""
    findings = list(look())
    table = Table("what", "state", "seen", "what to do")
    for finding in findings:
        state = f"[{COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(finding.what, state, escape(finding.seen), escape(finding.remedy))
    terminal.console().print(table)
    broken = sum(finding.state == "broken" for finding in findings)
    terminal.console().print(f"{broken} of {len(findings)} checks found something broken." if broken else "Nothing is broken.")
    return 1 if broken else 0


def look() -> Iterator[Finding]:
    """Every finding, one after the other."""
    yield _python()
    for name in LIBRARIES:
        yield _library(name)
    yield _detector()
    yield from _devices()
    yield from _own_networks()
    yield _fusion_weights()
    yield from _local_models()
    yield from _profiles()
    yield _server()
    yield _disk()


def _python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("Python", "ok", version)
    return Finding("Python", "broken", version, "Use Python 3.11, 3.12 or 3.13 (set DYAD_PYTHON and remove .venv).")


def _library(name: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a library may fail in any way; the finding says how
        return Finding(name, "broken", f"{type(error).__name__}: {error}", "Remove .venv and run ./dyad demo to install again.")
    return Finding(name, "ok", str(getattr(module, "__version__", "installed")))


def _detector() -> Finding:
    try:
        import mediapipe
    except ImportError as error:
        remedy = "OpenCV finds faces instead; MediaPipe 0.10.21 installs on Python 3.11 and 3.12."
        return Finding("mediapipe", "absent", str(error), remedy)
    return Finding("mediapipe", "ok", str(mediapipe.__version__))


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("CPU", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield Finding(f"cuda:{number}", "ok", torch.cuda.get_device_name(number))
    else:
        yield Finding("CUDA", "absent", "no CUDA device", "None is needed by the embedded profile.")


def _own_networks() -> Iterator[Finding]:
    """Of each of our own networks, whether its weights can be loaded."""
    from flows.backends import MODULES, backends_of
    from flows.backends.own_networks import OwnNetwork

    settings = Settings()
    own = (one for modality in MODULES for one in backends_of(modality).values() if isinstance(one, OwnNetwork))
    for network in own:
        what = f"weights: {network.modality.replace('_', ' ')}"
        try:
            network.load(settings)
        except DyadError as error:
            yield Finding(what, "broken", str(error), "Restore the file from the repository (git checkout modalities/weights).")
        else:
            yield Finding(what, "ok", f"revision {network.describe(settings).revision}")


def _fusion_weights() -> Finding:
    from fusion.weights import read_weights

    try:
        return Finding("weights: fusion", "ok", read_weights().description[:100])
    except DyadError as error:
        return Finding("weights: fusion", "broken", str(error), "Restore the file from the repository (git checkout fusion).")


def _local_models() -> Iterator[Finding]:
    from flows.backends import backend_of

    settings = Settings()
    for what, modality in (("Whisper", "transcript"), ("CLIP", "scene_labels")):
        found = backend_of(settings, modality).describe(settings)
        yield Finding(what, "absent" if found.reason else "ok", found.reason or found.locations[""], found.remedy)


def _profiles() -> Iterator[Finding]:
    """Of each profile with large models, how many of them are here."""
    from configs.settings import PROFILES
    from modalities.model_store.table import model_table

    table = model_table()
    for profile in sorted(set(table.profiles) & {file.stem for file in PROFILES.glob("*.yaml")}):
        missing = [model.name for model in table.choose(profile) if not _is_found(model)]
        count = len(table.choose(profile))
        seen = f"{count - len(missing)} of {count} models are here" + (f"; not {', '.join(missing)}" if missing else "")
        remedy = f"Where you want this profile: ./dyad models download {profile}" if missing else ""
        yield Finding(f"profile {profile}", "absent" if missing else "ok", seen, remedy)


def _is_found(model: "PinnedModel") -> bool:
    from modalities.model_store.local import find_clip, find_repository, find_whisper

    if model.url:
        return find_whisper(name=model.name).found is not None
    return bool(find_clip(name=model.name).found if model.purpose == "scene labels" else find_repository(model.name))


def _server() -> Finding:
    from flows.server import prefect_setup

    if not prefect_setup.has_server():
        remedy = "Each command starts a temporary one (some seconds); 'dyad up' starts one that stays."
        return Finding("Prefect server", "absent", "none is up, and PREFECT_API_URL is not set", remedy)
    import httpx
    from prefect.settings import get_current_settings

    url = str(get_current_settings().api.url)
    try:
        httpx.get(f"{url}/health", timeout=5).raise_for_status()
    except httpx.HTTPError as error:
        return Finding("Prefect server", "broken", f"{url}: {error}", "Start it, or unset PREFECT_API_URL and use 'dyad up'.")
    return Finding("Prefect server", "ok", url)


def _disk() -> Finding:
    free = shutil.disk_usage(Path(tempfile.gettempdir())).free / 1e9
    seen = f"{free:.1f} GB free for temporary files; profile embedded reads {load_settings().decode.frames_per_second:g} frames/s"
    return Finding("disk", "ok" if free > 1 else "broken", seen, "" if free > 1 else "Free some space, or set TMPDIR.")
