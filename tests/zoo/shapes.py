"""Models that are odd in how they are written: control flow, tied weights, many inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry, tokens


@entry()
def control_flow() -> Any:
    """Which layers run depends on the data, and how often."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            steps = 0
            while steps < 3 and bool(x.norm() < 10):
                x = self.one(x) if bool(x.sum() > 0) else torch.tanh(self.two(x))
                steps += 1
            return x

    return Net(), (torch.randn(2, 4),)


@entry()
def tied_weights() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.bias = nn.Linear(6, 3), nn.Parameter(torch.randn(6))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.relu(self.encode(x)), self.encode.weight.t(), self.bias)

    return Net(), (torch.randn(2, 6),)


@entry(0.0, ("batch[image]", "batch[extra][0]"))
def dictionaries() -> Any:
    """A dict with a tuple and a mask within goes in; a dict with a tuple comes out."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.extra, self.out = nn.Linear(6, 4), nn.Linear(3, 4), nn.Bilinear(4, 4, 2)

        def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
            image, extra = self.image(batch["image"]), self.extra(batch["extra"][0])
            image = torch.where(batch["mask"], image, torch.zeros_like(image))
            return {"scores": self.out(image, extra), "parts": (image, extra)}

    given = {
        "image": torch.randn(2, 6),
        "extra": (torch.randn(2, 3), "a label"),
        "mask": torch.tensor([[True, True, False, True], [True, False, True, True]]),
    }
    return Net(), (given,)


@dataclass
class Answer:
    """What the recommender gives."""

    score: Tensor
    parts: list[Tensor]


@entry(0.0, ("dense", "fields", "history"))
def recommender() -> Any:
    """Numbers and categories: offsets into a joint table, a bag of the history, pairwise products (DLRM, FM)."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.bag, self.bottom = nn.Embedding(9, 4), nn.EmbeddingBag(7, 4, mode="mean"), nn.Linear(3, 4)
            self.register_buffer("offsets", torch.tensor([0, 3, 6]))
            self.top = nn.Linear(10 + 4, 1)

        def forward(self, dense: Tensor, fields: Tensor, history: Tensor) -> Answer:
            parts = torch.cat(
                [
                    self.bottom(dense)[:, None],
                    self.table(fields + self.get_buffer("offsets")),
                    self.bag(history)[:, None],
                ],
                1,
            )
            products = parts @ parts.transpose(1, 2)
            rows, columns = torch.tril_indices(5, 5, -1)
            score = self.top(torch.cat([products[:, rows, columns], parts.sum(1)], 1)).sigmoid()
            return Answer(score, [parts])

    return Net(), (torch.randn(2, 3), torch.tensor([[0, 1, 2], [2, 0, 1]]), tokens(2, 3, 7))


@entry(0.0, ("one", "two"))
def siamese() -> Any:
    """One module, called twice; a distance of the two results."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Sequential(nn.Linear(4, 3), nn.Tanh())

        def forward(self, one: Tensor, *, two: Tensor) -> tuple[Tensor, Tensor]:
            a, b = self.embed(one), self.embed(two)
            return (a - b).pow(2).sum(-1, keepdim=True).sqrt(), F.cosine_similarity(a, b, dim=-1)[:, None]

    return Net(), (torch.randn(2, 4),), {"two": torch.randn(2, 4)}


@entry()
def writes_in_place() -> Any:
    """A buffer that is filled, views that are written, running sums."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            out = x.new_zeros(x.shape[0], 3, 4)
            for i in range(3):
                out[:, i] = self.linear(x) if i == 0 else out[:, i - 1].relu() + x
            out[:, :, 0] *= 2
            out[:, 1].clamp_(min=0)
            return out.cumsum(1).flatten(1)

    return Net(), (torch.randn(2, 4),)


@entry()
def physics_informed() -> Any:
    """Sines, powers, logarithms: an implicit network with Fourier features."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("waves", torch.randn(2, 4))
            self.one, self.two = nn.Linear(8, 6), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            angle = x @ self.get_buffer("waves")
            h = torch.sin(self.one(torch.cat([angle.sin(), angle.cos()], -1)))
            return torch.log1p(self.two(h).square()) + x.abs().sum(-1, keepdim=True).reciprocal()

    return Net(), (torch.randn(2, 2),)


@entry()
def activations() -> Any:
    """Every activation module of torch in evaluation, one after the other."""
    names = (
        "ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Hardshrink Softshrink "
        "Tanhshrink Softplus Softsign LogSigmoid Sigmoid Tanh PReLU RReLU"
    )
    model = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), getattr(nn, name)()) for name in names.split()))
    return nn.Sequential(model, nn.Threshold(0.1, 0.0), nn.Softmin(-1)), (torch.randn(2, 3) * 2,)


@entry()
def set_of_points() -> Any:
    """PointNet: a learned rotation by bmm, shared layers, the largest over points, distances to anchors."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn, self.shared, self.head = nn.Linear(3, 9), nn.Linear(3, 6), nn.Linear(10, 2)
            self.register_buffer("anchors", torch.randn(4, 3))

        def forward(self, images: Tensor) -> Tensor:
            turn = self.turn(images.max(1).values).view(-1, 3, 3) + torch.eye(3, dtype=images.dtype)
            points = torch.baddbmm(images, images, turn)
            near = torch.exp(-torch.cdist(points, self.get_buffer("anchors"))).mean(1)
            return self.head(torch.cat([self.shared(points).relu().amax(1), near], -1))

    return Net(), (torch.randn(2, 5, 3),)
