"""Relevance at recorded tensors: by name, by neuron, by head, by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.gates import Neuron
from provnet.circuit.parameters import uses_of
from provnet.errors import OptionError
from provnet.face.heads import attention_in
from provnet.face.question import Question
from provnet.face.spelling import neuron_or_none
from provnet.face.tokens import by_token, token_source
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.rows import shaped
from provnet.torch_backend.counts.bounds import EXACT_FLOAT
from provnet.torch_backend.walk.evaluate import Evaluation, Step, WalkQuestion
from provnet.torch_backend.walk.messages import parameter_relevance
from provnet.torch_backend.walk.workspace import Workspace


@dataclass(frozen=True, eq=False)
class AskedQuestion:
    """What a result remembers of its question, so that more of it can be had: one job for each target.

    `again` evaluates the same jobs and keeps the relevance of the activations it is given.
    """

    circuit: BlockCircuit
    jobs: tuple[WalkQuestion, ...]
    several: bool
    workspace: Callable[[], Workspace]
    again: Callable[[frozenset[int]], list[Evaluation]]
    question: Question


class RelevanceAtTensors:
    """The relevance of every neuron for one target, as far as tensors go; `Relevance` adds totals, edges, pictures."""

    def __init__(self, asked: AskedQuestion, evaluations: list[Evaluation], peak_memory: int | None = None) -> None:
        self._asked = asked
        self._evaluations = evaluations
        self.peak_memory = peak_memory
        """Bytes that the call of `evaluate` took at its peak beyond what was held before (model, recorded activations,
        what earlier calls left). None: `measure_memory=True` was not given, or the system does not tell (on the CPU
        only Linux does, of the whole process). See `provnet.torch_backend.walk.memory_peak`."""

    # -- what was asked ----------------------------------------------------------------------------------------------

    @property
    def semiring(self) -> Semiring:
        """The semiring of the answer."""
        return self._asked.jobs[0].semiring

    @property
    def inputs(self) -> Any:
        """The relevance of the only source, in its shape. With several sources, ask for each by name."""
        sources = self._asked.circuit.sources
        if len(sources) != 1:
            names = [self._asked.circuit.activations[s].name for s in sources]
            raise OptionError(
                f"the circuit has {len(names)} sources; ask for one by name: r[{names[0]!r}] ({', '.join(names)})."
            )
        return self._at(sources[0])

    @property
    def by_source(self) -> dict[str, Any]:
        """The relevance of each source by its name, in its shape."""
        circuit = self._asked.circuit
        return {circuit.activations[source].name: self._at(source) for source in circuit.sources}

    @property
    def question(self) -> Question:
        """What was asked: targets, semiring, rule, Θ, start. `print(r.question)` says it in a line."""
        return self._asked.question

    def __getitem__(self, name: str | Neuron | tuple[Any, ...]) -> Any:
        """Return the relevance at a recorded tensor: a source, a module's output "path", its input "path:in", an op.

        A neuron, "fc1[3]" or ("fc1", 3), gives its own relevance, [batch].

        A tensor that was not kept (see `at=`) is found by one more evaluation, which then keeps all.
        Raises: `UnknownNameError`, with the reason where a tensor has no relevance of its own.
        """
        circuit = self._asked.circuit
        if name in circuit.parameters:
            return self._parameter(str(name))
        neuron = neuron_or_none(circuit, name)
        if neuron is None:
            return self._at(circuit.find(str(name)))
        activation, place = neuron
        return self._at(activation, place)

    def keys(self) -> list[str]:
        """Return the names of all tensors whose relevance can be asked for."""
        return sorted(self._asked.circuit.names)

    def heads(self, path: str) -> Any:
        """Return the relevance of each attention head, [batch, heads]: ⊕ over tokens and features of what it gives.

        path   of the module that runs the attention ("encoder.layers.0.self_attn"), or the name of a recorded tensor
               with heads on the first axis of an example.
        Raises: `UnknownNameError`, with the attentions that there are, if the module runs none or several.
        Example: `circuit.evaluate("real", rule=rules.AttnLRP()).heads("blocks.0.attention")`
        """
        # By the default forms: in others a softmax may be a block of weights, and its result no operand any more.
        activation = attention_in(self._asked.workspace().base, path)
        shape = self._asked.circuit.activations[activation].shape
        parts = []
        for job, rows in self._rows(activation):
            count = shape[0] if len(shape) > 2 else 1  # [tokens, features] is one head
            split = rows.reshape(len(rows), count, -1, *job.semiring.element_shape)
            parts.append(job.semiring.sum(split, 2))
        return self._shown(parts)

    def by_example(self, name: str) -> Any:
        """Return the relevance at a recorded tensor as [batch, *neurons, *element], wherever the model held its
        examples. Raises: `UnknownNameError`.

        name   of the recorded tensor, or of a parameter that `trace(sources=)` named.
        """
        if name in self._asked.circuit.parameters:
            return self._parameter(name)
        activation = self._asked.circuit.find(name)
        held, batch = self._asked.circuit.activations[activation], self._asked.circuit.batch
        parts = [rows.reshape(batch, *held.shape, *job.semiring.element_shape) for job, rows in self._rows(activation)]
        return self._shown(parts)

    def tokens(self, name: str | None = None) -> Any:
        """Return the relevance of each token of a source: the ⊕ over its features, [batch, tokens, *element].

        name   which source, where several are sequences of tokens with features. None: the only one.
        Raises: `OptionError` for a source that is no such sequence, `UnknownNameError`, `CountOverflowError`.
        Example: `circuit.evaluate("real").tokens()[0].argmax()`
        """
        activation = token_source(self._asked.circuit, name)
        held = self._asked.circuit.activations[activation]
        return self._shown([by_token(rows, held, job.semiring) for job, rows in self._rows(activation)])

    def _at(self, activation: int, place: tuple[int, ...] | None = None) -> Any:
        """Return the relevance of a tensor, or of one of its neurons."""
        held, batch = self._asked.circuit.activations[activation], self._asked.circuit.batch
        if place is not None:
            number = int(np.ravel_multi_index(place, held.shape)) if place else 0
            return self._shown([rows[:, number] for _, rows in self._rows(activation)])
        parts = [shaped(rows, held, batch, job.semiring.element_shape) for job, rows in self._rows(activation)]
        return self._shown(parts)

    def _rows(self, activation: int) -> list[tuple[WalkQuestion, Tensor]]:
        """Return each job with its relevance of an activation, [batch, neurons, *element]."""
        if activation not in self._kept:
            self._keep_all()
        held, batch = self._asked.circuit.activations[activation], self._asked.circuit.batch
        found = []
        for job, evaluation in zip(self._asked.jobs, self._evaluations, strict=True):
            rows = evaluation.relevance.get(activation)
            if rows is None:  # no path leads there
                rows = job.semiring.full((batch, held.size), job.semiring.zero, job.start)
            found.append((job, rows))
        return found

    def _keep_all(self) -> None:
        self._evaluations = self._asked.again(frozenset(self._asked.circuit.activations))

    def _finish(self) -> None:
        """Walk on to the sources, if the evaluation stopped before: totals are those of every block."""
        if not self._evaluations[0].complete:
            self._keep_all()

    @property
    def _kept(self) -> frozenset[int]:
        return self._evaluations[0].keep

    def _shown(self, parts: list[Tensor]) -> Any:
        joined = torch.stack(parts) if self._asked.several else parts[0]
        semiring = self.semiring
        return semiring.decode(joined) if semiring.residues else joined

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The relevance of each parameter that `trace(sources=)` named, [batch, *its shape], for each example its own.

        It is the ⊕ of the messages over all edges that an entry is the weight of, or the bias: in every call of a
        shared layer, at every place of a convolution. With LRP-0 in the reals, where the network is piecewise linear,
        that is the entry times the derivative by it. What parameters get is on its way: it is no sink, and relevance
        of the inputs is what it is without them.
        """
        return {name: self._parameter(name) for name in self._asked.circuit.parameters}

    def _parameter(self, name: str) -> Any:
        circuit = self._asked.circuit
        memory = circuit.parameters[name]
        uses = uses_of(circuit, name, memory)
        if not {circuit.blocks[use.block].output for use in uses} <= self._kept:
            self._evaluations = self._asked.again(frozenset(circuit.activations))
        shape, size = memory[2], prod(memory[2])
        parts = []
        for job, evaluation in zip(self._asked.jobs, self._evaluations, strict=True):
            found = parameter_relevance(self._asked.workspace(), uses, size, job, evaluation.relevance)
            parts.append(found.reshape(circuit.batch, *shape, *job.semiring.element_shape))
        return self._shown(parts)

    def rows(self, activation: int) -> Tensor:
        """Return the relevance of a recorded tensor by its number, [batch, neurons, *element], for one target.

        Exact counts stay residues: `semiring.decode` joins them.
        activation   the number of the recorded tensor.
        """
        if activation not in self._kept:
            self._evaluations = self._asked.again(frozenset(self._asked.circuit.activations))
        found = self._evaluations[0].relevance.get(activation)
        if found is not None:
            return found
        job, held = self._asked.jobs[0], self._asked.circuit.activations[activation]
        size = (self._asked.circuit.batch, held.size)
        return job.semiring.full(size, job.semiring.zero, job.start)  # no path leads there

    # -- how it was found ----------------------------------------------------------------------------------------------

    @property
    def plan(self) -> tuple[Step, ...]:
        """How each block was evaluated, from the target down: its route and why that route is exact."""
        return tuple(self._evaluations[0].plan)

    @property
    def exact(self) -> bool:
        """Whether the elements are exact: never rounded. Floats are so only for counts that stayed below 2^53."""
        floating = self._asked.jobs[0].start.dtype.is_floating_point
        largest = max(evaluation.largest for evaluation in self._evaluations)
        return not floating or all(_is_exact(part, largest) for part, *_ in self.semiring.parts(None))

    @property
    def circuit(self) -> BlockCircuit:
        """The blocks that were evaluated."""
        return self._asked.circuit


def _is_exact(semiring: Semiring, largest: float) -> bool:
    """Return whether elements in floats are exact if no count exceeds `largest`."""
    if semiring.counts:
        return largest < EXACT_FLOAT
    return semiring.dtype == torch.bool or (semiring.selective and semiring.times_idempotent)
