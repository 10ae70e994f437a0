"""Reduced ordered binary decision diagrams: the exact probability that a monotone circuit is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from provnet.circuit.fold import fold
from provnet.circuit.gates import GateStore, Variable
from provnet.errors import LimitError

P = TypeVar("P")


class Diagram:
    """A diagram under construction. Nodes 0 and 1 are false and true; a node is (variable, low, high).

    Reduced and with shared nodes, so that equal functions are one node. Source: Bryant 1986, Graph-Based Algorithms for
    Boolean Function Manipulation. Size: exponential at worst; `limit` nodes, then `LimitError`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nodes: list[tuple[int, int, int]] = [(1 << 62, 0, 0), (1 << 62, 1, 1)]
        self._known: dict[tuple[int, int, int], int] = {}
        self._done: dict[tuple[bool, int, int], int] = {}

    def node(self, variable: int, low: int, high: int) -> int:
        """Return the node that is `high` where the variable is true, else `low`."""
        if low == high:
            return low
        key = (variable, low, high)
        found = self._known.get(key)
        if found is None:
            if len(self.nodes) >= self.limit:
                raise LimitError(
                    f"the decision diagram needs more than limit={self.limit:,} nodes. Sample instead "
                    "(method='sample'), raise the limit, or ask for a neuron nearer to the target."
                )
            found = self._known[key] = len(self.nodes)
            self.nodes.append(key)
        return found

    def both(self, x: int, y: int) -> int:
        """Return the conjunction."""
        return self._apply(False, x, y)

    def either(self, x: int, y: int) -> int:
        """Return the disjunction."""
        return self._apply(True, x, y)

    def _apply(self, either: bool, x: int, y: int) -> int:
        # Recursion is as deep as there are variables, so a stack of its own: (x, y), then the node once both halves are.
        top, stack = (min(x, y), max(x, y)), [(min(x, y), max(x, y))]
        while stack:
            x, y = stack[-1]
            if (either, x, y) in self._done:
                stack.pop()
                continue
            short = self._short(either, x, y)
            if short is not None:
                self._done[either, x, y] = short
                continue
            variable = min(self.nodes[x][0], self.nodes[y][0])
            halves = []
            for side in (1, 2):
                a, b = (self.nodes[n][side] if self.nodes[n][0] == variable else n for n in (x, y))
                halves.append((min(a, b), max(a, b)))
            waiting = [half for half in halves if (either, *half) not in self._done]
            if waiting:
                stack.extend(waiting)
                continue
            low, high = (self._done[either, a, b] for a, b in halves)
            self._done[either, x, y] = self.node(variable, low, high)
        return self._done[either, top[0], top[1]]

    def _short(self, either: bool, x: int, y: int) -> int | None:
        """Return the result for x <= y where it is plain."""
        if x == y:
            return x
        if x > 1:
            return None
        if either:
            return 1 if x == 1 or y == 1 else y
        return 0 if x == 0 else y


def probability(store: GateStore, chances: Sequence[P], zero: P, one: P, limit: int = 200_000) -> tuple[P, ...]:
    """Return for each root the probability that it is true, the variables being true independently.

    Args: `chances`, one for each variable: floats, or Fractions for an exact answer; `zero`, `one` of their kind.
    P(f) = (1 − p_x) · P(f | x false) + p_x · P(f | x true) at each node of the root's decision diagram (Shannon expansion);
    the variables are ordered as the circuit lists them. Time: linear in the diagram. Raises `LimitError` above `limit` nodes.
    """
    diagram = Diagram(limit)
    numbers = {id(variable): i for i, variable in enumerate(variables := list(store.variables))}
    copy = _with_variables(store, variables)
    roots = fold(copy, diagram.either, diagram.both, 0, 1, lambda v: diagram.node(numbers[id(v)], 0, 1))
    found: list[P] = [zero, one]
    for variable, low, high in diagram.nodes[2:]:  # a node comes after those below it
        p = chances[variable]
        found.append((one - p) * found[low] + p * found[high])  # type: ignore[operator]
    return tuple(found[root] for root in roots)


def _with_variables(store: GateStore, variables: Sequence[Variable]) -> GateStore:
    return GateStore(
        store.kind, store.first, store.operands, store.variable, variables, store.roots, store.root_gates, store.assumption
    )
