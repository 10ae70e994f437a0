"""Masks of classes, and what a model does without what they leave out."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.applications.ablation import ablated, masked_copy, score, smaller
from provnet.applications.datasets.masks import class_masks, only_inputs, overlap, relevant_share, theta_scan
from provnet.errors import InputError, OptionError, UnknownNameError
from tests.nets import perceptron, seeded

CLASSES = 3


@pytest.fixture(scope="module")
def model() -> Any:
    return seeded(lambda: perceptron(6, 7, 5, CLASSES), dtype=torch.float32)


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        x = torch.randn(20, 6) * (torch.rand(20, 6) > 0.3)
        return x, torch.tensor([0, 1] * 10)  # class 2 has no example


@pytest.mark.parametrize("at", ["input", "1"])
@pytest.mark.parametrize("share", ["all", "any", 0.5, 0.9, 1.0])
def test_masks_are_counted_in_a_plain_loop(model: Any, data: tuple[Tensor, Tensor], at: str, share: Any) -> None:
    x, y = data
    masks = class_masks(model, data, share, at, batch_size=6)
    relevance = provnet.trace(model, x).evaluate("boolean", y.tolist(), at="*")[at]
    for label in range(CLASSES):
        found = relevance[y == label].double()
        if not len(found):
            assert not masks[label].any()
            continue
        frequency = found.mean(0)
        if isinstance(share, str):
            assert torch.equal(masks[label], found.all(0) if share == "all" else found.any(0))
        else:
            assert torch.equal(masks[label], frequency >= share - 1e-12)


@pytest.mark.guarantee("AND masks lie within frequency masks, and these within OR masks")
def test_masks_grow_as_the_share_falls(model: Any, data: tuple[Tensor, Tensor]) -> None:
    tally = provnet.sweep(model, data, "boolean", "label", combine="frequency", by="label")
    masks = [relevant_share(tally, share) for share in ("all", 1.0, 0.7, 0.2, "any")]
    assert all(bool((small <= large).all()) for small, large in pairwise(masks))
    assert torch.equal(masks[0], masks[1])
    for share in (0.0, -1, 1.1, "some"):
        with pytest.raises(OptionError, match="share="):
            relevant_share(tally, share)


def test_overlap_is_the_jaccard_index() -> None:
    masks = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]).bool()
    assert overlap(masks).tolist() == [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]
    with pytest.raises(OptionError):
        overlap(masks.float())


def test_a_mask_that_only_says_where_the_input_is_is_told(data: tuple[Tensor, Tensor]) -> None:
    """With one layer of positive weights and θ near 0, each input above 0 is relevant."""
    one: Any = perceptron(6, CLASSES)
    with torch.no_grad():
        one[0].weight.fill_(1.0)
        one[0].bias.zero_()
    x, y = data[0].abs(), data[1]
    masks = class_masks(one, (x, y), "any")
    assert only_inputs(masks, x, y) == [0, 1]
    larger = class_masks(one, (x + 0.1, y), "all", annotation=provnet.annotations.Threshold(0.3))
    assert only_inputs(larger, x + 0.1, y, "all") == []


def test_a_scan_of_thresholds_is_one_sweep_of_many_masks(model: Any, data: tuple[Tensor, Tensor]) -> None:
    x, y = data[0].abs(), data[1]
    thetas = [1e-9, 0.2, 5.0]
    steps = theta_scan(model, (x, y), thetas, "any", batch_size=7)
    for theta, step in zip(thetas, steps, strict=True):
        wanted = class_masks(model, (x, y), "any", annotation=provnet.annotations.Threshold(theta))
        assert step.theta == theta and torch.equal(step.masks, wanted)
        assert step.only_inputs == only_inputs(wanted, x, y, "any")
    assert [step.says_something for step in steps][-1] is any(
        bool(mask.any()) and label not in steps[-1].only_inputs for label, mask in enumerate(steps[-1].masks)
    )
    one: Any = perceptron(6, CLASSES)
    with torch.no_grad():
        one[0].weight.fill_(1.0)
        one[0].bias.zero_()
    assert not theta_scan(one, (x, y), [1e-9], "any")[0].says_something
    with pytest.raises(OptionError, match="scans nothing"):
        theta_scan(model, (x, y), [])


# -- ablation ----------------------------------------------------------------------------------------------------------


def test_ablation_keeps_the_mask_and_leaves_the_model_as_it_was(model: Any, data: tuple[Tensor, Tensor]) -> None:
    x, mask = data[0], torch.tensor([True, False, True, True, False, True, False])
    before = model(x)
    hidden = model[1](model[0](x))
    with ablated(model, {"1": mask}):
        torch.testing.assert_close(model(x), model[2:](hidden * mask))
    mean = hidden.mean(0)
    with ablated(model, {"1": mask}, {"1": mean}):
        torch.testing.assert_close(model(x), model[2:](torch.where(mask, hidden, mean)))
    for wrong, error in (
        ({"1": mask[:3]}, OptionError),
        ({"1": mask.float()}, OptionError),
        ({"9": mask}, UnknownNameError),
    ):
        with pytest.raises(error), ablated(model, wrong):
            model(x)
    assert torch.equal(model(x), before)


@pytest.mark.guarantee("A layer that lost neurons computes what it computes with these neurons ablated")
@pytest.mark.parametrize("bias", ["remove", "keep"])
def test_masked_copies_and_smaller_models_compute_the_same(model: Any, data: tuple[Tensor, Tensor], bias: Any) -> None:
    masks = {"0": torch.tensor([1, 0, 1, 1, 0, 1, 0]).bool(), "2": torch.tensor([0, 1, 1, 1, 0]).bool()}
    held = copy.deepcopy(model.state_dict())
    found = masked_copy(model, masks, bias)(data[0])
    assert all(torch.equal(tensor, held[name]) for name, tensor in model.state_dict().items())
    if bias == "remove":
        with ablated(model, masks):
            torch.testing.assert_close(found, model(data[0]))
        shrunk = smaller(model, masks)
        assert [tuple(shrunk[n].weight.shape) for n in (0, 2, 4)] == [(4, 6), (3, 4), (3, 3)]  # type: ignore[arg-type]
        torch.testing.assert_close(shrunk(data[0]), found)
    else:
        with torch.no_grad():
            expected = torch.where(masks["0"], model[0](data[0]), model[0].bias).relu()
            expected = torch.where(masks["2"], model[2](expected), model[2].bias).relu()
        torch.testing.assert_close(found, model[4](expected))


def test_channels_go_with_their_batch_norm_and_their_places_in_the_dense_layer() -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 3)
    )
    net[1].running_mean.normal_()
    net[1].bias.data.normal_()
    net.eval()
    x, mask = torch.randn(2, 1, 8, 8), torch.tensor([True, False, True, False])
    with ablated(net, {"1": mask}):
        expected = net(x)
    found = smaller(net, {"0": mask})
    assert found[5].in_features == 18  # type: ignore[union-attr]
    torch.testing.assert_close(found(x), expected)


def test_what_cannot_be_made_smaller_is_refused(model: Any) -> None:
    keep = torch.tensor([True] * 6 + [False])
    softmax = nn.Sequential(nn.Linear(6, 7), nn.Softmax(1), nn.Linear(7, 2))
    cases: list[tuple[Any, dict[str, Tensor]]] = [
        (softmax, {"0": keep}),
        (model, {"0": torch.zeros(7).bool()}),
        (model, {"4": torch.tensor([True, False, True])}),
        (model, {"0": keep[:3]}),
        (nn.Linear(6, 7), {"": keep}),
    ]
    for net, masks in cases:
        with pytest.raises(OptionError):
            smaller(net, masks)
    with pytest.raises(UnknownNameError):
        masked_copy(model, {"1": keep})


def test_scores_are_accuracy_and_cross_entropy(model: Any, data: tuple[Tensor, Tensor]) -> None:
    found = score(model, data, batch_size=7)
    scores = model(data[0])
    assert found.examples == 20
    assert found.accuracy == float((scores.argmax(1) == data[1]).double().mean())
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(scores.double(), data[1])))
    for wrong in (data[0], (data[0], data[1] + 2)):
        with pytest.raises(InputError, match="labels"):
            score(model, wrong)
