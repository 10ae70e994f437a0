"""Tensors that a caller gives beside the model's input: weightings, starts, masks."""

from __future__ import annotations

from torch import Tensor

from provnet.errors import DeviceError


def with_values(tensor: Tensor, what: str) -> Tensor:
    """Return the tensor. Raises `DeviceError` if it is on the meta device, where tensors have shapes and no values."""
    if tensor.is_meta:
        raise DeviceError(f"{what} is on the meta device, so it has no values. Make it on a device that holds data.")
    return tensor
