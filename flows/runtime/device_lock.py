"""One device, several processes: who computes on it holds a lock on a file, which the system releases when the process ends.

The lock is held while batches follow each other, not while a process waits for its next items, and it is given to others for a
moment when it has been held for long. `DYAD_DEVICE_LOCK` is `gpu` (the default: every device but processors), `all` or `off`.
"""

import logging
import os
import re
import time
from pathlib import Path

from flows.runtime.state_folder import FileLock, state_folder

logger = logging.getLogger(__name__)
TURN = 5.0
"""Seconds after which a process lets others have the device, if they want it."""
PAUSE = 0.02
"""Seconds for which it stays away then; who waits for the lock gets it at once."""


class DeviceTurn:
    """This process' turns on one device; used by the thread of the device's queue alone."""

    def __init__(self, device: str) -> None:
        self._lock = FileLock(lock_path(device)) if is_shared(device) else None
        self._since = 0.0

    def take(self) -> None:
        """Wait until this process may compute; returns at once while it holds the device and its turn is not over."""
        if self._lock is None:
            return
        if self._lock.held and time.monotonic() - self._since > TURN:
            self._lock.release()
            time.sleep(PAUSE)
        if not self._lock.held:
            self._acquire(self._lock)

    def _acquire(self, lock: FileLock) -> None:
        try:
            lock.acquire()
            self._since = time.monotonic()
        except OSError as error:  # a queue that died of this would leave every clip waiting
            logger.warning("Other processes may use the device at once: %s cannot be locked (%s).", lock.path, error)
            self._lock = None

    def leave(self) -> None:
        """Give the device to others: there is nothing to compute now."""
        if self._lock is not None:
            self._lock.release()


def is_shared(device: str) -> bool:
    """Whether processes take turns on this device."""
    wanted = os.environ.get("DYAD_DEVICE_LOCK", "gpu")
    return wanted == "all" or (wanted != "off" and not device.startswith("cpu"))


def lock_path(device: str) -> Path:
    """The file of a device's lock, the same for every process of this machine whatever number the device has there."""
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", _identity(device))
    return state_folder() / "devices" / f"{name}.lock"


def _identity(device: str) -> str:
    """The GPU's own number where torch tells it: under CUDA_VISIBLE_DEVICES every process calls its GPU cuda:0."""
    if not device.startswith("cuda"):
        return device
    import torch

    try:
        return str(getattr(torch.cuda.get_device_properties(torch.device(device)), "uuid", "") or device)
    except (RuntimeError, AssertionError):  # no such GPU: who computes on it says so better
        return device
