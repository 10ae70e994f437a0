"""A batch of products seen as one map whose groups are the examples: every label set, in every order of axes."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet.circuit.wiring import Einsum, einsum_wiring
from provnet.semirings.annotations import Threshold
from tests.nonlinear_cases import seeded
from tests.torch_backend.test_operands import SEMIRINGS, same
from tests.torch_backend.test_routes import ENGINES, by

SIZES = {"g": 2, "r": 3, "i": 2, "f": 4}


class Product(nn.Module):
    """einsum of two traced tensors of each example, by its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum(self.text, x, y).flatten(1)


TEXTS = ["bgri,bgif->bgrf", "bri,bif->brf", "bi,bif->bf", "bgi,bgi->bg", "bri,bfi->bfr", "bigr,bfig->brgf"]


def made(text: str, batch: int) -> provnet.Circuit:
    """Return the circuit of a product of small whole numbers, with zeros and ties."""
    shapes = [
        [batch if label == "b" else SIZES[label] for label in part] for part in text.partition("->")[0].split(",")
    ]
    x, y = (torch.round(2 * seeded(number, *shape)) for number, shape in enumerate(shapes))
    return provnet.trace(Product(text), x, y)


@pytest.mark.guarantee("products of each example's own matrices take fast routes and give the definition's answers")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("text", TEXTS)
def test_batches_of_products(text: str, batch: int, engine: str) -> None:
    if (text, batch) == ("bigr,bfig->brgf", 1):
        pytest.xfail("of one example alone, axes that are merged behind a product are reported unmerged")
    circuit = made(text, batch)
    for semiring, products in product(SEMIRINGS, ("half", "full")):
        annotation = Threshold(0.25) if semiring in ("boolean", "counting") else None
        given: dict[str, Any] = {"products": products, "annotation": annotation}
        with by(engine):
            fast = circuit.evaluate(semiring, 1, **given)
        slow = circuit.evaluate(semiring, 1, route="reference", **given)
        for name in circuit.sources:
            same(semiring, fast[name], slow[name])


def test_the_routes_are_fast_ones() -> None:
    """Where they are not, the agreement above says nothing."""
    with by("torch"):
        for semiring in ("viterbi", "boolean", "tropical"):
            plan = made("bgri,bgif->bgrf", 3).evaluate(semiring, 1).plan
            assert "reference" not in {step.route for step in plan if "bmm" in step.op}


ORDERS = st.sampled_from(["".join(order) for order in permutations("gri")])


@settings(max_examples=60, deadline=None)
@given(first=ORDERS, second=st.permutations("gif"), out=st.permutations("grf"))
def test_sources_of_any_order_of_axes(first: str, second: list[str], out: list[str]) -> None:
    """`Einsum.source` lists the terms that einsum sums, whatever the order of axes."""
    labels = first, "".join(second), "".join(out)
    wiring = einsum_wiring(*labels, SIZES)
    assert isinstance(wiring, Einsum)
    shapes = [[SIZES[label] for label in part] for part in labels]
    x, y = (np.random.default_rng(0).integers(-3, 4, shape) for shape in shapes[:2])
    outputs, slots = np.arange(wiring.outputs)[:, None], np.arange(wiring.fan)[None]
    source, present, weight = wiring.source(outputs, slots)
    assert present is True
    found = (x.reshape(-1)[source] * y.reshape(-1)[weight]).sum(1)
    wanted = np.einsum(f"{labels[0]},{labels[1]}->{labels[2]}", x, y)
    np.testing.assert_array_equal(found, wanted.reshape(-1))
