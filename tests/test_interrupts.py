"""An interrupt, wherever it comes: model, hooks and torch are left as found, and the circuit answers as before.

`sys.setprofile` raises at the n-th call of a function of provnet, for many n. Calls inside a clean-up are left out:
what interrupts a `finally` block cannot be undone by the block.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.rules import Gamma
from tests.conftest import global_state

HERE = str(Path(provnet.__file__).parent)
CLEANING = {"__exit__", "restore", "remove", "close"}
SIX = ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck"]


class Interrupt:
    """Counts calls of provnet's functions, and raises at one of them."""

    def __init__(self, at: int | None, error: type[BaseException]) -> None:
        self.at, self.error, self.count = at, error, 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(HERE) or code.co_flags & inspect.CO_GENERATOR:
            return
        if code.co_name in CLEANING:
            return
        self.count += 1
        if self.count == self.at:
            raise self.error


@contextmanager
def interrupted(at: int | None, error: type[BaseException] = KeyboardInterrupt) -> Iterator[Interrupt]:
    """Raise at the call number `at` of the body; None: only count."""
    interrupt, before = Interrupt(at, error), sys.getprofile()
    sys.setprofile(interrupt)
    try:
        yield interrupt
    finally:
        sys.setprofile(before)


def points(work: Callable[[], object], many: int) -> list[int]:
    """Return call numbers to interrupt at: the first, the last, and others spread between them."""
    work()  # what is made once and kept, such as the facts about an op, is not counted
    with interrupted(None) as counter:
        work()
    assert counter.count > many
    return sorted({1 + n * (counter.count - 1) // many for n in range(many + 1)})


class Watched(nn.Module):
    """Everything that a trace could disturb: hooks, buffers that it writes, attention, all kinds of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4)
        self.out = nn.Linear(16, 3)
        self.register_buffer("count", torch.zeros(2))
        self.norm.register_forward_hook(lambda *call: call[2] + 0)
        self.out.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.count, Tensor)
        self.count += 1
        x = torch.relu_(self.norm(self.conv(x)))
        return self.out(nn.functional.max_pool1d(x, 2).flatten(1))


def watched() -> tuple[Watched, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Watched().eval(), torch.randn(2, 2, 8)


def state_of(model: nn.Module) -> dict[str, Any]:
    """Return all that provnet must leave alone."""
    return {
        **{name: tensor.tolist() for name, tensor in model.state_dict().items()},
        "gradients": [(p.requires_grad, p.grad, id(p)) for p in model.parameters()],
        "training": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [
            {key: list(value) for key, value in vars(module).items() if "_hooks" in key} for module in model.modules()
        ],
        "modes": (torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack()),
        "random": torch.get_rng_state().tolist(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "threads": torch.get_num_threads(),
        "torch": global_state(),
    }


def answers(circuit: provnet.Circuit) -> list[Tensor]:
    """Return what a circuit says, in many ways."""
    found = [r.inputs for r in circuit.evaluate(SIX, target=1)]
    found += [r.inputs for r in circuit.evaluate(["real", "viterbi"], target=0, rule=Gamma(0.25), at="*")]
    report = circuit.evaluate("real", target=2)
    return [*found, report.messages("out"), report["norm"], *report.sinks.values()]


def assert_same(found: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.guarantee("an interrupt while tracing leaves model, hooks and torch's global state as found")
def test_tracing(error: type[BaseException], differentiable: bool):
    model, x = watched()
    x.requires_grad_(differentiable)
    before = state_of(model)

    def work() -> provnet.Circuit:
        return provnet.trace(model, x, differentiable=differentiable)

    wanted = [a.detach() for a in answers(provnet.trace(model, x))]
    for at in points(work, 60):
        with pytest.raises(error), interrupted(at, error):
            work()
        assert state_of(model) == before, at
    assert_same(answers(provnet.trace(model, x)), wanted)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.guarantee("an interrupted evaluation leaves the circuit usable, and its answers equal to the last bit")
def test_evaluating(error: type[BaseException]):
    model, x = watched()
    wanted, before = answers(provnet.trace(model, x)), state_of(model)
    for at in points_of_answers(model, x):
        circuit = provnet.trace(model, x)
        # Memory that ran out is told in provnet's own words, or met by smaller tiles.
        with suppress(MemoryError) if error is MemoryError else pytest.raises(error), interrupted(at, error):
            answers(circuit)
        assert state_of(model) == before, at
        assert_same(answers(circuit), wanted)


def points_of_answers(model: nn.Module, x: Tensor) -> list[int]:
    circuit = provnet.trace(model, x)
    return points(lambda: answers(circuit), 60)


@pytest.mark.guarantee("interrupted gates leave the circuit usable, and its answers equal to the last bit")
def test_gates():
    model, x = watched()
    circuit = provnet.trace(model, x)
    before = state_of(model)

    def ask() -> Tensor:
        return circuit.gates(target=1, at=("norm", 0, 0)).evaluate("real", rule="zero").tensor

    wanted, whole = ask(), answers(circuit)
    for at in points(ask, 40):
        with pytest.raises(KeyboardInterrupt), interrupted(at):
            ask()
        assert state_of(model) == before, at
    assert torch.equal(ask(), wanted)
    assert_same(answers(circuit), whole)


def test_saving(tmp_path: Path):
    """A file that was there stays whole until the new one is."""
    model, x = watched()
    circuit = provnet.trace(model, x)
    file = tmp_path / "circuit.provnet"
    provnet.save(circuit, file)
    wanted = file.read_bytes()
    for at in points(lambda: provnet.save(circuit, file), 20):
        with pytest.raises(KeyboardInterrupt), interrupted(at):
            provnet.save(circuit, file)
        assert file.read_bytes() == wanted, at
        assert list(tmp_path.iterdir()) == [file], at


def interrupting_hook(module: nn.Module, *_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", ["hook", "kernel"])
def test_from_inside_the_model(kind: str, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while the model itself computes."""
    model, x = watched()
    before = state_of(model)
    if kind == "hook":
        handle = model.out.register_forward_pre_hook(interrupting_hook)
    else:
        monkeypatch.setattr(nn.functional, "max_pool1d", interrupting_hook)
    with pytest.raises(KeyboardInterrupt):
        provnet.trace(model, x)
    if kind == "hook":
        handle.remove()  # pyright: ignore[reportPossiblyUnboundVariable]
    monkeypatch.undo()
    assert state_of(model) == before
    assert provnet.trace(model, x).evaluate("boolean").inputs.any()


def test_in_a_semiring_of_ones_own():
    """The user's own plus is interrupted in the midst of a fold."""
    model, x = watched()
    circuit = provnet.trace(model, x)
    wanted = circuit.evaluate("viterbi", target=0, route="reference").inputs
    left: list[int] = []

    def plus(x: Tensor, y: Tensor) -> Tensor:
        if left and left.pop() == 1:
            raise KeyboardInterrupt
        return torch.maximum(x, y)

    own = provnet.semirings.make(plus, torch.mul, 0.0, 1.0, name="own", annotation="max-normalised", idempotent=True)
    left.extend(range(1, 10))
    with pytest.raises(KeyboardInterrupt):
        circuit.evaluate(own, target=0)
    torch.testing.assert_close(circuit.evaluate(own, target=0).inputs, wanted)
