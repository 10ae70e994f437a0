"""The passes around best products: compiled ones against those by torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.torch_backend.contractions import best_passes
from provnet.torch_backend.contractions.numba_engine import NUMBA
from provnet.torch_backend.routes import max_times_route
from tests.torch_backend.test_routes import by

pytestmark = pytest.mark.skipif(not NUMBA, reason="numba is not installed")

SHAPES = ((1, 90), (3, 41), (9, 20))
WORST = (0.0, 1e-42, 1e-31, 1e-20, 1.0, 1e20, 3e38, float("inf"), float("nan"))


def drawn(seed: int, shape: tuple[int, int], most: int, dtype: torch.dtype) -> torch.Tensor:
    """Numbers from 0 on, of the first `most` scales: one for each example, or any."""
    generator = torch.Generator().manual_seed(seed)
    of = (shape[0], 1) if seed % 2 else shape
    scale = torch.tensor(WORST, dtype=dtype)[torch.randint(most, of, generator=generator)]
    return scale * torch.rand(shape, generator=generator, dtype=dtype)


def same(found: Any, wanted: Any) -> None:
    assert (found is None) == (wanted is None)
    if found is not None:
        for name, value in asdict(wanted).items():
            torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_passes_are_those_by_torch(
    shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(best_passes, "PIECE", 16)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    served = 0
    for seed in range(24):
        most = (6, 8, 9)[seed % 3]
        largest, height = drawn(seed, shape, most, dtype), drawn(seed + 100, shape, 7, dtype)
        reached = drawn(seed + 1, shape, 7, dtype) > 1e-31
        given = largest, height, reached, 1e-30
        found = best_passes.shares(*given, True)
        same(found, best_passes.shares_by_torch(*given))
        served += found is not None
        a, least = drawn(seed + 2, shape, 6, dtype), drawn(seed + 3, (shape[0], 1), 6, dtype)
        a = torch.where(reached, a, -a)
        for ceiling in (1.0, torch.inf):
            asked = a, largest, least, 1e-30, ceiling
            same(best_passes.products(*asked, True), best_passes.products_by_torch(*asked))
    assert 6 < served < 24


@pytest.mark.parametrize("weight", [1.0, 1e-25])
def test_columns_that_no_output_reaches_are_not_looked_at_twice(weight: float, monkeypatch: pytest.MonkeyPatch):
    """A column of 0 is decided where no product of a weight and a share can vanish, and only there."""
    model = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    with torch.no_grad():
        model.weight.abs_().add_(0.1)
        model.weight[0, 0, 0, 0] *= weight
    circuit, looked = provnet.trace(model, torch.rand(1, 2, 8, 8) + 0.1), []
    faint = max_times_route._faint
    monkeypatch.setattr(max_times_route, "_faint", lambda *given: (looked.append(1), faint(*given))[1])
    target = torch.zeros(1, 3, 8, 8)
    target[0, 1, 2, 2], target[0, 0, 5, 5] = 1.0, 1e-7
    with by("numba"):
        fast = circuit.evaluate("viterbi", target=target)
    slow = circuit.evaluate("viterbi", target=target, route="reference")
    torch.testing.assert_close(fast.inputs, slow.inputs, rtol=1e-6, atol=0)
    assert bool((fast.inputs == 0).any()) and bool(looked) == (weight < 1)
