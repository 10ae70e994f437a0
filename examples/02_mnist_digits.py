"""A perceptron reads MNIST's digits: six semirings on eight digits, and what ties their answers together.

Run it: python examples/02_mnist_digits.py      (data: $PROVNET_DATA, or ../shared/data beside the repository)
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

import provnet
from provnet.applications.idx import read_digits

SIX = ["real", "boolean", "counting", "viterbi", "tropical", "bottleneck"]
THETA = 0.038
"""At which the Boolean answer tells most about the class, as the search of `provnet demo --data` found."""


def data_folder() -> Path:
    """Return the folder of data, or leave politely."""
    folder = Path(os.environ.get("PROVNET_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        raise SystemExit(f"no data in {folder}: set PROVNET_DATA to the folder of the example data")
    return folder


def main() -> None:
    folder = data_folder()
    model = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)).eval()
    model.load_state_dict(load_file(folder / "mnist_mlp.safetensors"))
    images, labels = read_digits(folder / "mnist")
    x = torch.tensor(images[8000:8008]).flatten(1) / 255  # the network was not trained on these

    circuit = provnet.trace(model, x)
    print(circuit.summary())
    threshold = provnet.annotations.Threshold(THETA)
    answers = dict(
        zip(SIX, circuit.evaluate(SIX, annotation={"boolean": threshold, "counting": threshold}), strict=True)
    )

    print("\nlabel named   pixels with ink   relevant (Boolean)   paths      best path   cheapest   widest   real, sum")
    named = circuit.outputs[0].argmax(1)
    for k in range(len(x)):
        found = {name: answer.inputs[k] for name, answer in answers.items()}
        print(
            f"{labels[8000 + k]:>5} {int(named[k]):>5} {int((x[k] > 0).sum()):>17} {int(found['boolean'].sum()):>20} "
            f"{int(found['counting'].sum()):>7,} {float(found['viterbi'].max()):>14.3f} "
            f"{float(found['tropical'].min()):>10.3f} "
            f"{float(found['bottleneck'].max()):>8.3f} {float(found['real'].sum()):>11.3f}"
        )

    print("\nBoolean is counting > 0:        ", torch.equal(answers["boolean"].inputs, answers["counting"].inputs > 0))
    print(
        "Boolean is Bottleneck >= theta: ",
        torch.equal(answers["boolean"].inputs, answers["bottleneck"].inputs >= THETA),
    )
    conservation = answers["real"].conservation()
    print(f"real relevance of pixels and biases is 1, within {conservation.residual():.1e}")


if __name__ == "__main__":
    main()
