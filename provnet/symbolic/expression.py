"""An expression as an element: written as it was made, equal to another wherever the laws say so."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from functools import cached_property
from typing import Self

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, Neuron, Variable
from provnet.errors import ValuationError
from provnet.symbolic.canonical import Builder, cone
from provnet.symbolic.formula import Formula


class Expression:
    """⊕ and ⊗ over variables, with shared parts shared: making a sum or a product takes the time of one gate.

    Only zero and one are simplified away. A subclass says what two equal expressions share: a cheap `fingerprint`,
    and a `normal_form`, which is made only where two that are written in different ways have one fingerprint.
    """

    __slots__ = ("__dict__", "kind", "operands", "variable")

    def __init__(self, kind: int, operands: tuple[Self, ...] = (), variable: str = "") -> None:
        self.kind, self.operands, self.variable = kind, operands, variable

    @property
    def fingerprint(self) -> int:
        """A number that equal expressions share, found in one pass over the gates."""
        raise NotImplementedError

    @property
    def normal_form(self) -> Hashable:
        """What two expressions share exactly if they are equal. It may be much longer. Raises `LimitError`."""
        raise NotImplementedError

    def plus(self, other: Self) -> Self:
        """Return self ⊕ other. Raises `ValuationError` for an element of another carrier."""
        self._check(other)
        if ZERO in (self.kind, other.kind):
            return other if self.kind == ZERO else self
        return type(self)(PLUS, (self, other))

    def times(self, other: Self) -> Self:
        """Return self ⊗ other. Raises `ValuationError` for an element of another carrier."""
        self._check(other)
        if ZERO in (self.kind, other.kind):
            return self if self.kind == ZERO else other
        if ONE in (self.kind, other.kind):
            return other if self.kind == ONE else self
        return type(self)(TIMES, (self, other))

    def _check(self, other: object) -> None:
        if type(other) is not type(self):
            raise ValuationError(
                f"a {type(self).__name__} meets a {type(other).__name__}: combine elements of one carrier only, "
                "and take others there by a homomorphism."
            )

    @cached_property
    def formula(self) -> Formula:
        """The expression as a `Formula`: as it was made, but x ⊕ (y ⊕ z) and (x ⊕ y) ⊕ z keep their difference."""
        order, uses = _below(self)
        builder, gates = Builder(), dict[int, int]()
        lists: dict[int, list[int]] = {}  # operands of the sums and products that are still growing to the right
        for node in order:
            if node.kind == VARIABLE:
                gates[id(node)] = builder.variable(Variable(node.variable))
            elif node.kind in (ZERO, ONE):
                gates[id(node)] = builder.constant(node.kind)
            else:
                left, right = node.operands
                grows = left.kind == node.kind and uses[id(left)] == 1  # folds nest to the left: (x ⊕ y) ⊕ z is a sum
                operands = lists.pop(id(left)) if grows else [_close(builder, gates, lists, left)]
                operands.append(_close(builder, gates, lists, right))
                lists[id(node)] = operands
        gate, root = _close(builder, gates, lists, self), Neuron("formula", ())
        return Formula(cone(builder.store([gate], [root]), [gate], [root]))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        if self is other or self.formula == other.formula:
            return True
        return self.fingerprint == other.fingerprint and self.normal_form == other.normal_form

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __str__(self) -> str:
        return self.formula.text()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.formula.symbols:,} symbols>"


def number_of(name: str) -> int:
    """Return 64 bits that look random and depend on the name alone, in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _below(root: Expression) -> tuple[list[Expression], dict[int, int]]:
    """Return every part of an expression, operands first, and how often each is an operand. No recursion."""
    order: list[Expression] = []
    uses: dict[int, int] = {}
    seen, stack = set[int](), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            for operand in reversed(node.operands):
                uses[id(operand)] = uses.get(id(operand), 0) + 1
                stack.append((operand, False))
    return order, uses


def _close(builder: Builder, gates: dict[int, int], lists: dict[int, list[int]], node: Expression) -> int:
    """Return the gate of a part; its sum or product, if it was still growing, is finished."""
    if id(node) in lists:
        gates[id(node)] = builder.combine(node.kind, lists.pop(id(node)))
    return gates[id(node)]
