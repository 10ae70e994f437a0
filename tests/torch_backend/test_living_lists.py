"""Lists of living far ends folded by compiled programs, against a loop over edges."""

from __future__ import annotations

import pytest
import torch

from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import Wiring
from provnet.torch_backend.contractions import living_lists, numba_engine
from provnet.torch_backend.contractions.base import Direction
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS, SCORE, Body
from provnet.torch_backend.contractions.list_source import of_sizes
from provnet.torch_backend.contractions.living_lists import ListProgram
from provnet.torch_backend.contractions.machine_code import available
from provnet.torch_backend.contractions.numba_engine import NUMBA, NumbaEngine
from tests.contraction_cases import CASES, looped, operands_of

pytestmark = pytest.mark.skipif(not (NUMBA and available()), reason="numba is not installed")

SHAPES: dict[str, tuple[Wiring, Direction]] = {
    "two panels": (convolution(20, 2, 1, (4, 4), (4, 4), (3, 3), (1, 1), (1, 1), (1, 1)), "pull"),
    "two tiles, strides": (convolution(2, 3, 1, (18, 9), (17, 4), (2, 3), (1, 2), (0, 0), (1, 1)), "push"),
    "groups, taps outside": (convolution(4, 38, 2, (7,), (5,), (5,), (2,), (3,), (1,)), "push"),
}
WRITTEN = [name for name in CASES if name not in ("reach, in truth values", "a user's", "a softened maximum")]
FLOATS = tuple(dict.fromkeys(("v", "a", "w", "s0", "s1", "c0", "c1"), torch.float32).items())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.guarantee("Lists of living far ends in registers give what a loop over the edges gives, to the bit.")
def test_programs_give_what_a_loop_gives(name: str, shape: str, monkeypatch: pytest.MonkeyPatch):
    case, (wiring, direction) = CASES[name], SHAPES[shape]
    for limit in ("NARROWEST", "FEWEST"):
        monkeypatch.setattr(living_lists, limit, 0)
    monkeypatch.setattr(living_lists, "vectors_at_most", lambda *_: 1)
    monkeypatch.setattr(numba_engine, "SMALL", 0)
    monkeypatch.setattr(numba_engine, "SMALL_GROUP", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for dtype in (torch.float32, torch.float64) if name == "max-times" else (torch.float32,):
        operands = operands_of(case, wiring, direction, 2, dtype, len(name))
        assert torch.equal(NumbaEngine().contract(case.body, operands), looped(case, wiring, operands))


def test_what_programs_leave_to_other_kernels():
    """Narrow layers, few places, bodies without words, and bodies of three numbers."""

    def served(body: Body = MAX_TIMES_ABS, near: int = 16, places: int = 16) -> bool:
        return ListProgram.of(body, FLOATS, near, 8, places) is not None

    assert served()
    assert not served(near=15)
    assert not served(places=15)
    assert not served(CASES["a softened maximum"].body)
    assert not served(Body("three", "max(v, s0 * s1 * s2 * w)", 3))


def test_sizes_are_laid_out_where_a_body_reads_no_signs():
    assert of_sizes(MAX_TIMES_ABS) is not None
    assert of_sizes(SCORE) is None
    assert of_sizes(Body("both", "max(v, s0 * abs(w) + w)")) is None
