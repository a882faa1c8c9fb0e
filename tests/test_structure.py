"""The rules of the project that a reader would otherwise have to trust: import direction, sizes, docstrings."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "modalities", "fusion", "configs", "data", "reports")
MAY_IMPORT = {
    "data": set(), "modalities": {"data"}, "fusion": {"data"}, "reports": {"data"}, "configs": set(),
    "flows": {"data", "modalities", "fusion", "reports", "configs"},
}  # fmt: skip


def sources(package: str) -> Iterator[Path]:
    yield from (ROOT / package).rglob("*.py")


def imported(path: Path) -> set[str]:
    """First names of everything that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    for path in sources(package):
        ours = imported(path) & set(PACKAGES)
        assert ours <= MAY_IMPORT[package] | {package}, f"{path} imports {ours}"


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "flows"])
def test_domain_code_knows_nothing_of_prefect(package: str) -> None:
    for path in sources(package):
        assert "prefect" not in imported(path), path


def test_files_and_functions_are_short() -> None:
    lengths = []
    for package in PACKAGES:
        for path in sources(package):
            text = path.read_text(encoding="utf-8")
            assert len(text.splitlines()) <= 400, path
            functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            lengths += [(node.end_lineno or 0) - node.lineno + 1 for node in functions]
    assert median(lengths) <= 12


def test_public_functions_and_classes_have_docstrings() -> None:
    for package in PACKAGES:
        for path in sources(package):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    assert ast.get_docstring(node), f"{path}: {node.name}"


def test_nothing_unpickles() -> None:
    for package in PACKAGES:
        for path in sources(package):
            text = path.read_text(encoding="utf-8")
            assert "pickle.load" not in text, path
            assert "allow_pickle=True" not in text
            if "torch.load(" in text:
                assert text.count("torch.load(") == text.count("weights_only=True"), path


@pytest.mark.slow
def test_types_and_style() -> None:
    """`mypy --strict` and `ruff` find nothing."""
    for command in (["mypy"], ["ruff", "check", "."]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
