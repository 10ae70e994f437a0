"""Counts, lengths, entropy of paths and cancellation: against the paths, listed."""

from __future__ import annotations

from collections import Counter
from math import exp, log, prod

import pytest
import torch

import provnet
from provnet.applications.cancellation import cancellation
from provnet.applications.paths import count_paths, entropy_of, lengths, path_entropy
from provnet.errors import OptionError
from provnet.semirings import Signed
from tests.listed_paths import derivations
from tests.nets import Residual, perceptron, seeded


def traced(kind: str) -> provnet.Circuit:
    make, shape = {"mlp": (lambda: perceptron(4, 5, 4, 3), (2, 4)), "residual": (Residual, (2, 2, 6, 6))}[kind]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return provnet.trace(seeded(make, 1), x)


def weights(gates: provnet.GateCircuit, root: int) -> list[float]:
    """Return the product of coefficients of every path, listed."""
    d = gates.valuation("real").tolist()
    return [prod(d[i] for i in path) for path in derivations(gates.store, int(gates.store.root_gates[root]))]


@pytest.mark.parametrize("kind", ["mlp", "residual"])
@pytest.mark.guarantee("the entropy of paths is that of the listed paths' weights")
def test_entropy_is_that_of_the_listed_paths(kind):
    circuit = traced(kind)
    found = path_entropy(circuit, target=1)
    pixels = [0, 3] if kind == "mlp" else [0, 41]
    gates = circuit.gates(target=1, batch=1)
    for pixel in pixels:
        mass = [abs(w) for w in weights(gates, pixel) if w]
        share = [m / sum(mass) for m in mass]
        entropy = -sum(p * log(p) for p in share)
        assert float(found.entropy[1].reshape(-1)[pixel]) == pytest.approx(entropy, abs=1e-9)
        assert float(found.mass[1].reshape(-1)[pixel]) == pytest.approx(sum(mass), rel=1e-9)
        assert float(found.effective_paths[1].reshape(-1)[pixel]) == pytest.approx(exp(entropy), rel=1e-8)


def test_entropy_without_a_path_is_zero():
    found = entropy_of(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0]))
    assert found.entropy.tolist() == [0.0, pytest.approx(log(2))]


@pytest.mark.parametrize("kind", ["mlp", "residual"])
@pytest.mark.guarantee("cancellation: path mass of either sign as listed, and P − N is the classical relevance")
def test_cancellation_counts_both_signs(kind):
    circuit = traced(kind)
    found = cancellation(circuit, target=2)
    real = circuit.evaluate("real", target=2).inputs
    assert torch.allclose(found.net, real, rtol=1e-9, atol=1e-12)
    gates = circuit.gates(target=2, batch=0)
    for pixel in (0, 2):
        listed = weights(gates, pixel)
        p, n = sum(w for w in listed if w > 0), -sum(w for w in listed if w < 0)
        assert float(found.supporting[0].reshape(-1)[pixel]) == pytest.approx(p, rel=1e-9)
        assert float(found.opposing[0].reshape(-1)[pixel]) == pytest.approx(n, rel=1e-9)
        assert float(found.ratio[0].reshape(-1)[pixel]) == pytest.approx((p + n) / abs(p - n), rel=1e-6)
    assert found.median >= 1
    assert f"{found.median:.3g} times" in str(found)
    asked = circuit.evaluate(Signed(), target=2)
    assert torch.equal(cancellation(asked).ratio, found.ratio)
    with pytest.raises(OptionError, match="'real'"):
        cancellation(circuit.evaluate("real"))


@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_counts_and_lengths_are_those_of_the_listed_paths(kind):
    gates = traced(kind).gates(target=0)
    numbers, sizes = count_paths(gates), lengths(gates)
    for root in (0, 3):
        listed = list(derivations(gates.store, int(gates.store.root_gates[root])))
        assert numbers[str(gates.roots[root])] == len(listed)
        assert sizes[str(gates.roots[root])] == Counter(map(len, listed))
    assert sum(numbers.values()) == (4 * 5 * 4 if kind == "mlp" else sum(numbers.values()))
