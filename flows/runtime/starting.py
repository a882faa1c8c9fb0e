"""What holds for the command line from its first line on: UTF-8, and Ctrl-C and SIGTERM that end it while nothing has begun."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

SENTENCE = b"dyad: Stopped at your request, before anything had begun.\n"


def is_command() -> bool:
    """Whether this process is `python -m flows` or the console script `dyad`, as seen before either is imported."""
    told = sys.orig_argv
    return os.path.basename(sys.argv[0]) == "dyad" or ("-m" in told and told[told.index("-m") + 1 :][:1] == ["flows"])


def in_utf8() -> None:
    """Start Python anew in its UTF-8 mode where the locale has another encoding, so that names of files are UTF-8, here and in
    children."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def begin() -> None:
    """Have both signals end this process with the sentence and 130, but one that the caller has it ignore."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, end)


def over() -> None:
    """Have both signals do again what they usually do."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is end:
            signal.signal(number, usual)


def end(_number: int, _frame: FrameType | None) -> NoReturn:
    """The handler: the sentence, and the end."""
    os.write(2, SENTENCE)
    os._exit(130)
