"""The independent slow twin: relevance edge by edge, in numpy, written from the equations and not from the kernels.

Source: Groudiev, Saha, Maniu, Extending LRP using Semiring Annotations, eq. 3, 6, 7, 10, 12, with the conventions of
`docs/conventions.md` and the rules as Bach et al. 2015 and Montavon et al. 2019 write them. It imports nothing of
provnet. Networks are lists of edges (`tests/edge_lists.py`), examples come one at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.edge_lists import Array, Layer, Network, gather

# --- semirings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Algebra:
    """zero, one, plus and times as numpy sees them; `dtype` None is the network's."""

    zero: Any
    one: Any
    plus: np.ufunc
    times: np.ufunc
    dtype: Any = None


SEMIRINGS = {
    "real": Algebra(0.0, 1.0, np.add, np.multiply),
    "boolean": Algebra(False, True, np.logical_or, np.logical_and, bool),
    "counting": Algebra(0, 1, np.add, np.multiply, object),  # Python's integers: exact at any size
    "viterbi": Algebra(0.0, 1.0, np.maximum, np.multiply),
    "tropical": Algebra(np.inf, 0.0, np.minimum, np.add),
    "bottleneck": Algebra(-np.inf, np.inf, np.maximum, np.minimum),
}


# --- rules: what each edge contributes, and its share ----------------------------------------------------------------


@dataclass(frozen=True)
class Shares:
    """p, d, present and defined of every edge of a layer: [outputs, slots], the bias last."""

    p: Array
    d: Array
    present: Array
    defined: Array


def shares(
    rule: str, a: Array, w: Array, present: Array, low: Array | float = 0.0, high: Array | float = 1.0
) -> Shares:
    """Return the shares that `rule` gives the edges of a layer; a and w are [outputs, slots], with a bias as a = 1.

    Names: lrp0, eps<e>, epslit<e>, epsrms<r>, gamma<g>, zplus, ab<alpha><beta>, w2, zB.
    """
    match = re.fullmatch(r"(lrp|epslit|epsrms|eps|gamma|zplus|ab|w2|zB)([\d.e-]*)", rule)
    assert match, f"the oracle knows no rule {rule!r}"
    name, number = match.groups()
    a, w = np.where(present, a, 0), np.where(present, w, 0)
    if name == "ab":
        up, down = np.maximum(a * w, 0), np.minimum(a * w, 0)
        d = int(number[0]) * _quotient(up, up.sum(1)) - int(number[1]) * _quotient(down, down.sum(1))
        alive = (up.sum(1) != 0) | (down.sum(1) != 0)
        return Shares(d, d, present, np.broadcast_to(alive[:, None], d.shape))
    p = _contributions(name, number, a, w, low, high)
    z = p.sum(1)
    if name.startswith("eps"):
        z = _stabilise(name, z.dtype.type(number), z)
    with np.errstate(all="ignore"):
        defined = np.isfinite(p / z[:, None])
    return Shares(p, _quotient(p, z), present, defined)


def _contributions(name: str, number: str, a: Array, w: Array, low: Array | float, high: Array | float) -> Array:
    if name == "w2":
        return w * w
    if name == "zB":
        return a * w - (w > 0) * low * w - (w < 0) * high * w
    if name == "gamma":
        return a * (w + w.dtype.type(number) * np.maximum(w, 0))
    return np.maximum(a * w, 0) if name == "zplus" else a * w


def _stabilise(name: str, number: Any, z: Array) -> Array:
    if name == "eps":
        return z + np.where(z < 0, -number, number)
    if name == "epslit":
        return z + number
    return z + (z.dtype.type(1e-9) + number * np.sqrt((z * z).mean()))


def _quotient(p: Array, z: Array) -> Array:
    with np.errstate(all="ignore"):
        d = p / z[:, None]
    return np.where(np.isfinite(d), d, 0).astype(p.dtype)


# --- annotation functions --------------------------------------------------------------------------------------------


def annotate(semiring: str, found: Shares, theta: float) -> Array:
    """Return the default annotation of each edge: [outputs, slots]."""
    algebra = SEMIRINGS[semiring]
    uses_p = semiring in ("viterbi", "tropical")
    if uses_p:
        size = np.where(found.present, np.abs(found.p), 0)
        largest = size.max(1, keepdims=True)
        with np.errstate(all="ignore"):
            elements = np.where(largest > 0, size / largest, 0).astype(found.p.dtype)
            if semiring == "tropical":
                elements = -np.log(elements) + 0.0  # + 0 turns -0 into 0
    elif semiring in ("boolean", "counting"):
        elements = found.d >= found.d.dtype.type(theta)
        if semiring == "counting":
            elements = np.where(elements, 1, 0).astype(object)
    else:
        elements = found.d
    live = found.present if uses_p else found.present & found.defined
    return np.where(live, elements, np.asarray(algebra.zero, algebra.dtype or elements.dtype))


def _seed(semiring: str, algebra: Algebra, a: Array, present: Array, window: int) -> Array:
    """The authors' start at a pooling: in place of rule and annotation function, by the input's value alone."""
    number: Any = algebra.one
    if semiring == "viterbi":
        number = 1 / window
    elif semiring == "tropical":
        number = np.log(window)
    elif semiring == "real":
        number = a / window
    dtype = algebra.dtype or a.dtype
    passed = present & (a >= 1e-9)
    return np.where(passed, np.asarray(number, dtype), np.asarray(algebra.zero, dtype))


# --- relevance -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """relevance[v] of every value v, shaped like it; by layer the bias's total and all messages [outputs, slots]."""

    relevance: list[Array]
    bias: dict[int, Any]
    messages: dict[int, Array]


def oracle_relevance(
    network: Network,
    x: Array,
    target: int | tuple[int, ...],
    semiring: str,
    rule: str | dict[int, str] = "lrp0",
    theta: float | dict[int, float] = 1e-9,
    pooling: str = "winner",
    bias: bool = True,
    box: tuple[float, float] = (0.0, 1.0),
) -> Answer:
    """Return the relevance of every neuron for one output neuron of one example, x of the network's shape.

    `rule` and `theta` may differ by layer number, default lrp0 and 1e-9; poolings, sums and scales keep lrp0 unless the
    dictionary names them. A rule "w2nobias" is w2 without the bias; zB's inputs lie in `box`.
    """
    algebra, values = SEMIRINGS[semiring], network.forward(x)
    dtype = algebra.dtype or network.dtype
    relevance = [np.full(value.shape, algebra.zero, dtype) for value in values]
    last = network.shapes[-1]
    index = target if isinstance(target, int) else int(np.ravel_multi_index(target, last))
    relevance[-1][index] = algebra.one
    biases, messages = {}, {}
    for number in reversed(range(len(network.layers))):
        layer = network.layers[number]
        level = theta.get(number, 1e-9) if isinstance(theta, dict) else theta
        a = np.concatenate([values[i] for i in layer.inputs])
        elements, has_bias = _elements(layer, a, semiring, _rule_of(layer, number, rule), level, pooling, bias, box)
        sent = algebra.times(elements, relevance[number + 1][:, None]).astype(dtype)
        if layer.kind != "pass":
            messages[number] = sent
        arrived = np.full(a.shape, algebra.zero, dtype)
        fan = layer.source.shape[1]
        present = layer.source >= 0
        algebra.plus.at(arrived, layer.source[present], sent[:, :fan][present])
        if has_bias:
            biases[number] = algebra.plus.reduce(sent[:, -1])
        _share_out(network, layer, arrived, relevance, algebra)
    shaped = [r.reshape(shape) for r, shape in zip(relevance, network.shapes, strict=True)]
    return Answer(shaped, biases, messages)


def _share_out(network: Network, layer: Layer, arrived: Array, relevance: list[Array], algebra: Algebra) -> None:
    start = 0
    for i in layer.inputs:  # a value that is read twice gets both parts, joined with plus
        size = network.size(i)
        relevance[i] = algebra.plus(relevance[i], arrived[start : start + size]).astype(relevance[i].dtype)
        start += size


def _rule_of(layer: Layer, number: int, rule: str | dict[int, str]) -> str:
    if isinstance(rule, dict):
        return rule.get(number, "lrp0")
    return rule if layer.kind == "linear" else "lrp0"


def _elements(
    layer: Layer,
    a: Array,
    semiring: str,
    rule: str,
    theta: float,
    pooling: str,
    bias: bool,
    box: tuple[float, float],
) -> tuple[Array, bool]:
    """Return the annotations of a layer's edges, [outputs, slots], and whether the last slot is the bias."""
    algebra = SEMIRINGS[semiring]
    values, present = gather(layer, a)
    if layer.kind == "pass":
        return np.full(values.shape, algebra.one, algebra.dtype or a.dtype), False
    if pooling == "seed" and layer.kind in ("max", "average"):
        return _seed(semiring, algebra, values, present, layer.window), False
    if layer.kind == "max" and pooling == "winner":
        first = np.where(present, values, -np.inf).argmax(1)  # argmax takes the first of several
        won = np.arange(values.shape[1])[None, :] == first[:, None]
        ones = won.astype(a.dtype)
        return annotate(semiring, Shares(ones, ones, won, won), theta), False
    weight = np.ones(values.shape, a.dtype) if layer.weight is None else layer.weight
    has_bias = bias and layer.bias is not None
    low, high = np.full(values.shape, box[0], a.dtype), np.full(values.shape, box[1], a.dtype)
    if has_bias:  # a neuron whose activation is always 1, so that its box is [1, 1]
        assert layer.bias is not None
        column = np.ones((len(values), 1), a.dtype)
        values, weight = np.hstack([values, column]), np.hstack([weight, layer.bias[:, None]])
        present = np.hstack([present, column > 0 if rule != "w2nobias" else column < 0])
        low, high = np.hstack([low, column]), np.hstack([high, column])
    found = shares(rule.removesuffix("nobias"), values, weight, present, low, high)
    return annotate(semiring, found, theta), has_bias
