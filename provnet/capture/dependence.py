"""What an execution owes to the values of its input by other ways than recorded ops.

Such an execution may be explained as it is, but its ops cannot be run again on other inputs: a comparison, a number
that went through Python, an index that was computed from values would stay as they were.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from provnet.capture.storage_identity import is_plain, storage_key

SHAPE_ONLY = frozenset(
    [
        *("zeros_like", "ones_like", "empty_like", "full_like", "zero_"),
        *("new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided"),
    ]
)
"""Ops whose results depend on the shape of a tensor and on nothing that it holds."""


class Dependence:
    """Follows tensors that were computed from a source but have no gradient, and remarks on their use.

    reasons   one sentence for each kind of dependence that a replay would lose, by kind.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._bound: dict[Hashable, StorageWeakRef] = {}

    def holds(self, tensors: Iterable[Tensor]) -> bool:
        """Return whether any of the tensors was computed from a source, without a gradient."""
        if not self._bound:
            return False
        return any(is_plain(t) and self._is_bound(storage_key(t)) for t in tensors)

    def _is_bound(self, key: Hashable) -> bool:
        found = self._bound.get(key)
        if found is not None and found.expired():  # the address may have been given to another storage
            del self._bound[key]
            return False
        return found is not None

    def bind(self, results: Any) -> None:
        """Note that these results hold what was computed from a source."""
        for result in results if isinstance(results, tuple | list) else (results,):
            if isinstance(result, Tensor) and is_plain(result):
                self._bound[storage_key(result)] = StorageWeakRef(result.untyped_storage())

    def remark(self, kind: str, where: str) -> None:
        """Note a reason against a replay, the first of its kind."""
        self.reasons.setdefault(kind, f"{kind} (in {where!r})")
