"""Softmaxes one by one: axes, masks, spellings; [AttnLRP] Proposition 3.1; autograd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import provnet
from tests.nonlinear_cases import seeded

Function = Callable[[Tensor], Tensor]


class Run(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def traced(function: Function, x: Tensor) -> provnet.Circuit:
    return provnet.trace(Run(function), x)


def hidden(x: Tensor) -> Tensor:
    """Mask the last two places of the second row, in every example."""
    mask = torch.zeros(x.shape[1:], dtype=torch.bool)
    mask[1, -2:] = True
    return x.masked_fill(mask, float("-inf"))


def low(x: Tensor) -> Tensor:
    """Return a mask of low scores: it differs from example to example, and leaves some of each row."""
    return x < x.mean(-1, keepdim=True) - 0.3


def barred(x: Tensor) -> Tensor:
    """Return what is added to low scores to mask them, as transformers do it."""
    return torch.zeros_like(x).masked_fill(low(x), float("-inf"))


FUNCTIONS: dict[str, Function] = {
    "another axis": lambda x: x.softmax(1),
    "logarithm, another axis": lambda x: x.log_softmax(1),
    "in the middle": lambda x: x.unflatten(-1, (2, 2)).softmax(2).flatten(2),
    "last axis": lambda x: x.softmax(-1),
    "masked": lambda x: hidden(x).softmax(-1),
    "logarithm": lambda x: x.log_softmax(-1),
    "masked by example": lambda x: (x + barred(x)).softmax(-1),
    "logarithm, masked by example": lambda x: (x + barred(x)).log_softmax(-1).clamp(min=-50),
    "scaled": lambda x: (0.3 * x).softmax(-1),
    "twice": lambda x: x.softmax(-1).softmax(-1),
}


def proposition(x: Tensor, relevance: Tensor) -> Tensor:
    """R_i = Σ_j x_i (δ_ij - s_i) R_j, masked places left out. Source: [AttnLRP] Proposition 3.1."""
    s = x.softmax(-1)
    finite = torch.where(s > 0, x, 0.0)
    return finite * (relevance - s * relevance.sum(-1, keepdim=True))


@pytest.mark.guarantee("softmax='attnlrp' is Proposition 3.1 of AttnLRP, masked places left out")
@pytest.mark.parametrize("route", ["auto", "reference"])
@pytest.mark.parametrize("name", ["last axis", "masked", "masked by example", "logarithm, masked by example"])
def test_attnlrp_is_the_proposition(name: str, route: str) -> None:
    x = seeded(0, 3, 2, 4)
    circuit = traced(FUNCTIONS[name], x)
    hide = low(x) if "by example" in name else torch.isinf(hidden(x))
    hide = torch.zeros_like(hide) if name == "last axis" else hide
    weighting = seeded(1, 3, 2, 4).masked_fill(hide, 0)
    found = circuit.evaluate("real", weighting, softmax="attnlrp", route=route)
    x = x.masked_fill(hide, float("-inf"))
    torch.testing.assert_close(found.inputs, proposition(x, weighting), rtol=1e-10, atol=1e-12)
    rest = found.conservation().named["softmax's rest"]
    s, finite = x.softmax(-1), torch.where(torch.isfinite(x), x, 0.0)
    wanted = (weighting * (1 - finite + (s * finite).sum(-1, keepdim=True))).flatten(1).sum(1)
    torch.testing.assert_close(rest, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.guarantee("softmax='attnlrp' does not change if a number is added to a whole row of scores")
def test_attnlrp_depends_on_differences_of_scores_alone_in_their_gradient() -> None:
    """The relevance of scores changes by their own shift; what the scores' makers get through d does not: Σ d is."""
    x = seeded(2, 2, 1, 5)
    weighting = seeded(3, 2, 1, 5)
    plain = traced(FUNCTIONS["last axis"], x).evaluate("real", weighting, softmax="attnlrp").inputs / x
    moved = traced(FUNCTIONS["last axis"], x + 7).evaluate("real", weighting, softmax="attnlrp").inputs / (x + 7)
    torch.testing.assert_close(plain, moved, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("softmax", ["identity", "attnlrp", "constant"])
@pytest.mark.parametrize("semiring", ["real", "viterbi", "tropical", "boolean", "counting"])
def test_log_softmax_is_the_logarithm_of_the_softmax(softmax: str, semiring: str) -> None:
    """One function in two spellings has one answer."""
    x = seeded(4, 3, 2, 4)
    joint = traced(lambda x: x.log_softmax(-1), x).evaluate(semiring, (1, 2), softmax=softmax)
    apart = traced(lambda x: x.softmax(-1).log(), x).evaluate(semiring, (1, 2), softmax=softmax)
    torch.testing.assert_close(joint.inputs, apart.inputs, rtol=1e-10, atol=1e-12)


@pytest.mark.guarantee("the gradient of a softmax is autograd's, whatever the conventions say")
@pytest.mark.parametrize("softmax", ["identity", "attnlrp", "constant"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_is_autograds(name: str, softmax: str) -> None:
    x, weighting = seeded(5, 3, 2, 4).requires_grad_(), seeded(6, 3, 2, 4)
    if name == "masked":
        weighting[:, 1, -2:] = 0
    (wanted,) = torch.autograd.grad((FUNCTIONS[name](x) * weighting).sum(), x)
    circuit = traced(FUNCTIONS[name], x.detach())
    found = circuit.evaluate("real", weighting, rule="gradient", softmax=softmax).inputs
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.guarantee("a masked score has no edge: no path, no share, no relevance")
@pytest.mark.parametrize("softmax", ["identity", "attnlrp"])
@pytest.mark.parametrize("semiring", ["real", "viterbi", "boolean", "counting", "tropical", "bottleneck"])
def test_masked_scores_are_no_neurons(semiring: str, softmax: str) -> None:
    circuit = traced(FUNCTIONS["masked"], seeded(7, 2, 2, 4))
    annotation = None
    if semiring in ("boolean", "counting"):
        annotation = provnet.semirings.annotations.Threshold(-1e9)
    answer = circuit.evaluate(semiring, (1, 0), annotation=annotation, softmax=softmax)
    zero = answer.semiring.zero
    assert bool((answer.inputs[:, 1, -2:] == zero).all())
    assert bool((answer.inputs[:, 1, :1] != zero).all())


@pytest.mark.guarantee("a mask that is added as -inf leaves the other scores their shares, in every semiring")
@pytest.mark.parametrize("semiring", ["real", "viterbi", "boolean", "counting", "tropical", "bottleneck", "fuzzy"])
def test_masks_that_are_added(semiring: str) -> None:
    """Adding -inf and filling with it are one mask in two spellings."""
    x = seeded(13, 2, 2, 4)
    added = torch.zeros(2, 4, dtype=torch.float64)
    added[1, -2:] = -torch.inf
    target = torch.zeros(2, 2, 4)
    target[:, 1, 0] = 1
    if semiring == "tropical":
        target = (1, 0)  # type: ignore[assignment]  # a weighting of 1 is a cost
    for route in ("auto", "reference"):
        one = traced(lambda x: (x + added).softmax(-1), x).evaluate(semiring, target, route=route)
        other = traced(FUNCTIONS["masked"], x).evaluate(semiring, target, route=route)
        torch.testing.assert_close(one.inputs, other.inputs)


@pytest.mark.guarantee("a softmax over the examples is refused")
def test_a_softmax_over_examples_is_refused() -> None:
    with pytest.raises(provnet.ProvnetError, match="holds the examples"):
        traced(lambda x: x.softmax(0), seeded(8, 3, 2))


@pytest.mark.parametrize("dim", [1, 2, -1])
@pytest.mark.parametrize("softmax", ["identity", "attnlrp", "constant"])
@pytest.mark.parametrize("function", [Tensor.softmax, Tensor.log_softmax], ids=["softmax", "logarithm"])
def test_any_axis(function: Callable[..., Tensor], dim: int, softmax: str) -> None:
    """A softmax along an axis is that of the tensor turned so that the axis is the last."""
    x, weighting = seeded(9, 2, 3, 4), seeded(10, 2, 3, 4)
    direct = traced(lambda x: function(x, dim), x)
    turned = traced(lambda x: function(x.transpose(dim, -1), -1).transpose(dim, -1), x)
    for semiring in ("real", "viterbi", "tropical", "bottleneck"):
        for route in ("auto", "reference"):
            given = {"semiring": semiring, "target": weighting if semiring == "real" else (1, 2), "softmax": softmax}
            found = direct.evaluate(**given, route=route).inputs
            torch.testing.assert_close(found, turned.evaluate(**given, route="reference").inputs)


@pytest.mark.parametrize("function", [Tensor.softmax, Tensor.log_softmax], ids=["softmax", "logarithm"])
def test_another_axis_is_saved_and_listed_as_gates(function: Callable[..., Tensor], tmp_path: Path) -> None:
    circuit = traced(lambda x: function(x, 1), seeded(12, 2, 3, 2))
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    blocks = circuit.evaluate("real", (1, 0), softmax="attnlrp", route="reference").inputs
    assert torch.equal(again.evaluate("real", (1, 0), softmax="attnlrp", route="reference").inputs, blocks)
    gates = circuit.gates((1, 0), batch=1, softmax="attnlrp")
    found = gates.evaluate("real", gates.valuation("real"))
    assert list(map(float, found.values())) == blocks[1].flatten().tolist()


def test_rows_of_one_score() -> None:
    """One alone has probability one, whatever it is: nothing goes back by its decomposition, all is the rest."""
    circuit = traced(lambda x: x.softmax(-1), seeded(11, 2, 3, 1))
    found = circuit.evaluate("real", (1, 0), softmax="attnlrp")
    assert not found.inputs.any()
    torch.testing.assert_close(found.conservation().named["softmax's rest"], torch.ones(2, dtype=torch.float64))
