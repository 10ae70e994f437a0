"""Compiled, scripted, wrapped, quantised and transformed models; rows, numbers and names that are none.

What works gives the model's own circuit, the rest is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import provnet
from provnet.errors import InputError, NonFiniteError, OptionError, ProvnetError, TraceError, UnknownNameError
from tests.nonlinear_cases import fill, seeded

X = seeded(20, 2, 3).float()


def net() -> nn.Sequential:
    made = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for number, parameter in enumerate(made.parameters()):
        fill(parameter, 21 + number)
    return made.eval()


KINDS: dict[str, Callable[[nn.Sequential], Any]] = {
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "scripted": torch.jit.script,
    "traced by torch.jit": lambda model: torch.jit.trace(model, X),
    "symbolically traced": torch.fx.symbolic_trace,
    "exported": lambda model: torch.export.export(model, (X,)).module(),
    "data parallel": nn.DataParallel,
    "checkpointed": lambda model: lambda x: checkpoint(model, x, use_reentrant=False),
    "called with its parameters": lambda model: (
        lambda x: torch.func.functional_call(model, dict(model.named_parameters()), (x,))
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.guarantee(
    "compiled, scripted, exported, parallel-wrapped and checkpointed models trace as the model itself"
)
@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow if k == "compiled" else ()) for k in KINDS])
def test_the_circuit_is_that_of_the_model_itself(kind: str) -> None:
    model = net()
    wanted = provnet.trace(model, X).evaluate("real", 0).inputs
    found = provnet.trace(KINDS[kind](model), X).evaluate("real", 0).inputs
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def attention(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: (x @ x.mT).masked_fill(~mask, -torch.inf).softmax(-1) @ x


HIDDEN = torch.tensor([[True, True], [False, False]])
TABLE = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).eval()
ROWS = seeded(25, 2, 2, 3)
REFUSED: dict[str, tuple[Callable[[], Any], type[ProvnetError], str]] = {
    "quantised": (
        lambda: provnet.trace(torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, torch.qint8), X),
        TraceError,
        "computes with quantised weights",
    ),
    "transformed": (lambda: provnet.trace(torch.vmap(net()), X), TraceError, "runs under torch.vmap"),
    "nested input": (
        lambda: provnet.trace(net(), torch.nested.nested_tensor([X, X[:1]])),
        InputError,
        "is a nested tensor",
    ),
    "a row that is masked": (
        lambda: provnet.trace(attention(HIDDEN), ROWS),
        NonFiniteError,
        "has 2 rows of scores that are all masked",
    ),
    "a row of -inf": (
        lambda: provnet.trace(lambda x: (x.abs() + torch.tensor(-torch.inf)).softmax(-1), X),
        NonFiniteError,
        "rows of scores that are all masked",
    ),
    "a number above": (lambda: provnet.trace(TABLE, torch.tensor([[1, 7]])), InputError, "holds the number 7"),
    "a number below": (lambda: provnet.trace(TABLE, torch.tensor([[1, -1]])), InputError, "holds the number -1"),
    "an empty sequence": (lambda: provnet.trace(nn.Linear(3, 2), torch.ones(2, 0, 3)), InputError, "is empty"),
    "no tokens": (
        lambda: provnet.trace(nn.Embedding(5, 3), torch.zeros(2, 0, dtype=torch.long)),
        InputError,
        "is empty",
    ),
    "no such head": (lambda: provnet.trace(net(), X).evaluate("real", 0).heads("no"), UnknownNameError, "no attention"),
    "no such neuron": (lambda: provnet.trace(net(), X).evaluate("real", 0)["0[9]"], UnknownNameError, "9"),
    "no such channel": (
        lambda: provnet.trace(net(), X).evaluate("real", 0, only={"0": [9]}),
        OptionError,
        "give channels from 0 to 3",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.guarantee(
    "quantised and transformed models, rows that are masked altogether, numbers out of a table's range, empty "
    "sequences, and heads and neurons that do not exist are refused by name"
)
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_work_is_refused_by_name(name: str) -> None:
    run, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        run()


def test_rows_that_torch_gives_zeros_have_no_relevance() -> None:
    """The fused attention gives zeros for a row that is masked altogether: nothing leads to it."""
    circuit = provnet.trace(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=HIDDEN), ROWS)
    weighting = torch.zeros(2, 2, 3, dtype=torch.float64)
    weighting[:, 1] = 1
    assert not bool(circuit.evaluate("real", weighting).inputs.any())
