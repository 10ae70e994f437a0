"""Ways out of torch, and out of autograd, which are remarked on.

What numpy or Python computes from a traced tensor cannot be recorded. A tensor that is detached shows the same memory,
so that it is the same value to the recorder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_WAYS_OUT = frozenset({Tensor.numpy, Tensor.__array__, Tensor.tolist, Tensor.data_ptr, Tensor.__dlpack__})

CUTS = {"detach", "detach_", "data"}
"""The names of the ways out of autograd."""
_CUTS = {
    Tensor.detach: "detach",
    Tensor.detach_: "detach_",
    torch.detach: "detach",
    torch.detach_: "detach_",
    Tensor.data.__get__: "data",  # type: ignore[attr-defined]
}


class Escapes(TorchFunctionMode):
    """Calls `remark(tensor, name)` for each call that hands a tensor's memory to somebody else."""

    def __init__(self, remark: Callable[[Tensor, str], None]) -> None:
        super().__init__()
        self.remark = remark

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WAYS_OUT and args and isinstance(args[0], Tensor):
            self.remark(args[0], func.__name__)
        elif func in _CUTS and args and isinstance(args[0], Tensor):
            self.remark(args[0], _CUTS[func])
        return func(*args, **(kwargs or {}))
