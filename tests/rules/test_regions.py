"""A norm or an activation that is written out in Python is one step: one answer for two spellings of a function."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import provnet
from provnet.applications.coverage import coverage
from provnet.capture.record import record
from provnet.errors import StaleCircuitError, UnknownNameError
from provnet.rules.regions import regions_of
from tests.nonlinear_cases import POLICIES, POLICY_NAMES, fill, options, seeded
from tests.programs import Policies

Function = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of x, a weight and a bias of x's last axis."""


def llama(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    wide = x.to(torch.float64)
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 0.1)
    return weight * wide.to(x.dtype)


def gemma(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(2, keepdim=True) + 0.1) * (1 + (weight - 1))


def by_variance(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return weight * (x - mean) / torch.sqrt(variance + 0.1) + bias


def by_squares(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    away = x - x.mean(-1, keepdim=True)
    return bias + weight * (away * (0.1 + away.square().mean(-1, keepdim=True)) ** -0.5)


def by_pair(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, -1, keepdim=True, correction=0)
    return (x - mean) * torch.rsqrt(variance + 0.1)


def gelu_new(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def rounded_constant(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x * (torch.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)) + 1) * 0.5


NORMS: dict[str, tuple[Function, Function]] = {
    "llama": (llama, lambda x, w, b: F.rms_norm(x, (4,), w, 0.1)),
    "gemma": (gemma, lambda x, w, b: F.rms_norm(x, (4,), w, 0.1)),
    "variance": (by_variance, lambda x, w, b: F.layer_norm(x, (4,), w, b, 0.1)),
    "squares": (by_squares, lambda x, w, b: F.layer_norm(x, (4,), w, b, 0.1)),
    "pair": (by_pair, lambda x, w, b: F.layer_norm(x, (4,), eps=0.1)),
}
ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "silu": (lambda x, w, b: x * torch.sigmoid(x), lambda x, w, b: F.silu(x)),
    "silu by exp": (lambda x, w, b: x / (1 + torch.exp(-x)), lambda x, w, b: F.silu(x)),
    "gelu_new": (gelu_new, lambda x, w, b: F.gelu(x, approximate="tanh")),
    "rounded constant": (rounded_constant, lambda x, w, b: F.gelu(x, approximate="tanh")),
    "gelu": (lambda x, w, b: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), lambda x, w, b: F.gelu(x)),
    "hardswish": (lambda x, w, b: x * F.relu6(x + 3) / 6, lambda x, w, b: F.hardswish(x)),
    "mish": (lambda x, w, b: x * torch.tanh(F.softplus(x)), lambda x, w, b: F.mish(x)),
}
CASES = NORMS | ACTIVATIONS


class Net(nn.Module):
    """A linear layer, a function of what it gives, and one more beside a residual."""

    def __init__(self, function: Function, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.weight, self.bias = nn.Parameter(torch.empty(4)), nn.Parameter(torch.empty(4))
        self.function = function
        self.to(dtype)
        for number, parameter in enumerate(self.parameters()):
            fill(parameter, 60 + number)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(h + self.function(h, self.weight, self.bias))


def circuits(name: str, dtype: torch.dtype = torch.float64) -> tuple[provnet.Circuit, provnet.Circuit]:
    """Return the circuits of both spellings, the written-out one first."""
    x = seeded(70, 3, 2, 3).to(dtype)
    written, whole = (provnet.trace(Net(function, dtype).eval(), x) for function in CASES[name])
    return written, whole


@pytest.mark.guarantee("a norm or an activation written out in Python gives the relevance of torch's own op")
@pytest.mark.parametrize("policies", POLICIES, ids=POLICY_NAMES)
@pytest.mark.parametrize("name", CASES)
def test_two_spellings_have_one_answer(name: str, policies: Policies) -> None:
    written, whole = circuits(name)
    assert [block.role for block in written.data.blocks] == [block.role for block in whole.data.blocks]
    for semiring in ("real", "viterbi", "boolean"):
        found, wanted = (c.evaluate(semiring, (1, 0), **options(policies)) for c in (written, whole))
        torch.testing.assert_close(found.inputs, wanted.inputs, rtol=1e-8, atol=1e-9)
        assert found.bias.keys() == wanted.bias.keys() or name in NORMS


@pytest.mark.parametrize("name", CASES)
def test_in_single_precision(name: str) -> None:
    written, whole = circuits(name, torch.float32)
    found, wanted = (circuit.evaluate("real", (1, 0)).inputs for circuit in (written, whole))
    assert len(written.data.blocks) <= len(whole.data.blocks) + 2  # a cast to double precision, and back
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.guarantee("the gradient of a norm or an activation written out in Python is autograd's")
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_autograds(name: str) -> None:
    net, x, weighting = Net(CASES[name][0]).eval(), seeded(70, 3, 2, 3), seeded(71, 3, 2, 2)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((net(leaf) * weighting).sum(), leaf)
    for route in ("auto", "reference"):
        found = provnet.trace(net, x).evaluate("real", weighting, rule="gradient", route=route).inputs
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_another_batch_and_a_file_have_the_same_answer(name: str, tmp_path: Path) -> None:
    net, x = Net(CASES[name][0]).eval(), seeded(72, 5, 2, 3)
    wanted = provnet.trace(net, x)
    again = provnet.trace(net, x[:2]).on(x)
    provnet.save(wanted, tmp_path / "circuit")
    loaded = provnet.load(tmp_path / "circuit")
    assert isinstance(loaded, provnet.Circuit)
    lean = provnet.trace(net, x, lean=True)
    for rule in ("zero", "gradient"):
        one = wanted.evaluate("real", (1, 0), rule=rule).inputs
        for other in (again, loaded, lean):
            torch.testing.assert_close(other.evaluate("real", (1, 0), rule=rule).inputs, one, rtol=1e-12, atol=1e-14)


@pytest.mark.guarantee("what is inside a norm or an activation written out in Python has no relevance, and says why")
def test_what_is_inside_says_why_it_has_no_relevance() -> None:
    circuit = provnet.trace(Net(NORMS["variance"][0]).eval(), seeded(70, 3, 2, 3))
    found = circuit.evaluate("real", (1, 0))
    with pytest.raises(UnknownNameError, match=r"a part of the layer_norm that ends in 'add_2'. Ask for 'add_2'"):
        found["var_1"]
    assert found["add_2"].shape == (3, 2, 4)


APART: dict[str, Function] = {
    "an intermediate is read elsewhere": lambda x, w, b: (lambda s: x * s + s)(torch.sigmoid(x)),
    "an intermediate of a norm is": lambda x, w, b: (lambda s: x * torch.rsqrt(s + 0.1) + s)(
        x.pow(2).mean(-1, keepdim=True)
    ),
    "an intermediate of a function is": lambda x, w, b: (lambda s: x * s + s)(torch.tanh(x)),
    "a share of a sum": lambda x, w, b: x.exp() / x.exp().sum(-1, keepdim=True),
    "a learned ε": lambda x, w, b: x / (x.pow(2).mean(-1, keepdim=True) + w[0]).sqrt(),
    "two axes": lambda x, w, b: (x - x.mean(1, keepdim=True)) / (x.std(-1, keepdim=True) + 0.1),
    "no mean of squares": lambda x, w, b: x * torch.rsqrt(x.mean(-1, keepdim=True).pow(2) + 0.1),
    "two tensors": lambda x, w, b: x * torch.sigmoid(torch.flip(x, [-1])),
}


@pytest.mark.guarantee("ops are joined only where nobody else reads what is inside, and only into what they compute")
@pytest.mark.parametrize("name", APART)
def test_what_is_no_known_function_stays_apart(name: str) -> None:
    net, x, weighting = Net(APART[name]).eval(), seeded(70, 3, 2, 3), seeded(71, 3, 2, 2)
    circuit = provnet.trace(net, x)
    assert {block.op for block in circuit.data.blocks}.isdisjoint({"aten.rms_norm", "aten.layer_norm", "aten.gelu"})
    assert any(block.role == "product" for block in circuit.data.blocks)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((net(leaf) * weighting).sum(), leaf)
    found = circuit.evaluate("real", weighting, rule="gradient").inputs
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


def test_an_output_inside_keeps_the_ops_apart() -> None:
    def model(x: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(x)
        return gate * x, gate

    circuit = provnet.trace(model, seeded(73, 2, 3))
    assert [block.op for block in circuit.data.blocks] == ["aten.sigmoid", "aten.mul"]


def test_a_learned_slope_is_no_constant_of_a_known_function() -> None:
    """At 1 it is silu's, but training changes it: it is a function with a parameter, as a PReLU is, and goes stale."""
    slope = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    circuit = provnet.trace(lambda x: x * torch.sigmoid(slope * x), seeded(73, 2, 3))
    assert [block.op for block in circuit.data.blocks] == ["provnet.function"]
    with torch.no_grad():
        slope.mul_(2)
    with pytest.raises(StaleCircuitError):
        circuit.evaluate("real", 0)


def test_the_table_of_rules_names_the_step() -> None:
    table = coverage(Net(NORMS["variance"][0]).eval(), seeded(70, 3, 2, 3))
    roles = {line.op: line.role for line in table}
    assert roles["aten.var"] == "a part of aten.layer_norm"
    assert table.covered == table.nodes


def test_random_numbers_of_the_caller_stay_as_they_are() -> None:
    net, x = Net(NORMS["llama"][0]).eval(), seeded(70, 3, 2, 3)
    before = torch.get_rng_state()
    provnet.trace(net, x)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_region_lists_what_it_reads_once() -> None:
    execution = record(Net(NORMS["variance"][0]).eval(), seeded(70, 3, 2, 3))
    (region,) = regions_of(execution)
    names = {execution.values[value].name for value in region.reads}
    assert {"weight", "bias"} <= names
    assert len(region.reads) == 3
