"""Wirings that are listed, against plain loops; and their kernels against their own slots."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet.circuit.table import Table, listed, table
from provnet.torch_backend.blocks import linear_maps
from tests.circuit.test_wiring import everything

edges = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    given_edges = draw(edges)
    outputs, inputs = (np.array([edge[end] for edge in given_edges], np.int64) for end in (0, 1))
    return table(listed(outputs, inputs, 4), 5, draw(st.integers(1, 3)))


@given(edges)
def test_the_edges_are_those_that_were_given(given_edges: list[tuple[int, int]]) -> None:
    outputs, inputs = (np.array([edge[end] for edge in given_edges], np.int64) for end in (0, 1))
    index = listed(outputs, inputs, 4)
    found = [(k, int(j)) for k, row in enumerate(index) for j in row if j > -1]
    assert found == sorted(given_edges, key=lambda edge: edge[0])
    assert table(index, 5, 2).edges == 2 * len(given_edges)


@given(tables(), st.integers(0, 99), st.booleans())
def test_kernels_are_the_sums_over_slots(wiring: Table, seed: int, ones: bool) -> None:
    """Integers in float64: exact, of ints, arrays and tensors alike."""
    generator = torch.Generator().manual_seed(seed)

    def integers(*shape: int) -> torch.Tensor:
        return torch.randint(-9, 9, shape, generator=generator).double()

    source, present, weight = everything(wiring)
    w = None if ones else integers(int(weight.max()) + 1)
    held = torch.ones(int(weight.max()) + 1).double() if w is None else w
    matrix = np.zeros((wiring.outputs, wiring.inputs))
    for k, slot in np.ndindex(*source.shape):
        assert tuple(map(int, wiring.source(k, slot))) == (source[k, slot], present[k, slot], weight[k, slot])
        matrix[k, source[k, slot]] += present[k, slot] * float(held[weight[k, slot]])
    a, s, b = integers(2, wiring.inputs), integers(2, wiring.outputs), integers(wiring.outputs)
    dense = torch.from_numpy(matrix)
    z, r = linear_maps.apply(wiring, a, w, b), linear_maps.transpose(wiring, s, w)
    assert z is not None and torch.equal(z, a @ dense.T + b)
    assert r is not None and torch.equal(r, s @ dense)
    outputs, slots = torch.arange(wiring.outputs)[:, None], torch.arange(wiring.fan)
    assert all(
        np.array_equal(np.broadcast_to(np.asarray(one), other.shape), other)
        for one, other in zip(wiring.source(outputs, slots), (source, present, weight), strict=True)
    )
