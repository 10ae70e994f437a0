"""Which edges use the entries of a parameter, told by where it lies in memory: whole, transposed, in part, or tied.

A parameter's relevance is the ⊕ of the messages over the edges that it is the weight of, or the bias. So it is defined
where its entries stand on edges: in dense layers, convolutions, products with a constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.blocks import Block, BlockCircuit
from provnet.circuit.weights import Memory
from provnet.errors import UnsupportedOperationError


class Use(NamedTuple):
    """A block whose weights, or biases, are entries of a parameter: number n of them is entry places[n], -1: none."""

    block: int
    bias: bool
    places: NDArray[np.int64]


def uses_of(circuit: BlockCircuit, asked: str, parameter: Memory) -> list[Use]:
    """Return the uses of a parameter that lies in memory as told, block by block.

    Raises: `UnsupportedOperationError`, with the block, where it is used in another way or not at all.
    """
    found: list[Use] = []
    for index, block in enumerate(circuit.blocks):
        if parameter[0] not in block.parameters:
            continue
        uses = [Use(index, bias, _places(view, parameter)) for bias, view in _views(block) if view[0] == parameter[0]]
        uses = [use for use in uses if (use.places > -1).any()]
        if not uses:
            raise UnsupportedOperationError(
                f"the parameter {asked!r} has no relevance: {block.path!r} ({block.op}) uses it, but not as weights or "
                f"biases of its edges. {_way_out(block)}"
            )
        found += uses
    if not found:
        raise UnsupportedOperationError(
            f"the parameter {asked!r} has no relevance: no edge of this circuit has it as its weight. It is looked up, "
            "changed before it is used, or on no path from a source to an output. Known: "
            f"{', '.join(sorted({name for block in circuit.blocks for name in block.parameters})) or 'none'}."
        )
    return found


def _way_out(block: Block) -> str:
    if "+" in block.module:
        return "It is fused with a batch norm: trace(batch_norm='kept') keeps the two apart."
    return "Gains of norms, slopes of activations and scales are on no edge with a share of its own."


def _views(block: Block) -> Iterator[tuple[bool, Memory]]:
    if block.shared_weight is not None and block.shared_weight.memory is not None:
        yield False, block.shared_weight.memory
    if block.bias_memory is not None:
        yield True, block.bias_memory


def _places(view: Memory, parameter: Memory) -> NDArray[np.int64]:
    """Return for each entry of a view which entry of the parameter it is, both row-major; -1 where it is none."""
    mine, own = _addresses(view), _addresses(parameter)
    order = np.argsort(own, kind="stable")
    at = np.minimum(np.searchsorted(own[order], mine), len(own) - 1)
    return np.where(own[order][at] == mine, order[at], -1)


def _addresses(memory: Memory) -> NDArray[np.int64]:
    """Return where in memory each entry lies, row-major, counted in entries."""
    _, offset, shape, strides = memory
    found = np.full((1,) * len(shape), offset, np.int64)
    for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        found = found + (np.arange(size) * stride).reshape((-1, *(1,) * (len(shape) - axis - 1)))
    return np.broadcast_to(found, shape).reshape(-1)
