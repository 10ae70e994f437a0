"""What a user declares of an op or of a module is compared with what it computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.circuit.wiring import OneToOne, dense, reduction
from provnet.errors import TraceError, UnsupportedOperationError
from provnet.rules.build import build
from provnet.rules.ops.base import REGISTRY, op_rule
from tests.rules.one_op import execute

D = torch.float64
X = torch.tensor([[1.0, 3.0, 2.0]], dtype=D)


@pytest.fixture
def declare() -> Iterator[Callable[..., None]]:
    """register_op in place of a rule that may be there, undone afterwards."""

    def register(name: str, form: Any) -> None:
        REGISTRY._entries.pop(name, None)
        op_rule(name, form=form)

    with REGISTRY.scope():
        yield register


@pytest.mark.guarantee("a module kept whole as 'uniform' gives each input its share of their sum, in all semirings")
def test_uniform_divides_by_the_sum_of_the_inputs(declare: Callable[..., None]):
    x = torch.tensor([[1.0, 2.0, 3.0], [2.0, -1.0, 3.0]], dtype=D)
    shares = x / x.sum(1, keepdim=True)
    model = nn.Sequential(nn.Softmax(1))
    circuit = provnet.trace(model, x, opaque={"0": "uniform"})
    assert torch.allclose(circuit.evaluate("real", 0).inputs, shares, rtol=1e-15)
    assert torch.allclose(circuit.evaluate("max-times", 0).inputs, shares.abs(), rtol=1e-15)
    assert torch.allclose(circuit.evaluate("real", 0, dtype=torch.float32).inputs, shares.float())
    gates = circuit.gates(0, batch=0)
    found = torch.stack(list(gates.evaluate("real", gates.valuation("real")).values()))
    assert torch.allclose(found.reshape(-1), shares[0], rtol=1e-15)
    with pytest.raises(UnsupportedOperationError, match="jacobian"):
        circuit.evaluate("real", 0, "gradient")
    declare("aten._softmax", "uniform")
    assert torch.allclose(provnet.trace(model, x).evaluate("real", 0).inputs, shares, rtol=1e-15)
    two = lambda x, y: torch.log_softmax(x, 1) + y  # noqa: E731
    declare("aten._log_softmax", "uniform")
    assert torch.allclose(
        provnet.trace(lambda x: torch.log_softmax(x, 1), x).evaluate("real", 0).inputs, shares, rtol=1e-15
    )
    assert provnet.trace(two, x, x.clone()).evaluate("real", 0)["x"].shape == x.shape


aten = torch.ops.aten
INDEX: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "topk": (aten.topk.default, (2, 1)),
    "sort": (aten.sort.default, (1,)),
    "sort, falling": (aten.sort.default, (1, True)),
    "kthvalue": (aten.kthvalue.default, (2, 1, True)),
    "median": (aten.median.dim, (1, True)),
    "a write that adds": (
        aten.index_put.default,
        ((torch.tensor([0]), torch.tensor([1])), torch.tensor(1.0, dtype=D), True),
    ),
}


@pytest.mark.guarantee("an op declared an index map must give the very entries that the map says, or it is refused")
@pytest.mark.parametrize("name", INDEX)
def test_an_index_map_that_depends_on_values_is_right_or_refused(name: str):
    function, args = INDEX[name]
    x = torch.tensor([[3.0, 1.0, 2.0, 5.0]], dtype=D)
    with pytest.raises(TraceError, match=r"depends on values|chooses by value"):
        build(execute(function, x, *args, sources=[x], opaque="index"))


def test_an_index_map_of_ones_own_is_taken(declare: Callable[..., None]):
    declare("aten.pixel_unshuffle_of_mine", "index")  # an op that is never met does no harm
    declare("aten.rot90", "index") if "aten.rot90" not in REGISTRY else None
    x = torch.rand(2, 1, 4, 4, dtype=D)
    model = lambda x: nn.functional.pixel_unshuffle(x, 2).flatten(1)[:, 5:7]  # noqa: E731
    found = provnet.trace(model, x).evaluate("real", 0).inputs
    assert found.sum().item() == 2


WEIGHT = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=D)
WRONG: dict[str, Callable[[Any], Any]] = {
    "weights of another map": lambda op: 2 * WEIGHT,
    "inputs in another order": lambda op: WEIGHT.flip(1),
    "weights by example": lambda op: WEIGHT.flip(0)[None],
    "a block without its bias": lambda op: op.affine(dense(1, 3, 2), WEIGHT),
    "a largest input": lambda op: op.place("selection", "pooling", dense(1, 3, 2), op.layout(op.inputs[0])),
}


@pytest.mark.guarantee("weights that a user's op rule gives are compared with the recorded output")
@pytest.mark.parametrize("name", WRONG)
def test_a_users_rule_that_does_not_give_the_output_is_refused(name: str):
    layer = nn.Linear(3, 2, dtype=D).requires_grad_(False)
    layer.weight.copy_(WEIGHT)
    layer.bias.fill_(1.0 if "bias" in name else 0.0)
    with pytest.raises(TraceError, match=r"its rule says that neuron 0 of example 0 is .* but the op gave"):
        provnet.trace(nn.Sequential(layer), X, opaque={"0": WRONG[name]})


def test_a_users_rule_that_gives_the_output_is_taken():
    layer = nn.Linear(3, 2, dtype=D).requires_grad_(False)
    bias = layer.bias.clone()
    circuit = provnet.trace(
        nn.Sequential(layer), X, opaque={"0": lambda op: op.affine(dense(1, 3, 2), layer.weight, bias)}
    )
    plain = provnet.trace(nn.Sequential(layer), X)
    assert torch.equal(circuit.evaluate("real", 0).inputs, plain.evaluate("real", 0).inputs)
    largest = lambda op: op.place("selection", "pooling", reduction((3,), (0,)), op.layout(op.inputs[0]))  # noqa: E731
    pool = nn.AdaptiveMaxPool1d(1)
    found = provnet.trace(lambda x: pool(x).flatten(1), X[:, None], opaque={pool: largest}).evaluate("real", 0)
    assert found.inputs.reshape(-1).tolist() == [0, 1, 0]


def test_an_index_block_of_ones_own_is_compared_too():
    with pytest.raises(TraceError, match="passes entries on"):
        provnet.trace(
            nn.Sequential(nn.ReLU()),
            -X,
            opaque={"0": lambda op: op.place("index", "none", OneToOne(3, 3), op.layout(op.inputs[0]))},
        )


@pytest.mark.guarantee("an op declared an identity has a derivative only where it is a step of single entries")
def test_an_identity_that_mixes_entries_has_no_derivative(declare: Callable[..., None]):
    declare("aten._softmax", "identity")
    circuit = provnet.trace(lambda x: torch.softmax(x, 1), X)
    assert circuit.evaluate("real", 1).inputs.tolist() == [[0, 1, 0]]
    with pytest.raises(UnsupportedOperationError, match="jacobian"):
        circuit.evaluate("real", 1, "gradient")
    declare("aten.erfcx", "identity") if "aten.erfcx" not in REGISTRY else None
    declare("aten.special_erfcx", "identity")
    x = X.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(torch.special.erfcx(x)[:, 1].sum(), x)
    assert torch.allclose(provnet.trace(torch.special.erfcx, X).evaluate("real", 1, "gradient").inputs, wanted)
    with pytest.raises(TraceError, match="equal shapes"):
        provnet.trace(nn.Sequential(nn.Linear(3, 2, dtype=D)), X, opaque={"0": "identity"})
