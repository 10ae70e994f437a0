"""What each annotation function makes of the inputs of a neuron, against plain loops written from the definitions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from provnet import semirings
from provnet.errors import DTypeError, OptionError, UnknownNameError, UnsupportedOperationError, ValuationError
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.conserving import Conserving
from provnet.semirings.annotations.each import Each
from provnet.semirings.annotations.expectation_pair import ExpectationPair
from provnet.semirings.annotations.graded_element import GradedElement
from provnet.semirings.annotations.identity import Identity
from provnet.semirings.annotations.level import Level
from provnet.semirings.annotations.many_thresholds import SPREAD, Thresholds
from provnet.semirings.annotations.max_normalised import MaxNormalised
from provnet.semirings.annotations.neg_log import NegLog
from provnet.semirings.annotations.signed_parts import SignedParts
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.bitset64 import Bitset64
from provnet.semirings.expectation import Expectation
from provnet.semirings.graded import Graded
from provnet.semirings.k_best import KBest
from provnet.semirings.product import Product
from provnet.semirings.security import Security
from provnet.semirings.signed import Signed

INF = math.inf


@dataclass
class Neuron:
    """The edges of some neurons under LRP-0: d = p / z, undefined where z = 0."""

    p: Tensor
    present: Tensor | None = None

    @property
    def z(self) -> Tensor:
        p = self.p if self.present is None else torch.where(self.present, self.p, torch.zeros_like(self.p))
        return p.sum(dim=-1)

    @property
    def defined(self) -> Tensor:
        return (self.z != 0).unsqueeze(-1).expand(self.p.shape)

    @property
    def d(self) -> Tensor:
        return torch.where(self.defined, self.p / self.z.unsqueeze(-1), torch.zeros_like(self.p))


def elements(annotation: Annotation | str | None, semiring: str | semirings.Semiring, neuron: Neuron) -> Tensor:
    """Return what the annotation function gives, in float64 where the semiring takes floats."""
    algebra = semirings.get(semiring)
    return annotations.resolve(annotation, algebra)(neuron, algebra, algebra.element_dtype(torch.float64))


def neuron(*p: float, present: list[bool] | None = None) -> Neuron:
    return Neuron(torch.tensor(p, dtype=torch.float64), None if present is None else torch.tensor(present))


CONTRIBUTIONS = st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 1.0, 2.0, 8.0]), min_size=1, max_size=6)


@given(CONTRIBUTIONS, st.data())
def test_the_defaults_are_what_the_catalogue_says(p, data):
    """A loop over the edges, in plain Python, for every default that is one number."""
    present = data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p)))
    z = sum(x for x, here in zip(p, present, strict=True) if here)
    largest = max([abs(x) for x, here in zip(p, present, strict=True) if here], default=0.0)
    for name in (
        "real",
        "boolean",
        "counting",
        "viterbi",
        "tropical",
        "bottleneck",
        "non-negative",
        "log",
        "max-times",
    ):
        expected = []
        for x, here in zip(p, present, strict=True):
            d = x / z if z else None
            share = abs(x) / largest if largest else 0.0
            expected.append(
                {
                    "real": d if d is not None else 0.0,
                    "boolean": d is not None and d >= 1e-9,
                    "counting": int(d is not None and d >= 1e-9),
                    "viterbi": share,
                    "tropical": -math.log(share) if share else INF,
                    "bottleneck": d if d is not None else -INF,
                    "non-negative": max(d, 0.0) if d is not None else 0.0,
                    "log": math.log(d) if d is not None and d > 0 else -INF,
                    "max-times": abs(d) if d is not None else 0.0,
                }[name]
                if here
                else semirings.get(name).zero
            )
        found = elements(None, name, neuron(*p, present=present))
        assert found.tolist() == pytest.approx(expected, rel=1e-15, abs=0)


def test_costs_and_scores_are_logarithms_of_coefficients():
    edges = neuron(1.0, -2.0, 0.0, 2.0)
    assert elements(None, "arctic", edges).tolist() == [0.0, math.log(2.0), -INF, math.log(2.0)]
    assert elements(None, "min-plus", edges).tolist() == [0.0, -math.log(2.0), INF, -math.log(2.0)]


def test_the_largest_share_is_one_bias_included_absent_edges_not():
    edges = neuron(1.0, -4.0, 100.0, 2.0, present=[True, True, False, True])
    assert elements(MaxNormalised(), "viterbi", edges).tolist() == [0.25, 1.0, 0.0, 0.5]
    assert elements(NegLog(), "tropical", edges).tolist() == [-math.log(0.25), 0.0, INF, -math.log(0.5)]
    assert math.copysign(1.0, elements(NegLog(), "tropical", edges)[1].item()) == 1.0


def test_a_neuron_whose_contributions_all_are_zero_gives_nothing():
    assert elements(None, "viterbi", neuron(0.0, 0.0)).tolist() == [0.0, 0.0]
    assert elements(None, "tropical", neuron(0.0, 0.0)).tolist() == [INF, INF]
    assert elements(None, "viterbi", neuron(3.0, present=[False])).tolist() == [0.0]
    assert elements(None, "viterbi", Neuron(torch.zeros(2, 0))).shape == (2, 0)


def test_what_uses_p_goes_on_where_d_is_undefined():
    cancelling = neuron(1.0, -1.0)
    assert elements(None, "viterbi", cancelling).tolist() == [1.0, 1.0]
    assert elements(None, "bottleneck", cancelling).tolist() == [-INF, -INF]
    assert elements(None, "real", cancelling).tolist() == [0.0, 0.0]
    assert MaxNormalised().lost(cancelling) is None
    lost = Identity().lost(cancelling)
    assert lost is not None
    assert lost.tolist() is True


@pytest.mark.guarantee("an absent edge is the semiring's zero under every annotation function, and none gives a NaN")
@pytest.mark.parametrize("name", annotations.names())
def test_no_nan_and_zero_on_absent_edges_in_every_semiring_that_names_it(name):
    """In the semirings whose default it is, with absent, undefined and zero edges side by side."""
    p = torch.tensor([[1.0, -1.0, 5.0], [0.0, 0.0, 5.0], [2.0, -0.5, 5.0]], dtype=torch.float64)
    edges = Neuron(p, torch.tensor([True, True, False]).expand(3, 3))
    for semiring in (semirings.get(other) for other in semirings.names()):
        if semiring.annotation == name:
            found = elements(None, semiring, edges)
            assert found.shape == (3, 3, *semiring.element_shape)
            assert semiring.outside(found) is None
            assert torch.equal(found[:, 2], semiring.full((3,), semiring.zero, found))


def test_levels_count_the_bounds_that_are_not_reached():
    edges = neuron(0.5, 0.2, 0.0005, 0.0, -0.0005, 0.3)
    assert elements(Level((0.4, 0.1, 1e-4)), Security(3), edges).tolist() == [0, 1, 2, 3, 3, 1]
    assert elements(Level((0.4, 0.1)), Security(5), edges).tolist() == [0, 1, 5, 5, 5, 1]
    with pytest.raises(OptionError, match="each below"):
        Level((0.1, 0.4))
    with pytest.raises(ValuationError, match=r"security.*from 0 to 2"):
        Level.__call__(
            type("Other", (Level,), {"name": "other"})((0.4, 0.1, 0.05, 1e-4)), edges, Security(2), torch.int64
        )


def test_each_bit_is_one_threshold():
    bits = Bitset64()
    edges = neuron(0.5, 0.3, 0.2, -0.1, 0.1)
    found = bits.unpack(elements(None, bits, edges))
    for i, theta in enumerate(SPREAD):
        assert torch.equal(found[:, i], elements(Threshold(theta), "boolean", edges))
    assert torch.equal(bits.pack(found), elements(None, bits, edges))
    few = elements(Thresholds([0.15, 0.4]), bits, edges)
    assert few.tolist() == [3, 1, 1, 0, 0]
    with pytest.raises(OptionError, match="1 to 64"):
        Thresholds([0.1] * 65)


# --- wide elements ---------------------------------------------------------------------------------------------------


def test_the_signs_are_kept_apart_under_one_normaliser():
    edges = neuron(4.0, -2.0, 0.0)  # z = 2, so d = 2, -1, 0
    assert elements(None, Signed(), edges).tolist() == [[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert elements(None, Signed("viterbi"), edges).tolist() == [[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]
    assert elements(None, Signed("boolean"), edges).tolist() == [[True, False], [False, True], [False, False]]
    assert (
        elements(SignedParts(Threshold(1.5)), Signed("boolean"), edges).tolist()
        == [[True, False]] + [[False, False]] * 2
    )
    negative = neuron(-4.0, 2.0)  # z = -2: the same coefficients
    assert elements(None, Signed("viterbi"), negative).tolist() == [[1.0, 0.0], [0.0, 0.5]]
    with pytest.raises(OptionError, match="Signed"):
        elements(SignedParts(), "real", edges)


@given(CONTRIBUTIONS)
def test_the_signed_net_is_the_coefficient(p):
    edges = neuron(*p)
    signed = Signed("real")
    assert torch.equal(signed.net(elements(None, signed, edges)), elements("identity", "real", edges))


def test_bound_functions_use_what_their_inner_ones_use():
    assert annotations.resolve(None, Signed("viterbi")).uses == "p"
    assert annotations.resolve(None, Signed("real")).uses == "d"
    assert annotations.resolve(None, KBest(2, "tropical")).uses == "p"
    lost = annotations.resolve(None, Signed("real")).lost(neuron(1.0, -1.0))
    assert lost is not None
    assert lost.item()
    assert annotations.resolve(None, Signed("viterbi")).lost(neuron(1.0, -1.0)) is None
    by_layer = SignedParts(Threshold({"fc1": 0.25}))
    assert by_layer.patterns() == ("fc1",)
    assert by_layer.at("fc1").key() == SignedParts(Threshold(0.25)).key()


def test_an_edge_is_one_path_of_its_cost():
    edges = neuron(3.0, 1.0)
    assert elements(None, KBest(3), edges).tolist() == [[1.0, 0.0, 0.0], [1 / 3, 0.0, 0.0]]
    assert elements(None, KBest(2, "tropical"), edges)[:, 1].tolist() == [INF, INF]
    assert elements(None, Graded("real", 2), edges).tolist() == [[0.0, 0.75, 0.0], [0.0, 0.25, 0.0]]
    assert elements(GradedElement(cost=0), Graded("real", 1), edges).tolist() == [[0.75, 0.0], [0.25, 0.0]]
    assert elements(GradedElement(cost=7), Graded("real", 1), edges).tolist() == [[0.0, 0.0]] * 2  # cut off
    priced = GradedElement(cost={"fc*": 2})
    assert (priced.at("fc1").cost, priced.at("conv").cost, priced.patterns()) == (2, 1, ("fc*",))
    with pytest.raises(OptionError, match="whole number"):
        GradedElement(cost=-1)


def test_an_expectation_pairs_d_with_its_surprise():
    edges = neuron(3.0, 1.0, 0.0)
    found = elements(None, Expectation(), edges)
    assert found[:, 0].tolist() == [0.75, 0.25, 0.0]
    assert found[:, 1].tolist() == pytest.approx([-0.75 * math.log(0.75), -0.25 * math.log(0.25), 0.0], abs=1e-15)
    lengths = elements(ExpectationPair(torch.ones_like), Expectation(), edges)
    assert torch.equal(lengths[:, 0], lengths[:, 1])


def test_each_component_has_its_own():
    both = Product("viterbi", "boolean", Signed("viterbi"))
    assert elements(None, both, neuron(1.0, 3.0)).tolist() == [[1 / 3, 1.0, 1 / 3, 0.0], [1.0, 1.0, 1.0, 0.0]]
    assert elements(None, both, neuron(1.0, -1.0)).tolist() == [[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]
    high = Each("max-normalised", Threshold(0.5), "signed")
    assert elements(high, both, neuron(1.0, 3.0))[:, 1].tolist() == [0.0, 1.0]
    with pytest.raises(OptionError, match=r"1 annotation functions for 3"):
        elements(Each("identity"), both, neuron(1.0))
    bound = annotations.resolve(None, Product("real", "boolean"))
    lost = bound.lost(neuron(1.0, -1.0))
    assert lost is not None
    assert lost.item()
    assert annotations.resolve(None, both).lost(neuron(1.0, -1.0)) is None


# --- conserving ------------------------------------------------------------------------------------------------------

CONSERVE = [
    "real",
    "non-negative",
    "log",
    "viterbi",
    "fuzzy",
    "lukasiewicz",
    "tropical",
    "max-times",
    "arctic",
    "min-plus",
]


@pytest.mark.guarantee(
    "what Conserving makes of an annotation function sums to one at every neuron that passes anything"
)
@pytest.mark.parametrize("name", [*CONSERVE, "bottleneck", "security", "boolean"])
@given(p=CONTRIBUTIONS)
def test_what_is_made_conserving_sums_to_one(name, p):
    """Sum of a neuron's edges = 1 suffices for conservation (GSM25 Problem 1), wherever any edge passes."""
    semiring = semirings.get(name)
    before, after = elements(None, name, neuron(*p)), elements(Conserving(), name, neuron(*p))
    total = semiring.sum(before, 0)
    expected = semiring.zero if total.item() == semiring.zero else semiring.one
    assert semiring.sum(after, 0).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert bool((after[before == semiring.zero] == semiring.zero).all()) or name == "real"


def test_conserving_is_the_known_formula():
    p = [1.0, -4.0, 5.0]
    assert (
        elements(Conserving(NegLog()), "tropical", neuron(*p)).tolist()
        == elements(None, "tropical", neuron(*p)).tolist()
    )
    assert elements(Conserving(Identity()), "bottleneck", neuron(*p)).tolist() == [0.5, -2.0, INF]
    assert elements(Conserving("absolute"), "viterbi", neuron(1.0, 4.0)).tolist() == [0.25, 1.0]

    class Opposed(Identity):
        """Sums to zero though no edge is zero: there is nothing to scale, and no NaN either."""

        def value(self, edges, semiring, dtype):
            return torch.tensor([1.0, -1.0], dtype=dtype)

    assert elements(Conserving(Opposed()), "real", neuron(1.0, 4.0)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("semiring", ["counting", "bitset64", "signed", Product("viterbi", "boolean")])
def test_conserving_is_refused_without_a_residual(semiring):
    with pytest.raises(UnsupportedOperationError, match="residual"):
        elements(Conserving(), semiring, neuron(1.0, 2.0))


# --- names and misuse ------------------------------------------------------------------------------------------------


def test_names_objects_and_defaults():
    assert set(annotations.names()) >= {"identity", "threshold", "max-normalised", "neg-log", "support", "conserving"}
    assert isinstance(annotations.get("identity"), Identity)
    theta = Threshold(0.5)
    assert annotations.get(theta) is theta
    with pytest.raises(UnknownNameError, match=r"treshold.*'threshold'"):
        annotations.get("treshold")
    with pytest.raises(OptionError, match=r"no annotation function.*identity"):
        annotations.get(0.5)  # type: ignore[arg-type]
    for name in semirings.names():
        assert semirings.get(name).annotation in annotations.names()


@pytest.mark.guarantee(
    "an annotation function that gives real numbers is refused in a semiring of whole numbers or truth values"
)
def test_real_numbers_are_not_truncated_to_fit_a_semiring():
    with pytest.raises(DTypeError, match=r"'identity'.*'boolean'.*Threshold"):
        elements("identity", "boolean", neuron(0.5))
    with pytest.raises(DTypeError, match=r"'max-normalised'.*'counting'"):
        elements("max-normalised", "counting", neuron(0.5))


@pytest.mark.guarantee("an annotation function that leaves the semiring's carrier is refused")
def test_elements_outside_the_carrier_are_refused():
    """d may exceed 1, where Viterbi's flag "absorptive" is false: its shortcuts would be silently wrong."""
    with pytest.raises(ValuationError, match=r"'identity' gives.*'viterbi'.*from 0 to 1.*-1 to 2.*'max-normalised'"):
        elements("identity", "viterbi", neuron(4.0, -2.0))
    with pytest.raises(ValuationError, match=r"'log-absolute' gives.*'real'.*finite"):
        elements("log-absolute", "real", neuron(0.0, 1.0))


def test_a_subclass_does_not_inherit_a_shortcut():
    """Fast routes are keyed on `form` and `family`; a subclass that computes something else must not keep them."""

    class Half(Identity):
        def value(self, edges, semiring, dtype):
            return super().value(edges, semiring, dtype) / 2

    class Named(Identity):
        pass

    assert (Half.form, Named.form) == ("general", "identity")
    real = type(semirings.get("real"))
    changed = type("Changed", (real,), {"times": lambda self, x, y: x * y * 2})
    assert (changed.family, type("Same", (real,), {}).family) == (None, "sum-product")
