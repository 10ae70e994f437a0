"""Running products and running logarithms of sums: shares by hand, autograd, and what every op keeps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import provnet
from provnet.errors import CrossExampleError
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

CASES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "products": ((2, 3), lambda x: x.cumprod(1).flip(1)),
    "products in the middle": ((2, 3, 2), lambda x: x.cumprod(-2).flip(1)),
    "logarithms": ((2, 4), lambda x: x.logcumsumexp(1).flip(1)),
    "logarithms in the middle": ((2, 3, 2), lambda x: x.logcumsumexp(1).flip(1)),
}


@pytest.mark.guarantee("running products and logarithms of sums: autograd's derivative, one answer by every route")
@pytest.mark.parametrize("name", CASES)
def test_promises(name: str) -> None:
    shape, function = CASES[name]
    keeps_its_promises(function, seeded(40, *shape))


@pytest.mark.parametrize("products", ["half", "value", "full"])
def test_a_running_product_is_shared_as_a_product_is(products: str) -> None:
    """Entry i is the product of the first i + 1, in every semiring and under every convention."""
    x, weighting = seeded(41, 2, 4), seeded(42, 2, 4)
    running = provnet.trace(lambda x: x.cumprod(1), x)
    apart = provnet.trace(lambda x: torch.stack([x[:, : i + 1].prod(1) for i in range(4)], 1), x)
    for route in ("auto", "reference"):
        for semiring, start in (("real", weighting), ("viterbi", 3), ("boolean", 2), ("counting", 1)):
            found, wanted = (one.evaluate(semiring, start, products=products, route=route) for one in (running, apart))
            torch.testing.assert_close(found.inputs, wanted.inputs)
    wide = (one.evaluate("real", weighting, products=products, dtype=torch.float32).inputs for one in (running, apart))
    torch.testing.assert_close(*wide)


def test_full_products_report_what_they_make() -> None:
    x = seeded(43, 2, 4)
    report = provnet.trace(lambda x: x.cumprod(1), x).evaluate("real", 2, products="full").conservation()
    torch.testing.assert_close(report.named["full products"], torch.full((2,), -2.0, dtype=torch.float64))


def test_a_running_product_with_a_zero_has_its_derivative() -> None:
    x = torch.tensor([[2.0, 0.0, 3.0, 5.0]], dtype=torch.float64)
    circuit = provnet.trace(lambda x: x.cumprod(1), x)
    assert circuit.evaluate("real", 3, rule="gradient").inputs.tolist() == [[0.0, 30.0, 0.0, 0.0]]


def test_shares_of_a_logarithm_of_sums_by_hand() -> None:
    """Entry i is the logsumexp of the first i + 1; masked scores have no share."""
    x = seeded(44, 2, 4)
    x[0, 1] = -torch.inf
    circuit = provnet.trace(lambda x: x.masked_fill(x < -50, -torch.inf).logcumsumexp(1), x.clamp(min=-99))
    for rule in ("zero", "gradient"):
        found = circuit.evaluate("real", 2, rule).inputs[:, :3]
        wanted = provnet.trace(
            lambda x: x.masked_fill(x < -50, -torch.inf).logsumexp(1, keepdim=True), x[:, :3].clamp(min=-99)
        )
        torch.testing.assert_close(found, wanted.evaluate("real", 0, rule).inputs)


@pytest.mark.parametrize("name", ["cumprod", "logcumsumexp"])
def test_examples_do_not_run_together(name: str) -> None:
    with pytest.raises(CrossExampleError, match="runs along axis 0"):
        provnet.trace(lambda x: getattr(x, name)(0), seeded(45, 2, 3))
