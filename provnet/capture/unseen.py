"""Tensors that have a shape and no values, and executions that hold such in place of what an input gave them.

They serve twice: a recording can be kept without its activations, and what is built from it says whether anything
looked at a value. What did may not be kept for another input.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from provnet.capture.dependence import SHAPE_ONLY
from provnet.capture.execution import Execution, Value
from provnet.errors import TraceError


class ValueNeededError(TraceError):
    """Somebody asked an unseen tensor for its values."""


class Unseen(Tensor):
    """A tensor whose shape, dtype and device are known, and whose values are not.

    Views of it are unseen tensors, and ops that look at its shape alone work. All others raise `ValueNeededError`.
    """

    meta: Tensor

    @staticmethod
    def __new__(cls, like: Tensor) -> Unseen:
        made = Tensor._make_wrapper_subclass(
            cls, like.shape, strides=like.stride(), dtype=like.dtype, device=getattr(like, "seen_on", like.device)
        )
        made.meta = like if like.is_meta else torch.empty_like(like, device="meta")
        return made

    @classmethod
    def on(cls, meta: Tensor, device: torch.device) -> Unseen:
        """Return an unseen tensor of the geometry of `meta`, as if it were on `device`."""
        meta.seen_on = device  # type: ignore[attr-defined]
        return cls(meta)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        base = func._schema.name.rpartition("::")[2]
        if not (func.is_view or base in SHAPE_ONLY or base == "detach"):
            raise ValueNeededError(f"{func} asks a tensor for values that it does not hold yet.")
        device = next(a.device for a in args if isinstance(a, Unseen))
        if base in SHAPE_ONLY:
            wanted = kwargs.get("device") or device
            # What is made looks like the tensor and holds nothing of it, so it may as well be real.
            given = tree_map_only(Unseen, lambda t: torch.empty(t.shape, dtype=t.dtype, device=wanted), args)
            return func(*given, **kwargs)
        result = func(*tree_map_only(Unseen, lambda t: t.meta, args), **kwargs)
        return tree_map_only(Tensor, lambda t: cls.on(t, device), result)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


def without_values(execution: Execution) -> Execution:
    """Return an execution whose sources and computed values are unseen, so that no activation is held.

    Constants, parameters and buffers stay.
    """
    return replace(execution, values={number: _unseen(value) for number, value in execution.values.items()})


def _unseen(value: Value) -> Value:
    if value.kind not in ("source", "computed"):
        return value
    return replace(value, tensor=Unseen(value.tensor), live=None)
