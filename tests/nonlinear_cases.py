"""Small models with products, softmax and norms, each with its list of edges (`tests/programs.py`) for one example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.programs import SIGMOID, Array, Policies, Program

TOKENS, WIDTH = 3, 2

POLICIES = [
    Policies(*choice)
    for choice in product(("half", "value", "full"), ("identity", "attnlrp", "constant"), ("detached", "identity"))
]
POLICY_NAMES = [f"{p.products}-{p.softmax}-{p.norm}" for p in POLICIES]


def options(policies: Policies) -> dict[str, Any]:
    """Return policies as the arguments of `Circuit.evaluate` and `gates`."""
    return {"products": policies.products, "softmax": policies.softmax, "norm": policies.norm}


def seeded(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fill(parameter: Tensor, seed: int) -> None:
    with torch.no_grad():
        parameter.copy_(seeded(seed, *parameter.shape))


def per_token(weight: Tensor) -> Array:
    return np.kron(np.eye(TOKENS), weight.detach().numpy())


class Attention(nn.Module):
    """A pre-norm block: causal attention, a residual, a gated unit behind a second norm, a mean, and the largest."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.inner = nn.Linear(WIDTH, WIDTH, bias=False)
        self.double()
        for number, parameter in enumerate(self.parameters()):
            fill(parameter, number)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        scores = 0.7 * torch.bmm(self.q(h), self.k(h).transpose(1, 2))
        scores = scores.masked_fill(torch.ones(TOKENS, TOKENS).triu(1).bool(), float("-inf"))
        x = x + self.out(torch.bmm(scores.softmax(-1), self.v(h)))
        y = self.second(x)
        gated = torch.sigmoid(y) * torch.tanh(self.inner(y))
        return ((x - gated).mean(1) + 0.3).amax(-1, keepdim=True)

    def program(self) -> Program:
        net, pairs = Program(1), list(product(range(TOKENS), range(TOKENS)))

        def norm(x: int, layer: nn.LayerNorm) -> int:
            return net.layer_norm(x, WIDTH, layer.weight.detach().numpy(), layer.bias.detach().numpy())

        def linear(x: int, layer: nn.Linear) -> int:
            bias = None if layer.bias is None else np.tile(layer.bias.detach().numpy(), TOKENS)
            return net.linear(x, per_token(layer.weight), bias)

        h = norm(0, self.norm)
        q, k, v = (linear(h, layer) for layer in (self.q, self.k, self.v))
        scores = net.contraction(q, k, [[(i * WIDTH + c, j * WIDTH + c) for c in range(WIDTH)] for i, j in pairs])
        kept = [n if j <= i else -1 for n, (i, j) in enumerate(pairs)]
        weights = net.softmax(net.index([net.scale(scores, 0.7)], kept, -np.inf), TOKENS)
        # A masked score is no neuron, and neither is its probability: no term has one.
        terms = [
            [(i * TOKENS + j, j * WIDTH + c) for j in range(i + 1)] for i, c in product(range(TOKENS), range(WIDTH))
        ]
        x = net.add(0, linear(net.contraction(weights, v, terms), self.out))
        y = norm(x, self.second)
        gate, inner = sigmoid(net, y), tanh(net, linear(y, self.inner))
        out = net.add(x, net.product(gate, inner, TOKENS * WIDTH), -1.0)
        mean = net.linear(out, np.kron(np.ones((1, TOKENS)) / TOKENS, np.eye(WIDTH)), plain=True)
        net.largest(net.shift(mean, 0.3), [list(range(WIDTH))])
        return net


class Gates(nn.Module):
    """Products of every pair of ranks, ties, a square, a quotient, and a product with something that is broadcast."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))
        self.out = nn.Linear(3, 2, bias=False)
        self.double()
        for number, parameter in enumerate(self.parameters()):
            fill(parameter, 20 + number)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = (layer(x) for layer in self.maps)
        total = a * torch.sigmoid(b) + torch.tanh(c) * d + torch.softmax(a, -1) * torch.sigmoid(c)
        total = total + x * x + (1 - torch.sigmoid(d)) * torch.tanh(a) + b / (1.5 + torch.exp(c))
        return self.out(total * x.mean(-1, keepdim=True))

    def program(self) -> Program:
        net = Program(1)
        a, b, c, d = (net.linear(0, m.weight.detach().numpy(), m.bias.detach().numpy()) for m in self.maps)  # type: ignore[union-attr]
        total = net.add(net.product(a, sigmoid(net, b), 3), net.product(tanh(net, c), d, 3))
        total = net.add(total, net.product(net.softmax(a, 3), sigmoid(net, c), 3))
        total = net.add(total, net.product(0, 0, 3))
        total = net.add(total, net.product(net.shift(sigmoid(net, d), 1.0, -1.0), tanh(net, a), 3))
        below = net.shift(net.unit(c, np.exp, np.exp), 1.5)
        over = net.unit(below, lambda y: 1 / y, lambda y: -1 / y**2, SIGMOID)
        total = net.add(total, net.product(b, over, 3))
        mean = net.linear(0, np.ones((1, 3)) / 3, plain=True)
        wide = net.contraction(total, mean, [[(k, 0)] for k in range(3)])
        net.linear(wide, self.out.weight.detach().numpy())
        return net


def sigmoid(net: Program, x: int) -> int:
    def function(a: Array) -> Array:
        return 1 / (1 + np.exp(-a))

    return net.unit(x, function, lambda a: function(a) * (1 - function(a)), SIGMOID)


def tanh(net: Program, x: int) -> int:
    return net.unit(x, np.tanh, lambda a: 1 - np.tanh(a) ** 2)


@dataclass(frozen=True)
class Case:
    """A model, the shape of one example, and its edges."""

    make: Callable[[], Attention | Gates]
    shape: tuple[int, ...]

    def input(self, batch: int = 3) -> Tensor:
        return seeded(50, batch, *self.shape)


CASES = {"attention": Case(Attention, (TOKENS, WIDTH)), "gates": Case(Gates, (3,))}
