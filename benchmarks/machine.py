"""The machine in a line; apart from `benchmarks/common.py`, since a machine with a GPU may lack what that imports."""

import os
import platform
from datetime import UTC, datetime


def header() -> str:
    """Date, processor and versions, for the first line of a report."""
    import torch

    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{when}; {os.cpu_count()} cores {platform.machine()}, {versions}; load before {load}"
