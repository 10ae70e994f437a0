"""Small programs with products, softmax and norms, listed edge by edge: plain numpy in float64, nothing of provnet.

A program is a list of steps on flat values; value 0 to `inputs` - 1 are the inputs. Each step knows its own value, and,
given what it computed from, its edges under the policies of `Policies`. Definitions: docs on products, softmax and
norms; rules as in Bach et al. 2015; softmax "attnlrp" as in Achtibat et al. 2024, Prop. 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Values = Sequence[Array]
LINEAR, NONLINEAR, SIGMOID, SOFTMAX = range(4)
"""The ranks of values: the factor of higher rank is the gate of a product."""


@dataclass(frozen=True)
class Policies:
    """The conventions. `gradient`: every edge has its derivative for coefficient, whatever the others say."""

    products: str = "half"
    softmax: str = "identity"
    norm: str = "detached"
    epsilon: float = 0.0
    gradient: bool = False


@dataclass(frozen=True)
class Edge:
    """Input j of value `value` feeds output `output`, or what a sink takes has the name `sink`.

    unit     passes relevance on as it is: annotated one
    defined  whether d is: z is not zero
    """

    output: int
    value: int
    index: int
    p: float
    d: float
    unit: bool = False
    defined: bool = True
    sink: str = ""


@dataclass(frozen=True)
class Step:
    """inputs -> one value: `forward` computes it, `edges` lists what feeds it. `rank` as above."""

    inputs: tuple[int, ...]
    forward: Callable[[Values], Array]
    edges: Callable[[Values, Array, Policies], list[Edge]]
    rank: int
    kept: str = ""
    """Where the relevance of an output without any edge goes."""


@dataclass
class Program:
    """Add steps by the methods; each returns the number of its value."""

    inputs: int
    steps: list[Step] = field(default_factory=list)

    def append(self, step: Step) -> int:
        self.steps.append(step)
        return self.inputs + len(self.steps) - 1

    def rank(self, value: int) -> int:
        return LINEAR if value < self.inputs else self.steps[value - self.inputs].rank

    def values(self, given: Sequence[Array]) -> list[Array]:
        """Return every value, flat."""
        found = [np.asarray(x, float).reshape(-1) for x in given]
        for step in self.steps:
            found.append(np.asarray(step.forward([found[i] for i in step.inputs]), float))
        return found

    # --- linear maps and sums ----------------------------------------------------------------------------------------

    def linear(self, x: int, weight: Array, bias: Array | None = None, plain: bool = False) -> int:
        """z = weight a + bias. `plain`: a mean or a resampling, on which ε does not act."""
        weight = np.asarray(weight, float)
        shift = np.zeros(len(weight)) if bias is None else np.asarray(bias, float)

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            found = []
            for k, row in enumerate(weight):
                terms = [(x, j, row[j] * values[0][j], row[j], "") for j in np.flatnonzero(row)]
                if bias is not None:
                    terms.append((-1, -1, shift[k], 0.0, "bias"))
                found += shared(k, terms, z[k], policies, 0.0 if plain else policies.epsilon)
            return found

        return self.append(Step((x,), lambda v: weight @ v[0] + shift, edges, LINEAR))

    def add(self, x: int, y: int, sign: float = 1.0) -> int:
        """z = x + y, or x - y."""

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            a, b = values
            return [
                edge
                for k in range(len(z))
                for edge in shared(k, [(x, k, a[k], 1.0, ""), (y, k, sign * b[k], sign, "")], z[k], policies)
            ]

        return self.append(Step((x, y), lambda v: v[0] + sign * v[1], edges, LINEAR))

    def shift(self, x: int, constant: Array | float, sign: float = 1.0) -> int:
        """z = constant + sign · x: the constant is a bias, the rank is kept."""

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            c = np.broadcast_to(np.asarray(constant, float), z.shape)
            return [
                edge
                for k in range(len(z))
                for edge in shared(
                    k, [(x, k, sign * values[0][k], sign, ""), (-1, -1, c[k], 0, "bias")], z[k], policies
                )
            ]

        return self.append(Step((x,), lambda v: constant + sign * v[0], edges, self.rank(x)))

    # --- unit edges, index maps, selections --------------------------------------------------------------------------

    def unit(self, x: int, function: Callable[[Array], Array], slope: Callable[[Array], Array], rank: int = 1) -> int:
        """An elementwise step with its derivative: an activation (rank 1, or 2 of a gate's), or a scaling."""

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            d = slope(values[0]) if policies.gradient else np.ones(len(z))
            return [Edge(k, x, k, z[k], d[k], unit=not policies.gradient) for k in range(len(z))]

        return self.append(Step((x,), lambda v: function(v[0]), edges, rank))

    def scale(self, x: int, factor: Array | float) -> int:
        """z = factor · x."""
        return self.unit(x, lambda a: a * factor, lambda a: np.broadcast_to(factor, a.shape), self.rank(x))

    def index(self, parts: Sequence[int], index: Sequence[int], fill: float = 0.0) -> int:
        """z_k = entry index[k] of the parts one after the other; -1: the constant `fill`, which has no edge.

        The rank is that of the parts if it is one.
        """
        ranks = {self.rank(part) for part in parts}

        def forward(values: Values) -> Array:
            return np.append(np.concatenate(values), fill)[np.asarray(index)]

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            where = [(part, i) for part, v in zip(parts, values, strict=True) for i in range(len(v))]
            return [Edge(k, *where[i], z[k], 1.0, unit=not policies.gradient) for k, i in enumerate(index) if i >= 0]

        return self.append(Step(tuple(parts), forward, edges, ranks.pop() if len(ranks) == 1 else LINEAR, "constant"))

    def largest(self, x: int, groups: Sequence[Sequence[int]]) -> int:
        """The largest of each group: the first of several."""

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            first = [group[int(np.argmax(values[0][list(group)]))] for group in groups]
            return [Edge(k, x, j, 1.0, 1.0) for k, j in enumerate(first)]

        return self.append(Step((x,), lambda v: np.array([v[0][list(g)].max() for g in groups]), edges, LINEAR))

    # --- products ----------------------------------------------------------------------------------------------------

    def contraction(self, x: int, y: int, terms: Sequence[Sequence[tuple[int, int]]]) -> int:
        """z_k = Σ x_i · y_j over the pairs (i, j) in terms[k]."""

        def forward(values: Values) -> Array:
            return np.array([sum(values[0][i] * values[1][j] for i, j in pairs) for pairs in terms])

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            gate = self.gate(x, y) if policies.products == "value" else None
            share = 0.5 if policies.products == "half" or (policies.products == "value" and gate is None) else 1.0
            found = []
            epsilon = policies.epsilon if any(len(pairs) > 1 for pairs in terms) else 0.0
            for k, pairs in enumerate(terms):
                factors = []
                for i, j in pairs:
                    p = values[0][i] * values[1][j]
                    if gate != x or policies.gradient:
                        factors.append((x, i, p, values[1][j], ""))
                    if gate != y or policies.gradient:
                        factors.append((y, j, p, values[0][i], ""))
                found += shared(k, factors, z[k], policies, epsilon, share)
            return found

        return self.append(Step((x, y), forward, edges, LINEAR))

    def product(self, x: int, y: int, size: int) -> int:
        """z = x · y, entry by entry."""
        return self.contraction(x, y, [[(k, k)] for k in range(size)])

    def gate(self, x: int, y: int) -> int | None:
        """Return the factor of higher rank, None at a tie."""
        first, second = self.rank(x), self.rank(y)
        if first == second:
            return None
        return x if first > second else y

    # --- softmax and norms -------------------------------------------------------------------------------------------

    def softmax(self, x: int, width: int) -> int:
        """Softmax over rows of `width`. Entries of -inf are masked: they are no neurons."""

        def forward(values: Values) -> Array:
            rows = values[0].reshape(-1, width)
            powers = np.exp(rows - rows.max(1, keepdims=True))
            return (powers / powers.sum(1, keepdims=True)).reshape(-1)

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            found = []
            for first in range(0, len(z), width):
                live = [i for i in range(first, first + width) if values[0][i] != -np.inf]
                found += _softmax_row(x, live, values[0], z, policies)
            return found

        return self.append(Step((x,), forward, edges, SOFTMAX, "softmax"))

    def layer_norm(self, x: int, width: int, gain: Array, shift: Array, eps: float = 1e-5) -> int:
        """(a - mean) / σ · gain + shift over rows of `width`, with σ² = mean (a - mean)² + eps."""
        return self._norm(x, width, np.asarray(gain, float), np.asarray(shift, float), eps, centred=True)

    def rms_norm(self, x: int, width: int, gain: Array, eps: float = 1e-5) -> int:
        """a / σ · gain over rows of `width`, with σ² = mean a² + eps."""
        return self._norm(x, width, np.asarray(gain, float), np.zeros(width), eps, centred=False)

    def _norm(self, x: int, width: int, gain: Array, shift: Array, eps: float, centred: bool) -> int:
        centre = np.eye(width) - (1 / width if centred else 0.0)

        def parts(values: Values) -> tuple[Array, Array]:
            rows = values[0].reshape(-1, width) @ centre
            return rows, np.sqrt((rows**2).mean(1, keepdims=True) + eps)

        def forward(values: Values) -> Array:
            rows, sigma = parts(values)
            return (rows / sigma * gain + shift).reshape(-1)

        def edges(values: Values, z: Array, policies: Policies) -> list[Edge]:
            rows, sigma = parts(values)
            found = []
            for k in range(len(z)):
                row, place = divmod(k, width)
                if policies.norm == "identity" and not policies.gradient:
                    found.append(Edge(k, x, k, z[k], 1.0, unit=True))
                    continue
                slope = centre[place] * gain[place] / sigma[row]
                if policies.gradient:
                    slope = slope - gain[place] * rows[row, place] * rows[row] / (width * sigma[row] ** 3)
                start = row * width
                terms = [
                    (x, start + j, values[0][start + j] * s, s, "")
                    for j, s in enumerate(slope)
                    if centred or j == place or policies.gradient
                ]
                if centred:
                    terms.append((-1, -1, shift[place], 0.0, "bias"))
                found += shared(k, terms, z[k], policies)
            return found

        return self.append(Step((x,), forward, edges, LINEAR))


def shared(
    output: int,
    terms: Sequence[tuple[int, int, float, float, str]],
    z: float,
    policies: Policies,
    epsilon: float = 0.0,
    share: float = 1.0,
) -> list[Edge]:
    """Return the edges of one output whose terms are (value, index, p, derivative, sink): d = share · p / z."""
    if policies.gradient:
        return [Edge(output, v, j, p, slope) for v, j, p, slope, sink in terms if not sink]
    z = z + (-epsilon if z < 0 else epsilon)
    return [Edge(output, v, j, p, share * p / z if z else 0.0, defined=z != 0, sink=sink) for v, j, p, _, sink in terms]


def _softmax_row(x: int, live: Sequence[int], a: Array, s: Array, policies: Policies) -> list[Edge]:
    if policies.gradient:
        return [Edge(j, x, i, 0.0, s[j] * ((i == j) - s[i])) for j in live for i in live]
    if policies.softmax == "identity":
        return [Edge(j, x, j, s[j], 1.0, unit=True) for j in live]
    if policies.softmax == "constant":
        return []
    mean, found = sum(s[i] * a[i] for i in live), []
    for j in live:
        parts = [(x, i, a[i] * ((i == j) - s[i]), "") for i in live]
        parts.append((-1, -1, 1 - a[j] + mean, "softmax rest"))
        found += [Edge(j, v, i, d * s[j], d if s[j] else 0.0, defined=s[j] != 0, sink=sink) for v, i, d, sink in parts]
    return found
