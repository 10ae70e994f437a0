"""Which answers can be believed? Take away what they call relevant, and see whether the prediction follows."""

import torch
from sklearn.datasets import load_digits

import provnet
from provnet.applications.comparison import agreement
from provnet.applications.evidence import evidence, table

pixels, digits = load_digits(return_X_y=True)
images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(digits)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimiser = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(100):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimiser.step()
model.eval()

semirings = ["real", "boolean", "counting", "viterbi", "tropical"]
print(table(evidence(model, images[:100], semirings)))

results = provnet.trace(model, images[:100]).evaluate(semirings)
names, matrix = agreement({result.semiring.name: result.inputs for result in results})
print("\nmean rank correlation with real:")
for name, value in zip(names, matrix[0].tolist(), strict=True):
    print(f"{name:<10}{value:>6.2f}")
