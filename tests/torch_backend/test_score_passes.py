"""One pass over outputs and one over scores: compiled against torch, to the bit."""

from __future__ import annotations

import pytest
import torch

from provnet.torch_backend.contractions import score_passes
from provnet.torch_backend.contractions.machine_code import available
from provnet.torch_backend.contractions.score_passes import passes, passes_by_torch, shares, shares_by_torch

pytestmark = pytest.mark.skipif(not available(), reason="llvmlite, which the extra `fast` brings, is not installed")


def numbers(size: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Numbers of both signs with zeros of both, denormals and the largest ones."""
    generator = torch.Generator().manual_seed(seed)
    limits = torch.finfo(dtype)
    odd = torch.tensor([0.0, -0.0, limits.tiny * limits.eps, -limits.tiny, limits.max], dtype=dtype)
    chosen = torch.randint(20, (1, size), generator=generator)
    return torch.where(chosen < 5, odd[chosen.clamp(max=4)], torch.randn(1, size, generator=generator, dtype=dtype))


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.guarantee("what of the outputs takes part in a threshold is found compiled as by torch, to the bit")
def test_shares(dtype: torch.dtype, absolute: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(score_passes, "PIECE", 64)
    for size in (3, 16, 47, 64, 65, 1000):
        for part in (0.0, 0.5, 1.0):
            z = numbers(size, dtype, size)
            z = z if part < 1 else torch.where(z == 0, 1, z)
            came = torch.rand(1, size, generator=torch.Generator().manual_seed(1)) < part
            found, wanted = shares(z, came, absolute), shares_by_torch(z, came, absolute)
            assert torch.equal(found.reached, wanted.reached)
            assert torch.equal(found.share, wanted.share)
            assert (found.least, found.greatest, found.lost) == (wanted.least, wanted.greatest, wanted.lost)
    z[0, 777] = torch.nan
    for found in (shares(z, came, absolute), shares_by_torch(z, came, absolute)):
        assert found.least != found.least


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_passes(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    """Decided are scores above, below, and none that is infinite, a NaN, or between; a single other one is seen."""
    monkeypatch.setattr(score_passes, "PIECE", 64)
    for size in (16, 47, 64, 65, 1000):
        score = numbers(size, dtype, size).clamp(-1e30, 1e30)
        score = torch.where((score > 0.2) & (score < 0.4), 1.0, score).to(dtype)
        for at, number, decided in (
            (0, 1.0, True),
            (size - 1, 0.3, False),
            (5, torch.inf, False),
            (9, torch.nan, False),
        ):
            score[0, at] = number
            found, sure = passes(score, 0.25, 0.35)
            wanted, known = passes_by_torch(score, 0.25, 0.35)
            assert torch.equal(found, wanted)
            assert (sure, known) == (decided, decided)
            score[0, at] = -torch.inf
