"""Letters of rendered videos and figures: DejaVu Sans, which matplotlib ships; for letters it lacks, fonts of this machine."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

MOST_LINES = 3


@lru_cache(maxsize=64)
def font(size: int, bold: bool = False, words: str = "") -> "FreeTypeFont":
    """A font of this `size` (pixels) that has the letters of `words`, as far as one on this machine has them."""
    from PIL import ImageFont

    return ImageFont.truetype(str(font_file(missing(words), bold)), size)


def missing(words: str) -> str:
    """The letters of `words` that DejaVu Sans lacks, each once."""
    return "".join(sorted({letter for letter in words if letter.isprintable()} - {chr(code) for code in _codes(_own(False))}))


def undrawable(texts: Iterable[str]) -> str:
    """The letters of `texts` that no font on this machine has, each once."""
    lacking = missing("".join(texts))
    return "".join(letter for letter in lacking if ord(letter) not in _codes(font_file(letter)))


def families(texts: Iterable[str]) -> list[str]:
    """What matplotlib calls the fonts of this machine that have the letters of `texts` which DejaVu Sans lacks."""
    from matplotlib.font_manager import FontProperties, fontManager

    files = {file: None for letter in missing("".join(texts)) if (file := font_file(letter)) != _own(False)}
    for file in files:
        fontManager.addfont(file)
    return [FontProperties(fname=file).get_name() for file in files]


def font_file(letters: str = "", bold: bool = False) -> Path:
    """DejaVu Sans, or where it lacks `letters` the font of this machine that has most of them."""
    from matplotlib.font_manager import findSystemFonts

    own = _own(bold)
    if not letters:
        return own
    wanted = set(map(ord, letters))
    best = max(map(Path, sorted(findSystemFonts())), key=lambda path: len(wanted & _codes(path)), default=own)
    return best if wanted & _codes(best) else own


def _own(bold: bool) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")


@lru_cache(maxsize=4096)
def _codes(path: Path) -> frozenset[int]:
    """The code points that a font has; none of one whose letters are pictures of one size, as those of emoji often are."""
    from matplotlib.ft2font import FaceFlags, FT2Font

    try:
        face = FT2Font(str(path))
        return frozenset(face.get_charmap()) if FaceFlags.SCALABLE in face.face_flags else frozenset()
    except (RuntimeError, OSError):  # bitmap fonts, and those that only look like one
        return frozenset()


def wrapped(text: str, letters: "FreeTypeFont", width: int) -> list[str]:
    """`text` as lines not wider than `width` (pixels), at most three; what is left out is an ellipsis."""
    lines = [""]
    for word in _pieces(text, letters, width):
        joined = f"{lines[-1]} {word}".strip()
        if letters.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines if len(lines) <= MOST_LINES else _cut(lines, letters, width)


def _pieces(text: str, letters: "FreeTypeFont", width: int) -> Iterable[str]:
    """Words; those wider than a line (or of scripts without spaces) in pieces that fit."""
    for word in text.split():
        while letters.getlength(word) > width and len(word) > 1:
            fits = next(count for count in range(len(word) - 1, 0, -1) if count == 1 or letters.getlength(word[:count]) <= width)
            yield word[:fits]
            word = word[fits:]
        yield word


def _cut(lines: Sequence[str], letters: "FreeTypeFont", width: int) -> list[str]:
    last = lines[MOST_LINES - 1]
    while last and letters.getlength(last + " …") > width:
        last = last[:-1].rstrip()
    return [*lines[: MOST_LINES - 1], last + " …"]
