"""Residuals: one just where nothing is lost; and Conserving(Θ) loses nothing."""

from __future__ import annotations

import pytest
import torch

import provnet
from provnet.applications.conservation import conservation_residuals, neuron_residuals
from provnet.errors import UnsupportedOperationError
from provnet.semirings.annotations import Conserving, Identity, Threshold
from tests.nets import Residual, perceptron, seeded

DIVIDING = ("real", "non-negative", "boolean", "viterbi", "tropical", "bottleneck", "fuzzy", "lukasiewicz")


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    x = torch.rand(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return provnet.trace(seeded(lambda: perceptron(4, 6, 5, 3), 4), x)


@pytest.mark.parametrize("semiring", DIVIDING)
@pytest.mark.guarantee("Conserving(Θ) makes every layer's and every neuron's residual one, wherever there is one")
def test_conserving_annotations_lose_nothing(circuit, semiring):
    relevance = circuit.evaluate(semiring, target=1, annotation=Conserving())
    one = relevance.semiring.one
    if semiring not in ("boolean", "bottleneck"):  # there a neuron may lose all of its edges
        for residual in conservation_residuals(relevance).values():
            assert torch.allclose(residual, torch.full_like(residual, one), atol=1e-9)
    for path in ("0", "2", "4"):
        per_neuron = neuron_residuals(relevance, path)
        messages = relevance.messages(path)
        kept = (messages != relevance.semiring.zero).any(2)
        assert per_neuron.shape == kept.shape
        wanted = torch.full_like(per_neuron, one)
        close = per_neuron == wanted if per_neuron.dtype == torch.bool else torch.isclose(per_neuron, wanted, atol=1e-9)
        assert bool((close | ~kept).all())


def test_residuals_are_shares():
    """Real with |d| halved by hand: a layer that passes on half of what came."""
    model = perceptron(2, 1, 1).double()
    with torch.no_grad():
        for layer, values in ((0, [[1.0, 1.0]]), (2, [[1.0]])):
            weight, bias = model[layer].parameters()
            weight.copy_(torch.tensor(values))
            bias.fill_(1.0)
    circuit = provnet.trace(model, torch.tensor([[1.0, 2.0]], dtype=torch.float64))
    plain = conservation_residuals(circuit.evaluate("real", target=0))
    assert all(float(share) == pytest.approx(1) for share in plain.values())
    viterbi = circuit.evaluate("viterbi", target=0, annotation=Identity())
    # shares: 4/5 and a bias of 1/5; then 1/4, 2/4 and a bias of 1/4, of 4/5
    found = conservation_residuals(viterbi)
    assert float(found["2"]) == pytest.approx(0.8)
    assert float(found["0"]) == pytest.approx(0.5)
    assert neuron_residuals(viterbi, "0").tolist() == [[pytest.approx(0.5)]]


def test_lost_relevance_shows(circuit):
    harsh = circuit.evaluate("boolean", target=1, annotation=Threshold(10.0))
    assert not bool(conservation_residuals(harsh)["4"].any())
    assert bool(neuron_residuals(harsh, "0").all())  # nothing came, so nothing was lost


def test_convolutions_too():
    x = torch.rand(1, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    relevance = provnet.trace(seeded(Residual), x).evaluate("viterbi", target=1)
    per_neuron = neuron_residuals(relevance, "first")
    assert per_neuron.shape == (1, 4 * 36)
    assert torch.allclose(per_neuron, torch.ones_like(per_neuron))


def test_semirings_without_a_residual_are_refused(circuit):
    for semiring in ("counting", "k-best"):
        with pytest.raises(UnsupportedOperationError, match="no residual"):
            conservation_residuals(circuit.evaluate(semiring, target=1))
