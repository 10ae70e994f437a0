"""The oracle of products, softmax and norms against what owes nothing to it: autograd, and walks along every path."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import exp, isclose

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.nonlinear_oracle import ALGEBRAS, by_paths, relevance
from tests.programs import SIGMOID, Policies, Program

T, D = 3, 2  # tokens, channels
RNG = np.random.default_rng(0)
WQ, WK, WV, WO = (RNG.normal(size=(D, D)) for _ in range(4))
BQ, GAIN, SHIFT, MASK = (
    RNG.normal(size=D),
    RNG.normal(size=D) + 1,
    RNG.normal(size=D),
    np.triu(np.full((T, T), -np.inf), 1),
)
X = RNG.normal(size=(T, D))
ALL = [
    Policies(*choice)
    for choice in product(("half", "value", "full"), ("identity", "attnlrp", "constant"), ("detached", "identity"))
]
names = [f"{p.products}-{p.softmax}-{p.norm}" for p in ALL]


def per_token(weight: np.ndarray) -> np.ndarray:
    return np.kron(np.eye(T), weight)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def tanh_slope(a: np.ndarray) -> np.ndarray:
    return 1 - np.tanh(a) ** 2


def block() -> Program:
    """A pre-norm block: causal attention over three tokens, a residual, an RMS norm, and a gated unit."""
    net = Program(1)
    h = net.layer_norm(0, D, GAIN, SHIFT)
    q = net.linear(h, per_token(WQ), np.tile(BQ, T))
    k, v = net.linear(h, per_token(WK)), net.linear(h, per_token(WV))
    scores = net.contraction(q, k, [[(i * D + c, j * D + c) for c in range(D)] for i in range(T) for j in range(T)])
    masked = net.index([net.scale(scores, 0.7)], [n if MASK.flat[n] == 0 else -1 for n in range(T * T)], -np.inf)
    weights = net.softmax(masked, T)
    mixed = net.contraction(
        weights, v, [[(i * T + j, j * D + c) for j in range(T)] for i in range(T) for c in range(D)]
    )
    x = net.add(0, net.linear(mixed, per_token(WO)))
    y = net.rms_norm(x, D, GAIN)
    gate = net.unit(y, sigmoid, lambda a: sigmoid(a) * (1 - sigmoid(a)), SIGMOID)
    inner = net.unit(net.linear(y, per_token(WV)), np.tanh, tanh_slope)
    out = net.add(x, net.product(gate, inner, T * D), -1.0)
    net.largest(net.shift(net.linear(out, np.kron(np.ones((1, T)) / T, np.eye(D)), plain=True), 0.3), [[0, 1]])
    return net


def unit(x: Tensor, y: Tensor) -> Tensor:
    """y, with the derivative y / x: the gradient times the input is passed on as it is."""
    return x * (y / x).detach() if x.requires_grad else y


def multiply(
    a: Tensor, b: Tensor, gate: int | None, policy: str, combine: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """combine(a, b) with the derivatives that a policy gives the two factors; `gate` is the place of the gate."""
    if policy == "full":
        return combine(a, b)
    if policy == "value" and gate is not None:
        return combine(a.detach(), b) if gate == 0 else combine(a, b.detach())
    return (combine(a.detach(), b) + combine(a, b.detach())) / 2


def modified(x: Tensor, policies: Policies) -> Tensor:
    """The block in torch with gradients such that input times gradient is its relevance.

    Source: the modified gradient times input of Achtibat et al. 2024, section 4, for rule zero.
    """
    wq, wk, wv, wo, bq, gain, shift, mask = (torch.from_numpy(t) for t in (WQ, WK, WV, WO, BQ, GAIN, SHIFT, MASK))
    centred = x - x.mean(-1, keepdim=True)
    sigma = (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    h = centred / sigma.detach() * gain + shift
    h = unit(x, h.detach()) if policies.norm == "identity" else h
    q, k, v = h @ wq.T + bq, h @ wk.T, h @ wv.T
    scores = 0.7 * multiply(q, k, None, policies.products, lambda a, b: a @ b.T)
    weights = (scores + mask).softmax(-1)
    if policies.softmax == "constant":
        weights = weights.detach()
    elif policies.softmax == "identity":
        weights = torch.where(mask == 0, scores * (weights / scores).detach(), 0.0)
    x = x + multiply(weights, v, 0, policies.products, lambda a, b: a @ b) @ wo.T
    y = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt().detach() * gain
    gate, inner = unit(y, y.sigmoid()), y @ wv.T
    inner = unit(inner, inner.tanh())
    out = x - multiply(gate, inner, 0, policies.products, lambda a, b: a * b)
    return (out.mean(0) + 0.3).max()


@pytest.mark.parametrize("policies", ALL, ids=names)
def test_the_real_oracle_is_modified_gradient_times_input(policies: Policies) -> None:
    """Two definitions that share no line: sums of shares edge by edge, and autograd through changed derivatives."""
    x = torch.tensor(X, requires_grad=True)
    output = modified(x, policies)
    (gradient,) = torch.autograd.grad(output, x)
    found = relevance(block(), [X], 0, "real", policies).relevance[0]
    np.testing.assert_allclose(found, (x * gradient / output).detach().numpy().reshape(-1), rtol=1e-10, atol=1e-12)


def plain(x: Tensor) -> Tensor:
    wq, wk, wv, wo, bq, gain, shift, mask = (torch.from_numpy(t) for t in (WQ, WK, WV, WO, BQ, GAIN, SHIFT, MASK))
    h = torch.nn.functional.layer_norm(x, (D,), gain, shift)
    weights = (0.7 * (h @ wq.T + bq) @ (h @ wk.T).T + mask).softmax(-1)
    x = x + weights @ (h @ wv.T) @ wo.T
    y = torch.nn.functional.rms_norm(x, (D,), gain, 1e-5)
    return ((x - y.sigmoid() * (y @ wv.T).tanh()).mean(0) + 0.3).max()


def test_the_gradient_policy_is_autograd() -> None:
    """So no derivative of a step is missing, and the program computes what the torch code does."""
    x = torch.tensor(X, requires_grad=True)
    output = plain(x)
    (gradient,) = torch.autograd.grad(output, x)
    assert isclose(block().values([X])[-1][0], float(output.detach()), rel_tol=1e-12)
    found = relevance(block(), [X], 0, "real", Policies(gradient=True)).relevance[0]
    np.testing.assert_allclose(found, gradient.numpy().reshape(-1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("policies", ALL, ids=names)
def test_what_inputs_and_sinks_receive_is_one(policies: Policies) -> None:
    answer = relevance(block(), [X], 0, "real", policies)
    assert isclose(sum(answer.relevance[0]) + sum(answer.sinks.values()), 1.0, rel_tol=1e-9)
    small = {name for (_, name), taken in answer.sinks.items() if abs(taken) > 1e-12}
    # The ½ and shares of `full` leave nothing unnamed but what `full` adds.
    assert ("rest" in small) == (policies.products == "full")
    assert ("softmax" in small) == (policies.softmax == "constant" and policies.products != "value")


def tiny(policies: Policies) -> Program:
    """Two scores, a softmax over them, and values: few enough paths to be walked one by one."""
    net = Program(2)
    h = net.layer_norm(0, 2, np.array([1.5, -0.5]), np.array([0.1, 0.2]))
    s = net.softmax(net.contraction(h, 1, [[(0, 0), (1, 1)], [(1, 0), (0, 1)]]), 2)
    net.linear(net.add(net.product(s, 1, 2), h), np.array([[1.0, -0.5]]), np.array([0.2]))
    return net


@pytest.mark.parametrize("semiring", ALGEBRAS)
@pytest.mark.parametrize("policies", ALL, ids=names)
def test_the_oracle_joins_all_paths(semiring: str, policies: Policies) -> None:
    for given in ([RNG.normal(size=2), RNG.normal(size=2)], [np.array([1.0, 2.0]), np.array([0.0, -1.0])]):
        for theta in (1e-9, -10.0, 0.4):
            net = tiny(policies)
            found = relevance(net, given, 0, semiring, policies, theta).relevance
            walked = by_paths(net, given, 0, semiring, policies, theta)
            for one, other in zip(found, walked, strict=False):
                assert one == pytest.approx(other, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("policies", ALL, ids=names)
def test_semirings_agree_where_they_must(policies: Policies) -> None:
    """Boolean is where counting is not zero; tropical is minus the logarithm of Viterbi."""
    found = {name: relevance(block(), [X], 0, name, policies).relevance[0] for name in ALGEBRAS}
    assert found["boolean"] == [count > 0 for count in found["counting"]]
    assert [exp(-cost) for cost in found["tropical"]] == pytest.approx(found["viterbi"], rel=1e-10)


def test_half_by_hand() -> None:
    """z = x · y with x = 2, y = 3: both get a half in real; the whole in Viterbi, and one path each."""
    net = Program(2)
    net.product(0, 1, 1)
    expected = {"real": 0.5, "viterbi": 1.0, "counting": 1, "boolean": True, "tropical": 0.0}
    for semiring, value in expected.items():
        found = relevance(net, [np.array([2.0]), np.array([3.0])], 0, semiring).relevance
        assert found[:2] == [[value], [value]]


def test_attnlrp_by_hand() -> None:
    """Achtibat et al., Prop. 3.1 for two scores (0, log 3): s = (1/4, 3/4), so d_1 = log 3 · 1/4 and the rest."""
    net = Program(1)
    net.softmax(0, 2)
    answer = relevance(net, [np.array([0.0, np.log(3)])], 1, "real", Policies(softmax="attnlrp"))
    assert answer.relevance[0] == pytest.approx([0.0, np.log(3) / 4])
    assert answer.sinks[1, "softmax rest"] == pytest.approx(1 - np.log(3) / 4)


def test_the_gate_of_a_product() -> None:
    """A·V goes to V, i ⊙ tanh g to tanh g, x ⊙ x is a tie; 1 - σ keeps the rank of σ."""
    net = Program(1)
    s, t = net.unit(0, sigmoid, sigmoid, SIGMOID), net.unit(0, np.tanh, tanh_slope)
    a = net.softmax(0, 2)
    assert net.gate(s, t) == s
    assert net.gate(net.shift(s, 1.0, -1.0), net.scale(t, 3.0)) == net.inputs + len(net.steps) - 2
    assert net.gate(a, s) == a
    assert net.gate(0, 0) is None
