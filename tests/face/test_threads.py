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
    paths = [block.path for block in provnet.trace(model, x).session.data.blocks]

    def work(n: int) -> bool:
        if n % 2:
            return all(torch.equal(model(x), served) for _ in range(600))
        return all([b.path for b in provnet.trace(model, x).session.data.blocks] == paths for _ in range(40))

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


@pytest.mark.guarantee("a lean circuit asked from several threads at once gives each the answer of one thread")
def test_threads_share_a_lean_circuit() -> None:
    """Under other settings of torch than at tracing, too, which are put back."""
    layers = [nn.Linear(16, 16), nn.Tanh()] * 8
    torch.manual_seed(0)
    circuit = provnet.trace(nn.Sequential(*layers, nn.Linear(16, 3)), torch.rand(2, 16), lean=True)
    right = [circuit.evaluate("real", target=k).inputs for k in range(3)]
    torch._C._set_mkldnn_enabled(False)
    try:
        found = together(4, lambda n: [circuit.evaluate("real", target=(i + n) % 3).inputs for i in range(60)])
        assert not torch._C._get_mkldnn_enabled()
    finally:
        torch._C._set_mkldnn_enabled(True)
    for n, answers in enumerate(found):
        assert all(torch.equal(answer, right[(i + n) % 3]) for i, answer in enumerate(answers))


@pytest.mark.guarantee("gates asked from several threads at once give each the answer of one thread")
def test_threads_share_gates() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).to(D)
    gates = provnet.trace(model, torch.rand(1, 4, dtype=D)).gates(target=0)
    asked = ("real", "viterbi", "boolean", "counting")
    right = {semiring: gates.evaluate(semiring).tensor for semiring in asked}

    def same(n: int) -> bool:
        turns = [asked[(i + n) % 4] for i in range(60)]
        return all(torch.equal(gates.evaluate(semiring).tensor, right[semiring]) for semiring in turns)

    assert together(4, same) == [True] * 4


class Counts(nn.Module):
    """Counts its calls in a buffer that does not change what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(self.calls, torch.Tensor)
        self.calls += 1
        return self.linear(x)


@pytest.mark.guarantee("a model that writes to a buffer may be served while other threads trace it")
def test_tracing_beside_serving_with_a_buffer() -> None:
    model, x = Counts(), torch.rand(2, 4)
    served = model(x).detach()

    def work(n: int) -> bool:
        if n % 2:
            return all(torch.equal(model(x), served) for _ in range(300))
        return all(torch.equal(provnet.trace(model, x).outputs[0], served) for _ in range(40))

    assert together(4, work) == [True] * 4
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.guarantee("a model that explains another one while it is traced is traced as if it did not")
def test_nested_traces() -> None:
    inner, x = small_net(), torch.rand(2, 1, 8, 8, dtype=D)
    wanted = provnet.trace(inner, x).evaluate("real", target=1).inputs
    seen = []

    def outer(x: torch.Tensor) -> torch.Tensor:
        seen.append(provnet.trace(inner, x.detach()).evaluate("real", target=1).inputs)
        return inner(x)

    found = provnet.trace(outer, x).evaluate("real", target=1).inputs
    assert torch.equal(found, wanted)
    assert torch.equal(seen[0], wanted)
