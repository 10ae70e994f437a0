"""How many paths there are, how long they are, and how evenly relevance spreads over them; without listing one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.adjoint import refuse_absorbed
from provnet.circuit.counts import count_terms
from provnet.circuit.lengths import path_lengths
from provnet.face.circuit import Circuit
from provnet.face.gate_circuit import GateCircuit
from provnet.semirings.annotations.base import Annotation, Edges
from provnet.semirings.base import Semiring
from provnet.semirings.expectation import Expectation


def count_paths(gates: GateCircuit) -> dict[str, int]:
    """Return {root: number of paths to the target}, exact at any size: the evaluation at one in ℕ ([GKT07] section 3).

    On a coarser grain: the number of monomials, multiplicities counted.
    """
    refuse_absorbed(gates.store, "their number")
    return dict(zip(map(str, gates.roots), count_terms(gates.store), strict=True))


def lengths(gates: GateCircuit) -> dict[str, Counter[int]]:
    """Return {root: {length: number of paths}}, exact; a path's length is its number of variables.

    The degree of a root's polynomial is the largest length. Definition, source: `provnet.circuit.lengths`.
    """
    refuse_absorbed(gates.store, "their lengths")
    return dict(zip(map(str, gates.roots), path_lengths(gates.store), strict=True))


class WeightAndSurprise(Annotation):
    """(|d|, −|d| log |d|), for Expectation: what an edge adds to a path's weight, and to its surprise."""

    name = "path-shares"
    form = "elementwise"

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        share = self.floats(edges.d.abs(), dtype, semiring)
        return torch.stack([share, -torch.xlogy(share, share)], dim=-1)


@dataclass(frozen=True)
class Entropy:
    """The entropy of the paths from each input neuron to the target, in nats, and the mass Σ |w| it is normalised by.

    0 nats is one path that carries everything; log n is n paths of equal weight. 0 where there is no path at all.
    """

    entropy: Tensor
    mass: Tensor

    @property
    def effective_paths(self) -> Tensor:
        """exp(entropy): how many equally weighted paths would be as uncertain."""
        return self.entropy.exp()


def path_entropy(circuit: Circuit, target: Any = "predicted", rule: Any = "zero", **options: Any) -> Entropy:
    """Return how evenly the relevance of each input spreads over its paths: one pass over the blocks.

    Definition: a path π weighs w(π) = Π |d| over its edges; with Z = Σ w and P = w / Z, H = −Σ P log P = log Z + r /
    Z, where (Z, r) is the value in Expectation(Real) of edges valued (|d|, −|d| log |d|). Proof: the second
    component is a derivation, (pq, ps + rq), so a path carries (w, −w log w), and ⊕ adds. Source: Li and Eisner 2009,
    section 6.1; [Du23] section 3. `options` go to `Circuit.evaluate`. Raises: as it does.
    """
    found = circuit.evaluate(
        Expectation("real"), target=target, rule=rule, annotation=WeightAndSurprise(), dtype=torch.float64, **options
    ).inputs
    return entropy_of(*found.unbind(-1))


def entropy_of(mass: Tensor, surprise: Tensor) -> Entropy:
    """Return log Z + r / Z for elements (Z, r) of the expectation semiring; 0 where Z is 0."""
    one = torch.ones_like(mass)
    alive = torch.where(mass > 0, mass, one)
    entropy = torch.where(mass > 0, alive.log() + surprise / alive, torch.zeros_like(mass))
    return Entropy(entropy.clamp(min=0), mass)
