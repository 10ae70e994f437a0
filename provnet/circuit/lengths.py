"""How long the paths are, and how many of each length, without listing one."""

from __future__ import annotations

import operator
from collections import Counter

import numpy as np

from provnet.circuit.counts import count_terms
from provnet.circuit.fold import fold
from provnet.circuit.gates import PLUS, VARIABLE, GateStore
from provnet.circuit.hash_cons import restrict


def path_lengths(store: GateStore) -> tuple[Counter[int], ...]:
    """Return for every root {length: number of paths}, exact at any size; empty for a root that is zero.

    A path's length is its number of variables: unit edges are not counted. Definition: the evaluation at x = z for
    every variable in ℕ[z], the graded counting semiring. Here z is the number 2^B with B one bit more than the largest
    count needs, so that one integer holds the whole distribution and its digits in base 2^B are read off. Source:
    Kronecker substitution, Kronecker 1882; Schönhage 1982.
    Memory: a number of B · (degree + 1) bits a gate in use.
    """
    bits = max(count_terms(store), default=0).bit_length() + 1
    found = fold(store, operator.add, operator.mul, 0, 1, lambda _: 1 << bits)
    return tuple(_digits(number, bits) for number in found)


def _digits(number: int, bits: int) -> Counter[int]:
    lengths, length, mask = Counter[int](), 0, (1 << bits) - 1
    while number:
        if number & mask:
            lengths[length] = number & mask
        number >>= bits
        length += 1
    return lengths


def degree_bounds(store: GateStore) -> tuple[int, int]:
    """Return the lengths of the shortest and of the longest path of any root; (0, 0) if there is none.

    By evaluation in (ℕ ∪ {∞}, min, +) and (ℕ ∪ {−∞}, max, +) at one: linear time, no counts.
    """
    small = restrict(store)
    ends = []
    for sign in (1.0, -1.0):
        value = np.full(len(small), np.inf)
        value[small.kind > 0] = 0.0
        value[small.kind == VARIABLE] = sign
        for gates in small.by_level[1:]:
            for plus in (False, True):
                some = gates[(small.kind[gates] == PLUS) == plus]
                if len(some):
                    starts = np.cumsum(small.fan[some]) - small.fan[some]
                    combine = np.minimum if plus else np.add
                    value[some] = combine.reduceat(value[small.wires_of(some)[1]], starts)
        ends.append(float(value[small.root_gates].min(initial=np.inf)))
    return (int(ends[0]), -int(ends[1])) if np.isfinite(ends).all() else (0, 0)
