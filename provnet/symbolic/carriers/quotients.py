"""The homomorphisms between symbolic carriers: each forgets one thing. Source: Green 2011, figure 2; Sorp added.

There is none from PosBool to Lin (x = x + x·y, but {x} is not {x, y}) and none from Why to Sorp (x·x = x holds in Why).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import reduce
from typing import Any

from provnet.symbolic.carriers.boolean_how import Monomials
from provnet.symbolic.carriers.lin import Lineage
from provnet.symbolic.carriers.posbool import smallest
from provnet.symbolic.carriers.sorp import shortest
from provnet.symbolic.carriers.trio import Bag
from provnet.symbolic.carriers.why import Witness, Witnesses
from provnet.symbolic.polynomial import Monomial, Polynomial


def support(m: Monomial) -> Witness:
    """Return the variables of a monomial, without exponents."""
    return frozenset(name for name, _ in m)


def drop_coefficients(x: Polynomial) -> Monomials:
    """ℕ[X] → 𝔹[X]."""
    return frozenset(x.terms)


def drop_exponents_keep_counts(x: Polynomial) -> Bag:
    """ℕ[X] → Trio: multiplicities of monomials that become one are added."""
    found: Counter[Witness] = Counter()
    for m, c in x.terms.items():
        found[support(m)] += c
    return frozenset(found.items())


def drop_exponents(x: Monomials) -> Witnesses:
    """𝔹[X] → Why."""
    return frozenset(map(support, x))


def drop_counts(x: Bag) -> Witnesses:
    """Trio → Why."""
    return frozenset(w for w, _ in x)


def keep_smallest(x: Witnesses) -> Witnesses:
    """Why → PosBool."""
    return smallest(x)


def unite(x: Witnesses) -> Lineage:
    """Why → Lin: all edges of all witnesses; ⊥ if there is no witness."""
    return reduce(frozenset.union, x, frozenset()) if x else None


def keep_shortest(x: Monomials) -> Monomials:
    """𝔹[X] → Sorp."""
    return shortest(x)


def drop_exponents_keep_smallest(x: Monomials) -> Witnesses:
    """Sorp → PosBool."""
    return smallest(map(support, x))


def is_possible(x: Witnesses) -> bool:
    """PosBool → 𝔹, every variable true."""
    return bool(x)


def is_reached(x: Lineage) -> bool:
    """Lin → 𝔹, every variable true."""
    return x is not None


QUOTIENTS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("n[x]", "b[x]"): drop_coefficients,
    ("n[x]", "trio"): drop_exponents_keep_counts,
    ("b[x]", "why"): drop_exponents,
    ("trio", "why"): drop_counts,
    ("why", "posbool"): keep_smallest,
    ("why", "lin"): unite,
    ("b[x]", "sorp"): keep_shortest,
    ("sorp", "posbool"): drop_exponents_keep_smallest,
    ("posbool", "boolean"): is_possible,
    ("lin", "boolean"): is_reached,
}
"""(from, to) -> the homomorphism. Paths between the same two agree."""
