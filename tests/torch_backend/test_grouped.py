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
from provnet.circuit.conventions import Conventions
from provnet.circuit.einsums import Einsum, einsum_wiring
from provnet.rules.lrp import get as get_rule
from provnet.semirings.annotations import Threshold
from provnet.torch_backend.blocks.tiling import tiles
from provnet.torch_backend.contractions.grouped import grouped
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


class Masked(nn.Module):
    """Softmax of scores, some of them masked, times values: each example has a mask of its own."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, scores: Tensor, values: Tensor) -> Tensor:
        chances = scores.masked_fill(self.mask, -torch.inf).softmax(-1)
        return torch.einsum("bri,bif->brf", chances, values).flatten(1)


ROWS, ENTRIES, FEATURES = 12, 9, 4


@pytest.fixture(scope="module")
def masked() -> tuple[provnet.Circuit, Tensor, Tensor, Tensor]:
    """Return the circuit of three examples, the mask, the probabilities and the values."""
    scores, values = seeded(0, 3, ROWS, ENTRIES), seeded(1, 3, ENTRIES, FEATURES)
    mask = seeded(2, 3, ROWS, ENTRIES) > 0.2
    mask[..., 0] = False
    chances = scores.masked_fill(mask, -torch.inf).softmax(-1)
    return provnet.trace(Masked(mask), scores, values), mask, chances, values


@pytest.mark.guarantee("masks of each example's own hold on products of several channels, on every route and in tiles")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("row", "feature"), [(0, 1), (7, 3)])
def test_masks_by_example_on_products_of_several_channels(
    masked: tuple[provnet.Circuit, Tensor, Tensor, Tensor], row: int, feature: int, engine: str
) -> None:
    """Output (row, feature) is fed by entry i of the values where the mask lets it, with p_i = chance · value."""
    circuit, mask, chances, values = masked
    every = Threshold(-1e30)
    for semiring, route, memory in product(("boolean", "counting", "viterbi", "real"), ("auto", "reference"), (0, 1)):
        given: dict[str, Any] = {"annotation": every if semiring in ("boolean", "counting") else None, "route": route}
        given |= {"memory": 1 << 16} if memory else {}  # less than the block takes: it is pulled in tiles
        with by(engine):
            found = circuit.evaluate(semiring, (row * FEATURES + feature), products="value", **given)["values"]
        for example in range(3):
            terms = [float(chances[example, row, i] * values[example, i, feature]) for i in range(ENTRIES)]
            here = [not bool(mask[example, row, i]) for i in range(ENTRIES)]
            total, most = sum(terms), max(map(abs, terms))
            twin = {"real": [t / total for t in terms], "viterbi": [abs(t) / most for t in terms]}.get(semiring, here)
            wanted = torch.zeros(ENTRIES, FEATURES, dtype=torch.float64)
            wanted[:, feature] = torch.tensor(twin, dtype=torch.float64)
            torch.testing.assert_close(found[example].double(), wanted, rtol=1e-12, atol=1e-15)


def test_the_masked_products_are_what_is_meant(masked: tuple[provnet.Circuit, Tensor, Tensor, Tensor]) -> None:
    """Each example's weights have a mask of their own, and as one map of groups several channels share their sources.
    Tiles of it and look-ups of single outputs say the same, and as many edges are there as the masks let through."""
    workspace = masked[0].session.workspace(torch.float64, get_rule("zero"), Conventions(products="value"))
    (index,) = [n for n, block in enumerate(workspace.circuit.blocks) if "bmm" in block.op or "einsum" in block.op]
    parts = workspace.prepared(index, get_rule("zero")).parts
    (part,) = [one for one in parts if one.weight_padding is not None]
    assert part.weight_padding is not None
    assert part.weight_padding.dim() == 2
    whole = grouped(part)
    assert whole is not None
    one, there = whole.prepared, 0
    assert one.block.wiring.channels == ROWS
    for tile, examples, sources in tiles(one, 64):
        edges = one.tile(tile, examples, sources)
        single = one.at(one.outputs(tile).reshape(-1), examples)
        assert edges.present is not None
        assert single.present is not None
        shape = edges.d.shape
        assert torch.equal(edges.present.expand(shape).flatten(1, 2), single.present.expand(single.d.shape))
        assert torch.equal(edges.d.flatten(1, 2), single.d)
        there += int(edges.present.expand(shape).sum())
    assert there == FEATURES * int((~masked[1]).sum())
