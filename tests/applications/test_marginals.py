"""Marginals on blocks are those on gates: of edges, neurons and shared parameters."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import provnet
from provnet.applications.marginals import Marginals, relevant_parameters
from provnet.circuit.variables import EdgeSegment, VariableTable
from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from provnet.semirings.annotations import Threshold
from tests.nets import Residual, perceptron, seeded, small_cnn

EXACT = {"boolean", "bottleneck", "counting"}
MODELS = {
    "mlp": (lambda: perceptron(4, 5, 4, 3), (2, 4)),
    "residual": (Residual, (2, 2, 6, 6)),
    "cnn": (lambda: small_cnn(8), (2, 1, 8, 8)),
}


def traced(name: str) -> provnet.Circuit:
    make, shape = MODELS[name]
    x = torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return provnet.trace(seeded(make, 1), x)


@pytest.mark.parametrize("semiring", ["real", "boolean", "counting", "viterbi", "bottleneck", "tropical"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.guarantee("marginals on blocks are those on gates, edge by edge")
def test_blocks_and_gates_agree(model, semiring):
    circuit = traced(model)
    theta = Threshold(0.02) if semiring in ("boolean", "counting") else None
    gates = circuit.gates(target=1, batch=1)
    wanted = gates.marginals(semiring, annotation=theta)
    found = Marginals(circuit.evaluate(semiring, target=1, annotation=theta))
    table, start = gates.variables, 0
    assert isinstance(table, VariableTable)
    for segment in table.segments:
        assert isinstance(segment, EdgeSegment)
        block = circuit.session.data.blocks[segment.block]
        edges = found.edges(block.path)[1]
        same = edges[segment.output, segment.slot].to(torch.float64)
        gate = wanted.tensor[start : start + len(segment)].to(torch.float64)
        assert torch.allclose(same, gate, rtol=0 if semiring in EXACT else 1e-9, atol=0 if semiring in EXACT else 1e-12)
        rest = edges.clone()
        rest[segment.output, segment.slot] = found.semiring.zero
        assert bool((rest == found.semiring.zero).all()), "edges beside the gates' have no path"
        start += len(segment)


def test_what_crosses_a_layer_is_the_whole():
    circuit = traced("mlp")
    relevance = circuit.evaluate("real", target=2)
    found = Marginals(relevance)
    whole = relevance.inputs.sum(1)
    for path in ("0", "2", "4"):
        assert torch.allclose(found.edges(path).sum((1, 2)), whole, rtol=1e-9)
        assert torch.allclose(found.neurons(f"{path}:in").sum(1), whole, rtol=1e-9)
    assert torch.allclose(found.neurons("input"), relevance.inputs)


def test_a_shared_weight_gathers_its_edges():
    """The marginal of a convolution's weight is that of its variable on grain `parameter`, where no path repeats it."""
    circuit = traced("cnn")
    gates = circuit.gates(target=0, grain="parameter", batch=0)
    edges = circuit.gates(target=0, batch=0)
    everything = Threshold(-1e300)
    real = edges.marginals("counting", annotation=everything)
    by_weight = {v.name: 0 for v in gates.variables}
    for variable, count in zip(edges.variables, real.tensor.tolist(), strict=True):
        block = next(b for b in circuit.session.data.blocks if b.path == variable.path)
        if block.role == "linear":
            _, output, slot = variable.key
            by_weight[f"w {variable.path}[{block.wiring.source(output, slot)[2]}]"] += count
    found = Marginals(circuit.evaluate("counting", target=0, annotation=everything))
    for path in ("4", "9"):
        for index, count in enumerate(found.parameters(path)[0].reshape(-1).tolist()):
            assert count == by_weight.get(f"w {path}[{index}]", 0)


@pytest.mark.guarantee("a weight that no relevant path uses can be pruned without loss of a path")
def test_pruned_weights_take_no_path_away():
    circuit = traced("mlp")
    theta = Threshold(0.05, absolute=True)
    relevance = circuit.evaluate("boolean", target=1, annotation=theta)
    masks = relevant_parameters(relevance)
    assert {path: tuple(mask.shape) for path, mask in masks.items()} == {"0": (5, 4), "2": (4, 5), "4": (3, 4)}
    assert 0 < sum(int(mask.sum()) for mask in masks.values()) < 5 * 4 + 4 * 5 + 3 * 4
    for batch in range(2):
        gates = circuit.gates(target=1, batch=batch)
        values = gates.valuation("boolean", annotation=theta)
        kept = [bool(masks[v.path][v.key[1], v.key[2]]) for v in gates.variables]  # key: block, output, slot
        assert torch.equal(gates.evaluate("boolean", values & torch.tensor(kept)).tensor, relevance.inputs[batch])


def test_other_questions_are_refused():
    circuit = traced("residual")
    found = Marginals(circuit.evaluate("real", target=1), limit=100)
    with pytest.raises(LimitError, match="limit=100"):
        found.edges("first")
    with pytest.raises(UnsupportedOperationError, match="unit edges"):
        found.edges("relu_1")
    with pytest.raises(OptionError, match="one target"):
        Marginals(circuit.evaluate("real", target=provnet.Targets(0, 1)))


class Padded(nn.Module):
    """A padding written out, then a convolution: what was filled in is no neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (2, 2))).flatten(1)


def test_what_was_filled_in_starts_no_path():
    circuit = provnet.trace(seeded(Padded), torch.rand(1, 1, 4, dtype=torch.float64))
    found = Marginals(circuit.evaluate("counting", target=3, annotation=Threshold(-1e300)))
    (pad,) = (block for block in circuit.session.data.blocks if block.kind == "index" and "pad" in block.op)
    assert found._forward[pad.output].tolist() == [[0, 0, 1, 1, 1, 1, 0, 0]]
    assert found.edges("conv").sum() == found._evaluation.relevance[circuit.session.data.sources[0]].sum()
