"""YAML files that users write: read without running anything, and refused in a sentence."""

from pathlib import Path
from typing import Any

from data.errors import InputError


def read_yaml(path: Path, holds: str) -> dict[str, Any]:
    """The names and values in a YAML file, none for an empty one.

    InputError, which names the file, when it cannot be read, is no YAML, or holds anything else than `holds`, in words.
    """
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give the path of a YAML file in UTF-8.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path} must hold {holds}.")
    return tree
