"""Compiled edges of semirings in which relevance bounds messages, and quotients that are made of products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import provnet
from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import Wiring, dense
from provnet.torch_backend.contractions import living_lists, panels
from provnet.torch_backend.contractions.base import Operands
from provnet.torch_backend.contractions.body import edge_body
from provnet.torch_backend.contractions.geometry import geometry_of
from provnet.torch_backend.contractions.machine_code import available
from provnet.torch_backend.contractions.numba_engine import NUMBA, NumbaEngine
from provnet.torch_backend.routes import outranked
from tests.torch_backend.test_routes import by

pytestmark = pytest.mark.skipif(not (NUMBA and available()), reason="numba is not installed")

SHAPES: dict[str, Wiring] = {
    "in registers": dense(8, 16, 40),
    "lists": convolution(16, 40, 1, (16,), (16,), (1,), (1,), (0,), (1,)),
}


def mantissas(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers from 1 to 2 of either sign, many with few bits, or with few that are not set: quotients near two floats'
    middle are among theirs."""
    bits = generator.integers(0, 1 << 23, shape)
    few = (1 << generator.integers(0, 23, shape)) + generator.integers(-2, 3, shape)
    bits = np.where(generator.random(shape) < 0.5, bits, np.where(generator.random(shape) < 0.5, few, ~few))
    sizes = (np.uint32(127 << 23) | (bits & ((1 << 23) - 1)).astype(np.uint32)).view(np.float32)
    return np.where(generator.random(shape) < 0.5, sizes, -sizes).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.guarantee(
    "Quotients that are made of products are, to the bit, those of a division, where numbers are ordinary."
)
def test_quotients_made_of_products(shape: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(living_lists, "FEWEST", 0)
    monkeypatch.setattr(panels, "FEWEST_ROWS", 0 if shape == "in registers" else 1 << 20)
    wiring, generator = SHAPES[shape], np.random.default_rng(0)
    geometry = geometry_of(wiring)
    assert geometry is not None
    made = lambda *size: torch.from_numpy(mantissas(generator, *size)).to(dtype)  # noqa: E731
    if dtype == torch.float64:
        made = lambda *size: torch.from_numpy(generator.standard_normal(size))  # noqa: E731
    near, far = 8, wiring.outputs
    a, z = made(near, wiring.inputs), made(near, far)
    z[:, ::7] *= 2.0**30
    a[:, ::5] *= 2.0**-60
    a[:, ::9] = 0
    infinite = torch.full_like(z, torch.inf)
    body = edge_body("edges", "max(x, y)", "min(x, y)", "abs(d)", (1.0, -torch.inf), ordinary=True)
    weights = made(geometry.far * geometry.near)
    # One edge alone for each input, so that every quotient is seen.
    for channel in range(0, geometry.far, 3):
        reached = torch.zeros(near, geometry.far, geometry.positions, dtype=torch.bool)
        if shape == "in registers":
            reached = torch.zeros(near, geometry.per_example, geometry.far, dtype=torch.bool)
            reached[:, :, channel] = True
        else:
            reached[:, channel] = True
        operands = Operands(
            geometry, "pull", weights, (z, infinite), reached.reshape(near, -1), a, zero=-torch.inf, dtype=dtype
        )
        if shape == "in registers":
            p = a.view(near, -1, 16) * weights.view(40, 16)[channel]
            wanted = (p / z.view(near, -1, 40)[..., channel, None]).abs().reshape(near, -1)
        else:
            p = a.view(near, 16, 16) * weights.view(40, 16)[channel][:, None]
            wanted = (p / z.view(near, 40, 1, 16)[:, channel]).abs().reshape(near, -1)
        monkeypatch.setattr(panels, "ALIVE", 0)
        assert torch.equal(NumbaEngine().contract(body, operands), wanted)


def layers(kind: str, generator: torch.Generator) -> tuple[nn.Module, torch.Tensor]:
    if kind == "dense":
        return nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 9)), torch.randn(8, 40, generator=generator)
    model = nn.Sequential(nn.Conv2d(3, 18, 3, padding=1), nn.ReLU(), nn.Conv2d(18, 17, 3, padding=1))
    return model, torch.randn(2, 3, 5, 5, generator=generator)


@pytest.mark.parametrize("scale", [1.0, 1e-30])
@pytest.mark.parametrize("kind", ["dense", "convolutions"])
@pytest.mark.parametrize("semiring", ["bottleneck", "fuzzy", "lukasiewicz"])
@pytest.mark.guarantee("Where relevance bounds messages, most of it is not asked, and the answer is the definition's.")
def test_what_is_outranked_is_not_asked(semiring: str, kind: str, scale: float, monkeypatch: pytest.MonkeyPatch):
    """Relevance of either sign and 0; activations of which some are 0, and some near the denormal numbers."""
    generator = torch.Generator().manual_seed(len(semiring))
    torch.manual_seed(3)
    model, x = layers(kind, generator)
    x[..., ::4], x[..., 1::7] = 0, scale * 1e-8
    circuit = provnet.trace(model, x)
    start = torch.rand(circuit.outputs[0].shape, generator=generator)
    if semiring == "bottleneck":
        start = torch.where(start < 0.3, -start, torch.where(start < 0.6, 0.0, start))
        start[0] = -start[0].abs()  # the first example has nothing above 0, the next one at a single output
        start[1].view(-1)[1:].abs_().neg_()
    asked: list[bool] = []
    made = outranked._body
    monkeypatch.setattr(outranked, "_body", lambda *given: (asked.append(given[-1]), made(*given))[1])
    for few in (64, 0, 1 << 30):  # what is unsure is listed where it is little, listed always, folded again
        monkeypatch.setattr(outranked, "FEW", few)
        with by("numba"):
            fast = circuit.evaluate(semiring, target=start)
        slow = circuit.evaluate(semiring, target=start, route="reference")
        assert torch.equal(fast.inputs, slow.inputs)
    assert any(asked), "quotients are made of products"
