"""YAML files that users write: what they hold, or a sentence that says what is wrong with them."""

from pathlib import Path

import pytest

from data.errors import InputError
from data.yaml_files import read_yaml


def test_names_and_values(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("faces: {detector: opencv}\nlabel: 笑\n", encoding="utf-8")
    assert read_yaml(path, "settings") == {"faces": {"detector": "opencv"}, "label": "笑"}
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert read_yaml(path, "settings") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [", r"settings\.yaml is not valid YAML"),
        (b"- a list", r"settings\.yaml must hold lines 'name: value'\."),
        (b"\xff\xfe\x00", r"settings\.yaml cannot be read .* UTF-8"),
        (b"a: !!python/object/apply:os.getcwd []", r"settings\.yaml is not valid YAML"),
        (None, r"settings\.yaml cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_yaml(path, "lines 'name: value'")
