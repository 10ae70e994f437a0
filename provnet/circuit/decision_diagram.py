"""Reduced ordered binary decision diagrams: the exact probability that a monotone circuit is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from provnet.circuit.fold import fold
from provnet.circuit.gates import GateStore
from provnet.errors import LimitError

P = TypeVar("P")

WORK = 16
"""Pairs of nodes that may be combined, in units of the limit on nodes."""


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
                raise self._refusal()
            found = self._known[key] = len(self.nodes)
            self.nodes.append(key)
        return found

    def _refusal(self) -> LimitError:
        return LimitError(
            f"the decision diagram needs more than limit={self.limit:,} nodes, or {WORK} times as many steps. Sample "
            "instead (method='sample'), raise the limit, or ask for a neuron nearer to the target."
        )

    def both(self, x: int, y: int) -> int:
        """Return the conjunction."""
        return self._apply(False, x, y)

    def either(self, x: int, y: int) -> int:
        """Return the disjunction."""
        return self._apply(True, x, y)

    def _apply(self, either: bool, x: int, y: int) -> int:
        # Recursion would be as deep as there are variables, hence a stack: a pair stays until both halves are done.
        top = (min(x, y), max(x, y))
        stack = [top]
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
            if len(self._done) > WORK * self.limit:
                raise self._refusal()
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
    P(f) = (1 − p_x) · P(f | x false) + p_x · P(f | x true) at each node of the root's decision diagram (Shannon
    expansion); the variables are ordered as the circuit lists them. Time: linear in the diagram. Raises `LimitError`
    above `limit` nodes.
    """
    diagram = Diagram(limit)
    # Numbers stand for variables: a diagram orders them.
    plain = replace(store, variables=range(len(store.variables)))  # type: ignore[arg-type]
    roots = fold(plain, diagram.either, diagram.both, 0, 1, lambda x: diagram.node(x, 0, 1))  # type: ignore[arg-type]
    found: list[P] = [zero, one]
    for variable, low, high in diagram.nodes[2:]:  # a node comes after those below it
        p = chances[variable]
        found.append((one - p) * found[low] + p * found[high])  # type: ignore[operator]
    return tuple(found[root] for root in roots)
