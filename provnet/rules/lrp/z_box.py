"""z^B: for inputs that lie in a box, such as pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import OptionError
from provnet.rules.lrp.base import Stabilised, number, register
from provnet.rules.lrp.factors import Branch, Factors, negative, positive

SLACK = 1e-5
"""Of the box's width: bounds and inputs are normalised by different roundings."""

Bound = float | tuple[float, ...]


@dataclass(frozen=True)
class MinusBound:
    """f(a) = −bound for every input: one number, or one a channel, channels on the first axis of an example."""

    bound: Bound

    def __call__(self, a: Tensor, shape: tuple[int, ...]) -> Tensor:
        return -spread(self.bound, a, shape)


def spread(bound: Bound, a: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the bound at every input, [batch, neurons]."""
    if not isinstance(bound, tuple):
        return torch.full_like(a, bound)
    values = torch.tensor(bound, dtype=a.dtype, device=a.device)
    return values.repeat_interleave(a.shape[1] // len(bound)).expand(a.shape)


@register("zbox", "z-box")
@dataclass(frozen=True)
class ZBox(Stabilised):
    """d_jk = p_jk / Σ p with p_jk = a_j w_jk − low_j w_jk⁺ − high_j w_jk⁻. Source: Montavon et al. 2017, Deep Taylor.

    low, high    the box of the inputs: a number, or one for each channel (a sequence, or a tensor [C], [C, 1, 1] or
                 [1, C, 1, 1]), in the units of the tensor that feeds the layer. The bias's box is [1, 1], its share 0.

    For the first linear map on the way from a source only: deeper activations have no box. Conserves, up to neurons
    whose sum is 0. All p are >= 0, because every input lies in its box.
    Raises: `OptionError` for low > high, for a number of channels that does not fit, for inputs outside the box.
    """

    low: Any = 0.0
    high: Any = 1.0
    stabilizer: float = 0.0
    name = "zbox"

    def __post_init__(self) -> None:
        number(self.name, stabilizer=self.stabilizer)
        for what in ("low", "high"):
            object.__setattr__(self, what, _bound(getattr(self, what), what))
        lengths = [len(bound) for bound in (self.low, self.high) if isinstance(bound, tuple)]
        if len(set(lengths)) > 1:
            raise OptionError(f"ZBox got {lengths[0]} lower and {lengths[1]} upper bounds; give as many of each.")
        count = max(lengths, default=1)
        for low, high in zip(_each(self.low, count), _each(self.high, count), strict=True):
            if low > high:
                raise OptionError(f"ZBox got low={low} above high={high}: no input lies in such a box.")

    @cached_property
    def branches(self) -> tuple[Branch, ...]:  # type: ignore[override]
        low = Factors(MinusBound(self.low), positive, bias=-1.0)
        high = Factors(MinusBound(self.high), negative, bias=-1.0)
        return (Branch((Factors(), low, high)),)

    def refusal(self, circuit: BlockCircuit, index: int) -> str | None:
        before = linear_before(circuit, index)
        if before is not None:
            return f"it bounds a model's input, and {before.path!r} lies between this block and the source"
        shape = circuit.activations[circuit.blocks[index].inputs[0]].shape
        for bound in (self.low, self.high):
            if isinstance(bound, tuple) and (len(circuit.blocks[index].inputs) > 1 or not _fits(len(bound), shape)):
                return f"it has {len(bound)} bounds, one a channel, and the input has the shape {shape} an example"
        return None

    def check(self, block: Block, rows: Tensor, shape: tuple[int, ...]) -> None:
        low, high = spread(self.low, rows, shape), spread(self.high, rows, shape)
        slack = SLACK * (high - low)
        outside = int(((rows < low - slack) | (rows > high + slack)).sum())
        if outside:
            raise OptionError(
                f"{outside} of {rows.numel()} inputs of {block.path!r} lie outside of {self!r}: they go from "
                f"{float(rows.min()):g} to {float(rows.max()):g}. The bounds must hold the input as it comes to this "
                "layer: normalise them as you normalise the input."
            )


def linear_before(circuit: BlockCircuit, index: int) -> Block | None:
    """Return a linear map, a product or a norm that lies between a source and the block, None if there is none."""
    makers = {block.output: block for block in circuit.blocks}
    waiting, seen = list(circuit.blocks[index].inputs), set()
    while waiting:
        maker = makers.get(waiting.pop())
        if maker is None or maker.output in seen:
            continue
        if maker.role in ("linear", "product", "norm"):
            return maker
        seen.add(maker.output)
        waiting.extend(maker.inputs)
    return None


def _fits(channels: int, shape: tuple[int, ...]) -> bool:
    """Return whether the first axis of an example has so many channels; a flattened image may carry a multiple."""
    return bool(shape) and (shape[0] == channels or (len(shape) == 1 and shape[0] % channels == 0))


def _each(bound: Bound, count: int) -> tuple[float, ...]:
    return bound if isinstance(bound, tuple) else (bound,) * count


def _bound(value: Any, what: str) -> Bound:
    """Return a bound as a number, or as one number a channel."""
    try:
        tensor = torch.as_tensor(list(value) if isinstance(value, Iterable) and not hasattr(value, "shape") else value)
        wide = [n for n in tensor.shape if n != 1]
        fits = len(wide) <= 1 and not tensor.is_complex() and bool(torch.isfinite(tensor).all())
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise OptionError(f"ZBox got {what}={value!r}; it must be a finite number, or one for each channel.")
    numbers = tensor.to(torch.float64).reshape(-1).tolist()
    return tuple(numbers) if len(numbers) > 1 else float(numbers[0])
