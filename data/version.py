"""Which version of Dyad this is."""

from importlib import metadata
from pathlib import Path


def version() -> str:
    """The version of Dyad, from the installed package or, in a checkout, from pyproject.toml."""
    try:
        return metadata.version("dyad-expressions")
    except metadata.PackageNotFoundError:
        import tomllib

        project = Path(__file__).resolve().parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
