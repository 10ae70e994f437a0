"""A lean circuit keeps few activations, makes the others again, and answers to the bit as one that keeps all."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

import provnet
from provnet.capture import lean_values as lean_module
from provnet.capture.execution import TracedOp
from provnet.capture.lean_values import Again, Lean
from provnet.errors import OptionError, StaleCircuitError
from tests.nets import Branching, Functional, Residual, perceptron, seeded, small_cnn

SEMIRINGS = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck", "log")


class Inplace(nn.Module):
    """In-place ReLUs, also of a view, a residual, a concatenation, overlapping pools, a transposed dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
        )
        self.tail = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(8 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        y = self.tail(x)
        y[:, :2].relu_()
        y += x
        z = torch.cat([F.max_pool2d(y, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)], 1)
        return self.head(z.transpose(1, 2).flatten(1))


class Whole(nn.Module):
    """A recurrent layer and a module that is kept whole."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(3, 4, batch_first=True)
        self.odd = nn.Softplus()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.odd(self.memory(x)[0][:, -1]))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Any]]] = {
    "mlp": (lambda: perceptron(6, 5, 4, 3), (4, 6), {}),
    "cnn": (lambda: small_cnn(8), (2, 1, 8, 8), {}),
    "kept norms": (lambda: small_cnn(8), (2, 1, 8, 8), {"batch_norm": "kept"}),
    "residual": (Residual, (3, 2, 6, 6), {}),
    "in place": (Inplace, (2, 1, 6, 6), {}),
    "functional": (Functional, (3, 6), {}),
    "branching": (Branching, (1, 4), {}),
    "whole": (lambda: Whole().eval(), (2, 3, 3), {"opaque": ["memory", "odd"]}),
}


def pair(case: str, dtype: torch.dtype) -> tuple[provnet.Circuit, provnet.Circuit]:
    make, shape, options = CASES[case]
    model = seeded(make, dtype=dtype)
    torch.manual_seed(8)
    x = torch.randn(shape, dtype=dtype)
    return provnet.trace(model, x, **options), provnet.trace(model, x, lean=True, **options)


@pytest.fixture(params=[(case, dtype) for case in CASES for dtype in (torch.float32, torch.float64)], ids=str)
def both(request: pytest.FixtureRequest) -> tuple[provnet.Circuit, provnet.Circuit]:
    return pair(*request.param)


@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.guarantee("a lean circuit answers as one that keeps its activations, to the bit, in every semiring")
def test_answers_are_equal_to_the_bit(both: tuple[provnet.Circuit, provnet.Circuit]):
    full, lean = both
    for i, held in full.session.data.activations.items():
        again = lean.session.data.activations[i].handle
        assert torch.equal(held.handle, again.tensor() if isinstance(again, Again) else again)
    for rule in ("zero", "gamma", provnet.rules.AlphaBeta(2, 1)):
        wanted = full.evaluate(list(SEMIRINGS), at="*", rule=rule)
        for found, one in zip(lean.evaluate(list(SEMIRINGS), at="*", rule=rule), wanted, strict=True):
            for name in one.keys():
                assert torch.equal(found[name], one[name]), (one.semiring, name)
            assert str(found.conservation()) == str(one.conservation())


@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
def test_messages_gates_and_unit_slopes_are_equal_too(both: tuple[provnet.Circuit, provnet.Circuit]):
    full, lean = both
    block = next(b for b in reversed(full.session.data.blocks) if b.has_coefficients)
    assert torch.equal(lean.evaluate("real").messages(block.path), full.evaluate("real").messages(block.path))
    at = (full.sources[0], *(0 for _ in full.session.data.activations[full.session.data.sources[0]].shape))
    gates, wanted = lean.gates(target=0, at=at), full.gates(target=0, at=at)
    assert torch.equal(gates.valuation("real"), wanted.valuation("real"))
    if all(b.call is not None for b in full.session.data.blocks if b.kind == "elementwise"):
        assert torch.equal(lean.evaluate(rule="gradient").inputs, full.evaluate(rule="gradient").inputs)
    assert str(lean.plan(coefficients=True)) == str(full.plan(coefficients=True))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[int, StorageWeakRef]:
    """Activation -> its recorded storage, watched but not held."""
    found: dict[int, StorageWeakRef] = {}
    trace_module = importlib.import_module("provnet.face.trace")  # the name is a function's, too
    build = trace_module.build_with_layouts

    def spy(*args: Any) -> Any:
        circuit, layouts = build(*args)
        for i, held in circuit.activations.items():
            found[i] = StorageWeakRef(held.handle.untyped_storage())
        return circuit, layouts

    monkeypatch.setattr(trace_module, "build_with_layouts", spy)
    return found


@pytest.mark.guarantee("a lean circuit lets go of the activations it does not keep, after every evaluation too")
def test_memory_is_really_freed(watched: dict[int, StorageWeakRef]):
    """A chain of 32 equal steps: some six are kept, some six made again at a time."""
    model = seeded(lambda: perceptron(*(64,) * 17))
    circuit = provnet.trace(model, torch.randn(2, 64, dtype=torch.float64), lean=True)
    gc.collect()
    alive = {i for i, storage in watched.items() if not storage.expired()}
    lean: Lean = circuit.session.data.lean
    assert alive == {i for i, held in circuit.session.data.activations.items() if not isinstance(held.handle, Again)}
    assert len(alive) <= 9
    assert len(watched) == 32
    for semiring in ("real", "viterbi", "counting"):
        circuit.evaluate(semiring)
        assert lean._held is None
        assert not circuit.session.workspace(torch.float64)._sums


def test_no_more_than_a_stretch_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch):
    circuit = provnet.trace(seeded(lambda: perceptron(*(16,) * 33)), torch.randn(2, 16, dtype=torch.float64), lean=True)
    made: list[StorageWeakRef] = []
    most = 0
    make = Lean._make

    def spy(lean: Lean, *args: Any) -> dict[int, Tensor]:
        nonlocal most
        gc.collect()
        assert all(storage.expired() for storage in made), "the stretch before is held still"
        found = make(lean, *args)
        made[:] = [StorageWeakRef(tensor.untyped_storage()) for tensor in found.values()]
        most = max(most, len(made))
        return found

    monkeypatch.setattr(Lean, "_make", spy)
    circuit.evaluate("viterbi")
    for held in circuit.session.data.activations.values():  # in any order, without a walk that lets go
        if isinstance(held.handle, Again):
            held.handle.tensor()
    assert 0 < most <= 12
    assert len(circuit.session.data.activations) == 64


def test_what_a_walk_has_passed_is_let_go(monkeypatch: pytest.MonkeyPatch):
    """Behind a block its output is of no more use, so a stretch shrinks as the walk goes down."""
    circuit = provnet.trace(seeded(lambda: perceptron(*(8,) * 9)), torch.randn(2, 8, dtype=torch.float64), lean=True)
    held: list[set[int]] = []
    release = Lean.release

    def spy(lean: Lean, value: int | None = None) -> None:
        release(lean, value)
        if value is not None and lean._held is not None:
            held.append(set(lean._held[1]))
            assert all(made < value for made in held[-1]), "a value above the walk is held still"

    monkeypatch.setattr(Lean, "release", spy)
    circuit.evaluate("viterbi")
    assert max(map(len, held)) > 1
    assert circuit.session.data.lean._held is None


def test_each_stretch_is_made_once_a_walk(monkeypatch: pytest.MonkeyPatch):
    circuit = provnet.trace(seeded(Residual), torch.randn(2, 2, 6, 6, dtype=torch.float64), lean=True)
    stretches: list[int] = []
    make = Lean._make

    def spy(lean: Lean, stretch: int, *args: Any) -> dict[int, Tensor]:
        stretches.append(stretch)
        return make(lean, stretch, *args)

    monkeypatch.setattr(Lean, "_make", spy)
    circuit.evaluate(["real", "boolean", "viterbi"], rule="gamma")
    assert stretches == sorted(set(stretches), reverse=True)


@pytest.mark.guarantee("a lean circuit refuses to go on when the model has changed")
def test_a_changed_weight_is_stale():
    model = seeded(lambda: perceptron(4, 4, 4, 4, 3))
    circuit = provnet.trace(model, torch.randn(1, 4, dtype=torch.float64), lean=True)
    assert isinstance(model, nn.Sequential)
    found = circuit.evaluate("real")
    with torch.no_grad():
        model[2].weight[0, 0] += 1  # type: ignore[index,operator]
    with pytest.raises(StaleCircuitError, match=r"'2\.weight'"):
        circuit.evaluate("real")
    promised = [held.handle for held in circuit.session.data.activations.values() if isinstance(held.handle, Again)]
    assert promised[-1].shape == (1, 4)
    with pytest.raises(StaleCircuitError):
        [promise.tensor() for promise in promised]
    with pytest.raises(StaleCircuitError):
        found["2"]


def test_with_own_weights_the_model_may_change():
    model = seeded(lambda: perceptron(4, 4, 4, 4, 3))
    x = torch.randn(1, 4, dtype=torch.float64)
    wanted = provnet.trace(model, x).evaluate("viterbi").inputs
    circuit = provnet.trace(model, x, lean=True, copy=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(circuit.evaluate("viterbi").inputs, wanted)


@pytest.mark.guarantee("a lean circuit is saved whole")
def test_saving_makes_all_again(tmp_path: Path):
    full, lean = pair("in place", torch.float64)
    provnet.save(lean, tmp_path / "lean.pn")
    provnet.save(full, tmp_path / "full.pn")
    assert (tmp_path / "lean.pn").read_bytes() == (tmp_path / "full.pn").read_bytes()
    loaded = provnet.load(tmp_path / "lean.pn")
    assert isinstance(loaded, provnet.Circuit)
    assert torch.equal(loaded.evaluate("viterbi", at="*")["tail"], full.evaluate("viterbi", at="*")["tail"])
    assert lean.session.data.lean._held is None
    assert any(isinstance(held.handle, Again) for held in lean.session.data.activations.values())


@pytest.mark.guarantee("an op that gives other bits when it is run again is found at tracing, and its value kept")
def test_what_does_not_come_out_the_same_is_kept(monkeypatch: pytest.MonkeyPatch):
    """Four addmm in a chain, of which one draws lots for its last bits (as atomic additions on a GPU do)."""
    model = seeded(lambda: perceptron(5, 5, 5, 5, 5, 5, 3))
    x = torch.randn(2, 5, dtype=torch.float64)
    wanted = provnet.trace(model, x).evaluate("real", at="*")
    run = lean_module.results_of

    def noisy(op: TracedOp, tensor: Callable[[int], Tensor]) -> Any:
        (found,) = run(op, tensor)
        return (found * (1 + torch.rand_like(found) * 1e-12),) if op.label == noise else (found,)

    state = torch.get_rng_state()
    for noise in ("0", "3", "4", "7"):
        monkeypatch.setattr(lean_module, "results_of", noisy)
        circuit = provnet.trace(model, x, lean=True)
        found = circuit.evaluate("real", at="*")
        for name in wanted.keys():
            assert torch.equal(found[name], wanted[name])
        assert not isinstance(circuit.session.data.activations[circuit.session.data.find(noise)].handle, Again)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.guarantee("what is made again is made under the settings of torch at tracing, which are put back after it")
def test_torch_is_left_as_it_was_and_does_not_matter(monkeypatch: pytest.MonkeyPatch):
    full, lean = pair("cnn", torch.float32)
    threads = torch.get_num_threads()
    run = lean_module.results_of

    def spy(op: TracedOp, tensor: Callable[[int], Tensor]) -> Any:
        assert torch.get_num_threads() == threads
        assert torch._C._get_mkldnn_enabled()
        assert not (torch.is_autocast_enabled("cpu") or torch.is_inference_mode_enabled() or torch.is_grad_enabled())
        return run(op, tensor)

    monkeypatch.setattr(lean_module, "results_of", spy)
    try:
        torch.set_num_threads(threads + 1)
        with (
            torch.backends.mkldnn.flags(enabled=False),
            torch.autocast("cpu", dtype=torch.bfloat16),
            torch.inference_mode(),
        ):
            for i, held in lean.session.data.activations.items():
                if isinstance(held.handle, Again):
                    assert torch.equal(held.handle.tensor(), full.session.data.activations[i].handle)
            lean.evaluate("real").messages("9")
            assert torch.is_autocast_enabled("cpu")
            assert torch.is_inference_mode_enabled()
            assert not torch._C._get_mkldnn_enabled()
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("options", [{"lean": 1}, {"lean": True, "differentiable": True}], ids=str)
def test_what_lean_cannot_do_is_refused(options: dict[str, Any]):
    with pytest.raises(OptionError, match="lean="):
        provnet.trace(nn.Linear(2, 1), torch.ones(1, 2), **options)


class Viewed(nn.Module):
    """Twelve equal steps whose results are seen in another shape, and the scores of the last of eight tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(12))
        self.head = nn.Linear(16, 40)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x).unflatten(-1, (4, 4)).square()).flatten(-2) + x
        return self.head(x)[:, -1]


def test_views_hold_the_memory_that_they_show():
    """What lies across a cut is counted with all of its memory, and the scores of one token are kept alone."""
    torch.manual_seed(0)
    circuit = provnet.trace(Viewed().eval(), torch.rand(1, 8, 16), lean=True)
    lean = circuit.session.data.lean
    assert isinstance(lean, Lean)
    kept = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in lean.kept.values()}
    step = 8 * 16 * 4  # bytes of one result
    assert sum(kept.values()) <= 9 * step
