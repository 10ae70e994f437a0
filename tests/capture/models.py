"""Small models of every kind that recording must cope with, each with an input and another of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """A model maker and the shape of its input. `control_flow`: another input may take another way."""

    name: str
    make: Callable[[], Any]
    shape: tuple[int, ...]
    control_flow: bool = False

    def build(self) -> tuple[Any, Tensor, Tensor]:
        """Return (model, input, another input), the same each time."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.make()
            if isinstance(model, nn.Module):
                model.eval()
            return model, torch.randn(self.shape), torch.randn(self.shape)


CASES: list[Case] = []


def case(*shape: int, control_flow: bool = False) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a model maker with the shape of its input."""

    def file(make: Callable[[], Any]) -> Callable[[], Any]:
        CASES.append(Case(make.__name__, make, shape, control_flow))
        return make

    return file


class Lambda(nn.Module):
    """A module around a function of (module, x); modules go in as keywords."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


@case(4, 3)
def mlp() -> Any:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


@case(2, 1, 12, 12)
def lenet() -> Any:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(24, 10),
    )
    for module in net:
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net


@case(1, 3, 32, 32)
def vgg() -> Any:
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((4, 2), (8, 2), (8, 3), (8, 3), (8, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(
        nn.Sequential(*layers),
        nn.AdaptiveAvgPool2d((7, 7)),
        nn.Flatten(),
        nn.Sequential(nn.Linear(392, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 10)),
    )


class Fire(nn.Module):
    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.activation = nn.ReLU(inplace=True)
        self.expand1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.squeeze(x))
        return torch.cat([self.activation(self.expand1(x)), self.activation(self.expand3(x))], 1)


@case(2, 3, 24, 24)
def squeezenet() -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(8, 4, 6),
        Fire(12, 4, 6),
        nn.Conv2d(12, 5, 1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
    )


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.relu(self.bn(self.conv1(x))))
        y += x
        return self.relu(y)


@case(2, 3, 8, 8)
def resnet() -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), Residual(), Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


@case(2, 3, 8, 8)
def inplace_on_input() -> Any:
    return nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3), nn.Flatten())


@case(3, 4)
def functional() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = F.relu(m.a(x))
        z = F.relu(m.a(y))  # one module, twice
        return m.b(torch.cat([y + z, torch.flatten(z.unsqueeze(-1), 1)], dim=1)) * 2 + 1

    return Lambda(forward, a=nn.Linear(4, 4), b=nn.Linear(8, 3))


@case(3, 4)
def plain_function() -> Any:
    net = nn.Linear(4, 3)

    def forward(x: Tensor) -> Tensor:
        return F.relu(net(x)) - x[:, :3]

    return forward


@case(3, 6)
def view_writes() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        left, rows = y[:, :3], y.t()
        left.mul_(2)
        rows[1] += x[:, 0]
        y[0, 4:] = 0
        y[:, 5] = left[:, 0]
        left.relu_()
        return m.b(y) + left + rows[:3].t()

    return Lambda(forward, a=nn.Linear(6, 6), b=nn.Linear(6, 3))


@case(3, 6)
def filled_buffer() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        out = torch.zeros(3, 4, 2)
        for i in range(4):
            out[:, i] = m.a(x + i)
        return out.flatten(1)

    return Lambda(forward, a=nn.Linear(6, 2))


@case(3, 6)
def out_arguments() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = torch.empty(3, 6)
        torch.add(m.a(x), x, out=y)
        z = y[:, :2]
        torch.mul(x, 3, out=y)
        y.clamp_(min=0).index_add_(1, torch.tensor([0, 2]), z)
        y.masked_fill_(torch.eye(3, 6).bool(), 0.5)
        y.transpose_(0, 1).unsqueeze_(0)
        return y[0].t().sigmoid()

    return Lambda(forward, a=nn.Linear(6, 6))


@case(3, 6)
def casts_and_copies() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = torch.ones(3, 6)
        y.copy_(m.a(x).double())
        z = torch.zeros(2, 3, 6)
        z.copy_(y)
        z[1].add_(x.double())
        w = x.detach().clone()
        w.zero_()
        w.view(-1)[:6] = x[0]
        return m.a(z.sum(0)) + w.data

    return Lambda(forward, a=nn.Linear(6, 6))


@case(2, 4, control_flow=True)
def control_flow() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        for _ in range(3):
            x = m.a(x)
            if x.sum() > 0:
                x = x.tanh()
        return x

    return Lambda(forward, a=nn.Linear(4, 4))


@case(2, 5, 8)
def transformer() -> Any:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(40, 3))


@case(2, 5, 8)
def causal_attention() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        q, k, v = m.a(x).view(2, 5, 2, 12).transpose(1, 2).chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(2, 5, 8).mean(1)

    return Lambda(forward, a=nn.Linear(8, 24))


@case(2, 4, 3)
def lstm() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        y, (h, c) = m.rnn(x)
        return torch.cat([y[:, -1], h[-1], c[0]], 1)

    return Lambda(forward, rnn=nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True))


@case(2, 4, 3)
def gru() -> Any:
    return Lambda(lambda m, x: m.rnn(x)[0][:, -1], rnn=nn.GRU(3, 5, batch_first=True))


@case(2, 4, 3)
def cells() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        h, c, g = torch.zeros(2, 5), torch.zeros(2, 5), torch.zeros(2, 5)
        for step in x.unbind(1):
            h, c = m.lstm(step, (h, c))
            g = m.gru(step, g)
        return h + g

    return Lambda(forward, lstm=nn.LSTMCell(3, 5), gru=nn.GRUCell(3, 5))


@case(2, 6)
def splits() -> Any:
    def forward(m: Any, x: Tensor) -> Tensor:
        a, b, c = x.chunk(3, 1)
        a = a.clone().sigmoid_()
        values, index = x.topk(2, 1)
        return (
            torch.stack([a * b, F.glu(torch.cat([b, c], 1)), values + x.gather(1, index)], 1)
            .permute(0, 2, 1)
            .flatten(1)
        )

    return Lambda(forward)
