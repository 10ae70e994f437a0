"""Layers folded over living neurons: against loops over single edges, to the bit, where numbers are at their worst.

The twin is scalar numpy, written from [GSM25] eq. 3 and 7: d = fl(fl(a w) / z), defined where it is a finite number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from provnet.circuit.blocks import Block, Operand
from provnet.circuit.weights import Stored
from provnet.circuit.wiring import dense
from provnet.rules import Zero
from provnet.semirings import annotations
from provnet.semirings.annotations import Threshold
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.lookup import get
from provnet.torch_backend import contractions
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions import living
from provnet.torch_backend.contractions.numba_engine import NUMBA
from provnet.torch_backend.routes import living_route
from provnet.torch_backend.routes.base import REGISTRY, BlockQuestion, Pulled

pytestmark = pytest.mark.skipif(not NUMBA, reason="numba is not installed")

BATCH, ROWS, NEAR, FAR = 2, 2, 37, 11
DTYPES = (torch.float32, torch.float64)
WORST = (0.0, -0.0, 1e-42, 1e-38, 1e-30, 1e-10, 1.0, 1e10, 1e30, 3e38)
ODD = (float("inf"), float("-inf"), float("nan"))
THETAS = (1e-9, 0.3, 1.0, 1e-42, 1e-31, 1e30, 1e31, 1e-320)
ROUTE = REGISTRY.get("living")()


def numbers(generator: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype, odd: bool, alike: bool) -> Any:
    """Return numbers of both signs, near one (`alike`) or of any scale, with many zeros and perhaps NaN and Inf."""
    scales = (1.0,) if alike else (*WORST, *(ODD if odd else ()))
    drawn = generator.choice(scales, shape if generator.random() < 0.5 else (1,) * len(shape))  # mixed, or one for all
    found = drawn * generator.choice([1.0, -1.0, 0.5, 3.0, -0.1], shape)
    found *= np.where(generator.random(shape) < 0.5, 1.0, generator.random(shape))  # ties, and roundings of all kinds
    return torch.tensor(np.where(generator.random(shape) < 0.6, found, 0.0)).to(dtype).numpy()


class Net:
    """One dense layer with numbers at their worst: z is not the sum, but whatever brings coefficients near θ."""

    def __init__(
        self,
        seed: int,
        dtype: torch.dtype,
        theta: float = 1.0,
        odd: bool = False,
        alike: bool = False,
        biased: bool = True,
    ) -> None:
        generator = np.random.default_rng(seed)
        self.dtype = dtype
        self.a, self.w = (numbers(generator, s, dtype, odd, alike) for s in ((BATCH * ROWS, NEAR), (FAR, NEAR)))
        self.b = numbers(generator, (FAR,), dtype, odd, alike) if biased else None
        edge = generator.integers(0, NEAR, (BATCH * ROWS, FAR))
        with np.errstate(all="ignore"):
            p = np.take_along_axis(self.a, edge, 1) * self.w[np.arange(FAR), edge]
            near = p / p.dtype.type(theta)  # d = θ to a rounding or two
            step = generator.choice([-np.inf, np.inf], near.shape).astype(near.dtype)
            near = np.where(generator.random(near.shape) < 0.5, near, np.nextafter(near, step))
            other = numbers(generator, near.shape, dtype, odd, alike)
        with np.errstate(all="ignore"):  # layers whose z are all normal numbers are folded by vectors
            other = np.where((near != 0) & np.isfinite(near), near, 1.3).astype(near.dtype) if alike else other
        self.z = other if alike else np.where(generator.random(near.shape) < 0.7, near, other)
        self.alive = generator.random(near.shape) < 0.7
        self.counts = generator.choice([1, 2, 7, 10**5, 10**9, 10**12], near.shape) * self.alive
        heights = generator.random(near.shape) * generator.choice([1.0, 1e-20, 1e-37], (len(near), 1))
        self.shares = heights.astype(self.z.dtype)
        self.shares *= self.alive

    def prepared(self) -> Prepared:
        """Return it as a route sees it."""
        wiring = dense(ROWS, NEAR, FAR)
        w = torch.tensor(self.w).reshape(-1)
        block = Block("fc", "aten.addmm", "fc", "affine", "linear", (Operand(0, wiring, Stored(w)),), 1)
        flat = [torch.tensor(x).reshape(BATCH, -1) for x in (self.a, self.z)]
        b = None if self.b is None else torch.tensor(self.b)
        return Prepared(block, Zero(), (flat[0],), b, w, (flat[1],))

    def relevance(self, semiring: str) -> Tensor:
        """Return what comes to its outputs, [batch, outputs]."""
        held = {"boolean": self.alive, "counting": self.counts, "viterbi": self.shares}[semiring]
        return torch.tensor(held).reshape(BATCH, -1)

    def edges(self) -> Iterator[tuple[int, int, int, Any]]:
        """Yield (row, output, input, contribution), the bias as the input NEAR."""
        for e in range(BATCH * ROWS):
            for k in range(FAR):
                for j in range(NEAR):
                    yield e, k, j, self.a[e, j] * self.w[k, j]
                if self.b is not None:
                    yield e, k, NEAR, self.b[k]


def asked(net: Net, semiring: str, theta: Annotation) -> Pulled | None:
    """Return what the route gives, in a block however small."""
    prepared, question = net.prepared(), BlockQuestion(get(semiring), theta)
    assert ROUTE.fits(prepared, question)
    found = ROUTE.pull(prepared, question, [net.relevance(semiring)])
    return None if found is None else found[0]


@pytest.fixture(autouse=True)
def _however_small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(living_route, "SPARSE", 1.0)
    with contractions.engine_chosen("numba"):
        yield


def passing(net: Net, theta: Threshold, relevance: Any) -> tuple[Any, Any, Any]:
    """Return (inputs with the bias behind them, lost), sums of relevance over the edges that pass, one by one."""
    sums = np.zeros((BATCH * ROWS, NEAR + 1), object)
    defined = np.zeros((BATCH * ROWS, FAR), bool)
    number = net.z.dtype.type(theta.rounded(net.dtype))
    with np.errstate(all="ignore"):
        for e, k, j, p in net.edges():
            d = p / net.z[e, k]
            defined[e, k] |= np.isfinite(d)
            size = abs(d) if theta.absolute else d
            if np.isfinite(d) and (size > number if theta.strict else size >= number):
                sums[e, j] += int(relevance[e, k])
    lost = np.where(defined, 0, relevance.astype(object))
    return sums[:, :NEAR].reshape(BATCH, -1), sums[:, NEAR].reshape(BATCH, -1).sum(1), lost.reshape(BATCH, -1).sum(1)


decisions = st.builds(
    Threshold, st.sampled_from(THETAS), strict=st.booleans(), absolute=st.booleans()
)  # fmt: skip


@pytest.mark.guarantee(
    "Boolean and counting over living neurons are a loop over single edges to the bit, whatever the numbers"
)
@pytest.mark.parametrize("semiring", ["boolean", "counting"])
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6), dtype=st.sampled_from(DTYPES), theta=decisions, odd=st.booleans(), alike=st.booleans(),
    biased=st.booleans(),
)  # fmt: skip
def test_thresholds_are_the_definitions_to_the_bit(
    semiring: str, seed: int, dtype: torch.dtype, theta: Threshold, odd: bool, alike: bool, biased: bool
) -> None:
    check_decisions(Net(seed, dtype, theta.theta or 1.0, odd, alike, biased), semiring, theta)


@pytest.mark.parametrize("semiring", ["boolean", "counting"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("strict", [False, True])
def test_thresholds_on_attained_coefficients_are_the_definitions(semiring: str, absolute: bool, strict: bool) -> None:
    for seed in range(4):
        for number in (1e-9, 0.3, 1.0):
            theta = Threshold(number, strict=strict, absolute=absolute)
            check_decisions(Net(seed, DTYPES[seed % 2], number, alike=True), semiring, theta)


def check_decisions(net: Net, semiring: str, theta: Threshold) -> None:
    """Hold the route against the definition, edge by edge."""
    found = asked(net, semiring, theta)
    inputs, bias, lost = passing(net, theta, net.counts if semiring == "counting" else net.alive)
    if semiring == "boolean":
        inputs, bias, lost = inputs > 0, bias > 0, lost > 0
    assert found is not None and found.total is not None
    assert found.inputs.tolist() == inputs.tolist()
    assert found.total.tolist() == (inputs.any(1) if semiring == "boolean" else inputs.sum(1)).tolist()
    assert (found.bias is None) == (net.b is None)
    if found.bias is not None:
        assert found.bias.tolist() == bias.tolist()
    assert (np.zeros_like(lost) if found.lost is None else found.lost).tolist() == lost.tolist()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(DTYPES),
    odd=st.booleans(),
    alike=st.booleans(),
    known=st.booleans(),
)
def test_best_products_are_the_definitions_within_8_ulp(
    seed: int, dtype: torch.dtype, odd: bool, alike: bool, known: bool
) -> None:
    check_best(Net(seed, dtype, 1.0, odd, alike), odd, known)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("size", "height"), [(1e3, 1e-37), (1e-20, 1.0), (1e-10, 1e-30), (1e-22, 1e-20)])
def test_products_near_the_denormal_numbers_are_the_definitions(size: float, height: float, known: bool) -> None:
    net = Net(11, torch.float32, alike=True)
    net.a, net.w = (x * np.float32(size) for x in (net.a, net.w))
    assert net.b is not None
    net.b = net.b * np.float32(size) * np.float32(size)
    net.shares = (np.random.default_rng(0).random(net.alive.shape) * height * net.alive).astype(np.float32)
    check_best(net, False, known)


def test_a_product_of_weights_and_shares_that_overflows_is_the_definitions() -> None:
    net = Net(11, torch.float32, alike=True)
    net.a[:, 0], net.a[:, 1], net.w[:, :2] = 0.0, 1e-38, 3e38  # m is about 3, and |w| R / m infinite for a small R / m
    net.a[:, 2:] *= np.float32(1e-3)
    net.shares = 100 * net.alive.astype(np.float32)
    check_best(net, False, False, "max-times")


def check_best(net: Net, odd: bool, known: bool, semiring: str = "viterbi") -> None:
    """Hold the route against the definition, edge by edge. `odd`: some numbers are NaN or Inf, and it may step aside.
    `known`: it is told the largest contributions."""
    prepared, question = net.prepared(), BlockQuestion(get(semiring), annotations.get("max-normalised"))
    shape, relevance = (BATCH * ROWS, FAR), net.relevance("viterbi")
    largest, wanted = np.zeros(shape, net.z.dtype), np.zeros((BATCH * ROWS, NEAR + 1), net.z.dtype)
    with np.errstate(all="ignore"):
        for e, k, _, p in net.edges():
            largest[e, k] = np.maximum(largest[e, k], abs(p))  # NaN stays
        for e, k, j, p in net.edges():
            if largest[e, k] > 0:
                wanted[e, j] = np.maximum(wanted[e, j], abs(p) / largest[e, k] * net.shares[e, k])
    if known:
        prepared.extent.contributions = torch.tensor(largest).reshape(BATCH, -1)
    pulled = ROUTE.pull(prepared, question, [relevance])
    if pulled is None:
        assert odd or not np.isfinite(largest[net.shares != 0]).all()
        return
    (found,) = pulled
    lost = np.where(largest == 0, net.shares, 0).reshape(BATCH, -1).max(1)
    inputs, bias = wanted[:, :NEAR].reshape(BATCH, -1), wanted[:, NEAR].reshape(BATCH, -1).max(1)
    assert found.bias is not None and found.total is not None
    limits = torch.finfo(net.dtype)
    for mine, its in ((found.inputs, inputs), (found.bias, bias), (found.total, inputs.max(1))):
        its = torch.tensor(its)
        assert bool(((mine - its).abs() <= 8 * limits.eps * its + 2 * limits.tiny * limits.eps).all())
    assert torch.equal(torch.zeros(BATCH, dtype=net.dtype) if found.lost is None else found.lost, torch.tensor(lost))


def test_a_count_that_floats_may_not_hold_is_left_to_others() -> None:
    net = Net(0, torch.float32, alike=True)
    net.counts[:] = 2**50
    assert asked(net, "counting", Threshold(1.0)) is None


def test_counts_that_float32_rounds_are_held_in_float64() -> None:
    net = Net(1, torch.float32, alike=True)
    net.counts = (2**24 + 1) * net.alive
    inputs, _, _ = passing(net, Threshold(1e-9), net.counts)
    found = asked(net, "counting", Threshold(1e-9))
    assert found is not None and found.inputs.tolist() == inputs.tolist() and (inputs % 2).any()


def test_layers_of_living_neurons_are_left_to_those_that_fold_them_in_registers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(living_route, "SPARSE", 1 / 3)
    net = Net(3, torch.float32, alike=True)
    net.a[:, ::2] = 0
    assert all(asked(net, *question) for question in ASKED)
    net.a[:], net.counts[:], net.shares[:] = 1, 1, 1
    assert [asked(net, *question) is None for question in ASKED] == [False, True, True]


def test_layers_that_no_cache_holds_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Net(0, torch.float32).prepared()
    assert ROUTE.fits(prepared, BlockQuestion(get("boolean"), Threshold(0.1)))
    monkeypatch.setattr(living, "LARGEST", NEAR * FAR - 1)
    assert not ROUTE.fits(prepared, BlockQuestion(get("boolean"), Threshold(0.1)))


@pytest.mark.parametrize("theta", [Threshold(0.0), Threshold(-1.0), Threshold(0.5, of="share")])
def test_thresholds_that_zeros_may_pass_are_left_to_others(theta: Threshold) -> None:
    assert not ROUTE.fits(Net(0, torch.float32).prepared(), BlockQuestion(get("boolean"), theta))


def test_threads_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(5, torch.float32, alike=True)
    before, several = torch.get_num_threads(), []
    monkeypatch.setattr(living, "FEW", 0)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            several.append([asked(net, name, theta) for name, theta in ASKED])
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*several, strict=True):
        assert one is not None and other is not None
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.total, other.total)


ASKED = (
    ("boolean", Threshold(0.1)),
    ("counting", Threshold(0.1)),
    ("viterbi", annotations.get("max-normalised")),
)  # fmt: skip


def test_nothing_comes_of_nothing() -> None:
    net = Net(7, torch.float32, alike=True)
    net.alive[:], net.counts[:], net.shares[:] = False, 0, 0
    for name, theta in ASKED:
        found = asked(net, name, theta)
        assert found is not None and found.total is not None
        assert found.lost is None and not found.inputs.any() and not found.total.any()
