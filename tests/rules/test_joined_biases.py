"""A dense layer is one block with its bias, however torch computes it and however it is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import UnknownNameError

SEMIRINGS = ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck"]


class Last(nn.Module):
    """A dense layer over the last axis of what `arrange` makes of the input."""

    def __init__(self, arrange: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.dense, self.arrange = nn.Linear(4, 3), arrange

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.arrange(x)).sum(1)


@pytest.mark.guarantee("a dense layer does not depend on how its input lies in memory")
def test_a_dense_layer_does_not_depend_on_memory_layout():
    """torch adds the bias by an op of its own where the input is not contiguous; the bias must still be an input."""
    x = torch.rand(2, 4, 5, dtype=torch.float64)
    scattered = provnet.trace(Last(lambda x: x.transpose(1, 2)).double().eval(), x)
    contiguous = provnet.trace(Last(lambda x: x.transpose(1, 2).contiguous()).double().eval(), x)
    for circuit in (scattered, contiguous):
        assert [block.path for block in circuit.session.data.blocks if block.role == "linear"] == ["dense"]
    for name in SEMIRINGS:
        one, other = (c.evaluate(name, target=0) for c in (scattered, contiguous))
        torch.testing.assert_close(one.inputs, other.inputs, rtol=1e-12, atol=0)
        torch.testing.assert_close(one["dense"], other["dense"], rtol=1e-12, atol=0)
        assert one.bias.keys() == other.bias.keys() == {"dense"}


def test_a_dense_layer_may_be_written_by_hand():
    weight, bias = torch.randn(4, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    x = torch.rand(2, 4, dtype=torch.float64)
    by_hand = provnet.trace(lambda x: x @ weight + bias, x)
    whole = provnet.trace(lambda x: torch.addmm(bias, x, weight), x)
    assert len(by_hand.session.data.blocks) == len(whole.session.data.blocks) == 1
    for name in SEMIRINGS:
        # The two kernels round z differently.
        torch.testing.assert_close(by_hand.evaluate(name).inputs, whole.evaluate(name).inputs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "model",
    [
        lambda x, w, b: (lambda y: (y + b) + y)(x @ w),  # the product is used elsewhere too
        lambda x, w, b: torch.add(x @ w, b, alpha=2),
        lambda x, w, b: x @ w + b[:1],  # not one number a feature
        lambda x, w, b: (x @ w + b) + b,  # a second bias: the first is joined, the second is not
        lambda x, w, b: (x @ w).relu() + b,
    ],
)
def test_what_is_no_bias_of_a_product_stays_apart(model: Callable[..., Tensor]):
    torch.manual_seed(2)
    w, b = torch.randn(4, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    x = torch.rand(2, 4, dtype=torch.float64)
    circuit = provnet.trace(lambda x: model(x, w, b), x)
    assert any(block.op == "aten.add" for block in circuit.session.data.blocks)
    leaf = x.clone().requires_grad_()
    logits = model(leaf, w, b)
    (grad,) = torch.autograd.grad(logits[:, 1].sum(), leaf)
    wanted = leaf * grad / logits[:, 1:2]
    torch.testing.assert_close(circuit.evaluate("real", target=1).inputs, wanted.detach(), rtol=1e-10, atol=1e-12)


def test_the_product_alone_has_no_relevance_and_says_why():
    circuit = provnet.trace(Last(lambda x: x.transpose(1, 2)).eval(), torch.rand(2, 4, 5))
    with pytest.raises(UnknownNameError, match=r"joined with the bias that 'dense/add_1' adds"):
        circuit.evaluate("real", target=0)["dense/mm_1"]
