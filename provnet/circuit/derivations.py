"""The k best paths with their edges: lazy enumeration over values that one sweep has found, with back-pointers."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.gates import ONE, PLUS, VARIABLE, GateStore, Variable

Choice = tuple[int, ...]
"""How a gate's derivation is made: of ⊕ (operand's place, its rank); of ⊗ the rank of each operand's derivation."""


@dataclass(frozen=True)
class WeightedPath:
    """One path from a root's neuron to the target: its value, and its variables, the root's end first.

    On circuits that come from no network a path is a derivation: one choice at every ⊕, the factors of all ⊗.
    """

    value: Any
    variables: tuple[Variable, ...]
    numbers: tuple[int, ...] = ()
    """The variables' numbers, which index valuations."""

    def __len__(self) -> int:
        return len(self.variables)

    def __str__(self) -> str:
        return f"{self.value:.6g}: {' ⊗ '.join(map(str, self.variables)) or '1'}"


@dataclass(eq=False)
class _Node:
    """What is known of one gate: its derivations so far, best first, and candidates for the next."""

    found: list[tuple[Any, Choice]]
    heap: list[tuple[Any, int, Choice]] = field(default_factory=list)
    expanded: int = 0
    """How many of `found` have had their successors put on the heap."""


class Derivations:
    """Enumerates the derivations of a gate, best first, each gate's only as far as they are asked for.

    Args: `values` [gates], each gate's best value, Python-comparable; `worse`: value -> sort key, ascending from the
    best; `times` multiplies two values and is monotone; gates whose value is `zero` have no derivation.
    Sound because ⊗ is monotone: a derivation is never better than one with a better operand, so the next best is
    always a successor of one that was given. Source: Huang and Chiang 2005, Better k-best Parsing, algorithm 3.
    Time: the fan-in of the gates that the paths visit, then O(depth · log k) a path. No recursion.
    """

    def __init__(
        self,
        store: GateStore,
        values: NDArray[Any],
        worse: Callable[[Any], Any],
        times: Callable[[Any, Any], Any],
        zero: Any,
        k: int,
    ) -> None:
        self.store, self.values, self.worse, self.times, self.zero, self.k = store, values, worse, times, zero, k
        self._nodes: dict[int, _Node] = {}

    def best(self, gate: int) -> Iterator[tuple[Any, tuple[int, ...]]]:
        """Yield (value, numbers of the variables in order) of up to k derivations of `gate`, best first."""
        for rank in range(self.k):
            if not self._enumerate(gate, rank):
                return
            value = self._nodes[gate].found[rank][0]
            if value == self.zero:  # a product of nonzero elements may be zero: Łukasiewicz, or floats that underflow
                return
            yield value, tuple(self._leaves(gate, rank))

    def _node(self, gate: int) -> _Node:
        node = self._nodes.get(gate)
        if node is None:
            node = self._nodes[gate] = self._start(gate)
        return node

    def _start(self, gate: int) -> _Node:
        value = self.values[gate].item()
        if value == self.zero:
            return _Node([])
        kind = self.store.kind[gate]
        if kind in (VARIABLE, ONE):
            return _Node([(value, ())], expanded=1)
        operands = self.store.operands_of(gate)
        if kind != PLUS:
            return _Node([], [(self.worse(value), 0, (0,) * len(operands))])
        below = self.values[operands]
        alive = np.flatnonzero(below != self.zero)
        keys = self.worse(below[alive])
        # The k best operands are all that k derivations can need; a sorted list is a heap.
        order = np.argsort(keys, kind="stable")[: self.k]
        pairs = zip(keys[order].tolist(), alive[order].tolist(), strict=True)
        return _Node([], [(key, place, (place, 0)) for key, place in pairs])

    def _enumerate(self, gate: int, rank: int) -> bool:
        """Make derivation `rank` of `gate` known; return whether there is one."""
        stack = [(gate, rank)]
        while stack:
            at, wanted = stack[-1]
            node = self._node(at)
            if len(node.found) > wanted or not (node.heap or node.expanded < len(node.found)):
                stack.pop()
                continue
            waiting = self._expand(at, node)
            if waiting:
                stack.extend(waiting)
            elif node.heap:
                choice = heapq.heappop(node.heap)[2]
                node.found.append((self._value(at, choice), choice))
        return len(self._nodes[gate].found) > rank

    def _expand(self, gate: int, node: _Node) -> list[tuple[int, int]]:
        """Put the successors of the last derivation on the heap; or return what must be known first, and put none."""
        if node.expanded == len(node.found):
            return []
        choice = node.found[-1][1]
        operands = self.store.operands_of(gate)
        if self.store.kind[gate] == PLUS:
            place, rank = choice
            successors = [(int(operands[place]), rank + 1, place, (place, rank + 1))]
        else:  # only places from the last raised one on, so that each choice of ranks has one predecessor
            last = max((i for i, rank in enumerate(choice) if rank), default=0)
            successors = [
                (int(operands[i]), choice[i] + 1, i, (*choice[:i], choice[i] + 1, *choice[i + 1 :]))
                for i in range(last, len(choice))
            ]
        waiting = [(below, rank) for below, rank, _, _ in successors if self._unknown(below, rank)]
        if waiting:
            return waiting
        for below, rank, place, next_choice in successors:
            if len(self._node(below).found) > rank:
                heapq.heappush(node.heap, (self.worse(self._value(gate, next_choice)), place, next_choice))
        node.expanded = len(node.found)
        return []

    def _unknown(self, gate: int, rank: int) -> bool:
        node = self._node(gate)
        return len(node.found) <= rank and bool(node.heap or node.expanded < len(node.found))

    def _value(self, gate: int, choice: Choice) -> Any:
        operands = self.store.operands_of(gate).tolist()
        if self.store.kind[gate] == PLUS:
            place, rank = choice
            return self._ranked(operands[place], rank)
        total = self._ranked(operands[0], choice[0])
        for operand, rank in zip(operands[1:], choice[1:], strict=True):
            total = self.times(total, self._ranked(operand, rank))
        return total

    def _ranked(self, gate: int, rank: int) -> Any:
        return self._nodes[gate].found[rank][0] if rank else self.values[gate].item()

    def _leaves(self, gate: int, rank: int) -> Iterator[int]:
        """Yield the variables of one derivation, operands in order."""
        stack = [(gate, rank)]
        while stack:
            at, wanted = stack.pop()
            kind = self.store.kind[at]
            if kind == VARIABLE:
                yield int(self.store.variable[at])
            elif kind != ONE:
                self._enumerate(at, wanted)
                choice = self._nodes[at].found[wanted][1]
                operands = self.store.operands_of(at).tolist()
                if kind == PLUS:
                    stack.append((operands[choice[0]], choice[1]))
                else:
                    stack.extend(reversed(list(zip(operands, choice, strict=True))))
