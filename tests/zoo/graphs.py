"""Graph networks in plain torch. The nodes of one graph are one example: batches of graphs share their edges."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry

EDGES = torch.tensor([[0, 1, 2, 3, 0, 2, 1], [1, 2, 3, 0, 2, 0, 3]])


@entry()
def gcn() -> Any:
    """Graph convolutions by index_add, with degrees as fixed weights."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4, bias=False), nn.Linear(4, 2)

        def spread(self, x: Tensor, edge_index: Tensor) -> Tensor:
            degree = torch.bincount(edge_index[1], minlength=4).to(x.dtype).clamp(min=1)
            weight = (degree[edge_index[0]] * degree[edge_index[1]]).rsqrt()
            return torch.zeros_like(x).index_add_(1, edge_index[1], x[:, edge_index[0]] * weight[:, None])

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            x = F.relu(self.spread(self.one(x), edge_index))
            return self.spread(self.two(x), edge_index)

    return Net(), (torch.randn(2, 4, 3), EDGES)


@entry()
def gcn_dense() -> Any:
    """The same by a normalised adjacency matrix."""
    adjacency = torch.eye(4)
    adjacency[EDGES[1], EDGES[0]] = 1

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)
            self.register_buffer("adjacency", adjacency / adjacency.sum(1, keepdim=True))

        def forward(self, x: Tensor) -> Tensor:
            return (self.adjacency @ self.two(F.relu(self.adjacency @ self.one(x)))).mean(1)

    return Net(), (torch.randn(2, 4, 3),)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.left, self.right = nn.Linear(3, 4, bias=False), nn.Linear(4, 1), nn.Linear(4, 1)


@entry()
def gat() -> Any:
    """Graph attention with a softmax over each node's neighbours, by scatter."""

    class Net(Attention):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            h = self.linear(x)
            source, target = edge_index
            scores = F.leaky_relu(self.left(h)[:, source] + self.right(h)[:, target], 0.2).squeeze(-1)
            place = target.expand_as(scores)
            largest = scores.new_full((x.shape[0], 4), float("-inf")).scatter_reduce(1, place, scores, "amax")
            weights = (scores - largest.gather(1, place)).exp()
            total = torch.zeros_like(largest).scatter_add_(1, place, weights)
            weights = weights / total.gather(1, place)
            return F.elu(torch.zeros_like(h).index_add_(1, target, weights[..., None] * h[:, source]))

    return Net(), (torch.randn(2, 4, 3), EDGES)


@entry()
def gat_dense() -> Any:
    """The same over a dense matrix of scores that is masked where there is no edge."""

    class Net(Attention):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            h = self.linear(x)
            allowed = torch.zeros(4, 4, dtype=torch.bool)
            allowed[edge_index[1], edge_index[0]] = True
            scores = F.leaky_relu(self.right(h) + self.left(h).transpose(1, 2), 0.2)
            scores = torch.where(allowed, scores, torch.full_like(scores, -9e15))
            return F.elu(scores.softmax(-1) @ h)

    return Net(), (torch.randn(2, 4, 3), EDGES)


@entry()
def sage_with_max() -> Any:
    """GraphSAGE with the largest neighbour, and a mean over the graph."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own, self.other = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            messages = x.index_select(1, edge_index[0])
            place = edge_index[1][None, :, None].expand_as(messages)
            largest = torch.zeros_like(x).scatter_reduce(1, place, messages, "amax", include_self=False)
            return F.normalize(F.relu(self.own(x) + self.other(largest)), dim=-1).mean(1)

    return Net(), (torch.randn(2, 4, 3), EDGES)
