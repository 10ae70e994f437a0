"""Where relevance lies, and whether two rankings agree."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet.applications.comparison import (
    agreement,
    box,
    extreme_examples,
    inside,
    pointing_game,
    rank_correlation,
    ranks,
)
from provnet.errors import OptionError

ROWS = st.lists(st.integers(-3, 3), min_size=2, max_size=9)


@given(ROWS)
def test_ranks_are_counted_one_by_one(row: list[int]) -> None:
    """The mean rank of equal entries: how many are smaller, and half of the others that are equal."""
    expected = [sum(b < a for b in row) + (sum(b == a for b in row) - 1) / 2 for a in row]
    assert ranks(torch.tensor([row]).double())[0].tolist() == expected


@given(ROWS, st.randoms(use_true_random=False))
def test_correlation_is_pearsons_of_ranks(row: list[int], random) -> None:  # type: ignore[no-untyped-def]
    other = row[:]
    random.shuffle(other)
    found = float(rank_correlation(torch.tensor([row]).double(), torch.tensor([other]).double())[0])
    if len(set(row)) == 1:
        assert found != found
        return
    expected = torch.corrcoef(torch.cat([ranks(torch.tensor([r]).double()) for r in (row, other)]))[0, 1]
    assert found == pytest.approx(float(expected), abs=1e-12)


def test_agreement_turns_costs_round() -> None:
    x = torch.rand(4, 5)
    names, matrix = agreement({"viterbi": x, "tropical": -x.log(), "other": -x})
    assert names == ["viterbi", "tropical", "other"]
    torch.testing.assert_close(matrix, torch.tensor([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]]).double())


def test_inside_and_the_pointing_game() -> None:
    relevance = torch.tensor([[[1.0, -3.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    right = box((2, 2), 0, 1, 2, 2)
    assert inside(relevance, right).tolist() == [7 / 8, 0]
    assert pointing_game(relevance, right)[0]
    assert not pointing_game(relevance, ~right)[0]
    assert not pointing_game(relevance, box((2, 2), 0, 0, 1, 1), costs=True)[0]
    for wrong in (right.float(), right[0]):
        with pytest.raises(OptionError):
            inside(relevance, wrong)
    for corners in ((0, 0, 0, 1), (0, 0, 3, 1), (-1, 0, 1, 1)):
        with pytest.raises(OptionError):
            box((2, 2), *corners)


def test_extreme_examples() -> None:
    most, least = extreme_examples(torch.tensor([[1.0, -5], [2, 2], [0, 1]]), 2)
    assert most.tolist() == [0, 1] and least.tolist() == [2, 1]
    with pytest.raises(OptionError):
        extreme_examples(torch.rand(3, 2), 4)
    with pytest.raises(OptionError):
        rank_correlation(torch.rand(2, 3), torch.rand(2, 4))
