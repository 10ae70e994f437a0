"""What one block passes back, by the definition in numbers of 15 bits of exponent: nothing there underflows.

Floats have two answers at extreme scales: the exact one, and that of the definition computed in floats, whose
contributions, coefficients and messages may be denormal numbers. A route has to come as near to the exact one as the
definition in floats does, or within its units in the last place. Written from the equations ([GSM25] eq. 3, 10, 12),
edge by edge, in numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.torch_backend.blocks.prepared import Prepared
from provnet.torch_backend.blocks.weight_factors import ScaledRows

Wide = NDArray[Any]
"""Of dtype `numpy.longdouble`."""

UNITS = {"viterbi": 8, "tropical": 8, "real": 64}
"""Units in the last place: of an entry; of max(1, cost); of the example's largest sum of sizes, of up to 32 terms."""

WIDE = np.finfo(np.longdouble).maxexp > 4096
"""Whether this machine has such numbers."""


@dataclass(frozen=True)
class Exact:
    """The relevance of the inputs, [batch, inputs], and what the bias took, [batch]; None: there is no bias.

    sizes   of sums: the sums of the messages' sizes, of which rounding is a part; else the results themselves
    """

    inputs: Wide
    bias: Wide | None
    sizes: tuple[Wide, Wide | None]

    @property
    def defined(self) -> bool:
        """False where an infinite g(w) or g(b) leaves a sum without shares."""
        return not any(np.isnan(part).any() for part in (self.inputs, self.bias) if part is not None)


def exact_pull(prepared: Prepared, semiring: str, relevance: Tensor) -> Exact:
    """Return what a block passes back in "real", "viterbi" or "tropical", under the semiring's own Θ."""
    index, present, sizes, coefficients = _edges(prepared, semiring)
    came = _wide(relevance)[:, :, None]
    if semiring == "real":
        messages, zero, fold = coefficients * came, 0.0, np.add
    else:
        largest = np.max(sizes, axis=2, keepdims=True, initial=0)
        with np.errstate(divide="ignore", invalid="ignore"):  # an infinite g(w) has no shares: NaN
            shares = np.divide(sizes, largest, out=np.zeros_like(sizes), where=largest > 0)
            costs = np.where(shares > 0, -np.log(shares), np.inf)
        messages, zero, fold = (
            (shares * came, 0.0, np.maximum) if semiring == "viterbi" else (costs + came, np.inf, np.minimum)
        )
    messages = np.where(present, messages, zero)
    inputs, bias = _folded(prepared, fold, zero, index, messages)
    return Exact(
        inputs, bias, (inputs, bias) if semiring != "real" else _folded(prepared, fold, zero, index, np.abs(messages))
    )


def _folded(
    prepared: Prepared, fold: Any, zero: float, index: NDArray[np.int64], messages: Wide
) -> tuple[Wide, Wide | None]:
    inputs = np.full((prepared.batch, prepared.block.wiring.inputs), zero, dtype=np.longdouble)
    fan = index.shape[1]
    at: Callable[..., None] = fold.at
    for example, own in enumerate(messages[:, :, :fan]):
        at(inputs[example], index.reshape(-1), own.reshape(-1))
    return inputs, None if prepared.b is None else fold.reduce(messages[:, :, fan], axis=1, initial=zero)


def excess(semiring: str, what: str, found: Tensor, definition: Tensor, exact: Exact) -> float:
    """Return how many times further from the exact answer a result is than it may be. what: "inputs" or "bias".

    It may be `UNITS` off, two of the least denormal numbers, and as much as the definition in floats is off itself.
    """
    wanted: Wide = getattr(exact, what)
    sizes: Any = exact.sizes[what == "bias"]
    size, limits = np.abs(sizes), torch.finfo(found.dtype)
    if semiring == "tropical":
        size = np.maximum(size, 1)
    elif semiring == "real":
        largest = exact.sizes[0].max(1, initial=0)
        size = np.maximum(size, largest[:, None] if what == "inputs" else largest)
    with np.errstate(invalid="ignore"):
        gaps = [np.abs(x.double().numpy().astype(np.longdouble) - wanted) for x in (found, definition)]
        allowed = UNITS[semiring] * limits.eps * np.where(np.isfinite(size), size, 0) + 2 * limits.tiny * limits.eps
        allowed = allowed + np.nan_to_num(gaps[1], nan=0.0, posinf=np.inf)
        gap = np.where(
            np.isnan(gaps[0]) & (found.double().numpy() == np.asarray(wanted, dtype=float)), 0, gaps[0]
        )  # inf is inf
        excesses = np.where(np.isinf(allowed), 0, np.nan_to_num(gap, nan=np.inf) / allowed)
    return float(excesses.max(initial=0))


def _edges(prepared: Prepared, semiring: str) -> tuple[NDArray[np.int64], Any, Wide, Wide]:
    """Return the slots' inputs [outputs, fan], and of all slots which are present, |p| and d, [batch, outputs, slots].

    A branch gives nothing where p / z is no float: such a coefficient is not defined.
    """
    wiring, rule = prepared.block.wiring, prepared.rule
    outputs = torch.arange(wiring.outputs)
    index, there, weight = wiring.source(outputs[:, None], torch.arange(wiring.fan))
    there = torch.as_tensor(there).expand(index.shape)
    factors, most = iter(prepared.a), torch.finfo(prepared.a[0].dtype).max
    sizes: Wide = np.zeros((), dtype=np.longdouble)
    coefficients = sizes
    for number, branch in enumerate(rule.branches):
        p: Any = sum(_product(prepared, semiring, product, next(factors), index, weight) for product in branch.products)
        z = _wide(prepared.z[number])[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            d = p / z
        d = np.where((z != 0) & np.isfinite(z) & (np.abs(d) <= most), d, 0)
        coefficients = coefficients + branch.factor * d
        sizes = np.abs(p) if len(rule.branches) == 1 else np.abs(coefficients)
    present = there.numpy()[None]
    if prepared.b is not None:
        present = np.concatenate([present, np.ones_like(present[..., :1])], 2)
    return index.numpy(), present, np.where(present, sizes, 0), coefficients


def _product(prepared: Prepared, semiring: str, product: Any, a: Tensor, index: Tensor, weight: Tensor) -> Wide:
    """Return f(a) · g(w) of every slot, the bias's last, [batch, outputs, slots]."""
    p = _wide(a)[:, index.numpy()]
    held = raw(prepared, "w")
    if isinstance(held, ScaledRows) and product.w is None and semiring == "real":  # the others make the weights
        fan = held.base.numel() // held.scale.numel()
        p = p * _wide(held.base)[weight.numpy()] * _wide(held.scale)[(weight // fan).numpy()]
    elif prepared.w is not None:
        p = p * _wide(product.weights(prepared.w))[weight.numpy()]
    if prepared.b is None:
        return p
    b = _wide(product.biases(prepared.b))[prepared.block.wiring.bias(torch.arange(len(index))).numpy()]
    return np.concatenate([p, np.broadcast_to(b[None, :, None], (*p.shape[:2], 1))], 2)


def _wide(x: Tensor) -> Wide:
    return x.detach().double().numpy().astype(np.longdouble)
