"""Perturbation curves are what a loop over single inputs gives; good rankings delete faster than bad ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.applications.perturbation import (
    attack,
    attack_ranks,
    attacked,
    faithfulness,
    inverted,
    occluded,
    order_of,
    perturbation_curve,
    resampled,
    to_mean,
    to_zero,
)
from provnet.errors import NonFiniteError, OptionError
from tests.nets import perceptron, seeded

CHANGES = [to_zero, to_mean, inverted, resampled]


@pytest.fixture(scope="module")
def model() -> Any:
    return seeded(lambda: perceptron(6, 8, 3), dtype=torch.float32)


@pytest.fixture(scope="module")
def x() -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return torch.rand(7, 6)


def slow(model: Any, x: Tensor, relevance: Tensor, mode: str, change: Any) -> Tensor:
    """One example, one step, one input at a time."""
    changed, rows = change(x).expand_as(x), []
    for n in range(len(x)):
        label = int(model(x[n : n + 1]).argmax())
        order = sorted(range(x.shape[1]), key=lambda i: -float(relevance[n, i]))  # used at once
        row = []
        for count in range(x.shape[1] + 1):
            one = x[n].clone() if mode == "deletion" else changed[n].clone()
            for i in order[:count]:
                one[i] = changed[n, i] if mode == "deletion" else x[n, i]
            row.append(float(model(one[None]).double().softmax(1)[0, label]))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.guarantee("Deletion and insertion curves are those of a loop that changes one input at a time")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("mode", ["deletion", "insertion"])
def test_curves_are_plain_loops(model: Any, x: Tensor, mode: Any, change: Any) -> None:
    relevance = provnet.trace(model, x).evaluate("real").inputs
    curve = perturbation_curve(model, x, relevance, mode, change=change, steps=6)
    assert curve.steps == tuple(range(7)) and curve.ties == 0
    torch.testing.assert_close(curve.probabilities, slow(model, x, relevance, mode, change), rtol=1e-5, atol=1e-6)
    mean = slow(model, x, relevance, mode, change).mean(0)
    assert curve.area == pytest.approx(float((mean[1:] + mean[:-1]).sum() / 12), rel=1e-4)


def test_insertion_is_deletion_backwards(model: Any, x: Tensor) -> None:
    relevance = torch.rand(7, 6)
    there = perturbation_curve(model, x, relevance, "deletion", steps=6).probabilities
    back = perturbation_curve(model, x, relevance, "insertion", steps=6, least_first=True).probabilities
    torch.testing.assert_close(there, back.flip(1))


@pytest.mark.guarantee("In a linear model, deletion by contribution is the fastest of all orders")
def test_the_true_contributions_delete_fastest() -> None:
    net = nn.Sequential(nn.Linear(8, 2))
    x = torch.rand(5, 8)
    with torch.no_grad():
        scores = net(x)
        label = scores.argmax(1)
        weight = net[0].weight[label] - net[0].weight[1 - label]  # type: ignore[index]
    best = perturbation_curve(net, x, weight * x, steps=8)
    for seed in range(10):
        other = perturbation_curve(net, x, torch.rand(5, 8, generator=torch.Generator().manual_seed(seed)), steps=8)
        assert bool((best.probabilities <= other.probabilities + 1e-6).all())


def test_ties_are_counted_and_broken_by_the_seed() -> None:
    relevance = torch.tensor([[True, False, True, False], [True, False, False, False]])
    order, ties = order_of(relevance)
    assert ties == pytest.approx((1 + 0.75) / 2)
    assert set(order[0, :2].tolist()) == {0, 2} and int(order[1, 0]) == 0
    assert len({tuple(order_of(relevance, seed)[0][1].tolist()) for seed in range(40)}) == 6
    assert order_of(torch.tensor([[3.0, 1.0, float("inf")]]), costs=True)[0].tolist() == [[1, 0, 2]]
    with pytest.raises(NonFiniteError):
        order_of(torch.tensor([[float("nan")]]))


def test_places_go_with_all_their_channels() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 9, 3))
    x, relevance = torch.rand(2, 2, 3, 3), torch.rand(2, 3, 3)
    curve = perturbation_curve(net, x, relevance, steps=[0, 1, 9])
    first = x.clone()
    for n in range(2):
        first[n].flatten(1)[:, int(relevance[n].argmax())] = 0
    label = net(x).argmax(1)
    expected = net(first).double().softmax(1).gather(1, label[:, None])[:, 0]
    torch.testing.assert_close(curve.probabilities[:, 1], expected, rtol=1e-5, atol=1e-6, check_dtype=False)


def test_faithfulness_is_two_points_of_the_curves(model: Any, x: Tensor) -> None:
    relevance = torch.rand(7, 6)
    found = faithfulness(model, x, relevance, share=1 / 3)
    deleted, put = (
        perturbation_curve(model, x, relevance, mode, steps=6).probabilities for mode in ("deletion", "insertion")
    )
    torch.testing.assert_close(found.comprehensiveness, deleted[:, 0] - deleted[:, 2])
    torch.testing.assert_close(found.sufficiency, deleted[:, 0] - put[:, 2])
    for share in (0.0, 1.0):
        with pytest.raises(OptionError):
            faithfulness(model, x, relevance, share)


@pytest.mark.guarantee("Attacks draw inputs by softmax(−R), without replacement")
def test_attacks_draw_by_softmax_of_minus_relevance() -> None:
    """A model that shows which input was changed: the score of class i falls when input i does."""
    relevance = torch.tensor([[0.0, 1.0, 2.0]])
    net = lambda x: x * 100.0  # noqa: E731
    x = torch.tensor([[1.0, 1.0, 1.0]])
    drawn = []
    for target in range(3):
        p = attack(net, x, relevance, 1, to_zero, draws=4000, target=[target])
        drawn.append(float((p[:, 0] < 0.1).double().mean()))
    expected = (-relevance[0]).softmax(0)
    assert drawn == pytest.approx(expected.tolist(), abs=0.04)
    uniform = attack(net, x, None, 1, to_zero, draws=4000, target=[0])
    assert float((uniform < 0.1).double().mean()) == pytest.approx(1 / 3, abs=0.04)
    everything = attack(net, x, relevance, 3, to_zero, target=[0])
    assert float(everything[0, 0]) == pytest.approx(1 / 3)
    assert torch.equal(attack(net, x, relevance, 1, draws=5), attack(net, x, relevance, 1, draws=5))


def test_one_draw_serves_every_count() -> None:
    torch.manual_seed(0)
    x, relevance = torch.rand(5, 2, 3), torch.rand(5, 2, 3)
    ranks = list(attack_ranks(x, relevance, 0.1, draws=2, seed=3))
    assert not torch.equal(*ranks)
    for rank in ranks:
        assert torch.equal(rank.flatten(1).sort(1).values, torch.arange(6).expand(5, 6))
    for count in range(7):
        changed = attacked(x, relevance, count, to_zero, 0.1, draws=2, seed=3)
        for rank, found in zip(ranks, changed, strict=True):
            assert torch.equal(found, torch.where(rank < count, 0.0, x))
    (cold,) = attack_ranks(x[:1, 0], torch.tensor([[3.0, 1.0, 2.0]]), temperature=1e-3)
    assert cold.tolist() == [[2, 0, 1]], "what has little relevance is drawn first"


def test_occluded_zones_are_changed_and_nothing_else() -> None:
    x = torch.rand(2, 1, 4, 6)
    found, corners = occluded(x, 2)
    assert corners.tolist() == [[top, left] for top in (0, 2) for left in (0, 2, 4)]
    for one, (top, left) in zip(found, corners.tolist(), strict=True):
        zone = torch.zeros(4, 6, dtype=torch.bool)
        zone[top : top + 2, left : left + 2] = True
        assert torch.equal(one[..., ~zone], x[..., ~zone])
        assert torch.equal(one[..., zone], (x.flatten(1).amax(1)[:, None, None, None] - x)[..., zone])


def test_what_does_not_fit_is_refused(model: Any, x: Tensor) -> None:
    r = torch.rand(7, 6)
    asks: list[Any] = [
        lambda: perturbation_curve(model, x, r, "both"),  # type: ignore[arg-type]
        lambda: perturbation_curve(model, x, r[:, :3]),
        lambda: perturbation_curve(model, x, r, steps=0),
        lambda: perturbation_curve(model, x, r, steps=[3, 2]),
        lambda: perturbation_curve(model, x, r, steps=[0, 7]),
        lambda: attack(model, x, r, 7),
        lambda: attack(model, x, r, 1, temperature=0),
        lambda: attack(model, x, r[:3], 1),
        lambda: occluded(x, 2),
    ]
    for ask in asks:
        with pytest.raises(OptionError):
            ask()
    with pytest.raises(NonFiniteError):
        attack(model, x, torch.full((7, 6), float("inf")), 1)
