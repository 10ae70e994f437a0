"""Fields that are made when they are first looked at."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from provnet.circuit.deferred import Deferred, deferrable, raw


@dataclass(frozen=True, eq=False)
class Pair:
    first: int
    second: int = deferrable()
    third: int | None = deferrable(None)


def test_a_field_is_made_once_and_only_if_it_is_looked_at():
    calls: list[int] = []

    def make(x: int) -> int:
        calls.append(x)
        return 2 * x

    pair = Pair(1, Deferred(make, 7))  # type: ignore[arg-type]
    assert calls == []
    assert raw(pair, "second").parts == (7,)
    assert raw(pair, "second").look() == 14 and calls == [7]  # looked at, not kept
    assert (pair.second, pair.second) == (14, 14) and calls == [7, 7]
    assert raw(pair, "second").look() == 14 and calls == [7, 7]
    assert pair.third is None


def test_plain_values_pass_and_required_fields_are_required():
    pair = Pair(1, 2, 3)
    assert (pair.second, pair.third, raw(pair, "second")) == (2, 3, 2)
    assert dataclasses.replace(pair, third=4).third == 4
    with pytest.raises(TypeError):
        Pair(1)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        pair.second = 5  # type: ignore[misc]


def test_replace_makes_it_unless_it_is_handed_on():
    pair = Pair(1, Deferred(lambda: 1 // 0))  # type: ignore[arg-type]
    kept = dataclasses.replace(pair, first=2, second=raw(pair, "second"))
    assert isinstance(raw(kept, "second"), Deferred)
    with pytest.raises(ZeroDivisionError):
        dataclasses.replace(pair, first=2)
