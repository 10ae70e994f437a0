"""A short piece of the random search for extreme scales (`tests/extreme_search.py`), and that it sees what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from provnet.torch_backend.blocks import denormals
from tests.exact_blocks import WIDE, Exact, excess
from tests.extreme_search import check

pytestmark = pytest.mark.skipif(not WIDE, reason="numpy has no wider exponents than float64 here")


@pytest.mark.slow
@pytest.mark.guarantee("random blocks, every entry of a scale of its own from 1e-45 to 1e30: as near as the definition")
def test_random_blocks_of_extreme_scales() -> None:
    said = {seed: check(seed) for seed in range(150)}
    assert not {seed: words for seed, words in said.items() if words is not None and not words.startswith("-")}


def test_the_search_sees_a_route_that_trusts_denormal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denormals, "LIFTS", {torch.float32: (1.0,), torch.float64: (1.0,)})
    monkeypatch.setattr(denormals, "negligible", lambda *_: True)
    assert any(words is not None and not words.startswith("-") for words in map(check, range(40)))


def test_the_definition_may_be_further_off_than_units_in_the_last_place() -> None:
    wanted = np.array([[1.0]], dtype=np.longdouble)
    off, near = torch.tensor([[1.5]]), torch.tensor([[1.0]])
    exact = Exact(wanted, None, (wanted, None))
    assert excess("viterbi", "inputs", off, off, exact) <= 1 < excess("viterbi", "inputs", off, near, exact)
