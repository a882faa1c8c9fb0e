"""Ports for servers that tests start by their number."""

import itertools
import os
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_numbers = itertools.count()


def free_port() -> int:
    """A port that nobody has, and that the system gives to nobody before it is used: below those that it gives by itself to
    whoever connects, or asks for any."""
    first = int(_RANGE.read_text().split()[0]) if _RANGE.is_file() else 32_768
    for number in _numbers:
        port = first - 1 - (37 * os.getpid() + number) % (first // 2)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError
