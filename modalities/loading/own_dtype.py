"""Networks built in a dtype without torch's default dtype, which is one for all threads, being changed for it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

MAKERS = frozenset(
    {torch.empty, torch.zeros, torch.ones, torch.full, torch.eye, torch.rand, torch.randn, torch.arange, torch.linspace,
     torch.logspace, torch.tensor, torch.scalar_tensor}
)  # fmt: skip
"""Functions that make a tensor of the default dtype where they are told none."""


class _DefaultDtype(TorchFunctionMode):
    """What this thread makes without naming a dtype is of this one where it would be of the default."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        made = func(*args, **named)
        if func not in MAKERS or named.get("dtype") is not None or (args and hasattr(args[0], "dtype")):
            return made  # its dtype was asked for, or comes from what it was made of
        return made.to(self.dtype) if isinstance(made, Tensor) and made.dtype == torch.get_default_dtype() else made


@contextmanager
def own_dtype(dtype: torch.dtype, model_class_name: str | None = None) -> Iterator[None]:
    """As `transformers.modeling_utils.local_torch_dtype`, for the thread that builds a network and no other."""
    if not dtype.is_floating_point:
        raise ValueError(f"{model_class_name or 'A network'} cannot be built in {dtype}, which holds no fractions")
    with _DefaultDtype(dtype):
        yield
