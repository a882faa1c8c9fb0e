"""Reading what code depends on: imports, data files, and the cache of what was read."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from data.errors import InputError
from flows.runtime.code_digest import SourceTree

Write = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files of packages, by their path; returns the folder that they are in."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
            os.utime(tmp_path / name, (0, 0))  # some file systems tell times only to some milliseconds
        return tmp_path

    return write


def test_imports_count_wherever_they_stand(write: Write) -> None:
    root = write({
        "data/start.py": "import numpy\nimport data.plain\nfrom data import module, name as other\n"
        "def later():\n    if True:\n        from data.deep.far import thing\n",
        "data/__init__.py": "name = 1\n", "data/plain.py": "", "data/module.py": "from fusion.last import value\n",
        "data/deep/__init__.py": "import data.parent\n", "data/deep/far.py": "thing = 1\n", "data/parent.py": "",
        "fusion/last.py": "value = 1\n", "data/unused.py": "", "fusion/unused.py": "",
    })  # fmt: skip
    reached = SourceTree(root).reached(["data.start"])
    assert reached == {
        "data/start.py", "data/__init__.py", "data/plain.py", "data/module.py", "data/deep/__init__.py", "data/deep/far.py",
        "data/parent.py", "fusion/last.py",
    }  # fmt: skip


def test_what_only_type_checkers_import_does_not_count(write: Write) -> None:
    root = write({
        "data/start.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from data.types import A\n"
        "else:\n    from data.real import A\n",
        "data/types.py": "", "data/real.py": "",
    })  # fmt: skip
    assert SourceTree(root).reached(["data.start"]) == {"data/start.py", "data/real.py"}


def test_data_files_that_a_module_names_count(write: Write) -> None:
    root = write({
        "reports/page/document.py": 'STYLE = Path(__file__).with_name("page.css")\nTABLE = "tables/colours.yaml"\n',
        "reports/page/page.css": "", "reports/page/tables/colours.yaml": "", "reports/dataset/page.css": "",
        "reports/fonts.py": 'FONT = FOLDER / "letters.json"\n', "reports/shapes/letters.json": "", "data/letters.json": "",
        "configs/schema.py": 'PROMPTS = "prompts.yaml"\n', "configs/prompts.yaml": "",
    })  # fmt: skip
    tree = SourceTree(root)
    assert tree.reached(["reports.page.document"]) == {
        "reports/page/document.py", "reports/page/page.css", "reports/page/tables/colours.yaml",
    }  # fmt: skip
    assert tree.reached(["reports.fonts"]) == {"reports/fonts.py", "reports/shapes/letters.json"}
    assert tree.reached(["configs.schema"]) == {"configs/schema.py"}, "its values are in the settings"


def test_a_file_of_the_user_counts_with_what_it_imports(write: Write) -> None:
    root = write({"mine/gaze.py": "from data.scores import Scores\n", "data/scores.py": "", "data/other.py": ""})
    tree, gaze = SourceTree(root), root / "mine" / "gaze.py"
    assert tree.reached([gaze]) == {str(gaze), "data/scores.py"}
    first = tree.digest([gaze])
    gaze.write_text("import data.other\n")
    assert tree.digest([gaze]) != first, "also in a process that goes on"
    assert tree.reached([gaze]) == {str(gaze), "data/other.py"}


def test_what_was_read_is_kept_and_damage_does_no_harm(write: Write, tmp_path: Path) -> None:
    root, cache = write({"data/a.py": "import data.b\n", "data/b.py": "B = 1\n"}), tmp_path / "state" / "cache.json"
    first = SourceTree(root, cache).digest(["data.a"])
    kept = json.loads(cache.read_text())
    assert set(kept["files"]) == {"data/a.py", "data/b.py"}
    for damage in ("", "{", "[]", '{"reader": 1}', json.dumps(kept | {"files": {"data/a.py": 3}}), cache.read_text()[:-20]):
        cache.write_text(damage)
        assert SourceTree(root, cache).digest(["data.a"]) == first
        assert json.loads(cache.read_text()) == kept, "it is written anew"
    cache.unlink()
    cache.mkdir()
    assert SourceTree(root, cache).digest(["data.a"]) == first


def test_the_cache_is_believed_until_a_file_changes(write: Write, tmp_path: Path) -> None:
    root, cache = write({"data/a.py": "import data.b\n", "data/b.py": "B = 1\n"}), tmp_path / "state" / "cache.json"
    first = SourceTree(root, cache).digest(["data.a"])
    cache.write_text(cache.read_text().replace('["data.b"]', "[]"))
    assert SourceTree(root, cache).digest(["data.a"]) != first, "nothing was parsed"
    (root / "data" / "a.py").write_text("import data.b\n")
    assert SourceTree(root, cache).digest(["data.a"]) == first
    (root / "data" / "b.py").write_text("B = 2\n")
    assert SourceTree(root, cache).digest(["data.a"]) != first


def test_a_module_that_is_not_there(write: Write) -> None:
    with pytest.raises(InputError, match="The module data.gone is not installed"):
        SourceTree(write({"data/a.py": ""})).digest(["data.gone"])
