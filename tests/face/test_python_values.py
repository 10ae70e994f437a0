"""Gates whose values are any Python objects, and symbolic semirings by name."""

from __future__ import annotations

import operator
from fractions import Fraction

import pytest
import sympy
import torch

import provnet
from provnet.errors import LimitError, OptionError, UnknownNameError, UnsupportedOperationError, ValuationError
from provnet.symbolic.carriers.base import get as carrier_named


@pytest.fixture(scope="module")
def tied() -> provnet.GateCircuit:
    """Three times a convolution with one kernel of three: 6·w0·w1·w2 + w1³ from the middle to the middle."""
    weight = torch.ones(1, 1, 3)

    def model(x):
        for _ in range(3):
            x = torch.nn.functional.conv1d(x, weight, padding=1)
        return x

    return provnet.trace(model, torch.ones(1, 1, 7)).gates(target=(0, 3), grain="parameter")


MIDDLE = "input[0, 3]"


def test_fractions_sympy_symbols_and_sets(tied):
    values = dict(zip(tied.variables, (Fraction(1, 2), Fraction(1, 3), Fraction(1, 5)), strict=True))
    found = tied.fold(values)
    assert tuple(found) == tied.roots
    assert found[MIDDLE] == 6 * Fraction(1, 30) + Fraction(1, 27) == found["input", 0, 3]
    names = {v.name: sympy.Symbol(f"w{i}") for i, v in enumerate(tied.variables)}
    w0, w1, w2 = names.values()
    assert sympy.expand(tied.fold(names)[MIDDLE]) == 6 * w0 * w1 * w2 + w1**3
    worlds = {v.name: s for v, s in zip(tied.variables, ({1, 2}, {2, 3}, {2, 4}), strict=True)}
    sets = tied.fold(worlds, operator.or_, operator.and_, set(), {1, 2, 3, 4})
    assert sets[MIDDLE] == {2, 3}
    assert tied.fold(lambda v: len(v.name) * 0 + 1)[MIDDLE] == 7


def test_python_integers_agree_with_the_tensor_evaluator(tied):
    values = torch.tensor([2, 3, 5])
    found = tied.evaluate("counting", values)
    assert tied.fold(dict(zip(tied.variables, [2, 3, 5], strict=True))) == {
        root: int(found[root]) for root in tied.roots
    }


@pytest.mark.guarantee("a fold of Python objects refuses missing and unknown variables, and laws that were not stated")
def test_bad_values_are_refused(tied):
    names = [v.name for v in tied.variables]
    with pytest.raises(ValuationError, match=r"no value for .* \(1\)\. The circuit has 3 variables"):
        tied.fold(dict.fromkeys(names[1:], 1))
    with pytest.raises(ValuationError, match=r"keys that are no variables: zebra"):
        tied.fold(dict.fromkeys([*names, "zebra"], 1))
    small = tied.simplify("boolean")
    with pytest.raises(UnsupportedOperationError, match="simplified for operations that are absorptive"):
        small.fold(dict.fromkeys(names, 1))
    ones = dict.fromkeys(names, True)
    laws = ("commutative", "idempotent", "absorptive", "times_idempotent")
    assert small.fold(ones, operator.or_, operator.and_, False, True, laws=laws)[MIDDLE] is True
    with pytest.raises(UnsupportedOperationError, match="commutative"):
        tied.fold(ones, laws=())
    with pytest.raises(OptionError, match="'lawful' is no law"):
        tied.fold(ones, laws=("lawful",))
    with pytest.raises(KeyError):
        tied.fold(ones)["input[0, 99]"]


def test_symbolic_semirings_by_name(tied):
    assert tied.provenance("N[X]", MIDDLE) == tied.polynomial(MIDDLE)
    everything = tied.provenance("n[x]")
    assert list(everything) == list(tied.roots)
    why = provnet.homomorphism("N[X]", "Why")
    assert why(everything) == tied.provenance("why")
    assert why(everything)[MIDDLE] == tied.provenance("why", MIDDLE)
    assert tied.provenance("formula", MIDDLE).formula.terms == 7
    assert tied.provenance("boolexpr")[MIDDLE] == tied.provenance("boolexpr", MIDDLE)
    assert provnet.homomorphism("boolexpr", "posbool")(tied.provenance("boolexpr", MIDDLE)) == tied.provenance(
        "posbool", MIDDLE
    )


def test_provenance_says_no_before_it_hangs_and_where_a_law_is_missing(tied):
    with pytest.raises(LimitError, match=r"a root has 7 paths, more than max_terms=6"):
        tied.provenance("why", max_terms=6)
    assert tied.provenance("lin", max_terms=6) == tied.provenance("lin")
    with pytest.raises(UnsupportedOperationError, match="absorptive"):
        tied.simplify("boolean").provenance("why")
    with pytest.raises(UnknownNameError, match="symbolic carrier"):
        tied.provenance("viterbi")


@pytest.mark.guarantee("gates evaluate in symbolic semirings by name, as in those of numbers")
def test_symbolic_semirings_are_evaluated_by_name():
    gates = provnet.trace(torch.nn.Linear(2, 1, bias=False), torch.ones(1, 2)).gates(target=0)
    for name in ("why", "N[X]", "posbool", "formula"):
        found = gates.evaluate(name)
        assert dict(found) == gates.provenance(name)
        assert found[str(gates.roots[0])] == gates.provenance(name, gates.roots[0])
    why = carrier_named("why")
    renamed = gates.evaluate(why, {variable: why.variable("x") for variable in gates.variables})
    assert set(renamed.values()) == {why.variable("x")}
    with pytest.raises(UnsupportedOperationError, match="read each by its root"):
        _ = gates.evaluate("why").tensor
    with pytest.raises(OptionError, match="a valuation is a mapping"):
        gates.evaluate("why", torch.ones(2))
    with pytest.raises(UnknownNameError, match=r"no semiring or symbolic carrier is called 'wyh'. Did you mean 'why'"):
        gates.evaluate("wyh")
