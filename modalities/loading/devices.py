"""Where networks run, and in which precision."""

from typing import TYPE_CHECKING

from data.errors import InputError
from data.precision import Precision

if TYPE_CHECKING:
    import torch


def resolve_device(asked: str) -> str:
    """The device that `auto` means here (`cuda:0`, else `mps`, else `cpu`), or `asked` when it is there; else InputError."""
    if asked == "cpu":
        return asked  # known without torch, whose import takes a second
    import torch

    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise InputError(f"'{asked}' is no device; give auto, cpu, cuda:0 (or another number) or mps.") from None
    count = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}.get(device.type, 0)
    if (device.index or 0) >= count:
        there = ", ".join(devices_here())
        raise InputError(f"The device {asked} is not there; this machine has {there} (and 'auto' takes the best one).")
    return f"cuda:{device.index or 0}" if device.type == "cuda" else device.type


def devices_here() -> list[str]:
    """Every device that networks can run on, the best first."""
    import torch

    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def precision_of(device: str, asked: Precision = "auto") -> "torch.dtype":
    """The type that weights and activations have on `device`.

    `auto` is bfloat16 where the device computes it natively (its range is that of float32, so nothing overflows), float16 on
    older GPUs and on `mps`, and float32 on other processors.
    """
    import torch

    if asked != "auto":
        chosen: torch.dtype = getattr(torch, asked)
        return chosen
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device == "mps":
        return torch.float16
    native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.bfloat16 if native else torch.float32
