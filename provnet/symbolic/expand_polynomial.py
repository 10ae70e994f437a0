"""Unfolds gates into their provenance polynomial, after counting what would come out."""

from __future__ import annotations

from functools import reduce
from math import comb

from provnet.circuit.gates import ONE, PLUS, TIMES, VARIABLE, ZERO, GateStore
from provnet.errors import LimitError
from provnet.symbolic import polynomial_rows
from provnet.symbolic.canonical import Root, cone, find_gate, uses
from provnet.symbolic.polynomial import Polynomial
from provnet.symbolic.size import CEILING, degrees, spell, terms
from provnet.symbolic.unfold import rough_paths, unfold

SLACK = 16
"""Rows in work, before equal ones are merged, may be this many times `max_terms`."""

WIDTH = 16
"""Entries of a row in work when all paths are written out at once; where they are longer, gate by gate takes over."""


def polynomial(store: GateStore, root: Root = None, max_terms: int = 100_000) -> Polynomial:
    """Return the provenance polynomial of one neuron or gate: one monomial a path, equal ones counted.

    Raises `LimitError`, at once and before the memory is taken, where more than `max_terms` distinct monomials may come
    out; the message gives the exact number of paths.
    Memory: about 100 bytes * degree * max_terms in work, then 150 + 90 * degree bytes a monomial.

    >>> print(polynomial(gates, "input[0]"))         # doctest: +SKIP
    fc1[0<-0]·fc2[3<-0] + fc1[1<-0]·fc2[3<-1]
    """
    gate, neuron = find_gate(store, root)
    below = cone(store, [gate], [neuron])
    return expand(below, max_terms).polynomial([v.name for v in below.variables])


def expand(store: GateStore, max_terms: int = 100_000) -> polynomial_rows.PolynomialRows:
    """Return the polynomial of a cone's only root as rows of numbers of `store.variables`.

    Raises `LimitError` as `polynomial` does.
    """
    unfolded = unfold(store, SLACK * max_terms * WIDTH) if rough_paths(store) <= SLACK * max_terms else None
    return unfolded if unfolded is not None and len(unfolded) <= max_terms else gate_by_gate(store, max_terms)


def gate_by_gate(store: GateStore, max_terms: int) -> polynomial_rows.PolynomialRows:
    """Return the same, from the leaves up, equal monomials merged at every gate: for more paths than can be listed.

    Raises `LimitError` as `polynomial` does.
    """
    root = int(store.root_gates[0])
    paths = terms(store)
    # The coefficients of a gate add up to its number of paths, so this one test rules out overflow in all of them.
    exact = max(paths) > polynomial_rows.LARGEST
    refusal = LimitError(
        f"the polynomial of {store.roots[0]} has {spell(paths[root])} monomials, equal ones counted apart, and too few "
        f"merge to be sure of max_terms={max_terms:,}. Evaluate the gates in a semiring instead, ask for a neuron "
        f"nearer to the target, or raise max_terms."
    )
    if distinct_at_most(store)[root] > SLACK * max_terms:
        raise refusal
    kinds, waiting = store.kind.tolist(), uses(store)
    waiting[root] += 1
    value: dict[int, polynomial_rows.PolynomialRows] = {}
    for gate, kind in enumerate(kinds):
        below = store.operands_of(gate).tolist()
        parts = [value[g] for g in below]
        if kind == VARIABLE:
            value[gate] = polynomial_rows.variable(int(store.variable[gate]), exact)
        elif kind == PLUS:
            if sum(map(len, parts)) > SLACK * max_terms:
                raise refusal
            value[gate] = polynomial_rows.plus(parts)
        elif kind == TIMES:
            value[gate] = reduce(lambda x, y: _times(x, y, max_terms, refusal), parts)
        else:
            value[gate] = polynomial_rows.constant(int(kind == ONE), exact)
        for g in below:
            waiting[g] -= 1
            if not waiting[g]:
                del value[g]
    if len(value[root]) > max_terms:
        raise refusal
    return value[root]


def distinct_at_most(store: GateStore) -> list[int]:
    """Return, for each gate, a bound on the number of its distinct monomials.

    Sums add and products multiply; besides, v variables have only C(v + d, d) monomials of degree up to d, which is
    what tells a weight that is shared a thousand times from a thousand weights.
    """
    found: list[int] = []
    variables = len(store.variables)
    for gate, (kind, degree) in enumerate(zip(store.kind.tolist(), degrees(store), strict=True)):
        below = [found[g] for g in store.operands_of(gate).tolist()]
        if kind == PLUS:
            bound = sum(below)
        else:
            bound = int(kind != ZERO) if kind != TIMES else reduce(lambda x, y: min(x * y, CEILING), below)
        if bound > variables + 1 and degree < 4096:
            bound = min(bound, comb(variables + degree, min(degree, variables)))
        found.append(min(bound, CEILING))
    return found


def _times(
    x: polynomial_rows.PolynomialRows, y: polynomial_rows.PolynomialRows, max_terms: int, refusal: LimitError
) -> polynomial_rows.PolynomialRows:
    if len(x) * len(y) > SLACK * max_terms:
        raise refusal
    return polynomial_rows.times(x, y)
