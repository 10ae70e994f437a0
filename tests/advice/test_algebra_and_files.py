"""The ways out that semirings, formulas, files, applications and the command line name."""

from __future__ import annotations

import copy
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import provnet
from provnet import semirings
from provnet.applications import conservation_plot, inputs, thresholds
from provnet.applications.cancellation import cancellation
from provnet.applications.command_questions import open_circuit
from provnet.applications.conservation import neuron_residuals
from provnet.applications.demo import data as demo_data
from provnet.applications.equivalence import equivalent
from provnet.applications.inputs import read_input
from provnet.applications.marginals import Marginals
from provnet.applications.models import load_model
from provnet.applications.outputs import require_free
from provnet.applications.reliability import reliability
from provnet.cli import app
from provnet.errors import (
    DTypeError,
    FileFormatError,
    InputError,
    LawError,
    LimitError,
    MissingProgramError,
    OptionError,
    OutputError,
    UnsupportedOperationError,
    ValuationError,
)
from provnet.semirings.counting import Counting
from provnet.symbolic.polynomial import Polynomial
from provnet.writers.base import write
from tests.advice.refusals import circuit_of, code, refused
from tests.advice.sites import follows

# By its full name: the package has a function of this name too.
cache = import_module("provnet.torch_backend.contractions.cache")

ROOT = Path(__file__).resolve().parents[2]


# --- semirings --------------------------------------------------------------------------------------------------------


@follows("or state the semiring's own: dtype={}.")
def test_a_made_semiring_states_its_dtype():
    def either(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x > 0) | (y > 0)

    def both(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x > 0) & (y > 0)

    message = refused(lambda: semirings.make(either, both, 0.0, 1.0), DTypeError)
    assert "dtype=torch.bool" in message
    made = semirings.make(either, both, False, True, dtype=torch.bool)
    assert circuit_of(3, 2).evaluate(made, annotation="threshold", target=0).inputs.any()


@follows("Evaluate it beside the others, as a list of semirings")
def test_counts_stand_beside_other_semirings():
    refused(lambda: semirings.Product(Counting(), "viterbi"), DTypeError)
    circuit = circuit_of(3, 2)
    assert len(circuit.evaluate(["counting", "viterbi"], target=0)) == 2
    both = semirings.Product(Counting(overflow="float64"), "viterbi")
    assert circuit.evaluate(both, target=0).inputs.any()


@follows("Take .real, .imag or .abs().")
def test_complex_values_are_made_real():
    found = gates()
    values = torch.ones(len(found.variables), dtype=torch.complex128)
    refused(lambda: found.evaluate("real", values), ValuationError)
    assert found.evaluate("real", values.real).tensor.any()
    assert found.evaluate("real", values.abs()).tensor.any()


@follows("State commutative=False, or mend times.")
def test_matrices_do_not_commute():
    zero, one = torch.zeros(2, 2), torch.eye(2)
    assert "commutative=False" in refused(lambda: semirings.make(torch.add, torch.matmul, zero, one), LawError)
    assert not semirings.make(torch.add, torch.matmul, zero, one, commutative=False).commutative


@follows("list the elements: carrier=range(n)")
def test_a_finite_semiring_lists_its_elements():
    table = torch.tensor([[0, 1, 2], [1, 1, 2], [2, 2, 2]]), torch.tensor([[0, 0, 0], [0, 1, 2], [0, 2, 2]])
    plus, times = (lambda x, y, t=t: t[x, y] for t in table)
    refused(lambda: semirings.make(plus, times, 0, 1, dtype=torch.int64), OptionError)
    assert semirings.make(plus, times, 0, 1, dtype=torch.int64, carrier=range(3)).one == 1


# --- formulas ---------------------------------------------------------------------------------------------------------


def gates() -> provnet.GateCircuit:
    return circuit_of(3, 4, 4, 2).gates(target=0)


@follows(
    "or raise max_terms.",
    "too few merge to be sure of max_terms={}",
    "Evaluate the gates instead, ask for a smaller cone, or raise limit.",
    "for a smaller cone, or for limit={}.",
    "more than limit={}: raise limit.",
)
def test_what_is_too_long_is_asked_for_with_a_higher_limit():
    found, root = gates(), "input[0]"
    refused(lambda: found.provenance("why", root, max_terms=2), LimitError)
    assert found.provenance("formula", root, max_terms=2)
    assert found.provenance("why", root, max_terms=100)
    refused(lambda: found.polynomial(root, max_terms=2), LimitError)
    assert len(found.polynomial(root, max_terms=100)) == 16
    assert found.evaluate("real").tensor.any()
    formula = found.formula(root)
    refused(lambda: formula.sympy(limit=2), LimitError)
    assert formula.sympy(limit=1000) is not None
    limit = code(refused(lambda: formula.text(limit=2), LimitError), r"for limit=(\d+)\.")
    assert formula.text(limit=limit)
    polynomial = found.polynomial(root)
    refused(lambda: polynomial.text(limit=2), LimitError)
    assert polynomial.text(limit=16)


@follows("gates.provenance({}) gives some.")
def test_elements_come_from_provenance():
    found = provnet.homomorphism("n[x]", "why")
    message = refused(lambda: found(3), ValuationError)
    carrier = code(message, r"gates\.provenance\(('.*?')\)")
    assert found(gates().provenance(carrier, "input[0]")) is not None
    assert isinstance(gates().polynomial("input[0]"), Polynomial)


@follows("Fold the circuit as it was before `simplify`")
def test_laws_are_stated():
    blocks = circuit_of(3, 4, 2).gates(target=0, grain="block")
    values = {v.name: 1 for v in blocks.variables}
    simplified = blocks.simplify("boolean")
    message = refused(lambda: simplified.fold(values, max, min), UnsupportedOperationError)
    assert simplified.fold(values, max, min, laws=(*code(message, r"laws=(\(.*?\))"), "commutative"))
    assert blocks.fold(values)


@follows("Sample instead (method='sample')")
def test_what_is_too_large_for_a_diagram_is_sampled():
    method = code(refused(lambda: reliability(gates(), 0.5, limit=3), LimitError), r"method=('\w+')")
    assert reliability(gates(), 0.5, method=method, worlds=64) is not None
    assert reliability(gates(), 0.5, limit=10_000) is not None


@follows("make gates first, circuit.gates(target=...).")
def test_circuits_are_compared_as_gates():
    circuit: Any = circuit_of(3, 2)
    refused(lambda: equivalent(circuit, circuit), UnsupportedOperationError)
    assert equivalent(circuit.gates(target=0), circuit.gates(target=0))


# --- applications -----------------------------------------------------------------------------------------------------


@follows("evaluate in Signed(), or give the circuit.")
def test_cancellation_is_of_a_signed_result():
    circuit = circuit_of(3, 4, 2)
    refused(lambda: cancellation(circuit.evaluate("real", target=0)), OptionError)
    assert cancellation(circuit.evaluate(semirings.Signed(), target=0)).ratio.any()
    assert cancellation(circuit, target=0).ratio.any()


@follows("conservation() compares what came")
def test_conservation_is_asked_where_shares_are_not():
    result = circuit_of(3, 4, 2).evaluate(semirings.Signed(), target=0)
    refused(lambda: neuron_residuals(result, "0"), UnsupportedOperationError)
    assert result.conservation() is not None


@follows(
    "evaluate with target=3, not Targets(...).",
    "ask for neurons({}).",
    "or take gates(at=...).marginals() for a cone.",
)
def test_marginals_are_asked_for_otherwise():
    circuit = circuit_of(3, 4, 2)
    refused(lambda: Marginals(circuit.evaluate(target=provnet.Targets(0, 1))), OptionError)
    result = circuit.evaluate("real", target=1)
    name = code(refused(lambda: Marginals(result).edges("1"), UnsupportedOperationError), r"neurons\(('.*?')\)")
    assert Marginals(result).neurons(name).any()
    refused(lambda: Marginals(result, limit=5).edges("0"), LimitError)
    assert Marginals(result, limit=100).edges("0").any()
    assert circuit.gates(target=1, at=("0", 1)).marginals()


@follows("pip install 'provnet[demo]'.", "reading {} takes the package Pillow", "or give MNIST with --data DIR.")
def test_what_is_missing_is_an_extra_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"")
    monkeypatch.setattr(inputs, "HAS_PILLOW", False)
    message = refused(lambda: read_input(tmp_path / "x.png"), MissingProgramError)
    extra = code(message, r"pip install ('.*?')")
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {text.split(">")[0] for text in stated["optional-dependencies"][extra.partition("[")[2].rstrip("]")]}
    assert stated["name"] == extra.partition("[")[0]
    assert {"Pillow", "matplotlib", "scikit-learn"} <= needed
    help_text = CliRunner().invoke(app, ["demo", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "--data" in help_text
    assert conservation_plot and thresholds and demo_data


@follows("Leave them out.", "Choose one with --key.")
def test_options_of_inputs(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    refused(lambda: read_input(tmp_path / "x.npy", size=3), OptionError)
    assert read_input(tmp_path / "x.npy").any()
    save_file({"x": torch.ones(2, 3), "y": torch.ones(2)}, tmp_path / "both.safetensors")
    refused(lambda: read_input(tmp_path / "both.safetensors"), OptionError)
    assert read_input(tmp_path / "both.safetensors", key="x").shape == (2, 3)
    shown = CliRunner().invoke(app, ["eval", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert all(option in shown for option in ("--key", "--size", "--mean", "--std"))


@follows(
    "or write over it with --force.",
    "as `provnet trace --save` writes it.",
    "or give a file that `provnet trace --save` wrote.",
    "give one that provnet.save wrote.",
    "Give a file that provnet.save wrote.",
)
def test_files_are_given_as_the_messages_say(tmp_path: Path):
    there = tmp_path / "there.npy"
    there.write_bytes(b"")
    refused(lambda: require_free(there, force=False), OutputError)
    require_free(there, force=True)
    refused(lambda: load_model("nothing"), InputError)
    circuit, path = circuit_of(3, 2), tmp_path / "circuit.provnet"
    provnet.save(circuit.gates(target=0), path)
    refused(lambda: open_circuit(str(path), None), InputError)
    refused(lambda: provnet.load(tmp_path / "nowhere.provnet"), FileFormatError)
    provnet.save(circuit, path)
    loaded: Any = provnet.load(path)
    for found in (open_circuit(str(path), None), loaded):
        assert found.evaluate(target=0).inputs.any()
    shown = CliRunner().invoke(app, ["trace", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "--save" in shown


@follows("leave input, --target and their kin out.")
def test_a_page_of_saved_gates_is_asked_nothing(tmp_path: Path):
    provnet.save(circuit_of(3, 4, 2).gates(target=0, at="input[0]"), tmp_path / "gates")
    command = ["studio", str(tmp_path / "gates"), "--html", str(tmp_path / "page.html")]
    asked = CliRunner().invoke(app, [*command, "--target", "1"])
    assert asked.exit_code == 2
    assert "leave input, --target and their kin out" in " ".join(asked.output.split())
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (tmp_path / "page.html").is_file()


@follows("give format=, one of {}.", "ask a circuit for .gates(…).", "limit= draws more.")
def test_writers_say_what_they_take(tmp_path: Path):
    circuit = circuit_of(3, 4, 2)
    found: Any = circuit.gates(target=0)
    message = refused(lambda: write(found, tmp_path / "bare"), OptionError)
    assert "dot" in message
    write(found, tmp_path / "bare", format="dot")
    wrong: Any = circuit
    refused(lambda: write(wrong, tmp_path / "x.dot"), OptionError)
    write(circuit.gates(target=0), tmp_path / "x.dot")
    refused(lambda: write(found, tmp_path / "small.dot", limit=2), LimitError)
    write(found, tmp_path / "large.dot", limit=1000)


@follows("or use route='reference'.")
def test_kernels_may_lie_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(cache, "_written", lambda *_: None)
    message = refused(lambda: cache.generated_module("advice", "a = 1"), OptionError)
    assert cache.VARIABLE in message
    route = code(message, r"route=('\w+')")
    assert circuit_of(3, 2).evaluate("viterbi", target=0, route=route).inputs.any()
    monkeypatch.undo()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    assert cache.generated_module("advice", "a = 1").a == 1


# --- copies -----------------------------------------------------------------------------------------------------------


@follows("or keep what provnet.save writes,")
def test_a_differentiable_circuit_is_kept_as_a_file(tmp_path: Path):
    model = torch.nn.Linear(3, 2).double()
    circuit = provnet.trace(model, torch.ones(1, 3, dtype=torch.float64), differentiable=True)
    refused(lambda: copy.deepcopy(circuit), UnsupportedOperationError)
    provnet.save(circuit, tmp_path / "kept")
    found = provnet.load(tmp_path / "kept")
    assert isinstance(found, provnet.Circuit)
    with torch.no_grad():
        assert torch.equal(found.evaluate("real", 0).inputs, circuit.evaluate("real", 0).inputs)


@follows("or provnet.save the circuit and evaluate {} again.")
def test_a_result_is_evaluated_again_from_a_saved_circuit(tmp_path: Path):
    circuit = circuit_of(3, 2)
    result = circuit.evaluate("viterbi", 0)
    refused(lambda: copy.deepcopy(result), UnsupportedOperationError)
    provnet.save(circuit, tmp_path / "kept")
    found = provnet.load(tmp_path / "kept")
    assert isinstance(found, provnet.Circuit)
    assert torch.equal(found.evaluate("viterbi", 0).inputs, result.inputs)


@follows("Make the gates under the same convention: gates({}=...).")
def test_gates_are_made_under_the_convention_of_a_rule():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0]])
    circuit = provnet.trace(lambda x, y: x * torch.tanh(y), x, y)
    rule = provnet.rules.Composite({"mul_1": {"products": "value"}})
    gates = circuit.gates(target=0)
    message = refused(lambda: gates.evaluate("real", rule=rule), ValuationError)
    assert "gates(products=...)" in message
    found = circuit.gates(target=0, products="value").evaluate("real", rule=rule)
    assert found["x[0]"] == 1
