"""Bad input and faults: extreme scales, zeros, devices, memory. No crash, no NaN unreported, no wrong number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet.errors import DeviceError, InputError, NonFiniteError, OutOfMemoryError
from provnet.rules import AlphaBeta, Epsilon, Gamma, WSquare, Zero, ZPlus
from provnet.torch_backend.routes.reference import ReferenceRoute
from tests.oracles import oracle_relevance
from tests.transcribe import transcribe

SIX = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck")
EXACT = ("boolean", "counting", "bottleneck", "security", "fuzzy")
FLOATS = ("real", "viterbi", "tropical", "log", "non-negative", "max-times", "arctic", "signed", "expectation")
RULES = (Zero(), Epsilon(1e-6), Epsilon(1e-6, rms=0.1), Gamma(0.25), Gamma(0.25, signed=True), AlphaBeta(2, 1), ZPlus())
RULES = (*RULES, WSquare())
SCALES = {
    torch.float32: (0.0, 1e-42, 1e-38, 1e-30, 1e-19, 1e-10, 1.0, 1e10, 1e19, 1e30),
    torch.float64: (0.0, 1e-315, 1e-300, 1e-160, 1.0, 1e100, 1e160, 1e300),
}


class Residual(nn.Module):
    """A sum whose parts have different scales."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.inner(x)) + x)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3)), (6,)),
    "no bias": (lambda: nn.Sequential(nn.Linear(6, 7, False), nn.ReLU(), nn.Linear(7, 3, False)), (6,)),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        ),
        (2, 4, 4),
    ),
    "grouped": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 4, 2, stride=2, groups=2, bias=False), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(8, 3)
        ),
        (4, 8),
    ),
    "residual": (Residual, (6,)),
    "one neuron": (lambda: nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)), (1,)),
}


@st.composite
def extremes(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A net each of whose tensors has a scale of its own, some with zeros, and an input with another."""
    make, shape = NETS[draw(st.sampled_from(sorted(NETS)))]
    dtype = draw(st.sampled_from(sorted(SCALES, key=str)))
    scale = st.sampled_from(SCALES[dtype])
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    positive = draw(st.booleans())

    def filled(size: torch.Size | tuple[int, ...]) -> Tensor:
        values = torch.randn(size, generator=generator, dtype=torch.float64)
        values = (values.abs() if positive else values) * draw(scale)
        kept = torch.rand(size, generator=generator) < draw(st.sampled_from([1.0, 1.0, 0.5]))
        return (values * kept).to(dtype)

    with torch.random.fork_rng():
        model = make().to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(filled(parameter.shape))
    return model, filled((2, *shape))


def traced(model: nn.Module, x: Tensor) -> provnet.Circuit | None:
    """Return the circuit, None if the model's own output left the floats, which is reported."""
    try:
        return provnet.trace(model, x)
    except NonFiniteError:
        return None


def answer(circuit: provnet.Circuit, semiring: str, **options: Any) -> Tensor | None:
    """Return the relevance of the input, None if it is refused for having left the floats."""
    try:
        return circuit.evaluate(semiring, target=0, **options).inputs
    except NonFiniteError:
        return None


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(case=extremes())
@pytest.mark.guarantee("scales from 1e-42 to 1e30 (1e±300 in float64): exact semirings stay exact on every route")
def test_exact_semirings_at_extreme_scales(rule: Any, case: tuple[nn.Module, Tensor]):
    circuit = traced(*case)
    if circuit is None:
        return
    for semiring in EXACT:
        fast, slow = answer(circuit, semiring, rule=rule), answer(circuit, semiring, rule=rule, route="reference")
        assert (fast is None) == (slow is None), semiring
        assert fast is None or (slow is not None and torch.equal(fast, slow)), semiring


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(case=extremes())
@pytest.mark.guarantee("scales from 1e-42 to 1e30 (1e±300 in float64): every answer lies in its carrier, or is refused")
def test_no_nan_at_extreme_scales(rule: Any, case: tuple[nn.Module, Tensor]):
    circuit = traced(*case)
    if circuit is None:
        return
    for semiring in FLOATS:
        for route in ("auto", "reference"):
            found = answer(circuit, semiring, rule=rule, route=route)
            assert found is None or provnet.semirings.get(semiring).outside(found) is None, (semiring, route)


@pytest.mark.parametrize("scale", [1e-150, 1e-100, 1e100, 1e150])
@pytest.mark.parametrize("where", ["input", "weights"])
@pytest.mark.parametrize("name", ["dense", "conv"])
@pytest.mark.parametrize("route", ["auto", "reference"])
def test_the_oracle_at_extreme_scales(route: str, name: str, where: str, scale: float):
    """In float64, far from 1 and yet within the floats: the slow loop from the paper gives the same."""
    make, shape = NETS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model, x = make().double().eval(), torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model[0].parameters():  # type: ignore[index]
            parameter.mul_(scale if where == "weights" else 1.0)
    x = x * (scale if where == "input" else 1.0)
    assert isinstance(model, nn.Sequential)
    circuit, network = provnet.trace(model, x), transcribe(model, shape).network
    for semiring, found in zip(SIX, circuit.evaluate(list(SIX), target=1, route=route), strict=True):
        for example in range(2):
            wanted = oracle_relevance(network, x[example].numpy(), 1, semiring).relevance[0]
            ours = found.inputs[example]
            if semiring in ("boolean", "counting"):
                assert ours.tolist() == wanted.astype(int if semiring == "counting" else bool).tolist(), semiring
            else:
                torch.testing.assert_close(ours, torch.from_numpy(wanted), rtol=1e-9, atol=0, msg=semiring)


@pytest.mark.parametrize("exponent", [-60, -20, 20, 60])
@pytest.mark.parametrize("semiring", [*EXACT, "real", "viterbi", "tropical", "log", "expectation"])
@given(seed=st.integers(0, 10**4))
@pytest.mark.guarantee("without biases, relevance does not change when inputs or weights are scaled by a power of two")
def test_powers_of_two_change_nothing(exponent: int, semiring: str, seed: int):
    """Shares are quotients of numbers of one scale: the same digits on the reference route, whatever the exponent."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, x = NETS["no bias"][0]().eval(), torch.randn(2, 6)
    plain = provnet.trace(model, x).evaluate(semiring, target=0, route="reference").inputs
    scaled = provnet.trace(model, x * 2.0**exponent)
    assert torch.equal(scaled.evaluate(semiring, target=0, route="reference").inputs, plain)
    fast = scaled.evaluate(semiring, target=0).inputs
    if semiring in EXACT:
        assert torch.equal(fast, plain)
    else:
        largest = float(plain[torch.isfinite(plain)].abs().max()) if bool(torch.isfinite(plain).any()) else 0.0
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5 * largest)


@pytest.fixture
def flushing() -> Iterator[None]:
    """Denormal numbers count as 0, as some programs ask for."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush denormal numbers")
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("flushing")
@pytest.mark.parametrize("semiring", [*EXACT, *FLOATS])
@given(case=extremes())
def test_where_denormal_numbers_are_flushed(semiring: str, case: tuple[nn.Module, Tensor]):
    circuit = traced(*case)
    if circuit is None:
        return
    for rule in (Zero(), Gamma(0.25)):
        fast, slow = (answer(circuit, semiring, rule=rule, route=route) for route in ("auto", "reference"))
        for found in (fast, slow):
            assert found is None or provnet.semirings.get(semiring).outside(found) is None
        if semiring in ("boolean", "counting") and fast is not None and slow is not None:
            assert torch.equal(fast, slow)
    assert float(torch.tensor(1e-40) * 1) == 0.0, "the setting is the caller's, and stays"


# --- zeros ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("what", ["input", "first layer", "last layer", "everything"])
@pytest.mark.parametrize("name", NETS)
def test_zeros_everywhere(name: str, what: str, rule: Any):
    """What no edge carries is lost, and is told as a sink: everything that started is accounted for."""
    make, shape = NETS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = make().double().eval(), torch.randn(2, *shape, dtype=torch.float64)
    parameters = list(model.parameters())
    half = len(parameters) // 2
    zeroed = {"input": [], "first layer": parameters[:half], "last layer": parameters[half:], "everything": parameters}
    with torch.no_grad():
        for parameter in zeroed[what]:
            parameter.zero_()
    x = torch.zeros_like(x) if what in ("input", "everything") else x
    circuit = provnet.trace(model, x)
    for semiring in (*EXACT, *FLOATS):
        found = circuit.evaluate(semiring, target=0, rule=rule)
        slow = circuit.evaluate(semiring, target=0, rule=rule, route="reference")
        torch.testing.assert_close(found.inputs, slow.inputs, rtol=1e-9, atol=1e-12)
        assert found.semiring.outside(found.inputs) is None
    real = circuit.evaluate("real", target=0, rule=rule)
    total = real.inputs.flatten(1).sum(1) + sum(real.sinks.values())
    torch.testing.assert_close(total, torch.ones(2, dtype=torch.float64))


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="empty"):
        provnet.trace(NETS["dense"][0](), torch.zeros(0, 6))


class Saturated(nn.Module):
    """Its activations overflow on the way, its output does not."""

    def __init__(self, through: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.out, self.through = nn.Linear(3, 4), nn.Linear(4, 2), through

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.through(self.inner(x) * 1e30 * 1e30))


@pytest.mark.parametrize("through", [torch.sigmoid, torch.tanh, lambda x: x.clamp(-1, 1)])
@pytest.mark.parametrize("semiring", SIX)
def test_activations_that_overflow_on_the_way(through: Callable[[Tensor], Tensor], semiring: str):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Saturated(through).eval(), torch.rand(2, 3)
    circuit = provnet.trace(model, x)
    for route in ("auto", "reference"):
        found = answer(circuit, semiring, route=route)
        assert found is None or provnet.semirings.get(semiring).outside(found) is None


def test_the_relative_epsilon_of_large_and_small_layers():
    """Squares leave the floats long before their root does."""
    for scale in (1e-30, 1.0, 1e30):
        z = torch.tensor([[3.0, -4.0], [0.0, 0.0]]) * scale
        found = Epsilon(0.0, rms=0.5).stabilise(z)
        assert found[0].tolist() == pytest.approx([scale * (3 + 0.5 * math.sqrt(12.5)), scale * -(4 + 0.5 * 12.5**0.5)])
        assert found[1].tolist() == [0.0, 0.0]


# --- devices ----------------------------------------------------------------------------------------------------------


def on_meta(**options: Any) -> Callable[[provnet.Circuit], object]:
    return lambda circuit: circuit.evaluate("real", **{"target": 0, **options})


@pytest.mark.parametrize(
    "ask",
    [
        on_meta(target=torch.ones(2, 3, device="meta")),
        on_meta(target=torch.zeros(2, dtype=torch.int64, device="meta")),
        on_meta(start=torch.ones(2, device="meta")),
        on_meta(only={"0": torch.ones(7, dtype=torch.bool, device="meta")}),
        lambda circuit: provnet.trace(lambda x, y: x + y, torch.ones(2, 3), torch.ones(3, device="meta"), sources=[0]),
        lambda circuit: provnet.trace(nn.Linear(3, 2), torch.ones(2, 3, device="meta")),
    ],
)
def test_tensors_without_values_are_refused(ask: Callable[[provnet.Circuit], object]):
    circuit = provnet.trace(NETS["dense"][0](), torch.ones(2, 6))
    with pytest.raises(DeviceError, match="meta"):
        ask(circuit)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_and_its_input_on_two_devices():
    model = NETS["dense"][0]().cuda()
    with pytest.raises(DeviceError, match="on cpu, but the model is on cuda"):
        provnet.trace(model, torch.ones(2, 6))
    circuit = provnet.trace(model, torch.ones(2, 6, device="cuda"))
    weighting = torch.ones(2, 3)
    assert circuit.evaluate("real", target=weighting, only={"0": torch.ones(7, dtype=torch.bool)}).inputs.is_cuda


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_after_running_out_of_memory_the_circuit_answers_as_before(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
):
    model, shape = NETS["conv"][0](), NETS["conv"][1]
    circuit = provnet.trace(model.eval(), torch.rand(2, *shape))
    wanted = [r.inputs for r in circuit.evaluate(list(SIX), target=0, route="reference", rule=Gamma(0.25))]

    def full(*_: Any) -> Any:
        raise error("no memory")

    monkeypatch.setattr(ReferenceRoute, "pull", full)
    for semiring in SIX:
        with pytest.raises((OutOfMemoryError, MemoryError, torch.OutOfMemoryError)):
            circuit.evaluate(semiring, target=0, route="reference", rule=Gamma(0.25))
    monkeypatch.undo()
    found = circuit.evaluate(list(SIX), target=0, route="reference", rule=Gamma(0.25))
    assert all(torch.equal(one.inputs, other) for one, other in zip(found, wanted, strict=True))
