"""Who holds a tensor's memory. What nobody else holds, nobody else can write to, so that it need not be watched."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import Tensor

from provnet.capture.storage_identity import is_plain


def unshared(tensors: Iterable[Tensor]) -> frozenset[int]:
    """Return the addresses of the storages that nobody but these tensors holds.

    The tensors are objects of the caller's own, which nobody else has: t.detach(), if in doubt. Counted are the holders
    that torch and Python count. So a storage over memory of somebody else, numpy's say, is left out, and one that a
    cycle of objects holds which the collector has not found yet.
    """
    kept = list(tensors)  # else two might have one id, one after the other
    owners: dict[int, set[int]] = {}
    shown: dict[int, Tensor] = {}
    for tensor in kept:
        if is_plain(tensor):
            key = tensor.untyped_storage()._cdata
            owners.setdefault(key, set()).add(id(tensor))
            shown[key] = tensor
    return frozenset(
        shown[key].untyped_storage().data_ptr()
        for key, holders in owners.items()
        if _counts(shown[key]) == (_TENSORS + len(holders), _OBJECTS) and shown[key].untyped_storage().resizable()
    )


def _counts(tensor: Tensor) -> tuple[int, int]:
    """Return how often torch counts a tensor's storage as held, and Python the object over it, which is always one."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)


def _found_alone() -> tuple[int, int]:
    """Return what is counted above the tensors where nobody else holds a storage. Versions of Python differ in it."""
    tensors, objects = _counts(torch.empty(1))
    return tensors - 1, objects


_TENSORS, _OBJECTS = _found_alone()
