"""Rankings of neurons, and the curves of what a model loses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import provnet
from provnet.applications import pruning
from provnet.applications.ablation import score
from provnet.applications.datasets.sweep import sweep
from provnet.applications.pruning import BASELINES, baseline_scores, pruning_curve, ranking, relevance_scores
from provnet.errors import OptionError, UnknownNameError
from tests.nets import perceptron, seeded, small_cnn


@pytest.fixture(scope="module")
def model() -> Any:
    return seeded(lambda: perceptron(6, 8, 4), dtype=torch.float32)


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torch.randn(30, 6), torch.randint(0, 4, (30,))


@pytest.mark.parametrize("semiring", ["real", "boolean", "counting", "viterbi"])
@pytest.mark.parametrize("fold", ["mean", "mean_abs"])
def test_scores_are_means_of_relevance(model: Any, data: tuple[Tensor, Tensor], semiring: str, fold: str) -> None:
    found = relevance_scores(model, data, "0", semiring, fold, batch_size=7)
    r = provnet.trace(model, data[0]).evaluate(semiring, at="0")["0"].double()
    expected = r.mean(0).abs() if fold == "mean" else r.abs().mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_several_semirings_take_one_sweep_and_get_what_each_gets_alone(
    model: Any, data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["viterbi", "boolean", "viterbi"]
    alone = [relevance_scores(model, data, "0", semiring) for semiring in asked]
    sweeps: list[Any] = []
    monkeypatch.setattr(pruning, "sweep", lambda *args, **options: sweeps.append(args) or sweep(*args, **options))
    together = relevance_scores(model, data, "0", asked)
    assert len(sweeps) == 1 and len(together) == 3
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one, other)


def test_costs_are_turned_round(model: Any, data: tuple[Tensor, Tensor]) -> None:
    found = relevance_scores(model, data, "0", "tropical", "mean_finite")
    r = provnet.trace(model, data[0]).evaluate("tropical", at="0")["0"].double()
    finite = torch.isfinite(r)
    expected = -(torch.where(finite, r, 0.0).sum(0) / finite.sum(0)).nan_to_num(nan=float("inf"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_baselines_are_what_they_say(model: Any, data: tuple[Tensor, Tensor]) -> None:
    x = data[0]
    hidden = model[0](x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model[1:](hidden).max(1).values.sum(), hidden)
    weight = model[0].weight.detach()
    expected = {
        "l1": weight.abs().sum(1),
        "l2": weight.square().sum(1).sqrt(),
        "activation": hidden.detach().double().abs().mean(0),
        "gradient_times_activation": (hidden * slope).detach().double().abs().mean(0),
    }
    for name, wanted in expected.items():
        torch.testing.assert_close(baseline_scores(model, data, "0", name), wanted)
    assert torch.equal(baseline_scores(model, data, "0", "random", 4), baseline_scores(model, data, "0", "random", 4))
    assert model[0].weight.grad is None and not model[0]._forward_hooks
    assert set(BASELINES) == {*expected, "random"}


def test_channels_have_scores_too() -> None:
    net, x = small_cnn(8), torch.rand(4, 1, 8, 8)
    outputs = net[0].weight.shape[0]  # type: ignore[union-attr]
    assert relevance_scores(net, x, "1").shape == (outputs,)
    for method in BASELINES:
        assert baseline_scores(net, x, "0", method).shape == (outputs,)


@pytest.mark.guarantee("Ties in a ranking are broken by a seed and reported")
def test_ties_are_broken_by_the_seed_and_reported() -> None:
    scores = torch.tensor([1.0, 0.0, 1.0, 1.0, 2.0, 0.5])
    orders = {tuple(ranking(scores, seed).order.tolist()) for seed in range(20)}
    assert len(orders) == 6  # the three that are equal, in any order
    assert all(order[0] == 1 and order[1] == 5 and order[5] == 4 for order in orders)
    assert ranking(scores).ties == 3
    assert torch.equal(ranking(scores, 7).order, ranking(scores, 7).order)
    assert ranking(scores).keep(2)[4] and int(ranking(scores).keep(2).sum()) == 2
    for wrong in (torch.zeros(2, 2), torch.tensor([float("nan")])):
        with pytest.raises(OptionError):
            ranking(wrong)
    with pytest.raises(OptionError):
        ranking(scores).keep(7)


def test_curves_begin_at_the_model_and_end_without_the_layer(model: Any, data: tuple[Tensor, Tensor]) -> None:
    order = ranking(baseline_scores(model, data, "0", "l1"))
    first, *_, last = pruning_curve(model, data, "0", order, (0, 0.5, 1))
    assert first == score(model, data)
    constant = int(model[2].bias.argmax())
    assert last.accuracy == float((data[1] == constant).double().mean())
    with pytest.raises(OptionError):
        pruning_curve(model, data, "0", order, (1.5,))
    with pytest.raises(OptionError):
        baseline_scores(model, data, "0", "luck")
    with pytest.raises(UnknownNameError):
        baseline_scores(model, data, "nowhere", "l1")
