"""What is drawn into a rendered video, straight into the planes of its pictures (8-bit YUV 4:2:0).

A picture is never turned into RGB and back: letters are drawn once, kept as patches in YUV, and laid over; boxes are slices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.render.fonts import font, wrapped

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Plane = NDArray[np.uint8]
Colour = tuple[int, int, int]
EMOTIONS: Mapping[str, Colour] = {
    "neutral": (153, 153, 153), "anger": (213, 94, 0), "disgust": (0, 158, 115), "fear": (204, 121, 167),
    "happiness": (230, 159, 0), "sadness": (64, 150, 220), "surprise": (86, 180, 233),
}  # fmt: skip
"""The page's colours of the emotions, blue lighter for the dark ground."""
GROUND, INK, SOFT, MAIN = (20, 23, 28), (240, 242, 245), (150, 158, 168), (240, 228, 66)


@dataclass(frozen=True)
class Moment:
    """What the panel says: a title, how sure that is (None: no bar), and the emotions with their probabilities."""

    title: str
    sureness: float | None
    emotions: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Canvas:
    """How pictures are coded and laid out: size of the picture and height of the panel under it (pixels, even numbers), the
    weights of red and blue in luminance, and whether values span 0..255."""

    width: int
    height: int
    panel: int
    red: float
    blue: float
    full: bool

    @property
    def letters(self) -> int:
        """The size of letters, pixels: legible on small pictures, modest on large ones."""
        return letter_size(self.width, self.height)


@dataclass(frozen=True, eq=False)
class Patch:
    """A picture to lay over another: Y, U, V and the opacity (0..255) of each at the size of its plane."""

    planes: tuple[Plane, Plane, Plane]
    opacity: tuple[NDArray[np.uint16], NDArray[np.uint16]]


def letter_size(width: int, height: int) -> int:
    """The size of letters for a picture, pixels."""
    return int(np.clip(min(width / 26, height / 20), 14, 48))


def panel_height(width: int, height: int) -> int:
    """The height of the panel for a picture, pixels, even."""
    return 2 * round(1.75 * letter_size(width, height))


def to_yuv(rgb: ArrayLike, canvas: Canvas) -> NDArray[np.float64]:
    """RGB 0..255 [..., 3] as Y, U, V of the canvas (ITU-R BT.601, 709 or 2020 by its weights)."""
    red, green, blue = np.moveaxis(np.asarray(rgb, float) / 255, -1, 0)
    light = canvas.red * red + (1 - canvas.red - canvas.blue) * green + canvas.blue * blue
    u, v = (blue - light) / (2 - 2 * canvas.blue), (red - light) / (2 - 2 * canvas.red)
    low, span, chroma = (0, 255, 255) if canvas.full else (16, 219, 224)
    return np.stack([low + span * light, 128 + chroma * u, 128 + chroma * v], axis=-1)


def patch_of(image: "Image.Image", canvas: Canvas) -> Patch:
    """A patch of a PIL picture (RGBA, even width and height)."""
    pixels = np.asarray(image.convert("RGBA"))
    yuv = to_yuv(pixels[..., :3], canvas)
    halved = (yuv[::2, ::2] + yuv[1::2, ::2] + yuv[::2, 1::2] + yuv[1::2, 1::2]) / 4
    alpha = pixels[..., 3].astype(np.uint16)
    alphas = (alpha, (alpha[::2, ::2] + alpha[1::2, ::2] + alpha[::2, 1::2] + alpha[1::2, 1::2]) // 4)
    rounded = [np.clip(np.round(plane), 0, 255).astype(np.uint8) for plane in (yuv[..., 0], halved[..., 1], halved[..., 2])]
    return Patch((rounded[0], rounded[1], rounded[2]), alphas)


def lay(planes: Sequence[Plane], patch: Patch, x: int, y: int) -> None:
    """Lay a patch over a picture with its upper left corner at (x, y), made even; what lies outside is left out."""
    for number, plane in enumerate(planes):
        step = 1 if number == 0 else 2
        left, top = (max(2 * (value // 2), 0) // step for value in (x, y))
        source, alpha = patch.planes[number], patch.opacity[number > 0]
        part = plane[top : top + source.shape[0], left : left + source.shape[1]]
        source, alpha = source[: part.shape[0], : part.shape[1]], alpha[: part.shape[0], : part.shape[1]]
        part[:] = (part * (255 - alpha) + source * alpha + 127) // 255


def box(planes: Sequence[Plane], area: Sequence[float], colour: Colour, thick: int, canvas: Canvas) -> None:
    """The outline of a box (x, y, width, height in pixels of the picture), `thick` pixels (even), inside the picture."""
    values = np.round(to_yuv(np.array(colour), canvas)).astype(np.uint8)
    left, top = (2 * round(max(value, 0) / 2) for value in area[:2])
    right = 2 * round(min(area[0] + area[2], canvas.width) / 2)
    bottom = 2 * round(min(area[1] + area[3], canvas.height) / 2)
    if right - left < 2 * thick or bottom - top < 2 * thick:
        return
    for number, (plane, value) in enumerate(zip(planes, values, strict=True)):
        a, b, c, d, t = (edge // (1 if number == 0 else 2) for edge in (left, top, right, bottom, thick))
        plane[b : b + t, a:c] = plane[d - t : d, a:c] = value
        plane[b:d, a : a + t] = plane[b:d, c - t : c] = value


@lru_cache(maxsize=256)
def label(words: str, canvas: Canvas, colour: Colour) -> Patch:
    """A few words on a dark ground, for the name of a track."""
    letters = font(max(12, round(0.75 * canvas.letters)))
    left, top, right, bottom = letters.getbbox(words)
    image, draw = _blank(right - left + 8, bottom - top + 6, (*GROUND, 190))
    draw.text((4 - left, 3 - top), words, font=letters, fill=colour)
    return patch_of(image, canvas)


@lru_cache(maxsize=64)
def subtitle(words: str, canvas: Canvas) -> Patch:
    """Up to three lines of words on a dark ground, centred."""
    letters = font(canvas.letters, words=words)
    lines = wrapped(words, letters, round(0.92 * canvas.width) - canvas.letters)
    step = round(1.3 * canvas.letters)
    width = max(round(letters.getlength(line)) for line in lines) + canvas.letters
    image, draw = _blank(width, step * len(lines) + round(0.4 * canvas.letters), (0, 0, 0, 175))
    for number, line in enumerate(lines):
        middle = (width / 2, 0.2 * canvas.letters + (number + 0.5) * step)
        draw.text(middle, line, font=letters, fill=(255, 255, 255), anchor="mm")
    return patch_of(image, canvas)


@lru_cache(maxsize=128)
def panel(moment: Moment, canvas: Canvas) -> Patch:
    """The panel under the picture: the answer with a bar for how sure it is, and two emotions with bars for theirs."""
    size, width = canvas.letters, canvas.width
    image, draw = _blank(width, canvas.panel, (*GROUND, 255))
    margin, line = round(0.6 * size), canvas.panel / 2
    title = _fitting(moment.title, round(0.56 * width) - margin, size)
    draw.text((margin, 0.55 * line), moment.title, font=title, fill=INK, anchor="lm")
    if moment.sureness is not None:
        _bar(draw, (round(0.6 * width), 0.55 * line, width - margin), moment.sureness, MAIN, size)
    half = (width - margin) // 2
    for number, (emotion, value) in enumerate(moment.emotions[:2]):
        left = margin + number * half
        small = _fitting(emotion, round(0.42 * half), round(0.85 * size), bold=False)
        draw.text((left, 1.45 * line), emotion, font=small, fill=INK, anchor="lm")
        edges = (left + round(0.44 * half), 1.45 * line, left + half - (1 + (number == 0)) * margin)
        _bar(draw, edges, value, EMOTIONS.get(emotion, INK), round(0.85 * size))
    return patch_of(image, canvas)


def _fitting(words: str, width: int, size: int, bold: bool = True) -> "ImageFont.FreeTypeFont":
    """The largest font up to `size` in which the words are not wider than `width`."""
    while size > 9 and font(size, bold).getlength(words) > width:
        size -= 1
    return font(size, bold)


def _bar(draw: "ImageDraw.ImageDraw", edges: tuple[int, float, int], value: float, colour: Colour, size: int) -> None:
    """A bar from 0 to 1 between two edges, with its value as a number at the right; edges: left, middle (y), right."""
    left, middle, right = edges
    letters = font(round(0.85 * size))
    end, half = round(right - 2.4 * size), 0.3 * size
    draw.rectangle((left, middle - half, end, middle + half), outline=SOFT)
    draw.rectangle((left, middle - half, left + (end - left) * min(max(value, 0), 1), middle + half), fill=colour)
    draw.text((right, middle), f"{value:.2f}", font=letters, fill=INK, anchor="rm")


def _blank(width: float, height: float, colour: tuple[int, int, int, int]) -> "tuple[Image.Image, ImageDraw.ImageDraw]":
    """An RGBA picture of even size, and what draws in it."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (2 * -(-int(width) // 2), 2 * -(-int(height) // 2)), colour)
    return image, ImageDraw.Draw(image)
