"""Changes that torch does not count: weights and recorded tensors written around it are noticed, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.capture import imprint
from provnet.capture.imprint import Imprint
from provnet.errors import OptionError, StaleCircuitError

X = torch.tensor([[1.0, 2.0]])


def line() -> nn.Linear:
    """A neuron with the weights 3 and 4: its inputs' shares are 3/11 and 8/11."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0]]))
    return model


def step(optimiser: Callable[..., torch.optim.Optimizer], **options: Any) -> Callable[[nn.Linear], None]:
    def change(model: nn.Linear) -> None:
        model.weight.grad = torch.tensor([[10.0, 0.0]])
        optimiser(model.parameters(), lr=0.1, **options).step()

    return change


def in_inference_mode(model: nn.Linear) -> None:
    with torch.inference_mode():
        model.weight.data.add_(1)


def numpy_write(model: nn.Linear) -> None:
    model.weight.detach().numpy()[0, 0] = 7


WRITES: dict[str, Callable[[nn.Linear], Any]] = {
    "sgd": step(torch.optim.SGD),
    "fused sgd": step(torch.optim.SGD, fused=True),
    "fused adam": step(torch.optim.Adam, fused=True),
    "fused adamw": step(torch.optim.AdamW, fused=True),
    "fused adagrad": step(torch.optim.Adagrad, fused=True),
    "foreach adam": step(torch.optim.Adam, foreach=True),
    "data": lambda model: model.weight.data.add_(1),
    "data, one entry": lambda model: model.weight.data[0, 1].fill_(1),
    "data, copied": lambda model: model.weight.data.copy_(torch.ones(1, 2)),
    "numpy": numpy_write,
    "inference mode": in_inference_mode,
    "storage": lambda model: model.weight.untyped_storage().fill_(0),  # pyright: ignore[reportAttributeAccessIssue]
    "storage given back": lambda model: model.weight.untyped_storage().resize_(0),
    "state dict": lambda model: model.load_state_dict({"weight": torch.ones(1, 2)}),
}


@pytest.mark.guarantee("a write to the weights that torch does not count is noticed: .data, numpy, fused optimisers")
@pytest.mark.parametrize("options", [{}, {"lean": True}, {"differentiable": True}, {"watch": "all"}], ids=str)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_weights_written_around_torch(write: Callable[[nn.Linear], Any], options: dict[str, Any]) -> None:
    model = line()
    circuit = provnet.trace(model, X, **options)
    found, gates = circuit.evaluate("real"), circuit.gates(target=0)
    torch.testing.assert_close(found.inputs.detach(), torch.tensor([[3 / 11, 8 / 11]]))
    write(model)
    for ask in (
        lambda: circuit.evaluate("real"),
        lambda: circuit.gates(),
        lambda: circuit.plan(coefficients=True),
        lambda: gates.valuation("real"),
        lambda: found.messages(circuit.session.data.blocks[0].path),
        lambda: found.weights(circuit.session.data.blocks[0].path),
        found.conservation,
    ):
        with pytest.raises(StaleCircuitError, match=r"'weight'.*changed"):
            ask()


@pytest.mark.guarantee("with copy=True the model may change by any way, and the circuit answers as before")
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_own_weights_stay(write: Callable[[nn.Linear], Any]) -> None:
    model = line()
    circuit = provnet.trace(model, X, copy=True)
    write(model)
    torch.testing.assert_close(circuit.evaluate("real").inputs, torch.tensor([[3 / 11, 8 / 11]]))


def test_weights_made_in_inference_mode() -> None:
    with torch.inference_mode():
        model = line()
    circuit, owned = provnet.trace(model, X), provnet.trace(model, X, copy=True)
    with torch.inference_mode():
        model.weight.add_(1)
    with pytest.raises(StaleCircuitError, match="'weight'"):
        circuit.evaluate("real")
    torch.testing.assert_close(owned.evaluate("real").inputs, torch.tensor([[3 / 11, 8 / 11]]))


REPLACED: dict[str, Callable[[nn.Linear], Any]] = {
    "data": lambda model: setattr(model.weight, "data", torch.ones(1, 2)),
    "parameter": lambda model: setattr(model, "weight", nn.Parameter(torch.ones(1, 2))),
    "assigned": lambda model: model.load_state_dict({"weight": torch.ones(1, 2)}, assign=True),
    "dtype": lambda model: model.double(),
}


@pytest.mark.guarantee("weights that are replaced, and not written, leave the circuit as it was: it holds the old ones")
@pytest.mark.parametrize("options", [{}, {"lean": True}, {"differentiable": True}], ids=str)
@pytest.mark.parametrize("replace", REPLACED.values(), ids=REPLACED)
def test_replaced_weights(replace: Callable[[nn.Linear], Any], options: dict[str, Any]) -> None:
    model = line()
    circuit = provnet.trace(model, X, **options)
    replace(model)
    torch.testing.assert_close(circuit.evaluate("real").inputs.detach(), torch.tensor([[3 / 11, 8 / 11]]))


class Telling(nn.Module):
    """Hands out what it computes on the way."""

    def __init__(self, seen: list[Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.table = nn.Linear(2, 3), nn.Linear(3, 1), torch.ones(3)
        self.tell = seen.append

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        self.tell(h)
        y = self.last(h * self.table)
        self.tell(y)
        return y


HELD: dict[str, Callable[[list[Tensor], Telling], Any]] = {
    "in place": lambda seen, _: seen[0].mul_(2),
    "data": lambda seen, _: seen[0].data.mul_(2),
    "numpy": lambda seen, _: seen[0].numpy().fill(0),
    "output": lambda seen, _: seen[1].zero_(),
    "a constant, by numpy": lambda _, model: model.table.numpy().fill(2),
}


@pytest.mark.guarantee("a recorded tensor that a hook or the model holds, changed after tracing, is noticed")
@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("change", HELD.values(), ids=HELD)
def test_recorded_tensors(change: Callable[[list[Tensor], Telling], Any], lean: bool) -> None:
    seen: list[Tensor] = []
    model = Telling(seen)
    circuit = provnet.trace(model, X, lean=lean)
    found = circuit.evaluate("real")
    change(seen, model)
    if lean and seen[0].data_ptr() not in {t.data_ptr() for t in circuit.session.data.lean.kept.values()}:
        return  # made again, from what nobody else holds
    for ask in (lambda: circuit.evaluate("real"), lambda: found.messages("last")):
        with pytest.raises(StaleCircuitError, match="changed after tracing"):
            ask()


@pytest.mark.guarantee("what an opaque module keeps of another batch, changed later, is noticed")
def test_what_an_opaque_module_keeps_of_another_batch() -> None:
    """It is run again by `on`, and its result is then in two hands. What nobody else holds is not watched."""
    kept: list[Tensor] = []

    class Keeping(nn.ReLU):
        def forward(self, input: Tensor) -> Tensor:
            kept.append(super().forward(input))
            return kept[-1]

    model = nn.Sequential(nn.Linear(3, 3), Keeping(), nn.Linear(3, 2)).double().eval()
    circuit = provnet.trace(model, torch.rand(2, 3, dtype=torch.float64), opaque="1")
    for batch in (2, 4):
        other = circuit.on(torch.rand(batch, 3, dtype=torch.float64))
        memory = other.session.data.activations[other.session.data.find("1")].handle.data_ptr()
        held = [tensor for tensor in kept if tensor.data_ptr() == memory]
        assert held, "the circuit's own tensor is the one that the module kept"
        other.evaluate("real", 0)
        held[0].data.add_(1)
        with pytest.raises(StaleCircuitError, match="'1'"):
            other.evaluate("real", 0)
        kept.clear()


def test_another_batch_reads_none_of_the_recorded_tensors() -> None:
    """What a hook did to them does not matter to `on`; what was done to the weights does."""
    kept: list[Tensor] = []
    model: Any = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)).double().eval()
    with model[0].register_forward_hook(lambda module, args, output: kept.append(output)):
        circuit = provnet.trace(model, torch.rand(2, 3, dtype=torch.float64))
    x = torch.rand(4, 3, dtype=torch.float64)
    kept[0].data.add_(1)
    with pytest.raises(StaleCircuitError, match="'0'"):
        circuit.evaluate("real", 0)
    other = circuit.on(x)
    assert torch.equal(other.evaluate("real", 0).inputs, provnet.trace(model, x).evaluate("real", 0).inputs)
    model[0].weight.data.add_(1)
    for ask in (lambda: circuit.on(x), lambda: other.evaluate("real", 0)):
        with pytest.raises(StaleCircuitError, match=r"'0\.weight' changed"):
            ask()


@pytest.mark.guarantee("the input may be changed after tracing: a circuit has a copy of it")
def test_the_input_is_a_copy() -> None:
    x = X.clone()
    circuit = provnet.trace(line(), x)
    x.zero_()
    torch.testing.assert_close(circuit.evaluate("real").inputs, torch.tensor([[3 / 11, 8 / 11]]))


@pytest.mark.guarantee("of large tensors, whatever writes 8 kB on end is noticed, and single entries with watch='all'")
def test_large_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends too; a channel, a column, all by a little. A single entry may pass by, unless every bit is compared."""
    held = torch.zeros(3001, 1024)  # 12 MB, and no whole number of lines in a stretch
    sampled, every = Imprint({"held": held}), Imprint({"held": held}, whole=True)
    assert sampled.changed() == every.changed() == []
    assert sum(len(bits) for bits in sampled.pattern.held) * 8 < held.numel() * 4 / imprint.STRETCH + 4096
    for part in (held[:2], held[-2:], held[1500:1502], held[:, 3], held):
        part.data.add_(1)
        assert sampled.changed() == every.changed() == ["held"]
        part.data.sub_(1)
    assert sampled.changed() == every.changed() == []
    held.data[1234, 567] = 1
    assert every.changed() == ["held"]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.rand(3, 5).half(),
        torch.rand(7).bfloat16()[1:],
        torch.zeros(9, dtype=torch.bool),
        torch.zeros(5, 4, 3).permute(2, 0, 1),
        torch.zeros(6, 6)[1::2, 1::3],
        torch.zeros(1).expand(4, 1),
        torch.zeros(()),
        torch.zeros(2, dtype=torch.complex64),
    ],
    ids=lambda t: f"{t.dtype} {tuple(t.shape)}",
)
def test_every_dtype_and_layout(tensor: Tensor) -> None:
    found = Imprint({"other": torch.rand(3), "empty": torch.zeros(0), "it": tensor})
    assert found.changed() == []
    tensor.view(-1)[-1:].data.fill_(1) if tensor.is_contiguous() else tensor[..., -1].data.fill_(1)
    assert found.changed() == ["it"]


def test_what_watch_does_not_know_is_refused() -> None:
    with pytest.raises(OptionError, match="watch="):
        provnet.trace(line(), X, watch="some")  # pyright: ignore[reportArgumentType]
