"""Networks built in a dtype without torch's default dtype, which is one for all threads, being changed for it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MAKERS = frozenset(
    {torch.empty, torch.zeros, torch.ones, torch.full, torch.eye, torch.rand, torch.randn, torch.arange, torch.linspace,
     torch.logspace, torch.tensor, torch.scalar_tensor}
)  # fmt: skip
"""Functions that make a tensor of the default dtype where they are told none."""


class _Made(TorchFunctionMode):
    """What this thread makes without naming a dtype is of this one where it would be of the default."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        made = func(*args, **named)
        of_default = isinstance(made, Tensor) and made.dtype == torch.get_default_dtype()
        given = args and hasattr(args[0], "dtype")  # what has a dtype keeps it
        return made.to(self.dtype) if func in MAKERS and of_default and named.get("dtype") is None and not given else made


@contextmanager
def own_dtype(dtype: torch.dtype, model_class_name: str | None = None) -> Iterator[None]:
    """As `transformers.modeling_utils.local_torch_dtype`, for the thread that builds a network and no other."""
    if not dtype.is_floating_point:
        raise ValueError(f"{model_class_name or 'A network'} cannot be built in {dtype}, which holds no fractions")
    with _Made(dtype):
        yield
