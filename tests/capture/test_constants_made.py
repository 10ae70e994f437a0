"""What is made of a traced tensor and counts as constant says so, has a sink of its name, and may not mix examples."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import provnet
from provnet.errors import CrossExampleError, TraceError, TraceWarning

D = torch.float64
X = torch.tensor([[1.0, 2.0]], dtype=D)
HIDDEN = torch.tensor([[1.1, 0.3], [0.2, 0.6]], dtype=D)
OUT = torch.ones(1, 2, dtype=D)
EYE = torch.eye(3, dtype=D)


def messages(model: Callable[[Tensor], Tensor], x: Tensor = X) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        provnet.trace(model, x)
    assert all(issubclass(one.category, TraceWarning) for one in caught)
    return [str(one.message) for one in caught]


# --- constants that take a share --------------------------------------------------------------------------------------

ADDED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sign": (lambda a: a + a.sign(), "sign"),
    "sgn": (lambda a: torch.sgn(a) + a, "sgn"),
    "heaviside": (lambda a: a + torch.heaviside(a, torch.zeros((), dtype=D)), "heaviside"),
    "a cast to integers": (lambda a: a + a.long(), "_to_copy"),
    "a cast and back": (lambda a: a + a.int().double() * 0.5, "_to_copy"),
    "a mask that is added": (lambda a: a + (a > 0.5).double(), "gt"),
    "an index that is added": (lambda a: a + a.argmin(1, keepdim=True).double(), "argmin"),
    "a look-up by an index": (lambda a: a + EYE[a.argmax(1)][:, :2], "argmax"),
    "one hot": (lambda a: a + F.one_hot(a.argmax(1), 2).double(), "argmax"),
    "in place": (lambda a: a + a.clone().sign_(), "sign"),
    "out=": (lambda a: a + torch.sign(a, out=torch.empty_like(a)), "sign"),
    "a slice of it": (lambda a: a + torch.cat([a, a], 1).sign()[:, 1:3] * 2 - 0.0, "sign"),
}


@pytest.mark.guarantee("an op on a traced float whose result counts as constant warns by name and path, and is a sink")
@pytest.mark.parametrize("name", ADDED)
def test_a_constant_made_of_a_traced_tensor_is_named(name: str):
    function, op = ADDED[name]
    model = lambda x: F.linear(function(F.linear(x, HIDDEN)), OUT)  # noqa: E731
    (message,) = messages(model)
    assert f"'aten.{op}'" in message
    assert "'<lambda>'" in message
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        circuit = provnet.trace(model, X)
    for semiring in ("real", "log", "boolean"):
        found = circuit.evaluate(semiring, 0)
        assert any(key.startswith(f"{op}_") for key in found.sinks)
        assert any(key.startswith(f"{op}_") for key in found.conservation().named)
    found = circuit.evaluate("real", 0)
    total = found.inputs.sum(1) + sum(found.sinks.values())
    assert torch.allclose(total, torch.ones(1, dtype=D))
    (taken,) = (value for key, value in found.sinks.items() if key.startswith(f"{op}_"))
    assert abs(taken.item()) > 0.05


CHOICES: dict[str, Callable[[Tensor], Tensor]] = {
    "a mask that scales": lambda a: a * (a > 0),
    "a mask of floats that scales": lambda a: a * (a > 0).double(),
    "where": lambda a: torch.where(a > 0, a, 0.1 * a),
    "masked_fill": lambda a: a.masked_fill(a < 0.1, 0.0),
    "an index": lambda a: a[:, a[0].argmax()][:, None] + a,
    "control flow": lambda a: a * 2 if a.sum() > 0 else a,
    "shapes": lambda a: a + torch.zeros_like(a) + a.new_ones(2) * 0,
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_no_number_and_is_not_remarked_on(name: str):
    assert messages(lambda x: F.linear(CHOICES[name](F.linear(x, HIDDEN)), OUT)) == []


WAYS_OUT: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "item": (lambda a: a * a.sum().item(), "_local_scalar_dense"),
    "a number of a sign": (lambda a: a * float(a.sign()[0, 0]), "sign"),
    "numpy": (lambda a: a + torch.from_numpy(a.numpy() * 2), "numpy"),
    "tolist": (lambda a: a + torch.tensor(a.tolist(), dtype=D), "tolist"),
    "detach": (lambda a: a + a.detach(), "detach"),
    "data": (lambda a: a + a.data, "data"),
    "round": (lambda a: a.round() + a, "aten.round"),
    "floor": (lambda a: a.floor() + a, "aten.floor"),
    "floor division": (lambda a: a // 0.5 + a, "aten.floor_divide"),
}


@pytest.mark.guarantee("ways out of torch, cut gradients and rounding of a traced tensor are remarked on once, by name")
@pytest.mark.parametrize("name", WAYS_OUT)
def test_ways_out_are_named_once(name: str):
    function, named = WAYS_OUT[name]
    (message,) = messages(lambda x: function(function(F.linear(x, HIDDEN))))
    assert named in message


def test_a_straight_through_quantiser_passes_relevance_through_its_rounding():
    """a + (round(a) − a).detach(): rounding is a unit edge, and what is detached is the same value."""
    model = lambda x: F.linear((a := F.linear(x, HIDDEN)) + (a.round() - a).detach(), OUT)  # noqa: E731
    with pytest.warns(TraceWarning, match="detach"):
        circuit = provnet.trace(model, X)
    a = X @ HIDDEN.t()
    share = a.round() / a.round().sum()
    wanted = (share / a) @ HIDDEN * X  # rounded shares, and then each its part of a
    assert torch.allclose(circuit.evaluate("real", 0).inputs, wanted)
    assert torch.allclose(wanted, torch.tensor([[0.479, 0.521]], dtype=D), atol=1e-3)


@pytest.mark.parametrize(("function", "op"), [(torch.sign, "aten.sign"), (lambda x: (x > 0).double(), "aten.gt")])
def test_an_output_of_constants_alone_is_refused_with_their_names(function: Callable[[Tensor], Tensor], op: str):
    with pytest.raises(TraceError, match=f"{op}.*counts as constant"):
        provnet.trace(lambda x: F.linear(function(F.linear(x, HIDDEN)), OUT), X)


# --- a target that is an input too ------------------------------------------------------------------------------------


def negated(y: Tensor) -> Tensor:
    return torch.neg(y, out=y)


ALIASED: dict[str, Callable[[Tensor], Tensor]] = {
    "neg": negated,
    "a copy of itself": lambda y: -y.copy_(y),
    "add": lambda y: torch.add(y, y, alpha=-2, out=y),
    "mul": lambda y: torch.mul(y, -1.0, out=y),
    "sub": lambda y: torch.sub(torch.zeros_like(y), y, out=y),
    "mm": lambda y: torch.mm(y, -torch.eye(2, dtype=D), out=y),
    "clamp": lambda y: torch.clamp(y, min=-1e9, out=y).neg_(),
    "where": lambda y: torch.where(torch.tensor([True, True]), y, y, out=y).neg_(),
    "cat": lambda y: torch.cat([-y[:, :1], -y[:, 1:]], 1, out=y.new_empty(1, 2)),
    "slices": lambda y: y.copy_(y.flip(1).flip(1)).mul_(-1),
}


@pytest.mark.guarantee("an input that is also the op's target is read: out=, copies of a tensor to itself")
@pytest.mark.parametrize("name", ALIASED)
def test_an_input_that_is_the_target_is_read(name: str):
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=D)

    def model(x: Tensor) -> Tensor:
        y = F.linear(x, weight) * 3
        return F.linear(x, weight) + ALIASED[name](y)

    with torch.no_grad():
        found = provnet.trace(model, X).evaluate("real", 0).inputs
    assert torch.allclose(found, torch.tensor([[0.2, 0.8]], dtype=D))


# --- control by other examples ----------------------------------------------------------------------------------------

BATCH = torch.tensor([[1.0, 4.0], [3.0, 2.0], [0.5, -1.0]], dtype=D)
MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "the batch's mean": lambda x: x * (x > x.mean(0)),
    "the batch's maximum": lambda x: torch.where(x == x.max(0).values, x, 0.5 * x),
    "any example": lambda x: x * (x > 3).any(0),
    "a share of the batch": lambda x: x * ((x > 0).double().mean(0) + 1),
    "the whole": lambda x: x * (x > x.mean()),
    "another example": lambda x: x.masked_fill(x > x.flip(0), 0.0) + x,
    "signs": lambda x: x * (x - x.mean(0)).sign(),
    "merged rows": lambda x: x * (x.reshape(-1) > x.mean()).reshape(-1, 2),
}


@pytest.mark.guarantee("a mask or a number made from other examples' values is refused, with and without check_batch")
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("name", MIXED)
def test_control_by_other_examples_is_refused(name: str, check: bool):
    model = lambda x: F.linear(MIXED[name](x), OUT)  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(CrossExampleError, match="several examples"):
            provnet.trace(model, BATCH, check_batch=check)
        provnet.trace(model, BATCH[:1])  # the message's advice


OWN: dict[str, Callable[[Tensor], Tensor]] = {
    "each example's mean": lambda x: x * (x > x.mean(1, keepdim=True)),
    "a number": lambda x: x * (x > 0.5),
    "merged rows": lambda x: (x.reshape(-1) * (x.reshape(-1) > 0.5)).reshape(3, 2),
    "transposed": lambda x: (x.t() * (x.t() > x.t().mean(0))).t(),
    "random": lambda x: x * (x > 0) + 0 * torch.rand(3, 2, dtype=D),
    "a fixed mask": lambda x: x * (torch.ones_like(x) > 0),
}


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("name", OWN)
def test_control_by_the_example_itself_is_traced(name: str, check: bool):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        provnet.trace(lambda x: F.linear(OWN[name](x), OUT), BATCH, check_batch=check)


@pytest.mark.guarantee("of an op whose values are traced, the indices alone are said to be constant")
def test_the_indices_of_a_choice_are_what_is_constant() -> None:
    x = torch.rand(2, 4)
    with pytest.warns(TraceWarning, match=r"^the indices of 'aten\.topk' on a traced tensor .* count as constant"):
        provnet.trace(lambda x: x.sum(1, keepdim=True) + x.topk(2).indices.float(), x)
