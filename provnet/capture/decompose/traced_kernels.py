"""A convolution whose kernel is traced, as that of a hypernetwork: windows of the input times the kernel.

Windows are views, so that what is left is one product of two traced stacks of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


def windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return what a kernel sees of an input [N, channels, *space] at every place: [N, channels, *places, *kernel]."""
    for axis, (size, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, (size - 1) * apart + 1, step)[..., ::apart]
    return x


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    """z[n, c, place] = Σ over the group's channels and the kernel of x · w, plus b[c]; transposed ones too."""
    space = weight.dim() - 2
    kernel = weight.shape[2:]
    stride, padding, dilation, output_padding = (
        tuple(one) * (space if len(one) == 1 else 1) for one in (stride, padding, dilation, output_padding)
    )
    if transposed:  # entries apart by the stride, and the kernel turned round
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(tuple(range(2, 2 + space)))
        x = _apart(x, stride)
        reach = [(size - 1) * apart - pad for size, apart, pad in zip(kernel, dilation, padding, strict=True)]
        x = F.pad(x, _sides(reach, [a + b for a, b in zip(reach, output_padding, strict=True)]))
        stride = (1,) * space
    elif any(padding):
        x = F.pad(x, _sides(padding, padding))
    seen = windows(x, kernel, stride, dilation)
    count, places = seen.shape[0], seen.shape[2 : 2 + space]
    # [groups, N * places, a group's channels * kernel] @ [groups, the same, a group's outputs]
    axes = (1, 0, *range(3, 3 + space), 2, *range(3 + space, 3 + 2 * space))
    rows = seen.unflatten(1, (groups, -1)).permute(axes).reshape(groups, count * prod(places), -1)
    columns = weight.reshape(groups, weight.shape[0] // groups, -1).mT
    product = torch.bmm(rows, columns) if groups > 1 else torch.mm(rows[0], columns[0]).unsqueeze(0)
    found = product.unflatten(1, (count, *places))
    found = found.permute(1, 0, 2 + space, *range(2, 2 + space)).reshape(count, weight.shape[0], *places)
    return found if bias is None else found + bias.reshape(-1, *(1,) * space)


def _apart(x: Tensor, stride: Sequence[int]) -> Tensor:
    """Return an input with stride - 1 zeros between its entries, on each spatial axis."""
    for axis, step in enumerate(stride):
        if step > 1:
            dim = 2 + axis
            size = (x.shape[dim] - 1) * step + 1
            wide = F.pad(x.movedim(dim, -1).unsqueeze(-1), (0, step - 1)).flatten(-2)
            x = wide[..., :size].movedim(-1, dim)
    return x


def _sides(before: Sequence[int], behind: Sequence[int]) -> list[int]:
    """Return paddings as torch wants them, from the last axis on."""
    return [n for pair in zip(reversed(before), reversed(behind), strict=True) for n in pair]


def windows_laid_back(x: Tensor, sizes: Sequence[int], dim: int, size: int, step: int) -> Tensor:
    """The sum of what windows along an axis hold at each place, as an inverse Fourier transform in pieces adds them."""
    dim = dim % len(sizes)
    places = torch.arange(sizes[dim], device=x.device).unfold(0, size, step).reshape(-1)
    return x.new_zeros(sizes).index_add(dim, places, x.movedim(-1, dim + 1).flatten(dim, dim + 1))


def applies(func: Any, args: tuple[Any, ...], is_active: Callable[[Tensor], bool]) -> bool:
    """Return whether the kernel or the bias is traced. Otherwise a convolution is a linear map, which has a rule."""
    return func is aten.unfold_backward.default or any(isinstance(one, Tensor) and is_active(one) for one in args[1:3])


TABLE: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: convolve,
    aten.unfold_backward.default: windows_laid_back,
}
