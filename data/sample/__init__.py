"""The clip that ships with Dyad: a public-domain portrait, animated, with a synthetic voice; `benchmarks/sample` makes it."""

from pathlib import Path


def sample_clip() -> Path:
    """Path of the shipped clip; its subtitles (`sample.vtt`) and `sample_descriptions.csv` lie beside it."""
    return Path(__file__).with_name("sample.mp4")
