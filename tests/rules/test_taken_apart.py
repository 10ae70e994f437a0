"""Ops that the recorder takes apart, or that move entries: autograd's derivative, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import provnet
from tests.nonlinear_cases import seeded

ZEROS, TWO = torch.zeros(2, 4, dtype=torch.float64), torch.full((2, 4), 2.0, dtype=torch.float64)
CHANCES, LABELS = seeded(60, 2, 4).sigmoid(), torch.tensor([1, 3])
PAIRS = torch.tensor([[0, 0, 1, 1]]).expand(2, -1)
MIX = seeded(62, 99)
BY_CLASS = seeded(63, 4)
SQUARES = seeded(64, 2, 4, 4)
IMAGE = seeded(65, 1, 2, 3, 3)
BOX = seeded(66, 1, 1, 3, 3, 3)


def sampled(mode: str = "bilinear", padding: str = "zeros", align: bool = False) -> Callable[[Tensor], Tensor]:
    """Sample a part of the input at places that another part says."""
    return lambda x: F.grid_sample(x[:, :2], x[:, 2:, :2].permute(0, 2, 3, 1) + 0.1, mode, padding, align)


def kernel(x: Tensor, *shape: int) -> Tensor:
    """Return a kernel that is computed from the input, one for each example."""
    return torch.sin(torch.outer(x.flatten(1).sum(1), MIX))[:, : shape[0]].reshape(-1, *shape[1:])


def own_kernels(x: Tensor, **options: object) -> Tensor:
    """Convolve every example with its own kernel: examples are groups, as StyleGAN has it."""
    n, channels = x.shape[:2]
    w = kernel(x, 2 * channels * 4, channels, 2, 2)
    function = F.conv_transpose2d if options.pop("transposed", False) else F.conv2d
    return function(x.reshape(1, n * channels, *x.shape[2:]), w, groups=n, **options).unflatten(1, (n, 2))[0]  # type: ignore[operator]


CASES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "aminmax": ((2, 4), lambda x: torch.stack(torch.aminmax(x, dim=1), 1)),
    "traced bounds": ((2, 4), lambda x: x.clamp(max=x.mean(1, keepdim=True))),
    "hypot": ((2, 4), lambda x: torch.hypot(x, x + 3)),
    "logaddexp": ((2, 4), lambda x: torch.logaddexp(x, 2 * x)),
    "logaddexp2": ((2, 4), lambda x: torch.logaddexp2(x, TWO)),
    "xlogy": ((2, 4), lambda x: torch.xlogy(x.relu(), x.abs())),
    "distance": ((1, 4), lambda x: torch.dist(x[0], x[0].sin())[None, None]),
    "cross": ((2, 3, 3), lambda x: torch.linalg.cross(x, x.sin())),
    "addr": ((1, 4), lambda x: torch.addr(EYE, x[0], x[0].sin(), beta=0.5, alpha=2)[None]),
    "nansum": ((2, 4), lambda x: torch.nansum(torch.where(x < 0, torch.nan, x), 1, keepdim=True)),
    "scatter mean": ((2, 4), lambda x: ZEROS[:, :2].scatter_reduce(1, PAIRS, x, "mean", include_self=False)),
    "scatter mean, more": ((2, 4), lambda x: x.sin().scatter_reduce(1, PAIRS, x, "mean")),
    "a traced bias": ((1, 4), lambda x: F.linear(x, EYE, x[0].sin())),
    "lerp in place": ((2, 4), lambda x: x.clone().lerp_(x.sin(), 0.3)),
    "addcmul in place": ((2, 4), lambda x: x.clone().addcmul_(x.sin(), x, value=2)),
    "mse": ((2, 4), lambda x: F.mse_loss(x, TWO, reduction="none")),
    "mse of one": ((1, 4), lambda x: F.mse_loss(x, TWO[:1])[None, None]),
    "huber": ((2, 4), lambda x: F.huber_loss(x, TWO, reduction="none", delta=1.5)),
    "smooth l1": ((2, 4), lambda x: F.smooth_l1_loss(x, TWO, reduction="none")),
    "soft margin": ((2, 4), lambda x: F.soft_margin_loss(x, TWO, reduction="none")),
    "chances": ((2, 4), lambda x: F.binary_cross_entropy(x.sigmoid(), CHANCES, TWO, reduction="none")),
    "logits": (
        (2, 4),
        lambda x: F.binary_cross_entropy_with_logits(x, CHANCES, TWO, reduction="none", pos_weight=TWO[0]),
    ),
    "cross entropy": ((2, 4), lambda x: F.cross_entropy(x, LABELS, reduction="none")[:, None]),
    "smoothed": ((2, 4), lambda x: F.cross_entropy(x, LABELS, reduction="none", label_smoothing=0.1)[:, None]),
    "loss of tokens": (
        (1, 3, 4),
        lambda x: F.cross_entropy(x.transpose(1, 2), torch.tensor([[1, -100, 3]]), BY_CLASS.abs())[None, None],
    ),
    "diag_embed": ((2, 4), torch.diag_embed),
    "diagonal_scatter": ((2, 4), lambda x: torch.diagonal_scatter(SQUARES, x, dim1=1, dim2=2)),
    "block_diag": ((1, 4), lambda x: torch.block_diag(x, x.sin())[None]),
    "index_copy": ((2, 4), lambda x: ZEROS.index_copy(1, torch.tensor([1, 0, 3, 2]), x)),
    "index_fill": ((2, 4), lambda x: x.index_fill(1, torch.tensor([1]), 0.5)),
    "masked_scatter": ((2, 4), lambda x: ZEROS[: len(x)].masked_scatter(TWO > 0, x)),
    "masked_select": ((2, 4), lambda x: x.masked_select(TWO > 0).view(-1, 4)),
    "max_unpool": ((2, 2, 4, 4), lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), [2, 2])),
    "remainder": ((2, 4), lambda x: torch.remainder(x, 1.0) + torch.fmod(x, 0.7)),
    "special": ((2, 4), lambda x: torch.special.entr(x.sigmoid()) + torch.polygamma(1, x.abs() + 1)),
    "quantile": ((2, 4), lambda x: torch.quantile(x, 0.3, dim=1, keepdim=True)),
    "affine grid": ((2, 2, 3), lambda x: F.affine_grid(x, [2, 1, 2, 3], align_corners=False)),
    "affine grid in space": ((1, 3, 4), lambda x: F.affine_grid(x, [1, 1, 2, 2, 2], align_corners=True)),
    "sampled": ((2, 4, 3, 3), sampled()),
    "sampled from corners": ((2, 4, 3, 3), sampled(align=True)),
    "sampled at the border": ((2, 4, 3, 3), sampled(padding="border")),
    "sampled in a mirror": ((2, 4, 3, 3), sampled(padding="reflection")),
    "sampled in a mirror of corners": ((2, 4, 3, 3), sampled(padding="reflection", align=True)),
    "sampled nearest": ((2, 4, 3, 3), sampled("nearest")),
    "sampled in space": (
        (1, 4, 2, 2, 2),
        lambda x: F.grid_sample(x[:, :1], x[:, 1:].permute(0, 2, 3, 4, 1), align_corners=False),
    ),
    "places alone": ((1, 2, 3, 2), lambda x: F.grid_sample(IMAGE, x.tanh(), align_corners=False)),
    "own kernels": ((2, 2, 3, 3), own_kernels),
    "own kernels with steps": ((2, 2, 5, 4), lambda x: own_kernels(x, stride=2, padding=1, dilation=2)),
    "own kernels transposed": (
        (2, 2, 2, 3),
        lambda x: own_kernels(x, transposed=True, stride=2, padding=1, output_padding=1),
    ),
    "a kernel of one example": ((1, 2, 5), lambda x: F.conv1d(x, x[0, :, :4].unflatten(1, (2, 2)), x[0, :, 0])),
    "a kernel on a constant": ((1, 2, 2, 2), lambda x: F.conv3d(BOX, x.unsqueeze(0))),
    "windows laid back": ((2, 4, 3), lambda x: torch.ops.aten.unfold_backward(x, [len(x), 9], 1, 3, 2)),
}
EYE = torch.eye(4, dtype=torch.float64)


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "error::provnet.errors.TraceWarning", "ignore:the result of .aten._to_copy."
)
@pytest.mark.guarantee("ops that are taken apart: the model's numbers, autograd's derivative, and nothing is lost")
@pytest.mark.parametrize("name", CASES)
def test_the_model_is_what_it_was(name: str) -> None:
    shape, function = CASES[name]
    x = seeded(67, *shape)

    def flat(x: Tensor) -> Tensor:
        return function(x).flatten(1)

    leaf = x.clone().requires_grad_()
    wanted = flat(leaf)
    circuit = provnet.trace(flat, x)
    torch.testing.assert_close(circuit.outputs[0], wanted.detach())
    weighting = seeded(68, *wanted.shape)
    (slope,) = torch.autograd.grad((wanted * weighting).sum(), leaf)
    found = circuit.evaluate("real", weighting, "gradient").inputs
    torch.testing.assert_close(found, slope, rtol=1e-9, atol=1e-11)
    report = circuit.evaluate("real", weighting).conservation()
    assert report.holds(1e-8)
    for semiring in ("viterbi", "boolean"):
        circuit.evaluate(semiring, 0)
