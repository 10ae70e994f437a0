"""Folding messages into neurons, against a plain loop."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet import semirings
from provnet.torch_backend.blocks.scatter import scatter_any, scatter_taps

EXACT = ("boolean", "counting", "bottleneck", "tropical")


def elements(name: str, values: list[int]) -> torch.Tensor:
    """Small whole numbers: exact in every semiring."""
    dtype = semirings.get(name).element_dtype(torch.float64)
    return torch.tensor(values).to(dtype)


@given(st.sampled_from(EXACT), st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=30))
def test_any_pattern_of_messages(name: str, messages: list[tuple[int, int]]):
    semiring = semirings.get(name)
    index = torch.tensor([to for to, _ in messages], dtype=torch.int64)
    values = elements(name, [value for _, value in messages])
    into = semiring.full((1, 5), semiring.zero, values)
    wanted = into[0].clone()
    for (to, _), value in zip(messages, values, strict=True):
        wanted[to] = semiring.plus(wanted[to], value)
    scatter_any(semiring, into, index, values[None])
    assert torch.equal(into[0], wanted)


@given(st.sampled_from(EXACT), st.permutations(range(4)), st.permutations(range(4)), st.integers(0, 99))
def test_taps_that_do_not_collide(name: str, first: list[int], second: list[int], seed: int):
    """Two taps, four positions: each tap reaches every neuron once."""
    semiring = semirings.get(name)
    index = torch.tensor([first, second]).T
    generator = torch.Generator().manual_seed(seed)
    values = elements(name, torch.randint(0, 9, (8,), generator=generator).tolist()).reshape(1, 4, 2)
    into = semiring.full((1, 5), semiring.zero, values)
    wanted = into[0].clone()
    for position in range(4):
        for tap in range(2):
            to = index[position, tap]
            wanted[to] = semiring.plus(wanted[to], values[0, position, tap])
    scatter_taps(semiring, into, index, values, 2)
    assert torch.equal(into[0], wanted)
