"""Networks built without random weights, where a checkpoint gives all of them."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

import torch
from torch.overrides import TorchFunctionMode


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        if getattr(func, "__module__", None) == torch.nn.init.__name__:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def unfilled() -> AbstractContextManager[object]:
    """In this block, of this thread alone, layers keep whatever lies in their memory, which `load_state_dict` has to replace."""
    return _Unfilled()
