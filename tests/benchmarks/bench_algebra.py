"""Explicit gates: evaluation in every semiring, paths, identity, expansion, hash-consing; against others, in one run.

`OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_algebra [klay|semirings|linear|paths|identity|expansion|hashing]`

klay       a random layered circuit of 10^6 wires, batch 1 and 64, against KLay (target: at most 1/4 and 1/8 of its
           time; `pip install --no-deps klaycircuits`, else the line says that it was skipped), against torch's
           operations alone (without the extra `fast`), and against a networkx loop
semirings  the same circuit in every numeric semiring
linear     cost from 10^5 to 10^7 wires (target: linear)
paths      100 best paths of one MNIST pixel, times one real evaluation of the same gates (target: at most 100)
identity   the identity test of two circuits of 265,300 edges, times one real evaluation of one (target: at most 30)
expansion  10,000 monomials over 10,200 variables, against sympy's expand (target: at least 300 times as fast)
hashing    hash-consing against a Python dict of tuples (target: at least 10 times as fast)
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import networkx as nx
import numpy as np
import sympy
import torch

import provnet
from provnet.circuit.expand import expand as expand_blocks
from provnet.circuit.gates import PLUS, TIMES, VARIABLE, GateStore, Neuron, Variable
from provnet.circuit.graph import to_networkx
from provnet.circuit.hash_cons import hash_cons
from provnet.semirings import names
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get
from provnet.symbolic.expand_polynomial import expand, polynomial
from provnet.torch_backend.gates import evaluate_gates as evaluator
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates
from provnet.torch_backend.gates.polynomial_identity import identity_test
from tests import gate_circuits
from tests.benchmarks.clock import interleaved, report
from tests.nets import data_folder, digits, mnist_mlp, perceptron

LEVELS = 10


def layered(wires: int, seed: int = 0, levels: int = LEVELS) -> GateStore:
    """Return a random circuit: `levels` of ⊗ and ⊕ in turn, fan-in 2 to 8, operands of the level below, none twice."""
    random = np.random.default_rng(seed)
    width = wires // (5 * levels)
    kind, fans, operands = [np.full(width, VARIABLE, np.uint8)], [np.zeros(width, np.int64)], []
    for level in range(levels):
        fan = random.integers(2, 9, width)
        # Steps of 1 and more from a random start, around a circle: distinct within a gate.
        step = random.integers(1, width // 8, int(fan.sum()))
        row = np.repeat(np.arange(width), fan)
        ends = np.cumsum(step)
        since = ends - np.repeat(ends[np.cumsum(fan) - fan], fan)
        operands.append(
            level * width + np.sort(row * width + (random.integers(0, width, width)[row] + since) % width) % width
        )
        kind.append(np.full(width, PLUS if level % 2 else TIMES, np.uint8))
        fans.append(fan)
    gates = width * (levels + 1)
    variable = np.full(gates, -1, np.int32)
    variable[:width] = np.arange(width)
    return GateStore(
        kind=np.concatenate(kind),
        first=np.concatenate([[0], np.cumsum(np.concatenate(fans))]),
        operands=np.concatenate(operands).astype(np.int32),
        variable=variable,
        variables=tuple(Variable(f"v{i}") for i in range(width)),
        roots=tuple(Neuron("x", (i,)) for i in range(width)),
        root_gates=np.arange(gates - width, gates, dtype=np.int32),
    )


def elements(semiring: Semiring, count: int, batch: int) -> torch.Tensor:
    """Return a valuation [batch, count, *element_shape] within the carrier, from which no value overflows."""
    generator = torch.Generator().manual_seed(0)
    dtype, shape = semiring.element_dtype(torch.float32), (batch, count, *semiring.element_shape)
    if semiring.name == "counting":
        return (torch.rand(shape, generator=generator) < 0.1).to(dtype)
    if dtype.is_floating_point:
        drawn = torch.rand(shape, generator=generator, dtype=torch.float64) * 0.98 + 0.01
        if semiring.element_shape:
            return (drawn / 4).sort(-1, descending=True).values.to(dtype)  # as KBest wants it
        low, high = semiring.bounds or (0.0, 1.0)
        return (drawn if low < 0 or high >= 1 else drawn.log()).to(dtype)
    some = semiring.exact_values(torch.float32)
    return some[torch.randint(0, len(some), (batch, count), generator=generator)].to(dtype)


def klay(rounds: int = 21) -> None:
    store = layered(1_000_000)
    print(f"{store.wires:,} wires, {len(store):,} gates", file=sys.stderr)
    module = by_klay(store) if importlib.util.find_spec("klay") else None
    same = None if module is None else agree()
    for batch in (1, 64):
        values = torch.rand(batch, len(store.variables), generator=torch.Generator().manual_seed(0))
        one = values[0] if batch == 1 else values
        ways: dict[str, Callable[[], Any]] = {"provnet": lambda one=one: evaluate_gates(store, get("real"), one)}
        if module is not None:
            ways["klay"] = lambda one=one: module(one)
        with torch.no_grad():
            taken = interleaved(ways, rounds, warm=2)
        with patch.object(evaluator, "operations_of", lambda semiring, valuation: None):
            taken |= interleaved({"torch": ways["provnet"]}, 5)
        figures = {f"{name}_ms": seconds * 1e3 for name, seconds in taken.items()}
        if module is None:
            report("random layered circuit", batch=batch, **figures, klay="skipped: pip install --no-deps klaycircuits")
        else:
            ratio = taken["provnet"] / taken["klay"]
            report("random layered circuit", batch=batch, wires=store.wires, **figures, ratio=ratio, same=same)
    graph = to_networkx(store)
    leaves = dict.fromkeys(range(len(store.variables)), 0.5)
    taken = interleaved({"networkx": lambda: by_networkx(graph, leaves)}, 1, warm=0)
    report("random layered circuit", batch=1, networkx_ms=taken["networkx"] * 1e3)


def agree() -> bool:
    """Return whether KLay and provnet find the same values, on a circuit so shallow that products of ten levels do not
    leave float32: after them all are zero."""
    store = layered(40_000, levels=4)
    values = torch.rand(64, len(store.variables), generator=torch.Generator().manual_seed(0)) / 2 + 0.5
    ours, theirs = evaluate_gates(store, get("real"), values), by_klay(store)(values)
    return bool((ours > 0).all()) and torch.allclose(ours, theirs, rtol=1e-4, atol=0.0)


def by_klay(store: GateStore) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return KLay's module for the circuit, in its real semiring; its outputs are our roots."""
    package = importlib.import_module("klay")
    circuit = package.Circuit()
    nodes = []
    for gate, kind in enumerate(store.kind.tolist()):
        if kind == VARIABLE:
            nodes.append(circuit.literal_node(int(store.variable[gate]) + 1))
        else:
            below = [nodes[o] for o in store.operands_of(gate).tolist()]
            nodes.append(circuit.or_node(below) if kind == PLUS else circuit.and_node(below))
    for gate in store.root_gates.tolist():
        circuit.set_root(nodes[gate])
    return circuit.to_torch_module(semiring="real", compile=False)


def by_networkx(graph: nx.MultiDiGraph, leaves: dict[int, float]) -> dict[int, float]:
    """Evaluate as a user of networkx would: in topological order, each gate from its predecessors."""
    values = dict(leaves)
    for gate in nx.topological_sort(graph):
        if gate in values:
            continue
        total, product = 0.0, 1.0
        for operand in graph.predecessors(gate):
            total, product = total + values[operand], product * values[operand]
        values[gate] = total if graph.nodes[gate]["kind"] == "plus" else product
    return values


def semirings(rounds: int = 5) -> None:
    store = layered(1_000_000)
    for name in names():
        semiring = get(name)
        for batch in (1, 64):
            if batch == 64 and semiring.element_shape and int(np.prod(semiring.element_shape)) > 3:
                continue
            values = elements(semiring, len(store.variables), batch)
            try:
                taken = interleaved({name: lambda s=semiring, v=values: evaluate_gates(store, s, v)}, rounds)[name]
            except provnet.ProvnetError as error:
                report("every semiring, 10^6 wires", semiring=name, batch=batch, refused=str(error)[:80])
                continue
            report("every semiring, 10^6 wires", semiring=name, batch=batch, dtype=str(values.dtype), ms=taken * 1e3)


def linear(rounds: int = 5) -> None:
    for wires in (100_000, 1_000_000, 10_000_000):
        store = layered(wires)
        values = torch.rand(len(store.variables), generator=torch.Generator().manual_seed(0))
        plan = interleaved({"plan": lambda s=store, v=values: evaluate_gates(s, get("real"), v)}, 1, warm=0)["plan"]
        taken = interleaved({"run": lambda s=store, v=values: evaluate_gates(s, get("real"), v)}, rounds)["run"]
        report(
            "linear cost", wires=store.wires, ms=taken * 1e3, ns_a_wire=taken / store.wires * 1e9, first_ms=plan * 1e3
        )


def paths(rounds: int = 21) -> None:
    folder = data_folder()
    model = perceptron(784, 300, 100, 10) if folder is None else mnist_mlp(folder)
    x = torch.rand(1, 784) if folder is None else digits(folder, count=1)[0].flatten(1)
    pixel = int(x.argmax())
    circuit = provnet.trace(model, x)
    gates = circuit.gates(target="predicted", at=(circuit.sources[0], pixel))
    best, real = gates.valuation("viterbi"), gates.valuation("real")
    ways = {
        "real": lambda: evaluate_gates(gates.store, get("real"), real),
        "best": lambda: gates.best_paths(k=100, valuation=best),
        "marginals": lambda: gates.marginals("real", real),
    }
    taken = interleaved(ways, rounds, warm=2)
    report(
        "100 best paths of one pixel",
        edges=len(gates.variables),
        best_ms=taken["best"] * 1e3,
        marginals_ms=taken["marginals"] * 1e3,
        real_ms=taken["real"] * 1e3,
        ratio=taken["best"] / taken["real"],
    )


def identity(rounds: int = 11) -> None:
    circuit = provnet.trace(perceptron(784, 300, 100, 10), torch.rand(1, 784))
    a, b = circuit.gates(target=3).store, circuit.gates(target=3).store
    values = torch.rand(len(a.variables))
    ways = {
        "real": lambda: evaluate_gates(a, get("real"), values),
        "identity": lambda: identity_test(a, b),
    }
    taken = interleaved(ways, rounds, warm=2)
    report(
        "identity test",
        edges=len(a.variables),
        error=identity_test(a, b).error,
        identity_ms=taken["identity"] * 1e3,
        real_ms=taken["real"] * 1e3,
        ratio=taken["identity"] / taken["real"],
    )


def expansion(rounds: int = 5) -> None:
    net = gate_circuits.perceptron(1, 100, 100, 1)
    store = expand_blocks(net.circuit(), 0)
    nested = by_sympy(store)
    ways = {"rows": lambda: expand(store), "polynomial": lambda: polynomial(store)}
    taken = interleaved(ways, rounds) | interleaved({"sympy": lambda: sympy.expand(nested)}, 1, warm=0)
    report(
        "expansion of 10,000 monomials",
        variables=len(store.variables),
        **{f"{name}_ms": seconds * 1e3 for name, seconds in taken.items()},
        rows_times=taken["sympy"] / taken["rows"],
        polynomial_times=taken["sympy"] / taken["polynomial"],
    )


def by_sympy(store: GateStore) -> sympy.Expr:
    """Return the nested formula as a sympy expression, unexpanded."""
    found: list[sympy.Expr] = []
    for gate, kind in enumerate(store.kind.tolist()):
        below = [found[o] for o in store.operands_of(gate).tolist()]
        if kind == PLUS:
            found.append(sympy.Add(*below, evaluate=False))
        elif kind == TIMES:
            found.append(sympy.Mul(*below, evaluate=False))
        else:
            found.append(sympy.Symbol(f"x{store.variable[gate]}") if kind == VARIABLE else sympy.Integer(kind))
    return found[int(store.root_gates[0])]


def hashing(rounds: int = 3) -> None:
    store = layered(1_000_000)

    def by_dict() -> int:
        known: dict[tuple[int, tuple[int, ...]], int] = {}
        number: list[int] = []
        kinds, first, operands = store.kind.tolist(), store.first.tolist(), store.operands.tolist()
        variable = store.variable.tolist()
        for gate, kind in enumerate(kinds):
            below = operands[first[gate] : first[gate + 1]]
            content = tuple(sorted([number[o] for o in below])) if below else (variable[gate],)
            number.append(known.setdefault((kind, content), len(known)))
        return len(known)

    taken = interleaved({"hash_cons": lambda: hash_cons(store), "dict": by_dict}, rounds)
    report(
        "hash-consing, 10^6 wires",
        gates=len(store),
        hash_cons_ms=taken["hash_cons"] * 1e3,
        dict_ms=taken["dict"] * 1e3,
        times=taken["dict"] / taken["hash_cons"],
    )


PARTS = {f.__name__: f for f in (klay, semirings, linear, paths, identity, expansion, hashing)}

if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for chosen in sys.argv[1:] or PARTS:
        PARTS[chosen]()
