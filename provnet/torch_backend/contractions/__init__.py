"""Compiled contractions: numba on a CPU, Triton on a GPU. A file whose name ends in `_engine` is found by itself."""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.errors import PerformanceWarning
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions import few_reached
from provnet.torch_backend.contractions.base import Direction, Engine, Operands
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.engine_choice import chosen, engine_chosen, engines
from provnet.torch_backend.contractions.geometry import Geometry, geometry_of

__all__ = ["contract", "engine_chosen", "engine_for", "engines"]


def engine_for(prepared: Prepared) -> Engine | None:
    """Return what can contract a block: plain products with shared weights, dense or convolution; None: nothing."""
    wiring = prepared.block.wiring
    if geometry_of(wiring) is None or raw(prepared, "w") is None or not prepared.whole:
        return None
    choice = chosen()
    if not outer.single_product(prepared) or wiring.edges * prepared.batch < choice.least:
        return None
    if prepared.a[0].dtype not in (torch.float32, torch.float64):
        return None
    found = choice.on(prepared.device)
    if found is None and choice.engines is None and prepared.device.type == "cpu":
        _say_that_torch_serves()
    return found


@cache
def _say_that_torch_serves() -> None:
    """Warn once a process that large blocks are folded without compiled kernels."""
    warnings.warn(
        "numba is not installed, so plain torch folds large layers: the same answers, several times slower. Install "
        "it where your Python has a wheel: pip install numba.",
        PerformanceWarning,
        stacklevel=2,
    )


def contract(
    engine: Engine,
    body: Body,
    prepared: Prepared,
    direction: Direction,
    weights: Tensor,
    scalars: tuple[Tensor, ...],
    reached: Tensor,
    near: Tensor | None = None,
    constants: tuple[float, ...] = (),
    zero: float | int = 0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return v of every near end of a block, [batch, near neurons]. See `Operands`."""
    given = scalars, reached, near, constants, zero, dtype or weights.dtype
    return few_reached.contract(engine, body, Operands(_geometry(prepared), direction, weights, *given))


def in_registers(
    engine: Engine,
    body: Body,
    prepared: Prepared,
    weights: Tensor,
    scalars: tuple[Tensor, ...],
    reached: Tensor,
    near: Tensor | None = None,
    dtype: torch.dtype | None = None,
    folds: int = 1,
) -> Tensor | None:
    """Return v of every input of a block, [batch, inputs], None where `Engine.in_registers` does not serve."""
    given = scalars, reached, near, (), 0, dtype or weights.dtype
    return engine.in_registers(body, Operands(_geometry(prepared), "pull", weights, *given), folds)


def _geometry(prepared: Prepared) -> Geometry:
    geometry = geometry_of(prepared.block.wiring)
    assert isinstance(geometry, Geometry), "engine_for has seen it"
    return geometry
