"""Relevance of channels, weights and named sinks: what an intermediate answer adds up to."""

from __future__ import annotations

import pytest
import torch

import provnet
from provnet import rules
from provnet.applications.conservation_plot import plot_conservation
from provnet.errors import OptionError, UnknownNameError, UnsupportedOperationError
from tests.nets import Residual, seeded

RULES = [rules.Zero(), rules.Epsilon(0.1), rules.AlphaBeta(), rules.EpsilonPlus(), rules.Gradient(), rules.Flat()]


@pytest.fixture(scope="module")
def circuit() -> provnet.Circuit:
    x = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return provnet.trace(seeded(Residual), x)


@pytest.mark.guarantee("relevance through chosen channels and through the others ⊕ to the whole, in every semiring")
@pytest.mark.parametrize("semiring", ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck"])
def test_parts_join_to_the_whole(circuit: provnet.Circuit, semiring: str):
    algebra = provnet.semirings.get(semiring)
    first, second = (circuit.evaluate(algebra, 1, only={"first": channels}).inputs for channels in ([0, -2], [1, 3]))
    whole, joined = circuit.evaluate(algebra, 1).inputs, algebra.plus(first, second)
    # Sums of reals are taken in another order, and logarithms of other multiples; everything else is exact.
    rounded = semiring in ("real", "tropical")
    assert torch.allclose(joined, whole, rtol=0, atol=1e-13) if rounded else torch.equal(joined, whole)
    assert not torch.equal(first, whole)


def test_a_mask_and_channels_say_the_same(circuit: provnet.Circuit):
    mask = torch.zeros(4, 6, 6, dtype=torch.bool)
    mask[[0, 3]] = True
    by_mask, by_channels = (circuit.evaluate("real", 1, only={"first": chosen}) for chosen in (mask, [0, 3]))
    assert torch.equal(by_mask.inputs, by_channels.inputs)
    kept = by_mask["first"]
    assert not bool(kept[:, [1, 2]].any())
    assert torch.equal(kept[:, [0, 3]], circuit.evaluate("real", 1)["first"][:, [0, 3]])


@pytest.mark.parametrize(
    ("only", "error", "says"),
    [
        ({"first": 4}, OptionError, "0 to 3"),
        ({"first": 0.5}, OptionError, "0 to 3"),
        ({"first": []}, OptionError, "no neuron"),
        ({"first": torch.ones(3, dtype=torch.bool)}, OptionError, "shape (3,)"),
        ({"nothing": 0}, UnknownNameError, "nothing"),
    ],
)
def test_refusals(circuit: provnet.Circuit, only: dict, error: type[Exception], says: str):
    with pytest.raises(error) as caught:
        circuit.evaluate("real", 1, only=only)
    assert says in str(caught.value)


@pytest.mark.guarantee("a weight's relevance is the ⊕ of the messages that it carries")
@pytest.mark.parametrize("semiring", ["real", "boolean", "counting", "viterbi"])
def test_weights(circuit: provnet.Circuit, semiring: str):
    algebra = provnet.semirings.get(semiring)
    result = circuit.evaluate(algebra, 1)
    dense = result.messages("head")[..., :-1]
    assert torch.equal(result.weights("head"), dense)
    found, messages = result.weights("first"), result.messages("first")[..., :-1]
    assert found.shape == (2, 4, 2, 3, 3)
    wanted = torch.full_like(found, algebra.zero)  # type: ignore[arg-type]
    pixels = messages.reshape(2, 4, 6, 6, 2, 6, 6)
    for y in range(6):
        for x in range(6):
            for dy in range(3):
                for dx in range(3):
                    if 0 <= y + dy - 1 < 6 and 0 <= x + dx - 1 < 6:
                        part = pixels[:, :, y, x, :, y + dy - 1, x + dx - 1]
                        wanted[..., dy, dx] = algebra.plus(wanted[..., dy, dx], part)
    assert torch.allclose(found.double(), wanted.double(), rtol=1e-12, atol=1e-13)


def test_a_block_without_weights_has_none(circuit: provnet.Circuit):
    with pytest.raises(UnsupportedOperationError, match="no weights"):
        circuit.evaluate("real", 1).weights("pool#0")


@pytest.mark.guarantee("Σ inputs + Σ named sinks is the start, in Real, for every rule")
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_named_sinks(circuit: provnet.Circuit, rule: rules.Rule):
    report = circuit.evaluate("real", provnet.Targets(0, 1), rule, only={"first": [1, 2]}).conservation()
    report.check(1e-9)
    total = report.inputs + sum(report.named.values())
    assert torch.allclose(total, report.start, rtol=0, atol=1e-9)
    for layer in report.layers:
        taken = sum(layer.sinks.values(), torch.zeros_like(layer.came))
        assert torch.allclose(layer.passed + taken, layer.came, rtol=0, atol=1e-9), layer.path
    assert float(report.named["dropped"].abs().max()) > 0


def test_what_takes_relevance_has_its_name():
    model = seeded(lambda: torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)))
    with torch.no_grad():
        model[0].weight[0] = 0.0  # type: ignore[index]
        model[0].bias[0] = 0.0  # type: ignore[index]
        model[2].weight.abs_()  # type: ignore[union-attr,operator]
    circuit = provnet.trace(model, torch.rand(1, 3, dtype=torch.float64) + 0.5)

    def named(rule: rules.Rule) -> dict[str, float]:
        return {name: float(taken) for name, taken in circuit.evaluate("real", 0, rule).conservation().named.items()}

    assert named(rules.Epsilon(0.5))["stabiliser"] > 1e-3
    assert abs(named(rules.Zero())["rule"]) < 1e-9
    # A neuron whose weights are all 0 gets relevance by its own weight under w², and no input has a share of it.
    assert named(rules.WSquare())["undefined"] > 1e-3


def test_plot(circuit: provnet.Circuit):
    pytest.importorskip("matplotlib")
    report = circuit.evaluate("real", 1, rules.Epsilon(0.1)).conservation()
    axes = plot_conservation(report).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [layer.path for layer in report.layers]
    with pytest.raises(OptionError, match="example 2"):
        plot_conservation(report, 2)
