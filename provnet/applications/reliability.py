"""The probability that a relevant path exists, when edges fail independently: exact for small circuits, or sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from provnet.circuit import decision_diagram
from provnet.circuit.gates import Neuron
from provnet.circuit.variables import names_of, numbers_of
from provnet.errors import OptionError, ValuationError
from provnet.face.gate_circuit import GateCircuit
from provnet.semirings.bitset64 import Bitset64
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates

BITS = 32
"""Chances are rounded to multiples of 2^-32 when worlds are drawn."""

Chances = float | Tensor | Mapping[Any, float]


@dataclass(frozen=True)
class Reliability:
    """The probability of each root that a path of present edges leads from it to the target.

    error     standard error of a sampled probability, sqrt(p (1 − p) / worlds); 0 of an exact one (up to rounding)
    worlds    how many were drawn, 0 if none
    """

    roots: tuple[Neuron, ...]
    probability: Tensor
    error: Tensor
    worlds: int

    def __getitem__(self, root: Neuron | str) -> float:
        for neuron, value in zip(self.roots, self.probability.tolist(), strict=True):
            if neuron == root or str(neuron) == root:
                return value
        raise OptionError(f"{root} is no root. The roots are {', '.join(map(str, self.roots[:8]))}.")


def reliability(
    gates: GateCircuit,
    chance: Chances = 0.5,
    method: Literal["exact", "sample"] = "exact",
    worlds: int = 64_000,
    seed: int = 0,
    limit: int = 200_000,
    **options: Any,
) -> Reliability:
    """Return the probability that each root's neuron is relevant if edges are present independently.

    chance    the probability of every edge: one number, a tensor in the order of `variables`, or {variable: number}
    method    "exact": by a decision diagram, refused with `LimitError` above `limit` nodes; "sample": `worlds` random
              worlds, 64 an operation (Bitset64), repeatable by `seed`
    options   `rule` and `annotation` in Boolean say which edges count at all, for instance Threshold(0.1); none: all do

    Definition: P(f = 1), f the value in Boolean, the variables being independent. It is the data-complexity-hard
    problem of probabilistic databases (#P: Valiant 1979; Suciu et al. 2011), hence the two ways. Bit i of the value in
    𝔹⁶⁴ is the value in world i, for the projections are homomorphisms; the sample's mean is unbiased.
    Raises: `ValuationError` for chances outside [0, 1], or not one for each variable; `LimitError`.
    """
    chances = chances_of(gates, chance, options)
    if method == "exact":
        found = decision_diagram.probability(gates.store, chances.tolist(), 0.0, 1.0, limit)
        exact = torch.tensor(found, dtype=torch.float64)
        return Reliability(gates.roots, exact, torch.zeros_like(exact), 0)
    if method != "sample":
        raise OptionError(f"method={method!r}: take 'exact' or 'sample'.")
    if worlds < 64:
        raise OptionError(f"worlds={worlds}: worlds come 64 at a time; draw at least that many.")
    words = -(-worlds // 64)
    counts = torch.zeros(len(gates.roots), dtype=torch.int64)
    random = np.random.default_rng(seed)
    step = max((1 << 22) // max(len(chances), 1), 1)
    for start in range(0, words, step):
        drawn = random_worlds(chances, min(step, words - start), random)
        counts += Bitset64().unpack(evaluate_gates(gates.store, Bitset64(), drawn)).sum((0, 2))
    mean = counts.to(torch.float64) / (64 * words)
    return Reliability(gates.roots, mean, (mean * (1 - mean) / (64 * words)).sqrt(), 64 * words)


def exact_fractions(gates: GateCircuit, chance: Fraction, limit: int = 200_000) -> dict[str, Fraction]:
    """Return {root: probability} without any rounding, every edge being present with the probability `chance`."""
    found = decision_diagram.probability(gates.store, [chance] * len(gates.variables), Fraction(0), Fraction(1), limit)
    return dict(zip(map(str, gates.roots), found, strict=True))


def chances_of(gates: GateCircuit, chance: Chances, options: dict[str, Any]) -> Tensor:
    """Return the probability of every variable, float64, 0 where `options` value an edge False in Boolean."""
    if isinstance(chance, Mapping):
        numbers, given = numbers_of(gates.variables), {str(key): float(p) for key, p in chance.items()}
        if set(given) != set(numbers):
            lone = sorted(set(given) ^ set(numbers))
            raise ValuationError(
                f"chances must name just the {len(numbers)} variables; differs: {', '.join(lone[:3])}."
            )
        chances = torch.tensor([given[name] for name in names_of(gates.variables)], dtype=torch.float64)
    elif isinstance(chance, Tensor):
        chances = chance.detach().to("cpu", torch.float64)
    else:
        chances = torch.full((len(gates.variables),), float(chance), dtype=torch.float64)
    if tuple(chances.shape) != (len(gates.variables),) or not bool(((chances >= 0) & (chances <= 1)).all()):
        raise ValuationError(
            f"chances of shape {tuple(chances.shape)}: give a probability in [0, 1] for each of "
            f"{len(gates.variables)} variables."
        )
    if options:
        chances = chances * gates.valuation("boolean", **options).cpu()
    return chances


def random_worlds(chances: Tensor, words: int, random: np.random.Generator) -> Tensor:
    """Return [words, variables] sets of 64 worlds, bit true with the variable's chance, to a multiple of 2^-32.

    From the last binary digit of p to the first, a digit 1 sets each bit with probability ½ (x or r), a 0 clears it (x
    and r): P(x) goes from q to (digit + q) / 2, so that in the end it is 0.digits in base two. 32 random words so make
    64 draws.
    """
    scaled = np.rint(chances.numpy() * 2.0**BITS).astype(np.int64)
    found = np.zeros((words, len(scaled)), np.int64)
    for place in range(BITS):
        drawn = random.integers(-(2**63), 2**63 - 1, found.shape, endpoint=True)
        found = np.where(scaled >> place & 1, found | drawn, found & drawn)
    found[:, scaled >> BITS == 1] = -1
    return torch.from_numpy(found)


def wilson(result: Reliability, z: float = 1.96) -> tuple[Tensor, Tensor]:
    """Return the ends of the Wilson score interval of a sampled probability, 95 % for z = 1.96 (Wilson 1927)."""
    if not result.worlds:
        return result.probability, result.probability
    n, p = result.worlds, result.probability
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)).sqrt()
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
