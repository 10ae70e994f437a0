"""Two digits, one above the other, of which the upper is the label: does relevance tell where the model looks?"""

import torch
from sklearn.datasets import load_digits

import provnet
from provnet.applications.comparison import box, inside, pointing_game
from provnet.applications.datasets.two_digits import halves_of_masks, two_digits, upper_share

pixels, digits = load_digits(return_X_y=True)
images, labels = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 8, 8) / 16, torch.tensor(digits)
pairs, labels = two_digits(images, labels, seed=0)
x = pairs.flatten(1)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(128, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimiser = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(100):
    optimiser.zero_grad()
    torch.nn.functional.cross_entropy(model(x), labels).backward()
    optimiser.step()
model.eval()

for theta in (1e-9, 0.05, 0.1):
    threshold = provnet.annotations.Threshold(theta)
    tally = provnet.sweep(model, (x, labels), "boolean", "label", combine="frequency", by="label", annotation=threshold)
    above, below = halves_of_masks(tally, 0.5, width=8)
    share = upper_share(tally["frequency"].reshape(16, 8))
    print(f"θ = {theta:<6g} masks of half of the examples: {above} pixels above, {below} below; {share:.0%} above")

upper = box((16, 8), 0, 0, 8, 8)
for result in provnet.trace(model, x[:200]).evaluate(["real", "viterbi"], target=labels[:200].tolist()):
    r = result.inputs.reshape(-1, 16, 8)
    hit = float(pointing_game(r, upper).double().mean())
    share = float(inside(r, upper).mean())
    print(f"{result.semiring.name}: {share:.0%} of relevance above; the strongest pixel, {hit:.0%}")
