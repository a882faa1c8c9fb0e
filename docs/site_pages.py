"""Pages of the documentation site that are made when it is built: a hook of MkDocs, named in mkdocs.yml.

The README is the first page. The reference is made from the docstrings, the page of files and columns from the code, the
tutorial from its notebook, and a file outside docs/ that a page links comes along.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from reports.exports.files_page import files_page

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data", "modalities", "fusion", "reports", "configs", "flows")
COMMANDS = "flows/cli"
"""The folder without calls for Python: `dyad --help` is the reference of the commands."""
LINK = re.compile(r'(?<=\]\()[^)\s#:]+(?=[)#])|(?<=src=")[^":]+(?=")')
CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`|(?<=\n\n)(?: {4}[^\n]*(?:\n|\Z))+)", re.M | re.S)
"""What Markdown takes for code: with it, a text splits into other text and code by turns."""


class PlainDocstrings(griffe.Extension):
    """Leaves nothing in a docstring that Markdown would take for markup, but code in backticks."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Of each module, class, function and constant that was read."""
        if obj.docstring:
            parts = CODE.split(obj.docstring.value)
            parts[::2] = [re.sub(r"([*\[])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
            obj.docstring.value = "".join(parts)


class Cell(TypedDict, total=False):
    """What is read of a notebook's cell."""

    cell_type: str
    source: list[str]
    outputs: list["Output"]


class Output(TypedDict, total=False):
    """What is read of a cell's output: its text, or its data by type."""

    text: list[str]
    data: dict[str, list[str] | str]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and name those of the reference and the models' cards in the navigation."""
    cards = {f"cards/{path.name}": read(path) for path in sorted((ROOT / "modalities" / "weights").glob("*.md"))}
    reference = {f"reference/{name}.md": text for name, text in reference_pages()}
    others = {
        "index.md": read(ROOT / "README.md"),
        "files.md": files_page(),
        "tutorial.md": notebook(ROOT / "docs" / "tutorial.ipynb"),
    }
    for uri, text in {**others, **cards, **reference}.items():
        files.append(File.generated(config, uri, content=text))
    for section in (part for part in config.nav or [] if isinstance(part, dict)):
        for pages in section.values():
            pages[:] = [page for named in pages for page in {"cards": cards, "reference": reference}.get(named, [named])]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead where the things lie in the site, and bring along what lies outside docs/."""
    origin = ROOT / origin_of(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(origin.parent / link[0]))
        if not target.is_file():
            return link[0]
        uri = uri_of(target.relative_to(ROOT).as_posix())
        if not files.get_file_from_path(uri):
            files.append(File.generated(config, uri, abs_src_path=str(target)))
        return os.path.relpath(uri, os.path.dirname(page.file.src_uri) or ".")

    parts = CODE.split(markdown)
    parts[::2] = [LINK.sub(moved, part) for part in parts[::2]]
    return "".join(parts)


def origin_of(uri: str) -> str:
    """The file of the repository that a page of the site was made from."""
    made = {"index.md": "README.md", "tutorial.md": "docs/tutorial.ipynb"}
    return made.get(uri) or (f"modalities/weights/{Path(uri).name}" if uri.startswith("cards/") else f"docs/{uri}")


def uri_of(path: str) -> str:
    """Where a file of the repository lies in the site."""
    made = {"README.md": "index.md", "docs/tutorial.ipynb": "tutorial.md"}
    if path.startswith("modalities/weights/") and path.endswith(".md"):
        return f"cards/{Path(path).name}"
    return made.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}")


def reference_pages() -> Iterator[tuple[str, str]]:
    """A page for each folder of the packages, on it what is public in each of its modules."""
    path = ROOT / "dyad.py"
    face = griffe.visit("dyad", filepath=path, code=read(path))  # griffe's own search would find the launcher of that name
    calls = [
        (name, member)
        for name, member in face.members.items()
        if isinstance(member, griffe.Alias) and name in (face.exports or ())
    ]
    about = face.docstring.lines[0] if face.docstring else ""
    example = '```python\nimport dyad\n\nanswer = dyad.recognise("clip.mp4")\n```'
    parts = [
        f"::: {member.target_path}\n    options: {{heading: dyad.{name}, skip_local_inventory: true}}" for name, member in calls
    ]
    yield "dyad", "\n\n".join(["# `dyad`", about, example, *parts]) + "\n"
    for package in PACKAGES:
        for folder in sorted({path.parent for path in (ROOT / package).rglob("*.py")}):
            name = folder.relative_to(ROOT).as_posix()
            modules = [path.stem for path in sorted(folder.glob("*.py")) if path.stem not in ("__init__", "__main__")]
            if modules and name != COMMANDS:
                dotted = name.replace("/", ".")
                parts = [f"::: {dotted}.{module}" for module in modules]
                yield name, "\n\n".join([f"# `{dotted}`", *parts]) + "\n"


def notebook(path: Path) -> str:
    """A notebook as a page: what was written, the code, and what it showed."""
    cells: list[Cell] = json.loads(read(path))["cells"]
    return "\n\n".join(part for cell in cells for part in cell_parts(cell)) + "\n"


def cell_parts(cell: Cell) -> Iterator[str]:
    """The Markdown of a cell and its outputs."""
    source = "".join(cell["source"])
    yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data:
            yield f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
        elif "text/html" in data:
            yield "<div>" + re.sub(r"\n\s*", " ", "".join(data["text/html"])) + "</div>"
        else:
            yield "```text\n" + "".join(output.get("text") or data.get("text/plain", "")).rstrip() + "\n```"


def read(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")
