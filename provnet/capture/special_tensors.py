"""Tensors that are not ordinary: quantised, sparse, nested, complex. They are refused by these names."""

from __future__ import annotations

from torch import Tensor

from provnet.capture.storage_identity import is_plain


def kind_of(tensor: Tensor) -> str | None:
    """Return the name of what makes a tensor untraceable, "sparse" say; None for a dense real one."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if not is_plain(tensor):
        return "sparse" if "sparse" in str(tensor.layout) else str(tensor.layout)
    return "complex" if tensor.is_complex() else None
