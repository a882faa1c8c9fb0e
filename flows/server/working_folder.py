"""Prefect's settings come from the environment and the user's profile, never from files of the folder that one works in.

Prefect reads `prefect.toml`, `.env` and `pyproject.toml` of the working folder, in this process and in that of a temporary
server. That server also imports modules from there (alembic puts its working folder first), and so does the process of a run,
for as long as its flow is imported. So a folder of clips that somebody sends could have a run execute code or go to another
server.
"""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from flows.runtime.state_folder import made, state_folder

CODE = Path(__file__).resolve().parents[2]


def leave_alone() -> None:
    """Have Prefect read nothing from the working folder, also when it is imported later; takes no time."""
    for name, change in CHANGES.items():
        if name in sys.modules:
            change(sys.modules[name])
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the modules of Prefect that are changed when they are imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in CHANGES:
            return None
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is None or found.origin is None:
            return found
        return importlib.util.spec_from_file_location(name, found.origin, loader=_Loader(name, found.origin))


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module and changes it before anybody else sees it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        CHANGES[module.__name__](module)


def _without_files(sources: Any) -> None:
    """Take the files of the working folder out of Prefect's sources of settings."""
    known_profiles = sources._get_profiles_path

    def read_no_files(*_: object) -> dict[str, Any]:
        return {}

    def profiles_path() -> Path:
        home = os.environ.get("PREFECT_HOME", str(sources.DEFAULT_PREFECT_HOME))
        if "PREFECT_PROFILES_PATH" in os.environ or sources._is_test_mode():
            return Path(known_profiles())
        there = Path(home).expanduser() / "profiles.toml"
        return there if "PREFECT_HOME" in os.environ or there.exists() else Path(sources.DEFAULT_PROFILES_PATH)

    sources.TomlConfigSettingsSourceBase._read_files = read_no_files
    sources.FilteredDotEnvSettingsSource._read_env_files = read_no_files
    sources._get_profiles_path = profiles_path


def _with_own_command(server: Any) -> None:
    """Have the process of a temporary server import our code first, nothing from the working folder, and ask for a password."""

    def started(temporary: Any) -> "subprocess.Popen[bytes]":
        from prefect.settings import get_current_settings

        command = [
            sys.executable, "-P", "-m", "uvicorn", "--app-dir", str(CODE), "--factory", "flows.server.ui_app:create_app",
            "--host", "127.0.0.1", "--port", str(temporary.port), "--log-level", "error", "--lifespan", "on",
        ]  # fmt: skip
        settings = get_current_settings()
        password = settings.api.auth_string
        own = {"PREFECT_SERVER_API_AUTH_STRING": password.get_secret_value()} if password else {}
        own |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        told = {**settings.to_environment_variables(exclude_unset=True), "PREFECT_HOME": str(settings.home.absolute())}
        return subprocess.Popen(command, env={**os.environ, **told, **own}, cwd=made(state_folder()))

    server.SubprocessASGIServer._run_uvicorn_command = started


def _without_dotenv(base: Any) -> None:
    """Have no class of settings name `.env`: pydantic would read it, only to leave it out."""
    told = base.build_settings_config

    def config(*path: Any, **more: Any) -> Any:
        return {**told(*path, **more), "env_file": None}

    base.build_settings_config = base._build_settings_config = config


def _without_its_modules(tools: Any) -> None:
    """Import the modules of flows as Python does: Prefect's own way puts the working folder before all packages meanwhile."""
    tools.load_module = importlib.import_module


CHANGES: dict[str, Callable[[Any], None]] = {
    "prefect.settings.base": _without_dotenv,
    "prefect.utilities.importtools": _without_its_modules,
    "prefect.settings.sources": _without_files,
    "prefect.server.api.server": _with_own_command,
}
"""What is changed in a module of Prefect's."""
