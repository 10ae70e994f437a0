"""Relevance can be differentiated, by inputs and parameters: real, log and expectation, against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import provnet
from provnet.errors import OptionError, StaleCircuitError, TraceError
from provnet.rules import AlphaBeta, Epsilon, Gamma, WSquare, ZBox, Zero, ZPlus
from provnet.rules.quotient import quotient
from provnet.semirings.annotations import Identity, Threshold

SEMIRINGS = ("real", "non-negative", "log", "expectation")
RULES = {
    "zero": Zero(),
    "epsilon": Epsilon(1e-2),
    "epsilon-rms": Epsilon(0.0, rms=0.1),
    "gamma": Gamma(0.5),
    "gamma-signed": Gamma(0.5, signed=True, stabilizer=1e-3),
    "alpha-beta": AlphaBeta(2, 1),
    "z-plus": ZPlus(),
}


class Residual(nn.Module):
    """x + f(x), written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        y += x
        return self.out(F.relu(y, inplace=True))


class Concat(nn.Module):
    """Two branches, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(4, 3), nn.Linear(4, 2), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cat([F.gelu(self.left(x)), F.relu(self.right(x))], 1))


def image(*layers: nn.Module, features: int) -> nn.Sequential:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 3))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), (4,)),
    "conv": (lambda: image(nn.Conv2d(2, 4, 2, stride=2, padding=1, groups=2), nn.ReLU(), features=16), (2, 3, 3)),
    "residual": (Residual, (4,)),
    "concat": (Concat, (4,)),
    "max pool": (lambda: image(nn.Conv1d(1, 2, 2), nn.MaxPool1d(3, stride=2), features=4), (1, 6)),
    "average pool": (lambda: image(nn.Conv1d(1, 2, 2), nn.AvgPool1d(2), features=4), (1, 5)),
    "batch norm": (lambda: image(nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2), nn.ReLU(), features=8), (1, 5)),
    "weight norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.ReLU()), (4,)),
}


def network(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Return a small net in float64 with all parts trained, and two examples, both requiring gradients."""
    make, shape = NETS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make().double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                    assert isinstance(tensor, Tensor)
                    tensor.data.uniform_(0.5, 1.5)
        x = torch.randn(2, *shape, dtype=torch.float64)
    return model, x.requires_grad_()


def finite(semiring: str, r: provnet.Relevance) -> Tensor:
    """Return relevance without infinities: -inf is a constant, which finite differences cannot tell."""
    return r.inputs.exp() if semiring == "log" else r.inputs


def by_differences(model: nn.Module, x: Tensor, ask: Callable[[provnet.Circuit], Tensor], **options: Any) -> bool:
    """Hold autograd against finite differences, for the input and every parameter, which gradcheck moves in place."""

    def relevance(*_: Tensor) -> Tensor:
        return ask(provnet.trace(model, x, differentiable=True, **options))

    leaves = (x, *(p for p in model.parameters() if p.requires_grad))
    return torch.autograd.gradcheck(relevance, leaves, rtol=1e-4, atol=1e-6, nondet_tol=1e-12)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("semiring", SEMIRINGS)
@pytest.mark.guarantee("real, log and expectation relevance has the derivative that finite differences show")
def test_nets(net: str, semiring: str):
    model, x = network(net)
    assert by_differences(model, x, lambda c: finite(semiring, c.evaluate(semiring, target=1, rule=Epsilon(0.1))))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", ["dense", "conv"])
def test_rules(net: str, rule: str):
    model, x = network(net)
    assert by_differences(model, x, lambda c: c.evaluate("real", target=0, rule=RULES[rule]).inputs)


@pytest.mark.parametrize("net", ["concat", "max pool"])
def test_the_gradient_rule(net: str):
    """Its relevance is a gradient, slopes of activations and all: this is the second derivative."""
    model, x = network(net)
    assert by_differences(model, x, lambda c: c.evaluate("real", target=0, rule="gradient").inputs)


@pytest.mark.parametrize("rule", ["gamma", "alpha-beta"])
@pytest.mark.parametrize("semiring", ["log", "expectation"])
def test_rules_on_all_edges(semiring: str, rule: str):
    model, x = network("dense")
    assert by_differences(model, x, lambda c: finite(semiring, c.evaluate(semiring, target=0, rule=RULES[rule])))


@pytest.mark.parametrize("rule", [WSquare(), ZBox(-5.0, 5.0)])
def test_rules_of_the_first_layer(rule: Any):
    model, x = network("dense")
    assert by_differences(model, x, lambda c: c.evaluate("real", target=0, rule={"0": rule}).inputs)


@pytest.mark.parametrize("options", [{"pooling": "proportional"}, {"bias": False}, {"start": "logit"}])
def test_conventions(options: dict[str, Any]):
    model, x = network("max pool")
    assert by_differences(model, x, lambda c: c.evaluate("real", target=2, rule=Epsilon(0.1), **options).inputs)


def test_a_batch_norm_that_is_kept():
    model, x = network("batch norm")
    ask = lambda c: c.evaluate("real", target=0, rule=Epsilon(0.1)).inputs  # noqa: E731
    assert by_differences(model, x, ask, batch_norm="kept")


def test_weightings_and_biases_and_inner_tensors():
    model, x = network("dense")
    weighting = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]], dtype=torch.float64)

    def ask(circuit: provnet.Circuit) -> Tensor:
        r = circuit.evaluate("real", target=weighting, rule=Epsilon(0.1))
        parts = [r.inputs, r["0"], r.bias["2"], r.sinks["0"], r.messages("2"), r.weights("0")]
        return torch.cat([part.flatten() for part in parts])

    assert by_differences(model, x, ask)


def test_targets_and_lists_and_conditions():
    model, x = network("dense")

    def ask(circuit: provnet.Circuit) -> Tensor:
        results = circuit.evaluate(
            ["real", "expectation"], target=provnet.Targets(0, 2), rule=Epsilon(0.1), only={"0": [0, 1, 3]}
        )
        return torch.cat([one.inputs.flatten() for one in results])

    assert by_differences(model, x, ask)


def test_the_weighting_itself():
    """Relevance is linear in where it starts."""
    model, x = network("dense")
    circuit = provnet.trace(model, x.detach())
    weighting = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: circuit.evaluate("real", target=w).inputs, (weighting,))


def test_twice():
    """Relevance can be differentiated twice: for a penalty on the gradient of relevance."""
    model, x = network("dense")

    def relevance(x: Tensor) -> Tensor:
        return provnet.trace(model, x, differentiable=True).evaluate("real", target=1, rule=Epsilon(0.1)).inputs

    assert torch.autograd.gradgradcheck(relevance, (x,), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("semiring", SEMIRINGS)
@pytest.mark.guarantee("relevance with a graph equals relevance without to rounding")
def test_the_numbers_are_those_without_a_graph(net: str, semiring: str):
    model, x = network(net, seed=1)
    plain = provnet.trace(model, x).evaluate(semiring, rule=Gamma(0.25), at="*")
    circuit = provnet.trace(model, x, differentiable=True)
    found = circuit.evaluate(semiring, rule=Gamma(0.25), at="*")
    assert found.inputs.requires_grad
    assert not plain.inputs.requires_grad
    for name in plain.keys():
        torch.testing.assert_close(found[name].detach(), plain[name], rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        numbers = circuit.evaluate(semiring, rule=Gamma(0.25))
    assert not numbers.inputs.requires_grad
    torch.testing.assert_close(numbers.inputs, plain.inputs, rtol=1e-10, atol=1e-12)


def test_what_was_made_without_a_graph_is_not_used_with_one():
    """Gamma's denominators are kept: those of an evaluation without a graph would lose their part of the derivative."""
    model, x = network("dense")
    fresh = provnet.trace(model, x, differentiable=True)
    used = provnet.trace(model, x, differentiable=True)
    with torch.no_grad():
        used.evaluate("real", target=0, rule=Gamma(0.5))
    gradients = [
        torch.autograd.grad(c.evaluate("real", target=0, rule=Gamma(0.5)).inputs.square().sum(), x)
        for c in (fresh, used)
    ]
    assert torch.equal(gradients[0][0], gradients[1][0])


def test_gradient_mode_counts_when_relevance_is_evaluated():
    model, x = network("batch norm")
    with torch.no_grad():
        circuit = provnet.trace(model, x, differentiable=True)
        circuit.evaluate("real", target=0, rule=Gamma(0.5))
    other = provnet.trace(model, x, differentiable=True)
    leaves = [x, *model.parameters()]
    for one, two in zip(
        *(torch.autograd.grad(c.evaluate("real", target=0).inputs.square().sum(), leaves) for c in (circuit, other)),
        strict=True,
    ):
        assert torch.equal(one, two)


# --- where nothing is defined -----------------------------------------------------------------------------------------


def zeros(seed: int) -> tuple[nn.Module, Tensor]:
    """Zeros wherever they can be: inputs, weights, whole neurons (z = 0), a whole layer's z."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randint(-1, 2, p.shape, generator=generator))
        model[0].weight[0], model[0].bias[0] = 0, 0  # type: ignore[index]
        model[2].weight[1], model[2].bias[1] = 0, 0  # type: ignore[index]
    x = torch.randint(-1, 2, (3, 4), generator=generator).double()
    x[0] = 0
    return model, x.requires_grad_()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("semiring", SEMIRINGS)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.guarantee("no derivative of relevance is NaN, also where inputs, weights and denominators are 0")
def test_zeros_give_no_nan(semiring: str, rule: str, seed: int):
    model, x = zeros(seed)
    r = provnet.trace(model, x, differentiable=True).evaluate(semiring, target=0, rule=RULES[rule])
    plain = provnet.trace(model, x).evaluate(semiring, target=0, rule=RULES[rule])
    torch.testing.assert_close(r.inputs.detach(), plain.inputs, rtol=1e-10, atol=1e-12)
    if not r.inputs.requires_grad:
        return
    total = finite(semiring, r).square().sum()
    for g in torch.autograd.grad(total, [x, *model.parameters()], allow_unused=True):
        assert g is None or bool(torch.isfinite(g).all())


def test_an_all_zero_layer_under_a_relative_epsilon():
    """The root of the mean square has no derivative at 0."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2)).double()
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    r = provnet.trace(model, x, differentiable=True).evaluate("real", target=0, rule=Epsilon(1e-3, rms=0.1))
    (found,) = torch.autograd.grad(r.inputs.sum(), x)
    assert bool(torch.isfinite(found).all())


def test_the_quotient():
    p = torch.tensor([1.0, 0.0, 1.0, 0.0, -3.0, 1e-30], dtype=torch.float32, requires_grad=True)
    z = torch.tensor([2.0, 0.0, 0.0, 1e-30, 1.5, 1e-40], dtype=torch.float32, requires_grad=True)
    d = quotient(p, z)
    assert d[:5].tolist() == [0.5, 0.0, 0.0, 0.0, -2.0]
    to_p, to_z = torch.autograd.grad(d.sum(), (p, z))
    assert to_p[:5].tolist() == [0.5, 0.0, 0.0, pytest.approx(1e30), pytest.approx(2 / 3)]
    assert to_z[:5].tolist() == [-0.25, 0.0, 0.0, 0.0, pytest.approx(4 / 3)]
    assert not bool(torch.isnan(torch.cat([to_p, to_z])).any())


def test_the_quotient_by_differences():
    p = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    z = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quotient, (p, z))
    assert torch.autograd.gradgradcheck(quotient, (p, z))


# --- whose tensors, and what is refused -------------------------------------------------------------------------------


def test_closed_over_weights_and_arguments_that_are_no_sources():
    w = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    scale = torch.rand(3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 4, dtype=torch.float64)

    def ask(w: Tensor, scale: Tensor) -> Tensor:
        def net(x: Tensor, scale: Tensor) -> Tensor:
            return F.relu(x @ (w * scale)) @ w.t()

        circuit = provnet.trace(net, x, scale, sources=["x"], differentiable=True)
        return circuit.evaluate("real", target=1, rule=Epsilon(0.1)).inputs

    assert torch.autograd.gradcheck(ask, (w, scale), rtol=1e-4)


def test_the_caller_keeps_gradients_and_model_as_they_were():
    model, x = network("conv")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    circuit = provnet.trace(model, x, differentiable=True)
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    circuit.evaluate("real").inputs.sum().backward()
    assert x.grad is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_step_of_an_optimiser_makes_the_circuit_stale():
    model, x = network("dense")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    circuit = provnet.trace(model, x, differentiable=True)
    circuit.evaluate("real").inputs.square().sum().backward()
    optimiser.step()
    with pytest.raises(StaleCircuitError):
        circuit.evaluate("real")


@pytest.mark.parametrize("semiring", ["boolean", "counting", "viterbi", "tropical", "bottleneck"])
def test_semirings_without_a_derivative_are_refused(semiring: str):
    model, x = network("dense")
    circuit = provnet.trace(model, x, differentiable=True)
    with pytest.raises(OptionError, match="no derivative"):
        circuit.evaluate(semiring)
    with torch.no_grad():
        found = circuit.evaluate(semiring).inputs
    assert torch.equal(found, provnet.trace(model, x).evaluate(semiring).inputs)


@pytest.mark.parametrize("options", [{"annotation": Threshold(0.1)}, {"route": "reference"}])
def test_other_combinations_are_refused(options: dict[str, Any]):
    model, x = network("dense")
    circuit = provnet.trace(model, x, differentiable=True)
    with pytest.raises(OptionError, match="no derivative"):
        circuit.evaluate("real", **options)


def test_a_function_of_ones_own_does_not_inherit_a_derivative():
    class Cut(Identity):
        def value(self, edges: Any, semiring: Any, dtype: torch.dtype) -> Tensor:
            return edges.d.detach()

    model, x = network("dense")
    with pytest.raises(OptionError, match="no derivative"):
        provnet.trace(model, x, differentiable=True).evaluate("real", annotation=Cut())


def test_a_jacobian_is_refused():
    model, x = network("dense")
    with pytest.raises(OptionError, match="Jacobian"):
        provnet.trace(model, x, differentiable=True, opaque=["1"])


@pytest.mark.parametrize("option", ["copy", "inference"])
def test_what_would_cut_the_graph_is_refused(option: str):
    model, x = network("dense")
    with torch.inference_mode(option == "inference"), pytest.raises(OptionError, match="graph"):
        provnet.trace(model, x, differentiable=True, copy=option == "copy")


class Rounded(torch.autograd.Function):
    """Has a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return upstream[0] * 3


def detach_half(x: Tensor, w: Tensor) -> Tensor:
    y = x @ w
    return y + y.detach()


def own_function(x: Tensor, w: Tensor) -> Tensor:
    return Rounded.apply(x @ w)


def written_into(x: Tensor, w: Tensor) -> Tensor:
    """A weight is copied into memory where it is no longer known as one."""
    both = torch.zeros(3, 4, dtype=x.dtype)
    both[:2] = w.t() * 2
    both[2:] = x
    return both.sum(1, keepdim=True).t() + 0 * x[:, :3]


def not_to_be_trained(x: Tensor, w: Tensor) -> Tensor:
    """torch itself has no gradient of it: what the sigmoid needs for it is written over."""
    y = torch.sigmoid(x @ w)
    y += 1
    return y


def written_over(x: Tensor, w: Tensor) -> Tensor:
    doubled = w * 2
    y = x @ doubled
    doubled.add_(1)
    return y


@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize("net", [detach_half, own_function, written_into, written_over, not_to_be_trained])
@pytest.mark.guarantee("a model whose own gradients differ from those of its recorded ops is refused")
def test_gradients_that_are_not_the_models_own_are_refused(net: Callable[[Tensor, Tensor], Tensor]):
    w = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    with pytest.raises(TraceError, match=r"gradient"):
        provnet.trace(lambda x: net(x, w), x, differentiable=True)


def test_nothing_that_requires_a_gradient_is_an_ordinary_trace():
    model, x = network("dense")
    circuit = provnet.trace(model.requires_grad_(False), x.detach(), differentiable=True)
    assert not circuit.evaluate("real").inputs.requires_grad
    assert bool(circuit.evaluate("boolean").inputs.any())


def test_gates_and_reports_of_a_differentiable_circuit_are_numbers():
    model, x = network("dense")
    circuit = provnet.trace(model, x, differentiable=True)
    r = circuit.evaluate("real", target=0)
    assert r.conservation().residual() < 1e-12
    assert r.inputs.requires_grad
    values = circuit.gates(target=0).evaluate("real", rule="zero").tensor
    torch.testing.assert_close(values, r.inputs[0].detach())


def test_entropy_falls_when_it_is_trained_down():
    """What it is for: the parameters follow the gradient of a measure of relevance."""
    model, x = network("dense")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    entropies: list[float] = []
    for _ in range(5):
        optimiser.zero_grad()
        circuit = provnet.trace(model, x, differentiable=True)
        loss = circuit.evaluate("expectation", target=0, rule=ZPlus()).inputs[..., 1].sum()
        loss.backward()
        optimiser.step()
        entropies.append(loss.item())
    assert all(later < earlier for earlier, later in pairwise(entropies))
    assert math.isfinite(entropies[-1])
