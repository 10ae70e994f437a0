"""Convolutional networks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry


def image(size: int, channels: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, size, size)


def norm_conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Any = nn.ReLU) -> Any:
    """Convolution, batch norm, activation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), act())


@entry()
def vgg() -> Any:
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((4, 1), (6, 2), (8, 2)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    head = nn.Sequential(nn.Linear(32, 10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, 5))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), head), (image(16),)


class Residual(nn.Module):
    """A basic block in in-place code, with a projection where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y)


@entry()
def resnet() -> Any:
    stem = nn.Sequential(nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(True), nn.MaxPool2d(3, 2, 1))
    body = (Residual(4, 4, 1), Residual(4, 6, 2))
    return nn.Sequential(stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)), (image(24),)


class Dense(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x), inplace=True))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y), inplace=True))], 1)


@entry()
def densenet() -> Any:
    transition = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 4, 1, bias=False), nn.AvgPool2d(2, 2))
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Dense(4, 2), Dense(6, 2), transition, Dense(4, 2))
    head = (nn.BatchNorm2d(6), nn.ReLU(True), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(6, 5))
    return nn.Sequential(features, *head), (image(12),)


class Fire(nn.Module):
    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze, self.relu = nn.Conv2d(channels, squeeze, 1), nn.ReLU(inplace=True)
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.one(x)), self.relu(self.three(x))], 1)


@entry()
def squeezenet() -> Any:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    body = (nn.Conv2d(3, 6, 3, 2), nn.ReLU(True), pool, Fire(6, 3, 4), Fire(8, 3, 4), nn.Dropout(), nn.Conv2d(8, 5, 1))
    return nn.Sequential(*body, nn.ReLU(True), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten()), (image(20),)


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.five = norm_conv(4, 2, 1), nn.Sequential(norm_conv(4, 2, 1), norm_conv(2, 3, 5))
        self.three = nn.Sequential(norm_conv(4, 2, 1), norm_conv(2, 3, 3), norm_conv(3, 3, 3))
        self.pool = norm_conv(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1, count_include_pad=False)
        return torch.cat([self.one(x), self.five(x), self.three(x), self.pool(pooled)], 1)


class InceptionNet(nn.Module):
    """With local response normalisation, an auxiliary head, and a named tuple of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.mixed = norm_conv(3, 4, 3, 2), nn.LocalResponseNorm(2), Inception()
        self.aux, self.fc = nn.Linear(10, 3), nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Any:
        x = x * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        x = F.max_pool2d(self.mixed(self.norm(self.stem(x))), 3, 2)
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(F.dropout(x, training=self.training)), self.aux(x)


@entry()
def inception() -> Any:
    return InceptionNet(), (image(16),)


class InvertedResidual(nn.Module):
    """MobileNet's and EfficientNet's block: expand, depthwise, squeeze and excite, project."""

    def __init__(self, channels: int, act: Any, gate: Any | None) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand, self.depthwise = (
            norm_conv(channels, wide, 1, act=act),
            norm_conv(wide, wide, 3, groups=wide, act=act),
        )
        self.project = norm_conv(wide, channels, 1, act=nn.Identity)
        self.reduce, self.widen, self.act, self.gate = nn.Conv2d(wide, 2, 1), nn.Conv2d(2, wide, 1), act(), gate

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        if self.gate is not None:
            y = self.gate(self.widen(self.act(self.reduce(F.adaptive_avg_pool2d(y, 1))))) * y
        return x + self.project(y)


@entry()
def mobilenet_v2() -> Any:
    block = InvertedResidual(4, nn.ReLU6, None)
    return nn.Sequential(norm_conv(3, 4, 3, 2, act=nn.ReLU6), block, nn.AdaptiveAvgPool2d(1), nn.Flatten()), (
        image(12),
    )


@entry()
def mobilenet_v3() -> Any:
    block = InvertedResidual(4, nn.Hardswish, nn.Hardsigmoid())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.Hardswish(), nn.Linear(6, 5))
    return nn.Sequential(norm_conv(3, 4, 3, 2, act=nn.Hardswish), block, *head), (image(12),)


@entry()
def efficientnet() -> Any:
    block = InvertedResidual(4, nn.SiLU, nn.Sigmoid())
    head = (norm_conv(4, 8, 1, act=nn.SiLU), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(norm_conv(3, 4, 3, 2, act=nn.SiLU), block, *head), (image(12),)


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.scale = nn.LayerNorm(channels, eps=1e-6), nn.Parameter(torch.rand(channels))
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@entry()
def convnext() -> Any:
    stem = nn.Sequential(nn.Conv2d(3, 4, 4, 4), ChannelNorm(4))
    down = nn.Sequential(ChannelNorm(4), nn.Conv2d(4, 6, 2, 2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, 5))
    return nn.Sequential(stem, ConvNeXtBlock(4), down, ConvNeXtBlock(6), *head), (image(16),)


class UNet(nn.Module):
    """Group norm, SiLU, skips by cat, upsampling of two kinds, odd sizes that are padded."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(inplace=True))
        self.two = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.InstanceNorm2d(6, affine=True), nn.LeakyReLU(0.1))
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.nearest, self.out = nn.Conv2d(6, 4, 1), nn.Conv2d(14, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(F.max_pool2d(one, 2))
        up = self.up(two)
        up = F.pad(up, [0, one.shape[-1] - up.shape[-1], 0, one.shape[-2] - up.shape[-2]])
        near = F.interpolate(self.nearest(two), size=one.shape[-2:], mode="nearest")
        return self.out(torch.cat([one, up, near], 1))


@entry()
def unet() -> Any:
    return UNet(), (image(9),)


@entry()
def autoencoder() -> Any:
    down = (nn.Conv2d(3, 4, 3, 2, 1), nn.ELU(), nn.Conv2d(4, 6, 3, 2, 1), nn.PReLU(6))
    up = (nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), nn.Softplus(), nn.ConvTranspose2d(4, 3, 4, 2, 1))
    return nn.Sequential(*down, *up, nn.Tanh()), (image(8),)


class Variational(nn.Module):
    """A variational autoencoder that samples in evaluation too: the noise counts as constant."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance, self.out = nn.Linear(6, 3), nn.Linear(6, 3), nn.Linear(3, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.mean(x), self.log_variance(x)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)).to(x.dtype)
        return torch.sigmoid(self.out(mean + noise * torch.exp(0.5 * log_variance))), mean


@entry()
def variational_autoencoder() -> Any:
    return Variational(), (torch.randn(2, 6),)


@entry()
def temporal_convolution() -> Any:
    """One-dimensional: dilated causal convolutions with gates, weight norm, and max over time."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filter = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 4, 2, dilation=2))
            self.gate, self.out = nn.Conv1d(3, 4, 2, dilation=2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = F.pad(x, (2, 0))
            return self.out((torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x))).amax(-1))

    return Net(), (torch.randn(2, 3, 9),)


@entry()
def video() -> Any:
    return nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.ReLU(), nn.AvgPool3d(2), nn.Flatten(), nn.Linear(16, 3)
    ), (torch.randn(2, 1, 4, 4, 4),)


@entry()
def shuffle_net() -> Any:
    """Grouped convolutions, channel shuffle and split, pixel shuffle for super-resolution."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shuffle, self.branch = nn.ChannelShuffle(2), norm_conv(4, 4, 3, groups=2)
            self.stem, self.up = nn.Conv2d(3, 8, 1), nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))

        def forward(self, x: Tensor) -> Tensor:
            left, right = self.stem(x).chunk(2, 1)
            return self.up(self.shuffle(torch.cat([left, self.branch(right)], 1)))

    return Net(), (image(4),)
