"""The k best paths of explicit gates: one vectorised sweep for the values, then a lazy traceback."""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from provnet.circuit.adjoint import refuse_absorbed
from provnet.circuit.derivations import Derivations, WeightedPath
from provnet.circuit.gates import GateStore
from provnet.errors import OptionError, UnsupportedOperationError
from provnet.semirings.base import Semiring
from provnet.torch_backend.gates.evaluate_gates import evaluate_every_gate

TIMES: dict[str, Callable[[Any, Any], Any]] = {
    "max-times": operator.mul,
    "min-plus": operator.add,
    "max-plus": operator.add,
    "max-min": min,
    "min-max": max,
    "or-and": operator.and_,
}
"""⊗ on Python numbers, by the semiring's family. Others call the semiring's own ⊗ on tensors without axes."""


def best_paths(store: GateStore, gate: int, semiring: Semiring, valuation: Tensor, k: int) -> list[WeightedPath]:
    """Return the k best paths of one gate with their variables, best first; fewer if there are fewer.

    Args: `valuation` [variables], one element each; values are combined in float64 where they are floats.
    Paths that are equal in value are told apart by the first ⊕ at which they part: the earlier operand comes first. On
    a coarser grain than `edge`, two paths may have the same variables. A path of value zero is none.
    Raises: `UnsupportedOperationError` unless ⊕ chooses one of two numbers (Viterbi, Tropical, Arctic, Bottleneck and
    their kin), or if k > 1 and paths were absorbed; `OptionError` if k < 1.
    Source: Huang and Chiang 2005; for k = 1 the Viterbi traceback. Carrying the path in the value would break
    distributivity where ties are, unless ⊗ is strictly monotone (not so in Fuzzy and Łukasiewicz).
    """
    return [path for _, path in best_of_gates(store, [gate], semiring, valuation, k)]


def best_of_gates(
    store: GateStore, gates: Sequence[int], semiring: Semiring, valuation: Tensor, k: int
) -> list[tuple[int, WeightedPath]]:
    """Return the k best paths of several gates together, each with its gate's place in the list, best first.

    Of equal ones the earlier gate's comes first. Arguments, ties, errors and source as of `best_paths`.
    """
    if k < 1:
        raise OptionError(f"k={k}: ask for one path or more.")
    if not semiring.selective or semiring.element_shape:
        raise UnsupportedOperationError(
            f"a path's traceback needs a semiring whose ⊕ chooses one of two numbers; {semiring.name!r} does not. Take "
            "viterbi, tropical, arctic, bottleneck, fuzzy, max-times, min-plus or lukasiewicz."
        )
    if k > 1:
        refuse_absorbed(store, "any but the best path")
    if valuation.is_floating_point():
        valuation = valuation.to(torch.float64)
    values = evaluate_every_gate(store, semiring, valuation).cpu()
    if values.dtype == torch.bool:
        values = values.to(torch.int8)
    largest = bool(semiring.one > semiring.zero)  # zero is the worst element
    worse = operator.neg if largest else operator.pos
    found = Derivations(store, values.numpy(), worse, _times(semiring, valuation), semiring.zero, k)
    streams = [_ranked(found, gate, place, worse) for place, gate in enumerate(gates)]
    best = islice(heapq.merge(*streams, key=operator.itemgetter(0, 1)), k)
    return [(place, WeightedPath(value, tuple(store.variables[i] for i in ids), ids)) for _, place, value, ids in best]


def _ranked(found: Derivations, gate: int, place: int, worse: Callable[[Any], Any]) -> Iterator[Any]:
    return ((worse(value), place, value, numbers) for value, numbers in found.best(gate))


def _times(semiring: Semiring, like: Tensor) -> Callable[[Any, Any], Any]:
    if semiring.family in TIMES:
        return TIMES[semiring.family]

    def times(x: Any, y: Any) -> Any:
        return semiring.times(torch.tensor(x, dtype=like.dtype), torch.tensor(y, dtype=like.dtype)).item()

    return times
