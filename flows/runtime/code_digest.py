"""What every backend is made of, and what they share: fetched models, digests of weights and code."""

import hashlib
import importlib.util
from functools import cache
from pathlib import Path

from data.errors import InputError
from data.files import file_digest


@cache
def code_digest(module: str) -> str:
    """Digest of a module's source; of a package's, all of its files'."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"The module {module} is not installed; install Dyad again.")
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()[:16]
