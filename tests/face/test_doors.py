"""Every door into a semiring's carrier has the same width: gates by tensor, list, array and dict, and `start=`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import provnet
from provnet import errors, semirings
from provnet.rules.lrp.epsilon import Epsilon
from provnet.rules.lrp.gamma import Gamma

SINGLE = [name for name in semirings.names() if not semirings.get(name).element_shape]
NEVER = [float("nan"), 1j, "3", None, 2**63]
X = torch.tensor([[1.0, 2.0]], dtype=torch.double)


def doors(name: str) -> dict[str, Callable[[Any], Any]]:
    circuit = provnet.trace(torch.nn.Linear(2, 2, bias=False).double(), X)
    gates = circuit.gates(target=0)
    names = [variable.name for variable in gates.variables]

    def through(valuation: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: gates.evaluate(name, valuation(value)).tensor[0]

    return {
        "dict": through(lambda value: dict.fromkeys(names, value)),
        "list": through(lambda value: [value] * len(names)),
        "array": through(lambda value: np.array([value] * len(names))),
        "tensor": through(lambda value: torch.tensor([value] * len(names))),
        "tensors": through(lambda value: [torch.tensor(value)] * len(names)),
        "start": lambda value: circuit.evaluate(name, target=0, start=value) and value,
    }


@pytest.mark.guarantee("Doors: what lies outside a carrier is refused by every way of giving an element")
@pytest.mark.parametrize("value", NEVER, ids=repr)
@pytest.mark.parametrize("name", SINGLE)
def test_what_no_carrier_holds_is_refused(name, value):
    for door, give in doors(name).items():
        if door in ("tensor", "tensors") and not isinstance(value, float | complex):
            continue  # torch itself makes no such tensor
        with pytest.raises(provnet.ProvnetError):
            give(value)


@pytest.mark.guarantee("Doors: one element comes in the same by every way of giving it")
@pytest.mark.parametrize("name", SINGLE)
def test_a_legal_element_is_the_same_through_every_door(name):
    one = semirings.get(name).one
    found = [give(one) for door, give in doors(name).items() if door != "start"]
    assert all(torch.equal(element, found[0]) for element in found)
    doors(name)["start"](one)


@pytest.mark.guarantee("Doors: a fraction is no count, no set of bits and no truth value")
@pytest.mark.parametrize("name", ["counting", "boolean", "modular-integer", "security", "bitset64"])
def test_fractions_are_refused(name):
    for give in doors(name).values():
        with pytest.raises(provnet.ProvnetError, match="carrier"):
            give(1.5)


def chain(semiring: Any, value: Any, **options: Any) -> Any:
    model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.Linear(1, 1, bias=False)).double()
    gates = provnet.trace(model, X).gates(target=0)
    if isinstance(value, torch.Tensor):
        return gates.evaluate(semiring, value.expand(len(gates.variables)), **options)
    return gates.evaluate(semiring, {variable.name: value for variable in gates.variables}, **options)


@pytest.mark.guarantee("Doors: narrow whole numbers as values of gates do not wrap")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_narrow_integers_do_not_wrap(dtype):
    assert chain("real", torch.tensor(100, dtype=dtype))["input[0]"] == 10_000
    assert chain("counting", torch.tensor(100, dtype=dtype))["input[0]"] == 10_000


@pytest.mark.guarantee("Overflow on gates is refused")
@pytest.mark.parametrize(
    ("semiring", "value"), [("real", 1e200), ("min-plus", 1e308), ("log", 1e308), ("non-negative", 1e200)]
)
def test_overflow_on_gates_is_refused(semiring, value):
    with pytest.raises(errors.NonFiniteError, match="overflow"):
        chain(semiring, value)
    assert torch.isinf(chain("min-plus", float("inf"))["input[0]"])  # its zero, which came in, is none


@pytest.mark.guarantee("Counts on gates: exact=True climbs to whole numbers of any size, as the refusal advises")
def test_gates_count_exactly():
    with pytest.raises(errors.CountOverflowError, match="exact=True"):
        chain("counting", 2**62)
    assert chain("counting", 2**62, exact=True)["input[0]"] == 2**124


@pytest.mark.guarantee("Names of neurons are taken with and without a space, as tuples and with numpy's integers")
def test_names_of_neurons():
    gates = provnet.trace(torch.nn.Flatten(), torch.ones(1, 1, 2)).gates(target=1)
    found = gates.evaluate("real", None) if not len(gates.variables) else gates.evaluate("real")
    for name in ("input[0,1]", "input[0, 1]", ("input", 0, np.int64(1))):
        assert found[name] == 1
    with pytest.raises(errors.UnknownNameError, match="Roots"):
        found["inputs[0,1]"]


def test_options_out_of_range_are_refused():
    model = torch.nn.Linear(2, 1)
    with pytest.raises(errors.OptionError, match="batch_dim"):
        provnet.trace(model, X.float(), batch_dim=None)  # type: ignore[arg-type]
    for rule in (Gamma(1e39), Epsilon(1e39), Gamma(1e39, signed=True), Epsilon(1e39, literal=True)):
        with pytest.raises(errors.OptionError, match="float32"):
            provnet.trace(model, X.float()).evaluate("real", target=0, rule=rule)


@pytest.mark.guarantee("make: a matrix product is not commutative, and a finite carrier is tried on its own values")
def test_made_semirings_are_tried_on_their_carrier():
    zero, one = torch.zeros(2, 2), torch.eye(2)
    with pytest.raises(errors.LawError, match="commutativ"):
        semirings.make(torch.add, torch.matmul, zero, one)
    with pytest.raises(errors.LawError, match="leading axes"):
        semirings.make(torch.add, torch.bmm, zero, one)
    semirings.make(torch.add, torch.matmul, zero, one, commutative=False)
    join, meet = torch.tensor([[0, 1, 2], [1, 1, 2], [2, 2, 2]]), torch.tensor([[0, 0, 0], [0, 1, 2], [0, 2, 2]])
    tables = (lambda a, b: join[a, b]), (lambda a, b: meet[a, b])
    with pytest.raises(errors.OptionError, match="carrier=range"):
        semirings.make(*tables, 0, 1, dtype=torch.int64)
    made = semirings.make(*tables, 0, 1, dtype=torch.int64, carrier=range(3))
    assert chain(made, 2)["input[0]"] == 2
    with pytest.raises(errors.ValuationError, match="carrier"):
        chain(made, 3)
