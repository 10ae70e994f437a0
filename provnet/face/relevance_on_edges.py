"""Relevance on edges: what each one passes down, and what each weight carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from provnet.errors import LimitError, UnsupportedOperationError
from provnet.face.neuron_names import blocks_named
from provnet.face.relevance_at_tensors import RelevanceAtTensors
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.messages import block_elements, block_messages, weight_relevance

MESSAGES_LIMIT = 50_000_000


class Slots(NamedTuple):
    """The slots of some neurons of a block, [n, slots], the bias last where there is one.

    coefficient  d, the propagation rule's;  present  whether there is an edge
    element      Θ(d), [n, slots, *element], zero where there is no edge;  message  Θ(d) ⊗ R ([GSM25] eq. 6)
    """

    coefficient: Tensor
    present: Tensor
    element: Tensor
    message: Tensor


class RelevanceOnEdges(RelevanceAtTensors):
    """The relevance of neurons, and what their edges pass down; `Relevance` adds totals and pictures."""

    def messages(self, path: str, limit: int = MESSAGES_LIMIT) -> Any:
        """Return the messages R_{i<-j} of a block ([GSM25] eq. 6): [batch, out, in (+ bias)], zero where there is
        no edge.

        Neurons are counted row-major; `in` runs over the block's inputs one after another, a bias is last.
        path   of the block.
        Raises: `LimitError` above `limit` entries; `UnsupportedOperationError` for a block of unit edges.
        """
        (index, *_) = blocks_named(self._asked.circuit, path)
        block = self._asked.circuit.blocks[index]
        if not block.has_coefficients:
            raise UnsupportedOperationError(
                f"block {path!r} ({block.op}) has unit edges: each neuron's message is its relevance, r[{path!r}]."
            )
        size = self._asked.circuit.batch * block.wiring.outputs * (block.wiring.inputs + 1)
        if size > limit:
            raise LimitError(
                f"the messages of {path!r} have {size:,} entries, above limit={limit:,}. Trace fewer examples, raise "
                "limit=, or take gates(at=...) for chosen neurons."
            )
        return self._of_edges(index, block_messages)

    def weights(self, path: str) -> Any:
        """Return the relevance of a block's weights, [batch, *weight's shape]: the ⊕ of the messages each one carries.

        With a batch norm fused, those of the joint map. The bias's is `r.bias[path]`.
        Raises: `UnsupportedOperationError` for a block without weights.
        """
        (index, *_) = blocks_named(self._asked.circuit, path)
        return self._of_edges(index, weight_relevance)

    @plain_torch()
    def slots(self, block: int, outputs: Tensor, example: int) -> Slots:
        """Return what the slots of chosen outputs of a block hold in one example, for one target.

        block     its number in `circuit.session.data.blocks`.
        outputs   row-major numbers of its neurons, [n] int64.
        """
        (job, *_), workspace, one = self._asked.jobs, self._asked.workspace(), slice(example, example + 1)
        outputs = outputs.to(job.start.device)
        edges = workspace.prepared(block, job.rule).at(outputs, one)
        elements = block_elements(workspace, block, job, outputs, one)[0]
        arriving = self.rows(self._asked.circuit.blocks[block].output)[example, outputs]
        shape = (1, *elements.shape[:2])
        here = torch.ones(shape, dtype=torch.bool, device=outputs.device) if edges.present is None else edges.present
        messages = self.semiring.times(elements, arriving.unsqueeze(1))
        return Slots(edges.d.expand(shape)[0], here.expand(shape)[0], elements, messages)

    @plain_torch()
    def unit_elements(self, block: int, example: int) -> Tensor | None:
        """Return the elements of a block of unit edges in one example, [outputs, *element]; None: all are one."""
        job, workspace = self._asked.jobs[0], self._asked.workspace()
        edges = workspace.unit_edges(block, job.rule)
        if edges is None:
            return None
        annotation = workspace.theta(block, job.annotation)
        return annotation(edges, job.semiring, job.start.dtype)[example, :, 0]

    @plain_torch()
    def _of_edges(self, index: int, of: Callable[..., Tensor]) -> Any:
        block = self._asked.circuit.blocks[index]
        if block.output not in self._kept:
            self._evaluations = self._asked.again(frozenset(self._asked.circuit.activations))
        return self._shown(
            [
                of(self._asked.workspace(), index, job, evaluation.relevance.get(block.output))
                for job, evaluation in zip(self._asked.jobs, self._evaluations, strict=True)
            ]
        )
