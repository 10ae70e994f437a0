"""Homomorphisms as objects: found, composed, applied, refused."""

from __future__ import annotations

import pytest
from hypothesis import assume, given

import provnet
from provnet.errors import OptionError, UnknownNameError, UnsupportedOperationError, ValuationError
from provnet.symbolic.carriers.base import REGISTRY, get
from provnet.symbolic.formula import formula
from provnet.symbolic.homomorphism import MAPS, Homomorphism, homomorphism
from provnet.symbolic.parse import parse
from tests.gate_circuits import stores

NAMES: tuple[str, ...] = ("n[x]", "b[x]", "trio", "why", "posbool", "lin", "sorp", "formula", "boolexpr", "boolean")
LINKS = {a: [b for c, b in MAPS if c == a] for a in NAMES}


def read(name, text):
    k = get(name)
    return parse(text).fold(k.plus, k.times, k.zero, k.one, k.variable)


def known(pair) -> bool:
    try:
        homomorphism(*pair)
    except UnsupportedOperationError:
        return False
    return True


def routes(start: str, end: str, seen: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return every route that visits no carrier twice, by plain recursion."""
    if start == end:
        return [(*seen, end)]
    return [r for b in LINKS[start] if b not in (*seen, start) for r in routes(b, end, (*seen, start))]


PAIRS = [(source, target) for source in NAMES for target in NAMES]


def test_the_public_names_are_one():
    assert provnet.semirings.homomorphism is provnet.homomorphism is homomorphism
    h = provnet.semirings.homomorphism("N[X]", "Why")
    assert isinstance(h, provnet.Homomorphism)
    assert (h.source, h.target, str(h)) == ("n[x]", "why", "n[x] → b[x] → why")
    assert homomorphism("ℕ[X]", "𝔹").path == homomorphism("how", "boolean").path
    assert homomorphism("how", "which").target == "lin"


@pytest.mark.parametrize("pair", PAIRS, ids=" to ".join)
def test_it_is_the_shortest_way_or_an_equation_shows_that_there_is_none(pair):
    ways = routes(*pair)
    if ways:
        assert len(homomorphism(*pair).path) == min(map(len, ways))
        return
    with pytest.raises(UnsupportedOperationError, match=rf" holds in '{pair[0]}'".replace("[", r"\[")):
        homomorphism(*pair)


@pytest.mark.guarantee("there is no homomorphism PosBool → Lin nor Why → Sorp, and the refusal shows the equation")
def test_the_two_arrows_that_one_might_expect():
    with pytest.raises(UnsupportedOperationError, match=r"x \+ x \* y = x holds in 'posbool', and in 'lin' they are"):
        homomorphism("PosBool", "Lin")
    with pytest.raises(
        UnsupportedOperationError, match=r"x \* x = x holds in 'why', and in 'sorp' they are x² and x\."
    ):
        homomorphism("Why", "Sorp")


@given(stores(gates=5, variables=3))
def test_all_compositions_between_two_agree_and_are_evaluation(store):
    """A homomorphism that keeps the variables is unique, so every route gives what the circuit gives there."""
    below = formula(store, int(store.root_gates[0]))
    assume(below.terms < 40)

    def value(name):
        k = REGISTRY.get(name)
        return below.fold(k.plus, k.times, k.zero, k.one, k.variable)

    for pair in PAIRS:
        if pair[1] != "boolean" and known(pair):
            for route in routes(*pair):
                assert Homomorphism(route)(value(pair[0])) == value(pair[1]), route


def test_composition():
    first, second = homomorphism("n[x]", "sorp"), homomorphism("sorp", "boolean")
    assert first.then(second) == second @ first
    assert first.then(second).path == ("n[x]", "b[x]", "sorp", "posbool", "boolean")
    assert first.then(second)(read("n[x]", "a * b")) is True
    assert homomorphism("why", "why").then(homomorphism("why", "lin")) == homomorphism("why", "lin")
    with pytest.raises(OptionError, match=r"gives elements of 'boolean'"):
        second.then(first)


def test_a_whole_result_is_mapped_root_by_root():
    found = homomorphism("n[x]", "why")({"p": read("n[x]", "a + a * b"), "q": read("n[x]", "0")})
    assert found == {"p": read("why", "a + a * b"), "q": frozenset()}
    assert homomorphism("formula", "posbool")(parse("a + a * b")) == read("posbool", "a")


def test_what_is_no_carrier_or_no_element_is_refused():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'why'.*'boolean' too"):
        homomorphism("n[x]", "wy")
    with pytest.raises(ValuationError, match=r"is no element of 'n\[x\]', whose elements are of type Polynomial"):
        homomorphism("n[x]", "why")(frozenset())
