"""Evaluation against the model's own forward pass, in one run. `python -m tests.benchmarks.bench_evaluate
[mlp|vgg|gates]`.

mlp    MNIST perceptron, batch 1: each of six semirings, times a forward pass (target: at most 40)
vgg    VGG-16 with random weights, 224 x 224: the same (target: at most 300), and memory above model and activations
gates  the 531,785-gate DAG of the perceptron as arrays, and as networkx builds it (target: at most 1/5)
"""

from __future__ import annotations

import gc
import sys

import networkx as nx
import torch

import provnet
from provnet.semirings.counting import Counting
from tests.benchmarks.clock import Peak, interleaved, report
from tests.nets import perceptron, vgg16

SIX = ("real", "boolean", "counting", "viterbi", "tropical", "bottleneck")


def mlp(rounds: int = 101) -> None:
    torch.manual_seed(0)
    model, x = perceptron(784, 300, 100, 10), torch.rand(1, 784) * (torch.rand(1, 784) > 0.8)
    circuit = provnet.trace(model, x)
    ways = {"forward": lambda: model(x), "trace": lambda: provnet.trace(model, x)}
    ways |= {name: lambda name=name: circuit.evaluate(name, target=3) for name in SIX}
    with torch.no_grad():
        taken = interleaved(ways, rounds, warm=5)
    for name in ("trace", *SIX):
        report("mlp, batch 1", way=name, ms=taken[name] * 1e3, times_forward=taken[name] / taken["forward"])


def vgg() -> None:
    torch.manual_seed(0)
    model, x = vgg16(), torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        forward = interleaved({"forward": lambda: model(x)}, 5)["forward"]
    circuit = provnet.trace(model, x)
    for name in SIX:
        semiring = Counting("float64") if name == "counting" else name  # more than 2^63 paths
        gc.collect()
        with Peak() as peak:
            taken = interleaved({name: lambda s=semiring: circuit.evaluate(s, target=3)}, 1, warm=0)[name]
        report("VGG-16, batch 1", way=name, s=taken, times_forward=taken / forward, extra_mb=peak.bytes / 1e6)


def gates(rounds: int = 5) -> None:
    torch.manual_seed(0)
    model, x = perceptron(784, 300, 100, 10), torch.rand(1, 784)
    circuit = provnet.trace(model, x)
    store = circuit.gates(target=3).store

    def by_networkx() -> nx.MultiDiGraph:
        """The same DAG, gate by gate, as a user of networkx would build it from the wires."""
        graph = nx.MultiDiGraph()
        kind, first, operands = store.kind.tolist(), store.first.tolist(), store.operands.tolist()
        for gate in range(len(kind)):
            graph.add_node(gate, kind=kind[gate])
            for operand in operands[first[gate] : first[gate + 1]]:
                graph.add_edge(operand, gate)
        return graph

    taken = interleaved({"arrays": lambda: circuit.gates(target=3), "networkx": by_networkx}, rounds)
    report(
        "gates of the perceptron",
        gates=len(store),
        wires=store.wires,
        arrays_ms=taken["arrays"] * 1e3,
        networkx_ms=taken["networkx"] * 1e3,
        ratio=taken["arrays"] / taken["networkx"],
    )


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ["mlp", "gates", "vgg"]:
        {"mlp": mlp, "vgg": vgg, "gates": gates}[chosen]()
