"""Prune a hidden layer by relevance in four semirings, and by other rankings: what accuracy is left?"""

import torch
from sklearn.datasets import load_digits

from provnet.applications.pruning import baseline_scores, pruning_curve, ranking, relevance_scores

pixels, digits = load_digits(return_X_y=True)
images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(digits)
train, held_out = (images[:1200], labels[:1200]), (images[1200:], labels[1200:])

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimiser = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(100):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(model(train[0]), train[1]).backward()
    optimiser.step()
model.eval()

semirings = ("real", "boolean", "counting", "viterbi")
scores = relevance_scores(model, train, "0", semirings, target="label")  # one sweep for all
rankings = {name: ranking(one) for name, one in zip(semirings, scores, strict=True)}
for name in ("l1", "l2", "random", "activation", "gradient_times_activation"):
    rankings[name] = ranking(baseline_scores(model, train, "0", name))

fractions = (0, 0.5, 0.75, 0.9)
print(f"{'pruned':<26}", *(f"{fraction:>6.0%}" for fraction in fractions), "  ties")
for name, order in rankings.items():
    curve = pruning_curve(model, held_out, "0", order, fractions)
    print(f"{name:<26}", *(f"{step.accuracy:>6.1%}" for step in curve), f"{order.ties:>6}")
