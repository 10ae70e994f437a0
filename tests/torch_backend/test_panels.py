"""Dense edges folded in registers: each body against a loop over far ends, and the routes that use it against the
definition, also at extreme scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import provnet
from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import Wiring, dense
from provnet.rules.lrp.base import Rule
from provnet.semirings.annotations import Threshold
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions import panels
from provnet.torch_backend.contractions.base import Direction, Operands
from provnet.torch_backend.contractions.body import MAX_TIMES, MAX_TIMES_ABS, SCORE, Body
from provnet.torch_backend.contractions.geometry import geometry_of
from provnet.torch_backend.contractions.machine_code import available
from provnet.torch_backend.contractions.numba_engine import NUMBA, NumbaEngine
from provnet.torch_backend.contractions.vector_lines import is_written
from provnet.torch_backend.routes.base import BlockQuestion
from provnet.torch_backend.routes.passing import COUNT, COUNT_BELOW, COUNT_OF_EITHER_SIGN, REACH
from tests.contraction_cases import CASES
from tests.torch_backend.test_extreme_routes import RULES, THETAS, Case, coefficients, extremes, first, pulls, same
from tests.torch_backend.test_faults import traced
from tests.torch_backend.test_routes import by

pytestmark = pytest.mark.skipif(not (NUMBA and available()), reason="numba is not installed")

Numbers = NDArray[Any]
F32, F64, I64 = torch.float32, torch.float64, torch.int64


@dataclass(frozen=True)
class Meant:
    """A body, and what it means, written a second time, on arrays: v, a, w, s0, s1, s2."""

    body: Body
    update: Callable[..., Numbers]
    element: torch.dtype | None = None


def counted(passes: Callable[..., Any]) -> Callable[..., Numbers]:
    return lambda v, a, w, s, t, u: np.where(passes(a * w, s, u), v + t, v)


MEANT = {
    "max-times": Meant(MAX_TIMES, lambda v, a, w, s, t, u: np.fmax(v, s * w)),
    "max-times of sizes": Meant(MAX_TIMES_ABS, lambda v, a, w, s, t, u: np.fmax(v, s * abs(w))),
    "score": Meant(SCORE, lambda v, a, w, s, t, u: np.fmax(v, a * w * s)),
    "reach": Meant(REACH, lambda v, a, w, s, t, u: np.where(a * w >= s, v.dtype.type(1), v)),
    "count": Meant(COUNT, counted(lambda p, s, u: p >= s), F64),
    "count in whole numbers": Meant(COUNT_BELOW, counted(lambda p, s, u: p <= s), I64),
    "count of either sign": Meant(COUNT_OF_EITHER_SIGN, counted(lambda p, s, u: p * u >= s), F64),
    "count of either sign, whole": Meant(COUNT_OF_EITHER_SIGN, counted(lambda p, s, u: p * u >= s), I64),
    "all reached": Meant(
        Body("least", "min(v, max(a / w, s0)) + 1 * abs(s1 - w)", 2, near=True),
        lambda v, a, w, s, t, u: np.minimum(v, np.maximum(a / w, s)) + abs(t - w),
    ),
}
SHAPES: dict[str, Wiring] = {
    "dense": dense(9, 37, 11),
    "narrow": dense(2, 3, 2),
    "longer than a block": dense(1, 5, 300),
    "of one place": convolution(10, 6, 2, (3, 5), (3, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
}


@contextmanager
def always():
    """Take panels for every shape that they know, and share the work among workers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FEWEST_ROWS", "NARROWEST", "ALIVE", "SMALL_GROUPS", "ALONE"):
            patch.setattr(panels, name, 0)
        patch.setattr(torch, "get_num_threads", lambda: 2)
        yield


def drawn(wiring: Wiring, meant: Meant, direction: Direction, dtype: torch.dtype, batch: int, seed: int) -> Operands:
    """Numbers of both signs, with ties, zeros, denormals and infinite weights."""
    generator, geometry = np.random.default_rng(seed), geometry_of(wiring)
    assert geometry is not None
    near, far = (wiring.inputs, wiring.outputs) if direction == "pull" else (wiring.outputs, wiring.inputs)
    body, limits, strange = meant.body, torch.finfo(dtype), meant.body.unreached is not None

    def some(*shape: int, odd: tuple[float, ...]) -> torch.Tensor:
        values = np.where(generator.random(shape) < 0.5, generator.integers(-4, 5, shape) / 4, 0)
        values = np.where(generator.random(shape) < 0.4, generator.standard_normal(shape), values)
        chosen = generator.random(shape) < (0.1 if strange else 0.0)
        return torch.from_numpy(np.where(chosen, generator.choice(odd, shape), values)).to(dtype)

    tiny, large = limits.tiny * limits.eps, limits.max / 2
    scalars = [some(batch, far, odd=(0.0, tiny, large)) for _ in range(body.scalars)]
    if body.scalars > 1 and meant.element is not None:
        scalars[1] = torch.from_numpy(generator.integers(0, 2**40, (batch, far))).to(meant.element)
    if body.scalars > 2:
        scalars[2] = torch.where(scalars[2] < 0, -1.0, 1.0).to(dtype)
    weights = some(geometry.groups * geometry.near * geometry.far, odd=(0.0, -tiny, math.inf, -math.inf))
    weights = weights if strange else torch.where(weights == 0, 1.0, weights).to(dtype)
    return Operands(
        geometry,
        direction,
        weights,
        tuple(scalars),
        torch.from_numpy(generator.random((batch, far)) < (0.6 if strange else 2.0)),
        some(batch, near, odd=(0.0, tiny, -large)) if body.near else None,
        (1.0,) if body is REACH else (),
        0,
        meant.element or dtype,
    )


def looped(wiring: Wiring, meant: Meant, operands: Operands) -> torch.Tensor:
    """Return the fold of each near end over its far ends, one after the other, by the wiring's own list of edges."""
    pull, batch = operands.direction == "pull", len(operands.reached)
    outputs, slots = np.meshgrid(np.arange(wiring.outputs), np.arange(wiring.fan), indexing="ij")
    source, _, weight = wiring.source(outputs.reshape(-1), slots.reshape(-1))
    edges = np.stack([source, outputs.reshape(-1)] if pull else [outputs.reshape(-1), source]).T
    v = np.zeros(
        (batch, wiring.inputs if pull else wiring.outputs), torch.zeros((), dtype=operands.dtype).numpy().dtype
    )
    s0, s1, s2 = (*(s.numpy() for s in operands.scalars), *[operands.reached.numpy()] * 3)[:3]
    order = np.argsort(edges[:, 1], kind="stable")
    for (j, k), at in zip(edges[order], np.asarray(weight).reshape(-1)[order], strict=True):
        a = v[:, j] if operands.near is None else operands.near[:, j].numpy()
        found = meant.update(v[:, j], a, operands.weights[at].numpy(), s0[:, k], s1[:, k], s2[:, k])
        v[:, j] = np.where(operands.reached[:, k].numpy(), found, v[:, j])
    return torch.from_numpy(v)


@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.parametrize("name", MEANT)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.guarantee("Dense edges in registers give what a loop over far ends gives, to the bit, sums of floats too.")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is not reached may be inf * 0
def test_panels_give_what_a_loop_gives(shape: str, name: str, direction: Direction):
    meant, wiring = MEANT[name], SHAPES[shape]
    for dtype, batch in ((F32, 2), (F64, 1)) if name in ("score", "count of either sign") else ((F32, 2),):
        operands = drawn(wiring, meant, direction, dtype, batch, len(name))
        with always():
            found = NumbaEngine().in_registers(meant.body, operands)
        assert found is not None
        wanted = looped(wiring, meant, operands)
        assert torch.equal(found, wanted), (found - wanted).nonzero()


def test_what_panels_leave_to_lists():
    """Few rows, narrow layers, few far ends that live, windows, and bodies that the program has no words for."""
    meant = MEANT["max-times of sizes"]

    def served(wiring: Wiring, part: float = 1.0, meant: Meant = meant) -> bool:
        operands = drawn(wiring, meant, "pull", F32, 1, 0)
        alive = torch.rand(operands.reached.shape, generator=torch.Generator().manual_seed(0)) < part
        object.__setattr__(operands, "reached", alive)
        return NumbaEngine().in_registers(meant.body, operands) is not None

    assert served(dense(8, 16, 5))
    assert served(dense(8, 16, 50), 0.6)
    assert not served(dense(7, 16, 5))
    assert not served(dense(8, 15, 5))
    assert not served(dense(8, 16, 50), 0.2)
    assert not served(convolution(16, 16, 1, (4, 4), (4, 4), (3, 3), (1, 1), (1, 1), (1, 1)))
    assert not served(convolution(16, 16, 1, (4, 4), (2, 2), (1, 1), (2, 2), (0, 0), (1, 1)))
    assert not served(dense(8, 16, 50), 0.9, MEANT["all reached"]), "no number of it leaves a fold as it is"
    floats: dict[str, torch.dtype] = dict.fromkeys(("v", "a", "w", "s0", "s1", "c0", "c1"), F32)
    words = {name: is_written(case.body, floats) for name, case in CASES.items()}
    assert [name for name, written in words.items() if not written] == [
        "reach, in truth values",
        "a user's",
        "a softened maximum",
    ]
    assert not is_written(COUNT, floats | {"s1": I64}), "types that differ are not brought together in silence"
    assert not is_written(MAX_TIMES, floats | {"w": torch.float16})


@pytest.mark.parametrize("semiring", ["boolean", "counting"])
@settings(max_examples=12)
@given(case=extremes(), rule=st.sampled_from(RULES), data=st.data())
def test_thresholds_at_extreme_scales_in_registers(semiring: str, case: Case, rule: Rule, data: st.DataObject):
    circuit, algebra = traced(*case), provnet.semirings.get(semiring)
    if circuit is None:
        return
    theta = Threshold(data.draw(st.sampled_from(THETAS)), strict=data.draw(st.booleans()))
    with by("numba"), always():
        for prepared, _, came, slow, fast in pulls(circuit, algebra, theta, rule):
            same(algebra, fast, slow)
            for value in coefficients(prepared)[:9]:
                asked = BlockQuestion(algebra, Threshold(value, strict=theta.strict))
                same(algebra, *(first(prepared, asked, came, way) for way in ("auto", "reference")))


@pytest.mark.parametrize("semiring", ["boolean", "counting"])
def test_thresholds_on_attained_coefficients(semiring: str):
    """Scores within some ulp of θ are decided literally, and counts compare what was divided."""
    torch.manual_seed(0)
    net, x = nn.Linear(12, 9).requires_grad_(False), torch.randn(1, 8, 12)
    circuit, algebra = provnet.trace(net, x), provnet.semirings.get(semiring)
    (index,) = (n for n, block in enumerate(circuit.session.data.blocks) if block.has_coefficients)
    prepared = circuit.session.workspace(F32).prepared(index, provnet.rules.Zero())
    came = torch.ones(1, 72, dtype=torch.bool if semiring == "boolean" else F64)
    assert isinstance(prepared, Prepared)
    d = prepared.at(torch.arange(72), slice(0, 1)).d
    largest = d.reshape(8, 9, 13)[..., :12].amax(1).flatten()  # a θ that one edge of an input reaches decides it
    with by("numba"), always():
        for value in largest[largest > 0][:60].tolist():
            for strict in (False, True):
                asked = BlockQuestion(algebra, Threshold(value, strict=strict))
                same(algebra, *(first(prepared, asked, came, way) for way in ("auto", "reference")))


@pytest.mark.parametrize("semiring", ["boolean", "counting", "viterbi", "tropical"])
def test_a_transformer_layer_in_registers(semiring: str):
    """Rows of tokens, and heads as groups: the definition, with panels taken everywhere."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, activation="gelu").double().eval()
    circuit = provnet.trace(layer, torch.randn(2, 5, 8).double())
    with by("numba"), always():
        fast = circuit.evaluate(semiring, (1, 3))
    slow = circuit.evaluate(semiring, (1, 3), route="reference")
    if semiring in ("boolean", "counting"):
        assert torch.equal(fast.inputs, slow.inputs)
    else:
        torch.testing.assert_close(fast.inputs, slow.inputs, rtol=1e-13, atol=0)
