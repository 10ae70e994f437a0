"""Trained networks on real digits: provnet against the oracle in six semirings, and the theorems that tie them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import provnet
from tests.golden import matches
from tests.nets import digits, mnist_cnn, mnist_mlp
from tests.oracles import SEMIRINGS, oracle_relevance
from tests.transcribe import transcribe

NETS = {"mlp": (mnist_mlp, (784,)), "cnn": (mnist_cnn, (1, 28, 28))}

TOLERANCE = {"boolean": 0, "counting": 0, "real": 1e-10, "viterbi": 1e-12, "tropical": 1e-9, "bottleneck": 1e-10}
"""Of the largest value. Bottleneck's elements are coefficients, whose last digits depend on the order of the sum z; and
in tropical an activation that is the small rest of a cancelled sum has its whole relative error as an absolute one."""


class Case:
    """One network, eight digits that it was not trained on, its circuit and its answers in six semirings."""

    def __init__(self, folder: Path, name: str, dtype: torch.dtype = torch.float64, device: str = "cpu") -> None:
        make, self.shape = NETS[name]
        self.model: nn.Sequential = make(folder).to(device, dtype)
        self.x = digits(folder)[0].to(device, dtype).reshape(8, *self.shape)
        self.targets: list[int] = self.model(self.x).argmax(1).tolist()
        self.circuit = provnet.trace(self.model, self.x)
        results = self.circuit.evaluate(list(SEMIRINGS), target="predicted", at="*")
        self.results: dict[str, Any] = dict(zip(SEMIRINGS, results, strict=True))


@pytest.fixture(scope="module", params=NETS)
def case(request: pytest.FixtureRequest, data: Path) -> Case:
    return Case(data, request.param)


def totals(result: Any, semiring: str) -> np.ndarray:
    """Return ⊕ over all inputs and all biases, for each example."""
    plus = SEMIRINGS[semiring].plus
    inputs = result.inputs.cpu().numpy()
    found = plus.reduce(inputs.reshape(len(inputs), -1), axis=1)
    for total in result.bias.values():
        found = plus(found, total.cpu().numpy())
    return found


@pytest.mark.guarantee("eight digits through two trained networks, six semirings, every layer: equal to the slow loop")
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_every_layer_equals_the_oracle(case: Case, semiring: str):
    transcript = transcribe(case.model, case.shape)
    result, wrong = case.results[semiring], []
    for k, (x, target) in enumerate(zip(case.x.numpy(), case.targets, strict=True)):
        answer = oracle_relevance(transcript.network, x, target, semiring)
        pairs = [("input", result.inputs[k], answer.relevance[0])]
        pairs += [(name, result[name][k], answer.relevance[value]) for name, value in transcript.values.items()]
        pairs += [
            (f"bias of {name}", result.bias[name][k], np.asarray(answer.bias[layer]))
            for name, layer in transcript.layers.items()
            if layer in answer.bias
        ]
        wrong += [(k, name) for name, found, wanted in pairs if not agree(found, wanted, semiring)]
    assert wrong == []


def agree(found: Tensor, wanted: np.ndarray, semiring: str) -> bool:
    wanted = wanted.astype(np.int64) if semiring == "counting" else wanted
    return matches(found.cpu().numpy(), wanted, TOLERANCE[semiring])


def gradient_times_input(model: nn.Module, x: Tensor, targets: list[int]) -> Tensor:
    """Return a · ∂logit/∂a / logit for the target of each example."""
    leaf = x.clone().requires_grad_()
    logits = model(leaf)[torch.arange(len(x)), targets]
    (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    scale = logits.detach().reshape(-1, *(1,) * (x.ndim - 1))
    return x * gradient / scale


@pytest.mark.guarantee("real LRP-0 is input × gradient / logit on ReLU networks")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", NETS)
def test_real_is_input_times_gradient(
    data: Path, name: str, device: torch.device, dtype: torch.dtype, tolerance: float
):
    make, shape = NETS[name]
    model, x = make(data).to(device, dtype), digits(data)[0].to(device, dtype).reshape(8, *shape)
    result = provnet.trace(model, x).evaluate("real")
    wanted = gradient_times_input(model, x, model(x).argmax(1).tolist())
    scale = wanted.abs().flatten(1).amax(1).reshape(-1, *(1,) * (x.ndim - 1))
    assert ((result.inputs - wanted).abs() <= tolerance * scale).all()


@pytest.mark.guarantee("Boolean relevance is (counting > 0), at every layer")
def test_boolean_is_counting_above_zero(case: Case):
    for name in case.circuit.keys():
        assert torch.equal(case.results["boolean"][name], case.results["counting"][name] > 0), name


@pytest.mark.guarantee("−log Viterbi is tropical wherever Viterbi has not underflowed")
def test_minus_log_viterbi_is_tropical(case: Case):
    for name in case.circuit.keys():
        best, cost = case.results["viterbi"][name], case.results["tropical"][name]
        torch.testing.assert_close(-best[best > 0].log(), cost[best > 0], rtol=1e-12, atol=1e-12)
        # Where no path is left the cost is infinite; below the smallest float only the cost still tells.
        assert (cost[best == 0] > -np.log(np.finfo(np.float64).tiny)).all()


@pytest.mark.guarantee("⊕ over inputs and biases is the semiring's one where the annotation conserves")
@pytest.mark.parametrize("semiring", ["real", "viterbi", "tropical"])
def test_conservation(case: Case, semiring: str):
    np.testing.assert_allclose(totals(case.results[semiring], semiring), SEMIRINGS[semiring].one, atol=1e-9)


@pytest.mark.guarantee("Bottleneck ≥ θ is Boolean relevance at θ: one pass answers every threshold")
def test_bottleneck_answers_every_threshold(case: Case):
    for theta in (1e-9, 0.01, 0.05, 0.2, 0.5):
        boolean = case.circuit.evaluate("boolean", annotation=provnet.annotations.Threshold(theta))
        assert torch.equal(boolean.inputs, case.results["bottleneck"].inputs >= theta), theta


@pytest.mark.guarantee("fast routes equal the literal definition on trained networks")
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_routes_agree(case: Case, semiring: str):
    reference = case.circuit.evaluate(semiring, route="reference")
    found, wanted = case.results[semiring].inputs, reference.inputs.cpu().numpy()
    exact = semiring in ("boolean", "counting", "bottleneck")
    assert matches(found.cpu(), wanted, 0 if exact else 1e-12)


@pytest.mark.parametrize("name", NETS)
def test_float32_stays_near_the_oracle(data: Path, device: torch.device, name: str):
    """Relative to the largest relevance: 1e-4 in Real, whose sums cancel, 1e-5 in Viterbi, whose products do not."""
    case = Case(data, name, torch.float32, str(device))
    network = transcribe(case.model.double(), case.shape).network
    for semiring, tolerance in (("real", 1e-4), ("viterbi", 1e-5)):
        for k, target in enumerate(case.targets):
            wanted = oracle_relevance(network, case.x[k].double().cpu().numpy(), target, semiring).relevance[0]
            assert matches(case.results[semiring].inputs[k].cpu(), wanted, tolerance), (semiring, k)
