"""Relevance of attention heads, and of neurons along an axis: what r.heads, circuit.heads and only= say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import OptionError, UnknownNameError
from tests.zoo.attention import Block

HEADS, TOKENS, WIDTH = 4, 3, 8


class Two(nn.Module):
    """Two blocks of attention and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(2))
        self.out = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.out(x.mean(1))


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return provnet.trace(Two().double().eval(), torch.randn(2, TOKENS, WIDTH, dtype=torch.float64))


@pytest.mark.guarantee("r.heads(path) is the ⊕ of relevance by attention head")
@pytest.mark.parametrize("semiring", ["real", "viterbi", "tropical", "counting", "boolean"])
def test_relevance_by_head(circuit: provnet.Circuit, semiring: str) -> None:
    answer = circuit.evaluate(semiring, 1)
    found = answer.heads("blocks.1.attention")
    assert tuple(found.shape) == (2, HEADS)
    name = circuit.heads("blocks.1.attention")
    given = answer[name].reshape(2, HEADS, TOKENS * (WIDTH // HEADS))
    for head in range(HEADS):
        wanted = answer.semiring.sum(given[:, head], 1)
        torch.testing.assert_close(found[:, head], wanted, rtol=1e-12, atol=1e-12)
    several = circuit.evaluate(semiring, provnet.Targets(0, 1)).heads("blocks.1.attention")
    torch.testing.assert_close(several[1], found)


@pytest.mark.parametrize("given", [{"softmax": "attnlrp"}, {"softmax": "constant"}, {"products": "value"}])
def test_heads_under_other_conventions(circuit: provnet.Circuit, given: dict[str, str]) -> None:
    """Other forms of a softmax or a product are attention all the same."""
    answer = circuit.evaluate("real", 1, **given)  # type: ignore[arg-type]
    rows = answer[circuit.heads("blocks.1.attention")].reshape(2, HEADS, -1)
    torch.testing.assert_close(answer.heads("blocks.1.attention"), rows.sum(2))


@pytest.mark.parametrize("rule", [provnet.rules.AttnLRP(), "gradient"], ids=str)
def test_heads_are_found_whatever_form_the_softmax_takes(circuit: provnet.Circuit, rule: Any) -> None:
    answer = circuit.evaluate("real", 1, rule=rule)
    given = answer[circuit.heads("blocks.1.attention")].reshape(2, HEADS, -1)
    torch.testing.assert_close(answer.heads("blocks.1.attention"), given.sum(2))


@pytest.mark.guarantee("what passes through one head alone adds up over heads to what passes through the attention")
def test_heads_one_by_one_are_all(circuit: provnet.Circuit) -> None:
    name = circuit.heads("blocks.0")
    whole = circuit.evaluate("real", 1, only={name: list(range(HEADS))})
    parts = [circuit.evaluate("real", 1, only={name: [head]}) for head in range(HEADS)]
    heads = torch.stack([part.heads("blocks.0")[:, n] for n, part in enumerate(parts)], 1)
    torch.testing.assert_close(heads, whole.heads("blocks.0"))
    dropped = parts[0].conservation().named["dropped"]
    torch.testing.assert_close(parts[0].sinks["dropped"], dropped)
    torch.testing.assert_close(dropped, whole.heads("blocks.0")[:, 1:].sum(1))


def test_neurons_along_any_axis(circuit: provnet.Circuit) -> None:
    """A neuron of a layer that runs token by token is chosen at all tokens."""
    mask = torch.zeros(TOKENS, 2 * WIDTH, dtype=torch.bool)
    mask[1:, 5] = True
    by_mask = circuit.evaluate("real", 1, only={"blocks.0.up": mask}).inputs
    by_axes = circuit.evaluate("real", 1, only={"blocks.0.up": {-1: [5], 0: [1, 2]}}).inputs
    assert torch.equal(by_mask, by_axes)
    with pytest.raises(OptionError, match="axis 2"):
        circuit.evaluate("real", 1, only={"blocks.0.up": {2: [0]}})
    with pytest.raises(OptionError, match="from 0 to 15"):
        circuit.evaluate("real", 1, only={"blocks.0.up": {1: [16]}})


@pytest.mark.guarantee("a path without an attention, or with several, is refused with the attentions that there are")
@pytest.mark.parametrize(("path", "why"), [("", "2 attentions run"), ("nothing", "no attention runs")])
def test_heads_that_are_not_there(circuit: provnet.Circuit, path: str, why: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"{why}.*blocks\.0\.attention/bmm_2, blocks\.1\.attention/bmm_2"):
        circuit.heads(path)
    with pytest.raises(UnknownNameError, match=why):
        circuit.evaluate("real", 1).heads(path)


def test_one_head_without_an_axis() -> None:
    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.bmm(torch.bmm(x, x.transpose(1, 2)).softmax(-1), x).sum(1)

    circuit = provnet.trace(Single(), torch.randn(2, 3, 4, dtype=torch.float64))
    answer = circuit.evaluate("real", 0)
    torch.testing.assert_close(answer.heads("")[:, 0], answer["bmm_2"].flatten(1).sum(1))
    assert answer.heads("").shape == (2, 1)
