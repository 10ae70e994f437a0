"""`python -m tests.extreme_search [--seconds S] [--seed N]`: random single blocks at extreme scales, for long.

Each has weights, activations and arriving relevance of a few scales, by tensor or entry by entry. Every route that fits
is held against the exact answer and the definition in floats (`tests/exact_blocks.py`), the compiled kernels too. What
is found is printed with its seed, by which `check(seed)` finds it again.
"""

from __future__ import annotations

import argparse
import secrets
import time
from collections import Counter
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

import provnet
from provnet.errors import NonFiniteError
from provnet.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, Zero, ZPlus
from provnet.semirings import annotations
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.contractions.numba_engine import NUMBA
from provnet.torch_backend.routes.base import BlockQuestion, Pulled
from provnet.torch_backend.routes.reference import ReferenceRoute
from provnet.torch_backend.walk import evaluate as walk
from tests.exact_blocks import Exact, exact_pull, excess
from tests.torch_backend.test_routes import by

SCALES = {
    torch.float32: (0.0, 1e-45, 1e-42, 1e-38, 1e-30, 1e-19, 1e-10, 1e-3, 1.0, 1e3, 1e10, 1e19, 1e30),
    torch.float64: (0.0, 5e-324, 1e-315, 1e-300, 1e-160, 1e-20, 1.0, 1e20, 1e100, 1e160, 1e300),
}
COSTS = (0.0, 1e-6, 1.0, 10.0, 40.0, 80.0, 150.0, 400.0, 1e3, 1e6)
RULES = (
    Zero(),
    Zero(),
    Epsilon(1e-6),
    Epsilon(0.1),
    Gamma(0.25),
    Gamma(0.25, signed=True),
    AlphaBeta(2, 1),
    ZPlus(),
    WSquare(),
    Flat(),
)


def layer(rng: np.random.Generator) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a layer without values, and the shape of an example."""
    bias, small = bool(rng.integers(2)), int(rng.integers(1, 8))
    match int(rng.integers(6)):
        case 0 | 1 | 2:
            return nn.Linear(small, int(rng.integers(1, 7)), bias), (small,)
        case 3:
            return nn.Conv2d(2, 3, 2, padding=int(rng.integers(2)), bias=bias), (2, 3, 3)
        case 4:
            return nn.Conv1d(4, 4, 2, stride=2, groups=2, bias=bias), (4, 6)
        case _:
            return nn.Sequential(nn.Conv1d(2, 3, 1, bias=bias), nn.BatchNorm1d(3)), (2, 2)


class Drawn:
    """Numbers of few scales."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = torch.float32 if self.rng.integers(3) else torch.float64
        scales = SCALES[self.dtype][1:]
        self.scales = self.rng.choice(scales, int(self.rng.integers(1, 5)))

    def filled(
        self, size: torch.Size | tuple[int, ...], scales: np.ndarray | None = None, positive: bool = False
    ) -> Tensor:
        scales = self.scales if scales is None else scales
        values = self.rng.standard_normal(tuple(size))
        values = np.abs(values) if positive or self.rng.integers(2) else values
        mixed = self.rng.integers(3) == 0
        scale = self.rng.choice(scales, tuple(size) if mixed else (1,) * len(size))
        kept = self.rng.random(tuple(size)) < self.rng.choice([1.0, 1.0, 0.6])
        with np.errstate(over="ignore"):
            return torch.from_numpy(np.where(kept, values * scale, 0.0)).to(self.dtype)

    def relevance(self, semiring: str, shape: tuple[int, ...]) -> Tensor:
        if semiring == "tropical":
            costs = self.filled(shape, self.rng.choice(COSTS, 3), positive=True)
            return torch.where(torch.from_numpy(self.rng.random(shape) < 0.2), torch.inf, costs)
        if semiring == "viterbi":
            small = np.array([s for s in SCALES[self.dtype] if s <= 1])
            return self.filled(shape, self.rng.choice(small, 3), positive=True).clamp(max=1)
        return self.filled(shape, self.rng.choice(SCALES[self.dtype], int(self.rng.integers(1, 4))))


def check(seed: int) -> str | None:
    """Return what is wrong with the block of a seed; the name of the route that answered, with a dash; or None."""
    drawn = Drawn(seed)
    with torch.random.fork_rng(devices=[]):
        model, shape = layer(drawn.rng)
    model = model.to(drawn.dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(drawn.filled(parameter.shape))
    try:
        circuit = provnet.trace(model, drawn.filled((2, *shape)))
        workspace = circuit.session.workspace(drawn.dtype)
        rule = RULES[int(drawn.rng.integers(len(RULES)))]
        prepared = workspace.prepared(0, rule)
    except NonFiniteError:
        return None
    assert isinstance(prepared, Prepared), "one layer is one operand"
    semiring = provnet.semirings.get(str(drawn.rng.choice(["real", "viterbi", "tropical"])))
    question = BlockQuestion(semiring, annotations.get(semiring.annotation))
    came = drawn.relevance(semiring.name, (2, prepared.block.wiring.outputs))
    try:
        (slow,) = ReferenceRoute().pull(prepared, question, [came])
    except NonFiniteError:
        return None
    if not (_finite(slow.inputs, semiring.name) and (slow.bias is None or _finite(slow.bias, semiring.name))):
        return None
    if not all(
        bool(torch.isfinite(x).all())
        for p in rule.products
        for x in (p.weights(prepared.w), prepared.b, p.biases(prepared.b) if prepared.b is not None else None)
        if x is not None
    ):
        return None  # g(w) left the floats
    with by("numba" if NUMBA and drawn.rng.integers(2) else "torch"):
        ((fast,),), step = walk._route(prepared, question, [came], "auto")
    exact = exact_pull(prepared, semiring.name, came)
    problem = _problem(semiring.name, fast, slow, exact)
    return (
        f"-{semiring.name} {step.route}{' rescued' if 'left' in step.why else ''}"
        if problem is None
        else f"{problem} ({semiring.name}, {rule}, {drawn.dtype}, {step.route})"
    )


def _finite(x: Tensor, semiring: str) -> bool:
    return bool(torch.isfinite(x).all()) if semiring != "tropical" else not bool(torch.isnan(x).any())


def _problem(semiring: str, fast: Pulled, slow: Pulled, exact: Exact) -> str | None:
    for what in ("inputs", "bias"):
        if getattr(exact, what) is None:
            continue
        worst = excess(semiring, what, getattr(fast, what), getattr(slow, what), exact)
        if worst > 1:
            return f"{what} are {worst:.3g} times as far off as they may be"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="the first block's seed; default: a random one")
    given = parser.parse_args()
    torch.set_num_threads(1)
    first = secrets.randbelow(1 << 40) if given.seed is None else given.seed
    end, answered, wrong = time.monotonic() + given.seconds, Counter[str](), 0
    print(f"first seed {first}", flush=True)
    for seed in count(first):
        if time.monotonic() > end:
            break
        said = check(seed)
        if said is None or said.startswith("-"):
            answered[said or "refused"] += 1
        else:
            wrong += 1
            print(seed, said, flush=True)
    print(f"{sum(answered.values()) + wrong} blocks, {wrong} wrong;", dict(answered))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
