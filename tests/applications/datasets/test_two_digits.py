"""Pairs of digits: what stands where, one seed one dataset, and which half relevance lies in."""

from __future__ import annotations

import pytest
import torch

import provnet
from provnet.applications.datasets.two_digits import halves_of_masks, two_digits, upper_share
from provnet.errors import InputError
from tests.nets import perceptron


@pytest.mark.parametrize("shape", [(5, 3, 2), (5, 1, 3, 2)])
def test_the_upper_digit_is_the_label_and_the_lower_one_of_the_set(shape: tuple[int, ...]) -> None:
    images, labels = torch.rand(shape), torch.arange(5)
    state = torch.get_rng_state()
    pairs, named = two_digits(images, labels, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert pairs.shape == (*shape[:-2], 6, 2)
    assert torch.equal(pairs[..., :3, :], images) and torch.equal(named, labels)
    assert all(any(torch.equal(pair[..., 3:, :], image) for image in images) for pair in pairs)
    assert torch.equal(two_digits(images, labels, seed=3)[0], pairs)
    assert any(not torch.equal(two_digits(images, labels, seed)[0], pairs) for seed in range(4, 9))
    other = torch.full_like(images, 7.0)
    assert bool((two_digits(images, labels, 0, other)[0][..., 3:, :] == 7).all())


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="of one size"):
        two_digits(torch.rand(2, 3, 2), torch.arange(2), lower=torch.rand(2, 4, 2))
    with pytest.raises(InputError, match="one for each"):
        two_digits(torch.rand(2, 3, 2), torch.arange(3))
    with pytest.raises(InputError, match="one or more"):
        two_digits(torch.rand(0, 3, 2), torch.arange(0))
    with pytest.raises(InputError, match="half"):
        upper_share(torch.rand(5, 2))


def test_a_network_that_reads_the_upper_half_has_its_relevance_there() -> None:
    x, y = two_digits(torch.rand(12, 2, 3) + 0.1, torch.arange(12) % 2)
    net = perceptron(12, 2)
    with torch.no_grad():
        net[0].weight.fill_(1.0)  # type: ignore[operator, union-attr]
        net[0].weight[:, 6:] = 0  # type: ignore[index, union-attr]
    tally = provnet.sweep(net, (x.flatten(1), y), "boolean", "label", combine="frequency", by="label")
    assert upper_share(tally["frequency"].reshape(4, 3)) == 1
    assert halves_of_masks(tally, "all", 3) == (6, 0)
    assert upper_share(torch.zeros(4, 3)) == 0.5
