"""Norms of vectors, deviations, variances, logsumexp: shares by hand, autograd, degenerate vectors, F.normalize."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import provnet
from provnet.errors import MissingRuleError
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

ANCHORS = seeded(79, 5, 4)
CASES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "norm": ((3, 2, 4), lambda x: torch.linalg.vector_norm(x, dim=-1)),
    "norm, an axis kept": ((3, 2, 4), lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True)),
    "norm over two axes": ((3, 2, 4), lambda x: torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)),
    "norm 1": ((3, 2, 4), lambda x: torch.linalg.vector_norm(x, 1, dim=-1)),
    "norm 3": ((3, 2, 4), lambda x: torch.linalg.vector_norm(x, 3, dim=-1)),
    "largest": ((3, 2, 4), lambda x: torch.linalg.vector_norm(x, torch.inf, dim=-1)),
    "by method": ((3, 2, 4), lambda x: x.norm(dim=-1)),
    "deviation": ((3, 2, 4), lambda x: x.std(-1)),
    "deviation of the population": ((3, 2, 4), lambda x: x.std((1, 2), correction=0, keepdim=True)),
    "deviation and mean": ((3, 2, 4), lambda x: torch.cat(torch.std_mean(x, -1), -1)),
    "variance": ((3, 2, 4), lambda x: x.var(-1)),
    "variance and mean": ((3, 2, 4), lambda x: torch.cat(torch.var_mean(x, 1), -1)),
    "logsumexp": ((3, 2, 4), lambda x: x.logsumexp(-1)),
    "logsumexp over two axes": ((3, 2, 4), lambda x: x.logsumexp((1, 2), keepdim=True)),
    "distances": ((3, 2, 4), lambda x: torch.cdist(x, ANCHORS)),
    "distances from": ((3, 2, 4), lambda x: torch.cdist(ANCHORS, x, p=1)),
    "distances between": ((3, 2, 4), lambda x: torch.cdist(x, x.sin() + 1, p=3)),
    "distances within": ((3, 3, 2), lambda x: torch.cdist(x, x)),
    "distances in stacks": ((3, 2, 2, 4), lambda x: torch.cdist(x, ANCHORS)),
    "normalised": ((3, 2, 4), lambda x: F.normalize(x, dim=-1)),
    "cosine": ((3, 2, 4), lambda x: F.cosine_similarity(x[:, 0], x[:, 1], dim=-1)[:, None]),
    "written out": ((3, 2, 4), lambda x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()),
}


@pytest.mark.guarantee("norms of vectors, deviations, variances and logsumexp: the gradient is autograd's, p sums to z")
@pytest.mark.parametrize("name", CASES)
def test_curved_reductions(name: str) -> None:
    shape, function = CASES[name]
    keeps_its_promises(function, seeded(80, *shape))


def test_shares_by_hand() -> None:
    """a_j² / |a|² of a norm, (a_j - m) a_j / (n σ²) of a deviation and of a variance, s_j a_j / z of a logsumexp."""
    x = seeded(81, 3, 4)
    away = x - x.mean(1, keepdim=True)
    spread = x * away / (4 * x.var(1, correction=0, keepdim=True))
    wanted = {
        lambda x: x.norm(dim=1, keepdim=True): x.square() / x.square().sum(1, keepdim=True),
        lambda x: x.std(1, keepdim=True): spread,
        lambda x: x.var(1, keepdim=True): spread,
        lambda x: x.logsumexp(1, keepdim=True): x.softmax(1) * x / x.logsumexp(1, keepdim=True),
    }
    for function, shares in wanted.items():
        found = provnet.trace(function, x).evaluate("real", 0)
        torch.testing.assert_close(found.inputs, shares)


def test_the_rest_of_a_logsumexp_is_its_entropy() -> None:
    x = seeded(82, 3, 4)
    found = provnet.trace(lambda x: x.logsumexp(1, keepdim=True), x).evaluate("real", 0)
    s = x.softmax(1)
    entropy = -(s * s.log()).sum(1)
    torch.testing.assert_close(found.conservation().named["softmax's rest"], entropy / x.logsumexp(1))


def test_masked_scores_have_no_share() -> None:
    x = seeded(83, 3, 4)
    mask = torch.tensor([False, True, False, False])
    circuit = provnet.trace(lambda x: x.masked_fill(mask, -torch.inf).logsumexp(1, keepdim=True), x)
    short = provnet.trace(lambda x: x.logsumexp(1, keepdim=True), x[:, ~mask])
    for rule in (None, "gradient"):
        found = circuit.evaluate("real", 0, **({} if rule is None else {"rule": rule})).inputs
        assert not found[:, 1].any()
        wanted = short.evaluate("real", 0, **({} if rule is None else {"rule": rule})).inputs
        torch.testing.assert_close(found[:, ~mask], wanted)


@pytest.mark.parametrize("name", ["norm", "deviation", "variance"])
def test_what_does_not_spread_has_no_shares(name: str) -> None:
    """All zeros: nothing is passed on, and nothing is NaN."""
    circuit = provnet.trace(CASES[name][1], torch.zeros(2, 2, 4))
    assert not circuit.evaluate("real", (0,), "gradient").inputs.any()


def test_the_denominator_is_the_gate() -> None:
    """Under products='value' F.normalize passes everything to the entry that it scales."""
    x = seeded(84, 3, 4)
    circuit = provnet.trace(lambda x: F.normalize(x, dim=-1), x)
    found = circuit.evaluate("real", 2, products="value").inputs
    torch.testing.assert_close(found, torch.eye(4, dtype=torch.float64)[2].expand(3, 4))


def test_they_are_saved(tmp_path: Path) -> None:
    circuit = provnet.trace(CASES["variance"][1], seeded(85, 3, 2, 4))
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    for rule in ("zero", "gradient"):
        wanted = circuit.evaluate("real", 1, rule).inputs
        assert torch.equal(again.evaluate("real", 1, rule).inputs, wanted)


@pytest.mark.guarantee("a norm that counts entries is refused")
def test_a_count_is_refused() -> None:
    with pytest.raises(MissingRuleError, match="counts entries"):
        provnet.trace(lambda x: torch.linalg.vector_norm(x, 0, dim=-1), seeded(86, 2, 3))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: torch.cdist(x, ANCHORS), "first axis"),
        (lambda x: torch.cdist(x[None], ANCHORS[None]), "first axis"),
        (lambda x: torch.cdist(x[:, None], ANCHORS, p=0), "counts entries"),
    ],
)
def test_distances_that_are_refused(function: Callable[[Tensor], Tensor], words: str) -> None:
    with pytest.raises(MissingRuleError, match=words):
        provnet.trace(function, seeded(87, 3, 4))
