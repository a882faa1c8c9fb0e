"""Lets PyPI's torchvision be imported beside a CPU-only torch.

That wheel links against CUDA libraries, so beside a CPU build of torch its C++ operators never register and
`import torchvision` fails with "operator torchvision::nms does not exist"; open_clip, timm and every model class of
transformers fail with it. Declaring two operators just before torchvision's own code runs is enough.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_registrations: list[object] = []  # torch drops an operator when its Library object is collected


def _suppress_overlaps(boxes: "Tensor", scores: "Tensor", threshold: float) -> "Tensor":
    """Non-maximum suppression: keep the best box, drop those that overlap it by more than `threshold`, repeat."""
    import torch

    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1) * (y2 - y1)
    order = scores.sort(descending=True, stable=True).indices
    kept: list[Tensor] = []
    while order.numel():
        best, order = order[0], order[1:]
        kept.append(best)
        width = (torch.minimum(x2[best], x2[order]) - torch.maximum(x1[best], x1[order])).clamp(min=0)
        height = (torch.minimum(y2[best], y2[order]) - torch.maximum(y1[best], y1[order])).clamp(min=0)
        shared = width * height
        order = order[shared <= threshold * (areas[best] + areas[order] - shared)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long, device=boxes.device)


def _declare_operators() -> bool:
    """Declare torchvision's operators where torch has no CUDA; False where its own library will do so."""
    import torch

    if torch.version.cuda is not None or torch.version.hip is not None or sys.platform == "darwin":
        return False
    if not _registrations:
        make: Any = torch.library.Library  # untyped in torch
        library = make("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", _suppress_overlaps, "CPU")
        _registrations.append(library)
    return True


class _Loader(importlib.abc.Loader):
    """Runs torchvision's own loader, with the operators declared before it; all else is the inner loader's."""

    def __init__(self, inner: importlib.abc.Loader) -> None:
        self.inner = inner

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        declared = _declare_operators()
        self.inner.exec_module(module)
        if declared and not module.extension._has_ops():
            import torchvision.ops.boxes as boxes

            # torchvision.ops.nms asserts first that the C++ library was loaded
            boxes._assert_has_ops = lambda: None

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds torchvision as Python does, and hands its loader to `_Loader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torchvision":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            spec.loader = _Loader(spec.loader)
        return spec


def install() -> None:
    """Register the import hook, once; it costs nothing until torchvision is imported."""
    if "torchvision" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
