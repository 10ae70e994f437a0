"""Explicit gates are the polynomials of [GSM25] eq. 3, on every kind of block, and their number is known beforehand."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from provnet.circuit import windowed, wiring
from provnet.circuit.blocks import Activation, Block, BlockCircuit, Operand
from provnet.circuit.cone import find_cone
from provnet.circuit.counts import count_terms
from provnet.circuit.expand import expand
from provnet.circuit.fold import fold
from provnet.circuit.gate_check import check
from provnet.circuit.gates import Neuron
from provnet.circuit.hash_cons import hash_cons
from provnet.circuit.variables import names_of, numbers_of
from provnet.circuit.weights import Ones, Stored
from provnet.errors import LimitError, OptionError, TargetError
from tests.gate_circuits import (
    Net,
    Network,
    convolutional,
    fold_polynomials,
    path_polynomials,
    perceptron,
    residual,
)

NETS = {"perceptron": lambda: perceptron(3, 4, 3, 2), "convolutional": convolutional, "residual": residual}


def by_key(variable):
    """The edge of a variable: (block, output, slot)."""
    return variable.key


@pytest.mark.guarantee("the explicit circuit of the MNIST perceptron 784-300-100-10 has 531,785 gates for one target")
def test_the_mnist_perceptron_has_531_785_gates():
    circuit = perceptron(784, 300, 100, 10).circuit()
    with pytest.raises(LimitError, match=re.escape("531,785 gates (265,300 variables, 265,300 ⊗")):
        expand(circuit, 3, limit=531_784)
    store = expand(circuit, 3, limit=531_785)
    # Elided: x ⊗ 1 into the target's 100 inputs, the ⊕ of these with one term each, and the target's own.
    assert len(store) == 531_785 - 100 - 101
    assert np.bincount(store.kind).tolist() == [0, 0, 265_300, 300 + 784, 265_200]
    assert count_terms(store) == (30_000,) * 784


@pytest.mark.guarantee(
    "gates are one monomial a path, on dense, convolution, pooling, residual, concatenation and reuse"
)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("targets", [[1], [0, 1]])
def test_relevance_is_one_monomial_a_path(name, targets):
    net = NETS[name]()
    store = check(expand(net.circuit(), targets))
    relevance = path_polynomials(net, set(targets), lambda *edge: edge)
    found = fold_polynomials(store, fold, by_key)
    assert list(found) == [relevance(0, i) for i in range(len(store.roots))]
    assert [v.key for v in store.variables] == sorted(v.key for v in store.variables)
    assert len(set(names_of(store.variables))) == len(store.variables)
    assert len(hash_cons(store)) == len(store), "edge grain has nothing to merge"


@pytest.mark.parametrize("name", NETS)
def test_hidden_neurons_are_roots_and_only_their_cone_is_made(name):
    net = NETS[name]()
    circuit = net.circuit()
    relevance = path_polynomials(net, {0}, lambda *edge: edge)
    for value in range(1, len(net.edges.layers)):
        neuron = net.edges.size(value) - 1
        store = expand(circuit, 0, roots=[(value, [neuron])])
        assert fold_polynomials(store, fold, by_key) == (relevance(value, neuron),)
        met = {edge for monomial in relevance(value, neuron) for edge in monomial}
        assert {v.key for v in store.variables} == met


@pytest.mark.parametrize("name", NETS)
def test_the_size_that_is_announced_is_the_size_before_elision(name):
    """Counted again from the polynomials: the edges and neurons that occur on some path."""
    net = NETS[name]()
    circuit, network = net.circuit(), net.edges
    relevance = path_polynomials(net, {1}, lambda *edge: edge)
    edges, neurons = set(), 1
    for value in range(len(network.layers)):
        for neuron in range(network.size(value)):
            edges |= {edge for monomial in relevance(value, neuron) for edge in monomial}
    live = [{j for j in range(network.size(v)) if relevance(v, j)} for v in range(len(network.shapes))]
    for value in range(len(network.layers)):
        terms = dict.fromkeys(live[value], 0)
        for number, layer in enumerate(network.layers):
            starts = np.cumsum([0, *(network.size(i) for i in layer.inputs)])
            for (k, _), source in np.ndenumerate(layer.source):
                at = int(np.searchsorted(starts, source, side="right")) - 1 if source >= 0 else -1
                if at >= 0 and layer.inputs[at] == value and k in live[number + 1]:
                    terms[int(source - starts[at])] += 1 if layer.kind == "pass" else 2
        neurons += sum(count > 1 for count in terms.values())
    # Every edge of a live neuron occurs in a polynomial, for every input of these networks reaches the target.
    size = 2 * len(edges) + neurons
    with pytest.raises(LimitError, match=f"{size:,} gates"):
        expand(circuit, 1, limit=size - 1)
    assert len(expand(circuit, 1, limit=size)) <= size


@pytest.mark.guarantee("gates above the limit are refused with the exact count")
def test_the_limit_counts_more_edges_than_it_lists():
    """VGG's size, position by position: no edge list would fit."""
    shape = (64, 224, 224)
    wires = windowed.convolution(64, 64, 1, (224, 224), (224, 224), (3, 3), (1, 1), (1, 1), (1, 1))
    last = wiring.dense(1, wires.outputs, 1)
    blocks = (
        Block("conv", "conv", "", "affine", "linear", (Operand(0, wires),), 1),
        Block("fc", "fc", "", "affine", "linear", (Operand(1, last),), 2),
    )
    activations = {
        i: Activation(i, (n,), s, None) for i, (n, s) in enumerate([("x", shape), ("c", shape), ("z", (1,))])
    }
    circuit = BlockCircuit("vgg", 1, activations, blocks, (0,), (2,), {"x": 0, "c": 1, "z": 2})
    inside = (3 * 224 - 2) ** 2
    edges = 64 * 64 * inside + wires.outputs
    with pytest.raises(LimitError, match=f"{2 * edges + 2 * wires.outputs + 1:,} gates"):
        expand(circuit, 0)


def test_winners_alone_are_edges_of_a_max_pooling():
    net = convolutional()
    number = next(i for i, block in enumerate(net.blocks) if block.kind == "selection")

    def wins(layer: int, output: int, slot: int) -> bool:
        return layer != number or slot == (output * 7) % 4

    def chosen(block: int, outputs: np.ndarray):
        return (np.arange(4) == (outputs[:, None] * 7) % 4) if block == number else None

    store = expand(net.circuit(), 2, chosen=chosen)
    relevance = path_polynomials(net, {2}, lambda *edge: edge, wins)
    assert list(fold_polynomials(store, fold, by_key)) == [relevance(0, i) for i in range(len(store.roots))]


def test_what_no_path_reaches_is_zero_and_the_target_itself_is_one():
    net = Net(Network((4,)))
    net.edges.unit((0,), np.array([1, 1]), (2,))
    net.add("pick", "index", "none", (0,), wiring.Gather(4, 2, index=np.array([1, 1])))
    net.dense("fc", 1, 2)
    circuit = net.circuit()
    store = expand(circuit, 0, roots=[(0, None), (2, None), (1, [0])])
    assert fold(store, *_naturals(), lambda v: 1) == (0, 2, 0, 0, 1, 0, 1)
    assert [str(root) for root in store.roots[-3:]] == ["fc[0]", "fc[1]", "pick[0]"]


def _naturals():
    return (lambda a, b: a + b), (lambda a, b: a * b), 0, 1


def test_targets_joined_by_unit_edges_alone_sum_ones():
    net = Net(Network((2,)))
    net.concatenate("cat", 0, 0)
    store = expand(net.circuit(), [0, 1, 2, 3])
    assert fold(store, *_naturals(), lambda v: 1) == (2, 2)
    assert len(store) == 2, "1 ⊕ 1 is one gate"


def test_names_say_which_edge():
    assert names_of(expand(perceptron(2, 2, 2).circuit(), 1).variables)[:3] == ("fc1[0<-0]", "fc1[0<-1]", "fc1[1<-0]")
    store = expand(convolutional().circuit(), 1, biases=True)
    assert {"conv1[0,1,2<-0,1,3]", "conv1[3,1,2<-bias]", "fc[1<-bias]"} <= set(names_of(store.variables))
    names = names_of(expand(residual().circuit(), 1).variables)
    assert {"add[0<-relu[0]]", "add[0<-x[0]]", "twice[1<-0:add[1]]", "twice[1<-1:add[1]]"} <= set(names)
    variable = store.variables[numbers_of(store.variables)["conv1[0,1,2<-0,1,3]"]]
    assert (variable.target, variable.source) == (Neuron("conv1", (0, 1, 2)), Neuron("x", (0, 1, 3)))


@pytest.mark.parametrize("grain", ["edge", "parameter", "channel", "block", "source"])
def test_names_made_at_once_are_those_of_the_variables(grain):
    for net in (perceptron(2, 3, 2, bias=True), convolutional(), residual()):
        table = expand(net.circuit(), [0, 1], grain=grain, biases=grain == "edge").variables
        assert list(names_of(table)) == [variable.name for variable in table]


def test_blocks_of_one_path_keep_their_variables_apart():
    net = perceptron(2, 2, 2)
    net.blocks = [replace(block, path="fc") for block in net.blocks]
    names = names_of(expand(net.circuit(), 0).variables)
    assert len(set(names)) == len(names)


def test_biases_are_roots_with_a_message_of_their_own():
    net = perceptron(2, 3, 2, bias=True)
    store = expand(net.circuit(), 1, biases=True)
    assert [str(root) for root in store.roots[2:]] == [
        *(f"fc1:bias[{i}]" for i in range(3)),
        "fc2:bias[0]",
        "fc2:bias[1]",
    ]
    found = dict(zip(map(str, store.roots), fold_polynomials(store, fold, lambda v: v.name), strict=True))
    assert found["fc2:bias[1]"] == {("fc2[1<-bias]",): 1}
    assert not found["fc2:bias[0]"]
    assert found["fc1:bias[2]"] == {("fc1[2<-bias]", "fc2[1<-2]"): 1}
    # 6 + 3 edges and 3 + 1 bias edges, twice; neurons: the target, 3, 2; bias entries 3 + 1.
    with pytest.raises(LimitError, match="36 gates"):
        expand(net.circuit(), 1, biases=True, limit=35)
    with pytest.raises(LimitError, match="24 gates"):
        expand(net.circuit(), 1, limit=23)


def test_biases_get_their_messages_whatever_the_roots():
    """One pixel feeds few of the places that a convolution's bias feeds."""
    circuit = convolutional().circuit()
    everything, one = expand(circuit, 0, biases=True), expand(circuit, 0, biases=True, roots=[(0, [0])])
    values = [fold_polynomials(store, fold, by_key) for store in (everything, one)]
    keys = [variable.key for variable in everything.variables]
    assert keys == sorted(keys), "the bias is the last slot of its neuron"
    assert everything.roots[40:] == one.roots[1:]
    assert values[0][40:] == values[1][1:]


def test_terms_stand_in_the_order_block_output_slot():
    store = expand(residual().circuit(), 0)
    terms = [int(store.operands_of(int(g))[0]) for g in store.operands_of(int(store.root_gates[1]))]
    names = [store.variables[int(store.variable[gate])].name for gate in terms]
    assert names == ["fc1[0<-1]", "fc1[1<-1]", "fc1[2<-1]", "add[1<-x[1]]"]


def test_the_bias_of_a_convolution_sums_over_its_places():
    net = convolutional()
    store = expand(net.circuit(), 0, biases=True)
    sums = fold(store, *_naturals(), lambda v: 1)
    assert sums[-3 - 4 : -3] == sums[40:44]  # conv1's four entries stand before fc's three; conv2 has none
    relevance = path_polynomials(net, {0}, lambda *edge: edge)
    area = net.edges.size(1) // 4
    for channel in range(4):
        assert sums[40 + channel] == sum(relevance(1, channel * area + i).total() for i in range(area))


def test_unit_edges_become_variables_on_request():
    store = expand(perceptron(2, 2, 2).circuit(), 0, units=True)
    assert "relu1[1<-1]" in names_of(store.variables)
    assert fold_polynomials(store, fold, lambda v: v.name)[0] == {
        ("fc1[0<-0]", "fc2[0<-0]", "relu1[0<-0]"): 1,
        ("fc1[1<-0]", "fc2[0<-1]", "relu1[1<-1]"): 1,
    }


# --- grains -----------------------------------------------------------------------------------------------------------


def tied(length: int = 7, times: int = 3) -> BlockCircuit:
    """A convolution of three taps, applied three times with the same weights."""
    weight = object()
    wires = windowed.convolution(1, 1, 1, (length,), (length,), (3,), (1,), (1,), (1,))
    blocks = tuple(
        Block(f"conv#{i}", "conv", "", "affine", "linear", (Operand(i, wires, Stored(weight)),), i + 1)
        for i in range(times)
    )
    activations = {i: Activation(i, (f"a{i}",), (1, length), None) for i in range(times + 1)}
    return BlockCircuit("tied", 1, activations, blocks, (0,), (times,), {f"a{i}": i for i in range(times + 1)})


def test_tied_weights_show_as_repeated_factors():
    """6·w0·w1·w2 + w1³ (semirings.md: variables decide what a theorist sees)."""
    store = expand(tied(), 3, grain="parameter", roots=[(0, [3])])
    w0, w1, w2 = "w conv#0[0]", "w conv#0[1]", "w conv#0[2]"
    assert names_of(store.variables) == (w0, w1, w2)
    assert fold_polynomials(store, fold, lambda v: v.name) == ({(w0, w1, w2): 6, (w1, w1, w1): 1},)


@pytest.mark.guarantee("a coarser grain gives the polynomial of the finer one with its variables renamed")
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("grain", ["parameter", "channel", "block", "source"])
def test_coarsening_is_a_homomorphism_of_polynomials(name, grain):
    net = NETS[name]()
    circuit = net.circuit()
    coarse = expand(circuit, 1, grain=grain)
    assert len(set(names_of(coarse.variables))) == len(coarse.variables)

    def renamed(layer: int, k: int, s: int):
        block, source = net.blocks[layer], int(net.edges.layers[layer].source[k, s])
        label = block.path
        if grain == "block":
            return label
        if grain == "source":
            fed = _from_source(net, layer, source)
            return _neuron_name(net, fed[0]) if fed else None
        found, places = source, [net.edges.shapes[i] for i in block.inputs]
        number = 0
        while found >= np.prod(places[number]):
            found, number = found - int(np.prod(places[number])), number + 1
        out, into = np.unravel_index(k, net.edges.shapes[layer + 1]), np.unravel_index(found, places[number])
        if grain == "channel":
            which = f"{number}:" if len(places) > 1 else ""
            return f"ch {label}[{out[0]}<-{which}{into[0]}]"
        if isinstance(block.weight, Ones):  # parameterless: as on grain edge
            return next(v.name for v in expand(circuit, 1).variables if v.key == (layer, k, s))
        return f"w {label}[{int(block.wiring.source(k, s)[2])}]"

    relevance = path_polynomials(net, {1}, renamed)
    found = fold_polynomials(coarse, fold, lambda v: v.name)
    assert list(found) == [relevance(0, i) for i in range(len(coarse.roots))]


def _from_source(net: Net, layer: int, source: int) -> list[int]:
    """Return [element] if the edge's input neuron is an element of x seen through unit edges, else []."""
    for value in net.blocks[layer].inputs:
        if source < net.edges.size(value):
            if value == 0:
                return [source]
            before = net.edges.layers[value - 1]
            return _from_source(net, value - 1, int(before.source[source, 0])) if before.kind == "pass" else []
        source -= net.edges.size(value)
    raise AssertionError


def _neuron_name(net: Net, element: int) -> str:
    return f"x[{','.join(map(str, np.unravel_index(element, net.edges.shapes[0])))}]"


@pytest.mark.parametrize("grain", ["parameter", "block", "source"])
def test_a_coarser_grain_is_refused_above_its_limit_too(grain):
    with pytest.raises(LimitError, match="more than"):
        expand(perceptron(30, 20, 10).circuit(), 0, grain=grain, limit=100)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [-1, 2, [], [0, 5]])
def test_targets_outside_the_output_are_refused(target):
    with pytest.raises(TargetError, match="from 0 to 1"):
        expand(perceptron(2, 2).circuit(), target)


def test_an_unknown_grain_and_an_ambiguous_output_are_refused():
    with pytest.raises(OptionError, match=r"'edges'.*'parameter'"):
        expand(perceptron(2, 2).circuit(), 0, grain="edges")
    circuit = perceptron(2, 2).circuit()
    two = BlockCircuit(**{**vars(circuit), "outputs": (0, 1)})
    with pytest.raises(OptionError, match="output="):
        expand(two, 0)


def test_the_cone_of_a_target_that_no_root_feeds_is_empty():
    net = perceptron(2, 2)
    cone = find_cone(net.circuit(), 1, np.array([0]), [(1, np.array([1]))], None, False, False)
    assert cone.neurons == 0
    assert not cone.edges
