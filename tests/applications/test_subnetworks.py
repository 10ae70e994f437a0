"""Subnetworks of classes, against a loop over examples and edges."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import provnet
from provnet.applications.ablation import score
from provnet.applications.datasets.tensor_file import write_tensors
from provnet.applications.subnetworks import Subnetwork, read_subnetworks, subnetworks, write_subnetworks
from provnet.errors import FileFormatError, LimitError, OptionError, UnknownNameError
from provnet.face import question_setting
from tests.nets import perceptron, seeded

THETA = 0.1
Sets = dict[str, Any]


@pytest.fixture(scope="module")
def net() -> Any:
    return seeded(lambda: perceptron(4, 5, 3))


@pytest.fixture(scope="module")
def data(net: Any) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.rand(18, 4, dtype=torch.float64)
    return x, torch.arange(18) % 3


@pytest.fixture(scope="module")
def found(net: Any, data: tuple[Tensor, Tensor]) -> list[Subnetwork]:
    return subnetworks(net, data, annotation=provnet.annotations.Threshold(THETA), batch_size=5)


def literal(net: Any, x: Tensor, target: int) -> Sets:
    """Return what one example needs, by loops: an edge is relevant if what it leads to is and a w / z reaches θ."""
    first, last = (copy.deepcopy(module).requires_grad_(False) for module in net if isinstance(module, nn.Linear))
    hidden = [
        float(sum(w * a for w, a in zip(row, x, strict=True)) + b)
        for row, b in zip(first.weight, first.bias, strict=True)
    ]
    living = [max(h, 0.0) for h in hidden]
    scores = [
        float(sum(w * h for w, h in zip(row, living, strict=True)) + b)
        for row, b in zip(last.weight, last.bias, strict=True)
    ]
    outs, ins = np.zeros((3, 5), bool), np.zeros((5, 4), bool)
    for j in range(5):
        outs[target, j] = living[j] * float(last.weight[target, j]) / scores[target] >= THETA
        for i in range(4):
            share = float(x[i] * first.weight[j, i]) / hidden[j]
            # Behind a ReLU, relevance passes on where the neuron is alive.
            ins[j, i] = outs[target, j] and share >= THETA
    return {"input": ins.any(0), "0.weight": ins, "2.weight": outs}


def folded(net: Any, data: tuple[Tensor, Tensor], share: float) -> list[Sets]:
    classes = []
    for label in range(3):
        sets = [literal(net, x, label) for x, y in zip(*data, strict=True) if int(y) == label]
        classes.append(
            {name: sum(one[name].astype(int) for one in sets) >= max(share * len(sets), 1) for name in sets[0]}
        )
    return classes


def paths_of(gates: provnet.GateCircuit) -> list[int]:
    """Return how many paths each root has."""
    return [int(paths) for paths in gates.evaluate("counting", {str(v): 1 for v in gates.variables}).values()]


@pytest.mark.guarantee("an edge is in a class's subnetwork if enough of its examples have a relevant path through it")
@pytest.mark.parametrize(("share", "least"), [("any", 0.0), (0.5, 0.5), ("all", 1.0)])
def test_a_subnetwork_is_what_the_definition_says(
    net: Any, data: tuple[Tensor, Tensor], share: str | float, least: float
) -> None:
    theta = provnet.annotations.Threshold(THETA)
    found = subnetworks(net, data, share, annotation=theta, batch_size=7)  # type: ignore[arg-type]
    for one, wanted in zip(found, folded(net, data, least), strict=True):
        assert one.examples == 6
        assert {*one.neurons} == {"input"} and {*one.weights} == {"0.weight", "2.weight"}
        for name, mask in {**one.neurons, **one.weights}.items():
            np.testing.assert_array_equal(mask.numpy(), wanted[name], name)


def test_sets_are_joined_and_compared(found: list[Subnetwork]) -> None:
    a, b = found[0], found[1]
    for name in a.weights:
        assert torch.equal((a & b).weights[name], a.weights[name] & b.weights[name])
        assert torch.equal((a | b).weights[name], a.weights[name] | b.weights[name])
        assert torch.equal((a - b).weights[name], a.weights[name] & ~b.weights[name])
    shared, either = (sum(int(m.sum()) for m in one.weights.values()) for one in (a & b, a | b))
    assert a.overlap(b) == shared / either and a.overlap(a) == 1.0
    assert a.overlap(b, edges=False) == float((a & b).neurons["input"].sum() / (a | b).neurons["input"].sum())
    assert (a - a).overlap(b - b) == 1.0, "two empty ones agree"
    assert "0.weight" in repr(a) and "12 examples" in repr(a & b)


def test_a_model_of_its_own_keeps_these_weights_and_all_biases(
    net: Any, data: tuple[Tensor, Tensor], found: list[Subnetwork]
) -> None:
    before = copy.deepcopy(net.state_dict())
    own = found[2].model(net)
    slow = copy.deepcopy(net)
    for name, mask in found[2].weights.items():
        slow.get_parameter(name).data *= mask
    assert torch.equal(own(data[0]), slow(data[0])) and not torch.equal(own(data[0]), net(data[0]))
    assert score(own, data) == score(slow, data)
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in before.items())


@pytest.mark.guarantee("the explicit circuit of a subnetwork has exactly the paths over its edges")
def test_gates_have_the_paths_over_the_edges(net: Any, data: tuple[Tensor, Tensor], found: list[Subnetwork]) -> None:
    circuit = provnet.trace(net, data[0][:2], sources=["0.weight", "2.weight"])
    first, last = (found[1].weights[name].numpy() for name in ("0.weight", "2.weight"))
    for structural in (False, True):
        gates = found[1].gates(circuit, target=1, batch=1, dead=structural)
        alive = net[1](net[0](data[0][1])).numpy(force=True) > 0 if not structural else np.ones(5, bool)
        for pixel, paths in enumerate(paths_of(gates)):
            assert paths == int((first[:, pixel] & last[1] & alive).sum())
        assert "edges on the weights of" in str(gates.pruned) and "left out" in str(gates.pruned)


def test_biases_and_convolutions_are_told_by_their_weights() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)).double().eval()
    x, y = torch.rand(4, 1, 4, dtype=torch.float64), torch.zeros(4, dtype=torch.int64)
    (one, _) = subnetworks(net, (x, y), at=["0", "input"], target=0, annotation=provnet.annotations.Threshold(THETA))
    assert {*one.neurons} == {"0", "input"} and one.weights["0.weight"].shape == (2, 1, 2)
    circuit = provnet.trace(net, x, sources=["input", "0.weight", "3.weight"])
    wanted = circuit.evaluate("boolean", 0, annotation=provnet.annotations.Threshold(THETA))["0.weight"].any(0)
    assert torch.equal(one.weights["0.weight"], wanted)
    gates = one.gates(circuit, target=0, biases=True)
    kept = {str(v) for v in gates.variables if "bias" in str(v)}
    assert kept and kept <= {str(v) for v in circuit.gates(target=0, biases=True).variables}
    none = Subnetwork({}, {name: torch.zeros_like(mask) for name, mask in one.weights.items()}, 1)
    assert not any(paths_of(none.gates(circuit, target=0, at="input")))


def test_a_sweep_folds_parameters_as_it_folds_tensors(net: Any, data: tuple[Tensor, Tensor]) -> None:
    names = ["0.weight", "2.bias"]
    whole = provnet.trace(net, data[0], sources=["input", *names]).evaluate("real", data[1].tolist())
    for at in (None, ["1", *names]):
        tally = provnet.sweep(
            net, data, "real", "label", at, "mean", batch_size=4, trace_options={"sources": ["input", *names]}
        )
        assert tally.tensors == (("input",) if at is None else ("1",)) + tuple(names)
        for name in tally.tensors:
            torch.testing.assert_close(tally.of("mean", at=name), whole.by_example(name).mean(0))


def test_parameters_in_at_are_found_by_one_walk(
    net: Any, data: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = []
    real = question_setting.evaluate_all
    monkeypatch.setattr(question_setting, "evaluate_all", lambda *a, **k: (walks.append(1), real(*a, **k))[1])
    circuit = provnet.trace(net, data[0], sources=["input", "2.weight"])
    for asked in ({}, {"at": "2.weight", "sources": False}):
        walks.clear()
        assert circuit.evaluate("boolean", 0, **asked)["2.weight"].shape == (18, 3, 5)
        assert len(walks) == 1


def test_a_file_holds_them(found: list[Subnetwork], tmp_path: Path) -> None:
    write_subnetworks(tmp_path / "s.safetensors", found)
    for one, again in zip(found, read_subnetworks(tmp_path / "s.safetensors"), strict=True):
        assert one.examples == again.examples and one.overlap(again) == one.overlap(again, edges=False) == 1.0
    write_tensors(tmp_path / "other", {"kind": "tally"}, {"a": torch.zeros(1)})
    with pytest.raises(FileFormatError, match="holds no subnetworks"):
        read_subnetworks(tmp_path / "other")
    with pytest.raises(OptionError, match="no subnetwork"):
        write_subnetworks(tmp_path / "none", [])


def test_refusals(
    net: Any, data: tuple[Tensor, Tensor], found: list[Subnetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match="no weights are named"):
        subnetworks(net, data, weights=[])
    with pytest.raises(OptionError, match="leave semiring= out"):
        subnetworks(net, data, semiring="real")
    with pytest.raises(UnknownNameError, match=r"9\.weight"):
        found[0].__class__({}, {"9.weight": torch.ones(2, dtype=torch.bool)}, 1).model(net)
    with pytest.raises(OptionError, match=r"shape \[5, 4\], the subnetwork's \[2\]"):
        Subnetwork({}, {"0.weight": torch.ones(2, dtype=torch.bool)}, 1).model(net)
    with pytest.raises(OptionError, match="one call of subnetworks"):
        _ = found[0] & Subnetwork({}, {}, 1)
    with pytest.raises(OptionError, match="grain 'edge'"):
        found[0].gates(provnet.trace(net, data[0]), grain="parameter")
    monkeypatch.setattr("provnet.applications.subnetworks.LIMIT", 40)
    with pytest.raises(LimitError, match="batch_size=2") as told:
        subnetworks(net, data, batch_size=3)
    assert "0.weight" in str(told.value)
    assert subnetworks(net, data, batch_size=2)


def test_a_circuit_that_does_not_know_its_parameters_says_how_to_trace(
    net: Any, data: tuple[Tensor, Tensor], found: list[Subnetwork]
) -> None:
    with pytest.raises(OptionError, match="for it is no source of it") as told:
        found[0].gates(provnet.trace(net, data[0]), target=0)
    advice = str(told.value).split("Trace it as ")[1].rstrip(".")
    circuit = eval(advice, {"provnet": provnet, "model": net, "x": data[0]})  # what the message says
    assert found[0].gates(circuit, target=0).pruned is not None
