"""What folds the edges of large blocks is an option of an evaluation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import provnet
from provnet.errors import OptionError
from provnet.torch_backend.contractions import engine_choice
from provnet.torch_backend.contractions.base import Engine
from provnet.torch_backend.contractions.engine_choice import chosen, engine_chosen
from provnet.torch_backend.contractions.numba_engine import NUMBA


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    """A perceptron so small that "auto" leaves it to torch."""
    torch.manual_seed(0)
    return provnet.trace(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(2, 6))


def reasons(result: provnet.Relevance) -> str:
    return " ".join(step.why for step in result.plan)


@pytest.mark.skipif(not NUMBA, reason="numba is not installed")
@pytest.mark.parametrize("semiring", ["boolean", "counting", "viterbi"])
def test_an_engine_by_name_takes_small_blocks_and_answers_the_same(circuit: provnet.Circuit, semiring: str) -> None:
    compiled = circuit.evaluate(semiring, target=1, engine="numba")
    for engine in ("auto", "torch"):
        plain = circuit.evaluate(semiring, target=1, engine=engine)
        assert "numba" in reasons(compiled) and "numba" not in reasons(plain)
        torch.testing.assert_close(compiled.inputs, plain.inputs, rtol=1e-6, atol=0)


def test_torch_is_taken_for_large_blocks_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = provnet.trace(nn.Linear(200, 100), torch.rand(1, 200))
    assert circuit.session.edges >= engine_choice.FEW_EDGES
    assert "numba" not in reasons(circuit.evaluate("boolean", target=1, engine="torch"))
    if NUMBA:
        assert "numba" in reasons(circuit.evaluate("boolean", target=1))


def test_what_was_kept_is_found_later_by_the_same_engine(
    circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor that `at` did not name is found by one more walk."""
    seen: list[tuple[Engine, ...] | None] = []
    result = circuit.evaluate("boolean", target=1, engine="torch")
    asked = engine_choice.EngineChoice.on
    monkeypatch.setattr(
        engine_choice.EngineChoice, "on", lambda self, device: (seen.append(self.engines), asked(self, device))[1]
    )
    assert result["1"] is not None
    assert seen and set(seen) == {()}


def test_a_choice_is_of_its_own_thread_and_is_restored() -> None:
    with ThreadPoolExecutor(1) as pool, engine_chosen("torch"):
        assert chosen().engines == () and pool.submit(chosen).result() is engine_choice.AUTO
        with engine_chosen("auto"):
            assert chosen().engines == (), "auto leaves what is chosen around it"
        with pytest.raises(ZeroDivisionError), engine_chosen("numba"):
            raise ZeroDivisionError
        assert chosen().engines == ()
    assert chosen() is engine_choice.AUTO


def test_an_unknown_engine_is_refused_with_the_known_ones(circuit: provnet.Circuit) -> None:
    with pytest.raises(OptionError, match="expected one of 'auto', 'torch', 'numba', 'triton'"):
        circuit.evaluate(engine="gcc")


def test_an_engine_that_does_not_run_here_is_refused_and_auto_serves(
    circuit: provnet.Circuit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(OptionError, match=r"'triton' does not run on 'cpu'.*Take engine='auto'"):
        circuit.evaluate("boolean", target=1, engine="triton")
    assert circuit.evaluate("boolean", target=1, engine="auto").inputs.shape == (2, 6)
