"""Every registered semiring keeps every law that it promises, on exact values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from provnet import semirings
from provnet.errors import DTypeError, LawError
from provnet.semirings.base import Semiring
from provnet.semirings.bottleneck import Bottleneck
from provnet.semirings.counting import Counting
from provnet.semirings.expectation import Expectation
from provnet.semirings.graded import Graded
from provnet.semirings.k_best import KBest
from provnet.semirings.law_check import check_law, check_laws
from provnet.semirings.laws import LAWS, JudgedAlgebra
from provnet.semirings.modular_integer import ModularInteger
from provnet.semirings.product import Product
from provnet.semirings.security import Security
from provnet.semirings.signed import Signed

NAMES = """arctic bitset64 boolean bottleneck counting expectation fuzzy graded k-best log lukasiewicz max-times
    min-plus modular-integer non-negative product real security signed tropical viterbi""".split()  # noqa: SIM905

VARIANTS: list[Semiring] = [
    *map(semirings.get, NAMES),
    Counting("float64"),
    Counting("exact", bits=64),
    Bottleneck(torch.int64),
    ModularInteger(2),
    ModularInteger(97),
    Security(1),
    KBest(1),
    KBest(2, "tropical"),
    KBest(2, "arctic"),
    KBest(3, "bottleneck"),
    KBest(2, "boolean"),
    KBest(2, "security"),
    Signed("real"),
    Signed("boolean"),
    Signed("viterbi"),
    Signed("tropical"),
    Signed("counting"),
    Signed(Signed("fuzzy")),
    Expectation("counting"),
    Expectation("non-negative"),
    Graded("viterbi", 2),
    Graded("counting", 3),
    Graded(KBest(2), 1),
    Product("real", "fuzzy", "security"),
    Product("bitset64", "counting"),
    Product("tropical", Signed("viterbi"), "boolean"),
    Product("boolean", "boolean"),
]

FLAGS = ("idempotent", "absorptive", "times_idempotent", "naturally_ordered", "selective", "ring")

# The table of flags in the specification: I A M O S, and r for a ring.
STATED = {
    "real": "r",
    "modular-integer": "r",
    "expectation": "r",
    "non-negative": "O",
    "log": "O",
    "counting": "O",
    "k-best": "O",
    "boolean": "IAMOS",
    "bottleneck": "IAMOS",
    "security": "IAMOS",
    "fuzzy": "IAMOS",
    "bitset64": "IAMO",
    "viterbi": "IAOS",
    "tropical": "IAOS",
    "lukasiewicz": "IAOS",
    "max-times": "IOS",
    "min-plus": "IOS",
    "arctic": "IOS",
}


def tolerance(semiring: Semiring) -> float | None:
    """Exact where the semiring says that its examples are; else the default, 64 units in the last place."""
    return 0.0 if semiring.exact else None


@pytest.mark.guarantee("every semiring keeps the axioms, and the laws of the flags and operations that it states")
@pytest.mark.parametrize("semiring", VARIANTS, ids=repr)
def test_every_promised_law_holds_on_all_triples_of_examples(semiring):
    check_laws(semiring, tolerance=tolerance(semiring))


def test_every_registered_semiring_is_tried():
    registered = {name for name in semirings.names() if issubclass(type(semirings.get(name)), Semiring)}
    assert set(NAMES) <= registered
    for name in sorted(registered - set(NAMES)):
        if isinstance(semirings.get(name).exact_values(), Tensor):
            check_laws(semirings.get(name))


@pytest.mark.parametrize("name", STATED)
def test_flags_are_those_of_the_specification(name):
    semiring = semirings.get(name)
    stated = {flag for flag, letter in zip(FLAGS, "IAMOSr", strict=True) if letter in STATED[name]}
    assert {flag for flag in FLAGS if getattr(semiring, flag)} == stated


@pytest.mark.parametrize("semiring", VARIANTS, ids=repr)
def test_every_flag_that_is_not_stated_fails_on_the_examples(semiring):
    """The other way round: the examples are rich enough to tell that plus is not idempotent, one not absorbing."""
    for flag in ("idempotent", "absorptive"):
        if not getattr(semiring, flag):
            law = next(law for law in LAWS if law.flag == flag)
            with pytest.raises(LawError, match=law.name):
                check_law(JudgedAlgebra(semiring, semiring.exact_values(), tolerance(semiring) or 0.0), law)


@st.composite
def expressions(draw, semiring: Semiring, depth: int = 2) -> Tensor:
    """An element made of exact values by plus and times: few, so that nothing is rounded."""
    values = semiring.exact_values()
    if depth == 0 or draw(st.booleans()):
        at = draw(st.integers(0, len(values) - 1))
        return values[at : at + 1]
    operation = draw(st.sampled_from([semiring.plus, semiring.times]))
    return operation(draw(expressions(semiring, depth - 1)), draw(expressions(semiring, depth - 1)))


@settings(max_examples=120, deadline=None)
@given(st.sampled_from([v for v in VARIANTS if v.exact]), st.data())
def test_laws_hold_on_what_plus_and_times_make_of_the_examples(semiring, data):
    """The examples generate a subalgebra of the carrier, on which the laws must hold too."""
    found = torch.cat([data.draw(expressions(semiring)) for _ in range(3)])
    check_laws(semiring, found, tolerance=None)
    assert semiring.outside(found) is None


@pytest.mark.guarantee("a semiring's fast sum equals the pairwise fold of plus, on any axis and over nothing")
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VARIANTS), st.integers(0, 7), st.integers(0, 2), st.data())
def test_sum_is_the_pairwise_fold_on_any_axis(semiring, length, axis, data):
    """A fast reduction may replace the fold of the base class only where both give the same."""
    values = semiring.exact_values()
    shape = [2, 3]
    shape.insert(axis, length)
    picks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=6 * length, max_size=6 * length))
    terms = values[torch.tensor(picks, dtype=torch.int64)].reshape(*shape, *semiring.element_shape)
    fast, fold = semiring.sum(terms, axis), Semiring.sum(semiring, terms, axis)
    assert fast.dtype == fold.dtype == terms.dtype
    assert fast.shape == (2, 3, *semiring.element_shape)
    if semiring.exact:
        assert torch.equal(fast, fold)
    else:
        torch.testing.assert_close(fast, fold, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_the_dtype_of_the_evaluation_is_kept(name, dtype):
    semiring = semirings.get(name)
    values = semiring.exact_values(dtype)
    assert values.dtype == semiring.element_dtype(dtype)
    for found in (semiring.plus(values, values), semiring.times(values, values), semiring.sum(values, 0)):
        assert found.dtype == values.dtype


# --- semirings that are none -----------------------------------------------------------------------------------------


class Broken(Semiring):
    """A semiring whose parts a test replaces one by one."""

    name = "broken"
    zero, one = 0.0, 1.0

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y


def broken(**parts: object) -> Semiring:
    """Return a semiring like the reals with the given methods and attributes."""
    return type("Broken", (Broken,), parts)()


CASES = {
    "idempotence of ⊕": broken(idempotent=True),
    "absorption": broken(absorptive=True),
    "idempotence of ⊗": broken(times_idempotent=True),
    "selectivity": broken(selective=True),
    "natural order": broken(naturally_ordered=True),
    "commutativity of ⊕": broken(plus=lambda _, x, y: torch.where(x == 0, y, torch.where(y == 0, x, x))),
    "associativity of ⊕": broken(plus=lambda _, x, y: torch.where((x == 0) | (y == 0), x + y, (x + y) / 2)),
    "associativity of ⊗": broken(
        times=lambda _, x, y: torch.where(x * y * (x - 1) * (y - 1) == 0, x * y, 2 * x * y + x)
    ),
    "distributivity": broken(plus=lambda _, x, y: torch.where(x == 0, y, torch.where(y == 0, x, x + y + 1))),
    "annihilation": broken(zero=float("-inf"), plus=lambda _, x, y: torch.maximum(x, y)),
    "identity of ⊕": broken(zero=5.0),
    "identity of ⊗": broken(one=2.0),
    "the sum as a fold": broken(sum=lambda _, x, dim: x.mean(dim)),
    "the empty sum": broken(sum=lambda _, x, dim: x.sum(dim) if x.shape[dim] else x.new_ones(len(x))),
    "difference of equals": broken(naturally_ordered=False, monus=lambda _, x, y: x - y + 1, ring=True),
    "residuation": broken(residual=lambda _, x, y: x * y),
    "star": broken(star=lambda _, x: 1 + x),
}


@pytest.mark.guarantee("a law that a semiring breaks is named, with the values and both sides")
@pytest.mark.parametrize("law", CASES)
def test_a_broken_law_is_named_with_its_values(law):
    with pytest.raises(LawError, match=r"breaks .*, at x = .* against ") as caught:
        check_laws(CASES[law], [-1.0, 2.0, 3.0])
    assert law in str(caught.value) or law == "difference of equals"


def test_matrices_are_a_semiring_that_does_not_commute():
    swap, shift = [[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]
    parts = (torch.add, torch.matmul, torch.zeros(2, 2), torch.eye(2))
    semirings.make(*parts, examples=[swap, shift], commutative=False)
    with pytest.raises(
        LawError, match=r"commutativity of ⊗, x ⊗ y = y ⊗ x, at x = \[\[0.0, 1.0\], \[0.0, 0.0\]\].*commut"
    ):
        semirings.make(*parts, examples=[swap, shift])


def test_a_nan_breaks_a_law():
    """inf annihilates nothing in the reals: inf * 0 is NaN, and is told as such."""
    with pytest.raises(LawError, match=r"annihilation.*x = inf: nan against 0"):
        check_laws(semirings.get("real"), [float("inf")])


def test_laws_on_given_floats_hold_up_to_rounding_and_not_exactly():
    real = semirings.get("real")
    check_laws(real, [0.1, 0.2, 0.3])
    with pytest.raises(LawError, match="associativity"):
        check_laws(real, [0.1, 0.2, 0.3], tolerance=0)


# --- make ------------------------------------------------------------------------------------------------------------

INF = float("inf")


def test_a_made_semiring_works():
    widest = semirings.make(torch.maximum, torch.minimum, -INF, INF, name="widest", idempotent=True, selective=True)
    x = torch.tensor([[1.0, 5.0], [3.0, -2.0]])
    assert widest.sum(x, 0).tolist() == [3.0, 5.0]
    assert widest.sum(x[:0], 0).tolist() == [-INF, -INF]
    assert widest.name == "widest"
    assert semirings.get(widest) is widest
    check_laws(widest, [-1.0, 2.0])


def test_a_made_semiring_may_have_wide_elements():
    def pair_times(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([x[..., 0] * y[..., 0], x[..., 0] * y[..., 1] + x[..., 1] * y[..., 0]], dim=-1)

    dual = semirings.make(
        torch.add, pair_times, torch.zeros(2), torch.tensor([1.0, 0.0]), name="dual", examples=[[2, 3]]
    )
    assert dual.element_shape == (2,)
    assert dual.sum(torch.ones(3, 4, 2), 1).tolist() == [[4.0, 4.0]] * 3


@pytest.mark.guarantee("a semiring whose zero does not annihilate, or with a false flag, is refused when it is made")
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"zero": -1e9, "plus": torch.maximum, "times": torch.add, "one": 0.0}, "0 ⊕ x = x|annihilation"),
        ({"zero": -INF, "plus": torch.maximum}, "annihilation"),
        ({"zero": 0.0, "plus": torch.maximum, "times": torch.add, "one": 0.0}, "both zero and one"),
        ({"idempotent": True}, "'idempotent'"),
        ({"absorptive": True}, "'absorptive'"),
        ({"plus": torch.mul, "times": torch.add, "zero": 1.0, "one": 0.0}, "annihilation"),
    ],
)
def test_a_false_promise_is_refused_at_once(parts, message):
    with pytest.raises(LawError, match=message):
        semirings.make(**{"plus": torch.add, "times": torch.mul, "zero": 0.0, "one": 1.0, **parts})


def test_examples_find_what_zero_and_one_do_not():
    parts = {
        "plus": torch.maximum,
        "times": lambda x, y: torch.where((x == 1) | (y == 1), x * y, x * x * y),
        "zero": 0.0,
    }
    semirings.make(**parts, one=1.0)
    with pytest.raises(LawError, match=r"x ⊗ y = y ⊗ x, at x = 0.5, y = 0.25|associativity"):
        semirings.make(**parts, one=1.0, examples=[0.5, 0.25])


@pytest.mark.guarantee("an operation of a semiring that changes the dtype is refused")
def test_an_operation_that_changes_the_dtype_is_refused():
    with pytest.raises(DTypeError, match=r"torch.float64 into torch.bool"):
        semirings.make(torch.logical_or, torch.logical_and, 0.0, 1.0)


def test_an_unknown_flag_is_refused():
    with pytest.raises(ValueError, match=r"'idempotnet' is no flag.*absorptive"):
        semirings.make(torch.add, torch.mul, 0.0, 1.0, idempotnet=True)
