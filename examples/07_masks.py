"""Masks of classes: do they say anything of the model, what do classes share, and does the masked part do the work?"""

import torch
from sklearn.datasets import load_digits

from provnet.applications.ablation import ablated, score
from provnet.applications.datasets.masks import class_masks, overlap, theta_scan

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

print("masks of pixels, half of the examples:")
for step in theta_scan(model, (images, labels), [1e-9, 0.03, 0.1, 0.2]):
    said = "something" if step.says_something else "only where the ink is"
    print(f"  θ = {step.theta:<6g} {int(step.masks.sum()):>4} pixels in ten classes, which say {said}")

hidden = class_masks(model, (images, labels), share=0.5, at="1")
common = overlap(hidden)
pairs = common.masked_fill(torch.eye(10, dtype=torch.bool), -1).flatten().sort(descending=True).indices
one, other = divmod(int(pairs[0]), 10)
print(f"the hidden neurons of {one} and {other} have most in common: {float(common[one, other]):.0%}")
for digit in (0, 1):
    chosen = images[labels == digit], labels[labels == digit]
    with ablated(model, {"1": hidden[digit]}):
        kept = score(model, chosen).accuracy
    with ablated(model, {"1": ~hidden[digit]}):
        lost = score(model, chosen).accuracy
    print(f"digit {digit}: {kept:.0%} right with its {int(hidden[digit].sum())} neurons alone, {lost:.0%} without them")
