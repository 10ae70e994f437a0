"""Compiled edges where ⊕ is the maximum and no message exceeds the relevance it carries: most relevance is not asked.

An output's relevance bounds what its edges give, and so does the size of their contributions. What comes from outputs
of more than 0 decides every input that gets more than 0, or 0 from an activation of 0; the others are looked at again.
Behind a ReLU half of the outputs hold 0 in the Bottleneck semiring. So large an answer comes from no contribution near
the denormal numbers either, and quotients may be made of products (see `Body.ordinary`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from provnet.torch_backend import contractions
from provnet.torch_backend.blocks import outer_products as outer
from provnet.torch_backend.blocks.denormals import largest_input, largest_weight
from provnet.torch_backend.blocks.extent import DivisorRange
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.body import LARGE, SMALL, Body, edge_body
from provnet.torch_backend.contractions.input_edges import columns_of, listable, reachable
from provnet.torch_backend.routes.base import BlockQuestion

SIZES = ("d", "abs(d)", "abs(p) / m")
"""What Θ gives edges, where it grows with the size of d on either side of 0."""

WIDE = 16
"""Fewer edges of an output seldom hold one that decides."""

FEW = 64
"""The others are listed where they are at most one input in so many: else it takes less to fold all edges."""


def bounded(prepared: Prepared, question: BlockQuestion) -> bool:
    """Return whether ⊕ is the maximum and no message exceeds the relevance it carries, nor what Θ gives its edge.

    Of narrow groups few inputs are decided by outputs of more than 0: they are left out.
    """
    semiring, theta = question.semiring, question.annotation
    assert semiring.scalar is not None, "compiled edges have one"
    bounds = semiring.absorptive and semiring.scalar[0] == "max(x, y)" and theta.scalar in SIZES
    return bounds and listable(prepared) and prepared.block.wiring.fan >= WIDE


@dataclass(frozen=True, eq=False)
class OutrankedEdges:
    """The edges of a block whose relevance is `received`, where `bounded`.

    below      denominators, or largest contributions, [batch, outputs], and their range
    messages   gives messages by the definition, of p and of `below` and relevance at the edges' outputs
    """

    prepared: Prepared
    question: BlockQuestion
    below: Tensor
    ends: DivisorRange
    messages: Callable[[Tensor, Tensor, Tensor], Tensor]

    def pull(self, relevance: Tensor, reached: Tensor, zero: Tensor) -> Tensor:
        """Return ⊕ of the messages to each input, [batch, inputs]; outputs that are not `reached` send none."""
        ordinary = self._ordinary()
        found = self._contracted(relevance, reached & (relevance > 0), zero, ordinary)
        floor = 2 * SMALL / self.ends.least if ordinary else -torch.inf
        unsure = (found < 0) | ((found <= floor) & (self.prepared.a[0] != 0))
        if not bool(unsure.any()):
            return found
        batch, inputs = (unsure & reachable(self.prepared, reached)).nonzero(as_tuple=True)
        if len(inputs) * FEW > unsure.numel():
            return self._contracted(relevance, reached, zero, False)
        for column in columns_of(self.prepared, batch, inputs):
            present = column.present & column.of(reached)
            sent = self.messages(column.p, torch.where(present, column.of(self.below), 1), column.of(relevance))
            found[column.batch[:, 0], column.inputs] = torch.where(present, sent, zero).amax(1)
        return found

    def _ordinary(self) -> bool:
        largest = largest_input(self.prepared) * largest_weight(self.prepared)
        return largest < LARGE and self.ends.least > 1 / LARGE and self.ends.most < LARGE

    def _contracted(self, relevance: Tensor, reached: Tensor, zero: Tensor, ordinary: bool) -> Tensor:
        semiring, element = self.question.semiring, self.question.annotation.scalar
        engine, weights = contractions.engine_for(self.prepared), outer.weights_of(self.prepared, signed=True)
        assert engine is not None and weights is not None and semiring.scalar is not None and element is not None
        body = _body(*semiring.scalar, element, float(zero), ordinary)
        given = (self.below, relevance), reached, self.prepared.a[0]
        return contractions.contract(engine, body, self.prepared, "pull", weights, *given, zero=float(zero))


@lru_cache(maxsize=64)
def _body(plus: str, times: str, element: str, zero: float, ordinary: bool) -> Body:
    # An edge that carries zero leaves the maximum as it is, so that a far end may be given it in place of a test.
    return edge_body("edges", plus, times, element, (1.0, zero), ordinary)
