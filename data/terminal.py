"""Text on its way to a terminal or a log: control characters, which a file's name may hold, are shown and never obeyed.

They could clear the screen, write over what was said, or have some terminals run commands.
"""

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

# Besides the control characters: what changes the direction of text, ends lines, or is half a letter that no file can hold.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with what a terminal would obey written as Python writes it, such as \\x1b; tabs and ends of lines stay."""
    return _OBEYED.sub(lambda found: repr(found[0])[1:-1], text)


class _Guarded:
    """A stream that is written to printably. A carriage return in front, by which bars are drawn again, stays."""

    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def write(self, text: str) -> int:
        rest = text.removeprefix("\r")
        self.unguarded.write(text[: len(text) - len(rest)] + printable(rest))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unguarded, name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Inside the block, what is printed is printable: all of stderr, and stdout where it is a terminal and not a file or pipe."""
    out, error = sys.stdout, sys.stderr
    sys.stderr = cast(TextIO, _Guarded(error))
    if out.isatty():
        sys.stdout = cast(TextIO, _Guarded(out))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, error


def console(stderr: bool = False) -> "Console":
    """Rich's console, which colours and draws, and whose texts are printable."""
    from rich.console import Console
    from rich.segment import Segment

    class Printable(Console):
        def _render_buffer(self, buffer: Iterable[Segment]) -> str:
            return super()._render_buffer(
                one if one.control else Segment(printable(one.text), one.style, None) for one in buffer
            )

    stream = sys.stderr if stderr else sys.stdout
    return Printable(file=getattr(stream, "unguarded", stream))
