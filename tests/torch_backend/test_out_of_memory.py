"""Out of memory: tiles are halved and the block is tried again; if that does not help, the error says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.errors import OutOfMemoryError, ProvnetError
from provnet.torch_backend.routes.reference import ReferenceRoute
from provnet.torch_backend.walk.out_of_memory import FLOOR, is_out_of_memory
from tests.nets import Residual, seeded

ERRORS: dict[str, Callable[[], BaseException]] = {
    "python": lambda: MemoryError("no room"),
    "cuda": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "cpu": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "windows": lambda: RuntimeError("not enough memory: you tried to allocate 4000000000000 bytes."),
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
}
EXACT = ("boolean", "counting", "viterbi", "tropical", "bottleneck")


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    torch.manual_seed(4)
    return provnet.trace(seeded(Residual), torch.randn(3, 2, 6, 6, dtype=torch.float64))


class Small:
    """A machine whose memory holds tiles of `largest` edges; `tried` are the tiles it was asked for."""

    def __init__(self, patch: pytest.MonkeyPatch, largest: int, error: Callable[[], BaseException]) -> None:
        self.tried: list[int | None] = []
        pull = ReferenceRoute.pull

        def small(route: ReferenceRoute, prepared: Any, question: Any, relevance: Any) -> Any:
            self.tried.append(question.tile)
            if question.tile is None or question.tile > largest:
                raise error()
            return pull(route, prepared, question, relevance)

        patch.setattr(ReferenceRoute, "pull", small)


@pytest.mark.guarantee("out of memory halves the tiles and tries again; the answer is the same to the bit")
@pytest.mark.parametrize("semiring", EXACT)
@pytest.mark.parametrize("error", ERRORS)
def test_tiles_are_halved_until_they_fit(
    circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch, semiring: str, error: str
):
    wanted = circuit.evaluate(semiring, target=1, route="reference", at="*")
    small = Small(monkeypatch, 3000, ERRORS[error])
    found = circuit.evaluate(semiring, target=1, route="reference", at="*")
    for name in found.keys():
        assert torch.equal(found[name], wanted[name]), name
    assert small.tried[:9] == [None, *(2**n for n in range(18, 10, -1))]
    for step in found.plan:
        assert ("out of memory: again with tiles of 2,048 edges" in step.why) == (step.route == "reference")


def test_a_tile_of_the_callers_is_halved_too(circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch):
    small = Small(monkeypatch, 3000, MemoryError)
    circuit.evaluate("viterbi", route="reference", memory=8 * 8 * 10_000)
    assert small.tried[:3] == [10_000, 5_000, 2_500]


def test_the_reals_agree_to_rounding(circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch):
    wanted = circuit.evaluate("real", route="reference").inputs
    Small(monkeypatch, 3000, MemoryError)
    torch.testing.assert_close(circuit.evaluate("real", route="reference").inputs, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.guarantee("where the smallest tiles do not fit in memory either, one clear error says so")
def test_memory_that_holds_nothing_is_a_clear_error(circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        small = Small(patch, 0, ERRORS["cpu"])
        with pytest.raises(OutOfMemoryError, match=r"block 'head'.*1,024 edges.*DefaultCPUAllocator.*lean=True"):
            circuit.evaluate("boolean", route="reference")
        assert small.tried[-1] == FLOOR
    assert issubclass(OutOfMemoryError, ProvnetError)
    assert issubclass(OutOfMemoryError, MemoryError)
    circuit.evaluate("boolean", route="reference")  # it is as usable as before


def test_other_errors_are_not_mistaken(circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch):
    """Nor is an interrupt, which comes from outside."""
    for error in (RuntimeError("shape mismatch"), ValueError("memory"), KeyboardInterrupt()):
        assert not is_out_of_memory(error)
        with monkeypatch.context() as patch:
            small = Small(patch, 0, lambda error=error: error)
            with pytest.raises(type(error)):
                circuit.evaluate("boolean", route="reference")
            assert small.tried == [None]


def test_a_real_allocation_that_fails_is_recognised():
    """The messages above are those that torch really gives."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 46, dtype=torch.float64)
    assert is_out_of_memory(caught.value)


def test_what_an_attempt_made_is_gone_before_the_next(circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch):
    """Else the memory that was short would be taken by what failed."""
    alive: list[int] = []

    class Big:
        def __del__(self) -> None:
            alive.pop()

    def small(route: ReferenceRoute, prepared: Any, question: Any, relevance: Any) -> Any:
        assert not alive, "the attempt before holds memory still"
        alive.append(1)
        big = Big()
        if question.tile is None or question.tile > 2048:
            raise MemoryError
        del big
        return pull(route, prepared, question, relevance)

    pull = ReferenceRoute.pull
    monkeypatch.setattr(ReferenceRoute, "pull", small)
    provnet.trace(nn.Linear(3, 2), torch.ones(1, 3)).evaluate("boolean", route="reference")
