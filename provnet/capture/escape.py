"""Ways out of torch: what numpy or Python computes from a traced tensor cannot be recorded, so it is remarked on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

_WAYS_OUT = frozenset({Tensor.numpy, Tensor.__array__, Tensor.tolist, Tensor.data_ptr, Tensor.__dlpack__})


class Escapes(TorchFunctionMode):
    """Calls `remark(tensor, name)` for each call that hands a tensor's memory to somebody else."""

    def __init__(self, remark: Callable[[Tensor, str], None]) -> None:
        super().__init__()
        self.remark = remark

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WAYS_OUT and args and isinstance(args[0], Tensor):
            self.remark(args[0], func.__name__)
        return func(*args, **(kwargs or {}))
