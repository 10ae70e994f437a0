"""Wirings against plain loops over torch's own operations."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from provnet.circuit import einsums, windowed
from provnet.circuit import wiring as w


def everything(wiring: w.Wiring) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return source, present and weight of every slot of every output, from numpy."""
    outputs, slots = np.arange(wiring.outputs)[:, None], np.arange(wiring.fan)[None, :]
    source, present, weight = wiring.source(outputs, slots)
    shape = (wiring.outputs, wiring.fan)
    return np.broadcast_to(source, shape), np.broadcast_to(present, shape), np.broadcast_to(weight, shape)


@st.composite
def convolutions(draw: st.DrawFn) -> windowed.Convolution:
    groups, per_in, per_out = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    dims = draw(st.integers(1, 3))
    axis = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2))
    size, kernel, stride, padding, dilation = zip(*(draw(axis) for _ in range(dims)), strict=True)
    reach = [s + 2 * p - d * (k - 1) - 1 for s, k, p, d in zip(size, kernel, padding, dilation, strict=True)]
    if min(reach) < 0:
        size = tuple(s + 5 for s in size)
        reach = [s + 2 * p - d * (k - 1) - 1 for s, k, p, d in zip(size, kernel, padding, dilation, strict=True)]
    target = tuple(r // s + 1 for r, s in zip(reach, stride, strict=True))
    return windowed.convolution(
        per_in * groups, per_out * groups, groups, size, target, kernel, stride, padding, dilation
    )


@given(convolutions(), st.integers(0, 99))
def test_a_convolution_is_the_sum_over_its_slots(wiring: windowed.Convolution, seed: int):
    """Integers in float64: exact on every path."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(-9, 9, (wiring.inputs,), generator=generator).double()
    weight = torch.randint(-9, 9, (wiring.groups * wiring.channels * wiring.fan,), generator=generator).double()
    taps = prod(wiring.kernel)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(wiring.kernel)]
    z = convolve(
        a.reshape(1, -1, *wiring.source_shape),
        weight.reshape(-1, wiring.fan // taps, *wiring.kernel),
        None,
        wiring.stride,
        wiring.padding,
        wiring.dilation,
        wiring.groups,
    )
    source, present, index = everything(wiring)
    sums = (a.numpy()[source] * weight.numpy()[index] * present).sum(axis=1)
    assert (sums == z.flatten().numpy()).all()
    assert wiring.edges == present.sum()


@given(convolutions())
def test_one_text_runs_on_ints_numpy_and_torch(wiring: windowed.Convolution):
    source, present, index = everything(wiring)
    on_torch = wiring.source(torch.arange(wiring.outputs)[:, None], torch.arange(wiring.fan))
    for found, wanted in zip(on_torch, (source, present, index), strict=True):
        assert (torch.as_tensor(found).expand(wanted.shape).numpy() == wanted).all()
    output, slot = wiring.outputs - 1, wiring.fan - 1
    wanted = (source[output, slot], present[output, slot], index[output, slot])
    assert tuple(map(int, wiring.source(output, slot))) == tuple(map(int, wanted))


@given(convolutions())
def test_taps_and_channels_keep_their_promises(wiring: windowed.Convolution):
    """Channels of a position share their sources; slots of one tap meet distinct inputs over the positions."""
    positions, channels = np.arange(wiring.positions)[:, None], np.arange(wiring.channels)[None, :]
    outputs = wiring.output(positions, channels)
    assert sorted(outputs.ravel()) == list(range(wiring.outputs))
    source, present, _ = everything(wiring)
    assert (source[outputs] == source[outputs[:, :1]]).all()
    assert (present[outputs] == present[outputs[:, :1]]).all()
    first = outputs[:, 0]
    assert wiring.taps is not None
    for tap in range(wiring.taps):
        met = source[first][:, tap :: wiring.taps][present[first][:, tap :: wiring.taps]]
        assert len(set(met)) == len(met)
    _, _, weight = everything(wiring)
    assert wiring.shift is not None
    for slot in range(wiring.taps, wiring.fan):
        there = present[:, slot]
        assert (present[:, slot - wiring.taps] == there).all()
        assert (source[there, slot] == source[there, slot - wiring.taps] + wiring.shift).all()
        assert (weight[:, slot] == weight[:, slot - wiring.taps] + wiring.taps).all()


@given(convolutions())
def test_disjoint_windows_share_no_input(convolution: windowed.Convolution):
    shapes = (convolution.source_shape, convolution.target_shape, convolution.kernel, convolution.stride)
    wiring = windowed.window(2, *shapes, convolution.padding, convolution.dilation)
    source, present, _ = everything(wiring)
    met = source[present]
    assert not wiring.disjoint or len(set(met)) == len(met)


@pytest.mark.parametrize("sizes", [((7,), (3,)), ((6, 5), (3, 2)), ((3,), (7,)), ((4, 4), (1, 1))])
def test_an_adaptive_window_averages_as_torch_does(sizes: tuple[tuple[int, ...], tuple[int, ...]]):
    shape, target = sizes
    wiring = windowed.adaptive_window(2, shape, target)
    a = torch.rand(2 * prod(shape), dtype=torch.float64)
    pool = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d}[len(shape)]
    z = pool(a.reshape(1, 2, *shape), target).flatten().numpy()
    source, present, _ = everything(wiring)
    means = (a.numpy()[source] * present).sum(axis=1) / present.sum(axis=1)
    np.testing.assert_allclose(means, z, rtol=1e-14)
    assert wiring.edges == present.sum()


@pytest.mark.parametrize(
    ("first", "second"), [((3, 4), (3, 4)), ((3, 4), (3, 1)), ((4,), (3, 4)), ((1, 4), (3, 1)), ((), ())]
)
def test_a_broadcast_sum_reads_both_inputs(first: tuple[int, ...], second: tuple[int, ...]):
    shape = tuple(torch.broadcast_shapes(first, second))
    wiring = w.side_by_side((einsums.spread(first, shape), einsums.spread(second, shape)))
    x, y = torch.rand(first), torch.rand(second)
    joined = torch.cat([x.flatten(), y.flatten()]).numpy()
    source, _, _ = everything(wiring)
    assert wiring.source(np.arange(wiring.outputs)[:, None], np.arange(2))[0].shape == (wiring.outputs, 2)
    assert (joined[source].sum(axis=1) == (x + y).flatten().numpy()).all()


@pytest.mark.parametrize("dims", [(0,), (2,), (0, 2), (0, 1, 2)])
def test_a_reduction_reads_the_reduced_axes(dims: tuple[int, ...]):
    shape = (3, 4, 5)
    wiring = w.reduction(shape, dims)
    a = torch.arange(60.0)
    source, _, _ = everything(wiring)
    assert (a.numpy()[source].sum(axis=1) == a.reshape(shape).sum(dims).flatten().numpy()).all()


def test_a_gather_leaves_fill_without_a_source():
    wiring = w.Gather(inputs=3, outputs=4, index=np.array([2, -1, 0, 0]))
    source, present, _ = everything(wiring)
    assert present[:, 0].tolist() == [True, False, True, True]
    assert source[present].tolist() == [2, 0, 0]
    assert wiring.edges == 3
