"""Dense layers of which few far ends are reached: their rows and columns are taken out, and the rest is never read.

A language model's head has 50,257 outputs for each of 128 tokens, and a question about one of them is a question about
one row of its weights.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from provnet.torch_backend.contractions.base import Engine, Operands
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.geometry import Geometry

FEW = 4
"""If at most one row, or far end, in so many is reached, taking them out costs less than it saves."""


def contract(engine: Engine, body: Body, operands: Operands) -> Tensor:
    """Return what `engine.contract` does, to the bit but for the order of sums of floats."""
    g = operands.geometry
    if g.convolution is not None or not operands.reached.numel():
        return engine.contract(body, operands)
    pull = operands.direction == "pull"
    near, far = (g.near, g.far) if pull else (g.far, g.near)
    reached = operands.reached.reshape(-1, far)
    rows, ends = reached.any(1), reached.any(0)
    if FEW * int(rows.sum()) > len(rows) and FEW * int(ends.sum()) > far:
        return engine.contract(body, operands)
    out = torch.full((len(reached), near), operands.zero, dtype=operands.dtype, device=reached.device)
    row, end = rows.nonzero()[:, 0], ends.nonzero()[:, 0]
    if len(row):
        weights = operands.weights.reshape(g.far, g.near).index_select(0 if pull else 1, end)
        some = replace(
            operands,
            geometry=Geometry(1, 1, *((near, len(end)) if pull else (len(end), near)), 1, 1, 1),
            weights=weights.reshape(-1),
            scalars=tuple(s.reshape(-1, far)[row][:, end] for s in operands.scalars),
            reached=reached[row][:, end],
            near=None if operands.near is None else operands.near.reshape(-1, near)[row],
        )
        out[row] = engine.contract(body, some)
    return out.reshape(len(operands.reached), -1)
