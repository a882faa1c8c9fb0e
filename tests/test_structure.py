"""The rules of the project that a reader would otherwise have to trust: imports, folders, docstrings."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "modalities", "fusion", "configs", "data", "reports")
MAY_IMPORT = {
    "data": set(), "configs": {"data"}, "modalities": {"data"}, "fusion": {"data"}, "reports": {"data"},
    "flows": {"data", "configs", "modalities", "fusion", "reports"},
}  # fmt: skip
MOST_MODULES = 14


def sources(package: str) -> Iterator[Path]:
    yield from (ROOT / package).rglob("*.py")


def imports(node: ast.AST, types: bool) -> Iterator[str]:
    """What a tree imports, anywhere in it; `types`: also what only type checkers import. `from a import b` is a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.module
        assert not node.level, "write the whole name of a module: a relative one is not followed when stages' code is digested"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif types or not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
        for part in ast.iter_child_nodes(node):
            yield from imports(part, types)


def imported(path: Path) -> set[str]:
    """First names of everything that a file imports."""
    return {name.split(".")[0] for name in imports(ast.parse(path.read_text(encoding="utf-8")), types=True)}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    for path in sources(package):
        ours = imported(path) & {*PACKAGES, "dyad", "tests", "benchmarks", "docs"}
        assert ours <= MAY_IMPORT[package] | {package}, f"{path} imports {ours}"


def import_graph(parts: int) -> dict[str, set[str]]:
    """Module -> modules that it imports, without what only type checkers import; names cut to their first `parts` parts."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for name in PACKAGES for path in sources(name)}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        named = imports(ast.parse(path.read_text(encoding="utf-8")), types=False)
        found = {name if name in modules else name.rpartition(".")[0] for name in named} & modules.keys()
        own = ".".join(module.split(".")[:parts])
        graph.setdefault(own, set()).update({".".join(name.split(".")[:parts]) for name in found} - {own})
    return graph


@pytest.mark.parametrize(("parts", "what"), [(9, "modules"), (2, "folders")])
def test_nothing_imports_each_other_in_a_circle(parts: int, what: str) -> None:
    graph = import_graph(parts)
    assert sum(map(len, graph.values())) > 100
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(f"{what} import each other: {' <- '.join(circle.args[1])}")


@pytest.mark.parametrize("package", ["flows", "modalities"])
def test_a_folder_can_be_looked_over(package: str) -> None:
    for folder in {path.parent for path in sources(package)}:
        modules = sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")
        assert len(modules) <= MOST_MODULES, f"{folder} holds {len(modules)} modules; what belongs together goes into a folder"


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "flows"])
def test_domain_code_knows_nothing_of_prefect(package: str) -> None:
    for path in sources(package):
        assert "prefect" not in imported(path), path


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
