"""The part of a circuit below some gates, in one canonical order: equal formulas have equal cones."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore, Neuron, Variable, spelled
from provnet.errors import OptionError, UnknownNameError

Root = Neuron | str | int | None


class Builder:
    """Grows a gate store from the leaves up. Equal gates are one; a sum or product of one operand is that operand."""

    def __init__(self) -> None:
        self.kinds: list[int] = []
        self.lists: list[tuple[int, ...]] = []
        self.which: list[int] = []
        self.variables: list[Variable] = []
        self._known: dict[tuple[int, tuple[int, ...], str], int] = {}

    def _gate(self, kind: int, operands: tuple[int, ...], variable: Variable | None = None) -> int:
        key = (kind, operands, variable.name if variable else "")
        if (found := self._known.get(key)) is not None:
            return found
        self._known[key] = number = len(self.kinds)
        self.kinds.append(kind)
        self.lists.append(operands)
        self.which.append(-1 if variable is None else len(self.variables))
        if variable is not None:
            self.variables.append(variable)
        return number

    def constant(self, kind: int) -> int:
        """Return the gate of zero or one."""
        return self._gate(kind, ())

    def variable(self, variable: Variable) -> int:
        """Return the gate of a variable. Variables of one name are one."""
        return self._gate(VARIABLE, (), variable)

    def combine(self, kind: int, operands: Sequence[int]) -> int:
        """Return the gate of a sum or a product; over nothing it is zero or one."""
        if not operands:
            return self.constant(ZERO if kind == PLUS else ONE)
        return operands[0] if len(operands) == 1 else self._gate(kind, tuple(operands))

    def store(
        self, gates: Sequence[int], roots: Sequence[Neuron], assumption: frozenset[str] = frozenset()
    ) -> GateStore:
        """Return what was built, with the given roots."""
        lengths = np.fromiter(map(len, self.lists), np.int64, len(self.lists))
        return GateStore(
            kind=np.array(self.kinds, np.uint8),
            first=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            operands=np.array([o for operands in self.lists for o in operands], np.int32),
            variable=np.array(self.which, np.int32),
            variables=tuple(self.variables),
            roots=tuple(roots),
            root_gates=np.array(gates, np.int32),
            assumption=assumption,
        )


def find_gate(store: GateStore, root: Root) -> tuple[int, Neuron]:
    """Return the gate that `root` means, and the neuron it is the relevance of.

    `root` is a neuron, its name `path[0, 4]`, a gate's number, or None where the circuit has one root only.
    Raises `UnknownNameError` for a neuron that is no root, `OptionError` for a number that is no gate.
    """
    if root is None:
        if len(store.roots) != 1:
            raise OptionError(f"the circuit has {len(store.roots)} roots: say which, by a neuron or its name.")
        return int(store.root_gates[0]), store.roots[0]
    if isinstance(root, int | np.integer):
        if not 0 <= root < len(store):
            raise OptionError(f"there is no gate {root}: the circuit's gates are 0 to {len(store) - 1}.")
        return int(root), Neuron("gate", (int(root),))
    name = spelled(root.strip()) if isinstance(root, str) else root
    if isinstance(name, tuple) and len(name) == 2 and isinstance(name[1], tuple):
        name = (name[0], *name[1])
    for neuron, gate in zip(store.roots, store.root_gates, strict=True):
        if name in (neuron, str(neuron), (neuron.path, *neuron.index)):
            return int(gate), neuron
    known = list(map(str, store.roots))
    written = f"{name[0]}[{', '.join(map(str, name[1:]))}]" if isinstance(name, tuple) and name else str(name)
    near = get_close_matches(written, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    some = ", ".join(known[:8]) + (", …" if len(known) > 8 else "")
    raise UnknownNameError(f"{root} is no root of these gates. {hint}The roots are {some}.")


def cone(store: GateStore, gates: Sequence[int], roots: Sequence[Neuron]) -> GateStore:
    """Return the part of `store` below `gates`, numbered in the order of a depth-first walk, operands in order.

    Equal gates are merged and sums or products of one operand elided, so that equal expressions give equal stores.
    Time and memory: linear in the wires of the cone.
    """
    kinds, first = store.kind.tolist(), store.first.tolist()
    operands, variable = store.operands.tolist(), store.variable.tolist()
    builder = Builder()
    new: dict[int, int] = {}
    stack = [int(g) for g in reversed(gates)]
    while stack:
        gate = stack[-1]
        if gate in new:
            stack.pop()
            continue
        below = operands[first[gate] : first[gate + 1]]
        waiting = [g for g in reversed(below) if g not in new]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        if kinds[gate] == VARIABLE:
            new[gate] = builder.variable(store.variables[variable[gate]])
        elif kinds[gate] in (PLUS, TIMES):
            new[gate] = builder.combine(kinds[gate], [new[g] for g in below])
        else:
            new[gate] = builder.constant(kinds[gate])
    return builder.store([new[int(g)] for g in gates], roots, store.assumption)


def uses(store: GateStore) -> list[int]:
    """Return how often each gate is an operand; being a root does not count."""
    return np.bincount(store.operands, minlength=len(store)).tolist()
