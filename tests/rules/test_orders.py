"""Examples whose rows lie in any order along an axis: experts that a router picks, sorted and packed sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import CrossExampleError
from provnet.rules.ops.example_layout import Order, by_table, table_of, view_layout
from tests.nonlinear_cases import fill, seeded

THRESHOLD = provnet.annotations.Threshold(0.0)


class Experts(nn.Module):
    """Each token goes to two of three experts, as it is usually written: rows are picked by `where`, and added back."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(3, 3)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)) for _ in range(3))
        self.out = nn.Linear(3, 2)
        self.double()
        for number, parameter in enumerate(self.parameters()):
            fill(parameter, 40 + number)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, 3)
        weights, chosen = self.router(rows).softmax(-1).topk(2, -1)
        result = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            token, place = torch.where(chosen == number)
            result.index_add_(0, token, expert(rows[token]) * weights[token, place, None])
        return self.out((x + result.view_as(x)).mean(1))


@pytest.fixture(scope="module")
def experts() -> tuple[nn.Module, Tensor, provnet.Circuit]:
    net, x = Experts().eval(), seeded(41, 3, 4, 3)
    return net, x, provnet.trace(net, x)


@pytest.mark.guarantee("rows that a router picks are traced in a batch, as one example at a time")
@pytest.mark.parametrize("semiring", ["real", "viterbi", "boolean", "counting"])
def test_a_batch_of_routed_tokens_is_its_examples(
    experts: tuple[nn.Module, Tensor, provnet.Circuit], semiring: str
) -> None:
    net, x, circuit = experts
    options: dict[str, Any] = {} if semiring in ("real", "viterbi") else {"annotation": THRESHOLD}
    together = circuit.evaluate(semiring, 0, **options)
    for example in range(len(x)):
        alone = provnet.trace(net, x[example : example + 1]).evaluate(semiring, 0, **options)
        torch.testing.assert_close(alone.inputs[0], together.inputs[example], rtol=1e-9, atol=1e-12)
    if semiring == "real":
        assert together.conservation().residual() < 1e-10


def test_the_derivative_of_routed_tokens_is_autograds(experts: tuple[nn.Module, Tensor, provnet.Circuit]) -> None:
    net, x, circuit = experts
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    for other in (circuit, provnet.trace(net, x, lean=True)):
        for route in ("auto", "reference"):
            found = other.evaluate("real", 0, rule="gradient", route=route).inputs
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_gates_and_files_of_routed_tokens(experts: tuple[nn.Module, Tensor, provnet.Circuit], tmp_path: Path) -> None:
    _, _, circuit = experts
    wanted = circuit.evaluate("real", 0).inputs
    gates = circuit.gates(0, batch=1)
    listed = torch.stack(list(gates.evaluate("real", gates.valuation("real")).values()))
    torch.testing.assert_close(listed, wanted[1].reshape(-1), rtol=1e-9, atol=1e-12)
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    assert torch.equal(again.evaluate("real", 0).inputs, wanted)


def test_sums_of_entries_that_differ_by_example() -> None:
    """Each example has places of its own, some with two entries, some with none; what is added to passes through."""
    places = torch.tensor([[0, 0, 2], [1, 3, 3]])
    x, weighting = seeded(42, 2, 3), seeded(43, 2, 4)

    def model(x: Tensor) -> Tensor:
        return torch.cat([x, x[:, :1]], 1).scatter_add(1, places, 2 * x)

    base = torch.cat([x, x[:, :1]], 1)
    z, wanted = model(x), torch.zeros_like(x)
    for example in range(2):
        for place in range(4):
            share = weighting[example, place] / z[example, place]
            wanted[example, place % 3] += share * base[example, place]
        for entry in range(3):
            at = int(places[example, entry])
            wanted[example, entry] += weighting[example, at] / z[example, at] * 2 * x[example, entry]
    circuit = provnet.trace(model, x)
    for route in ("auto", "reference"):
        found = circuit.evaluate("real", weighting, route=route)
        torch.testing.assert_close(found.inputs, wanted, rtol=1e-10, atol=1e-12)


def test_a_constant_by_row_goes_with_its_row() -> None:
    """The examples' rows are interleaved, and as many of each: a mistake would show in the numbers, not in a shape."""
    order, scale = torch.tensor([2, 0, 3, 1]), seeded(44, 4, 1)

    def model(x: Tensor) -> Tensor:
        rows = (x.reshape(4, 3)[order] * scale).tanh() + scale
        return rows[order.argsort()].reshape(2, 6)

    x, weighting = seeded(45, 2, 2, 3), seeded(46, 2, 6)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((model(leaf) * weighting).sum(), leaf)
    circuit = provnet.trace(model, x)
    torch.testing.assert_close(circuit.evaluate("real", weighting, rule="gradient").inputs, wanted)
    report = circuit.evaluate("real", weighting).conservation()
    assert report.residual() < 1e-10


def test_grouped_products_are_those_of_each_row() -> None:
    """torch's kernel knows single precision only."""
    weight, ends = seeded(47, 2, 16, 16).float(), torch.tensor([2, 4], dtype=torch.int32)

    def model(x: Tensor) -> Tensor:
        return torch._grouped_mm(x.reshape(4, 16)[[2, 0, 3, 1]], weight, offs=ends)[[1, 3, 0, 2]].reshape(2, 2, 16)

    def by_hand(x: Tensor) -> Tensor:
        return torch.bmm(x.reshape(4, 1, 16), weight[[0, 1, 0, 1]]).reshape(4, 16)

    x, weighting = seeded(48, 2, 2, 16).float(), seeded(49, 2, 2, 16).float()
    torch.testing.assert_close(model(x).reshape(4, 16), by_hand(x))
    one, other = (provnet.trace(f, x).evaluate("real", weighting) for f in (model, lambda x: by_hand(x).view(2, 2, 16)))
    torch.testing.assert_close(one.inputs, other.inputs, rtol=1e-3, atol=1e-4)


@pytest.mark.guarantee("experts' matrices are held once, whatever number of rows they get, in a batch that is routed")
@pytest.mark.filterwarnings("error::provnet.errors.TraceWarning")
def test_experts_share_their_matrices_among_their_rows() -> None:
    """The router is traced too; one expert has no rows, and one has those of one example alone."""
    route, weight = seeded(50, 16, 4).float(), nn.Parameter(seeded(51, 4, 16, 16).float())

    def model(x: Tensor) -> Tensor:
        rows = x.reshape(-1, 16)
        best = (rows @ route - torch.tensor([0.0, 0, 0, 99])).topk(1).indices[:, 0]
        order = best.argsort(stable=True)
        ends = torch.bincount(best, minlength=4).cumsum(0).to(torch.int32)
        return torch._grouped_mm(rows[order], weight, offs=ends)[order.argsort()].reshape(x.shape)

    x, weighting = seeded(52, 2, 3, 16).float(), seeded(53, 2, 3, 16).float()
    circuit = provnet.trace(model, x)
    experts = [block for block in circuit.session.data.blocks if block.op == "aten.mm"]
    assert all(block.weight.stored is not None for block in experts)
    assert {block.weight.stored.values.data_ptr() for block in experts if block.weight.stored} <= {
        matrix.data_ptr() for matrix in weight
    }
    leaf = x.clone().requires_grad_()
    best = (x.reshape(-1, 16) @ route - torch.tensor([0.0, 0, 0, 99])).argmax(1)
    by_hand = torch.bmm(leaf.reshape(-1, 1, 16), weight.detach()[best]).reshape(x.shape)
    (slope,) = torch.autograd.grad((by_hand * weighting).sum(), leaf)
    found = circuit.evaluate("real", weighting, "gradient").inputs
    torch.testing.assert_close(found, slope, rtol=1e-3, atol=1e-4)


@pytest.mark.guarantee("an output whose rows are sorted otherwise than the examples is refused")
def test_sorted_outputs_are_refused() -> None:
    with pytest.raises(CrossExampleError, match="sorted otherwise than the examples"):
        provnet.trace(lambda x: x[torch.tensor([1, 0])], seeded(45, 2, 3))


OWNERS = ([1, 0, 0], [0, 2, 1, 1], [1, -1, 0])


@pytest.mark.parametrize("owner", OWNERS, ids=str)
def test_views_keep_the_rows_of_their_examples(owner: list[int]) -> None:
    """Merged with entries behind, or parted again: each entry has the owner that it had."""
    layout = by_table(0, table_of(np.array(owner), 3))
    size = len(owner)
    entries = torch.arange(size * 4).reshape(size, 4)
    rows = layout.numbers_by_example(entries, 3, -1)
    for example, row in enumerate(rows.tolist()):
        assert [n for n in row if n > -1] == [n for n in range(size * 4) if owner[n // 4] == example]
    flat = view_layout(layout, (size, 4), (size * 4,), 3)
    assert flat is not None
    assert torch.equal(flat.numbers_by_example(entries.reshape(-1), 3, -1), rows)
    assert view_layout(flat, (size * 4,), (size, 4), 3) == layout
    wide = layout.order.repeated(2) if layout.order is not None else None
    assert isinstance(wide, Order)
    assert wide.once(2) == layout.order
    assert view_layout(layout, (size, 4), (size, 2, 2), 3) == layout


@pytest.mark.parametrize("form", ["jacobian", "uniform"])
def test_a_module_kept_whole_takes_no_sorted_rows_apart(form: str) -> None:
    """Side by side, rows of one example that stand for missing ones of another would count twice."""

    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 3), nn.Flatten(0))

        def forward(self, x: Tensor) -> Tensor:
            rows = x.reshape(-1, 3)[torch.tensor([3, 0, 2])]
            return x.sum(1) + self.inner(rows).sum()

    with pytest.raises(CrossExampleError, match="sorted otherwise than the examples"):
        provnet.trace(Sorted().double(), seeded(38, 2, 2, 3), opaque={"inner": form})
