"""The documentation does what it says: its commands and code run, its options exist, its links lead somewhere."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
import pytest
import typer
import yaml
from nbclient import NotebookClient

from benchmarks.__main__ import NAMES as BENCHMARKS
from data.run_folder import RunFolder
from data.sample import sample_clip
from reports.result import SCHEMA
from tests.waiting import fonts_are_known

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
Dyad = Callable[..., tuple[int, str, str]]
UsageError: Any = typer.BadParameter.__base__
NOT_RUN = {
    "datasets.md": "tests/data/manifest/test_manifest.py and tests/data/corpora/test_corpora.py read such files",
    "formats.md": "tests/reports/exports/test_exports.py writes every format",
    "fusion.md": "tests/fusion/tables/test_fuse_tables.py runs these commands on a larger table",
    "gpu.md": "needs a GPU",
    "installation.md": "makes environments and downloads packages; tests/flows/cli/test_launcher.py runs the launcher",
    "networks.md": "a table of networks whose weights are not here",
    "training.md": "trains for hours; tests/modalities/training runs the recipes on little data",
    "models.md": "downloads gigabytes; test_model_commands.py and test_profiles.py run it with tiny models",
    "operations.md": "starts servers; tests/flows/server/test_server.py and tests/flows/server/test_deployments.py do",
    "prefect.md": "starts servers",
    "quality.md": "measures for an hour",
    "scale.md": "runs data sets for hours; tests/flows/batch/test_dataset.py and tests/faults run small ones",
}
"""Pages whose blocks are not run here, and why; their commands are still parsed."""


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands behind its fence, and in a comment before it (`run`, `not run: why`, `file: name`)."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


FENCE = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, one.start()) + 1, one["language"], one["mark"] or "", one["text"])
        for one in FENCE.finditer(text)
    ]


def simple_commands(text: str) -> Iterator[list[str]]:
    """Words of each simple command of a shell block that calls dyad, without variables before it and redirections behind it."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words = list(lexer)
        except ValueError:
            continue  # a string over several lines, which no dyad command has
        for one in re.split(r"\x00(?:\|\|?|&&|;)\x00", "\x00".join(words)):
            command = re.split(r"\x00?(?:\d\x00)?[<>]", one)[0].split("\x00")
            while command and re.fullmatch(r"[A-Z_]+=.*|nohup|nice", command[0], re.S):
                command = command[1:]
            if command and Path(command[0]).name == "dyad":
                yield command[1:]


def source_of_benchmark(module: str) -> str:
    return (ROOT / "benchmarks" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")


def parse(words: list[str]) -> None:
    """Raise what the command line would say of wrong usage; nothing is run."""
    from flows.cli.app import app

    if words[:1] in ([], ["test"], ["lock"]) or words in (
        ["benchmark"],
        ["docs"],
        ["docs", "--build", "site/"],
        ["docs", "--port", "8001"],
    ):
        return
    if words[0] == "benchmark":
        source = source_of_benchmark(BENCHMARKS[words[1]])
        shared = re.findall(r"from benchmarks\.(common|[\w]+\.[\w]+) import", source)
        source += "".join(source_of_benchmark(module) for module in shared)
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in source, f"benchmark {words[1]} has no {option}"
        return
    command: Any = typer.main.get_command(app)
    name = "dyad"
    while hasattr(command, "commands"):
        if not words:
            return  # a group alone shows its help
        name, words = words[0], words[1:]
        if name not in command.commands:
            raise UsageError(f"there is no command '{name}'")
        command = command.commands[name]
    try:
        command.make_context(name, list(words))
    except typer.Exit:
        return  # --help
    except typer.BadParameter as error:
        if "does not exist" not in str(error):
            raise


def command_text(page: Path) -> str:
    """What a page shows as whole commands: shell blocks and indented lines."""
    text = page.read_text(encoding="utf-8")
    shell = "\n".join(block.text for block in blocks(page) if block.language in ("", "sh"))
    prose = FENCE.sub("", text)
    indented = "\n".join(re.findall(r"^    (?=\.?/?dyad )(.*)$", prose, re.M))
    return f"{shell}\n{indented}"


def prose_commands(page: Path) -> str:
    """Commands inside the text, which may lack their arguments: `dyad train voice`."""
    return "\n".join(re.findall(r"`((?:\./)?dyad [a-z][^`\n]*)`", FENCE.sub("", page.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_is_one(page: Path) -> None:
    for text, in_prose in ((command_text(page), False), (prose_commands(page), True)):
        for words in simple_commands(text):
            try:
                parse(words)
            except UsageError as error:
                if not (in_prose and "Missing" in error.format_message()):
                    pytest.fail(f"{page.name}: dyad {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_are_run_or_say_why_not(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("sh", "python", "") and page.name not in NOT_RUN:
            assert re.fullmatch(r"run|not run: .{10,}|file: [\w./-]+", block.mark), f"{block} says neither"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", FENCE.sub("", page.read_text(encoding="utf-8"))):
        address = "".join(target).split("#")[0]
        if address and "://" not in address:
            assert (page.parent / address).exists(), f"{page.name} links {address}"


PATH = re.compile(r"(?<![\w/.-])(?:data|modalities|fusion|reports|configs|flows|benchmarks|tests|docs)/[\w./*-]*[\w/*]")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_folders_that_a_page_names_are_there(page: Path) -> None:
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        assert path.startswith("modalities/added/") or any(ROOT.glob(path.rstrip("/"))), f"{page.name} names {path}"


@pytest.fixture
def desk(sample_run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with clip.mp4 and clips/, all of them recognised before, so that only what a page changes is done again."""
    content = sample_run.root.name.rpartition("-")[2]
    (tmp_path / "clips").mkdir()
    for name in ("clip", "clips/clip", "clips/other"):
        for suffix in (".mp4", ".vtt"):
            shutil.copy(sample_clip().with_suffix(suffix), tmp_path / f"{name}{suffix}")
    for name in ("clip", "other"):
        shutil.copytree(sample_run.root, tmp_path / "runs" / f"{name}-{content}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_shell(line: str, dyad: Dyad) -> str:
    """Run one line of a shell block; variables before a command need a process of its own."""
    line = line.split(" #")[0].strip()
    if not line:
        return ""
    if re.match(r"[A-Z_]+=", line):
        from prefect.settings import get_current_settings

        (words,) = simple_commands(line)
        given = dict(word.split("=", 1) for word in shlex.split(line)[: len(shlex.split(line)) - len(words) - 1])
        environment = {**os.environ, **given, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": str(get_current_settings().api.url)}
        command = [sys.executable, "-P", "-m", "flows", *words]  # what a variable changes may be read as modules are imported
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
    (words,) = simple_commands(line)
    code, out, err = dyad(*words)
    assert code == 0, f"{line}: {err}"
    if file := re.search(r"> ?(\S+)$", line):
        Path(file[1]).write_text(out, encoding="utf-8")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", *HOW_TO], ids=lambda page: page.stem)
def test_how_to_pages_work_from_top_to_bottom(page: Path, desk: Path, dyad: Dyad) -> None:
    ran, variables = 0, dict[str, object]()
    for block in blocks(page):
        if block.mark.startswith("file: "):
            file = desk / block.mark.removeprefix("file: ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.mark == "run" and block.language == "python":
            with redirect_stdout(StringIO()):
                exec(compile(block.text, str(block), "exec"), variables)
            ran += 1
        elif block.mark == "run":
            for line in block.text.splitlines():
                run_shell(line, dyad)
            ran += 1
    assert ran or page.stem == "scheduled"
    last = max((desk / "runs").glob("clip-*/result.json"), key=lambda path: path.stat().st_mtime)
    AFTERWARDS.get(page.stem, lambda folder: None)(last.parent)


def lighting_counts(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    jsonschema.validate(result, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert result["modalities"]["lighting"]["state"] == "present"
    assert max(window["contributions"]["lighting"] or 0 for window in result["windows"]) > 0
    assert "lighting" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "lighting.parquet").is_file()


AFTERWARDS = {"add-a-modality": lighting_counts}
"""What a page promises of the run folder of clip.mp4."""


LOADS = re.compile(
    r"<(?:script|img|iframe|source)[^>]* src=[\"']?(?:https?:)?//|<link[^>]* href=[\"']?(?:https?:)?//|url\([\"']?(?:https?:)?//"
)
"""What a browser would fetch from another host by itself."""


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """It holds the written pages, the calls for Python, every file and column, and needs no network to be read."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(ROOT / "mkdocs.yml"),
        "--site-dir",
        str(tmp_path),
    ]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(tmp_path).as_posix(): page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")}
    assert "Dyad reads a video and answers" in pages["index.html"]
    assert 'id="flows.api.recognise"' in pages["reference/dyad.html"]
    assert 'id="fusion.mhpf.collapse"' in pages["reference/fusion.html"]
    assert "contribution_" in pages["files.html"]
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= {Path(name).stem for name in pages}
    styles = {style.name: style.read_text(encoding="utf-8") for style in tmp_path.rglob("*.css")}
    for name, text in {**pages, **styles}.items():
        assert not (found := LOADS.search(text)), f"{name}: {found}"


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["cff-version"], cited["version"], cited["license"]) == ("1.2.0", project["version"], project["license"])
    assert {"message", "title", "authors"} <= set(cited)


def kinds(cell: Any) -> list[object]:
    """What a cell shows: streams by name, however many pieces they came in, and values by their forms."""
    shown = [output.get("name") or sorted(output.get("data", {})) for output in cell.get("outputs", ())]
    return [kind for kind, _ in groupby(shown)]


@pytest.mark.slow
def test_the_tutorial_runs_again(prefect_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make it anew: `PYTHONPATH=. .venv/bin/jupyter execute --inplace docs/tutorial.ipynb`."""
    from prefect.settings import get_current_settings

    file = ROOT / "docs" / "tutorial.ipynb"
    assert file.stat().st_size < 400_000
    text = file.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert "/tmp/" not in text
    stored, notebook = (nbformat.reads(text, nbformat.NO_CONVERT) for _ in range(2))
    nbformat.validate(stored)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
    where = {"metadata": {"path": str(tmp_path)}}
    fonts_are_known()
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where, coalesce_streams=True).execute()
    for old, new in zip(stored.cells, notebook.cells, strict=True):
        assert kinds(new) == kinds(old), new.source
    assert (tmp_path / "runs").is_dir()
