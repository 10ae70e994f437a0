"""Why is a pixel not relevant? The fewest edges that would have to pass the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provnet.circuit.gates import Neuron, Variable
from provnet.face.circuit import Circuit
from provnet.semirings.annotations.edits import Edits
from provnet.semirings.annotations.threshold import Threshold


@dataclass(frozen=True)
class Blocker:
    """An edge that a path lacks: its coefficient d is below θ by `deficit`."""

    variable: Variable
    coefficient: float
    deficit: float


@dataclass(frozen=True)
class Repair:
    """One way to make the neuron relevant: let these edges pass. None is needed if it is relevant already."""

    blockers: tuple[Blocker, ...]
    path: tuple[Variable, ...]

    def __len__(self) -> int:
        return len(self.blockers)

    def __str__(self) -> str:
        shown = [f"{b.variable} (d = {b.coefficient:.3g}, short by {b.deficit:.3g})" for b in self.blockers]
        return " and ".join(shown) or "relevant already"


def why_not(
    circuit: Circuit,
    at: str | Neuron | tuple[object, ...],
    theta: float | Mapping[str, float] | Threshold = 1e-9,
    target: Any = "predicted",
    batch: int = 0,
    rule: Any = "zero",
    k: int = 1,
    deficit: bool = False,
    paths: int = 1000,
    **options: Any,
) -> list[Repair]:
    """Return the k cheapest sets of edges that block a neuron's Boolean relevance at θ, cheapest first.

    at        one neuron, (path, index…)
    deficit   False: the fewest edges; True: the least total rise of coefficients
    paths     among how many best paths the sets are looked for: two paths may be blocked by the same edges
    options   of `Circuit.gates` (limit=, pooling=, …)

    Definition: with cost 0 on edges that pass and 1 (or θ − d) on others, the value in Tropical is the least cost of
    the edges to be let pass so that some path of passing edges leads from the neuron to the target; it is 0 iff the
    neuron is relevant.
    Proof: letting a set E pass makes the neuron relevant iff a path has all its blocked edges in E; the cheapest E is
    the blocked edges of one path, and a path's tropical product is their cost. The coefficients of other edges are
    held fixed. An empty list: no path at all, or only over edges whose coefficient is undefined.
    The same for a whole image: `circuit.evaluate("tropical", annotation=Edits(theta)).inputs`.
    """
    gates = circuit.gates(target=target, batch=batch, at=at, **options)
    edits = Edits(theta, deficit=deficit)
    costs = gates.valuation("tropical", rule, edits)
    shortfalls = gates.valuation("tropical", rule, Edits(edits.threshold, deficit=True))
    coefficients = gates.valuation("real", rule, "identity")
    found: dict[frozenset[int], Repair] = {}
    for path in gates.best_paths(k=max(k, paths) if k > 1 else 1, semiring="tropical", valuation=costs):
        blocked = [i for i in path.numbers if costs[i] > 0]
        blockers = (Blocker(gates.variables[i], float(coefficients[i]), float(shortfalls[i])) for i in blocked)
        found.setdefault(frozenset(blocked), Repair(tuple(blockers), path.variables))
        if len(found) == k:
            break
    return list(found.values())
