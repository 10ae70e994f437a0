"""The best paths from tokens, pixels or any neurons to the target, in circuits of any size.

A 12-layer transformer has far more edges than explicit gates can hold, but its best paths lie in a small part of it: a
path is worth no more than the relevance of each neuron it passes, so that neurons below the worst path asked for are
left out before any gate is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.conventions import NAMES
from provnet.circuit.derivations import WeightedPath
from provnet.circuit.gates import Neuron, Variable
from provnet.errors import OptionError, UnsupportedOperationError
from provnet.face import Circuit, GateCircuit, Relevance
from provnet.face.circuit import conventions_of
from provnet.face.gate_expansion import expand_gates
from provnet.rules import lrp
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get
from provnet.symbolic.naming import Naming, aliases_of
from provnet.symbolic.sentences import sentence
from provnet.torch_backend.gates.best_paths import best_of_gates

SLACK = 1e-3
"""How far relevance by a fast route in single precision may lie from the value of its best path, relatively."""

FALLS = (0.9, 0.75, 0.5, 0.25, 0.1, 0.01, 1e-4)
"""Where there are fewer starting neurons than paths: parts of the best value, down to which paths are looked for."""

CHANGING = ("linear", "product", "pooling", "softmax")
"""Roles of the blocks at which a path changes: residual sums, scales and norms carry a neuron on to its own place."""


@dataclass(frozen=True, eq=False)
class BestPaths:
    """The best paths from some neurons to the target, best first: `zip(found.starts, found.paths)`.

    gates      the explicit circuit of the neurons that these paths may pass
    changing   the numbers of the blocks at which a path changes, so that sentences name what it passes there
    """

    starts: tuple[Neuron, ...]
    paths: tuple[WeightedPath, ...]
    gates: GateCircuit
    semiring: str
    changing: frozenset[int]

    def __len__(self) -> int:
        return len(self.paths)

    def sentences(self, aliases: Mapping[Any, Any] | None = None) -> list[str]:
        """Return each path as a sentence that names its ends and the neurons of linear maps and products between.

        aliases   other names for neurons, as of `GateCircuit.sentences`.
        Example: `found.sentences({"embedding": lambda token, feature: repr(texts[token])})`
        """
        naming = Naming(aliases_of(aliases))

        def passed(variable: Variable) -> bool:
            return variable.key is not None and variable.key[0] in self.changing

        pairs = zip(self.starts, self.paths, strict=True)
        return [sentence(path, naming, f"in {self.semiring}", start, passed) for start, path in pairs]


def best_paths(
    circuit: Circuit,
    target: Any = "predicted",
    k: int = 100,
    semiring: Any = "viterbi",
    rule: Any = "zero",
    at: str | None = None,
    batch: int = 0,
    output: str | int | None = None,
    limit: int = 1_000_000,
    **conventions: Any,
) -> BestPaths:
    """Return the k best paths from the neurons of a tensor to the target of one example, all of them together.

    Args
        target        one neuron, as of `Circuit.gates`
        k             how many; fewer come back if there are fewer
        semiring      one in which ⊕ chooses and no factor makes a path better: viterbi, tropical, bottleneck, fuzzy
        at            the tensor in which paths start; None: the only source
        limit         the largest number of gates for the neurons that are not left out
        conventions   products, softmax, norm, pooling, bias, as of `Circuit.evaluate`

    Definition: with R_j the relevance of neuron j, a path through j is worth R_j at most, for R_j is the ⊕ of its upper
    parts and ⊗ is absorptive. At least k paths are worth the k-th best R of the starting neurons; where there are
    fewer of them than k, floors are tried from above until k paths lie above one. So none better was left out.
    Raises: `UnsupportedOperationError`, `OptionError`, `LimitError`, and as `Circuit.evaluate`.
    Memory: the relevance of every tensor, and the gates. Source of the search: Huang and Chiang 2005, algorithm 3.
    Example: `print(*best_paths(circuit, (-1, 464)).sentences(), sep="\\n")`
    """
    algebra = get(semiring)
    if not (algebra.selective and algebra.absorptive) or algebra.element_shape or algebra.name == "boolean":
        raise UnsupportedOperationError(
            f"the best of many paths needs a semiring whose ⊕ chooses one of two numbers, and in which no factor makes "
            f"a path better; {algebra.name!r} is none. Take semiring='viterbi', 'tropical', 'bottleneck' or 'fuzzy'."
        )
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise OptionError(f"k={k!r}: ask for one path or more, such as k=100.")
    asked = conventions_of(conventions)
    if at is None and len(circuit.session.data.sources) > 1:
        raise OptionError(f"paths start in one tensor: give one of the sources {', '.join(circuit.sources)} as at=.")
    start = next(iter(circuit.session.data.sources)) if at is None else circuit.session.data.find(at)
    given = {name: getattr(asked, name) for name in NAMES}
    found = circuit.evaluate(algebra, target, rule, at="*", output=output, **given)
    worth = _worth(algebra, found.rows(start)[batch])
    for floor in _floors(worth, k):
        gates = _gates(circuit, algebra, found, floor, start, worth, (target, batch, output, limit), asked)
        elements = gates.elements(algebra, None, rule, None)
        roots = gates.store.root_gates.tolist()
        best = best_of_gates(gates.store, roots, algebra, elements, k) if roots else []
        values = _worth(algebra, torch.tensor([path.value for _, path in best], dtype=torch.float64))
        if floor == -np.inf or (len(best) == k and values[-1] >= floor - SLACK / 2 * abs(floor)):
            break
    blocks = circuit.session.workspace(circuit.session.floating(None), None, asked).circuit.blocks
    changing = frozenset(number for number, block in enumerate(blocks) if block.role in CHANGING)
    starts, paths = tuple(gates.roots[place] for place, _ in best), tuple(path for _, path in best)
    return BestPaths(starts, paths, gates, algebra.name, changing)


def _worth(algebra: Semiring, elements: Tensor) -> NDArray[np.float64]:
    """Return elements as numbers of which the greatest is the best, -inf for zero."""
    found = elements.detach().cpu().to(torch.float64).numpy()
    found = -found if float(algebra.zero) > float(algebra.one) else found  # type: ignore[arg-type]
    return np.where(found == (-1 if float(algebra.zero) > 0 else 1) * float(algebra.zero), -np.inf, found)  # type: ignore[arg-type]


def _floors(worth: NDArray[np.float64], k: int) -> Iterator[float]:
    """Yield the worths down to which paths are looked for, from above; -inf, for all paths, is the last."""
    alive = np.sort(worth[worth > -np.inf])[::-1]
    if len(alive) >= k:
        yield float(alive[k - 1])
    elif len(alive):
        best = float(alive[0])
        yield from (best * part if best > 0 else best - (1 / part - 1) for part in FALLS)
    yield -np.inf


def _gates(
    circuit: Circuit,
    algebra: Semiring,
    found: Relevance,
    floor: float,
    start: int,
    worth: NDArray[np.float64],
    question: tuple[Any, int, Any, int],
    conventions: Any,
) -> GateCircuit:
    """Return the explicit circuit of the neurons that are worth `floor`, from those of the tensor `start`."""
    target, batch, output, limit = question
    least = floor - SLACK * abs(floor) if floor > -np.inf else floor

    @cache
    def within(activation: int) -> NDArray[np.bool_]:
        worth = _worth(algebra, found.rows(activation)[batch])
        return (worth >= least) & (worth > -np.inf)

    held = circuit.session.data.activations[start]
    numbers = np.flatnonzero((worth >= least) & (worth > -np.inf))
    index = np.stack(np.unravel_index(numbers, held.shape), 1).tolist() if held.shape else [()] * len(numbers)
    at = [(held.name, *place) for place in index]
    return expand_gates(
        circuit.session,
        conventions=conventions,
        target=target,
        batch=batch,
        at=at,
        grain="edge",
        units=False,
        biases=False,
        limit=limit,
        output=output,
        dead=True,
        annotation=None,
        rule=lrp.get("zero"),
        within=within,
    )
