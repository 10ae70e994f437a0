"""Blocks of several operands through routes, one operand at a time: what Θ sees is still the slots of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from provnet.semirings.annotations import Threshold
from tests.nonlinear_cases import CASES, POLICIES, options, seeded
from tests.torch_backend.test_routes import ENGINES, by

SEMIRINGS = ("real", "viterbi", "tropical", "boolean", "counting", "bottleneck")
EXACT = ("boolean", "counting", "bottleneck")
BATCHES = (1, 3)
CHOSEN = (POLICIES[0], POLICIES[3], POLICIES[8], POLICIES[16])


@pytest.fixture(scope="module")
def circuits() -> dict[tuple[str, int], provnet.Circuit]:
    return {
        (name, batch): provnet.trace(case.make().eval(), case.input(batch))
        for name, case in CASES.items()
        for batch in BATCHES
    }


def same(semiring: str, one: Any, other: Any) -> None:
    """Hold two answers to each other: exactly, or products and sums of floats to rounding."""
    if semiring in EXACT:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    else:
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


@pytest.mark.guarantee("blocks of several operands give on every route what the definition gives, slot by slot")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("semiring", SEMIRINGS)
@pytest.mark.parametrize("name", CASES)
def test_routes_agree_with_the_reference(
    circuits: dict[tuple[str, int], provnet.Circuit], name: str, semiring: str, batch: int, engine: str
) -> None:
    """At every tensor, with what biases took and what was lost."""
    circuit = circuits[name, batch]
    for policies in CHOSEN:
        for annotation in annotations_of(semiring):
            given = {"at": "*", "annotation": annotation, **options(policies)}
            with by(engine):
                fast = circuit.evaluate(semiring, 0, **given)
            slow = circuit.evaluate(semiring, 0, route="reference", **given)
            for path in slow.keys():
                same(semiring, fast[path], slow[path])
            for path, taken in slow.bias.items():
                same(semiring, fast.bias[path], taken)
            assert fast.conservation().residual() <= slow.conservation().residual() + 1e-9


def annotations_of(semiring: str) -> list[Threshold | None]:
    if semiring not in ("boolean", "counting"):
        return [None]
    return [Threshold(0.2), Threshold(0.3, absolute=True), Threshold(0.5, of="share"), Threshold(-0.1, strict=True)]


@pytest.mark.parametrize("semiring", ["viterbi", "boolean", "counting", "tropical"])
def test_causal_attention_is_compiled(circuits: dict[tuple[str, int], provnet.Circuit], semiring: str) -> None:
    """A masked probability weighs nothing, so that products with it need no mask; nor does a softmax's rest."""
    pytest.importorskip("numba")
    with by("numba"):
        plan = circuits["attention", 1].evaluate(semiring, 0, softmax="attnlrp").plan
    assert "reference" not in {step.route for step in plan if step.op in ("aten.bmm", "aten._softmax")}
    plan = circuits["attention", 3].evaluate("real", 0, softmax="attnlrp").plan
    assert {step.route for step in plan if step.op == "aten._softmax"} == {"transpose"}


def weighed_by_scores(x: Tensor, scale: float) -> Tensor:
    """Masked scores as weights of a sum: what masks them is the least finite number, and no neuron all the same."""
    hidden = torch.ones(3, 3).triu(1).bool()
    scores = torch.bmm(x, x.transpose(1, 2)).masked_fill(hidden, torch.finfo(x.dtype).min)
    return torch.bmm(scores, scale * x)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-150])
@pytest.mark.parametrize("semiring", ["viterbi", "tropical", "boolean", "counting"])
def test_masked_weights_that_are_not_zero(semiring: str, scale: float) -> None:
    circuit = provnet.trace(lambda x: weighed_by_scores(x, scale), seeded(11, 2, 3, 2))
    with by("numba"):
        fast = circuit.evaluate(semiring, (0, 1), at="*")
    slow = circuit.evaluate(semiring, (0, 1), at="*", route="reference")
    for path in slow.keys():
        same(semiring, fast[path], slow[path])


def test_some_blocks_of_several_operands_take_a_fast_route(
    circuits: dict[tuple[str, int], provnet.Circuit],
) -> None:
    """So that the agreement above is no comparison of the reference with itself."""
    for semiring in ("real", "viterbi", "boolean"):
        with by("torch"):
            plan = circuits["attention", 3].evaluate(semiring, 0).plan
        routes = {step.path: step.route for step in plan}
        assert routes["bmm_1"] != "reference"
        assert routes["bmm_2"] != "reference"  # causal: some probabilities are no neurons


@pytest.mark.guarantee("explicit gates of products, softmax and norms give what blocks give on the reference route")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("policies", POLICIES[::3], ids=str)
def test_gates_are_blocks(circuits: dict[tuple[str, int], provnet.Circuit], name: str, policies: Any) -> None:
    circuit = circuits[name, 3]
    gates = circuit.gates(0, batch=1, limit=10**6, **options(policies))
    for semiring in SEMIRINGS:
        blocks = circuit.evaluate(semiring, 0, route="reference", **options(policies)).inputs
        found = [float(v) for v in gates.evaluate(semiring, gates.valuation(semiring)).values()]
        wanted = np.asarray(blocks[1], float).reshape(-1)
        if semiring == "real":
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)  # sums in another order
        else:
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("semiring", ["real", "viterbi", "tropical"])
def test_one_by_one_is_in_a_batch(circuits: dict[tuple[str, int], provnet.Circuit], semiring: str) -> None:
    for name, case in CASES.items():
        together = circuits[name, 3].evaluate(semiring, 0).inputs
        for example in range(3):
            alone = provnet.trace(case.make().eval(), case.input(3)[example : example + 1])
            torch.testing.assert_close(alone.evaluate(semiring, 0).inputs[0], together[example], rtol=1e-9, atol=1e-11)


@pytest.mark.guarantee("messages of a product run over both factors, and add up to what the factors receive")
@pytest.mark.parametrize("products", ["half", "value", "full"])
def test_messages_of_a_product(circuits: dict[tuple[str, int], provnet.Circuit], products: str) -> None:
    circuit = circuits["attention", 3]
    answer = circuit.evaluate("real", 0, products=products, at="*", route="reference")
    block = next(block for block in circuit.session.data.blocks if block.path == "bmm_2")
    messages = answer.messages("bmm_2")
    names = [circuit.session.data.activations[i].names[0] for i in block.inputs]
    names = names[1:] if products == "value" else names
    wanted = torch.cat([answer[name].flatten(1) for name in names], 1)
    torch.testing.assert_close(messages.sum(1), wanted, rtol=1e-9, atol=1e-11)


class Between(nn.Module):
    """A contraction that goes in, so that what feeds it is a source and not a step."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.bmm(x, y.transpose(1, 2)).flatten(1)


def test_grains_of_a_product() -> None:
    """A product has no parameters: each edge has its own variable; of the grain `source`, one an entry of a source."""
    circuit = provnet.trace(Between(), seeded(0, 1, 2, 2), seeded(1, 1, 3, 2))
    count = {grain: len(circuit.gates(0, grain=grain).variables) for grain in ("edge", "parameter", "source", "block")}
    assert count == {"edge": 4, "parameter": 4, "source": 4, "block": 1}


def test_files_and_lean_circuits_and_differentiable_ones(tmp_path: Any) -> None:
    for name, case in CASES.items():
        model, x = case.make().eval(), case.input()
        circuit = provnet.trace(model, x)
        provnet.save(circuit, tmp_path / name)
        again, lean = provnet.load(tmp_path / name), provnet.trace(model, x, lean=True)
        assert isinstance(again, provnet.Circuit)
        live = provnet.trace(model, x.clone().requires_grad_(), differentiable=True)
        for policies in CHOSEN:
            for semiring in ("real", "viterbi", "counting"):
                given = {"target": 0, **options(policies)}
                wanted = circuit.evaluate(semiring, **given).inputs
                assert torch.equal(again.evaluate(semiring, **given).inputs, wanted)
                assert torch.equal(lean.evaluate(semiring, **given).inputs, wanted)
            wanted = circuit.evaluate("real", 0, **options(policies)).inputs
            found = live.evaluate("real", 0, **options(policies)).inputs
            assert found.requires_grad
            torch.testing.assert_close(found.detach(), wanted, rtol=1e-9, atol=1e-11)
            with torch.no_grad():
                assert not live.evaluate("real", 0, **options(policies)).inputs.requires_grad


@pytest.mark.guarantee("relevance of products, softmax and norms has the derivative that differences show")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("policies", POLICIES[::4], ids=str)
def test_relevance_is_differentiable(name: str, policies: Any) -> None:
    case = CASES[name]
    model, x = case.make().eval(), case.input(1)
    direction, weights = seeded(60, *x.shape), seeded(61, *x.shape)

    def total(at: Tensor) -> Tensor:
        circuit = provnet.trace(model, at, differentiable=True)
        return (circuit.evaluate("real", 0, rule=rules.Epsilon(0.1), **options(policies)).inputs * weights).sum()

    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(leaf), leaf)
    step = 1e-6
    ends = [float(total((x + sign * step * direction).requires_grad_())) for sign in (1, -1)]
    assert float((slope * direction).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6)
