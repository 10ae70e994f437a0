"""One small network, one circuit: its formula, its provenance polynomial, and six answers to six questions.

Run it: python examples/01_first_circuit.py
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

import provnet

model = nn.Sequential(OrderedDict(hidden=nn.Linear(3, 2), relu=nn.ReLU(), output=nn.Linear(2, 2))).eval()
model.load_state_dict(
    {
        "hidden.weight": torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]]),
        "hidden.bias": torch.tensor([0.0, 0.0]),
        "output.weight": torch.tensor([[1.0, 0.5], [-1.0, 2.0]]),
        "output.bias": torch.tensor([0.0, 0.0]),
    }
)
x = torch.tensor([[1.0, 2.0, 1.0]])

circuit = provnet.trace(model, x)
print(circuit.summary())

# The circuit is abstract: a variable on each edge, named path[to<-from]. Nothing is computed yet.
gates = circuit.gates(target=0, at=("input", 1))
print("\nHow does input 1 reach output 0?")
print("  formula    ", gates.formula())
print("  polynomial ", gates.polynomial())
print("  sympy      ", gates.formula().sympy())

# A semiring, a rule and an annotation function give every variable a value: one circuit, many answers.
QUESTIONS = {
    "boolean": "does it reach the output at all?",
    "counting": "over how many paths?",
    "viterbi": "how strong is the strongest path?",
    "tropical": "what does the cheapest path cost?",
    "bottleneck": "up to which threshold does a path hold?",
    "real": "which share of the output is its own? (LRP-0)",
}
print("\nOne circuit, six answers, for inputs 0, 1 and 2:")
for (name, question), answer in zip(QUESTIONS.items(), circuit.evaluate(list(QUESTIONS), target=0), strict=True):
    numbers = ", ".join(f"{value:.4g}" for value in answer.inputs[0].tolist())
    print(f"  {name:<10} {question:<48} {numbers}")

print("\nWhere the relevance went, in the real semiring:")
print(circuit.evaluate("real", target=0).conservation())
