"""The ways out that questions to a circuit name: targets, outputs, counts, ranges, limits, lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import provnet
from provnet import annotations, rules, semirings
from provnet.applications.command_questions import rule_of
from provnet.applications.ranked_paths import best_paths
from provnet.errors import (
    CountOverflowError,
    DTypeError,
    LimitError,
    NonFiniteError,
    OptionError,
    TargetError,
    UnknownNameError,
    UnsupportedOperationError,
    ValuationError,
)
from provnet.rules.lrp.base import REGISTRY as RULES
from provnet.semirings.annotations.base import REGISTRY as THETAS
from provnet.semirings.base import REGISTRY as SEMIRINGS
from provnet.semirings.counting import Counting
from provnet.writers.sql import write_sql
from tests.advice.refusals import X, answer, circuit_of, code, dense, refused
from tests.advice.sites import follows


def two_outputs() -> provnet.Circuit:
    return provnet.trace(lambda x: (x * 2, x + 1), X)


def wide() -> provnet.Circuit:
    """Return a circuit whose output has two axes an example."""
    return provnet.trace(lambda x: x.unsqueeze(-1).repeat(1, 1, 2) * 2, X)


@follows("Say which one to explain: output=.", "say which with output=.")
def test_one_of_several_outputs_is_named():
    circuit = two_outputs()
    assert "output=" in refused(lambda: circuit.evaluate(target=0), OptionError)
    assert circuit.evaluate(target=0, output=1).inputs.any()
    assert "output=" in refused(lambda: circuit.gates(target=0), OptionError)
    assert len(circuit.gates(target=0, output="output[1]"))


@follows(
    "so 'predicted' is ambiguous; give full indices",
    "give all indices, such as target={}",
    "a list or tensor of them, 'predicted', Targets(...).",
    "one int for all, or Targets(...) for several results.",
)
def test_targets_are_given_as_the_messages_say():
    circuit = wide()
    for target in ("predicted", 1):
        given = code(refused(lambda target=target: circuit.evaluate(target=target), TargetError), r"target=(\(.*?\))")
        assert circuit.evaluate(target=given).inputs.any()
    plain = circuit_of(3, 2)
    assert "Targets" in refused(lambda: plain.evaluate(target=[0, 1, 1]), TargetError)
    assert "Targets" in refused(lambda: plain.evaluate(target=object()), TargetError)
    assert plain.evaluate(target=provnet.Targets(0, 1, 1)).inputs.shape == (3, 2, 3)
    assert plain.evaluate(target=[0, 1]).inputs.any()


@follows("leave start='one'.")
def test_a_weighting_says_where_to_start():
    circuit = circuit_of(3, 2)
    weighting = torch.ones(2, 2, dtype=torch.float64)
    start = code(refused(lambda: circuit.evaluate(target=weighting, start="logit")), r"start=('\w+')")
    assert circuit.evaluate(target=weighting, start=start).inputs.any()


@follows(
    "is no neuron of the explained output",
)
def test_a_near_miss_gets_the_right_spelling():
    circuit = circuit_of(3, 4, 2)
    for wrong in (7, ("0", 1, 1), "0[1, 2]"):
        right = code(refused(lambda wrong=wrong: circuit.gates(at=[wrong], target=0)), r"Write ('.*?')")
        assert len(circuit.gates(at=right, target=0).roots) == 1
    assert "'fc1[3]' or ('fc1', 3)" in refused(lambda: circuit.gates(at=[("0", 1.5)], target=0), OptionError)
    assert circuit.gates(at="0[1]", target=0).roots == circuit.gates(at=("0", 1), target=0).roots
    right = code(refused(lambda: circuit.evaluate(target="0[1]"), TargetError), r"Write ('.*?')")
    assert circuit.evaluate(target=right).inputs.any()
    assert "output=" in refused(lambda: two_outputs().evaluate(target="output[1][0]", output=0), TargetError)
    assert two_outputs().evaluate(target="output[1][0]", output=1).inputs.any()


@follows("circuit.provenance({}) gives them.")
def test_symbolic_carriers_are_asked_of_provenance():
    circuit = circuit_of(3, 2)
    call = code(refused(lambda: circuit.evaluate("why")), r"circuit\.provenance\(('why')\)")
    assert circuit.provenance(call, at="input[0]", target=0)


@follows(
    "prune takes one of: theta=0.1 (or annotation=Threshold(0.1))",
    "ask for one path or more, such as keep=5.",
    "none of them carries a share of a value. Take",
    "Ask for a smaller share=, for theta=, or raise max_paths=.",
    "Take annotations.Support(0.1).",
    "is compared with numbers, and elements of",
    "there is no order of strength. Take sort='viterbi'.",
)
def test_gates_are_pruned_as_the_messages_say():
    gates = circuit_of(3, 4, 2).gates(target=0)
    refused(lambda: gates.prune(), OptionError)
    assert gates.prune(theta=0.1).pruned and gates.prune(annotation=annotations.Threshold(0.1)).pruned
    refused(lambda: gates.prune(theta=0.1, annotation="threshold"), OptionError)
    refused(lambda: gates.prune(keep=0), OptionError)
    assert gates.prune(keep=5).pruned
    refused(lambda: gates.prune(share=2), OptionError)
    assert gates.prune(share=0.95).pruned
    refused(lambda: gates.prune(share=0.5, semiring="viterbi"), UnsupportedOperationError)
    assert gates.prune(share=0.5, semiring="counting").pruned
    refused(lambda: gates.prune(share=1.0, max_paths=2), LimitError)
    assert gates.prune(share=1.0, max_paths=100).pruned and gates.prune(share=1e-3, max_paths=2).pruned
    refused(lambda: gates.formula(gates.roots[0], annotation="identity"), OptionError)
    assert gates.formula(gates.roots[0], annotation=annotations.Support(0.1))
    refused(lambda: gates.prune(theta=0.1, annotation="signed", semiring="signed"), UnsupportedOperationError)
    assert gates.prune(theta=0.1, annotation="identity", semiring="real").pruned
    refused(lambda: gates.formula(gates.roots[0], sort="signed"), UnsupportedOperationError)
    assert gates.formula(gates.roots[0], sort="viterbi")


@follows("gates explain one neuron, or several")
def test_gates_explain_one_neuron():
    circuit = circuit_of(3, 2)
    refused(lambda: circuit.gates(target=provnet.Targets(0, 1)), TargetError)
    assert len(circuit.gates(target=1))


@follows("most edges are in {}")
def test_gates_of_less_are_made():
    circuit = circuit_of(3, 4, 2)
    assert "at=" in refused(lambda: circuit.gates(target=0, limit=10), LimitError)
    assert len(circuit.gates(target=0, limit=10, at=("0", 1)))
    assert circuit.evaluate(target=0).inputs.any()


@follows("give the values: evaluate(semiring, valuation=...).")
def test_gates_of_a_coarser_grain_are_given_their_values():
    gates = circuit_of(3, 4, 2).gates(target=0, grain="parameter")
    refused(lambda: gates.evaluate("real"), UnsupportedOperationError)
    assert gates.evaluate("real", valuation=torch.ones(len(gates.variables), dtype=torch.float64)).tensor.any()


@follows("Make them with gates(units=True).")
def test_unit_edges_that_have_a_value_are_variables():
    circuit = circuit_of(3, 4, 2)
    refused(lambda: circuit.gates(target=0).evaluate("real", rule="gradient"), ValuationError)
    assert circuit.gates(target=0, units=True).evaluate("real", rule="gradient").tensor.any()


@follows("Make them with gates(pooling={}).")
def test_losers_of_a_pooling_that_have_a_value_are_variables():
    model = nn.Sequential(nn.MaxPool1d(2), nn.Flatten())
    circuit = provnet.trace(model, torch.tensor([[[1.0, 2.0, 3.0, 1.0]]]))
    rule = rules.Composite({"0": {"pooling": "proportional"}})
    message = refused(lambda: circuit.gates(target=0).evaluate("real", rule=rule), ValuationError)
    pooling = code(message, r"pooling=('\w+')\)\.$")
    assert circuit.gates(target=0, pooling=pooling).evaluate("real", rule=rule).tensor.any()


@follows("Leave it out; result.exact says", "or leave exact= out.")
def test_exact_is_for_counts():
    circuit = circuit_of(3, 2)
    refused(lambda: circuit.evaluate("viterbi", exact=True), OptionError)
    assert circuit.evaluate("viterbi", dtype=torch.float64).exact in (True, False)
    refused(lambda: circuit.evaluate(Counting(overflow="float64"), exact=True), OptionError)
    assert int(circuit.evaluate("counting", exact=True, target=0).inputs.sum()) > 0
    assert circuit.evaluate(Counting(overflow="float64"), target=0).inputs.any()


def deep() -> provnet.Circuit:
    """Return a circuit with more paths than int64 counts."""
    return circuit_of(2, *(64,) * 12, 2)


@follows("Ways out: exact=True, or Counting(overflow='exact')")
def test_counts_beyond_int64_have_ways_out():
    circuit = deep()
    threshold = annotations.Threshold(1e-9)
    message = refused(lambda: circuit.evaluate("counting", target=0, annotation=threshold), CountOverflowError)
    wanted = 64**12
    assert "exact=True" in message
    assert int(circuit.evaluate("counting", target=0, exact=True, annotation=threshold).inputs[0, 0]) == wanted
    for overflow in ("exact", "float64", "promote"):
        assert f"overflow='{overflow}'" in message
        found = circuit.evaluate(Counting(overflow=overflow), target=0, annotation=threshold)
        assert int(found.inputs[0, 0]) == pytest.approx(wanted)
    higher = circuit.evaluate("counting", target=0, annotation=annotations.Threshold(0.9))
    assert not higher.inputs.any()


@follows("Give it more primes: Counting('exact', bits={}).")
def test_residues_of_ones_own_are_given_more_primes():
    gates, few = circuit_of(2, 2, 2).gates(target=0), Counting("exact", 40)

    def twos_to_the_40th(counting: Counting) -> torch.Tensor:
        return counting.encode(torch.full((len(gates.variables),), 2**40))

    message = refused(lambda: gates.evaluate(few, twos_to_the_40th(few)), CountOverflowError)
    enough = Counting("exact", bits=code(message, r"bits=(\d+)"))
    assert set(gates.evaluate(enough, twos_to_the_40th(enough)).values()) == {2 * 2**80}


@follows(
    "Use Counting(overflow='exact') for whole numbers",
    "so it is rounded. Use overflow='exact'.",
    "Decode them first: decode(elements).",
)
def test_counts_that_leave_a_dtype_are_exact_where_asked():
    assert "overflow='exact'" in refused(lambda: Counting().check(2**70, "a gate"), CountOverflowError)
    rounded = Counting(overflow="float64")
    assert not rounded.check(2**70, "a gate")
    many = torch.tensor(2.0**60, dtype=torch.float64)
    assert "overflow='exact'" in refused(lambda: rounded.decode(many), CountOverflowError)
    exact = Counting(overflow="exact").with_primes(80)
    assert exact.check(2**70, "a gate")
    count = exact.full((), exact.one, torch.zeros(0, dtype=torch.int64))
    assert "decode(elements)" in refused(lambda: exact.monus(count, count), UnsupportedOperationError)
    assert int(exact.decode(count)) == 1


@follows("Evaluate with dtype=torch.float64, or scale the weights.", "or stabilise with rule=Epsilon(1e-6).")
def test_what_leaves_float32_is_evaluated_in_float64_or_stabilised():
    large = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(large.weight, 1e30)
    circuit = provnet.trace(large, torch.full((1, 2), 1e10, dtype=torch.float64))
    refused(lambda: circuit.evaluate("viterbi", dtype=torch.float32), NonFiniteError)
    assert circuit.evaluate("viterbi", dtype=torch.float64).inputs.min() > 0.9

    weight = torch.tensor([[1.0, 2**-23 - 1], [2**-23 - 1, 1.0]], dtype=torch.float64)

    def cancelling(x: torch.Tensor) -> torch.Tensor:
        """Each sum nearly cancels, so that shares are of the order of 1e7."""
        for _ in range(6):
            x = nn.functional.linear(x, weight) * 2**23
        return x

    circuit = provnet.trace(cancelling, torch.ones(1, 2, dtype=torch.float64))
    message = refused(lambda: circuit.evaluate("real", target=0, dtype=torch.float32), NonFiniteError)
    assert "rule=Epsilon(1e-6)" in message
    for rule, dtype in ((rules.Zero(), torch.float64), (rules.Epsilon(1e-6), torch.float32)):
        found = circuit.evaluate("real", target=0, rule=rule, dtype=dtype).inputs
        assert found.any() and torch.isfinite(found).all()


@follows("take gates(at=...) for chosen neurons.")
def test_messages_of_less_are_shown():
    result = circuit_of(3, 4, 2).evaluate(target=0)
    assert "limit=" in refused(lambda: result.messages("0", limit=5), LimitError)
    assert result.messages("0", limit=100).any()
    assert len(circuit_of(3, 4, 2).gates(target=0, at=("0", 1)))


@follows("Choose where it applies with Composite({...})")
def test_a_rule_is_applied_where_it_fits():
    circuit = provnet.trace(dense(3, 4, 2), X - 2)
    refused(lambda: circuit.evaluate(rule="z-box"), OptionError)
    assert circuit.plan("zero")
    assert circuit.evaluate(rule=rules.Composite({"2": "z-plus"}), target=0).inputs.any()


@follows("ask assign(circuit).", "or take Zero().", "(provnet.rules.register)")
def test_composites_and_rules_say_what_to_do():
    circuit = circuit_of(3, 4, 2)
    composite = rules.Composite({"0": "z-plus"})
    refused(lambda: composite.at(circuit.session.data.blocks[0]), OptionError)
    assert composite.assign(circuit.session.data)
    refused(lambda: rules.Composite({}), OptionError)
    assert rules.Composite({"0": rules.Zero()}).assign(circuit.session.data)

    class Own(rules.Epsilon):
        name = "own-epsilon"

    assert "provnet.rules.register" in refused(lambda: rules.to_json(Own()), UnsupportedOperationError)


@follows("for instance register_op('mylib.myop').")
def test_register_op_wants_a_name():
    name = code(refused(lambda: provnet.register_op(), OptionError), r"register_op\(('.*?')\)")
    assert callable(provnet.register_op(name))


@follows("or keep its module as opaque='jacobian'.")
def test_unit_edges_without_a_derivative_are_kept_whole():
    library = torch.library.Library("advice2", "DEF")
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x * 2, "CompositeExplicitAutograd")
    provnet.register_op("advice2.double", form="identity")
    inner = nn.Sequential()
    inner.forward = lambda x: torch.ops.advice2.double(x) * 1  # type: ignore[method-assign]
    model = nn.Sequential(nn.Linear(3, 2).double(), inner)
    circuit = provnet.trace(model, X)
    refused(lambda: circuit.evaluate(rule="gradient", target=0), UnsupportedOperationError)
    assert answer(circuit) is not None


@follows("passes relevance on as it is, such as rule='zero'.")
@pytest.mark.filterwarnings("ignore::provnet.errors.TraceWarning")
def test_what_torch_does_not_differentiate_has_another_rule():
    circuit = provnet.trace(lambda x: x + x // 1, X)
    message = refused(lambda: circuit.evaluate("real", 0, "gradient"), UnsupportedOperationError)
    assert circuit.evaluate("real", 0, code(message, r"rule=('.*?')")).inputs.any()


@follows("Evaluate inside torch.no_grad()")
def test_semirings_without_a_derivative_are_evaluated_without_a_graph():
    x = X.clone().requires_grad_()
    circuit = provnet.trace(dense(3, 4, 2), x, differentiable=True)
    assert "torch.no_grad()" in refused(lambda: circuit.evaluate("boolean", target=0), OptionError)
    with torch.no_grad():
        assert circuit.evaluate("boolean", target=0).inputs.any()
    assert circuit.evaluate("real", target=0, route="auto").inputs.requires_grad


@follows("Use one that decides, such as Threshold(theta).", "Give an instance such as Threshold(0.1)")
def test_semirings_of_whole_numbers_take_a_threshold():
    circuit = circuit_of(3, 2)
    refused(lambda: circuit.evaluate("boolean", annotation="identity"), DTypeError)
    wrong: Any = 3
    refused(lambda: circuit.evaluate("boolean", annotation=wrong), OptionError)
    assert circuit.evaluate("boolean", annotation=annotations.Threshold(0.1), target=0).inputs.any()


@follows("Choose one first: at(path).", "on one block, at(path); not of {}.")
def test_annotation_functions_by_layer_are_chosen_first():
    theta, shares = annotations.Threshold({"0": 0.1}), torch.tensor([0.05, 0.5])
    assert "at(path)" in refused(lambda: theta.passes(shares), OptionError)
    assert theta.at("0").passes(shares).tolist() == [False, True]
    graded = annotations.GradedElement("identity", cost={"0": 2})
    edges: Any = None
    assert "at(path)" in refused(lambda: graded.value(edges, semirings.Graded("real"), torch.float64), OptionError)
    assert graded.at("0").cost == 2


@follows("an instance such as Viterbi(), or make(...).")
def test_a_semiring_is_named_given_or_made():
    circuit = circuit_of(3, 2)
    wrong: Any = 3
    refused(lambda: circuit.evaluate(wrong), OptionError)
    made = semirings.make(torch.maximum, torch.mul, 0.0, 1.0, examples=[0.5])
    for semiring in ("viterbi", semirings.Viterbi(), made):
        assert circuit.evaluate(semiring, target=0).inputs.any()


@pytest.mark.guarantee("names of semirings, rules and annotation functions are found by their synonyms, or suggested")
@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("semiring", "max-plus", "arctic"),
        ("semiring", "Min_Plus", "min-plus"),
        ("semiring", "REAL", "real"),
        ("semiring", "bool", "boolean"),
        ("semiring", "Łukasiewicz", "lukasiewicz"),
        ("rule", "LRP-0", "zero"),
        ("rule", "lrp-epsilon", "epsilon"),
        ("rule", "LRP-gamma", "gamma"),
        ("rule", "z+", "z-plus"),
        ("rule", "alpha2beta1", "alpha-beta"),
        ("annotation", "max-normalized", "max-normalised"),
        ("annotation", "-log", "neg-log"),
    ],
)
def test_names_have_synonyms(kind: str, given: str, wanted: str):
    get = {"semiring": semirings.get, "rule": rules.get, "annotation": annotations.get}[kind]
    assert type(get(given)) is type(get(wanted))
    assert given not in {"semiring": semirings.names, "rule": rules.names, "annotation": annotations.names}[kind]()


@pytest.mark.parametrize(
    ("given", "suggested"),
    [("max-product", {"viterbi", "max-times"}), ("max-min", {"bottleneck", "fuzzy"}), ("tropic", {"tropical"})],
)
def test_a_name_for_several_is_answered_with_a_choice(given: str, suggested: set[str]):
    message = refused(lambda: semirings.get(given))
    assert {name for name in semirings.names() if repr(name) in message} == suggested
    for name in suggested:
        semirings.get(name)


def test_synonyms_lead_to_names_that_are_there():
    for registry in (RULES, THETAS, SEMIRINGS):
        for word, names in registry.synonyms.items():
            assert all(name in registry for name in names), word


@follows("Write parameters as gamma:gamma=0.5.")
def test_rules_take_parameters_as_the_message_says():
    assert "gamma:gamma=0.5" in refused(lambda: rule_of("gamma:no=1"), OptionError)
    assert rule_of("gamma:gamma=0.5") == rules.Gamma(0.5) or repr(rule_of("gamma:gamma=0.5")) == repr(rules.Gamma(0.5))


@follows(
    "are more than the {} that a figure shows: choose some with",
    "at most 100, such as clip=99.",
    "raise limit, or read circuit.summary().",
)
def test_pictures_are_asked_for_as_the_messages_say():
    pytest.importorskip("matplotlib", reason="pictures need the extra `demo`")
    circuit = provnet.trace(dense(3, 2), torch.rand(70, 3, dtype=torch.float64))
    found = circuit.evaluate("real", target=0)
    example = code(refused(lambda: found.plot(), OptionError), r"example=(\[.*?\])")
    assert found.plot(example=example)
    assert found.plot(example=0, clip=code(refused(lambda: found.plot(example=0, clip=0)), r"clip=(99)"))
    assert found.plot(example=0, cmap=code(refused(lambda: found.plot(example=0, cmap="no")), r"take ('\w+')"))
    refused(lambda: circuit.draw(limit=0), LimitError)
    assert circuit.draw(limit=100).source and str(circuit.summary())


@follows("write it as it was before `simplify(semiring)`.")
def test_relations_are_written_before_a_simplification(tmp_path: Path):
    gates = provnet.trace(lambda x: x + x, X).gates(target=0, grain="block")
    small = gates.simplify("boolean")
    assert small.store.assumption - {"commutative"}
    refused(lambda: write_sql(small, tmp_path / "c.sql"), UnsupportedOperationError)
    assert write_sql(gates, tmp_path / "c.sql").exists()


@follows("no factor makes a path better; {} is none. Take semiring='viterbi', 'tropical', 'bottleneck' or 'fuzzy'.")
def test_paths_are_ranked_in_a_semiring_that_chooses():
    circuit = circuit_of(3, 2, 2)
    message = refused(lambda: best_paths(circuit, 0, semiring="real"), UnsupportedOperationError)
    for name in ("viterbi", "tropical", "bottleneck", "fuzzy"):
        assert f"'{name}'" in message
        assert len(best_paths(circuit, 0, 2, name)) == 2


@follows("ask for one path or more, such as k=100.", "give one of the sources {} as at=.")
def test_paths_are_ranked_from_one_tensor_and_at_least_one():
    circuit = circuit_of(3, 2, 2)
    refused(lambda: best_paths(circuit, 0, k=0), OptionError)
    assert len(best_paths(circuit, 0, k=100)) == 6
    two = provnet.trace(lambda x, y: x + y, X, 2 * X)
    message = refused(lambda: best_paths(two, 0), OptionError)
    assert two.sources[0] in message
    assert len(best_paths(two, 0, at=two.sources[0])) == 1


@follows("circuit.keys() lists all.")
def test_keys_list_all_names() -> None:
    deep = nn.Sequential(*(nn.Linear(2, 2) for _ in range(30)))
    circuit = provnet.trace(deep, torch.rand(1, 2))
    answer = circuit.evaluate("real", 0)
    refused(lambda: answer["zzzzz"], UnknownNameError)
    assert {"0", "29", "input"} <= set(circuit.keys())
    assert answer[circuit.keys()[0]] is not None
