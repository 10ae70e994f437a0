"""How large an expression would be, computed from the circuit before anything is unfolded."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from provnet.circuit.gates import PLUS, TIMES, VARIABLE, ZERO, GateStore

# A chain of squarings doubles the digits of a count at each step, so 40 gates could fill the memory with one integer.
CEILING = 1 << 65536


def _product(numbers: Sequence[int]) -> int:
    result = 1
    for number in numbers:
        result = min(CEILING, result * number)
    return result


def terms(store: GateStore) -> list[int]:
    """Return, for each gate, the number of monomials of its unfolded polynomial, with multiplicity.

    This is the gate's value in the counting semiring with every variable one: the number of paths. It bounds the number
    of distinct monomials, and is equal to it where no two paths carry the same variables. Exact Python integers up to
    2**65536, at which they stop; `spell` then says "at least".
    """
    kinds, first, operands = store.kind.tolist(), store.first.tolist(), store.operands.tolist()
    found: list[int] = []
    for gate, kind in enumerate(kinds):
        below = [found[g] for g in operands[first[gate] : first[gate + 1]]]
        if kind == PLUS:
            found.append(min(CEILING, sum(below)))
        else:
            found.append(0 if kind == ZERO else _product(below))
    return found


def degrees(store: GateStore) -> list[int]:
    """Return, for each gate, the degree of its polynomial (0 for zero and one)."""
    found: list[int] = []
    for gate, kind in enumerate(store.kind.tolist()):
        below = [found[g] for g in store.operands_of(gate).tolist()]
        if kind == PLUS:
            found.append(max(below, default=0))
        else:
            found.append(min(CEILING, sum(below)) if kind == TIMES else int(kind == VARIABLE))
    return found


def leaves(store: GateStore) -> list[int]:
    """Return, for each gate, how many variables and constants its expression would show if nothing were shared."""
    kinds, first, operands = store.kind.tolist(), store.first.tolist(), store.operands.tolist()
    found: list[int] = []
    for gate, kind in enumerate(kinds):
        below = sum(found[g] for g in operands[first[gate] : first[gate + 1]])
        found.append(min(CEILING, below) if kind in (PLUS, TIMES) else 1)
    return found


def spell(number: int) -> str:
    """Return a count for a message: exact up to 60 digits, then rounded, as in `about 10^512 (2^1701)`."""
    if number >= CEILING:
        return "at least 2^65536"
    if number.bit_length() < 200:
        return f"{number:,}"
    power = number.bit_length() - 1
    return f"about 10^{power * log10(2):.0f} (2^{power})"
