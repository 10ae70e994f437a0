"""Index maps, masks and padding that differ from example to example: a batch equals its examples, one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet.capture.record import record
from provnet.circuit.blocks import BlockCircuit
from provnet.circuit.examples import example_of
from provnet.circuit.spec import check_circuit
from provnet.circuit.wiring import Gather, GatherByExample
from provnet.errors import CircuitError, CrossExampleError, NonFiniteError, TraceWarning
from provnet.rules.build import build
from tests.rules.one_op import rows

D = torch.float64
torch.manual_seed(0)
Q, K, V = (nn.Linear(3, 3).to(D).requires_grad_(False) for _ in range(3))
MASK = torch.tensor([[True, True, False, False], [True, True, True, True], [True, False, False, False]])
CAUSAL = torch.ones(4, 4, dtype=torch.bool).tril()
LENGTHS = MASK.sum(1)
ORDER = torch.tensor([[0, 2, 1, 3], [3, 3, 0, 1], [1, 0, 2, 2]])


def attention(x: Tensor, mask: Tensor) -> Tensor:
    scores = Q(x) @ K(x).transpose(1, 2) / 2
    scores = scores.masked_fill(~(mask[:, None] & CAUSAL), -torch.inf)
    return (scores.softmax(-1) @ V(x)).flatten(1)


def added_mask(x: Tensor, mask: Tensor) -> Tensor:
    scores = Q(x) @ K(x).transpose(1, 2) / 2
    bias = torch.zeros(len(x), 1, 4, dtype=D).masked_fill(~mask[:, None], torch.finfo(D).min)
    return ((scores + bias).softmax(-1) @ V(x)).flatten(1)


def put(x: Tensor, order: Tensor) -> Tensor:
    y = torch.zeros(len(x), 4, 3, dtype=D)
    return V(y.index_put((torch.arange(len(x))[:, None], order), V(x))).flatten(1)


Model = Callable[[Tensor, Tensor], Tensor]
MODELS: dict[str, tuple[Model, Tensor]] = {
    "attention, masked_fill": (attention, MASK),
    "attention, a mask that is added": (added_mask, MASK),
    "where": (lambda x, m: V(torch.where(m[..., None], Q(x), K(x))).flatten(1), MASK),
    "where, with a constant": (lambda x, m: V(torch.where(m[..., None], Q(x), 1.0)).flatten(1), MASK),
    "last token by length": (lambda x, n: V(Q(x)[torch.arange(len(x)), n - 1]), LENGTHS),
    "gather": (lambda x, i: V(Q(x).gather(1, i[..., None].expand(-1, -1, 3))).flatten(1), ORDER),
    "take_along_dim": (lambda x, i: V(Q(x).take_along_dim(i[..., None], 1)).flatten(1), ORDER),
    "index with several used twice": (lambda x, i: V(Q(x)[torch.arange(len(x))[:, None], i]).flatten(1), ORDER),
    "index_put": (put, ORDER[:, :4]),
    "scatter": (
        lambda x, i: V(torch.zeros_like(x).scatter(1, i[..., None].expand(-1, -1, 3), Q(x))).flatten(1),
        ORDER,
    ),
    "sort": (lambda x, _: V(Q(x).sort(1).values).flatten(1), MASK),
    "sort, stable": (lambda x, _: V(Q(x).relu().sort(stable=True, dim=1, descending=True).values).flatten(1), MASK),
    "topk": (lambda x, _: Q(x).topk(2, 1).values.transpose(1, 2).flatten(1), MASK),
    "kthvalue": (lambda x, _: V(Q(x).kthvalue(2, 1).values), MASK),
    "median": (lambda x, _: V(Q(x).median(1, keepdim=True).values[:, 0]), MASK),
    "mode": (lambda x, _: V(Q(x).relu().mode(1).values), MASK),
    "cummax": (lambda x, _: V(Q(x).cummax(1).values).flatten(1), MASK),
    "max of what is left": (lambda x, m: V(Q(x).masked_fill(~m[..., None], -torch.inf).amax(1)), MASK),
    "mean of what is left": (
        lambda x, m: V((Q(x) * m[..., None]).sum(1) / m.sum(1, keepdim=True)),
        MASK,
    ),
}
INPUT = torch.randn(3, 4, 3, dtype=D, generator=torch.Generator().manual_seed(1))


def traced(name: str, **options: Any) -> tuple[provnet.Circuit, list[provnet.Circuit]]:
    """Return the circuit of a batch, and those of its examples."""
    model, extra = MODELS[name]
    parts = [(INPUT[n : n + 1], extra[n : n + 1]) for n in range(3)]
    whole, *single = (provnet.trace(model, *args, sources=[0], **options) for args in [(INPUT, extra), *parts])
    return whole, single


SEMIRINGS = ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"rule": "gradient"},
    {"rule": "epsilon", "products": "value", "softmax": "attnlrp"},
    {"products": "full", "softmax": "constant", "pooling": "proportional"},
    {"rule": "flat", "route": "reference"},
]


@pytest.mark.guarantee(
    "masks, lengths and indices may differ by example: a batch gives what its examples give one by one"
)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_batch_equals_its_examples(name: str, options: dict[str, Any]):
    whole, single = traced(name)
    together = whole.evaluate(SEMIRINGS, 1, **options)
    alone = [circuit.evaluate(SEMIRINGS, 1, **options) for circuit in single]
    for found, *wanted in zip(together, *alone, strict=True):
        torch.testing.assert_close(found.inputs, torch.cat([one.inputs for one in wanted]), rtol=1e-12, atol=1e-14)
        if found.semiring.name == "real":
            assert float(found.conservation().residual()) < 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_gates_of_an_example_are_those_of_its_own_circuit(name: str):
    whole, single = traced(name)
    relevance = whole.evaluate(["real", "counting"], 1)
    for n, circuit in enumerate(single):
        mine, wanted = whole.gates(1, batch=n), circuit.gates(1)
        assert (len(mine), len(mine.variables)) == (len(wanted), len(wanted.variables))
        for found in relevance:
            values = mine.evaluate(found.semiring.name).tensor
            torch.testing.assert_close(values, found.inputs[n].reshape(-1), rtol=1e-12, atol=1e-14)
        assert torch.equal(mine.evaluate("boolean").tensor, wanted.evaluate("boolean").tensor)


@pytest.mark.guarantee("real relevance under Gradient() is autograd's where wirings differ by example")
@pytest.mark.parametrize("name", MODELS)
def test_gradient_is_autograds(name: str):
    model, extra = MODELS[name]
    x = INPUT.clone().requires_grad_()
    (grad,) = torch.autograd.grad(model(x, extra)[:, 1].sum(), x)
    found = traced(name)[0].evaluate("real", 1, "gradient").inputs
    torch.testing.assert_close(found, grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_files_and_lean_circuits_keep_what_differs(name: str, tmp_path):
    whole, _ = traced(name)
    wanted = whole.evaluate(["real", "viterbi"], 1)
    provnet.save(whole, tmp_path / "circuit")
    loaded = provnet.load(tmp_path / "circuit")
    assert isinstance(loaded, provnet.Circuit)
    for circuit in (loaded, traced(name, lean=True)[0]):
        for one, other in zip(circuit.evaluate(["real", "viterbi"], 1), wanted, strict=True):
            assert torch.equal(one.inputs, other.inputs)


@pytest.mark.guarantee("a masked position is no neuron: attention has no edge from it, to it or through it")
def test_masked_positions_have_no_edges():
    whole, _ = traced("attention, masked_fill")
    for n, length in enumerate(LENGTHS.tolist()):
        gates = whole.gates(3 * 3, batch=n)  # the last token's first feature: its own query, and keys that are left
        every = gates.evaluate("boolean", valuation=torch.ones(len(gates.variables), dtype=torch.bool)).tensor
        assert every.reshape(4, 3).any(1).tolist() == [token < length or token == 3 for token in range(4)]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_routing_by_example_is_exact(data: st.DataObject):
    """Against the slow way: each example's own table, looked up entry by entry."""
    batch, size, outputs = (data.draw(st.integers(low, 4)) for low in (1, 1, 1))
    entries = st.lists(st.integers(0, size - 1), min_size=outputs, max_size=outputs)
    index = torch.tensor(data.draw(st.lists(entries, min_size=batch, max_size=batch)))
    keep = torch.tensor(
        data.draw(st.lists(st.lists(st.booleans(), min_size=outputs, max_size=outputs), min_size=batch, max_size=batch))
    )
    x = torch.randn(batch, size, dtype=D)
    circuit = build(record(lambda x: x.gather(1, index).masked_fill(~keep, 7.0), x))
    relevance = provnet.trace(lambda x: x.gather(1, index).masked_fill(~keep, 7.0), x)
    start = torch.randn(batch, outputs, dtype=D)
    found = relevance.evaluate("real", start, start="one")
    wanted = torch.zeros(batch, size, dtype=D)
    for b in range(batch):
        for k in range(outputs):
            if keep[b, k]:
                wanted[b, index[b, k]] += start[b, k]
    torch.testing.assert_close(found.inputs, wanted)
    for n in range(batch):
        alone = example_of(circuit, n)
        values = rows(alone.activations[alone.sources[0]], batch)[n]
        for block in alone.blocks:
            assert not isinstance(block.wiring, GatherByExample)
            result = rows(alone.activations[block.output], batch)[n]
            for k in range(outputs):
                source, present, _ = block.wiring.source(k, 0)
                assert result[k] == (values[source] if present else 7.0)
            values = result


def by_example(circuit: BlockCircuit) -> GatherByExample:
    return next(b.wiring for b in circuit.blocks if isinstance(b.wiring, GatherByExample))


def test_examples_that_agree_share_one_wiring():
    x = torch.randn(2, 3)
    index = torch.tensor([[0, 2], [0, 2]])
    assert isinstance(build(record(lambda x: x.gather(1, index), x)).blocks[0].wiring, Gather)


def test_a_wiring_by_example_answers_for_an_example_only():
    x = torch.randn(2, 3)
    wiring = by_example(build(record(lambda x: x.gather(1, torch.tensor([[0, 2], [2, 1]])), x)))
    assert wiring.of_example(1).source(0, 0)[0] == 2
    assert wiring.edges == 2
    with pytest.raises(TypeError, match="of one example"):
        wiring.source(0, 0)


@pytest.mark.guarantee("a file whose wiring differs by example is checked for each example")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index + 2, "leaves the range"),
        (lambda index: index[:1], "of 2 examples"),
        (lambda index: index[:, :1], "wants"),
        (lambda index: index.astype("int32"), "int32"),
        (lambda index: index[0], "wants"),
    ],
)
def test_malformed_tables_are_refused(change: Callable[[Any], Any], message: str):
    x = torch.randn(2, 3)
    circuit = build(record(lambda x: x.gather(1, torch.tensor([[0, 2], [2, 1]])), x))
    check_circuit(circuit)
    object.__setattr__(by_example(circuit), "index", change(by_example(circuit).index))
    with pytest.raises(CircuitError, match=message):
        check_circuit(circuit)


@pytest.mark.guarantee("a sort, a top-k or a median over the examples' axis is refused")
@pytest.mark.parametrize("function", [lambda x: x.sort(0).values, lambda x: x.topk(2, 0).values, lambda x: x.median()])
def test_choosing_among_examples_is_refused(function: Callable[[Tensor], Tensor]):
    with pytest.raises(CrossExampleError):
        build(record(function, torch.randn(3, 4)))


EMPTY = torch.tensor([[True, True, False, False], [False, False, False, False]])


def row_softmax(x: Tensor) -> Tensor:
    return x.masked_fill(~EMPTY, -torch.inf).softmax(1)


ROWS: list[Callable[[Tensor], Tensor]] = [
    row_softmax,
    lambda x: row_softmax(x).nan_to_num(0.0),
    lambda x: x.masked_fill(~EMPTY, -torch.inf).log_softmax(1).exp().masked_fill(~EMPTY, 0.0),
    lambda x: (x + torch.zeros_like(x).masked_fill(~EMPTY, -torch.inf)).softmax(1).masked_fill(~EMPTY, 0.0),
]


@pytest.mark.guarantee("a softmax over scores that are all masked is refused by its name, whatever hides the NaN")
@pytest.mark.parametrize("model", ROWS)
def test_rows_that_are_all_masked_are_refused(model: Callable[[Tensor], Tensor]):
    x = torch.randn(2, 4, dtype=D)
    with pytest.raises(NonFiniteError, match=r"softmax.*in the model itself.* 1 rows .*all masked"):
        provnet.trace(model, x)


def test_the_ways_out_of_a_masked_row_are_taken():
    x = torch.randn(2, 4, dtype=D)
    least = torch.finfo(D).min
    for model in (
        lambda x: x.masked_fill(~EMPTY, least).softmax(1),
        lambda x: x.masked_fill(~(EMPTY | torch.eye(2, 4, dtype=torch.bool)), -torch.inf).softmax(1),
        lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], EMPTY[:, :1, None])[:, 0],
    ):
        assert provnet.trace(model, x).evaluate("real", 0).conservation().residual() == 0
    assert provnet.trace(lambda x: x.masked_fill(~EMPTY[: len(x)], -torch.inf).softmax(1), x[:1]) is not None


PADDED = torch.tensor([[False, True, True], [True, True, True]])


def attended(x: Tensor, mask: Tensor) -> Tensor:
    """Fused attention among rows that come before, of which `mask` hides some; the last row's result."""
    seen = mask[: len(x), None, :] & torch.ones(3, 3, dtype=torch.bool).tril()
    return (F.scaled_dot_product_attention(x, x.sin(), x, attn_mask=seen) + x)[:, -1]


@pytest.mark.guarantee(
    "queries on padding, all masked, are zeros that nothing feeds: batch = one by one, without padding"
)
def test_queries_on_padding_are_harmless():
    """Padding on the left: the first query of the first example sees nothing."""
    x = torch.randn(2, 3, 2, dtype=D)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        circuit = provnet.trace(lambda x: attended(x, PADDED), x)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(attended(leaf, PADDED)[:, 0].sum(), leaf)
    torch.testing.assert_close(circuit.evaluate("real", 0, "gradient").inputs, slope)
    short = provnet.trace(_short, x[:1, 1:])
    for semiring in ("real", "viterbi", "boolean", "counting"):
        found = circuit.evaluate(semiring, 0).inputs
        assert not found[0, 0].any()
        torch.testing.assert_close(found[:1, 1:], short.evaluate(semiring, 0).inputs)


def _short(x: Tensor) -> Tensor:
    return (F.scaled_dot_product_attention(x, x.sin(), x, is_causal=True) + x)[:, -1]


@pytest.mark.guarantee(
    "an example that fused attention masks altogether is said, and its relevance is undefined, not lost"
)
def test_an_example_that_is_masked_altogether_is_said():
    x = torch.randn(2, 3, 2, dtype=D)
    mask = torch.tensor([[True, True, True], [False, False, False]])

    def model(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, attn_mask=mask[: len(x), None, :].expand(-1, 3, -1))

    with pytest.warns(TraceWarning, match="masked altogether for some example"):
        circuit = provnet.trace(model, x)
    found = circuit.evaluate("real", (1, 0))
    assert found.inputs[0].any() and not found.inputs[1].any()
    assert found.conservation().named["undefined"].tolist() == [0.0, 1.0]
