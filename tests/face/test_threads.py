"""One circuit, many callers: threads, inference mode, tracing beside serving."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet.errors import StaleCircuitError

D = torch.double


def together(threads: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(n)` in several threads that begin at once."""
    barrier = threading.Barrier(threads)

    def run(n: int) -> Any:
        barrier.wait()
        return work(n)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)).to(D).eval()


@pytest.mark.guarantee("a circuit asked from several threads at once gives each the answer of one thread")
@pytest.mark.parametrize("rule", ["zero", "zplus", "epsilon"])
def test_threads_share_a_circuit(rule: str) -> None:
    circuit = provnet.trace(small_net(), torch.rand(2, 1, 8, 8, dtype=D))
    asked = [("real", k) for k in range(3)] + [("viterbi", k) for k in range(3)]
    right = [circuit.evaluate(s, target=k, rule=rule).inputs for s, k in asked]

    def wrong(n: int) -> int:
        found = 0
        for i in range(120):
            which = (i + n) % len(asked)
            semiring, k = asked[which]
            found += not torch.equal(circuit.evaluate(semiring, target=k, rule=rule).inputs, right[which])
        return found

    assert together(4, wrong) == [0] * 4


@pytest.mark.guarantee("a trace lists the module calls of its own thread alone, and leaves other threads' undisturbed")
def test_tracing_beside_serving() -> None:
    model, x = small_net(), torch.rand(2, 1, 8, 8, dtype=D)
    served = model(x)
    paths = [block.path for block in provnet.trace(model, x).data.blocks]

    def work(n: int) -> bool:
        if n % 2:
            return all(torch.equal(model(x), served) for _ in range(600))
        return all([b.path for b in provnet.trace(model, x).data.blocks] == paths for _ in range(40))

    assert together(4, work) == [True] * 4
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.guarantee("a circuit gives the same numbers in and out of inference mode, whichever comes first")
@pytest.mark.parametrize("traced_inside", [False, True])
@pytest.mark.parametrize("rule", ["zero", "zplus"])
def test_inference_mode(traced_inside: bool, rule: str) -> None:
    model, x = small_net(), torch.rand(2, 1, 8, 8, dtype=D)
    with torch.inference_mode(traced_inside):
        circuit = provnet.trace(model, x)
    with torch.inference_mode():
        inside = circuit.evaluate("real", target=1, rule=rule).inputs
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
    outside = circuit.evaluate("real", target=1, rule=rule).inputs
    assert torch.equal(inside, outside)
    weight = torch.ones((), dtype=D, requires_grad=True)
    (weight * inside.sum()).backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, outside.sum())
    assert not circuit.outputs[0].is_inference()


@pytest.mark.guarantee("a later look at a result is refused once the model's weights were changed in place")
def test_later_looks_are_refused() -> None:
    model = small_net()
    r = provnet.trace(model, torch.rand(2, 1, 8, 8, dtype=D)).evaluate("viterbi")
    r.messages("3")
    with torch.no_grad():
        model.get_parameter("3.weight").mul_(2)
    for look in (lambda: r.messages("3"), lambda: r.weights("3"), r.conservation):
        with pytest.raises(StaleCircuitError):
            look()
