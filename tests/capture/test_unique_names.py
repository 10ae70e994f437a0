"""Every block and tensor has a path of its own, whatever the modules are called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import provnet

D = torch.float64


class Named(nn.Module):
    """Modules under any names, and a function that runs them."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self._modules, x)


def linear(*weight: list[float]) -> nn.Linear:
    layer = nn.Linear(2, len(weight), bias=False, dtype=D)
    layer.weight = nn.Parameter(torch.tensor(weight, dtype=D))
    return layer


SQUARE = [[1.0, 2.0], [3.0, 4.0]]


class Two(nn.Module):
    """Two maps in one leaf module, with the ops' own names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.rand(2, 2, dtype=D)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.a).relu() @ self.b


MODELS: dict[str, tuple[Callable[..., Tensor], dict[str, Callable[[], nn.Module]]]] = {
    "an op's name": (lambda m, x: m["add_1"](x) + x, {"add_1": lambda: linear(*SQUARE)}),
    "an op's name in a module": (
        lambda m, x: m["a/mm_1"](m["a"](x)),
        {"a": Two, "a/mm_1": lambda: linear(*SQUARE)},
    ),
    "a call's name": (
        lambda m, x: m["fc"](m["fc"](x)) + m["fc#1"](x),
        {"fc": lambda: linear(*SQUARE), "fc#1": lambda: linear([1, 1], [2, 2])},
    ),
    "a call's name, called twice": (
        lambda m, x: m["fc"](m["fc"](x)) + m["fc#1"](m["fc#1"](x)),
        {"fc": lambda: linear(*SQUARE), "fc#1": lambda: linear([1, 1], [2, 2])},
    ),
    "an input's name": (lambda m, x: m["fc:in"](m["fc"](x)), {"fc": lambda: linear(*SQUARE), "fc:in": Two}),
    "a slash": (lambda m, x: m["a/b"](x) + m["a"](x), {"a": Two, "a/b": Two}),
    "a bracket": (lambda m, x: m["a[0]"](x) + m["a"](x), {"a": Two, "a[0]": Two}),
    "the source's name": (lambda m, x: m["input"](x) + m["input:source"](x), {"input": Two, "input:source": Two}),
    "the output's name": (lambda m, x: m["output"](x).relu() + 1, {"output": Two}),
    "several results": (lambda m, x: torch.cat(m["a"](x).chunk(2, 1), 1) * 2, {"a": Two}),
}


@pytest.mark.guarantee("paths of blocks and names of tensors are unique by construction, whatever modules are called")
@pytest.mark.parametrize("name", MODELS)
def test_no_two_blocks_share_a_path(name: str):
    forward, modules = MODELS[name]
    made = {key: make() for key, make in modules.items()}
    circuit = provnet.trace(Named(forward, **made), torch.tensor([[1.0, 2.0]], dtype=D))
    paths = [block.path for block in circuit.session.data.blocks]
    assert len(set(paths)) == len(paths)
    named = [held.names for held in circuit.session.data.activations.values()]
    assert all(names and not names[0].startswith("value ") for names in named)
    assert len({name for names in named for name in names}) == sum(map(len, named))
    found = circuit.evaluate("real", 0)
    total = found.inputs.sum() + sum(taken.sum() for taken in found.sinks.values())
    torch.testing.assert_close(total, torch.ones((), dtype=D))
    for key, module in made.items():  # a module that is called once is found by its own name
        if key in circuit.session.data.names:
            value = circuit.session.data.activations[circuit.session.data.find(key)].handle
            assert value.shape == (1, 2)
            assert isinstance(module, nn.Module)


def test_a_modules_own_name_goes_before_a_name_that_was_made():
    forward, modules = MODELS["a call's name"]
    made = {key: make() for key, make in modules.items()}
    x = torch.tensor([[1.0, 2.0]], dtype=D)
    circuit = provnet.trace(Named(forward, **made), x)
    outputs = circuit.session.data.activations
    assert torch.equal(outputs[circuit.session.data.find("fc#1")].handle, made["fc#1"](x).detach())
    assert torch.equal(outputs[circuit.session.data.find("fc##1")].handle, made["fc"](made["fc"](x)).detach())
    with pytest.raises(provnet.errors.UnknownNameError, match=r"fc#0, fc##1"):
        circuit.session.data.find("fc")


def test_arguments_and_outputs_whose_keys_read_alike_are_all_kept():
    x, y = torch.ones(1, 2, dtype=D), torch.full((1, 2), 2.0, dtype=D)
    circuit = provnet.trace(lambda given: {1: given[1] * 2, "1": given["1"] * 3}, {1: x, "1": y})
    assert len(circuit.session.data.sources) == len(circuit.session.data.outputs) == 2
    assert (
        len(
            {
                circuit.session.data.activations[i].name
                for i in (*circuit.session.data.sources, *circuit.session.data.outputs)
            }
        )
        == 4
    )
