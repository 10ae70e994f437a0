"""Subnetworks: which edges does a digit need, what do digits share, and what can these edges do alone?"""

from functools import reduce
from operator import or_

import torch
from sklearn.datasets import load_digits

import provnet
from provnet.applications.ablation import score
from provnet.applications.subnetworks import Subnetwork, subnetworks

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

found = subnetworks(model, (images, labels), share=0.1, annotation=provnet.annotations.Threshold(0.03))
print(f"what digit 3 needs: {found[3]}")
print(f"edges that 3 shares with 8: {found[3].overlap(found[8]):.0%}, with 0: {found[3].overlap(found[0]):.0%}")
alarms = (found[3].model(model)(images[labels != 3]).argmax(1) == 3).float().mean()
print(f"its edges alone find a 3 in every image: {alarms:.0%} of the other digits are taken for it")

union = reduce(or_, found)
drawn = {name: mask.flatten()[torch.randperm(mask.numel())].view_as(mask) for name, mask in union.weights.items()}
share = sum(int(m.sum()) for m in union.weights.values()) / sum(m.numel() for m in union.weights.values())
whole, kept, luck = (
    score(one, (images, labels)).accuracy for one in (model, union.model(model), Subnetwork({}, drawn, 0).model(model))
)
print(f"the edges of all digits, {share:.0%}: {kept:.0%} right of {whole:.0%}; as many drawn by lot: {luck:.0%}")
