"""The value of all paths through each edge, neuron or parameter, on blocks: relevant subnetworks, pruning masks."""

from __future__ import annotations

from functools import cached_property
from math import prod

import torch
from torch import Tensor

from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from provnet.face.neuron_names import blocks_named
from provnet.face.relevance import Relevance
from provnet.torch_backend.blocks.rows import shaped
from provnet.torch_backend.blocks.scatter import scatter_any
from provnet.torch_backend.walk.evaluate import Evaluation, WalkQuestion
from provnet.torch_backend.walk.forward import block_marginals, sweep_forward

LIMIT = 50_000_000


class Marginals:
    """Marginals of one result: the value of all paths from an input to the target through an edge, neuron or parameter.

    edge j → k: F_j ⊗ Θ(d)_jk ⊗ R_k, neuron j: F_j ⊗ R_j, parameter: the ⊕ over the edges that share it; F is the sweep
    from the inputs (`torch_backend.forward`, with definition and proof). In Boolean: whether any relevant path uses
    it; in Viterbi: the best path that does; in Counting: how many; in Real: a neuron's share of the relevance of the
    inputs. The ⊕ over the edges of a layer that every path crosses is the ⊕ of the inputs' relevance.

    Example: `m = Marginals(circuit.evaluate("boolean", annotation=Threshold(0.01))); m.parameters("fc1")`
    Raises: `UnsupportedOperationError` if ⊗ does not commute; `OptionError` for several targets at once.
    """

    def __init__(self, relevance: Relevance, limit: int = LIMIT) -> None:
        self._asked, self._limit = relevance._asked, limit
        if self._asked.several:
            raise OptionError("marginals take one target at a time; evaluate with target=3, not Targets(...).")
        if not relevance.semiring.commutative:
            raise UnsupportedOperationError(f"marginals need a ⊗ that commutes; {relevance.semiring.name!r} has none.")
        self.semiring = relevance.semiring

    @property
    def _job(self) -> WalkQuestion:
        return self._asked.jobs[0]

    @cached_property
    def _evaluation(self) -> Evaluation:
        return self._asked.again(frozenset(self._asked.circuit.activations))[0]

    @cached_property
    def _forward(self) -> dict[int, Tensor]:
        circuit = self._asked.circuit
        start = {
            source: self.semiring.full(
                (circuit.batch, circuit.activations[source].size), self.semiring.one, self._job.start
            )
            for source in circuit.sources
        }
        return sweep_forward(self._asked.workspace(), self._job, start)

    def _rows(self, activation: int) -> tuple[Tensor, Tensor]:
        """Return F and R of an activation, [batch, neurons, *element]."""
        circuit, semiring = self._asked.circuit, self.semiring
        zero = semiring.full((circuit.batch, circuit.activations[activation].size), semiring.zero, self._job.start)
        return self._forward.get(activation, zero), self._evaluation.relevance.get(activation, zero)

    def neurons(self, name: str) -> Tensor:
        """Return the marginals of a recorded tensor's neurons, in its layout."""
        circuit = self._asked.circuit
        activation = circuit.find(name)
        through = self.semiring.times(*self._rows(activation))
        return shaped(through, circuit.activations[activation], circuit.batch, self.semiring.element_shape)

    def edges(self, path: str) -> Tensor:
        """Return the marginals of a block's edges, [batch, outputs, slots, *element], zero where there is no edge.

        Neurons are counted row-major; slots as the wiring counts them: of a dense layer, the inputs.
        Raises `LimitError` above the limit on entries, `UnknownNameError`, `UnsupportedOperationError` for unit edges.
        """
        circuit = self._asked.circuit
        index = blocks_named(circuit, path)[0]
        block = circuit.blocks[index]
        if not block.has_coefficients:
            raise UnsupportedOperationError(f"{path!r} ({block.op}) has unit edges: ask for neurons({path!r}).")
        size = circuit.batch * block.wiring.outputs * block.wiring.fan
        if size > self._limit:
            raise LimitError(
                f"{path!r} has {size:,} edges in {circuit.batch} examples, above limit={self._limit:,}: trace fewer "
                "examples, raise limit=, or take gates(at=...).marginals() for a cone."
            )
        before = torch.cat([self._rows(i)[0] for i in block.inputs], 1)
        return block_marginals(self._asked.workspace(), index, self._job, before, self._rows(block.output)[1])

    def parameters(self, path: str) -> Tensor:
        """Return the marginals of a block's weight, [batch, *weight.shape, *element]: in Boolean, the mask of what is
        used.

        Errors as `edges`; `UnsupportedOperationError` for a block without a weight that the examples share.
        """
        circuit, semiring = self._asked.circuit, self.semiring
        block = circuit.blocks[blocks_named(circuit, path)[0]]
        weight = block.shared_weight
        if weight is None:
            raise UnsupportedOperationError(f"{path!r} ({block.op}) has no weight that all examples share.")
        marginals = self.edges(path).flatten(1, 2)
        wiring = block.wiring
        outputs = torch.arange(wiring.outputs, device=marginals.device)[:, None]
        _, _, index = wiring.source(outputs, torch.arange(wiring.fan, device=marginals.device))
        index = torch.broadcast_to(torch.as_tensor(index), (wiring.outputs, wiring.fan)).reshape(-1)
        shape = tuple(weight.values.shape)
        into = semiring.full((circuit.batch, prod(shape)), semiring.zero, marginals)
        scatter_any(semiring, into, index, marginals)
        return into.reshape(circuit.batch, *shape, *semiring.element_shape)


def relevant_parameters(relevance: Relevance, limit: int = LIMIT) -> dict[str, Tensor]:
    """Return a mask for each block with a weight: whether a relevant path of any example uses it, {path: bool,
    weight.shape}.

    Relevant is what the semiring does not value zero; take Boolean. Weights where it is False may be set to zero
    without any path's loss: pruning by provenance. It is a statement on paths at fixed activations, not on the output.
    """
    marginals, circuit = Marginals(relevance, limit), relevance._asked.circuit
    zero, axes = marginals.semiring.zero, len(marginals.semiring.element_shape)
    found = {}
    for block in circuit.blocks:
        if block.has_coefficients and block.shared_weight is not None:
            used = marginals.parameters(block.path) != zero
            for _ in range(axes):
                used = used.any(-1)
            found[block.path] = used.any(0)
    return found
