"""Dense layers of which few outputs matter: the part that is taken out gives what the whole gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provnet
from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import dense
from provnet.torch_backend.contractions import few_reached
from provnet.torch_backend.contractions.base import Direction
from provnet.torch_backend.contractions.numba_engine import NUMBA, NumbaEngine
from provnet.torch_backend.routes import max_times_route
from tests.contraction_cases import CASES, looped, operands_of
from tests.torch_backend.test_routes import by

pytestmark = pytest.mark.skipif(not NUMBA, reason="numba is not installed")


@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.parametrize("alive", [0.0, 0.04, 0.5])
def test_the_part_gives_what_the_whole_gives(direction: Direction, alive: float) -> None:
    for name, seed in (("max-times", 1), ("reach", 2)):
        case, wiring = CASES[name], dense(3, 12, 9)
        operands = operands_of(case, wiring, direction, 2, torch.float32, seed, alive)
        found = few_reached.contract(NumbaEngine(), case.body, operands)
        assert torch.equal(found, looped(case, wiring, operands))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("semiring", ["viterbi", "tropical"])
def test_one_output_of_many(semiring: str, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One logit of one token: only its largest contribution is looked for."""
    monkeypatch.setattr(max_times_route, "LARGE", 0)
    torch.manual_seed(0)
    circuit = provnet.trace(nn.Linear(6, 40, bias).double(), torch.randn(2, 5, 6).double())
    with by("numba"):
        fast = circuit.evaluate(semiring, (3, 7))
    slow = circuit.evaluate(semiring, (3, 7), route="reference")
    torch.testing.assert_close(fast.inputs, slow.inputs, rtol=1e-14, atol=0)
    assert set(fast.sinks) == set(slow.sinks)
    (prepared,) = circuit.session.workspace(torch.float64).prepared(0, provnet.rules.Zero()).parts
    assert prepared.extent.contributions is None


def test_positions_of_outputs() -> None:
    """`by_position` is the look-up by `output`, for all at once."""
    for wiring in (dense(3, 4, 5), convolution(4, 6, 2, (5, 4), (3, 2), (3, 3), (1, 1), (0, 0), (1, 1))):
        numbers = torch.arange(wiring.outputs).numpy()
        channels = torch.arange(wiring.channels).numpy()
        positions = torch.arange(wiring.positions).numpy()[:, None]
        assert (wiring.by_position(numbers) == wiring.output(positions, channels)).all()
