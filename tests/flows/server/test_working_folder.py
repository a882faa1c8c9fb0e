"""A folder that somebody sends: what lies in it changes no setting, executes nothing and redirects nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.media_makers import make_sound

MODULES = ("mailbox", "random", "token", "uvicorn", "sitecustomize", "numpy", "prefect", "yaml")
READ = """
import os, sys
seen = set()
sys.addaudithook(lambda event, given: event in ("open", "os.listdir", "os.scandir") and seen.add(str(given[0])))
{imports}
from prefect.settings import get_current_settings
settings = get_current_settings()
here = os.getcwd()
print(settings.api.url, settings.logging.config_path.parent == settings.home, settings.profiles_path.parent == settings.home)
print([path for path in seen if not os.path.isabs(path) or path.startswith(here)])
"""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder whose files name another server and a configuration of the logging that writes `executed`."""
    folder = tmp_path / "clips"
    folder.mkdir()
    handler = f"{{class: logging.FileHandler, filename: '{folder / 'executed'}'}}"
    (folder / "logging.yml").write_text(f"version: 1\nhandlers:\n  one: {handler}\nroot: {{handlers: [one]}}\n")
    said = f'config_path = "{folder / "logging.yml"}"'
    (folder / "prefect.toml").write_text(f'[logging]\n{said}\n[api]\nurl = "http://127.0.0.1:9/api"\n')
    (folder / "pyproject.toml").write_text(f"[tool.prefect.logging]\n{said}\n")
    (folder / ".env").write_text("PREFECT_API_URL=http://127.0.0.1:9/api\nPREFECT_PROFILES_PATH=profiles.toml\n")
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'executed')!r}, 'w')\n")
    return folder


def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "DYAD_STATE": str(tmp_path / "state"), "PREFECT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}


def read_settings(folder: Path, imports: str) -> list[str]:
    command = [sys.executable, "-P", "-c", READ.format(imports=imports)]
    done = subprocess.run(command, cwd=folder, env=environment(folder.parent), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_settings_come_from_nothing_in_the_working_folder(planted: Path) -> None:
    as_a_run_does = "; from prefect.utilities.importtools import import_object; import_object('mailbox.Mailbox')"
    assert read_settings(planted, f"import flows, prefect.main{as_a_run_does}") == ["None True True", "[]"]
    assert read_settings(planted, "import prefect.main")[0] == "http://127.0.0.1:9/api False False", "what Prefect itself does"


def test_a_profile_of_the_users_own_is_read(planted: Path) -> None:
    home = planted.parent / "home"
    home.mkdir()
    (home / "profiles.toml").write_text('active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "http://mine/api"\n')
    assert read_settings(planted, "import flows")[0] == "http://mine/api True True"


@pytest.mark.slow
def test_a_run_in_the_folder_executes_and_redirects_nothing(planted: Path) -> None:
    """With a temporary server, which is a process of its own."""
    make_sound(planted / "tone.wav", codec="pcm_s16le")
    command = [sys.executable, "-P", "-m", "flows", "run", "tone.wav", "-o", str(planted.parent / "runs")]
    before = set(planted.iterdir())
    done = subprocess.run(command, cwd=planted, env=environment(planted.parent), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert list((planted.parent / "runs").glob("tone-*/result.json"))
    assert set(planted.iterdir()) == before
