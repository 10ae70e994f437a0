"""A batch of one: nothing can mix, so the only example may be taken to lie on any axis.

All layouts of one example count its neurons alike, row-major over the whole tensor. So where a rule refuses an op
because of where its inputs hold the example, it is asked again with the example elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product

from provnet.errors import CrossExampleError, MissingRuleError
from provnet.rules.ops.base import Op, OpRule, Placed, blocks_of
from provnet.rules.ops.example_layout import Layout, Shape

TRIES = 64
"""At most so many combinations of layouts are tried."""


def in_some_layout(op: Op, rule: OpRule) -> list[Placed]:
    """Return the blocks that `rule` gives for `op`, of a batch of one in whatever layout of its inputs the rule takes.

    Raises: what the rule raises with the layouts that are known, if it takes no others.
    """
    try:
        return blocks_of(op, rule(op))
    except (CrossExampleError, MissingRuleError):
        if op.batch > 1:
            raise
        for layouts in islice(_alternatives(op), TRIES):
            try:
                other = replace(op, layouts={**op.layouts, **layouts})
                return blocks_of(other, rule(other))
            except (CrossExampleError, MissingRuleError):
                continue
        raise


def _alternatives(op: Op) -> Iterator[dict[int, Layout]]:
    inputs = tuple(dict.fromkeys(op.inputs))
    for chosen in product(*(list(_layouts(op.shape(i))) for i in inputs)):
        yield dict(zip(inputs, chosen, strict=True))


def _layouts(shape: Shape) -> Iterator[Layout]:
    """Yield the layouts of one example: on an axis of size one, else merged with another axis."""
    yield from (Layout(axis) for axis, size in enumerate(shape) if size == 1)
    yield from (Layout(axis, inner=size) for axis, size in enumerate(shape) if size > 1)
