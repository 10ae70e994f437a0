"""Relevance of tokens is the ⊕ of their features, in every semiring."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import OptionError

D = torch.float64
torch.manual_seed(0)
TABLE = nn.Embedding(7, 3).to(D).requires_grad_(False)
HEAD = nn.Linear(3, 2).to(D).requires_grad_(False)
IDS = torch.tensor([[1, 4, 4, 0], [6, 0, 2, 2]])


def model(ids: Tensor) -> Tensor:
    return HEAD(TABLE(ids).tanh().mean(1))


def test_a_token_has_the_sum_of_its_features():
    result = provnet.trace(model, IDS).evaluate(["real", "counting", "viterbi", "tropical", "boolean"], 0)
    for found in result:
        whole = found.inputs
        parts = [whole[:, :, feature] for feature in range(3)]
        wanted = found.semiring.plus(found.semiring.plus(parts[0], parts[1]), parts[2])
        assert found.tokens().shape == IDS.shape
        torch.testing.assert_close(found.tokens(), wanted)


def test_tokens_of_several_targets_and_exact_counts():
    circuit = provnet.trace(model, IDS)
    assert circuit.evaluate("real", provnet.Targets(0, 1)).tokens().shape == (2, 2, 4)
    exact = circuit.evaluate("counting", 0, exact=True)
    assert exact.tokens().tolist() == exact.inputs.sum(2).tolist()


@pytest.mark.guarantee("tokens() is refused where a source is no sequence of tokens with features")
def test_a_source_without_tokens_is_refused():
    flat = provnet.trace(HEAD, torch.randn(2, 3, dtype=D)).evaluate("real", 0)
    for ask in (flat.tokens, lambda: flat.tokens("input")):
        with pytest.raises(OptionError, match=r"\[tokens, features\]"):
            ask()
    both = provnet.trace(lambda x, y: HEAD((x + y).mean(1)), *torch.randn(2, 2, 4, 3, dtype=D)).evaluate("real", 0)
    with pytest.raises(OptionError, match=r"'x'.*'y'"):
        both.tokens()
    torch.testing.assert_close(both.tokens("y"), both["y"].sum(2))
    with pytest.raises(provnet.ProvnetError):
        both.tokens("z")
