"""The values that a propagation rule, Θ and a semiring give the variables of explicit gates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.gates import GateStore
from provnet.circuit.variables import EdgeSegment, VariableTable
from provnet.errors import UnsupportedOperationError, ValuationError
from provnet.face.gate_origin import Origin
from provnet.rules import lrp
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.base import Semiring
from provnet.torch_backend.walk.evaluate import WalkQuestion
from provnet.torch_backend.walk.messages import block_elements

VALUATION_TILE = 1 << 20
"""Edges whose values are made at a time."""


def valuation_of(
    store: GateStore,
    origin: Origin | None,
    semiring: Semiring,
    rule: Rule,
    annotation: str | Annotation | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the value of every variable, [variables, *element_shape]: Θ of the rule's coefficients.

    Raises: see `GateCircuit.valuation`.
    """
    table = store.variables
    if origin is None or not isinstance(table, VariableTable) or table.grain != "edge":
        raise UnsupportedOperationError(
            "only gates of grain 'edge' that were made from an execution have a valuation from a rule; give the "
            "values: evaluate(semiring, valuation=...)."
        )
    origin.session.check_fresh()
    floating = origin.session.floating(dtype)
    like = torch.empty(
        (0, *semiring.element_shape), dtype=semiring.element_dtype(floating), device=origin.session.device
    )
    job = WalkQuestion(semiring, annotations.resolve(annotation, semiring), rule, -1, like)
    segments = [segment for segment in table.segments if isinstance(segment, EdgeSegment)]
    _refuse_edges(origin, job, [segment.block for segment in segments], floating)
    return torch.cat([like, *(_segment(origin, segment, job, floating) for segment in segments)])


def _segment(origin: Origin, segment: EdgeSegment, job: WalkQuestion, floating: torch.dtype) -> Tensor:
    workspace = origin.workspace(floating, job.rule)
    block = workspace.circuit.blocks[segment.block]
    if not block.has_coefficients:
        return _unit_elements(origin, segment, job, floating)
    outputs, rows = np.unique(segment.output, return_inverse=True)
    step = max(1, VALUATION_TILE // (block.wiring.fan + 1))
    example = slice(origin.batch, origin.batch + 1)
    found = []
    for start in range(0, len(outputs), step):
        mine = (start <= rows) & (rows < start + step)
        chosen = torch.from_numpy(outputs[start : start + step]).to(job.start.device)
        elements = block_elements(workspace, segment.block, job, chosen, example)[0]
        if elements.shape[1] == segment.fan:  # the bias, if its edges are variables, is absent here
            zero = job.semiring.full((len(elements), 1), job.semiring.zero, elements)
            elements = torch.cat([elements, zero], dim=1)
        found.append(elements[_index(rows[mine] - start, elements), _index(segment.slot[mine], elements)])
    return torch.cat(found)


def _unit_elements(origin: Origin, segment: EdgeSegment, job: WalkQuestion, floating: torch.dtype) -> Tensor:
    """Return the elements of unit edges that are variables, [variables, *element_shape]."""
    edges = origin.workspace(floating, job.rule).unit_edges(segment.block, job.rule)
    if edges is None:
        return job.semiring.full((len(segment),), job.semiring.one, job.start)
    path = origin.session.data.blocks[segment.block].path
    elements = job.annotation.at(path)(edges, job.semiring, job.start.dtype)[origin.batch, :, 0]
    return elements[_index(segment.output, elements)]


def _refuse_edges(origin: Origin, job: WalkQuestion, segments: Sequence[int], floating: torch.dtype) -> None:
    """Refuse a rule that gives a value to an edge that the gates lack. Raises `ValuationError`."""
    workspace = origin.workspace(floating, job.rule)
    made = origin.workspace(floating, lrp.get("zero")).circuit.blocks
    for index, block in enumerate(workspace.circuit.blocks):
        if block.kind == "elementwise" and not origin.units and workspace.choice(index, job.rule).rule.units:
            raise ValuationError(
                f"the rule {job.rule!r} gives a coefficient to the unit edges of {block.path!r}, which are no "
                "variables of these gates. Make them with gates(units=True)."
            )
    for index in segments:
        mine, asked = made[index], workspace.circuit.blocks[index]
        if mine.kind == "selection" and asked.kind != "selection":
            pooling = asked.annotation or "proportional"
            raise ValuationError(
                f"the rule gives the losers of the pooling {mine.path!r} a value (pooling={pooling!r}), and "
                f"these gates have its winners only. Make them with gates(pooling={pooling!r})."
            )
        if mine.inputs != asked.inputs or (mine.kind != asked.kind and "selection" not in (mine.kind, asked.kind)):
            raise ValuationError(
                f"the rule {job.rule!r} gives {mine.path!r} ({mine.op}) other edges than these gates have, by "
                f"{mine.convention}. Make the gates under the same convention: gates({mine.convention}=...)."
            )


def _index(numbers: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(numbers).to(like.device)
