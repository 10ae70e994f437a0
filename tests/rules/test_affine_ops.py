"""Each affine block's own map, slot by slot through its wiring, gives what the op gave."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from provnet.circuit.blocks import Block
from provnet.circuit.weights import Ones, Stored
from provnet.rules.build import build
from tests.rules.one_op import agrees, computed, execute, rows

aten = torch.ops.aten


def stored(block: Block) -> torch.Tensor:
    assert isinstance(block.weight, Stored)
    return block.weight.values


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@st.composite
def convolutions(draw, axes: int):
    """Arguments of aten.convolution of one to three spatial axes, batch 1 to 3."""
    groups = draw(st.integers(1, 2))
    batch, channels, out = draw(st.integers(1, 3)), groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))

    def each(low: int, high: int) -> list[int]:
        return [draw(st.integers(low, high)) for _ in range(axes)]

    kernel, stride, padding, dilation = each(1, 3), each(1, 3), each(0, 2), each(1, 2)
    size = each(1, 6)
    fits = (n + 2 * p >= d * (k - 1) + 1 for n, p, d, k in zip(size, padding, dilation, kernel, strict=True))
    assume(all(fits))
    x, weight = tensor(batch, channels, *size), tensor(out, channels // groups, *kernel, seed=1)
    bias = tensor(out, seed=2) if draw(st.booleans()) else None
    return x, weight, bias, stride, padding, dilation, False, [0] * axes, groups


@given(st.integers(1, 3).flatmap(convolutions))
def test_a_convolution_of_any_geometry_is_what_its_wiring_says(arguments):
    circuit = build(execute(aten.convolution.default, *arguments, sources=[arguments[0]]))
    agrees(circuit, 1e-10)
    assert circuit.blocks[0].role == "linear"
    assert stored(circuit.blocks[0]) is arguments[1], "the parameter itself, so that a later change can be seen"


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.sampled_from([(1, 1), (2, 0.5), (1, 0)]))
def test_addmm_with_its_factors(batch, fan_in, fan_out, factors):
    alpha, beta = factors
    x, w, b = tensor(batch, fan_in), tensor(fan_in, fan_out, seed=1), tensor(fan_out, seed=2)
    agrees(build(execute(aten.addmm.default, b, x, w, alpha=alpha, beta=beta, sources=[x])), 1e-10)


def test_the_weight_of_a_linear_layer_is_the_parameter_without_a_copy():
    layer, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
    block = build(execute(aten.addmm.default, layer.bias.detach(), x, layer.weight.detach().t(), sources=[x])).blocks[0]
    values = stored(block)
    assert values.data_ptr() == layer.weight.data_ptr()
    assert values.is_contiguous()
    assert tuple(values.shape) == (2, 3)


X, ROWS = tensor(5, 3, 4), tensor(3, 4)
PRODUCTS = {
    "rows times a shared matrix": (aten.bmm.default, (X, tensor(4, 6).expand(5, 4, 6)), X, 0),
    "rows times one matrix an example": (aten.bmm.default, (X, tensor(5, 4, 6)), X, 0),
    "a matrix times columns": (aten.bmm.default, (tensor(5, 6, 3), X), X, 0),
    "a shared matrix times columns": (aten.bmm.default, (tensor(6, 3).expand(5, 6, 3), X), X, 0),
    "matrices times columns that are examples": (aten.bmm.default, (tensor(5, 6, 3), X), X, 2),
    "rows that are examples": (aten.bmm.default, (X, tensor(4, 6).expand(5, 4, 6)), X, 1),
    "with an addend": (aten.baddbmm.default, (tensor(6), X, tensor(5, 4, 6)), X, 0),
    "linear": (aten.linear.default, (X, tensor(6, 4), tensor(6)), X, 0),
    "linear, batch second": (aten.linear.default, (X, tensor(6, 4), tensor(6)), X, 1),
    "a weight times examples as columns": (aten.mm.default, (tensor(6, 3), ROWS), ROWS, 1),
    "a vector": (aten.mv.default, (ROWS, tensor(4)), ROWS, 0),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_with_a_constant(case):
    function, args, source, axis = PRODUCTS[case]
    agrees(build(execute(function, *args, sources=[source], batch_dim=axis)), 1e-10)


@st.composite
def poolings(draw, axes: int):
    """Input and arguments that average and maximum pooling share."""
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    stride = draw(st.one_of(st.just([]), st.just([draw(st.integers(1, 3)) for _ in range(axes)])))
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    size = [draw(st.integers(k, 6)) for k in kernel]
    x = tensor(draw(st.integers(1, 2)), draw(st.integers(1, 2)), *size)
    return x, kernel, stride, padding, draw(st.booleans())


@given(st.integers(2, 3).flatmap(poolings), st.booleans(), st.sampled_from([None, 5]))
def test_average_pooling_divides_as_the_op_does(arguments, count_padding, override):
    x, kernel, stride, padding, ceil = arguments
    function = {4: aten.avg_pool2d.default, 5: aten.avg_pool3d.default}[x.dim()]
    circuit = build(execute(function, x, kernel, stride, padding, ceil, count_padding, override, sources=[x]))
    agrees(circuit, 1e-10)
    assert circuit.blocks[0].role == "pooling"


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 5)), min_size=2, max_size=3))
def test_adaptive_average_pooling(sizes):
    x = tensor(2, 2, *(size for size, _ in sizes))
    function = {2: aten._adaptive_avg_pool2d.default, 3: aten._adaptive_avg_pool3d.default}[len(sizes)]
    agrees(build(execute(function, x, [target for _, target in sizes], sources=[x])), 1e-10)


@given(st.sets(st.integers(1, 3), min_size=1), st.booleans(), st.sampled_from(["sum", "mean"]))
def test_sums_and_means_over_any_axes(dims, keep, kind):
    x = tensor(2, 3, 2, 4)
    function = {"sum": aten.sum.dim_IntList, "mean": aten.mean.dim}[kind]
    circuit = build(execute(function, x, sorted(dims), keep, sources=[x]))
    agrees(circuit, 1e-10)
    assert circuit.blocks[0].role == ("pooling" if kind == "mean" and dims == {2, 3} else "sum")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_examples_axis_is_followed_through_a_reduction(axis):
    x = tensor(3, 3, 3)
    for dim in {0, 1, 2} - {axis}:
        circuit = build(execute(aten.sum.dim_IntList, x, [dim], sources=[x], batch_dim=axis))
        agrees(circuit, 1e-10)
        assert circuit.activations[circuit.outputs[0]].axis == axis - (dim < axis)


@pytest.mark.parametrize("dim", [1, 2, -1])
def test_cumulative_sums(dim):
    x = tensor(2, 3, 4, 2)
    agrees(build(execute(aten.cumsum.default, x, dim, sources=[x])), 1e-10)


@given(
    st.integers(1, 3), st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["both", "first", "second"])), max_size=3)
)
def test_a_sum_of_two_tensors_broadcasts_both_ways(batch, axes):
    first = tensor(batch, *(size if which != "second" else 1 for size, which in axes))
    second = tensor(batch, *(size if which != "first" else 1 for size, which in axes), seed=1)
    circuit = build(execute(aten.sub.Tensor, first, second, alpha=3, sources=[first, second]))
    agrees(circuit, 1e-10)
    kinds = [type(operand.weight) for operand in circuit.blocks[0].operands]
    assert kinds == [Ones, Stored]
    assert stored(circuit.blocks[0]).tolist() == [-3]


def test_a_tensor_added_to_itself_feeds_both_slots():
    x = tensor(2, 3)
    block = build(execute(aten.add.Tensor, x, x, sources=[x])).blocks[0]
    assert block.inputs[0] == block.inputs[1]
    assert isinstance(block.weight, Ones)
    agrees(build(execute(aten.add.Tensor, x, x, sources=[x])), 1e-10)


CONSTANTS = {
    "a number": 2.0,
    "one a channel": tensor(3, 1, 1),
    "one a neuron": tensor(3, 4, 2),
    "some axes": tensor(3, 1, 2),
    "one an example": tensor(2, 1, 1, 1),
    "its own for every example": tensor(2, 3, 4, 2),
}


@pytest.mark.parametrize("case", CONSTANTS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (2, 1, 4, 1)])
@pytest.mark.parametrize("way", ["add", "sub", "from"])
def test_a_constant_that_is_added_is_a_bias(case, shape, way):
    x, constant = tensor(*shape, seed=3), CONSTANTS[case]
    if way == "from" and isinstance(constant, float):
        execution = execute(aten.rsub.Scalar, x, constant, 2, sources=[x])
    elif isinstance(constant, float):
        execution = execute({"add": aten.add.Scalar, "sub": aten.sub.Scalar}[way], x, constant, sources=[x])
    elif way == "from":
        execution = execute(aten.sub.Tensor, constant, x, alpha=2, sources=[x])
    else:
        function = {"add": aten.add.Tensor, "sub": aten.sub.Tensor}[way]
        execution = execute(function, x, constant, alpha=2, sources=[x])
    circuit = build(execution)
    agrees(circuit, 1e-10)
    block = circuit.blocks[0]
    assert (block.kind, block.role) == ("affine", "scale")
    assert block.bias_by_example == ("example" in case)


def test_a_constant_for_each_channel_is_kept_as_short_as_it_is():
    x = tensor(2, 3, 4, 2)
    assert build(execute(aten.add.Tensor, x, tensor(3, 1, 1), sources=[x])).blocks[0].bias.numel() == 3


@given(st.booleans(), st.booleans(), st.sampled_from([(2, 3), (2, 3, 4), (2, 3, 2, 2)]))
def test_batch_norm_in_evaluation_is_a_scale_of_each_channel(weighted, shifted, shape):
    x = tensor(*shape)
    w, b = tensor(3, seed=1) if weighted else None, tensor(3, seed=2) if shifted else None
    mean, variance = tensor(3, seed=3), tensor(3, seed=4).abs()
    circuit = build(execute(aten.native_batch_norm.default, x, w, b, mean, variance, False, 0.1, 1e-5, sources=[x]))
    agrees(circuit, 1e-10)
    assert circuit.blocks[0].role == "scale"


@pytest.mark.parametrize("shape", [(6, 4), (6, 3, 5, 5)])
def test_rows_that_a_view_merged_into_the_batch(shape):
    """[B, T, …] seen as [B*T, …]: the block knows the T rows of an example."""
    x = tensor(2, 3, *shape[1:])
    merged = execute(aten.view.default, x, list(shape), sources=[x])
    activation = build(merged).activations[merged.outputs["output0"]]
    assert (activation.axis, activation.inner, activation.shape) == (0, 3, (3, *shape[1:]))
    assert (rows(activation, 2) == x.reshape(2, -1).numpy()).all()


def test_computed_sees_a_wrong_weight():
    """The check of this file can fail."""
    x = tensor(2, 3)
    circuit = build(execute(aten.mm.default, x, tensor(3, 2), sources=[x]))
    stored(circuit.blocks[0]).mul_(2)
    assert abs(computed(circuit, circuit.blocks[0]) - rows(circuit.activations[circuit.outputs[0]], 2)).max() > 0.1
