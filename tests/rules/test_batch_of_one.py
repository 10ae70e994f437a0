"""A batch of one holds the example on any axis, or on none: whatever traces in a batch of two traces there too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import provnet
from provnet.errors import CrossExampleError

D = torch.float64
G = torch.Generator().manual_seed(0)
w2, w4, W23, W43 = (torch.rand(*shape, generator=G, dtype=D) for shape in ((2,), (4,), (2, 3), (4, 3)))

MODELS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "einsum bi,i->b": (lambda x: torch.einsum("bi,i->b", x, w2), (2,)),
    "einsum oc,bchw->bohw": (lambda x: torch.einsum("oc,bchw->bohw", W43, x).flatten(1), (3, 2, 2)),
    "einsum bij,kj->bki": (lambda x: torch.einsum("bij,kj->bki", x, W23).flatten(1), (4, 3)),
    "einsum bij,ij->b": (lambda x: torch.einsum("bij,ij->b", x, W43), (4, 3)),
    "einsum bij,i->bj": (lambda x: torch.einsum("bij,i->bj", x, w4), (4, 3)),
    "mv": (lambda x: x @ w2, (2,)),
    "matmul, constant on the left": (lambda x: torch.matmul(W43, x).flatten(1), (3, 2)),
    "bmm of an expanded matrix": (
        lambda x: torch.bmm(x.unsqueeze(1), W43.t().expand(len(x), 3, 4)).squeeze(1),
        (3,),
    ),
    "baddbmm": (
        lambda x: torch.baddbmm(w4.view(1, 1, 4), x.unsqueeze(1), W43.t().expand(len(x), 3, 4)).squeeze(),
        (3,),
    ),
    "transposed twice": (lambda x: (W23 @ x.T).T, (3,)),
    "squeeze before a linear layer": (lambda x: F.linear(x.squeeze(), W23, w2).reshape(len(x), -1), (3,)),
    "squeeze after a linear layer": (lambda x: (F.linear(x, W23[:1]).squeeze().relu() * 2 + 1).reshape(len(x)), (3,)),
    "a number without axes": (lambda x: F.linear(x, W23[:1]).squeeze(), (3,)),
    "a number that is unsqueezed": (lambda x: F.linear(x, W23[:1]).squeeze().unsqueeze(-1) * w2, (3,)),
    "squeeze before a sum": (lambda x: F.linear(x, W23).squeeze().sum(-1), (3,)),
    "squeeze before a maximum": (lambda x: F.linear(x, W23).squeeze().max(-1, keepdim=True).values, (3,)),
    "expand": (lambda x: (x[:, None, :].expand(len(x), 4, 3) + W43).sum(2), (3,)),
    "global pooling and squeeze": (lambda x: F.linear(x.mean((2, 3)).squeeze(), W23).reshape(len(x), -1), (3, 2, 2)),
}


@pytest.mark.guarantee("a batch of one is traced as a batch of two is: nothing mixes where there is one example")
@pytest.mark.parametrize("name", MODELS)
def test_one_example_gives_what_it_gives_among_two(name: str):
    model, shape = MODELS[name]
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1), dtype=D)
    for rule in ("zero", "gradient"):
        alone, among = (provnet.trace(model, part).evaluate("real", 0, rule).inputs for part in (x[:1], x))
        assert alone.shape == (1, *shape)
        assert torch.allclose(alone, among[:1], rtol=1e-12, atol=1e-14)
    x = x[:1].requires_grad_()
    (wanted,) = torch.autograd.grad(model(x).reshape(-1)[0], x)
    assert torch.allclose(alone, wanted, rtol=1e-12)


def test_a_sum_over_the_batch_is_refused_for_two_and_taken_for_one():
    """The message's advice: trace one example at a time."""
    model = lambda x: nn.functional.linear(x - x.mean(0), W23)  # noqa: E731
    x = torch.rand(2, 3, dtype=D)
    with pytest.raises(CrossExampleError, match="trace one example"):
        provnet.trace(model, x)
    provnet.trace(lambda x: x + x.sum(0), x[:1])
