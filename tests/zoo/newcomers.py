"""More models of people who know torch and not provnet: spectra, computed kernels and grids, linear systems."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FourierMixer(nn.Module):
    """FNet: tokens are mixed by the real part of a Fourier transform over both axes."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.fed = nn.LayerNorm(4), nn.LayerNorm(4)
        self.feed = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            x = self.mixed(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)
            x = self.fed(x + self.feed(x))
        return self.head(x.mean(1))


class NeuralOperator(nn.Module):
    """A Fourier neural operator: the lowest modes are mixed by complex matrices of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.skip, self.out = nn.Linear(1, 3), nn.Conv1d(3, 3, 1), nn.Linear(3, 2)
        self.modes = nn.Parameter(torch.randn(3, 3, 2, 2))

    def forward(self, u: Tensor) -> Tensor:
        x = self.lift(u).transpose(1, 2)
        spectrum = torch.fft.rfft(x)
        kept = torch.zeros_like(spectrum)
        kept[..., :2] = torch.einsum("bim,iom->bom", spectrum[..., :2], torch.view_as_complex(self.modes))
        x = F.gelu(torch.fft.irfft(kept, n=x.shape[-1]) + self.skip(x))
        return self.out(x.transpose(1, 2)).mean(1)


class DynamicConvolution(nn.Module):
    """Kernels that are mixed for each example by what the example is: examples are groups of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(3, 2, 2, 3, 3))
        self.route, self.head = nn.Linear(2, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        chosen = torch.sigmoid(self.route(x.mean((2, 3))))
        kernels = (chosen @ self.kernels.flatten(1)).view(n * 2, channels, 3, 3)
        y = F.conv2d(x.reshape(1, n * channels, height, width), kernels, padding=1, groups=n)
        return self.head(F.relu(y.view(n, 2, height, width)).mean((2, 3)))


class SpatialTransformer(nn.Module):
    """An image that is looked at where the image itself says."""

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 6))
        self.look, self.head = nn.Conv2d(1, 3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        theta = 0.2 * self.locate(x).view(-1, 2, 3) + torch.eye(2, 3, dtype=x.dtype)
        x = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)
        return self.head(F.relu(self.look(x)).mean((2, 3)))


class Renderer(nn.Module):
    """Volume rendering of a radiance field: what light is left after all samples before."""

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, places: Tensor) -> Tensor:
        out = self.field(places)
        opaque = 1 - torch.exp(-F.softplus(out[..., 0]) * 0.3)
        left = torch.cumprod(torch.cat([torch.ones_like(opaque[:, :1]), 1 - opaque + 1e-10], -1), -1)[:, :-1]
        return ((opaque * left).unsqueeze(-1) * torch.sigmoid(out[..., 1:])).sum(1)


class KernelRegression(nn.Module):
    """A Gaussian process on learnt features: the answer to a query from examples with their labels."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(2, 3)

    def forward(self, given: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
        a, b = self.features(given), self.features(asked)
        kernel = a @ a.mT + 0.5 * torch.eye(a.shape[1], dtype=a.dtype)
        return (b @ a.mT @ torch.linalg.solve(kernel, labels)).squeeze(-1)


class Kalman(nn.Module):
    """A Kalman filter whose measurements and their noise a layer gives."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.seen = nn.Parameter(torch.eye(2) + 0.1 * torch.randn(2, 2)), nn.Parameter(torch.randn(2, 2))
        self.measure = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        measured, noise = self.measure(x).chunk(2, -1)
        state, spread = x.new_zeros(len(x), 2, 1), torch.eye(2, dtype=x.dtype).expand(len(x), 2, 2)
        for t in range(x.shape[1]):
            state, spread = self.step @ state, self.step @ spread @ self.step.T + 0.1 * torch.eye(2, dtype=x.dtype)
            doubt = self.seen @ spread @ self.seen.T + torch.diag_embed(F.softplus(noise[:, t]))
            gain = spread @ self.seen.T @ torch.linalg.inv(doubt)
            state = state + gain @ (measured[:, t, :, None] - self.seen @ state)
            spread = spread - gain @ self.seen @ spread
        return state.squeeze(-1)


class Rotary(nn.Module):
    """Attention with turned queries and keys, in the complex numbers that Llama's own code takes."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(4, 12), nn.Linear(4, 2)
        turns = torch.outer(torch.arange(3.0), 0.1 ** torch.arange(2.0)).double()
        self.turns = torch.polar(torch.ones_like(turns), turns)

    def turned(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.head(F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True)[:, -1])


NEWCOMERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "Fourier mixer": (FourierMixer, lambda: (torch.randn(2, 3, 4),)),
    "neural operator": (NeuralOperator, lambda: (torch.randn(2, 6, 1),)),
    "dynamic convolution": (DynamicConvolution, lambda: (torch.randn(2, 2, 4, 4),)),
    "spatial transformer": (SpatialTransformer, lambda: (torch.randn(2, 1, 6, 6),)),
    "renderer": (Renderer, lambda: (torch.randn(2, 4, 3),)),
    "kernel regression": (KernelRegression, lambda: (torch.randn(2, 3, 2), torch.randn(2, 3, 1), torch.randn(2, 2, 2))),
    "Kalman filter": (Kalman, lambda: (torch.randn(2, 2, 2),)),
    "rotary attention": (Rotary, lambda: (torch.randn(2, 3, 4),)),
}
