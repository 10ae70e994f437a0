"""What the semirings' values mean, against all paths of small layered networks, one by one."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from provnet import semirings
from provnet.errors import (
    DTypeError,
    NonFiniteError,
    OptionError,
    UnknownNameError,
    UnsupportedOperationError,
    ValuationError,
)
from provnet.semirings.base import Semiring
from provnet.semirings.expectation import Expectation
from provnet.semirings.graded import Graded
from provnet.semirings.k_best import KBest
from provnet.semirings.product import Product
from provnet.semirings.signed import Signed

WIDTH = 3
WEIGHTS = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2 * WIDTH**2, max_size=2 * WIDTH**2)
REALS = st.lists(st.sampled_from([0.0, 0.25, -0.5, 2.0, -1.0]), min_size=2 * WIDTH**2, max_size=2 * WIDTH**2)


def layers(weights: list[float]) -> list[list[list[float]]]:
    """Return two layers, layer[out][in]."""
    square = WIDTH**2
    return [[weights[at + WIDTH * k : at + WIDTH * (k + 1)] for k in range(WIDTH)] for at in (0, square)]


def paths(weights: list[float], source: int) -> list[tuple[float, float]]:
    """Return the edges of each path from `source` through both layers to output 0."""
    first, second = layers(weights)
    return [(second[0][k], first[k][source]) for k in range(WIDTH)]


def values(semiring: Semiring, edges: Tensor) -> Tensor:
    """Return each source's value, R_j = plus_k (edge_jk times R_k); edges are [2 layers, out, in, *element]."""
    above = semiring.full((WIDTH,), semiring.zero, edges)
    above[0] = semiring.full((), semiring.one, edges)
    for layer in (edges[1], edges[0]):
        above = semiring.sum(semiring.times(layer, above.unsqueeze(1).expand_as(layer)), 0)
    return above


def tensor(weights: list[float]) -> Tensor:
    return torch.tensor(layers(weights), dtype=torch.float64)


@pytest.mark.guarantee("KBest gives the k best of all paths")
@given(WEIGHTS)
def test_k_best_values_are_the_best_of_all_paths(weights):
    for k in (1, 2, 5):
        semiring = KBest(k)
        edges = semiring.join([tensor(weights), *[torch.zeros_like(tensor(weights))] * (k - 1)])
        found = values(semiring, edges)
        for source in range(WIDTH):
            best = sorted((math.prod(path) for path in paths(weights, source)), reverse=True)
            assert found[source].tolist() == (best + [0.0] * k)[:k]


@given(WEIGHTS)
def test_k_cheapest_costs(weights):
    semiring = KBest(2, "tropical")
    edges = semiring.join([tensor(weights), torch.full_like(tensor(weights), math.inf)])
    for source, row in enumerate(values(semiring, edges).tolist()):
        assert row == sorted(sum(path) for path in paths(weights, source))[:2]


@pytest.mark.guarantee("Signed keeps supporting and opposing paths apart, and its net is the real value")
@given(REALS)
def test_signed_paths_are_counted_by_their_sign(weights):
    semiring = Signed()
    edges = semiring.join([tensor(weights).clamp(min=0), (-tensor(weights)).clamp(min=0)])
    found = values(semiring, edges)
    for source in range(WIDTH):
        products = [math.prod(path) for path in paths(weights, source)]
        support, oppose = sum(x for x in products if x > 0), -sum(x for x in products if x < 0)
        assert found[source].tolist() == [support, oppose]
        assert semiring.net(found[source]).item() == sum(products)
        mass, net = support + oppose, abs(support - oppose)
        expected = 1.0 if mass == 0 else math.inf if net == 0 else mass / net
        assert semiring.cancellation(found[source]).item() == expected
    assert torch.equal(semiring.net(found), values(semirings.get("real"), tensor(weights)))


@given(REALS)
def test_an_expectation_is_the_sum_over_paths(weights):
    semiring = Expectation()
    edges = semiring.join([tensor(weights), tensor(weights) * 3])  # f = 3 on every edge
    for source, (mass, total) in enumerate(values(semiring, edges).tolist()):
        products = [math.prod(path) for path in paths(weights, source)]
        assert mass == sum(products)
        assert total == sum(x * 6 for x in products)


@given(REALS, st.lists(st.integers(0, 2), min_size=2, max_size=2))
def test_graded_values_are_sorted_by_total_cost(weights, costs):
    semiring = Graded("real", 3)
    rows = []
    for layer, cost in zip(tensor(weights), costs, strict=True):
        rows.append(semiring.join([layer if c == cost else torch.zeros_like(layer) for c in range(4)]))
    found = values(semiring, torch.stack(rows))
    for source in range(WIDTH):
        total = sum(math.prod(path) for path in paths(weights, source))
        assert found[source].tolist() == [total if c == sum(costs) else 0.0 for c in range(4)]


@pytest.mark.guarantee("one Bottleneck pass answers every threshold")
@given(REALS, st.sampled_from([-1.0, -0.5, 0.0, 0.25, 2.0]))
def test_a_bottleneck_answers_every_threshold(weights, theta):
    """x -> [x >= θ] is a homomorphism from Bottleneck to the Booleans."""
    widest = values(semirings.get("bottleneck"), tensor(weights))
    assert torch.equal(widest >= theta, values(semirings.get("boolean"), tensor(weights) >= theta))


@pytest.mark.guarantee("one Bitset64 pass equals 64 Boolean ones")
@given(REALS)
def test_64_worlds_are_64_boolean_evaluations(weights):
    bits, boolean = semirings.get("bitset64"), semirings.get("boolean")
    thetas = torch.linspace(-2, 3, 64, dtype=torch.float64)
    worlds = tensor(weights).unsqueeze(-1) >= thetas
    found = bits.unpack(values(bits, bits.pack(worlds)))  # type: ignore[attr-defined]
    for i in range(64):
        assert torch.equal(found[:, i], values(boolean, worlds[..., i]))


@given(WEIGHTS)
def test_a_product_is_its_components_side_by_side(weights):
    semiring = Product("viterbi", "boolean", "fuzzy")
    parts = [tensor(weights), tensor(weights) > 0.3, tensor(weights)]
    found = semiring.split(values(semiring, semiring.join(parts, tensor(weights))))
    for component, part, mine in zip(semiring.components, parts, found, strict=True):
        assert torch.equal(mine, values(component, part))


@given(WEIGHTS)
def test_logarithms_carry_the_algebra_over(weights):
    """log: MaxTimes -> Arctic, NonNegative -> Log; -log: Viterbi -> Tropical. To 1e-12, for log rounds."""
    logs = tensor(weights).log()
    for linear, name in (("max-times", "arctic"), ("non-negative", "log"), ("viterbi", "tropical")):
        expected = values(semirings.get(linear), tensor(weights)).log()
        found = values(semirings.get(name), -logs if name == "tropical" else logs)
        torch.testing.assert_close(-found if name == "tropical" else found, expected, rtol=1e-12, atol=1e-12)


# --- traps of floating point -----------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1))
def test_lukasiewicz_keeps_one_neutral_and_stays_in_the_carrier(x, y):
    """x + y - 1 as it stands gives 1 * 1e-20 = 0."""
    times = semirings.get("lukasiewicz").times
    a, b = torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    assert times(a, torch.ones_like(a)).item() == x
    assert times(a, b).item() == times(b, a).item()
    assert 0 <= times(a, b).item() <= min(x, y)
    assert times(a, b).item() == pytest.approx(max(x + y - 1, 0), abs=2e-16)


@pytest.mark.parametrize("name", semirings.names())
def test_residual_and_monus_of_all_pairs_of_extremes_are_no_nan(name):
    """0 / 0, inf - inf and their like are the traps; zero and one are the extremes of most carriers."""
    semiring = semirings.get(name)
    exact = semiring.exact_values()
    for i, j in product(range(len(exact)), repeat=2):
        x, y = exact[i : i + 1], exact[j : j + 1]
        if semiring.offers("monus"):
            assert semiring.outside(semiring.monus(x, y)) is None
        if semiring.offers("residual") and (semiring.absorptive or not torch.equal(y, exact[:1])):
            assert semiring.outside(semiring.residual(x, y)) is None


@pytest.mark.parametrize("name", ["real", "non-negative", "log", "max-times", "min-plus", "arctic"])
def test_a_residual_by_zero_that_does_not_exist_is_refused(name):
    semiring = semirings.get(name)
    with pytest.raises(NonFiniteError, match="Mask"):
        semiring.residual(semiring.exact_values(), semiring.exact_values())


@pytest.mark.guarantee("a star that diverges is refused")
@pytest.mark.parametrize(("name", "x"), [("real", 1.0), ("non-negative", 2.0), ("log", 0.0), ("max-times", 1.5)])
def test_a_star_that_diverges_is_refused(name, x):
    with pytest.raises(NonFiniteError, match="diverges"):
        semirings.get(name).star(torch.tensor([0.0, x]))


@pytest.mark.parametrize(("name", "x"), [("min-plus", -1.0), ("arctic", 1.0)])
def test_a_cycle_that_always_helps_is_refused(name, x):
    with pytest.raises(NonFiniteError, match="diverges"):
        semirings.get(name).star(torch.tensor([0.0, x]))


@pytest.mark.parametrize("operation", ["monus", "residual"])
def test_what_a_semiring_lacks_is_said(operation):
    signed = Signed()
    assert not signed.offers(operation)
    with pytest.raises(UnsupportedOperationError, match=rf"'signed' has no {operation}"):
        getattr(signed, operation)(signed.exact_values(), signed.exact_values())


def test_what_is_outside_a_carrier_is_said():
    viterbi = semirings.get("viterbi")
    assert viterbi.outside(torch.tensor([0.0, 0.5, 1.0])) is None
    assert viterbi.outside(torch.tensor([0.5, math.nan])) == "it holds no NaN"
    assert viterbi.outside(torch.tensor([-1.0, 2.0])) == "it holds numbers from 0 to 1, these go from -1 to 2"
    assert "finite" in str(semirings.get("real").outside(torch.tensor([math.inf])))
    assert KBest(2).outside(torch.tensor([[0.25, 0.5]])) == "its rows are sorted, best first"
    assert str(Product("viterbi", "real").outside(torch.tensor([[2.0, 2.0]]))).startswith("viterbi: it holds numbers")
    with pytest.raises(DTypeError, match=r"start is torch.int64.*'viterbi' takes floats"):
        viterbi.require(torch.tensor([1]), "start")
    with pytest.raises(ValuationError, match=r"start has shape \(3,\).*\(2,\)"):
        Signed().require(torch.zeros(3), "start")


# --- options and names -----------------------------------------------------------------------------------------------


def test_names_and_objects():
    assert set(semirings.names()) >= {"real", "boolean", "counting", "viterbi", "tropical", "bottleneck"}
    assert semirings.get("viterbi").name == "viterbi"
    with pytest.raises(UnknownNameError, match=r"'viterby'.*'viterbi'"):
        semirings.get("viterby")
    with pytest.raises(OptionError, match=r"no semiring.*real"):
        semirings.get(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KBest(0), "at least 1"),
        (lambda: KBest(2, "real"), "chooses one of two"),
        (lambda: KBest(2, KBest(2)), "chooses one of two"),
        (lambda: Graded("real", 0), "at least 1"),
        (lambda: Product("real"), "two semirings"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.guarantee("a product of semirings that would round whole numbers is refused")
def test_a_product_does_not_round_whole_numbers():
    with pytest.raises(DTypeError, match=r"Counting\(\).*float64"):
        Product("viterbi", "counting")
    with pytest.raises(DTypeError, match="Bitset64"):
        Product("real", "bitset64")
    with pytest.raises(DTypeError, match="ModularInteger"):
        Product("real", "modular-integer")
    assert Product("real", "security").dtype is None
    assert Product("boolean", "counting").dtype is torch.int64
    assert Product("viterbi", semirings.counting.Counting("float64")).dtype is torch.float64  # type: ignore[attr-defined]


def test_wide_semirings_are_told_apart_by_their_parts():
    assert Signed("real").key() == Signed(semirings.get("real")).key()
    others = (
        Signed("real"),
        Signed("boolean"),
        KBest(2),
        KBest(3),
        Graded("real", 2),
        Graded("real", 3),
        Graded("log", 2),
    )
    assert len({other.key() for other in others}) == len(others)
    made = [
        semirings.make(torch.maximum, times, -1.0, 1.0) for times in (torch.minimum, lambda x, y: torch.minimum(x, y))
    ]
    assert Product("real", made[0]).key() != Product("real", made[1]).key()
    assert repr(KBest(2, "tropical")) == "KBest(2, Tropical())"
