"""The circuit of all derivatives of a circuit: one sweep the other way, with ⊕ and ⊗ alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import PLUS, TIMES, VARIABLE, ZERO, GateStore, Neuron
from provnet.circuit.hash_cons import restrict
from provnet.errors import UnsupportedOperationError

Gates = NDArray[np.int64]


def adjoint(store: GateStore, roots: Sequence[int] | None = None, derivative: bool = False) -> GateStore:
    """Return a circuit with one root a variable x: the value of all paths of the chosen roots that use x.

    In polynomials, with f the ⊕ of the chosen roots, the root of x is x ⊗ ∂f/∂x = ⊕ e · m over the monomials m of f,
    e the exponent of x in m: where no variable is shared (grain `edge`) just the monomials through x, in an idempotent
    semiring likewise on every grain. With `derivative`, the root is ∂f/∂x.

    Proof: write ḡ for ∂f/∂g. ḡ is one at a root; by the chain rule, which needs ⊕, ⊗ and distributivity only, a gate
    g = a ⊕ … adds ḡ to ā, and g = a ⊗ b ⊗ … adds ḡ ⊗ b ⊗ … to ā. Levels are visited from the top, so that ḡ is whole
    when it is used. Source: Baur and Strassen 1983, The complexity of partial derivatives; in semirings the outside
    algorithm, Goodman 1999, Semiring Parsing, section 4.

    Args: `roots`, numbers within `store.roots`; None: all. Roots of the result are `Neuron("marginal", (number of x,))`
    for every variable, zero included; it shares `store.variables`, so the same valuations fit.
    Size: at most 3 gates a wire beyond the store's own. ⊗ must commute: "commutative" joins the assumption.
    Raises: `UnsupportedOperationError` if the circuit was simplified by absorption, which drops paths.
    """
    refuse_absorbed(store, "the paths through an edge")
    small = restrict(store, roots)
    build = _AdjointBuild(small)
    found = build.sweep()
    leaf = np.zeros(len(small.variables), np.int64)
    leaves = np.flatnonzero(small.kind == VARIABLE)
    leaf[small.variable[leaves]] = build.number[leaves]
    result = found if derivative else build.product(leaf, found)
    name = "derivative" if derivative else "marginal"
    return build.store([Neuron(name, (i,)) for i in range(len(result))], result)


def refuse_absorbed(store: GateStore, what: str) -> None:
    """Raise `UnsupportedOperationError` if the circuit no longer holds every path: x ⊕ (x ⊗ y) = x drops some."""
    if "absorptive" in store.assumption:
        raise UnsupportedOperationError(
            f"the circuit was simplified by absorption, which drops paths, so {what} cannot be told from it. Ask the "
            "circuit as it was before `simplify`."
        )


@dataclass(eq=False)
class _AdjointBuild:
    """The store under construction: gate 0 is zero, 1 is one, then the gates of `small`, then new ones."""

    small: GateStore
    kinds: list[NDArray[np.uint8]] = field(default_factory=list)
    fans: list[Gates] = field(default_factory=list)
    operands: list[Gates] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.count = len(self.small) + 2
        self.number = np.arange(len(self.small)) + 2
        constant = np.flatnonzero(self.small.kind < VARIABLE)
        self.number[constant] = self.small.kind[constant] != ZERO

    def sweep(self) -> Gates:
        """Return the gate of ∂f/∂x for every variable x; 0 where no path leads."""
        small, found = self.small, np.zeros(len(self.small.variables), np.int64)
        waiting: dict[int, list[tuple[Gates, Gates]]] = {}
        roots = small.root_gates.astype(np.int64)
        self._send(waiting, roots, np.ones_like(roots))
        for level in reversed(range(len(small.by_level))):
            parts = waiting.pop(level, [])
            if not parts:
                continue
            gates, terms = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            if level == 0:
                used = small.kind[gates] == VARIABLE  # a variable may have several gates
                numbers, sums = self.sums(small.variable[gates[used]].astype(np.int64), terms[used])
                found[numbers] = sums
                break
            gates, arriving = self.sums(gates, terms)
            for kind in (TIMES, PLUS):
                mine = np.flatnonzero(small.kind[gates] == kind)
                row, operand = small.wires_of(gates[mine])
                term = arriving[mine][row]
                if kind == TIMES:
                    term = self.product(term, self.cofactors(small.fan[gates[mine]], self.number[operand]))
                self._send(waiting, operand.astype(np.int64), term)
        return found

    def _send(self, waiting: dict[int, list[tuple[Gates, Gates]]], gates: Gates, terms: Gates) -> None:
        """File terms of gates' derivatives under the gates' levels. Zero terms are dropped."""
        alive = terms != 0
        gates, terms = gates[alive], terms[alive]
        if not len(gates):
            return
        level = self.small.level[gates]
        order = np.argsort(level, kind="stable")
        levels, starts = np.unique(level[order], return_index=True)
        for one, some in zip(levels.tolist(), np.split(order, starts[1:]), strict=True):
            waiting.setdefault(one, []).append((gates[some], terms[some]))

    def emit(self, kind: int, fan: Gates, operands: Gates) -> Gates:
        """Append gates of one kind; return their numbers."""
        start, self.count = self.count, self.count + len(fan)
        self.kinds.append(np.full(len(fan), kind, np.uint8))
        self.fans.append(fan)
        self.operands.append(operands)
        return np.arange(start, self.count)

    def sums(self, keys: Gates, terms: Gates) -> tuple[Gates, Gates]:
        """Return the distinct keys, ascending, and a gate for each: the ⊕ of its terms, or its one term."""
        order = np.argsort(keys, kind="stable")
        keys, terms = keys[order], terms[order]
        distinct, first, fan = np.unique(keys, return_index=True, return_counts=True)
        gates = terms[first]
        several = fan > 1
        gates[several] = self.emit(PLUS, fan[several], terms[np.repeat(several, fan)])
        return distinct, gates

    def product(self, x: Gates, y: Gates) -> Gates:
        """Return the gate x ⊗ y for each pair: 0 and 1 are elided."""
        result = np.where(x == 1, y, x)
        result[(x == 0) | (y == 0)] = 0
        both = np.flatnonzero((x > 1) & (y > 1))
        result[both] = self.emit(TIMES, np.full(len(both), 2), np.stack([x[both], y[both]], 1).reshape(-1))
        return result

    def cofactors(self, fan: Gates, operand: Gates) -> Gates:
        """Return for each wire of some ⊗ gates the product of the gate's other operands, in their order.

        By products of all before and of all after, so that nothing need be divided: 3 gates a wire, none for two
        operands.
        """
        first = np.cumsum(fan) - fan
        before, after = np.ones_like(operand), np.ones_like(operand)
        for place in range(1, int(fan.max(initial=0))):
            rows = np.flatnonzero(fan > place)
            here, back = first[rows] + place, first[rows] + fan[rows] - 1 - place
            before[here] = self.product(before[here - 1], operand[here - 1])
            after[back] = self.product(operand[back + 1], after[back + 1])
        return self.product(before, after)

    def store(self, roots: Sequence[Neuron], gates: Gates) -> GateStore:
        """Return the gates that the roots need."""
        small = self.small
        whole = GateStore(
            kind=np.concatenate([np.array([0, 1], np.uint8), small.kind, *self.kinds]),
            first=np.cumsum(np.concatenate([np.zeros(3, np.int64), small.fan, *self.fans])),
            operands=np.concatenate([self.number[small.operands], *self.operands]).astype(np.int32),
            variable=np.concatenate([[-1, -1], small.variable, np.full(self.count - 2 - len(small), -1)]).astype(
                np.int32
            ),
            variables=small.variables,
            roots=tuple(roots),
            root_gates=gates.astype(np.int32),
            assumption=small.assumption | {"commutative"},
        )
        return restrict(whole)
