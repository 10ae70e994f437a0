"""Rows that are multiplied by one of several matrices each: one product for every expert that has rows.

Weights by row would be a matrix for each row; so they stay as they lie, once for all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def grouped(x: Tensor, matrices: Tensor, offs: Tensor, bias: None = None, out_dtype: Any = None) -> Tensor:
    """z[r] = x[r] @ w[e], the rows before offs[0] by the first matrix, those up to offs[1] by the second, and so on."""
    ends = [0, *offs.tolist()]
    parts = [
        x[first:end] @ matrix
        for (first, end), matrix in zip(pairwise(ends), matrices.unbind(0), strict=True)
        if end > first
    ]
    if ends[-1] < len(x):  # rows of no expert
        parts.append(x.new_zeros(len(x) - ends[-1], matrices.shape[-1]))
    found = torch.cat(parts)
    return found if out_dtype is None else found.to(out_dtype)


def applies(func: Any, args: tuple[Any, ...], is_active: Callable[[Tensor], bool]) -> bool:
    """Return whether traced rows meet constant matrices up to given offsets, in a dtype that torch's kernel takes."""
    x, matrices, *others = args
    offs, bias = (*others, None, None)[:2]
    plain = x.dim() == 2 and matrices.dim() == 3 and offs is not None and bias is None
    return plain and x.dtype is not torch.float64 and is_active(x) and not is_active(matrices)


TABLE: dict[Any, Callable[..., Any]] = {aten._grouped_mm.default: grouped} if hasattr(aten, "_grouped_mm") else {}
