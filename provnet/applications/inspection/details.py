"""One neuron in full: its value in every semiring, its messages, its formula; and where relevance went."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.model import PageQuestion, Value
from provnet.applications.inspection.network import identity
from provnet.applications.inspection.wire_columns import EdgeColumns, part_of
from provnet.circuit.counts import count_terms
from provnet.errors import LimitError
from provnet.face.gate_circuit import GateCircuit
from provnet.symbolic.size import spell

MESSAGES = 12
"""Messages of a neuron that are listed, the strongest."""

GATES = 300_000
"""Gates that a formula, or a list of best paths, may need."""

READABLE = 20_000
"""Gates up to which a formula is written at all."""

SYMBOLS = 4_000
"""Symbols of a formula that is shown; a longer one is told by its size."""

TERMS = 200
"""Monomials of a polynomial that is shown."""


@dataclass(frozen=True)
class Message:
    """One edge's: the neuron at its other end, d, Θ(d), and Θ(d) ⊗ R."""

    id: str
    name: str
    variable: str
    coefficient: float
    element: Value
    message: Value


@dataclass(frozen=True)
class Answer:
    """A neuron's relevance in one semiring, and whether it was never rounded."""

    semiring: str
    value: Value
    exact: bool


@dataclass(frozen=True)
class Account:
    """What came to a neuron, and where it went: came = passed ⊕ bias ⊕ lost, if the rule conserves."""

    came: Value
    passed: Value
    bias: Value | None
    lost: float | None


@dataclass(frozen=True)
class Details:
    """One neuron: `incoming` are the messages that it passes down to its inputs, `outgoing` those that
    it gets from the neurons that it feeds; both the strongest first, with how many there are."""

    id: str
    name: str
    aliases: tuple[str, ...]
    activation: float
    answers: tuple[Answer, ...]
    passes: tuple[Message, ...]
    passes_count: int
    receives: tuple[Message, ...]
    receives_count: int
    account: Account


@dataclass(frozen=True)
class Written:
    """A neuron's formula: sizes first. `formula`, `polynomial`: None where they are too long to be read."""

    id: str
    name: str
    gates: int
    variables: int
    paths: str
    formula: str | None
    latex: str | None
    polynomial: str | None
    remark: str = ""


@dataclass(frozen=True)
class ReportLine:
    """A line of the conservation report."""

    path: str
    op: str
    came: Value
    passed: Value
    bias: Value | None
    lost: Value | None


@dataclass(frozen=True)
class Report:
    """The conservation report of one example, from the target down."""

    semiring: str
    lines: tuple[ReportLine, ...]
    start: Value
    inputs: Value
    sinks: Value
    holds: bool
    named: dict[str, Value] = field(default_factory=dict)


def details(explorer: Explorer, question: PageQuestion, node: str) -> Details:
    """Return one neuron's values, messages and account. Raises `OptionError` for an id that is none."""
    layer, number = explorer.locate(node)
    answers, network = explorer.answers, explorer.network
    held = answers.relevance(question, (*explorer.side_by_side, question.semiring))
    values = tuple(
        Answer(name, one.rows(layer)[question.example, number].item(), one.exact) for name, one in held.items()
    )
    names = (question.semiring,)
    parts = answers.out_of(question, tuple({question.semiring, question.order}), layer, number)
    received = [message for part in parts for message in _messages(explorer, part, question, up=True)]
    order = np.argsort(-answers.strength(np.array([float(m.message) for m in received]), question.semiring))
    passed: list[Message] = []
    total = 0
    if layer in network.maker:
        block = network.maker[layer]
        edges = answers.into(question, names, block, np.array([number]))
        total = len(edges)
        passed = _messages(explorer, part_of(edges, np.arange(min(total, MESSAGES)), names), question)
    return Details(
        node,
        str(network.name(layer, number)),
        _aliases(explorer, layer, number),
        float(explorer.activations(layer, question.example)[number]),
        values,
        tuple(passed),
        total,
        tuple(received[row] for row in order[:MESSAGES].tolist()),
        len(received),
        _account(explorer, question, layer, number),
    )


def _aliases(explorer: Explorer, layer: int, number: int) -> tuple[str, ...]:
    """Return the other names of a neuron, and the name of its class."""
    held = explorer.circuit.data.activations[layer]
    own = explorer.class_names().get(identity(layer, number))
    place = explorer.network.place(layer)
    others = tuple(str(replace(place, path=name).neuron(number)) for name in held.names[1:])
    return (own, *others) if own is not None else others


def _messages(explorer: Explorer, edges: EdgeColumns, question: PageQuestion, up: bool = False) -> list[Message]:
    network, name = explorer.network, question.semiring
    sink = explorer.network.data.blocks[edges.block].output
    ends = [(sink, int(n)) for n in edges.output] if up else _pairs(edges)
    names = network.segment(edges.block, edges.output, edges.slot, edges.source).names()
    columns = zip(
        ends,
        names,
        edges.coefficient.tolist(),
        edges.element[name].tolist(),
        edges.message[name].tolist(),
        strict=True,
    )
    return [
        Message(identity(*end), str(network.name(*end)), variable, d, element, message)
        for end, variable, d, element, message in columns
    ]


def _pairs(edges: EdgeColumns) -> list[tuple[int, int]]:
    return list(zip(edges.end_layer.tolist(), edges.end_number.tolist(), strict=True))


def _account(explorer: Explorer, question: PageQuestion, layer: int, number: int) -> Account:
    """Return what came to a neuron and where it went; what a source gets stays there."""
    (one,) = explorer.answers.relevance(question, (question.semiring,)).values()
    came = one.rows(layer)[question.example, number]
    block = explorer.network.maker.get(layer)
    if block is None:
        return Account(came.item(), came.item(), None, None)
    slots = one.slots(block, torch.tensor([number]), question.example)
    fan = explorer.network.data.blocks[block].wiring.fan
    semiring = one.semiring
    passed = semiring.sum(slots.message[0, :fan], 0)
    bias = slots.message[0, fan] if slots.message.shape[1] > fan else None
    lost = None
    if semiring.ring:
        given = passed if bias is None else semiring.plus(passed, bias)
        lost = float(semiring.monus(came, given))
    return Account(came.item(), passed.item(), None if bias is None else bias.item(), lost)


# --- formulas -----------------------------------------------------------------------------------------------


def gates_of(explorer: Explorer, question: PageQuestion, node: str, limit: int = GATES) -> GateCircuit:
    """Return the explicit gates of one neuron. Raises `LimitError` above `limit` gates."""
    neuron = explorer.network.name(*explorer.locate(node))
    held = explorer.circuit.data.activations[explorer.output]
    target = explorer.target_number(question)
    index = tuple(int(i) for i in np.unravel_index(target, held.shape)) if held.shape else ()
    return explorer.circuit.gates(
        target=index, batch=question.example, at=neuron, limit=limit, output=explorer.answers.output
    )


def written(explorer: Explorer, question: PageQuestion, node: str) -> Written:
    """Return a neuron's formula and polynomial, as far as they can be read, and their sizes in any case."""
    name = explorer.name(node)
    try:
        gates = gates_of(explorer, question, node)
    except LimitError as error:
        return Written(node, name, 0, 0, "", None, None, None, str(error))
    if len(gates) > READABLE:
        paths = spell(count_terms(gates.store)[0])
        remark = f"The formula has {len(gates):,} gates; take a neuron nearer to the target."
        return Written(node, name, len(gates), len(gates.variables), paths, None, None, None, remark)
    found = gates.formula()
    short = found.symbols <= SYMBOLS
    remark = "" if short else f"The formula has {found.symbols:,} symbols; a shorter one has fewer wires."
    return Written(
        node,
        name,
        len(found.store),
        len(found.variables),
        spell(found.terms),
        found.text() if short else None,
        found.latex() if short else None,
        str(gates.polynomial()) if found.terms <= TERMS else None,
        remark,
    )


def conservation(explorer: Explorer, question: PageQuestion) -> Report:
    """Return the conservation report of the example. Raises `UnsupportedOperationError` where a semiring has none."""
    (one,) = explorer.answers.relevance(question, (question.semiring,)).values()
    report, k = one.conservation(), question.example

    def item(x: Any) -> Any:
        return None if x is None else x[k].item()

    lines = tuple(
        ReportLine(layer.path, layer.op, item(layer.came), item(layer.passed), item(layer.bias), item(layer.lost))
        for layer in report.layers
    )
    start, total = float(report.start[k]), float(report.total[k])
    holds = start == total or abs(start - total) <= 1e-4 * max(1.0, abs(start))
    named = {name: item(x) for name, x in report.named.items()}
    return Report(question.semiring, lines, item(report.start), item(report.inputs), item(report.sinks), holds, named)
