"""Unit edges, selections, opaque ops, and ops of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from provnet.capture.record import record
from provnet.circuit.weights import Ones, PerExample, Stored
from provnet.circuit.wiring import Gather, OneToOne, dense
from provnet.errors import (
    CrossExampleError,
    LimitError,
    MissingRuleError,
    OptionError,
    TraceError,
    TrainingModeError,
    UnknownNameError,
)
from provnet.rules.build import build
from provnet.rules.ops import opaque
from provnet.rules.ops.base import REGISTRY, op_rule
from provnet.rules.ops.elementwise import UNARY
from tests.rules.one_op import agrees, computed, execute, rows
from tests.rules.test_affine_ops import poolings

aten = torch.ops.aten
X, Y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)


@pytest.mark.parametrize(
    "name", ["relu", "gelu", "tanh", "sigmoid", "silu", "elu", "leaky_relu", "abs", "neg", "clamp"]
)
def test_activations_are_unit_edges(name):
    assert name in UNARY.split()
    function = getattr(aten, name).default
    block = build(execute(function, X, *([0.1] if name == "clamp" else []), sources=[X])).blocks[0]
    assert (block.kind, block.role, block.function) == ("elementwise", "none", name)
    assert isinstance(block.wiring, OneToOne)
    assert not block.has_coefficients


@pytest.mark.parametrize("function", [aten.mul.Tensor, aten.div.Tensor])
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (2, 1, 1), (2, 3, 4)])
def test_scalings_by_constants_are_unit_edges(function, shape):
    constant = torch.rand(shape) + 1
    for args in ((X, constant), (constant, X)):
        block = build(execute(function, *args, sources=[X])).blocks[0]
        assert (block.kind, block.wiring) == ("elementwise", OneToOne(12, 12))


def test_a_scaling_that_broadcasts_fans_out():
    x = torch.rand(2, 3, 1)
    circuit = build(execute(aten.mul.Tensor, x, torch.ones(5, 1, 1, 4), sources=[x]))
    block = circuit.blocks[0]
    assert isinstance(block.wiring, Gather)
    assert circuit.activations[block.output].axis == 1
    assert (computed(circuit, block) == rows(circuit.activations[block.output], 2)).all()


def test_a_scaling_in_a_batch_of_one_may_repeat_the_example():
    x = torch.rand(1, 4)
    circuit = build(execute(aten.mul.Tensor, x, torch.ones(3, 1), sources=[x]))
    assert circuit.activations[circuit.outputs[0]].shape == (3, 4)
    assert (computed(circuit, circuit.blocks[0]) == rows(circuit.activations[circuit.outputs[0]], 1)).all()


@given(st.integers(2, 3).flatmap(poolings), st.integers(1, 2))
def test_maximum_pooling_selects_from_its_window(arguments, dilation):
    x, kernel, stride, padding, ceil = arguments
    if dilation == 2 and any(2 * (k - 1) + 1 > n for k, n in zip(kernel, x.shape[2:], strict=True)):
        dilation = 1
    function = {4: aten.max_pool2d_with_indices.default, 5: aten.max_pool3d_with_indices.default}[x.dim()]
    circuit = build(execute(function, x, kernel, stride, padding, [dilation] * len(kernel), ceil, sources=[x]))
    agrees(circuit)
    assert [(block.kind, block.role) for block in circuit.blocks] == [("selection", "pooling")]


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (aten.adaptive_max_pool2d.default, ([2, 3],)),
        (aten.amax.default, ([1, 2],)),
        (aten.amax.default, ([-1], True)),
        (aten.max.dim, (1,)),
    ],
)
def test_other_maxima(function, args):
    circuit = build(execute(function, X, *args, sources=[X]))
    agrees(circuit)
    assert circuit.blocks[0].kind == "selection"
    assert len(circuit.outputs) == 1, "indices are no activations"


def test_the_larger_of_two_tensors_wins_and_of_a_constant_is_a_clamp():
    z = torch.randn(3, 1)
    circuit = build(execute(aten.maximum.default, X, Y, sources=[X, Y]))
    agrees(circuit)
    assert circuit.blocks[0].kind == "selection"
    assert build(execute(aten.maximum.default, X, z, sources=[X])).blocks[0].kind == "elementwise"


# --- opaque -----------------------------------------------------------------------------------------------------------

SQUARES = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.LayerNorm(3)).requires_grad_(False)


def test_a_jacobian_gives_the_output_back_and_its_derivative():
    x = torch.randn(5, 4)
    circuit = build(record(nn.Sequential(SQUARES), x, opaque=["0"]))
    agrees(circuit)
    block = circuit.blocks[0]
    wanted = torch.stack([torch.autograd.functional.jacobian(SQUARES, row) for row in x])
    assert isinstance(block.weight, PerExample)
    torch.testing.assert_close(block.weight.values, wanted)
    assert (block.path, block.weight_by_example, block.bias_by_example) == ("0", True, True)


def test_a_jacobian_of_two_inputs_has_their_neurons_one_after_the_other():
    circuit = build(execute(aten.mul.Tensor, X, Y, sources=[X, Y], opaque="jacobian"))
    agrees(circuit)
    for operand, other in zip(circuit.blocks[0].operands, (Y, X), strict=True):
        assert isinstance(operand.weight, PerExample)
        assert torch.equal(operand.weight.values, torch.diag_embed(other.reshape(2, -1)))


def test_a_jacobian_leaves_gradients_and_grad_mode_alone():
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        build(record(nn.Sequential(layer), torch.randn(2, 4), opaque=["0"]))
        assert not torch.is_grad_enabled()
    assert layer.weight.grad is None
    assert layer.weight.requires_grad


@pytest.mark.guarantee("a Jacobian above the limit is refused with its size")
def test_a_large_jacobian_is_refused(monkeypatch):
    monkeypatch.setattr(opaque, "LIMIT", 287)
    with pytest.raises(LimitError, match="2 x 12 x 12 = 288 entries"):
        build(execute(aten.tanh.default, X, sources=[X], opaque="jacobian"))


def test_what_has_no_jacobian_is_refused():
    with pytest.raises(TraceError, match="uniform"):
        build(execute(lambda x: x.detach() * 2, X, sources=[X], opaque="jacobian", name="mine.detached"))
    with pytest.raises(TraceError, match="another result"):
        build(execute(lambda x: x * torch.rand(()), X, sources=[X], opaque="jacobian", name="mine.random"))


def test_uniform_and_identity():
    block = build(execute(aten.softmax.int, X, 1, sources=[X], opaque="uniform")).blocks[0]
    assert (block.kind, block.role, type(block.weight), block.wiring) == ("affine", "sum", Ones, dense(1, 12, 12))
    block = build(execute(aten.softmax.int, X, 1, sources=[X], opaque="identity")).blocks[0]
    assert (block.kind, block.wiring) == ("elementwise", OneToOne(12, 12))
    with pytest.raises(MissingRuleError, match="equal shapes"):
        build(execute(aten.logsumexp.default, X, [1], sources=[X], opaque="identity"))
    with pytest.raises(UnknownNameError, match="jacobian"):
        build(execute(aten.tanh.default, X, sources=[X], opaque="jacobain"))


def test_a_function_may_say_what_an_opaque_module_is():
    layer = nn.Linear(4, 3, bias=False).requires_grad_(False)
    weight = layer.weight.clone()
    circuit = build(record(nn.Sequential(layer), torch.randn(5, 4), opaque={"0": lambda op: weight}))
    block = circuit.blocks[0]
    assert isinstance(block.weight, Stored)
    assert (block.weight.values is weight, block.role) == (True, "sum")
    with pytest.raises(TraceError, match=r"\[3, 4\] \(outputs, inputs\)"):
        build(record(nn.Sequential(layer), torch.randn(5, 4), opaque={"0": lambda op: weight.t()}))


# --- ops of one's own -------------------------------------------------------------------------------------------------


@pytest.fixture
def own_op():
    """torch.ops.provnet_test.weighted(x, w) = x @ w.T, which no rule knows."""
    library = torch.library.Library("provnet_test", "FRAGMENT")
    library.define("weighted(Tensor x, Tensor w) -> Tensor")
    library.impl("weighted", lambda x, w: x @ w.t(), "CompositeExplicitAutograd")
    yield torch.ops.provnet_test.weighted
    REGISTRY._entries.pop("provnet_test.weighted", None)
    library._destroy()


@pytest.mark.guarantee("an op without a rule is refused by name, path and shapes, with both ways out")
def test_an_unknown_op_is_refused_with_both_ways_out(own_op):
    with pytest.raises(MissingRuleError) as error:
        build(record(lambda x: own_op(x, torch.ones(3, 4)), torch.randn(2, 4)))
    for part in ("provnet_test.weighted", "[2, 4]", "[3, 4]", "register_op('provnet_test.weighted')", "opaque="):
        assert part in str(error.value)


def test_a_registered_op_is_a_block(own_op):
    @op_rule("provnet_test.weighted")
    def weighted(op):
        return op.affine(dense(1, 4, 3), op.tensor(op["w"]))

    circuit = build(record(lambda x: own_op(x, torch.randn(3, 4)), torch.randn(2, 4)))
    agrees(circuit)
    with pytest.raises(OptionError, match="registered already"):
        op_rule("provnet_test.weighted")(weighted)


def test_a_registered_op_may_have_a_form(own_op):
    op_rule("provnet_test.weighted", form="uniform")
    assert build(record(lambda x: own_op(x, torch.randn(3, 4)), torch.randn(2, 4))).blocks[0].role == "sum"
    with pytest.raises(UnknownNameError):
        op_rule("provnet_test.other", form="jacobain")
    with pytest.raises(OptionError, match="name of an op"):
        op_rule()


def test_a_rule_that_wires_too_few_neurons_is_refused(own_op):
    op_rule("provnet_test.weighted", form=lambda op: op.affine(dense(1, 4, 2)))
    with pytest.raises(TraceError, match="wires 4 to 2 neurons an example, but there are 4 and 3"):
        build(record(lambda x: own_op(x, torch.randn(3, 4)), torch.randn(2, 4)))


# --- refusals ---------------------------------------------------------------------------------------------------------

SQUARE, STATS = torch.randn(3, 3), (torch.randn(3), torch.rand(3))


@pytest.mark.guarantee(
    "an op that mixes examples is refused: x @ x.T, batch statistics, reductions over the batch axis"
)
@pytest.mark.parametrize(
    ("function", "args", "source"),
    [
        (aten.sum.default, (X,), X),
        (aten.mean.dim, (X, [0, 1]), X),
        (aten.amax.default, (X, [0]), X),
        (aten.cumsum.default, (X, 0), X),
        (aten.mm.default, (torch.randn(4, 3), SQUARE), SQUARE),
        (aten.native_batch_norm.default, (X, None, None, *STATS, True, 0.1, 1e-5), X),
        (aten.native_batch_norm.default, (X, None, None, None, None, True, 0.1, 1e-5), X),
        (aten.add.Tensor, (SQUARE, SQUARE[0]), SQUARE),
    ],
)
def test_ops_that_mix_examples_are_refused(function, args, source):
    if function is aten.add.Tensor:
        execution = record(lambda x: x + x.sum(1), source)
    else:
        execution = execute(function, *args, sources=[source])
    with pytest.raises(CrossExampleError, match=r"\[\d.*mixes examples"):
        build(execution)


def test_examples_that_meet_in_a_product_are_refused():
    with pytest.raises(CrossExampleError, match=r"aten.mm.*\[3, 3\], \[3, 3\]"):
        build(record(lambda x: x @ x.t(), SQUARE))


@pytest.mark.parametrize(
    ("function", "args"), [(aten.mul.Tensor, (X, Y)), (aten.div.Tensor, (X, Y)), (aten.bmm.default, (X, Y))]
)
def test_products_of_traced_tensors_have_both_factors_as_operands(function, args):
    args = (X, Y.mT.contiguous()) if function is aten.bmm.default else args
    circuit = build(execute(function, *args, sources=[a for a in args if isinstance(a, torch.Tensor)]))
    (block,) = circuit.blocks
    assert (block.role, block.copies, len(block.operands)) == ("product", 2, 2)
    agrees(circuit)


def test_dropout_in_training_is_refused():
    with pytest.raises(TrainingModeError, match=r"model\.eval"):
        build(execute(aten.native_dropout.default, X, 0.5, True, sources=[X]))


def test_nothing_but_floats_is_an_activation():
    values = build(execute(aten.max_pool2d_with_indices.default, X, [2, 2], sources=[X])).activations.values()
    assert all(np.isfinite(rows(activation, 2)).all() for activation in values)
