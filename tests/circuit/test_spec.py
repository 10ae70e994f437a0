"""The grammar of blocks: every wiring is accepted as its builder makes it, and refused with any field changed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

import provnet
from provnet.circuit.blocks import BlockCircuit, Call, Input
from provnet.circuit.einsums import einsum_wiring, spread
from provnet.circuit.spec import check_circuit
from provnet.circuit.table import table
from provnet.circuit.unit_functions import call_faults
from provnet.circuit.weights import Partner, PerExample, Slope, Stored
from provnet.circuit.windowed import Convolution, Window, adaptive_window, convolution, window
from provnet.circuit.wiring import Expand, Gather, OneToOne, Part, Scale, Wiring, dense, reduction
from provnet.circuit.wiring_spec import biases_of, faults_of, weights_of
from provnet.errors import CircuitError
from provnet.rules.fusion import Scaled

ONE = (1, 1)
SOUND: list[Wiring] = [
    OneToOne(4, 4),
    Gather(5, 3, index=np.array([4, -1, 0]), taps=1),
    Gather(2, 4, index=np.array([1, 1, 0, 1])),
    Expand(3, 12, shape=(3, 4), part=(3, 1)),
    Scale(12, 12, inner=2, size=3),
    dense(2, 3, 4),
    window(2, (4, 5), (2, 3), (2, 2), (2, 2), (0, 1), ONE),
    adaptive_window(2, (5, 4), (3, 2)),
    convolution(4, 6, 2, (5, 5), (3, 3), (2, 2), (2, 2), (1, 1), (1, 1)),
    spread((3,), (2, 3)),
    einsum_wiring("ab", "cb", "ac", {"a": 2, "b": 3, "c": 4}),
    Part(6, 10, first=1, size=3, width=5),
    reduction((2, 3, 4), (0, 2)),
    table(np.array([[0, 2], [1, -1]]), 3, 2),
]


def read(wiring: Wiring) -> tuple[int, int]:
    """The largest weight and bias index that the wiring's own arithmetic gives, each plus one: the slow twin."""
    outputs = np.arange(wiring.outputs)[:, None]
    source, present, weight = wiring.source(outputs, np.arange(wiring.fan))
    assert (np.asarray(source)[np.broadcast_to(present, np.shape(source))] < wiring.inputs).all()
    return int(np.max(weight)) + 1, int(np.max(wiring.bias(outputs))) + 1


@pytest.mark.parametrize("wiring", SOUND, ids=lambda w: type(w).__name__)
def test_what_a_builder_makes_is_sound_and_reads_what_is_said(wiring):
    assert list(faults_of(wiring)) == []
    weights, biases = read(wiring)
    assert weights <= weights_of(wiring)
    assert isinstance(wiring, Gather) or weights == weights_of(wiring)
    assert biases == biases_of(wiring)


def others(value: object) -> list[object]:
    """Values that a field could be forged to."""
    if value is None:
        return [1, 2]
    if isinstance(value, int):
        return [value + 1, value - 1, -value, 0, 10**30]
    if isinstance(value, str):
        return ["", value + "z", value[:-1], value[::-1], 2 * value]
    if isinstance(value, np.ndarray):
        return [value + 9, value - 9, value[:-1], value.astype(np.int8), value[None]]
    assert isinstance(value, tuple)
    changed = [(*value[:i], other, *value[i + 1 :]) for i in range(len(value)) for other in others(value[i])]
    return [*changed, (), (*value, 1) if value and isinstance(value[0], int) else ((), ())]


@pytest.mark.guarantee("a wiring that a file changed in any field is refused, or reads inside its tensors")
@pytest.mark.parametrize("wiring", SOUND, ids=lambda w: type(w).__name__)
def test_a_field_that_does_not_fit_is_refused(wiring):
    refused = 0
    for field in fields(wiring):
        if field.name in ("inputs", "outputs"):  # the check of the block compares them first
            continue
        for value in others(getattr(wiring, field.name)):
            forged = replace(wiring, **{field.name: value})
            if forged.fan < 1 or forged.channels < 1 or forged.groups < 1 or list(faults_of(forged)):
                refused += 1
                continue
            weights, biases = read(forged)
            assert weights <= weights_of(forged)
            assert biases <= biases_of(forged)
    assert refused > 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("stride", (0, 1)), ("dilation", (0, 1)), ("kernel", (0, 2)), ("padding", (-1, 0)), ("padding", (10**18, 0))],
)
def test_geometry_that_steps_nowhere_is_refused(name, value):
    for wiring in SOUND:
        if isinstance(wiring, Window | Convolution):
            assert list(faults_of(replace(wiring, **{name: value})))


@pytest.mark.guarantee("functions in files come from a closed list of functions of unit edges")
@pytest.mark.parametrize(
    ("call", "sound"),
    [
        (Call("relu", "default", (Input(),)), True),
        (Call("aten.pow", "Tensor_Scalar", (Input(), 2)), True),
        (Call("clamp", "default", (Input(),), {"min": 0.0}), True),
        (Call("from_file", "default", ("/tmp/x", True, 4)), False),
        (Call("relu", "out", (Input(),)), False),
        (Call("relu_", "default", (Input(),)), False),
        (Call("bernoulli", "p", (Input(), 0.5)), False),
        (Call("repeat", "default", (Input(), (10**9,))), False),
        (Call("mul", "Tensor", (Input(), Input())), True),
        (Call("rms_norm", "default", (Input(), (3,), Input())), False),
        (Call("relu", "default", ()), False),
        (Call("pow", "Tensor_Scalar", (Input(), 10**400)), False),
        (Call("__class__", "default", (Input(),)), False),
    ],
)
def test_calls(call, sound):
    assert (not list(call_faults(call))) is sound


# --- blocks and activations -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound() -> BlockCircuit:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)).eval()
    return provnet.trace(net, torch.randn(2, 1, 6, 6)).session.data


def changed(circuit: BlockCircuit, at: int, **fields: object) -> BlockCircuit:
    """Change fields of a block; `weight` and `scale` are its operand's."""
    block = circuit.blocks[at]
    mine = {name: fields.pop(name) for name in ("weight", "scale") if name in fields}
    operands = tuple(replace(operand, **mine) for operand in block.operands)  # type: ignore[arg-type]
    made = replace(block, **{"operands": operands, **fields})
    return replace(circuit, blocks=(*circuit.blocks[:at], made, *circuit.blocks[at + 1 :]))


CONV, RELU, POOL, FLAT, LINEAR = range(5)
FULL = torch.zeros(3, 8)


@pytest.mark.guarantee("a block whose fields do not go together is refused before anything is allocated")
@pytest.mark.parametrize(
    ("at", "fields", "reason"),
    [
        (LINEAR, {"kind": "selection"}, "no role 'linear'"),
        (LINEAR, {"kind": "selection", "role": "pooling"}, "nothing is selected over a Dense"),
        (LINEAR, {"kind": "index", "role": "none"}, "unit edges are no Dense"),
        (LINEAR, {"weight": Stored(torch.zeros(3, 7))}, "21 weights, and its wiring reads 24"),
        (LINEAR, {"weight": Stored(torch.zeros(3, 8, dtype=torch.complex64))}, "no tensor of real numbers"),
        (LINEAR, {"weight": Partner(0)}, "its partner has 36 neurons, and its wiring reads 24"),
        (LINEAR, {"weight": Slope(0, 4)}, "wired row by row"),
        (LINEAR, {"scale": torch.zeros(2, 3)}, "rows that divide 8"),
        (LINEAR, {"copies": 3}, "3 times"),
        (LINEAR, {"annotation": "identity"}, "is not known"),
        (LINEAR, {"convention": "fashion"}, "is none"),
        (LINEAR, {"bias": torch.zeros(2)}, "2 biases, and its wiring reads 3"),
        (LINEAR, {"weight": PerExample(torch.zeros(3, 8))}, "reads 48"),
        (LINEAR, {"bias_by_example": True}, "reads 6"),
        (LINEAR, {"weight": Stored(FULL, ("w", 0, (3, 7), (7, 1)))}, "not as many as it reads"),
        (LINEAR, {"weight": Stored(FULL, ("w", -1, (3, 8), (8, 1)))}, "not as many as it reads"),
        (LINEAR, {"weight": Stored(FULL, ("w", 0, (3, 8), (1 << 62, 1)))}, "beyond any memory"),
        (LINEAR, {"call": Call("relu", "default", (Input(),))}, "computes no function"),
        (RELU, {"weight": Stored(torch.zeros(32))}, "has no weights"),
        (RELU, {"call": Call("from_file", "default", (Input(),))}, "none that a file may name"),
        (POOL, {"bias": torch.zeros(8)}, "has no biases"),
        (POOL, {"operands": ()}, "comes before what feeds it"),
        (CONV, {"weight": Stored(Scaled(torch.zeros(3, 6), torch.zeros(3)))}, "rows of its weight"),
    ],
)
def test_blocks_that_are_refused(sound, at, fields, reason):
    assert check_circuit(sound) is sound
    with pytest.raises(CircuitError, match=reason):
        check_circuit(changed(sound, at, **fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"axis": 1}, "does not hold 2 examples"),
        ({"axis": -1}, "does not hold 2 examples"),
        ({"inner": 2}, "does not hold 2 examples of 2"),
        ({"shape": (36,)}, "one example is said to have"),
        ({"names": ()}, "no name"),
        ({"padding": np.zeros(35, bool)}, "mask of padding"),
        ({"padding": np.zeros(36, np.int64)}, "mask of padding"),
        ({"id": 99}, "is filed as"),
        ({"handle": torch.zeros(2, 1, 6, 6, dtype=torch.complex64)}, "complex64"),
    ],
)
def test_activations_that_are_refused(sound, fields, reason):
    source = sound.sources[0]
    activations = {**sound.activations, source: replace(sound.activations[source], **fields)}
    with pytest.raises(CircuitError, match=reason):
        check_circuit(replace(sound, activations=activations))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, blocks=c.blocks[::-1]),
        lambda c: replace(c, blocks=(*c.blocks, c.blocks[-1])),
        lambda c: replace(c, blocks=c.blocks[:-1]),
        lambda c: replace(c, sources=c.sources * 2),
        lambda c: replace(c, sources=()),
        lambda c: replace(c, outputs=()),
        lambda c: replace(c, batch=0),
        lambda c: replace(c, names={**c.names, "ghost": 999}),
    ],
)
def test_circuits_that_are_refused(sound, change):
    with pytest.raises(CircuitError, match="malformed"):
        check_circuit(change(sound))
