"""A sweep over a dataset: which pixels matter for each digit, in how many examples, and how much.

Run: python examples/04_sweep.py, or torchrun --nproc-per-node 2 examples/04_sweep.py
"""

import torch
from sklearn.datasets import load_digits

import provnet

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

tally = provnet.sweep(
    model, (images, labels), ["boolean", "real"], target="label", combine=["frequency", "all", "mean_abs"], by="label"
)
print(tally)
for digit in (0, 1):
    mask = tally.of("all", "boolean", label=digit)
    share = tally.of("frequency", "boolean", label=digit)
    strongest = tally.of("mean_abs", "real", label=digit).argmax()
    row, column = divmod(int(strongest), 8)
    print(f"digit {digit}: {int(mask.sum())} pixels in every example, {int((share > 0).sum())} in some;", end=" ")
    print(f"the strongest in row {row}, column {column}")
