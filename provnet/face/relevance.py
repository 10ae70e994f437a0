"""The answer to one question: relevance at every recorded tensor, biases, sinks, messages, conservation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from provnet.face.conservation_report import Conservation, conservation_of
from provnet.face.pictures import inline_picture, plot, tokens_of
from provnet.face.relevance_on_edges import RelevanceOnEdges
from provnet.notebook import card
from provnet.torch_backend.settings import plain_torch


class Relevance(RelevanceOnEdges):
    """The relevance of every neuron for one target, in one semiring ([GSM25] eq. 3). Made by `Circuit.evaluate`.

    Results have the layout of the recorded tensors, elements wider than a number on trailing axes, and for
    `Targets(...)` one result a target on a leading axis. Exact counts are numpy arrays of Python integers.
    Example: `r = circuit.evaluate("boolean"); r.inputs.sum(); r["conv1"]; print(r.conservation())`
    """

    # -- totals --------------------------------------------------------------------------------------------------------

    @property
    def bias(self) -> Mapping[str, Any]:
        """What each block's bias took, path -> [batch]. Biases are dummy neurons that send nothing further down."""
        self._finish()
        return self._by_path([evaluation.bias for evaluation in self._evaluations])

    @property
    def sinks(self) -> Mapping[str, Any]:
        """Relevance that goes no further, path -> [batch]: what biases took, and what was lost.

        A bias that an op made of a traced tensor (a sign that is added, say) goes by that op's name, and what `only=`
        kept back by "dropped". `conservation()` tells kinds of sinks apart: biases, a softmax's rest, constants, ε.

        Lost is, in the rings, all that a block received and did not pass on (neurons without a defined coefficient, and
        what a stabiliser took); elsewhere the ⊕ of the relevance of neurons without a defined coefficient.
        """
        self._finish()
        blocks, plus = self._asked.circuit.blocks, self.semiring.plus
        found: list[dict[int | str, Tensor]] = []
        for evaluation in self._evaluations:
            sinks: dict[int | str, Tensor] = {}
            for index, taken in evaluation.bias.items():
                key = blocks[index].bias_name or index
                sinks[key] = plus(sinks[key], taken) if key in sinks else taken
            for index, lost in evaluation.lost.items():
                sinks[index] = plus(sinks[index], lost) if index in sinks else lost
            for index, (came, passed) in evaluation.totals.items():
                sinks[index] = self.semiring.monus(came, passed)
                if blocks[index].bias_name is not None and index in evaluation.bias:
                    sinks[index] = self.semiring.monus(sinks[index], evaluation.bias[index])
            for dropped in evaluation.dropped.values():
                sinks["dropped"] = plus(sinks["dropped"], dropped) if "dropped" in sinks else dropped
            found.append(sinks)
        return self._by_path(found)

    def _by_path(self, found: Sequence[Mapping[Any, Tensor]]) -> dict[str, Any]:
        """Return what blocks, by number, and sinks, by name, took: by path and by name."""
        blocks = self._asked.circuit.blocks
        indices = sorted({index for each in found for index in each}, key=lambda i: (isinstance(i, str), i))
        zero = self.semiring.full((self._asked.circuit.batch,), self.semiring.zero, self._asked.jobs[0].start)
        paths = {i: i if isinstance(i, str) else blocks[i].path for i in indices}
        return {paths[i]: self._shown([each.get(i, zero) for each in found]) for i in indices}

    @plain_torch()
    def conservation(self) -> Conservation:
        """Return the conservation report: for every block what came, what was passed on, what bias and loss took."""
        with torch.no_grad():  # a report is numbers
            every = self._asked.again(frozenset(self._asked.circuit.activations))
            if not any(held.requires_grad for one in self._evaluations for held in one.relevance.values()):
                self._evaluations = every
            return conservation_of(self._asked.circuit, self.semiring, every, self._asked.jobs, self._asked.workspace())

    # -- pictures ------------------------------------------------------------------------------------------------------

    def plot(self, **options: Any) -> Any:
        """Return a matplotlib figure of the relevance; `options` are those of `provnet.plot`.

        Example: `r.plot(shape=(28, 28), overlay=True, clip=99).savefig("relevance.pdf")`
        """
        return plot(self, **options)

    def token_html(self, texts: Sequence[str], example: int = 0, at: str | None = None) -> str:
        """Return HTML of a text whose tokens stand on the colours of their relevance, escaped.

        texts   the tokens of one example, in order; relevance of the shape [tokens, width] is joined by ⊕.
        at      a recorded tensor, such as an embedding; None: the only source.
        Example: `from IPython.display import HTML; HTML(r.tokens(["the", "cat"], at="embedding"))`
        """
        return tokens_of(self, texts, example, at)

    def _repr_html_(self) -> str:
        rows = [[str(k), name] for k, name in enumerate(self.question.explained())]
        return card(repr(self), columns=["example", "explained"], rows=rows, picture=inline_picture(self))

    def __repr__(self) -> str:
        circuit = self._asked.circuit
        sources = ", ".join(f"{circuit.activations[s].name} {circuit.activations[s].shape}" for s in circuit.sources)
        return f"Relevance({self.question}; batch {circuit.batch}, sources: {sources})"
