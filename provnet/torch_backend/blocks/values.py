"""What a weight's indices stand for, in the dtype of an evaluation: one function a kind of weight."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Protocol

import torch
from torch import Tensor

from provnet.circuit.blocks import Activation
from provnet.circuit.deferred import Deferred, raw
from provnet.circuit.weights import Centred, Jacobian, Ones, Partner, PerExample, Slope, Stored, Weight
from provnet.rules.fusion import Scaled
from provnet.torch_backend.blocks.jacobians import JacobianRows
from provnet.torch_backend.blocks.weight_factors import CentredRows, ScaledRows, SlopeRows


class ActivationRows(Protocol):
    """What gives activations as rows: a `Workspace`."""

    dtype: torch.dtype

    @property
    def batch(self) -> int:
        """The number of examples."""
        ...

    def activation(self, activation: int) -> Activation:
        """Return a recorded tensor with its layout."""
        ...

    def rows(self, activation: int) -> Tensor:
        """Return an activation as [batch, neurons]."""
        ...

    def shape(self, activation: int) -> tuple[int, ...]:
        """Return the shape of one example of an activation."""
        ...


@singledispatch
def values_of(weight: Weight, workspace: ActivationRows) -> Any:
    """Return the weights, flat [size], or [batch, size] where they differ by example; None where all are one.

    Those that are made late (`Deferred`) stay so. Raises: `TypeError` for a kind of weight that is not registered.
    """
    raise TypeError(f"no values are registered for weights of the kind {type(weight).__name__}")


@values_of.register
def _(weight: Ones, workspace: ActivationRows) -> None:
    return None


@values_of.register
def _(weight: Stored, workspace: ActivationRows) -> Tensor | Deferred:
    held = raw(weight, "values")
    if not isinstance(held, Deferred):
        return held.reshape(-1).to(workspace.dtype)
    if isinstance(held, Scaled) and held.base.dtype == held.scale.dtype == workspace.dtype:
        return ScaledRows(held)
    dtype = workspace.dtype
    return Deferred(lambda *_: held.value.reshape(-1).to(dtype), *held.parts)


@values_of.register
def _(weight: PerExample, workspace: ActivationRows) -> Tensor | Deferred:
    held = raw(weight, "values")
    dtype = workspace.dtype
    if isinstance(held, Deferred):
        return Deferred(lambda *_: held.value.reshape(len(held.value), -1).to(dtype), *held.parts)
    return held.reshape(len(held), -1).to(dtype)


@values_of.register
def _(weight: Partner, workspace: ActivationRows) -> Tensor:
    return workspace.rows(weight.input)


@values_of.register
def _(weight: Centred, workspace: ActivationRows) -> Deferred:
    gamma = torch.ones(weight.size) if weight.gamma is None else weight.gamma
    return CentredRows(gamma.to(workspace.dtype), weight.size)


@values_of.register
def _(weight: Jacobian, workspace: ActivationRows) -> Deferred:
    ends = workspace.activation(weight.input), workspace.activation(weight.output)
    return JacobianRows(weight, *ends, workspace.batch, workspace.dtype)


@values_of.register
def _(weight: Slope, workspace: ActivationRows) -> Deferred:
    return SlopeRows(workspace.rows(weight.output), weight.size, weight.behind)
