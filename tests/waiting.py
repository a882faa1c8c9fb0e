"""Waiting for what other processes and threads do."""

import time
from collections.abc import Callable

import httpx
import psutil

_CLIENT = httpx.Client()  # to make one takes longer than to ask


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Look often until it is true; fails when it never is."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)


def has_ended(pid: int) -> bool:
    """Whether no process of this number works any more, also where nobody has taken note of its end."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def fonts_are_known() -> None:
    """From here on no process says that it looks for fonts, as matplotlib does where that takes longer than five seconds."""
    import matplotlib.font_manager  # noqa: F401


def answers(api: str) -> bool:
    """Whether a Prefect server answers at its API's address."""
    try:
        return _CLIENT.get(f"{api}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False
