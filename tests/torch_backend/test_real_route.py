"""The real route's shortcuts against the definition: fused weights in two factors, pieces of dense layers, branches
that nobody asks for, denominators that are never kept, memory that is used again."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet import rules
from provnet.circuit.deferred import raw
from provnet.circuit.weights import Stored
from provnet.circuit.wiring import dense
from provnet.rules.fusion import Scaled
from provnet.rules.lrp.base import shifted
from provnet.rules.lrp.factors import negative, positive
from provnet.torch_backend.blocks import linear_maps
from provnet.torch_backend.blocks.scratch import LARGEST, Scratch
from tests.nets import seeded

RULES = ["zero", rules.Epsilon(1e-2), rules.Gamma(0.25), rules.Gamma(0.5, signed=True, stabilizer=1e-3)]
RULES += [rules.AlphaBeta(2, 1), rules.ZPlus(), rules.WSquare(), rules.Flat(), rules.Epsilon(1e-2, rms=0.1)]


def fused_net() -> nn.Module:
    """Convolutions and a dense layer with batch norms behind them, statistics and scales of both signs."""
    net = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1, groups=2),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(6, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Linear(16, 7),
            nn.BatchNorm1d(7),
            nn.ReLU(),
            nn.Linear(7, 3),
        )
    ).double()
    generator = torch.Generator().manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                assert isinstance(tensor, Tensor)
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return net


X = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.guarantee("fused weights, which the real route takes in two factors, give what their product gives")
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_fused_weights_equal_the_definition(rule):
    circuit = provnet.trace(fused_net(), X)
    fast, slow = (circuit.evaluate("real", 1, rule, route=route) for route in ("transpose", "reference"))
    assert "transpose" in [step.route for step in fast.plan]
    torch.testing.assert_close(fast.inputs, slow.inputs, rtol=1e-9, atol=1e-12)
    for path, total in slow.bias.items():
        torch.testing.assert_close(fast.bias[path], total, rtol=1e-9, atol=1e-12)
    for path, total in slow.sinks.items():
        torch.testing.assert_close(fast.sinks[path], total, rtol=1e-8, atol=1e-10)


def test_fused_weights_are_not_made_where_the_factors_do():
    circuit = provnet.trace(fused_net(), X)
    stored = [block.weight for block in circuit.session.data.blocks if isinstance(block.weight, Stored)]
    fused = [weight for weight in stored if isinstance(raw(weight, "values"), Scaled)]
    assert len(fused) == 3
    circuit.evaluate("real", 1, rules.Epsilon(1e-6))
    circuit.evaluate("real", 1, rules.Gamma(0.25))
    assert not any("value" in vars(raw(weight, "values")) for weight in fused)
    circuit.evaluate("viterbi", 1)
    assert any("value" in vars(raw(weight, "values")) for weight in fused)


def test_a_saved_circuit_rounds_as_the_one_in_memory(tmp_path):
    circuit = provnet.trace(fused_net().float(), X.float())
    provnet.save(circuit, tmp_path / "fused.pv")
    loaded = provnet.load(tmp_path / "fused.pv")
    assert isinstance(loaded, provnet.Circuit)
    for rule in RULES:
        assert torch.equal(circuit.evaluate("real", 1, rule).inputs, loaded.evaluate("real", 1, rule).inputs)


@given(st.integers(1, 4), st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 0.9, 1.0]))
def test_a_large_dense_layer_goes_by_pieces(rows: int, seed: int, off: float):
    """Pieces of three rows, and rows that no share uses, against one product."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(11, 7, generator=generator, dtype=torch.float64)
    a = torch.randn(2, rows * 7, generator=generator, dtype=torch.float64)
    s = torch.randn(2, rows * 11, generator=generator, dtype=torch.float64)
    s = s * (torch.rand(2, 11, generator=generator) >= off).repeat(1, rows)
    b = torch.randn(11, generator=generator, dtype=torch.float64)
    wiring = dense(rows, 7, 11)
    before, linear_maps.PIECE = linear_maps.PIECE, 21
    try:
        for g in (None, positive, torch.square):
            mapped = w if g is None else g(w)
            z = linear_maps.apply(wiring, a, w.reshape(-1), b, g)
            r = linear_maps.transpose(wiring, s, w.reshape(-1), g)
            torch.testing.assert_close(z, (a.reshape(-1, 7) @ mapped.T + b).reshape(2, -1))
            torch.testing.assert_close(r, (s.reshape(-1, 11) @ mapped).reshape(2, -1))
    finally:
        linear_maps.PIECE = before


@given(st.lists(st.sampled_from([0.0, -0.0, 1.5, -1.5, 1e-30, -1e-30, 3e38]), min_size=1), st.sampled_from([0.0, 1e-6]))
def test_stabilising_is_the_definition_to_the_bit(values: list[float], epsilon: float):
    z = torch.tensor(values)
    assert torch.equal(shifted(z, epsilon), torch.where(z < 0, z - epsilon, z + epsilon))


def test_signed_parts_of_a_layer():
    """Behind a ReLU the positive part is the layer itself, and the negative part takes no memory."""
    a, both = torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([[-1.0, 2.0]])
    assert positive(a, (2,)) is a and not negative(a, (2,)).any() and negative(a, (2,)).shape == a.shape
    assert positive(both, (2,)).tolist() == [[0.0, 2.0]] and negative(both, (2,)).tolist() == [[-1.0, 0.0]]
    assert positive(a) is not a  # weights are not looked at


def test_denominators_that_nobody_asks_for_are_not_made():
    """Plain ε needs none of its own, and the signed rule's branch for z < 0 none behind a ReLU."""
    net = seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))
    circuit = provnet.trace(net, torch.rand(2, 5).double())
    workspace = circuit.session.workspace(torch.float64)
    for rule, made in ((rules.Epsilon(1e-6), set()), (rules.Gamma(0.25, signed=True), {0})):
        circuit.evaluate("real", 0, rule)
        held = raw(workspace.prepared(0, rule), "z")
        assert set(held._sums.made) == made
        assert len(held.value) == len(rule.branches)


def test_scratch_memory_is_used_again_and_never_too_large():
    scratch, like = Scratch(), torch.empty(0)
    first = scratch.take((3, 4), like, "share")
    assert scratch.take((2, 5), like, "share").data_ptr() == first.data_ptr()
    assert scratch.take((3, 4), like, "weights").data_ptr() != first.data_ptr()
    large = scratch.take((LARGEST // 4 + 1,), like, "share")
    assert scratch.take((3,), like, "share").data_ptr() == first.data_ptr() != large.data_ptr()


def test_two_jobs_of_one_walk_do_not_share_scratch():
    net = seeded(lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)))
    circuit = provnet.trace(net, torch.rand(2, 1, 6, 6).double())
    both = circuit.evaluate("real", provnet.Targets(0, 3), "epsilon")
    for target, found in zip((0, 3), both.inputs, strict=True):
        torch.testing.assert_close(found, circuit.evaluate("real", target, "epsilon").inputs, rtol=0, atol=0)


def test_a_deleted_circuit_frees_its_activations_at_once():
    """Without cycles the collector has nothing to find late: VGG-16's activations are 100 MB an image."""
    net = seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4))
    )
    gc.collect()
    gc.disable()
    try:
        circuit = provnet.trace(net, torch.rand(2, 1, 6, 6).double())
        result = circuit.evaluate("real", 0, rules.AlphaBeta(2, 1))
        held = [weakref.ref(one.handle) for one in circuit.session.data.activations.values()]
        del circuit, result
        assert not any(one() is not None for one in held)
    finally:
        gc.enable()
