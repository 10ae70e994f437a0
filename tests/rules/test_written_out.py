"""Functions and norms that torch has no op for are one step as well: products of functions of one tensor, any norm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import provnet
from provnet.circuit.blocks import Call, Earlier, Input
from provnet.circuit.unit_functions import call_faults
from tests.nonlinear_cases import seeded
from tests.rules.test_regions import Function, Net

FUNCTIONS: dict[str, Function] = {
    "quick gelu": lambda x, w, b: x * torch.sigmoid(1.702 * x),
    "another power": lambda x, w, b: x * torch.sigmoid(x) * x,
    "a slope an entry": lambda x, w, b: x * torch.sigmoid(w * x),
    "a clamp far off": lambda x, w, b: x * torch.sigmoid(x.clamp(max=5)),
    "gated by its ReLU": lambda x, w, b: x * torch.relu(x),
    "softsign": lambda x, w, b: x / (1 + x.abs()),
    "two slopes": lambda x, w, b: (x * w) * (x * b),
}


def channels_first(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """As ConvNeXt writes it; here over the first axis behind the examples."""
    away = x - x.mean(1, keepdim=True)
    return w[:2, None] * (away / torch.sqrt(away.pow(2).mean(1, keepdim=True) + 0.1)) + b[:2, None]


NORMS: dict[str, tuple[Function, bool]] = {
    "channels first": (channels_first, True),
    "standard deviation": (lambda x, w, b: w * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 0.1), True),
    "unbiased": (lambda x, w, b: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 0.1).sqrt() + b, True),
    "root and ε": (lambda x, w, b: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 0.1), False),
    "normalize": (lambda x, w, b: F.normalize(x, dim=-1), False),
    "normalize over the first": (lambda x, w, b: F.normalize(x, dim=1), False),
    "normalize by sums": (lambda x, w, b: F.normalize(x, p=1, dim=-1), False),
    "a weight for each group": (lambda x, w, b: w[:2, None] * F.normalize(x, dim=-1), False),
    "ε outweighs": (lambda x, w, b: F.normalize(x, dim=-1, eps=50.0), False),
}


def autograd(net: nn.Module, x: Tensor, weighting: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad((net(leaf) * weighting).sum(), leaf)[0]


def derivative(net: nn.Module, tmp_path: Path) -> None:
    """Check the derivative against autograd, by every route, from a file, and where the circuit is put on a batch."""
    x, weighting = seeded(70, 3, 2, 3), seeded(71, 3, 2, 2)
    circuit, wanted = provnet.trace(net, x), autograd(net, x, weighting)
    provnet.save(circuit, tmp_path / "circuit")
    loaded = provnet.load(tmp_path / "circuit")
    assert isinstance(loaded, provnet.Circuit)
    for other in (circuit, loaded, provnet.trace(net, x[:2]).on(x), provnet.trace(net, x, lean=True)):
        for route in ("auto", "reference"):
            found = other.evaluate("real", weighting, rule="gradient", route=route).inputs
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.guarantee(
    "a product of functions of one tensor's entries is one step: a unit edge, whose slope is autograd's"
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_product_of_functions_is_one_function(name: str, tmp_path: Path) -> None:
    net = Net(FUNCTIONS[name]).eval()
    circuit = provnet.trace(net, seeded(70, 3, 2, 3))
    assert "provnet.function" in [block.op for block in circuit.data.blocks]
    assert not any(block.role == "product" for block in circuit.data.blocks)
    derivative(net, tmp_path)


def test_a_function_passes_relevance_on_as_an_activation_does() -> None:
    """Both nets have the same layers and the same activations' values; only how they are written differs."""
    written, whole = (Net(f).eval() for f in (FUNCTIONS["gated by its ReLU"], lambda x, w, b: torch.relu(x).square()))
    x = seeded(70, 3, 2, 3)
    for semiring, rule in (("real", "zero"), ("real", "attnlrp"), ("viterbi", "zero"), ("counting", "zero")):
        one, other = (provnet.trace(net, x).evaluate(semiring, (1, 0), rule=rule) for net in (written, whole))
        assert torch.equal(one.inputs, other.inputs)


def test_a_tensor_times_itself_is_a_tie_of_two_equal_factors() -> None:
    for function in (lambda x: x * x, lambda x: (lambda r: r * r)(torch.relu(x))):
        assert [row.why for row in provnet.trace(function, seeded(70, 2, 3)).summary() if row.why] == ["tie: half"]


def groups(name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a norm computes of h, and the contributions p_jk = h_j (δ_jk - 1/n) γ_k / σ, row by row."""
    function, centred = NORMS[name]
    w, b = seeded(75, 4), seeded(76, 4)
    y, zero = function(x, w, b), function(torch.zeros_like(x), w, b)
    bias = zero if bool(torch.isfinite(zero).all()) else torch.zeros_like(y)
    along = 1 if "first" in name else 2
    away = x - x.mean(along, keepdim=True) if centred else x
    factor = (y - bias) / away  # γ_k / σ
    rows, n = x.movedim(along, -1), x.shape[along]
    matrix = torch.eye(n, dtype=x.dtype) - (1 / n if centred else 0)
    return y, rows[..., None] * matrix * factor.movedim(along, -1)[..., None, :]


@pytest.mark.guarantee("a norm along any axes, by any deviation, is one step: σ is held constant, as of layer norms")
@pytest.mark.parametrize("name", NORMS)
def test_norms_have_the_shares_of_their_entries(name: str) -> None:
    """The slow twin lists every contribution, from the values alone."""
    x, w, b = seeded(74, 2, 2, 4), seeded(75, 4), seeded(76, 4)
    circuit = provnet.trace(lambda x: NORMS[name][0](x, w, b), x)
    assert [block.op for block in circuit.data.blocks if block.role == "norm"] == ["provnet.norm"]
    y, p = groups(name, x)
    weighting = seeded(77, 2, 2, 4)
    along = 1 if "first" in name else 2
    wanted = (p * (weighting / y).movedim(along, -1)[..., None, :]).sum(-1).movedim(-1, along)
    for route in ("auto", "reference"):
        found = circuit.evaluate("real", weighting, route=route)
        torch.testing.assert_close(found.inputs, wanted, rtol=1e-8, atol=1e-10)
        assert found.conservation().residual() < 1e-10
    reached = circuit.evaluate("boolean", (0, 0), annotation=provnet.annotations.Threshold(0.0)).inputs
    counted = circuit.evaluate("counting", (0, 0), annotation=provnet.annotations.Threshold(0.0)).inputs
    assert torch.equal(reached, counted > 0)


@pytest.mark.parametrize("name", NORMS)
def test_the_derivative_of_a_norm_is_autograds(name: str, tmp_path: Path) -> None:
    derivative(Net(NORMS[name][0]).eval(), tmp_path)


@pytest.mark.parametrize(
    "make", [lambda: torch.tensor(0.1, dtype=torch.float64), lambda: 0.1], ids=["tensor", "number"]
)
def test_epsilon_may_be_a_tensor(make: Callable[[], object]) -> None:
    eps = make()
    circuit = provnet.trace(lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps), seeded(74, 2, 2, 4))
    assert [block.op for block in circuit.data.blocks] == ["aten.rms_norm"]


def test_a_norm_over_the_examples_stays_refused() -> None:
    with pytest.raises(provnet.errors.CrossExampleError, match="mixes examples"):
        provnet.trace(lambda x: (x - x.mean(0, keepdim=True)) / (x.std(0, keepdim=True) + 0.1), seeded(74, 3, 4))


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (Call("mul", "Tensor", (Input(), Earlier(1)), before=(Call("exp", "default", (Input(),)),)), "come before it"),
        (Call("mul", "Tensor", (Input(), Earlier(0)), before=(Call("exp", "default", (3.0,)),)), "depends on nothing"),
        (Call("mul", "Tensor", (Input(), Earlier(0)), before=(Call("save", "default", (Input(),)),)), "may name"),
        (Call("mul", "Tensor", (Input(), Earlier(0)), before=(Call("mean", "dim", (Input(), (1,))),)), "may name"),
        (Call("exp", "default", (Earlier(0),), before=(Call("exp", "default", (Input(),)),) * 64), "no list of less"),
    ],
    ids=["later", "nothing", "unknown", "rows", "long"],
)
def test_a_file_may_not_hold_other_functions(call: Call, fault: str) -> None:
    assert fault in next(call_faults(call))
