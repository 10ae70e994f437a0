"""The answer to one question: relevance at every recorded tensor, biases, sinks, messages, conservation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.gates import Neuron
from provnet.circuit.parameters import uses_of
from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from provnet.face.conservation_report import Conservation, conservation_of
from provnet.face.heads import attention_in
from provnet.face.neuron_names import blocks_named, tensors_at
from provnet.face.pictures import inline_picture, plot, tokens_of
from provnet.face.question import Question
from provnet.face.spelling import neuron_or_none
from provnet.face.tokens import by_token, token_source
from provnet.notebook import card
from provnet.semirings.base import Semiring
from provnet.torch_backend.blocks.rows import shaped
from provnet.torch_backend.counts.bounds import EXACT_FLOAT
from provnet.torch_backend.settings import plain_torch
from provnet.torch_backend.walk.evaluate import Evaluation, Step, WalkQuestion
from provnet.torch_backend.walk.messages import block_elements, block_messages, parameter_relevance, weight_relevance
from provnet.torch_backend.walk.workspace import Workspace

MESSAGES_LIMIT = 50_000_000


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


class Slots(NamedTuple):
    """The slots of some neurons of a block, [n, slots], the bias last where there is one.

    coefficient  d, the propagation rule's;  present  whether there is an edge
    element      Θ(d), [n, slots, *element], zero where there is no edge;  message  Θ(d) ⊗ R ([GSM25] eq. 6)
    """

    coefficient: Tensor
    present: Tensor
    element: Tensor
    message: Tensor


class Relevance:
    """The relevance of every neuron for one target, in one semiring ([GSM25] eq. 3). Made by `Circuit.evaluate`.

    Results have the layout of the recorded tensors, elements wider than a number on trailing axes, and for
    `Targets(...)` one result a target on a leading axis. Exact counts are numpy arrays of Python integers.
    Example: `r = circuit.evaluate("boolean"); r.inputs.sum(); r["conv1"]; print(r.conservation())`
    """

    def __init__(self, asked: AskedQuestion, evaluations: list[Evaluation], peak_memory: int | None = None) -> None:
        self._asked = asked
        self._evaluations = evaluations
        self.peak_memory = peak_memory
        """Bytes that the call of `evaluate` took at its peak beyond what was held before (model, recorded activations,
        what earlier calls left). None: `measure_memory=True` was not given, or the system does not tell (on the CPU
        only Linux does, of the whole process). See `provnet.torch_backend.walk.memory_peak`."""

    # -- relevance -----------------------------------------------------------------------------------------------------

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
        activation = attention_in(self._asked.circuit, path)
        shape = self._asked.circuit.activations[activation].shape
        parts = []
        for job, rows in self._rows(activation):
            count = shape[0] if len(shape) > 2 else 1  # [tokens, features] is one head
            split = rows.reshape(len(rows), count, -1, *job.semiring.element_shape)
            parts.append(job.semiring.sum(split, 2))
        return self._shown(parts)

    def by_example(self, name: str) -> Any:
        """Return the relevance at a recorded tensor as [batch, *neurons, *element], wherever the model held its
        examples. Raises: `UnknownNameError`."""
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

    # -- edges ---------------------------------------------------------------------------------------------------------

    def messages(self, path: str, limit: int = MESSAGES_LIMIT) -> Any:
        """Return the messages R_{i<-j} of a block ([GSM25] eq. 6): [batch, out, in (+ bias)], zero where there is
        no edge.

        Neurons are counted row-major; `in` runs over the block's inputs one after another, a bias is last.
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
                f"the messages of {path!r} have {size:,} entries, above limit={limit:,}. Trace fewer examples, "
                f"raise limit=, or "
                "take gates(at=...) for chosen neurons."
            )
        return self._of_edges(index, block_messages)

    def weights(self, path: str) -> Any:
        """Return the relevance of a block's weights, [batch, *weight's shape]: the ⊕ of the messages each one carries.

        With a batch norm fused, those of the joint map. The bias's is `r.bias[path]`.
        Raises: `UnsupportedOperationError` for a block without weights.
        """
        (index, *_) = blocks_named(self._asked.circuit, path)
        return self._of_edges(index, weight_relevance)

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
        """
        if activation not in self._kept:
            self._evaluations = self._asked.again(frozenset(self._asked.circuit.activations))
        found = self._evaluations[0].relevance.get(activation)
        if found is not None:
            return found
        job, held = self._asked.jobs[0], self._asked.circuit.activations[activation]
        size = (self._asked.circuit.batch, held.size)
        return job.semiring.full(size, job.semiring.zero, job.start)  # no path leads there

    @plain_torch()
    def slots(self, block: int, outputs: Tensor, example: int) -> Slots:
        """Return what the slots of chosen outputs of a block hold in one example, for one target.

        block     its number in `circuit.data.blocks`.
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

    # -- pictures ------------------------------------------------------------------------------------------------------

    @property
    def circuit(self) -> BlockCircuit:
        """The blocks that were evaluated."""
        return self._asked.circuit

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


def _is_exact(semiring: Semiring, largest: float) -> bool:
    """Return whether elements in floats are exact if no count exceeds `largest`."""
    if semiring.counts:
        return largest < EXACT_FLOAT
    return semiring.dtype == torch.bool or (semiring.selective and semiring.times_idempotent)


def kept_tensors(circuit: BlockCircuit, at: Any, sources: bool = True) -> frozenset[int]:
    """Return the activations whose relevance an evaluation keeps: those that `at` names, and the sources unless these
    are not wanted. Raises `OptionError` where nothing is left."""
    if not isinstance(sources, bool):
        raise OptionError(f"sources={sources!r} is neither True nor False.")
    if not sources and at is None:
        raise OptionError("sources=False keeps no relevance unless at= names some tensor. Name one: at='fc1'.")
    return (frozenset(circuit.sources) if sources else frozenset()) | tensors_at(circuit, at)
