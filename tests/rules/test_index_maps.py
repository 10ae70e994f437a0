"""Index maps route every entry exactly, follow the examples, and know what is fill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import provnet
from provnet.capture.record import record
from provnet.capture.windows import read_window, write_window
from provnet.circuit.blocks import Block
from provnet.circuit.weights import Ones
from provnet.circuit.wiring import GatherByExample, OneToOne
from provnet.errors import CrossExampleError
from provnet.rules.build import build
from provnet.rules.ops.base import Op, Placed
from provnet.rules.ops.example_layout import Layout, layouts, view_layout
from provnet.rules.ops.index_maps import cat, index_map
from tests.rules.one_op import agrees, computed, execute, rows

aten = torch.ops.aten
X, Y, COLUMN, PAIR = torch.randn(2, 4, 6, 5), torch.randn(2, 4, 6, 5), torch.randn(2, 1, 6, 5), torch.randn(2, 2)
WINDOW = torch.arange(240).reshape(2, 120)[:, 7:9]
INDEX = torch.tensor([3, 0, 0, 2])
CASES = {
    "cat": (aten.cat.default, ([X, Y], 2), [X, Y]),
    "cat with a constant": (aten.cat.default, ([X, torch.ones(2, 4, 1, 5)], 2), [X]),
    "stack": (aten.stack.default, ([X, Y, X], 1), [X, Y]),
    "split": (aten.split.Tensor, (X, 4, 2), [X]),
    "unbind": (aten.unbind.int, (X, 1), [X]),
    "select": (aten.select.int, (X, 2, -1), [X]),
    "slice": (aten.slice.Tensor, (X, 3, 0, 5, 2), [X]),
    "permute": (aten.permute.default, (X, [2, 0, 3, 1]), [X]),
    "transpose": (aten.transpose.int, (X, 1, 3), [X]),
    "expand": (aten.expand.default, (COLUMN, [3, 2, 4, 6, 5]), [COLUMN]),
    "repeat": (aten.repeat.default, (X, [1, 2, 1, 3]), [X]),
    "flip": (aten.flip.default, (X, [1, 3]), [X]),
    "roll": (aten.roll.default, (X, [2], [3]), [X]),
    "pad": (aten.constant_pad_nd.default, (X, [1, 2, 0, 1], 0.0), [X]),
    "crop by a negative pad": (aten.constant_pad_nd.default, (X, [-1, 2], 3.0), [X]),
    "reflection pad": (aten.reflection_pad2d.default, (X, [1, 2, 3, 0]), [X]),
    "index_select": (aten.index_select.default, (X, 1, INDEX), [X]),
    "index": (aten.index.Tensor, (X, [None, INDEX]), [X]),
    "gather": (aten.gather.default, (X, 1, INDEX.reshape(1, 4, 1, 1).expand(2, 4, 6, 5)), [X]),
    "pixel_shuffle": (aten.pixel_shuffle.default, (X, 2), [X]),
    "unfold": (aten.unfold.default, (X, 2, 3, 2), [X]),
    "im2col": (aten.im2col.default, (X, [2, 2], [1, 1], [1, 0], [2, 1]), [X]),
    "upsample": (aten.upsample_nearest2d.default, (X, [9, 11]), [X]),
    "masked_fill": (aten.masked_fill.Scalar, (X, torch.arange(5) > 2, 0.0), [X]),
    "where": (aten.where.self, (torch.arange(5) > 2, X, Y), [X, Y]),
    "tril": (aten.tril.default, (X,), [X]),
    "read a window": (read_window, (X, WINDOW), [X]),
    "write a window": (write_window, (X, [WINDOW], [PAIR]), [X, PAIR]),
}


@pytest.mark.parametrize("case", CASES)
def test_every_entry_comes_from_where_the_op_took_it(case):
    """Run on entries that are all different: equal values then mean the same entry."""
    function, args, sources = CASES[case]
    name = None if hasattr(function, "_schema") else f"provnet.{function.__name__}"
    circuit = build(execute(function, *args, sources=sources, name=name))
    agrees(circuit)
    for block in circuit.blocks:
        assert (block.kind, type(block.weight), block.bias) == ("index", Ones, None)
        found, wanted = computed(circuit, block), rows(circuit.activations[block.output], 2)
        filled = np.isnan(found)
        constant = {"pad": 0.0, "crop by a negative pad": 3.0, "cat with a constant": 1.0}.get(case, 0.0)
        assert (wanted[filled] == constant).all()


def test_an_order_that_is_kept_needs_no_index():
    for function, args, sources in (
        (aten.view.default, (X, [2, -1]), [X]),
        (aten.unsqueeze.default, (X, 0), [X]),
        (aten.permute.default, (X, [1, 0, 2, 3]), [X]),
        (aten.select.int, (COLUMN, 1, 0), [COLUMN]),
    ):
        assert isinstance(build(execute(function, *args, sources=sources)).blocks[0].wiring, OneToOne)


@given(st.integers(1, 3), st.permutations([0, 1, 2]), st.integers(0, 2))
def test_the_examples_axis_is_followed_through_permutations(batch, order, axis):
    shape = [4, 5, 6]
    shape[axis] = batch
    x = torch.randn(*shape)
    circuit = build(execute(aten.permute.default, x, list(order), sources=[x], batch_dim=axis))
    agrees(circuit)
    assert circuit.activations[circuit.outputs[0]].axis == order.index(axis)


@given(st.data())
def test_a_view_finds_the_examples_or_says_that_it_cannot(data):
    """Against the slow way: number the entries' examples and look at them through the same view."""
    before = data.draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=4))
    axis = data.draw(st.integers(0, len(before) - 1))
    batch = before[axis]
    size = int(np.prod(before))
    after, left = [], size
    while left > 1 and len(after) < 3:
        after.append(data.draw(st.sampled_from([n for n in range(1, left + 1) if left % n == 0])))
        left //= after[-1]
    after.append(left)
    shape = [1] * len(before)
    shape[axis] = batch
    example = torch.arange(batch).reshape(shape).expand(before).reshape(after)
    own = torch.arange(batch)[:, None]
    fitting = [
        one for one in layouts(tuple(after), batch) if (one.by_example(example, batch).reshape(batch, -1) == own).all()
    ]
    found = view_layout(Layout(axis), tuple(before), tuple(after), batch)
    assert (found is None) == (not fitting)
    if found is not None:
        assert (found.by_example(example, batch).reshape(batch, -1) == own).all()
        tensor = torch.randn(after)
        assert torch.equal(found.from_example(found.by_example(tensor, batch), batch), tensor)


def test_one_example_is_on_any_axis_and_rather_on_one_of_its_own():
    assert view_layout(Layout(1), (3, 1), (3, 1), 1) == Layout(1)
    assert view_layout(Layout(1), (3, 1, 2), (2, 3), 1) == Layout(0, inner=2)
    assert view_layout(Layout(0), (1, 1), (), 1) == Layout(0)  # a number without axes is the one example's


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([0, 1]))
def test_rows_are_merged_and_parted_again_around_a_linear_layer(batch, tokens, axis):
    layer = nn.Linear(4, 2).requires_grad_(False)
    x = torch.randn(*((batch, tokens, 4) if axis == 0 else (tokens, batch, 4)))
    circuit = build(record(layer, x, batch_dim=axis))
    agrees(circuit)
    assert circuit.activations[circuit.outputs[0]].axis == axis or batch == tokens == 1
    linear = next(block for block in circuit.blocks if block.kind == "affine")
    assert (linear.path, linear.wiring.positions) == ("addmm_1", tokens)


def test_frames_merged_into_the_batch_share_one_convolution():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(2, 4, 2, 5, 5)
    circuit = build(record(lambda x: F.max_pool2d(conv(x.flatten(0, 1)), 2).unflatten(0, (2, 4)), x))
    agrees(circuit)
    assert circuit.activations[circuit.outputs[0]].shape == (4, 3, 2, 2)


def test_padding_is_marked_and_stays_so_while_it_is_zero():
    conv, x = nn.Conv2d(1, 1, 3), torch.rand(2, 1, 4, 4)
    circuit = build(record(lambda x: conv(F.relu(F.pad(x, (1, 1, 1, 1)))), x))
    padded, active = (circuit.activations[block.output] for block in circuit.blocks[:2])
    edge = torch.ones(6, 6, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    for activation in (padded, active):
        assert (activation.padding == edge.reshape(-1).numpy()).all()
    assert circuit.activations[circuit.outputs[0]].padding is None


def test_a_constant_that_is_not_zero_is_a_neuron():
    x = torch.rand(2, 3)
    for function in (lambda x: F.pad(x, (1, 1), value=2.0), lambda x: F.pad(x, (1, 1)).sigmoid()):
        circuit = build(record(function, x))
        assert circuit.activations[circuit.outputs[0]].padding is None
    assert build(record(lambda x: F.pad(x, (1, 1), value=-torch.inf).amax(1), x)).activations is not None


@pytest.mark.guarantee(
    "an op that reads other examples is refused: flips, rolls, reads and selections on the batch axis"
)
@pytest.mark.parametrize(
    ("function", "args"),
    [
        (aten.flip.default, (X, [0])),
        (aten.roll.default, (X, [1], [0])),
        (aten.select.int, (X, 0, 1)),
        (aten.slice.Tensor, (X, 0, 0, 1)),
        (aten.index_select.default, (X, 0, torch.tensor([1, 0]))),
    ],
)
def test_ops_that_read_other_examples_are_refused(function, args):
    """The rows may be sorted in any order inside, but come back in the batch's."""
    with pytest.raises(CrossExampleError, match=r"output0.* are sorted otherwise than the examples"):
        build(execute(function, *args, sources=[X]))


@pytest.mark.parametrize("mixes", [lambda x: x + x.flip(0), lambda x: x * x[:1], lambda x: x - x.roll(1, 0)])
def test_rows_of_other_examples_are_not_mixed_in(mixes):
    with pytest.raises(CrossExampleError, match="mixes examples"):
        build(record(mixes, torch.randn(3, 4)))


def test_a_batch_parted_by_a_view_is_refused():
    x = torch.randn(4, 3)
    with pytest.raises(CrossExampleError, match="single axis"):
        build(execute(aten.view.default, x, [2, 2, 3], sources=[x]))


def test_routing_may_differ_by_example():
    index = torch.tensor([[0, 1, 2], [2, 1, 0]])
    x = torch.randn(2, 3)
    wiring = build(execute(aten.gather.default, x, 1, index, sources=[x])).blocks[0].wiring
    assert isinstance(wiring, GatherByExample)
    assert (wiring.index == index.numpy()).all()
    same = index[:1].expand(2, 3)
    agrees(build(execute(aten.gather.default, x, 1, same, sources=[x])))


@given(st.integers(1, 3))
def test_in_place_writes_through_views(batch):
    def model(x):
        y = torch.zeros(batch, 6)
        y[:, 1:4] = x
        y[:, 2] *= 2
        return y

    circuit = build(record(model, torch.rand(batch, 3) + 1))
    agrees(circuit)
    # Zeros that were written out are neurons that nothing feeds: no op padded.
    assert circuit.activations[circuit.outputs[0]].padding is None


@pytest.mark.parametrize("dim", [1, 2, -1])
@pytest.mark.parametrize("parts", [[X, Y], [X, X], [torch.zeros(2, 4, 6, 5), X], [Y, torch.ones(2, 4, 6, 5), X]])
def test_a_concatenation_seen_in_one_example_is_that_of_all(parts, dim):
    """The short way of cat against the general one, which numbers the whole batch."""
    execution = execute(
        aten.cat.default, parts, dim, sources=[part for part in (X, Y) if any(part is p for p in parts)]
    )
    op = Op(execution, execution.ops[0], dict.fromkeys(execution.sources.values(), Layout(0)))
    short, long = cat(op), index_map(op)[0]
    assert isinstance(short, Placed)
    assert long is not None
    assert origins(short.block) == origins(long.block)


def origins(block: Block) -> list[tuple[int, int] | None]:
    """Return (activation, neuron) that feeds each output of unit edges; None: nothing does."""
    found: list[tuple[int, int] | None] = [None] * block.wiring.outputs
    for operand in block.operands:
        for output in range(operand.wiring.outputs):
            source, present, _ = operand.wiring.source(output, 0)
            if present:
                assert found[output] is None, "an entry has one origin"
                found[output] = operand.input, int(source)
    return found


def test_equal_ops_have_equal_maps() -> None:
    """What one op's map is serves others that are called alike; another stride, argument or layout is another call."""

    def model(x: torch.Tensor) -> torch.Tensor:
        first, second = x.split(2, 1)
        third, fourth = (2 * x).split(2, 1)
        turned = x.flip(1) + x.transpose(1, 2).flip(1).transpose(1, 2) + (3 * x).flip(1)
        return torch.cat([first, second, third, fourth], 1) + torch.cat([turned, x.flip(2)], 1)

    x = torch.rand(2, 4, 4, dtype=torch.float64)
    weighting = torch.rand(2, 8, 4, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((model(leaf) * weighting).sum(), leaf)
    found = provnet.trace(model, x).evaluate("real", weighting, rule="gradient").inputs
    torch.testing.assert_close(found, wanted)
