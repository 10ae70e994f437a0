"""Products of two traced tensors, softmaxes and norms together: every convention, edge by edge, in five semirings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet import rules
from provnet.semirings.annotations import Threshold
from tests.nonlinear_cases import CASES, POLICIES, POLICY_NAMES, Gates, options
from tests.nonlinear_oracle import ALGEBRAS, relevance
from tests.programs import Policies

every_policy = pytest.mark.parametrize("policies", POLICIES, ids=POLICY_NAMES)
every_case = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def circuits() -> dict[str, provnet.Circuit]:
    return {name: provnet.trace(case.make().eval(), case.input()) for name, case in CASES.items()}


@pytest.mark.guarantee(
    "products, softmax and norms give under every convention what an independent list of edges gives"
)
@every_case
@every_policy
def test_conventions_are_those_of_the_edge_lists(
    circuits: dict[str, provnet.Circuit], name: str, policies: Policies
) -> None:
    """In five semirings, at thresholds below, between and above the coefficients that there are."""
    circuit, case = circuits[name], CASES[name]
    program, x = case.make().program(), case.input().numpy()
    thetas = (1e-9, 0.3, -0.5)
    for semiring in ALGEBRAS:
        for theta in thetas if semiring in ("boolean", "counting") else thetas[:1]:
            given: dict[str, Any] = {"annotation": Threshold(theta)} if semiring in ("boolean", "counting") else {}
            found = circuit.evaluate(semiring, 0, **given, **options(policies)).inputs
            for example in range(circuit.batch):
                wanted = relevance(program, [x[example]], 0, semiring, policies, theta).relevance[0]
                flat = np.asarray(found[example], float).reshape(-1)
                np.testing.assert_allclose(flat, np.array(wanted, float), rtol=1e-9, atol=1e-11)


@every_case
@pytest.mark.parametrize("epsilon", [1e-6, 0.2])
def test_epsilon_acts_on_maps_and_contractions(circuits: dict[str, provnet.Circuit], name: str, epsilon: float) -> None:
    """Not on products of one term, which cannot cancel, nor on sums, means and norms."""
    case = CASES[name]
    program, x = case.make().program(), case.input().numpy()
    found = circuits[name].evaluate("real", 0, rules.Epsilon(epsilon)).inputs
    for example in range(len(x)):
        wanted = relevance(program, [x[example]], 0, "real", Policies(epsilon=epsilon)).relevance[0]
        np.testing.assert_allclose(found[example].reshape(-1), wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.guarantee("rule='gradient' is autograd in blocks of attention, norms, gates and quotients")
@every_case
def test_the_gradient_is_autograds(circuits: dict[str, provnet.Circuit], name: str) -> None:
    x = CASES[name].input().requires_grad_()
    (wanted,) = torch.autograd.grad(CASES[name].make()(x)[:, 0].sum(), x)
    for policies in POLICIES[::5]:
        found = circuits[name].evaluate("real", 0, rule="gradient", **options(policies)).inputs
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.guarantee("Σ inputs + Σ sinks is one under every convention, and each sink has the name of what took it")
@every_case
@every_policy
def test_each_sink_has_its_name(circuits: dict[str, provnet.Circuit], name: str, policies: Policies) -> None:
    circuit, case = circuits[name], CASES[name]
    answer = circuit.evaluate("real", 0, **options(policies))
    report = answer.conservation()
    torch.testing.assert_close(
        answer.inputs.flatten(1).sum(1) + sum(report.named.values()), torch.ones(3).double(), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(sum(answer.sinks.values()), sum(report.named.values()), rtol=0, atol=1e-9)
    program, x = case.make().program(), case.input().numpy()
    for example in range(circuit.batch):
        wanted: dict[str, float] = {}
        for (_, key), taken in relevance(program, [x[example]], 0, "real", policies).sinks.items():
            wanted[SINKS[key]] = wanted.get(SINKS[key], 0.0) + taken
        for key in SINKS.values():
            taken = float(report.named[key][example]) if key in report.named else 0.0
            assert taken == pytest.approx(wanted.get(key, 0.0), rel=1e-9, abs=1e-9), key


SINKS = {
    "bias": "bias",
    "softmax rest": "softmax's rest",
    "softmax": "constant softmax",
    "constant": "constant",
    "dropped": "undefined",
    "rest": "full products",
}
"""What the oracle calls a sink, and what provnet does."""


@pytest.mark.parametrize("rule", ["zero", "gradient"])
@pytest.mark.parametrize("products", ["half", "value", "full"])
def test_products_in_another_dtype(rule: str, products: str) -> None:
    """Denominators that are made anew, and not read off the output, are the product once, not once a factor."""
    model, x = CASES["gates"].make(), CASES["gates"].input()
    narrow = provnet.trace(model.float(), x.float()).evaluate("real", 0, rule, products=products, dtype=torch.float64)
    wide = provnet.trace(model.double(), x).evaluate("real", 0, rule, products=products)
    torch.testing.assert_close(narrow.inputs, wide.inputs, rtol=2e-3, atol=2e-3)


class Spelled(nn.Module):
    """One product of x with something of it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.g, self.u = name, nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        g, u = self.g(x), self.u(x)
        match self.name:
            case "A·V":
                return torch.bmm(torch.softmax(torch.bmm(g, u.transpose(1, 2)), -1), u)
            case "q·k":
                return torch.bmm(g, u.transpose(1, 2))
            case "i ⊙ tanh g":
                return torch.sigmoid(u) * torch.tanh(g)
            case "f ⊙ c":
                return torch.sigmoid(g) * u
            case "o ⊙ tanh c":
                return torch.sigmoid(g) * torch.tanh(u)
            case "(1 - z) ⊙ n":
                return (1 - torch.sigmoid(g)) * torch.tanh(u)
            case "silu(g) ⊙ u":
                return nn.functional.silu(g) * u
            case "x ⊙ σ(g)":
                return x * torch.sigmoid(g)
            case "x / σ":
                return x / (1 + x.square().mean(-1, keepdim=True))
            case "expert ⊙ probability":
                return u * torch.softmax(g, -1)[..., :1]
            case "probability, shifted":
                return torch.relu(u) * (torch.softmax(g, -1)[:, :, 1:2].expand_as(u) + 1)
        return x * x


GATES = {
    "A·V": ["tie: half", "gate: first factor"],
    "q·k": ["tie: half"],
    "i ⊙ tanh g": ["gate: first factor"],
    "f ⊙ c": ["gate: first factor"],
    "o ⊙ tanh c": ["gate: first factor"],
    "(1 - z) ⊙ n": ["gate: first factor"],
    "silu(g) ⊙ u": ["gate: first factor"],
    "x ⊙ σ(g)": ["gate: second factor"],
    "x / σ": ["gate: second factor"],
    "expert ⊙ probability": ["gate: second factor"],
    "probability, shifted": ["gate: second factor"],
    "x ⊙ x": ["tie: half"],
}


@pytest.mark.guarantee("the factor of higher rank is the gate of a product, and summary() says which it is")
@pytest.mark.parametrize("name", GATES)
def test_which_factor_is_the_gate(name: str) -> None:
    circuit = provnet.trace(Spelled(name).double().eval(), CASES["attention"].input().repeat(1, 1, 2)[:, :, :3])
    assert [row.why for row in circuit.summary() if row.why] == GATES[name]
    assert all(remark in str(circuit.summary()) for remark in GATES[name])
    if "gate" in GATES[name][-1]:
        product = [block for block in circuit.session.data.blocks if block.remark][-1]
        gate = product.inputs[0 if "first" in product.remark else 1]
        found = circuit.evaluate("counting", (0, 0), products="value", annotation=Threshold(-1e9), at="*")
        assert not np.asarray(found[circuit.session.data.activations[gate].names[0]]).any()


def test_the_gates_of_the_case_are_as_listed(circuits: dict[str, provnet.Circuit]) -> None:
    remarks = [row.why for row in circuits["gates"].summary() if row.why]
    second, first, tie = "gate: second factor", "gate: first factor", "tie: half"
    assert remarks == [second, first, first, tie, first, second, tie]


@pytest.mark.guarantee("a composite sets products, softmax and norm by path")
@pytest.mark.parametrize("value", ["half", "value", "full"])
def test_a_composite_sets_products_by_path(value: str) -> None:
    model, x = CASES["attention"].make().eval(), CASES["attention"].input()
    circuit = provnet.trace(model, x)
    paths = [block.path for block in circuit.session.data.blocks if block.convention == "products"]
    everywhere = rules.Composite({path: {"products": value} for path in paths})
    found = circuit.evaluate("real", 0, everywhere).inputs
    assert torch.equal(found, circuit.evaluate("real", 0, products=value).inputs)
    for kind, convention, chosen in (("softmax", "softmax", "attnlrp"), ("norm", "norm", "identity")):
        composite = rules.Composite({rules.Kind(kind): {convention: chosen}})
        wanted = circuit.evaluate("real", 0, **{convention: chosen}).inputs
        assert torch.equal(circuit.evaluate("real", 0, composite).inputs, wanted)
    one = rules.Composite({paths[-1]: {"products": "full"}})
    mixed, program = circuit.evaluate("counting", 0, one).inputs, model.program()
    assert not torch.equal(mixed, circuit.evaluate("counting", 0, products="value").inputs)
    assert len(program.steps) > 10


@pytest.mark.guarantee("rules that weigh contributions by sign are refused at products of two activations")
@pytest.mark.parametrize("rule", ["zplus", "alpha-beta", "gamma", "wsquare", "absolute"])
def test_rules_of_signs_are_no_rules_of_products(circuits: dict[str, provnet.Circuit], rule: str) -> None:
    circuit = circuits["attention"]
    path = next(block.path for block in circuit.session.data.blocks if block.role == "product")
    with pytest.raises(provnet.ProvnetError, match="take Zero or Epsilon"):
        circuit.evaluate("real", 0, rules.Composite({path: rule}))
    taken = {row.path: row.rule for row in circuit.plan(rule)}
    assert taken[path] == "Zero()"


def test_a_box_is_for_what_no_product_or_norm_came_before() -> None:
    model = Gates().double().eval()
    with pytest.raises(provnet.ProvnetError, match="lies between"):
        provnet.trace(
            nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2)).double().eval(), torch.ones(1, 3).double()
        ).evaluate("real", 0, rules.Composite({0: rules.ZBox(-1, 1)}))
    assert len(model.maps) == 4
