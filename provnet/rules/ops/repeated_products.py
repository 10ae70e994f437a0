"""Products of all entries along axes: z = Π a_j. The whole product is each factor's contribution, shared alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import Operand
from provnet.circuit.deferred import Deferred
from provnet.circuit.table import table
from provnet.circuit.weights import PerExample
from provnet.rules.ops.base import Op, Placed, op_rule
from provnet.rules.ops.reductions import reduced

MOST = 256
"""Factors of a product: each is an operand of its own."""


@op_rule("aten.prod")
def product(op: Op) -> Placed:
    """z = Π a_j along axes: p_j = z, and the n factors share its relevance alike; each has all of it under "full"."""
    wiring, layout, _ = reduced(op, op["dim"], bool(op["keepdim"]))
    if wiring.fan > MOST:
        op.missing(f"a product of more than {MOST} factors")
    source, outputs = op.only(), np.arange(wiring.outputs)
    factors = np.stack([wiring.source(outputs, slot)[0] for slot in range(wiring.fan)])
    rows = op.by_example(source).reshape(op.batch, wiring.inputs)
    operands = [
        Operand(source, table(own[:, None], wiring.inputs), PerExample(Deferred(_others(factors, slot), rows)))
        for slot, own in enumerate(factors)
    ]
    block = op.block("affine", "product", operands, layout).block
    full = replace(block, sink="full products", remark="tie: all alike")
    half = replace(block, copies=wiring.fan, convention="products", forms={"full": full}, remark="tie: all alike")
    return Placed(half, layout)


def _others(factors: np.ndarray, slot: int) -> Callable[[Tensor], Tensor]:
    """Return the function that gives for every output the product of all factors but one, [batch, outputs].

    factors   [n, outputs], which entry each factor of each output is
    """
    places = torch.from_numpy(np.delete(factors, slot, 0))

    def others(rows: Tensor) -> Tensor:
        return rows[:, places.to(rows.device)].prod(1)

    return others
