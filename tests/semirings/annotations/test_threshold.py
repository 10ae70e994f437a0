"""The threshold, to the last bit and layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from provnet import semirings
from provnet.errors import OptionError
from provnet.semirings.annotations.by_path import choose
from provnet.semirings.annotations.support import Support
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.counting import Counting


@dataclass
class Coefficients:
    """Edges that have nothing but d."""

    d: Tensor
    present: Tensor | None = None
    defined: Tensor | None = None

    @property
    def p(self) -> Tensor:
        return self.d

    @property
    def z(self) -> Tensor:
        return torch.ones_like(self.d[..., 0])


BOOLEAN = semirings.get("boolean")


@given(
    st.floats(width=32, allow_nan=False),
    st.floats(allow_nan=False),
    st.booleans(),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_a_coefficient_passes_as_python_says(d, theta, strict, absolute, dtype):
    """In the dtype of d: θ is the nearest float of it, but never 0 for want of a smaller one."""
    passes = Threshold(theta, strict=strict, absolute=absolute).passes(torch.tensor([d], dtype=dtype)).item()
    size = abs(d) if absolute else d
    near = torch.tensor(theta, dtype=dtype).item()
    if near == 0 != theta:  # then no float lies between 0 and θ, and the exact comparison decides
        near = theta
    assert passes == (size > near if strict else size >= near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("theta", [0.1, 0.3, 0.7, 1e-9, 1 / 3])
def test_a_coefficient_equal_to_theta_passes_in_every_dtype(theta, dtype):
    d = torch.tensor([theta], dtype=dtype)
    assert Threshold(theta).passes(d).item()
    assert not Threshold(theta, strict=True).passes(d).item()


def test_a_theta_below_the_smallest_float_still_refuses_zero():
    zero = torch.zeros(1)
    assert not Threshold(1e-60).passes(zero).item()
    assert not Threshold(1e-60, strict=True).passes(zero).item()
    assert Threshold(0.0).passes(zero).item()
    assert Threshold(-1e-60, strict=True).passes(zero).item()


def test_the_default_is_that_of_the_papers():
    assert Threshold().theta == 1e-9
    assert Threshold().passes(torch.tensor([1e-9, 0.99e-9, -1.0])).tolist() == [True, False, False]


@pytest.mark.guarantee("a threshold that is NaN or no number is refused")
@pytest.mark.parametrize("theta", [math.nan, {"fc1": math.nan}, "high", None, {"fc1": "high"}])
def test_a_theta_that_is_no_number_is_refused(theta):
    with pytest.raises(OptionError, match="θ"):
        Threshold(theta)


@pytest.mark.guarantee("a threshold may differ by layer, by name or glob")
def test_theta_differs_by_layer_by_name_and_by_glob():
    theta = Threshold({"features.0": 0.5, "features.*": 0.25, "fc?": 0.125}, default=0.75, strict=True, absolute=True)
    found = {path: theta.at(path) for path in ("features.0", "features.3", "fc1", "head")}
    assert [t.theta for t in found.values()] == [0.5, 0.25, 0.125, 0.75]
    assert all(t.strict and t.absolute and t.form == "threshold" for t in found.values())
    assert theta.patterns() == ("features.0", "features.*", "fc?")
    assert Threshold({"fc1": 0.5}).at("fc2").theta == 1e-9
    with pytest.raises(OptionError, match=r"differs by layer.*at\(path\)"):
        theta.passes(torch.zeros(1))


def test_an_exact_name_wins_over_a_glob_that_it_looks_like():
    assert choose({"*": 1, "lstm[0]": 2}, "lstm[0]", 0) == 2
    assert choose({"lstm[0]": 2}, "lstm0", 0) == 2  # as a glob, [0] is a set of characters
    assert choose({"a.*": 1, "*": 2}, "a.b", 0) == 1
    assert choose({}, "a", 0) == 0


@pytest.mark.parametrize("name", ["boolean", "counting", "viterbi", "bottleneck", "tropical", "signed", "security"])
def test_one_and_zero_are_the_semirings_own(name):
    semiring = semirings.get(name)
    dtype = semiring.element_dtype(torch.float32)
    mask = torch.tensor([True, True, False, True])
    elements = Threshold(0.5)(Coefficients(torch.tensor([0.5, 0.4, 1.0, 2.0]), present=mask), semiring, dtype)
    like = torch.empty((), dtype=dtype)
    one, zero = semiring.full((), semiring.one, like), semiring.full((), semiring.zero, like)
    assert elements.dtype == dtype
    assert torch.equal(elements, torch.stack([one, zero, zero, one]))


def test_residues_take_it_too():
    exact = Counting("exact", bits=60)
    elements = Threshold(0.5)(Coefficients(torch.tensor([0.5, 0.4])), exact, torch.int64)
    assert exact.decode(elements).tolist() == [1, 0]


@pytest.mark.guarantee("an undefined edge is zero at any threshold")
def test_undefined_edges_are_zero_at_any_theta():
    """z = 0 leaves d undefined: written 0, which θ <= 0 would let pass."""
    edges = Coefficients(torch.zeros(3), defined=torch.tensor([True, False, True]))
    assert Threshold(-1.0)(edges, BOOLEAN, torch.bool).tolist() == [True, False, True]
    assert (
        Threshold().lost(Coefficients(torch.zeros(2, 2), defined=torch.tensor([[True, False], [False, False]])))
        is not None
    )


def test_support_is_a_threshold_that_tells_which_edges_have_a_variable():
    edges = Coefficients(torch.tensor([0.5, 0.1]))
    assert Support(0.2)(edges, BOOLEAN, torch.bool).tolist() == [True, False]
    assert isinstance(Support({"fc1": 0.5}).at("fc1"), Support)
    assert Support().form == "threshold"


def test_equal_thresholds_share_their_work_and_others_do_not():
    assert Threshold(0.5).key() == Threshold(0.5).key()
    keys = {
        t.key() for t in (Threshold(), Threshold(0.5), Threshold(0.5, strict=True), Threshold({"a": 0.5}), Support(0.5))
    }
    assert len(keys) == 5
    assert repr(Threshold(0.5, strict=True)) == "Threshold(0.5, strict=True)"
