"""Change inputs in the order of their relevance: deletion, insertion, faithfulness, attacks, zones of the image."""

import torch
from sklearn.datasets import load_digits

import provnet
from provnet.applications.perturbation import attack, faithfulness, inverted, occluded, perturbation_curve, to_mean

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

x, y = images[:100], labels[:100]
print(f"{'':<10}{'deletion':>10}{'insertion':>11}{'comprehensive':>15}{'sufficient':>12}{'spared':>8}{'ties':>6}")
uniform = float(attack(model, x, None, 20, inverted, draws=5, target=y).mean())
for result in provnet.trace(model, x).evaluate(["real", "boolean", "viterbi"], target=y.tolist()):
    r = result.inputs.double()
    out, back = (perturbation_curve(model, x, r, mode, y, to_mean) for mode in ("deletion", "insertion"))
    faith = faithfulness(model, x, r, 0.2, target=y, change=to_mean)
    spared = float(attack(model, x, r / r.abs().amax(1, keepdim=True), 20, inverted, 0.1, 5, target=y).mean())
    faiths = float(faith.comprehensiveness.mean()), float(faith.sufficiency.mean())
    print(f"{result.semiring.name:<10}{out.area:>10.3f}{back.area:>11.3f}{faiths[0]:>15.3f}{faiths[1]:>12.3f}", end="")
    print(f"{spared - uniform:>+8.3f}{out.ties:>6.0%}")

zones, corners = occluded(x.reshape(-1, 1, 8, 8), size=2)
wrong = (model(zones.flatten(0, 1).flatten(1)).argmax(1).reshape(len(corners), -1) != y).double().mean(1)
top, left = corners[wrong.argmax()].tolist()
print(f"the zone that costs most is at row {top}, column {left}: {float(wrong.max()):.0%} of digits are called wrong")
