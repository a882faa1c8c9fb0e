"""JSON that users bring: whatever is wrong with it is a ValueError."""

import json
from pathlib import Path
from typing import Any

LARGEST = 100_000_000
"""Bytes of a file that is read."""


def read_json(path: Path) -> Any:
    """What a JSON file in UTF-8 holds; OSError when it cannot be read, ValueError when it is none, or too large or deep."""
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"it has {size / 1e6:.0f} MB, and at most {LARGEST / 1e6:.0f} MB are read")
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """What JSON text holds; ValueError when it is none or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
