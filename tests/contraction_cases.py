"""Bodies for compiled contractions with what they mean, written a second time, and a loop over edges, for tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from provnet.circuit.transposed import TransposedConvolution, transposed_convolution
from provnet.circuit.windowed import Convolution, convolution
from provnet.circuit.wiring import Dense, Wiring, dense
from provnet.torch_backend.contractions.base import Direction, Operands
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS, Body
from provnet.torch_backend.contractions.geometry import geometry_of

Update = Callable[..., Any]
NAN, INF = math.nan, math.inf
SOFTENED = "max(v, {0}) + log(1 + exp(-abs(v - {0})))"


@dataclass(frozen=True)
class Case:
    """A body, and what it means, written a second time. `sums`: float sums, which are compared with a tolerance."""

    body: Body
    update: Update
    zero: float | int = 0
    element: torch.dtype | None = None
    second: torch.dtype | None = None
    constants: tuple[float, ...] = ()
    sums: bool = False


CASES = {
    "max-times": Case(MAX_TIMES_ABS, lambda v, a, w, s, t, c, d: max(v, s * abs(w))),
    "max-times, a test of life": Case(
        replace(MAX_TIMES_ABS, unreached=None), lambda v, a, w, s, t, c, d: max(v, s * abs(w))
    ),
    "signed maximum": Case(Body("signed", "max(v, s0 * w)"), lambda v, a, w, s, t, c, d: max(v, s * w), zero=-INF),
    "min-plus": Case(
        Body("min_plus", "min(v, w + s0)", join="min(v, s0)", unreached=(INF,)),
        lambda v, a, w, s, t, c, d: min(v, w + s),
        zero=INF,
    ),
    "reach": Case(
        Body("reach", "1 if a * w >= s0 else v", near=True, join="max(v, s0)", unreached=(NAN,)),
        lambda v, a, w, s, t, c, d: 1 if a * w >= s else v,
    ),
    "reach, in truth values": Case(
        Body("reached", "v or a * w >= s0", near=True, join="v or s0", unreached=(NAN,)),
        lambda v, a, w, s, t, c, d: bool(v) or bool(a * w >= s),
        element=torch.bool,
    ),
    "counting": Case(
        Body("count", "v + (s1 if a * w >= s0 else 0)", 2, near=True, join="v + s0", unreached=(INF, 0)),
        lambda v, a, w, s, t, c, d: v + (t if a * w >= s else type(t)(0)),
        element=torch.int64,
        second=torch.int64,
    ),
    "bottleneck": Case(
        Body("bottleneck", "max(v, min(a * w / s0, s1))", 2, near=True, join="max(v, s0)", unreached=(1, -INF)),
        lambda v, a, w, s, t, c, d: max(v, min(a * w / s, t)),
        zero=-INF,
    ),
    "a user's": Case(
        Body("user", "v + c0 * abs(s0 - w) if s0 < w and w < c1 and s0 != 0 else v"),
        lambda v, a, w, s, t, c, d: v + c * abs(s - w) if s < w < d and s != 0 else v,
        constants=(0.1, 0.7),
        sums=True,
    ),
    "a softened maximum": Case(
        Body("softened", SOFTENED.format("(w + s0)"), join=SOFTENED.format("s0"), unreached=(-1e30,)),
        lambda v, a, w, s, t, c, d: np.logaddexp(v, w + s),
        zero=-1e30,
        sums=True,
    ),
}


@st.composite
def wirings(draw: st.DrawFn) -> Dense | Convolution | TransposedConvolution:
    """Small dense layers, convolutions and transposed ones, on one to three axes; every second has several rows or
    groups."""
    if draw(st.booleans()):
        return dense(draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    groups, per_in, per_out = draw(st.integers(1, 2)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    most = {1: 9, 2: 4, 3: 2}[axes := draw(st.integers(1, 3))]
    axis = st.tuples(
        st.integers(1, most),
        st.integers(1, 2 if axes == 3 else 3),
        st.integers(1, 3),
        st.integers(0, 2),
        st.integers(1, 2),
    )
    size, kernel, stride, padding, dilation = zip(*(draw(axis) for _ in range(axes)), strict=True)
    reach = [d * (k - 1) + 1 - 2 * p for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = tuple(max(n, r) for n, r in zip(size, reach, strict=True))
    target = tuple((n - r) // s + 1 for n, r, s in zip(size, reach, stride, strict=True))
    make = convolution
    if draw(st.booleans()):  # the same read backwards
        make, size, target = transposed_convolution, target, size
    return make(per_in * groups, per_out * groups, groups, size, target, kernel, stride, padding, dilation)


def numbers(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Quarters from -1 to 1, so that there are ties and zeros, and between them numbers of full precision."""
    coarse = generator.integers(-4, 5, shape) / 4
    return np.where(generator.random(shape) < 0.7, coarse, generator.standard_normal(shape))


def operands_of(
    case: Case,
    wiring: Wiring,
    direction: Direction,
    batch: int,
    dtype: torch.dtype,
    seed: int,
    reached: float = 0.7,
    device: str = "cpu",
) -> Operands:
    geometry = geometry_of(wiring)
    assert geometry is not None
    generator = np.random.default_rng(seed)
    near, far = (wiring.inputs, wiring.outputs) if direction == "pull" else (wiring.outputs, wiring.inputs)
    make = lambda *shape: torch.from_numpy(numbers(generator, *shape)).to(device, dtype)  # noqa: E731
    first, second = make(batch, far), make(batch, far)
    if case.body.name == "bottleneck":
        first = torch.where(first == 0, 1, first)
    if case.second is not None:
        second = torch.from_numpy(generator.integers(0, 2**40, (batch, far))).to(device, case.second)
    return Operands(
        geometry,
        direction,
        make(geometry.groups * geometry.near * geometry.far * geometry.taps),
        (first, second)[: case.body.scalars],
        torch.from_numpy(generator.random((batch, far)) < reached).to(device),
        make(batch, near) if case.body.near else None,
        case.constants,
        case.zero,
        case.element or dtype,
    )


def looped(case: Case, wiring: Wiring, operands: Operands) -> Tensor:
    """Return v by a loop over the edges that the wiring lists, in numpy's scalars of the operands' types."""
    pull = operands.direction == "pull"
    scalars = [s.cpu().numpy() for s in operands.scalars]
    weights, reached = operands.weights.cpu().numpy(), operands.reached.cpu().numpy()
    near = None if operands.near is None else operands.near.cpu().numpy()
    c, d = (weights.dtype.type(number) for number in (*operands.constants, 0, 0)[:2])
    v = torch.full(
        (len(reached), wiring.inputs if pull else wiring.outputs), operands.zero, dtype=operands.dtype
    ).numpy()
    for output in range(wiring.outputs):
        for slot in range(wiring.fan):
            source, present, weight = wiring.source(output, slot)
            j, k = (source, output) if pull else (output, source)
            for b in range(len(reached)):
                if present and reached[b, k]:
                    s, t = scalars[0][b, k], scalars[-1][b, k]
                    a = None if near is None else near[b, j]
                    v[b, j] = case.update(v[b, j], a, weights[weight], s, t, c, d)
    return torch.from_numpy(v)
