"""Whole cones as one `Inspection`: every edge, or every gate, between some neurons and the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from provnet.applications.inspection.algebras import SIDE_BY_SIDE, algebra_of
from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.model import Inspection, Layer, Node, PageQuestion, Wires
from provnet.circuit.fingerprint import structural_hashes
from provnet.circuit.gates import KINDS, PLUS, TIMES, VARIABLE
from provnet.circuit.variables import EdgeSegment, VariableTable
from provnet.errors import OptionError
from provnet.face import Circuit, GateCircuit
from provnet.semirings import get as get_semiring
from provnet.semirings.annotations import resolve
from provnet.semirings.annotations.threshold import Threshold
from provnet.torch_backend.gates.evaluate_gates import evaluate_every_gate

LIMIT = 50_000
"""Gates of a cone that a page of one file takes."""


def inspect(
    subject: Circuit | GateCircuit,
    *,
    at: Any = None,
    target: Any = None,
    example: int = 0,
    semirings: Sequence[str] = SIDE_BY_SIDE,
    rule: str = "zero",
    theta: float | None = None,
    valuation: Mapping[str, Any] | None = None,
    limit: int = LIMIT,
    **options: Any,
) -> Inspection:
    """Return the cone of neurons of a circuit, or all of a circuit of gates, as plain data.

    at          neurons as `Circuit.gates(at=...)` takes them; None: the sources.
    target      "predicted", a class, a full index.   example   which example, from 0.
    semirings   names of the semirings in which values are given; the first is shown first.
    rule, theta   propagation rule and threshold of the values.
    valuation   of gates without an execution: semiring's name -> values as `GateCircuit.evaluate` takes them.
    limit       the largest number of gates. Raises `LimitError` above it.
    options     of `Explorer`: more semirings and rules, classes, output.
    Example: `inspect(circuit, at=("fc1", 3)).to_json()`
    """
    names = tuple(dict.fromkeys(semirings))
    if not names:
        raise OptionError("semirings=() asks for no value: name one semiring or more.")
    if isinstance(subject, GateCircuit):
        return inspect_gates(subject, names, rule, theta, valuation or {})
    explorer = Explorer(subject, **options)
    order = "real" if "real" in names else names[0]
    question = explorer.question(semiring=names[0], rule=rule, target=target, example=example, theta=theta, order=order)
    chosen = tuple(dict.fromkeys((*names, "bottleneck")))
    held = subject.data.activations[explorer.output]
    number = explorer.target_number(question)
    index = tuple(int(i) for i in np.unravel_index(number, held.shape)) if held.shape else ()
    gates = subject.gates(target=index, batch=example, at=at, limit=limit, output=explorer.answers.output)
    table = gates.variables
    assert isinstance(table, VariableTable)
    edges = [
        explorer.answers.chosen(question, chosen, segment.block, segment.output, segment.slot)
        for segment in table.segments
        if isinstance(segment, EdgeSegment)
    ]
    steps, alive = explorer.steps(question)
    found = explorer.inspection(question, chosen, edges, explorer.targets(question), complete=True)
    fans = np.bincount(np.array(found.wires.target, np.int64), minlength=len(found.nodes))
    feeds = np.bincount(np.array(found.wires.source, np.int64), minlength=len(found.nodes))
    nodes = tuple(
        replace(node, inputs=int(fan), outputs=int(feed))
        for node, fan, feed in zip(found.nodes, fans, feeds, strict=True)
    )
    pictures = explorer.pictures(question, chosen)
    return replace(found, nodes=nodes, pictures=pictures, steps=steps, alive=alive)


def inspect_gates(
    gates: GateCircuit, names: Sequence[str], rule: str, theta: float | None, valuation: Mapping[str, Any]
) -> Inspection:
    """Return every gate with its values; semirings for which nothing gives values are left out."""
    store = gates.store
    values = _gate_values(gates, names, rule, theta, valuation)
    kinds = [KINDS[kind] for kind in store.kind.tolist()]
    owner = np.repeat(np.arange(len(store)), store.fan)
    feeds = np.bincount(store.operands, minlength=len(store))
    roots: dict[int, list[str]] = {}
    for root, gate in zip(store.roots, store.root_gates.tolist(), strict=True):
        roots.setdefault(gate, []).append(str(root))
    levels = store.level.tolist()
    nodes = tuple(
        Node(
            f"{levels[gate]}.{gate}",
            _gate_name(gates, gate, roots),
            levels[gate],
            gate,
            kind,
            {name: held[gate] for name, held in values.items()},
            None,
            int(store.fan[gate]),
            int(feeds[gate]),
        )
        for gate, kind in enumerate(kinds)
    )
    top = max(levels, default=0)
    counts = np.bincount(store.level, minlength=top + 1)
    layers = tuple(
        Layer(level, f"level {level}", (), "gates", (int(count),), int(count), level, level == 0)
        for level, count in enumerate(counts)
    )
    operands = store.operands.tolist()
    wires = Wires(
        tuple(operands),
        tuple(owner.tolist()),
        ("",) * len(operands),
        (None,) * len(operands),
        {},  # a wire of gates carries its operand's value, and nothing is multiplied on the way
        {name: tuple(held[o] for o in operands) for name, held in values.items()},
    )
    first = next(iter(values), "")
    return Inspection(
        model="gates",
        kind="gates",
        fingerprint="".join(structural_hashes(store))[:16],
        question=PageQuestion(first, rule, "", 0, theta, first),
        algebras=tuple(algebra_of(name, get_semiring(name)) for name in values),
        layers=layers,
        nodes=nodes,
        wires=wires,
        targets=tuple(f"{levels[gate]}.{gate}" for gate in dict.fromkeys(store.root_gates.tolist())),
    )


def _gate_values(
    gates: GateCircuit, names: Sequence[str], rule: str, theta: float | None, valuation: Mapping[str, Any]
) -> dict[str, list[Any]]:
    found = {}
    for name in names:
        semiring = get_semiring(name)
        if name not in valuation and gates._origin is None:
            continue
        own = resolve(None, semiring)
        annotation = Threshold(theta) if theta is not None and isinstance(own, Threshold) else own
        elements = gates.elements(semiring, valuation.get(name), rule, annotation)
        found[name] = evaluate_every_gate(gates.store, semiring, torch.as_tensor(elements)).tolist()
    return found


def _gate_name(gates: GateCircuit, gate: int, roots: Mapping[int, Sequence[str]]) -> str:
    kind = int(gates.store.kind[gate])
    if kind == VARIABLE:
        own = gates.store.variables[int(gates.store.variable[gate])].name
    else:
        own = {PLUS: "⊕", TIMES: "⊗"}.get(kind, str(kind))
    return " ".join((", ".join(roots.get(gate, ())), own)).strip()
