"""Codes of languages, as files and tracks bear them."""

import re

_SECOND = {
    "a": "abefkmnrsvyz", "b": "aeghimnors", "c": "aehorsuvy", "d": "aevz", "e": "elnostu", "f": "afijory", "g": "adlnuv",
    "h": "aeiortuyz", "i": "adegikostuw", "j": "av", "k": "agijklmnorsuvwy", "l": "abginotuv", "m": "ghiklnrsty", "n":
    "abdeglnorvy", "o": "cjmrs", "p": "ailst", "q": "u", "r": "mnouw", "s": "acdegiklmnoqrstuvw", "t": "aeghiklnorstwy",
    "u": "gkrz", "v": "eio", "w": "ao", "x": "h", "y": "io", "z": "ahu",
}  # fmt: skip
"""The codes of ISO 639-1: first letter, and the second ones."""
LANGUAGES = frozenset(first + second for first, seconds in _SECOND.items() for second in seconds)
LONG_CODES = {
    "eng": "en", "ger": "de", "deu": "de", "fre": "fr", "fra": "fr", "spa": "es", "ita": "it", "por": "pt", "dut": "nl",
    "nld": "nl", "rus": "ru", "chi": "zh", "zho": "zh", "jpn": "ja", "kor": "ko", "ara": "ar", "tur": "tr", "pol": "pl",
    "swe": "sv", "dan": "da", "nor": "no", "fin": "fi", "cze": "cs", "ces": "cs", "gre": "el", "ell": "el", "hun": "hu",
    "heb": "he", "hin": "hi", "ukr": "uk", "rum": "ro", "ron": "ro", "vie": "vi", "tha": "th", "ind": "id", "per": "fa",
    "fas": "fa", "cat": "ca", "hrv": "hr", "srp": "sr", "english": "en", "german": "de", "french": "fr", "spanish": "es",
    "italian": "it", "portuguese": "pt", "dutch": "nl", "russian": "ru", "chinese": "zh", "japanese": "ja", "korean": "ko",
    "arabic": "ar", "und": "",
}  # fmt: skip
"""Longer codes (ISO 639-2) and names that files and tracks bear."""


def language_code(tag: str) -> str | None:
    """The two letters of a language tag ('en', 'en-US', 'eng'), '' for an unknown language; None for what is no tag."""
    base = re.split(r"[-_]", tag.lower())[0]
    return base if base in LANGUAGES else LONG_CODES.get(base)


def language_name(code: str) -> str:
    """What a language is called: 'English' for 'en'; the code itself where no name is known here."""
    return next((name.title() for name, short in LONG_CODES.items() if short == code and len(name) > 3), code)
