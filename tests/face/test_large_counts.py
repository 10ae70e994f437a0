"""Counts of any size: exact=True, promotion, and a bound that the fast routes check too."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet import annotations
from provnet.errors import CountOverflowError, OptionError
from provnet.face import question_setting
from provnet.face.promotion import most_paths
from provnet.semirings.annotations.base import Annotation, Edges
from provnet.semirings.base import Semiring
from provnet.semirings.counting import Counting
from provnet.torch_backend.counts import bounds as counting
from tests.nets import Residual, seeded

EVERY = annotations.Threshold(-1e30)


def wide(depth: int, width: int = 64) -> provnet.Circuit:
    """Return the circuit of dense layers of equal weights: width^(depth - 1) paths from an input to an output."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth))).double()
    for layer in model:
        nn.init.constant_(layer.weight, 1 / width)  # type: ignore[union-attr,arg-type]
    return provnet.trace(model, torch.ones(1, width, dtype=torch.float64))


@pytest.mark.guarantee("exact=True counts in Python integers of any size")
def test_exact_gives_python_integers():
    found = wide(14).evaluate("counting", target=0, annotation=EVERY, exact=True)
    assert found.inputs.dtype == object
    assert found.inputs[0, 0] == 64**13
    assert type(found.inputs[0, 0]) is int
    assert found.exact
    assert found["3"].shape == (1, 64)
    huge = wide(44).evaluate("counting", target=0, annotation=EVERY, exact=True)
    assert huge.inputs[0, 0] == 64**43  # above the 240 bits that exact counts have until they are sized
    small = wide(3).evaluate("counting", target=0, exact=True)
    assert small.inputs.tolist() == wide(3).evaluate("counting", target=0).inputs.tolist()
    lists = wide(12).evaluate(["counting", Counting(), Counting("exact")], target=0, annotation=EVERY, exact=True)
    assert [one.inputs[0, 0] for one in lists] == [64**11] * 3


def test_exact_counts_of_several_thresholds_are_each_sized():
    """The thresholds differ in how many paths they leave, one of them in none."""
    thetas = [annotations.Threshold(t) for t in (0.0, 1 / 64, 0.5)]
    found = wide(14).evaluate("counting", target=0, annotation=thetas, exact=True)
    assert [one.inputs[0, 0] for one in found] == [64**13, 64**13, 0]


@pytest.mark.guarantee("exact=True in a semiring that does not count is refused")
def test_exact_is_for_counting_alone():
    circuit = wide(2)
    for semiring in ("real", "boolean", "viterbi", ["counting", "real"], "bitset64"):
        with pytest.raises(OptionError, match=r"exact=True counts paths"):
            circuit.evaluate(semiring, exact=True)
    with pytest.raises(OptionError, match="contradicts"):
        circuit.evaluate(Counting("float64"), exact=True)
    with pytest.raises(OptionError, match="exact='yes'"):
        circuit.evaluate("counting", exact="yes")


@pytest.mark.guarantee("promoted counts are int64 where all fit, else float64 that says whether it is exact")
def test_promotion():
    circuit, large = wide(8), wide(14)
    fits = circuit.evaluate(Counting("promote"), target=0, annotation=EVERY)
    assert fits.inputs.dtype == torch.int64
    assert torch.equal(fits.inputs, circuit.evaluate("counting", target=0, annotation=EVERY).inputs)
    assert fits.exact
    found = large.evaluate(Counting("promote"), target=provnet.Targets(0, 1), annotation=EVERY)
    assert found.inputs.dtype == torch.float64
    assert found.inputs[0, 0, 0] == 64.0**13
    assert not found.exact
    with pytest.raises(CountOverflowError, match="promote"):
        large.evaluate("counting", target=0, annotation=EVERY)


@pytest.mark.parametrize(
    ("layers", "bounded", "walks"),
    [(20, True, 1), (36, True, 1), (20, False, 1), (36, False, 2), (60, True, 1)],
    ids=["below 2^53", "above", "below 2^53, not known", "above, not known", "above 2^63"],
)
def test_promotion_takes_few_walks(layers: int, bounded: bool, walks: int, monkeypatch: pytest.MonkeyPatch):
    """Of 3^(layers - 1) paths: to the bit what int64 gives where it holds them, by as few walks as may be.

    Where the network has no more paths than int64 holds, int64 comes first; else float64.
    """
    circuit, taken = wide(layers, width=3), []
    assert most_paths(circuit.session.data) == pytest.approx(3.0**layers)
    if not bounded:
        monkeypatch.setattr(question_setting, "most_paths", lambda _: float("inf"))
    walk = question_setting.evaluate_all
    monkeypatch.setattr(question_setting, "evaluate_all", lambda *rest: (taken.append(1), walk(*rest))[1])
    found = circuit.evaluate(Counting("promote"), target=0, annotation=EVERY, at=["0", "7"])
    assert len(taken) == walks
    if layers == 60:
        assert (found.inputs.dtype, found.exact) == (torch.float64, False)
        return
    wanted = circuit.evaluate("counting", target=0, annotation=EVERY, at=["0", "7"])
    assert found.exact
    assert found.inputs.dtype == torch.int64
    assert int(found.inputs[0, 0]) == 3 ** (layers - 1)
    assert found.sinks.keys() == wanted.sinks.keys()
    assert all(torch.equal(found.sinks[name], wanted.sinks[name]) for name in wanted.sinks)
    for name in ("0", "7", "input"):
        assert found[name].dtype == torch.int64
        assert torch.equal(found[name], wanted[name])


def test_each_question_promotes_for_itself():
    """What stands beside a question in a list does not change its answer."""
    large = wide(14)
    few = annotations.Threshold(0.5)
    one, other, real = large.evaluate(
        [Counting("promote"), Counting("promote"), "real"], target=0, annotation=[EVERY, few, None]
    )
    assert one.inputs.dtype == torch.float64
    assert other.inputs.dtype == torch.int64
    assert torch.equal(real.inputs, large.evaluate("real", target=0).inputs)
    with pytest.raises(CountOverflowError):
        large.evaluate([Counting("promote"), "counting"], target=0, annotation=EVERY)


@pytest.mark.guarantee("counts are promoted inside other semirings and on gates too")
def test_promotion_inside_other_semirings_and_on_gates():
    pair, each = provnet.semirings.Product(Counting("promote"), "boolean"), annotations.Each(EVERY, EVERY)
    small = wide(3).evaluate(pair, target=0, annotation=each)
    assert small.inputs.dtype == torch.int64
    found = wide(14).evaluate(pair, target=0, annotation=each)
    assert found.inputs[0, 0].tolist() == [64.0**13, 1.0]
    assert not found.exact
    gates = wide(4, width=3).gates(target=0, at=("input", 0))
    values = torch.full((len(gates.variables),), 2**20, dtype=torch.int64)
    assert gates.evaluate(Counting("promote"), values)["input[0]"] == 27 * 2.0**80
    signed = torch.stack([values, 0 * values], dim=1)
    of_gates = gates.evaluate(provnet.semirings.Signed(Counting("promote")), signed)
    assert of_gates["input[0]"].tolist() == [27 * 2.0**80, 0.0]


@pytest.mark.guarantee("counts that cannot be promoted, for what they are paired with has no float, are refused")
def test_promotion_beside_what_has_no_float_is_refused():
    pair = provnet.semirings.Product(Counting("promote"), "bitset64")
    with pytest.raises(CountOverflowError):
        wide(14).evaluate(pair, target=0, annotation=annotations.Each(EVERY, annotations.Thresholds([0.5])))


def test_the_bound_is_checked_in_the_same_numbers_by_every_route(monkeypatch: pytest.MonkeyPatch):
    """Where the cheap bound does not decide, the pull in float64 gives the largest true count, on any route."""
    circuit = provnet.trace(seeded(Residual), torch.randn(2, 2, 6, 6, dtype=torch.float64))
    wanted = circuit.evaluate("counting", target=0, at="*")
    seen: dict[str, list[float]] = {}

    def spied(route: str) -> None:
        def check(block: object, semiring: Any, annotation: object, relevance: torch.Tensor, count: Any) -> None:
            seen[route].append(count(semiring.held("float64"), annotation, relevance.to(torch.float64)))

        monkeypatch.setattr(counting, "check_block", check)
        seen[route] = []
        assert torch.equal(circuit.evaluate("counting", target=0, route=route).inputs, wanted.inputs)

    spied("auto")
    spied("reference")
    assert seen["auto"] == seen["reference"]
    assert max(seen["auto"]) > 1


class Worth(Annotation):
    """Every edge stands for the same number of paths."""

    name = "worth"

    def __init__(self, paths: float) -> None:
        self.paths = paths

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> torch.Tensor:
        whole = torch.full_like(edges.d, self.paths).to(dtype)
        return semiring.encode(whole)


@cache
def chain(width: int = 16, depth: int = 63) -> provnet.Circuit:
    """width ** (depth - 1) paths from each input to the target, 2^248 of them by default."""
    layers = [nn.Linear(width, width, bias=False, dtype=torch.float64) for _ in range(depth)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1 / width)
    return provnet.trace(nn.Sequential(*layers), torch.ones(1, width, dtype=torch.float64))


def wider(exact: Counting) -> dict[str, tuple[Semiring, list[Any]]]:
    """Return semirings over exact counts, with the element of `chain`'s inputs: all paths are supporting ones."""
    of, most = provnet.semirings, 16**62
    return {
        "signed": (of.Signed(exact), [most, 0]),
        "graded": (of.Graded(exact, 2), [0, 0, 0]),  # every path is longer than two edges
        "graded signed": (of.Graded(of.Signed(exact), 1), [[0, 0], [0, 0]]),
        "product": (of.Product(exact, "boolean"), [most, True]),
        "products": (of.Product("bitset64", of.Product("boolean", of.Signed(exact))), [-1, 1, most, 0]),
    }


@pytest.mark.guarantee("exact counts inside wider semirings are Python integers of any size")
@pytest.mark.parametrize("name", list(wider(Counting())))
def test_exact_counts_in_wider_semirings_are_of_any_size(name: str):
    """16^62 is above 2^240, the size that exact counts have until they are sized."""
    semiring, expected = wider(Counting("exact"))[name]
    every = annotations.resolve(None, semiring)
    if name == "products":  # all 64 thresholds pass
        every = annotations.Each(annotations.Thresholds([1e-9] * 64), annotations.Each())
        every = annotations.resolve(every, semiring)
    found = chain().evaluate(semiring, target=0, annotation=every)
    assert found.inputs.dtype == object
    assert found.inputs[0].tolist() == [expected] * 16
    assert found.exact
    whole = wider(Counting())[name][0]
    small = chain(depth=3).evaluate([whole, semiring], target=0, annotation=every)
    assert small[0].inputs.tolist() == small[1].inputs.tolist()


def test_exact_counts_that_float64_cannot_size_are_refused():
    many = Worth(2.0**60)
    assert chain(1, 17).evaluate("counting", target=0, exact=True, annotation=many).inputs[0, 0] == 2 ** (60 * 17)
    with pytest.raises(CountOverflowError, match=r"exceeds 2\^1023"):
        chain(1, 18).evaluate("counting", target=0, exact=True, annotation=many)


def test_every_exact_count_of_a_start_and_of_a_report_is_an_integer():
    """A start is given as whole numbers, which become residues; a report shows what residues stand for."""
    signed = provnet.semirings.Signed(Counting("exact"))
    found = chain(2, 3).evaluate(signed, target=0, start=[5, 7])
    assert found.inputs[0].tolist() == [[20, 28]] * 2
    assert found.conservation().inputs.tolist() == [[40.0, 56.0]]
    assert chain(2, 3).evaluate("counting", target=0, start=3, exact=True).inputs.tolist() == [[12, 12]]


@pytest.mark.guarantee("exact=True on gates counts in Python integers of any size, inside wider semirings too")
def test_exact_counts_in_wider_semirings_on_gates():
    gates = wide(4, width=3).gates(target=0, at=("input", 0))
    values = torch.full((len(gates.variables),), 2**100 // 2**40, dtype=torch.int64)
    assert gates.evaluate("counting", values, exact=True)["input[0]"] == 27 * 2**240
    assert gates.evaluate("counting", dict.fromkeys(gates.variables, 2**60), exact=True)["input[0]"] == 27 * 2**240
    rows = torch.stack([values, 0 * values], dim=1)
    assert gates.evaluate(provnet.semirings.Signed("counting"), rows, exact=True)["input[0]"].tolist() == [
        27 * 2**240,
        0,
    ]
    pair = provnet.semirings.Product("counting", "boolean")
    assert gates.evaluate(pair, rows, exact=True)["input[0]"].tolist() == [27 * 2**240, False]
    by_rule = gates.evaluate(pair, annotation=annotations.Each(EVERY, EVERY), exact=True)
    assert by_rule["input[0]"].tolist() == [27, True]


@pytest.mark.guarantee("a count in a product that does not fit int64 is refused on gates")
def test_counts_in_a_product_on_gates_do_not_wrap():
    gates = wide(4, width=3).gates(target=0, at=("input", 0))
    rows = torch.full((len(gates.variables), 2), 2**40, dtype=torch.int64)
    with pytest.raises(CountOverflowError):
        gates.evaluate(provnet.semirings.Product("counting", "counting"), rows)
