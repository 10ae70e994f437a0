"""Recorded tensors as rows: [batch, neurons], one row an example, and back."""

from __future__ import annotations

import torch
from torch import Tensor

from provnet.capture.lean_values import Again
from provnet.circuit.blocks import Activation


def tensor_of(activation: Activation) -> Tensor:
    """Return the recorded tensor. A lean circuit, which holds a promise of it, makes it again, bit by bit."""
    return activation.handle.tensor() if isinstance(activation.handle, Again) else activation.handle


def rows(activation: Activation, batch: int, dtype: torch.dtype) -> Tensor:
    """Return the activation as [batch, neurons] in `dtype`: a view where the layout and the dtype allow."""
    tensor = tensor_of(activation)
    if activation.axis == 0:
        found = tensor.reshape(batch, activation.size)
        return found if found.dtype == dtype else found.to(dtype)
    before, after = tensor.shape[: activation.axis], tensor.shape[activation.axis + 1 :]
    split = tensor.reshape(*before, batch, activation.inner, *after)
    return split.movedim(activation.axis, 0).reshape(batch, activation.size).to(dtype)


def shaped(rows: Tensor, activation: Activation, batch: int, element_shape: tuple[int, ...] = ()) -> Tensor:
    """Return rows [batch, neurons, *element_shape] in the layout of the recorded tensor, elements on trailing axes."""
    before, after = activation.handle.shape[: activation.axis], activation.handle.shape[activation.axis + 1 :]
    split = rows.reshape(batch, *before, activation.inner, *after, *element_shape)
    return split.movedim(0, activation.axis).reshape(activation.handle.shape + torch.Size(element_shape))


def split_rows(joined: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Return the parts of rows that were concatenated along their neurons."""
    assert joined.shape[1] == sum(sizes), (joined.shape, sizes)
    return torch.split(joined, list(sizes), dim=1) if len(sizes) > 1 else (joined,)
