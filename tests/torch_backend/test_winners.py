"""The winners of windows: the library's pooling against the definition, with ties everywhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import provnet
from provnet.rules import Zero
from provnet.torch_backend.blocks import winners

POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


@pytest.mark.parametrize("dims", [1, 2, 3])
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2), st.booleans(), st.integers(0, 10**6))
def test_the_first_maximum_wins(
    dims: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool, seed: int
):
    """Three values only, zeros and negative ones among them: nearly every window has a tie."""
    pool = POOLS[dims](kernel, stride, min(padding, kernel // 2), dilation, ceil_mode=ceil_mode)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-1, 2, (2, 2, *(6, 5, 7)[:dims]), generator=generator).float()
    circuit = provnet.trace(nn.Sequential(pool, nn.Flatten()), x)
    index = next(i for i, block in enumerate(circuit.session.data.blocks) if block.kind == "selection")
    prepared = circuit.session.workspace(torch.float32).prepared(index, Zero())
    assert prepared.winner is not None
    expected = winners._by_tiles(prepared)
    assert torch.equal(prepared.winner, expected)
    # A circuit that was saved, or is lean, has not what the model's own op said: the library's pooling says it again.
    again = replace(prepared, block=replace(prepared.block, places=None))
    assert torch.equal(winners.Winners(again).value, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_window_that_is_larger_than_the_input_has_winners(stride):
    """With ceil_mode it gives one output, where the same pooling without gives none and refuses."""
    pool = nn.MaxPool2d((2, 3), stride=(2, stride), ceil_mode=True)
    x = torch.tensor([[[[3.0, 1.0, 2.0, 4.0]]]])
    lean = provnet.trace(nn.Sequential(pool, nn.Flatten()), x, lean=True)
    prepared = lean.session.workspace(torch.float32).prepared(0, Zero())
    again = replace(prepared, block=replace(prepared.block, places=None))
    assert torch.equal(winners.Winners(again).value, winners._by_tiles(prepared))
    assert lean.evaluate("boolean", target=0).inputs.tolist() == [[[[True, False, False, False]]]]
