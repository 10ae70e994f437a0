"""Small circuits for tests of gates: blocks by hand beside the same network listed edge by edge, and random gates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from provnet.circuit import windowed, wiring
from provnet.circuit.blocks import Activation, Block, BlockCircuit, Operand
from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore, Neuron, Variable
from provnet.circuit.weights import Ones, Stored
from tests.edge_lists import Network

# --- blocks by hand ---------------------------------------------------------------------------------------------------


@dataclass
class Net:
    """Blocks and the same network as lists of edges. Value i of `edges` is activation i; layer i is block i."""

    edges: Network
    blocks: list[Block] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: ["x"])

    def add(self, name: str, kind: Any, role: Any, inputs: tuple[int, ...], wires: wiring.Wiring, **more: Any) -> int:
        weight = more.pop("weight", None)
        operand = Operand(inputs[0], wires, Ones() if weight is None else Stored(weight))
        return self.join(name, kind, role, [operand], **more)

    def join(self, name: str, kind: Any, role: Any, operands: list[Operand], **more: Any) -> int:
        output = len(self.edges.layers)
        self.blocks.append(Block(name, name, name, kind, role, tuple(operands), output, **more))
        self.names.append(name)
        return output

    def dense(self, name: str, x: int, out: int, bias: bool = False) -> int:
        shape = self.edges.shapes[x]
        self.edges.dense(x, np.ones((out, shape[-1])), np.ones(out) if bias else None)
        rows = self.edges.size(x) // shape[-1]
        wires = wiring.dense(rows, shape[-1], out)
        return self.add(name, "affine", "linear", (x,), wires, weight=object(), bias=object() if bias else None)

    def conv(self, name: str, x: int, out: int, kernel, stride, padding, groups: int = 1, bias: bool = False) -> int:
        channels, *size = self.edges.shapes[x]
        weight, one = np.ones((out, channels // groups, *kernel)), np.ones(out) if bias else None
        self.edges.convolution(x, weight, one, stride, padding, groups=groups)
        target = self.edges.shapes[-1][1:]
        wires = windowed.convolution(
            channels, out, groups, tuple(size), target, kernel, stride, padding, (1,) * len(kernel)
        )
        return self.add(name, "affine", "linear", (x,), wires, weight=object(), bias=object() if bias else None)

    def average(self, name: str, x: int, kernel, stride, padding=(0, 0)) -> int:
        self.edges.average_pool(x, kernel, stride, padding)
        return self.add(name, "affine", "pooling", (x,), self.window(x, kernel, stride, padding))

    def maximum(self, name: str, x: int, kernel, stride, padding=(0, 0)) -> int:
        self.edges.max_pool(x, kernel, stride, padding)
        return self.add(name, "selection", "pooling", (x,), self.window(x, kernel, stride, padding))

    def window(self, x: int, kernel, stride, padding) -> wiring.Wiring:
        channels, *size = self.edges.shapes[x]
        return windowed.window(channels, tuple(size), self.edges.shapes[-1][1:], kernel, stride, padding, (1, 1))

    def relu(self, name: str, x: int) -> int:
        self.edges.relu(x)
        size = self.edges.size(x)
        return self.add(name, "elementwise", "none", (x,), wiring.OneToOne(size, size), function="relu")

    def flatten(self, name: str, x: int) -> int:
        self.edges.flatten(x)
        size = self.edges.size(x)
        return self.add(name, "index", "none", (x,), wiring.OneToOne(size, size))

    def sum(self, name: str, x: int, y: int) -> int:
        self.edges.sum(x, y)
        size = self.edges.size(x)
        return self.join(name, "affine", "sum", [Operand(i, wiring.OneToOne(size, size)) for i in (x, y)])

    def concatenate(self, name: str, *parts: int) -> int:
        self.edges.concatenate(*parts)
        sizes = [self.edges.size(x) for x in parts]
        size, operands = sum(sizes), []
        for x, first in zip(parts, np.cumsum([0, *sizes]).tolist(), strict=False):
            mine = self.edges.size(x)
            operands.append(Operand(x, wiring.Part(mine, size, first=first, size=mine, width=size)))
        return self.join(name, "index", "none", operands)

    def circuit(self, output: int | None = None) -> BlockCircuit:
        activations = {
            i: Activation(i, (name,), shape, None)
            for i, (name, shape) in enumerate(zip(self.names, self.edges.shapes, strict=True))
        }
        last = len(self.edges.layers) if output is None else output
        names = {name: i for i, name in enumerate(self.names)}
        return BlockCircuit("net", 1, activations, tuple(self.blocks), (0,), (last,), names)


def perceptron(*sizes: int, bias: bool = False) -> Net:
    """fc1, relu1, fc2, …"""
    net = Net(Network((sizes[0],)))
    x = 0
    for i, size in enumerate(sizes[1:], 1):
        x = net.dense(f"fc{i}", x, size, bias)
        x = net.relu(f"relu{i}", x) if i < len(sizes) - 1 else x
    return net


def convolutional() -> Net:
    """Stride, padding, groups, overlapping windows with padding, a flatten, a dense layer."""
    net = Net(Network((2, 4, 5)))
    x = net.conv("conv1", 0, 4, (3, 2), (1, 2), (1, 1), groups=2, bias=True)
    x = net.relu("relu", x)
    x = net.average("avg", x, (2, 2), (1, 1), (1, 0))
    x = net.maximum("max", x, (2, 2), (2, 1), (1, 1))
    x = net.conv("conv2", x, 2, (2, 2), (1, 1), (0, 0))
    x = net.flatten("flatten", x)
    net.dense("fc", x, 3, bias=True)
    return net


def residual() -> Net:
    """A skip, x + x, a concatenation, and a tensor that is used three times."""
    net = Net(Network((3,)))
    h = net.dense("fc1", 0, 3)
    r = net.relu("relu", h)
    s = net.sum("add", r, 0)
    d = net.sum("twice", s, s)
    c = net.concatenate("cat", d, r)
    net.dense("fc2", c, 2)
    return net


# --- the slow twin: polynomials by recursion over the listed edges ----------------------------------------------------

Monomial = tuple[Any, ...]
Polynomial = Counter[Monomial]


def one_term(*factors: Any) -> Polynomial:
    return Counter({tuple(sorted(factors)): 1})


def multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    product: Polynomial = Counter()
    for m, i in a.items():
        for n, j in b.items():
            product[tuple(sorted(m + n))] += i * j
    return product


def path_polynomials(
    net: Net, targets: set[int], name: Callable[[int, int, int], Any], present=lambda layer, k, s: True
) -> Callable[[int, int], Polynomial]:
    """Return (value, neuron) -> polynomial of its relevance. `name(layer, output, slot)` names an edge; None is one."""
    network, known = net.edges, {}
    consumers: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for number, layer in enumerate(network.layers):
        starts = np.cumsum([0, *(network.size(i) for i in layer.inputs)])
        for k, slots in enumerate(layer.source):
            for s, source in enumerate(slots):
                if source >= 0 and present(number, k, s):
                    at = int(np.searchsorted(starts, source, side="right")) - 1
                    edge = (layer.inputs[at], int(source - starts[at]))
                    consumers.setdefault(edge, []).append((number, k, s))
    last = len(network.layers)

    def relevance(value: int, neuron: int) -> Polynomial:
        if value == last:
            return one_term() if neuron in targets else Counter()
        if (value, neuron) not in known:
            total: Polynomial = Counter()
            for layer, k, s in consumers.get((value, neuron), []):
                edge = None if network.layers[layer].kind == "pass" else name(layer, k, s)
                factor = one_term() if edge is None else one_term(edge)
                total += multiply(factor, relevance(layer + 1, k))
            known[value, neuron] = total
        return known[value, neuron]

    return relevance


def fold_polynomials(store: GateStore, recurse: Callable[..., tuple[Any, ...]], name: Callable[[Variable], Any]):
    """Evaluate a store in polynomials with one of the folds."""
    return recurse(store, lambda a, b: a + b, multiply, Counter(), one_term(), lambda v: one_term(name(v)))


# --- gates at random --------------------------------------------------------------------------------------------------


@st.composite
def stores(draw: st.DrawFn, gates: int = 14, variables: int = 4, constants: bool = True) -> GateStore:
    """Draw a DAG with shared gates, parallel wires, variables with two gates, constants, gates that nobody needs."""
    kinds = draw(st.lists(st.sampled_from([PLUS, TIMES]), max_size=gates))
    leaves = draw(
        st.lists(st.sampled_from([VARIABLE] * 3 + [ZERO, ONE] * constants), min_size=1, max_size=variables + 2)
    )
    operands: list[list[int]] = [[] for _ in leaves]
    for i in range(len(kinds)):
        before = len(leaves) + i
        operands.append(draw(st.lists(st.integers(0, before - 1), min_size=1, max_size=5)))
    variable = [draw(st.integers(0, variables - 1)) if kind == VARIABLE else -1 for kind in leaves]
    total = len(leaves) + len(kinds)
    roots = draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=4))
    return make_store([*leaves, *kinds], operands, variable + [-1] * len(kinds), variables, roots)


def make_store(kind: list[int], operands: list[list[int]], variable: list[int], variables: int, roots: list[int]):
    """Return a store from plain lists."""
    return GateStore(
        kind=np.array(kind, np.uint8),
        first=np.cumsum([0, *map(len, operands)], dtype=np.int64),
        operands=np.array([o for wires in operands for o in wires], np.int32),
        variable=np.array(variable, np.int32),
        variables=tuple(Variable(f"v{i}") for i in range(variables)),
        roots=tuple(Neuron("x", (i,)) for i in range(len(roots))),
        root_gates=np.array(roots, np.int32),
    )


def recursive(store: GateStore, plus, times, zero, one, value_of_variable) -> tuple[Any, ...]:
    """The slow twin of `fold` and of the tensor evaluator: written from the definition, by recursion."""

    def value(gate: int) -> Any:
        kind = store.kind[gate]
        if kind in (ZERO, ONE):
            return one if kind == ONE else zero
        if kind == VARIABLE:
            return value_of_variable(store.variables[store.variable[gate]])
        values: Iterator[Any] = (value(int(operand)) for operand in store.operands_of(gate))
        total = next(values)
        for other in values:
            total = plus(total, other) if kind == PLUS else times(total, other)
        return total

    return tuple(value(int(gate)) for gate in store.root_gates)


def same_arrays(a: GateStore, b: GateStore) -> bool:
    """Return whether two stores are equal, column by column."""
    columns = ("kind", "first", "operands", "variable", "root_gates")
    equal = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in columns)
    return equal and a.roots == b.roots and list(a.variables) == list(b.variables) and a.assumption == b.assumption
