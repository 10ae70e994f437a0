"""`circuit.on`: the recorded ops on another batch are a fresh trace, to the bit, or are refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import provnet
from provnet.errors import InputError, NonFiniteError, ProvnetError, ReplayError, StaleCircuitError
from tests.capture.models import CASES, Case, Lambda
from tests.nets import perceptron, small_cnn

SEMIRINGS = ["real", "boolean", "counting", "viterbi"]


def same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def assert_same_circuit(one: provnet.Circuit, other: provnet.Circuit) -> None:
    """Hold two circuits against each other: every activation, and every tensor's relevance in four semirings."""
    assert one.batch == other.batch
    assert one.keys() == other.keys()
    for name, number in one.session.data.names.items():
        held, theirs = (
            one.session.data.activations[number],
            other.session.data.activations[other.session.data.find(name)],
        )
        assert same(held.handle, theirs.handle), held.name
        assert (held.shape, held.axis, held.inner) == (theirs.shape, theirs.axis, theirs.inner)
    for semiring in SEMIRINGS:
        mine, theirs = answer(one, semiring), answer(other, semiring)
        if isinstance(mine, str) or isinstance(theirs, str):
            assert mine == theirs
            continue
        for name in one.keys():
            assert same(mine[name], theirs[name]), (semiring, name)


def answer(circuit: provnet.Circuit, semiring: str) -> provnet.Relevance | str:
    """Return the relevance at every tensor, or the reason why there is none."""
    try:
        return circuit.evaluate(semiring, at="*")
    except ProvnetError as error:
        return str(error)


def traceable(case: Case) -> bool:
    model, x, _ = case.build()
    try:
        provnet.trace(model, x)
    except ProvnetError:
        return False
    return True


@pytest.mark.guarantee("A circuit put on another batch of its size equals a fresh trace to the bit, or is refused.")
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_on_equals_a_fresh_trace_or_is_refused(case: Case, batch: int) -> None:
    model, x, other = case.build()
    if not traceable(case):
        pytest.skip("the model is refused by trace itself")
    circuit = provnet.trace(model, x)
    assert_batch(model, circuit, other if batch == len(x) else torch.randn(batch, *x.shape[1:]))


def assert_batch(model: Any, circuit: provnet.Circuit, x: Tensor) -> None:
    """At the recorded size only what depended on values is refused; at another, whatever does not fit."""
    assert circuit.session.recording is not None
    if x.shape[0] == circuit.batch and not circuit.session.recording.execution.fixed:
        replayed = circuit.on(x)
    else:
        try:
            replayed = circuit.on(x)
        except ReplayError:
            return
    assert_same_circuit(replayed, provnet.trace(model, x))
    assert_same_circuit(circuit.on(x, check=True), replayed)


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet", "squeezenet", "vgg"])
@pytest.mark.parametrize("batch", [1, 3])
def test_ordinary_nets_are_never_refused(name: str, batch: int) -> None:
    model, x, _ = next(case for case in CASES if case.name == name).build()
    other = torch.randn(batch, *x.shape[1:])
    assert_same_circuit(provnet.trace(model, x).on(other), provnet.trace(model, other))


@pytest.mark.parametrize("options", [{"lean": True}, {"copy": True}, {"batch_norm": "kept"}])
def test_on_keeps_what_trace_was_told(options: dict[str, Any]) -> None:
    model, x = small_cnn(8), torch.rand(3, 1, 8, 8)
    circuit = provnet.trace(model, x, **options)
    fresh = provnet.trace(model, x.flip(0), **options)
    for mine, theirs in zip(circuit.on(x.flip(0)).evaluate(SEMIRINGS), fresh.evaluate(SEMIRINGS), strict=True):
        assert same(mine.inputs, theirs.inputs)


def test_a_recurrent_state_of_zeros_follows_the_number_of_examples() -> None:
    """RNNs in relu form are made of sums and unit edges, so they have circuits."""
    model = Lambda(lambda m, x: m.rnn(x)[0][:, -1], rnn=nn.RNN(3, 5, batch_first=True, nonlinearity="relu")).eval()
    circuit = provnet.trace(model, torch.randn(2, 4, 3))
    for batch in (2, 3, 7):
        x = torch.randn(batch, 4, 3)
        assert_same_circuit(circuit.on(x), provnet.trace(model, x))
    with pytest.raises(ReplayError, match="runs other ops"):
        circuit.on(torch.randn(1, 4, 3))  # torch's recurrent layers take a shorter way with one example


def test_jacobians_are_made_anew() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 2)).eval()
    circuit = provnet.trace(model, torch.randn(2, 4), opaque="1")
    x = torch.randn(3, 4)
    assert_same_circuit(circuit.on(x), provnet.trace(model, x, opaque="1"))


# -- refusals ----------------------------------------------------------------------------------------------------------


def python_number(m: Any, x: Tensor) -> Tensor:
    return m.a(x) * float(x.sum())


def branch_on_a_value(m: Any, x: Tensor) -> Tensor:
    return m.a(x).tanh() if bool((x > 0).any()) else m.a(x)


def mask(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return torch.where(y > 0, y, 0.1 * y)


def filled_mask(m: Any, x: Tensor) -> Tensor:
    y, keep = m.a(x), torch.zeros(len(x), 4)
    keep[y > 0] = 1.0
    return y * keep


def signs(m: Any, x: Tensor) -> Tensor:
    return m.a(x) + x.sign()


def random_numbers(m: Any, x: Tensor) -> Tensor:
    return m.a(x) + torch.rand(4)


def through_numpy(m: Any, x: Tensor) -> Tensor:
    return m.a(x) * float(x.detach().numpy().mean())


def index_of_values(m: Any, x: Tensor) -> Tensor:
    y = m.a(x)
    return y.gather(1, y.argsort(1))


def counted_values(m: Any, x: Tensor) -> Tensor:
    return m.a(x) * len((x > 0).nonzero())


DEPENDENT = [
    python_number,
    branch_on_a_value,
    mask,
    filled_mask,
    signs,
    random_numbers,
    through_numpy,
    index_of_values,
]


@pytest.mark.guarantee("A recording that depended on the values of its input is not carried over to another input.")
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
@pytest.mark.parametrize("forward", DEPENDENT, ids=lambda f: f.__name__)
def test_a_recording_that_depended_on_values_is_refused_with_the_reason(forward: Callable[..., Tensor]) -> None:
    model = Lambda(forward, a=nn.Linear(4, 4)).eval()
    try:
        circuit = provnet.trace(model, torch.randn(2, 4))
    except ProvnetError:
        pytest.skip("trace refuses the model")
    with pytest.raises(ReplayError, match=r"hold for their own input only: .*Trace each batch"):
        circuit.on(torch.randn(2, 4))


@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
def test_a_shape_that_depends_on_values_is_found_by_check() -> None:
    """`nonzero` gives a shape, which no op reads: Python has it. The model's own output tells."""
    circuit = provnet.trace(Lambda(counted_values, a=nn.Linear(4, 4)).eval(), torch.ones(2, 4))
    with pytest.raises(ReplayError):
        circuit.on(-torch.ones(2, 4), check=True)


@pytest.mark.guarantee("What a model computes from its number of examples is found by the first batch of a new size.")
def test_a_number_of_examples_in_a_formula_is_refused() -> None:
    model = Lambda(lambda m, x: m.a(x) / len(x), a=nn.Linear(4, 3)).eval()
    circuit = provnet.trace(model, torch.randn(2, 4))
    circuit.on(torch.randn(2, 4))
    with pytest.raises(ReplayError, match="another number of examples"):
        circuit.on(torch.randn(3, 4))


def test_constants_with_a_row_for_each_example_are_refused_at_another_size() -> None:
    offsets = torch.randn(2, 4)
    circuit = provnet.trace(Lambda(lambda m, x: m.a(x + offsets), a=nn.Linear(4, 3)).eval(), torch.randn(2, 4))
    circuit.on(torch.randn(2, 4))
    with pytest.raises(ReplayError, match="cannot be run on 3"):
        circuit.on(torch.randn(3, 4))


def change_in_place(model: Any) -> None:
    with torch.no_grad():
        model[0].weight.mul_(2)


def replace_parameter(model: Any) -> None:
    model[0].weight = nn.Parameter(torch.zeros_like(model[0].weight))


def replace_data(model: Any) -> None:
    model[0].weight.data = torch.zeros_like(model[0].weight)


@pytest.mark.guarantee("A circuit is not put on another input after a parameter changed.")
@pytest.mark.parametrize("change", [change_in_place, replace_parameter, replace_data], ids=lambda f: f.__name__)
def test_changed_parameters_are_refused(change: Callable[[Any], None]) -> None:
    model = perceptron(4, 3, 2)
    x = torch.randn(2, 4)
    circuit, own = provnet.trace(model, x), provnet.trace(model, x, copy=True)
    expected = own.on(x).evaluate("real").inputs
    change(model)
    with pytest.raises(StaleCircuitError):
        circuit.on(x)
    assert same(own.on(x).evaluate("real").inputs, expected)


def test_weights_written_behind_autograds_back_are_found() -> None:
    """Weights that a layer holds, and weights that were computed from them."""
    model: Any = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    circuit = provnet.trace(model, torch.randn(2, 1, 4, 4))
    model[0].weight.data.mul_(2)
    with pytest.raises(StaleCircuitError, match=r"0\.weight"):
        circuit.on(torch.randn(2, 1, 4, 4))

    derived: Any = Lambda(lambda m, x: F.linear(x, m.a.weight.abs()), a=nn.Linear(4, 3)).eval()
    circuit = provnet.trace(derived, torch.randn(2, 4))
    derived.a.weight.data.mul_(2)
    with pytest.raises((ReplayError, StaleCircuitError), match="changed"):
        circuit.on(torch.randn(2, 4), check=True)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (torch.randn(2, 5), InputError),
        (torch.randn(2, 2, 4), InputError),
        (torch.randn(2, 4).double(), InputError),
        (torch.randn(0, 4), InputError),
        (torch.full((2, 4), float("nan")), NonFiniteError),
        ([[1.0]], InputError),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: Any, error: type[ProvnetError]) -> None:
    circuit = provnet.trace(perceptron(4, 3, 2), torch.randn(2, 4))
    with pytest.raises(error):
        circuit.on(x)


def test_sources_by_name_and_number() -> None:
    model = Lambda(lambda m, x, y: m.a(x) + y, a=nn.Linear(4, 4)).eval()
    x, y = torch.randn(2, 4), torch.randn(2, 4)
    circuit = provnet.trace(model, torch.randn(2, 4), torch.randn(2, 4))
    first, second = circuit.sources
    assert_same_circuit(circuit.on(x, y), provnet.trace(model, x, y))
    by_name: Any = {second: y}
    assert_same_circuit(circuit.on(x, **by_name), circuit.on(**by_name, **{first: x}))  # type: ignore[arg-type]
    wrong: list[tuple[Any, Any]] = [((x,), {}), ((x, y, y), {}), ((x, y), {first: x}), ((x, y), {"other": x})]
    for given, named in wrong:
        with pytest.raises(InputError):
            circuit.on(*given, **named)


def test_loaded_and_differentiable_circuits_are_refused(tmp_path: Any) -> None:
    model, x = perceptron(4, 3, 2), torch.randn(2, 4)
    provnet.save(provnet.trace(model, x), tmp_path / "circuit")
    with pytest.raises(ReplayError, match="no ops"):
        provnet.load(tmp_path / "circuit").on(x)  # type: ignore[union-attr]
    with pytest.raises(ReplayError, match="graph"):
        provnet.trace(model, x, differentiable=True).on(x)


def test_nothing_of_the_callers_is_touched() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).eval()
    x = torch.randn(3, 4)
    circuit = provnet.trace(Lambda(lambda m, x: m.net(F.relu_(x)), net=model).eval(), x)
    before, state = x.clone(), torch.random.get_rng_state()
    replayed = circuit.on(x)
    x.zero_()
    assert same(replayed.session.data.activations[replayed.session.data.sources[0]].handle, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_sources_that_come_up_inside_the_model_are_refused() -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)).eval()
    circuit = provnet.trace(model, torch.randint(0, 9, (2, 3)))
    with pytest.raises(ReplayError, match=r"inside the model .*Trace each batch"):
        circuit.on(torch.randint(0, 9, (2, 3)))


def test_activations_are_given_by_path_as_copies() -> None:
    torch.manual_seed(0)
    net, x = perceptron(4, 3, 2).float(), torch.rand(5, 4)
    circuit = provnet.trace(net, x)
    for path, wanted in (("input", x), ("0", net[0](x)), ("1", net[:2](x)), ("2", net(x))):
        assert torch.equal(circuit.activation(path), wanted)
    circuit.activation("0").zero_()
    assert torch.equal(circuit.activation("0"), net[0](x))
    assert torch.equal(circuit.on(x + 1).activation("0"), net[0](x + 1))
    with pytest.raises(ProvnetError, match="nowhere"):
        circuit.activation("nowhere")
