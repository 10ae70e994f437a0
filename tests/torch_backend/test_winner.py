"""The route for max pooling against the definition, where windows overlap, tie, and stick out into the padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.semirings.annotations.base import Edges
from provnet.semirings.base import Semiring
from tests.nets import seeded

POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.MaxPool2d(3, stride=1, padding=1, dilation=1),
    nn.MaxPool2d(2, stride=3, ceil_mode=True),
    nn.MaxPool2d((2, 3), stride=1, dilation=2),
]


@pytest.mark.guarantee("the route for max pooling equals the definition in every semiring, ties and overlaps included")
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize(
    "semiring", ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck", "expectation", "log"]
)
def test_equals_the_definition(pool: nn.Module, semiring: str):
    net = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(4)))
    x = torch.randint(0, 3, (3, 1, 7, 8), generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        net(x)
    circuit = provnet.trace(net, x)
    fast, slow = (circuit.evaluate(semiring, 2, route=route) for route in ("winner", "reference"))
    assert "winner" in [step.route for step in fast.plan]
    assert "winner" not in [step.route for step in slow.plan]
    for path in ("1", "0", "input"):
        assert torch.allclose(fast[path].double(), slow[path].double(), rtol=1e-13, atol=1e-15), path


def test_an_annotation_that_tells_slots_apart_is_asked_slot_by_slot():
    class BySlot(provnet.annotations.Annotation):
        """d divided by the number of the slot: it has no form that a route could know."""

        name = "by-slot"

        def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
            return (edges.d / torch.arange(1, edges.d.shape[-1] + 1)).to(dtype)

    net = seeded(lambda: nn.Sequential(nn.MaxPool2d(3, stride=2, padding=1), nn.Flatten(), nn.Linear(4, 2)))
    circuit = provnet.trace(net, torch.rand(1, 1, 4, 4, dtype=torch.float64))
    fast, slow = (circuit.evaluate("real", 0, annotation=BySlot(), route=route) for route in ("winner", "reference"))
    assert "winner" in [step.route for step in fast.plan]
    torch.testing.assert_close(fast.inputs, slow.inputs)
