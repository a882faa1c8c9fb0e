"""What a file's name may hold never reaches a terminal as it is."""

import io
import logging
from pathlib import Path

import pytest

from data.terminal import console, guarded, printable
from flows.runtime.events import logging_to

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b1m\u202egpj.\x7f\udc80.mp4"
SHOWN = r"a\x1b]0;owned\x07\x1b[2J\x9b1m\u202egpj.\x7f\udc80.mp4"


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_control_characters_are_shown() -> None:
    assert printable(HOSTILE) == SHOWN
    plain = "Grüße, 世界: 🙂\n\ttab"
    assert printable(plain) == plain


def test_what_is_printed_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    out, error = Screen(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    with guarded():
        print(HOSTILE)
        sys.stderr.write(f"\r{HOSTILE}\r{HOSTILE}")
        logging.warning(HOSTILE)
        assert sys.stdout.isatty()
        raised = RuntimeError(HOSTILE)
    assert out.getvalue() == f"{SHOWN}\n"
    assert error.getvalue().startswith(f"\r{SHOWN}\\r{SHOWN}")
    assert "\x1b" not in error.getvalue()
    assert sys.stdout is out
    assert str(raised) == HOSTILE


def test_data_in_a_pipe_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    with guarded():
        print("a\x1b")
    assert pipe.getvalue() == "a\x1b\n"


def test_colours_are_drawn_and_names_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with guarded():
        console(stderr=True).print(HOSTILE, style="red", markup=False, highlight=False)
    assert screen.getvalue() == f"\x1b[31m{SHOWN}\x1b[0m\n".replace(r"\x07", "")  # which Rich leaves out


def test_the_log_of_a_clip_is_printable(tmp_path: Path) -> None:
    with logging_to(tmp_path / "log.txt"):
        logging.getLogger("data.test").info("read %s", HOSTILE)
    assert SHOWN in (tmp_path / "log.txt").read_text()
