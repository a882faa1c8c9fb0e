"""YAML that users write: read without running anything, and refused in a sentence."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import InputError

if TYPE_CHECKING:
    import yaml

LARGEST = 262_144
"""Bytes of a file that is read: seconds of work."""
DEEPEST = 20
"""Levels that may lie in each other."""


def read_yaml(path: Path, holds: str) -> dict[str, Any]:
    """The names and values in a YAML file, none for an empty one.

    InputError, which names the file, when it cannot be read, is no YAML, or holds anything else than `holds`, in words.
    """
    try:
        text = path.read_text(encoding="utf-8-sig") if path.stat().st_size <= LARGEST else None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give the path of a YAML file in UTF-8.") from error
    if text is None:
        raise InputError(f"{path} has more than {LARGEST // 1024} KB; a file of this kind is far smaller.")
    tree = parse_yaml(text, str(path)) or {}
    if not isinstance(tree, dict):
        raise InputError(f"{path} must hold {holds}.")
    return tree


def parse_yaml(text: str, named: str) -> Any:
    """What a YAML text holds; InputError, which names it as `named`, when it is no YAML, is deep, or has impossible values."""
    import yaml

    try:
        return yaml.load(text, _loader())  # noqa: S506 (a safe one)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:  # of impossible dates and numbers
        raise InputError(f"{named} is not valid YAML: {' '.join(str(error).split())[:300]}") from error


@functools.cache
def _loader() -> "type[yaml.SafeLoader]":
    """YAML's safe loader without aliases, of which a few can stand for billions of values, and with an end to its depth."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            """A value with all that lies in it."""
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("'*' refers to an earlier value; write the value itself, or put the text in quotes")
            self.depth += 1
            if self.depth > DEEPEST:
                raise yaml.YAMLError(f"it is nested more than {DEEPEST} levels deep")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return Loader
