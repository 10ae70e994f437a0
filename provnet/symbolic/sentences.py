"""Paths as sentences: where one begins, what it passes, where it ends, what it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from provnet.circuit.derivations import WeightedPath
from provnet.circuit.gates import Neuron, Variable
from provnet.symbolic.naming import Naming, number_text


def sentence(
    path: WeightedPath,
    naming: Naming,
    meaning: str = "",
    root: Neuron | None = None,
    passed: Callable[[Variable], bool] = lambda variable: True,
) -> str:
    """Return one path as a sentence.

    naming    names of neurons, and the value of each edge.
    meaning   what the value is, such as "in viterbi".
    root      the neuron that the path starts from, named where the path itself has no edge.
    passed    of which variables the neuron at the far end is named on the way; the ends always are.
    Example: "input[1] reaches 2[0] through 0[1] and carries 0.625 in viterbi: 0.75 by 0[1<-1], 0.83 by 2[0<-1]."
    """
    carried = f"carries {number_text(path.value, naming.digits)}" + (f" {meaning}" if meaning else "")
    stops = _stops(path.variables, passed)
    if len(stops) < 2:
        start = naming.neuron(root) if root is not None else "the root"
        edges = " ⊗ ".join(map(naming.symbol, path.variables))
        return f"{start} {carried}{': ' + edges if edges else ', over no edge of its own'}."
    start, *between, end = map(naming.neuron, stops)
    through = f" through {' and '.join(between)}" if between else ""
    return f"{start} reaches {end}{through} and {carried}{_edges(path, naming)}."


def _edges(path: WeightedPath, naming: Naming) -> str:
    if naming.values is None:
        return ""
    values: Any = naming.values
    parts = [f"{number_text(values[v.name], naming.digits)} by {naming.symbol(v)}" for v in path.variables]
    return f": {', '.join(parts)}"


def _stops(variables: tuple[Variable, ...], passed: Callable[[Variable], bool]) -> list[Neuron]:
    """Return the neurons of a path: where its first edge leaves, where those that are named arrive, and its end."""
    if not variables or variables[0].source is None or any(v.target is None for v in variables):
        return []
    named = [v for v in variables[:-1] if passed(v)]
    return [variables[0].source, *(v.target for v in (*named, variables[-1]) if v.target is not None)]
