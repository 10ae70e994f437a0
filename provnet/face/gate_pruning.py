"""Parts of explicit circuits: the edges that pass, the best paths, or the paths that carry a stated share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.circuit.adjoint import refuse_absorbed
from provnet.circuit.counts import count_terms
from provnet.circuit.gates import VARIABLE, GateStore
from provnet.circuit.prune import Numbers, of_paths, without_edges
from provnet.errors import LimitError, OptionError, UnsupportedOperationError
from provnet.face.pruned import Pruned, percent
from provnet.face.stored_gates import StoredGates
from provnet.rules.lrp.base import Rule
from provnet.semirings import annotations
from provnet.semirings.annotations.base import Annotation
from provnet.semirings.annotations.threshold import Threshold
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get as get_semiring
from provnet.torch_backend.gates.best_paths import best_paths
from provnet.torch_backend.gates.evaluate_gates import evaluate_gates

MOST_PATHS = 100_000
"""Paths that are listed for one root before a share is given up."""


@dataclass(frozen=True)
class Wish:
    """What to keep: exactly one of a threshold, a number of paths and a share of the value."""

    theta: Any
    keep: int | None
    share: float | None
    semiring: str | Semiring | None
    valuation: Tensor | Mapping[Any, Any] | None
    rule: str | Rule | None
    annotation: str | Annotation | None
    max_paths: int


def pruned(gates: StoredGates, wish: Wish) -> tuple[GateStore, Pruned]:
    """Return the part of a circuit that a wish names, and what was left out."""
    refuse_absorbed(gates.store, "which paths are left out")
    chosen = [wish.theta is not None or _decides(wish.annotation), wish.keep is not None, wish.share is not None]
    if sum(chosen) != 1:
        raise OptionError(
            "prune takes one of: theta=0.1 (or annotation=Threshold(0.1)) for the edges that pass, keep=5 for the "
            "best paths, share=0.95 for the paths that carry this share of the value."
        )
    how, store = (_by_threshold, _by_number, _by_share)[chosen.index(True)](gates, wish)
    used, all_used = (int((s.kind == VARIABLE).sum()) for s in (store, gates.store))
    counts = [sum(count_terms(s)) for s in (store, gates.store)]
    share, name = _share_of(gates, store, wish)
    return store, Pruned(how, used, all_used, counts[0], counts[1], share, name)


def threshold_of(annotation: str | Annotation) -> Threshold:
    """Return a Θ that says which edges pass. Raises `OptionError` for another one."""
    theta = annotations.get(annotation)
    if not isinstance(theta, Threshold):
        raise OptionError(
            f"annotation={annotation!r}: a variable stands for itself where its edge passes, so Θ has to decide. "
            "Take annotations.Support(0.1)."
        )
    return theta


def _decides(annotation: Any) -> bool:
    """Return whether Θ itself says which edges pass: a threshold, by object or by name."""
    return annotation is not None and isinstance(annotations.get(annotation), Threshold)


def _by_threshold(gates: StoredGates, wish: Wish) -> tuple[str, GateStore]:
    """Keep the edges that pass: those whose d reaches θ, or whose value under `annotation` or `valuation` does."""
    theta = wish.theta if isinstance(wish.theta, Threshold) else Threshold(1e-9 if wish.theta is None else wish.theta)
    if _decides(wish.annotation):
        if wish.theta is not None:
            raise OptionError("theta= and a threshold as annotation= say the same: leave one out.")
        theta = threshold_of(wish.annotation)  # type: ignore[arg-type]
    if (wish.valuation is None and wish.annotation is None) or _decides(wish.annotation):
        kept = gates.valuation("boolean", wish.rule, theta)
        return f"edges with d ≥ θ, {theta!r}", without_edges(gates.store, _mask(kept))
    algebra = get_semiring(wish.semiring or "real")
    values = gates.elements(algebra, wish.valuation, wish.rule, wish.annotation)
    if values.dim() != 1:
        raise UnsupportedOperationError(
            f"θ is compared with numbers, and elements of {algebra.name!r} have the shape {algebra.element_shape}. "
            "Take semiring='real' or one with numbers."
        )
    costs = algebra.zero == float("inf")
    passes = values <= theta.theta if costs else theta.passes(values.to(torch.float64))
    sign = "≤" if costs else "≥"
    return f"edges whose value in {algebra.name} is {sign} {theta.theta:g}", without_edges(gates.store, _mask(passes))


def _mask(passes: Tensor) -> NDArray[np.bool_]:
    return passes.cpu().numpy().astype(bool)


def _by_number(gates: StoredGates, wish: Wish) -> tuple[str, GateStore]:
    """Keep the k best paths of each root."""
    if not isinstance(wish.keep, int) or isinstance(wish.keep, bool) or wish.keep < 1:
        raise OptionError(f"keep={wish.keep!r}: ask for one path or more, such as keep=5.")
    algebra = get_semiring(wish.semiring or "viterbi")
    values = gates.elements(algebra, wish.valuation, wish.rule, wish.annotation)
    roots = gates.store.root_gates.tolist()
    paths = [[p.numbers for p in best_paths(gates.store, root, algebra, values, wish.keep)] for root in roots]
    return f"the {wish.keep:,} best paths of each root in {algebra.name}", of_paths(gates.store, paths)


def _by_share(gates: StoredGates, wish: Wish) -> tuple[str, GateStore]:
    """Keep the fewest paths of each root, heaviest first, that carry the share of its Σ |value|."""
    if not isinstance(wish.share, int | float) or not 0 < wish.share <= 1:
        raise OptionError(f"share={wish.share!r}: give a part of the value, above 0 and at most 1, such as 0.95.")
    algebra = get_semiring(wish.semiring or "real")
    if not _adds(algebra):
        raise UnsupportedOperationError(
            f"in {algebra.name!r} ⊕ does not add paths up, so none of them carries a share of a value. Take "
            f"semiring='real' or 'counting', or keep=5 for the best paths."
        )
    weights = _weights(gates, algebra, wish)
    totals = evaluate_gates(gates.store, get_semiring("real"), weights).tolist()
    roots = gates.store.root_gates.tolist()
    paths = [
        _carrying(gates.store, root, weights, wish.share * total, wish.max_paths)
        for root, total in zip(roots, totals, strict=True)
    ]
    how = f"the heaviest paths of each root, up to {wish.share:.4g} of its Σ|value| in {algebra.name}"
    return how, of_paths(gates.store, paths)


def _carrying(store: GateStore, root: int, weights: Tensor, wanted: float, limit: int) -> list[Numbers]:
    """Return the heaviest paths of a root whose weights add up to `wanted`. Raises `LimitError`."""
    listed, best = 64, get_semiring("max-times")
    while wanted > 0:
        found = best_paths(store, root, best, weights, min(listed, limit))
        sums = np.cumsum([path.value for path in found])
        # Sums of floats in two orders differ in their last digits: a share of one is reached all the same.
        enough = int(np.searchsorted(sums, wanted * (1 - 1e-12)))
        if enough < len(found) or len(found) < min(listed, limit):
            return [path.numbers for path in islice(found, enough + 1)]
        if listed >= limit:
            raise LimitError(
                f"the share takes more than max_paths={limit:,} paths, which carry "
                f"{percent(float(sums[-1]) / wanted)} of it. Ask for a smaller share=, for theta=, or raise max_paths=."
            )
        listed *= 8
    return []


def _weights(gates: StoredGates, algebra: Semiring, wish: Wish) -> Tensor:
    """Return |value| of every variable in float64."""
    return gates.elements(algebra, wish.valuation, wish.rule, wish.annotation).to(torch.float64).abs()


def _adds(semiring: Semiring) -> bool:
    """Return whether ⊕ adds numbers up, so that some paths carry a share of a value."""
    return semiring.counts or semiring.family == "sum-product"


def _share_of(gates: StoredGates, store: GateStore, wish: Wish) -> tuple[float | None, str]:
    """Return which share of Σ |value| the paths kept carry, and in which semiring. None: no values, or no number."""
    algebra = get_semiring("real" if wish.semiring is None else wish.semiring)
    if not _adds(algebra):
        algebra = get_semiring("real")
    given = wish.valuation is not None
    if not given and not gates.has_rule:
        return None, algebra.name
    annotation = None if _decides(wish.annotation) and algebra.name == "real" else wish.annotation
    weights = gates.elements(algebra, wish.valuation, wish.rule, annotation).to(torch.float64).abs()
    if weights.dim() != 1:
        return None, algebra.name
    kept, whole = (float(evaluate_gates(s, get_semiring("real"), weights).sum()) for s in (store, gates.store))
    return (kept / whole if whole else None), algebra.name


def worths(semiring: Semiring, values: Sequence[Any] | Tensor) -> NDArray[np.float64]:
    """Return how strong elements are, greatest first: their size in rings, less cost where zero is +∞.

    Raises: `UnsupportedOperationError` where elements are no numbers.
    """
    found = np.asarray(values, np.float64)
    if semiring.element_shape:
        raise UnsupportedOperationError(
            f"elements of {semiring.name!r} are no numbers, so there is no order of strength. Take sort='viterbi'."
        )
    if semiring.ring:
        return np.abs(found)
    return -found if semiring.zero == float("inf") else found


def strengths_of(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return worths as strengths in [0, 1], the greatest finite one 1."""
    finite = np.isfinite(worth)
    if not finite.any():
        return np.zeros_like(worth)
    low, top = min(float(worth[finite].min()), 0.0), float(worth[finite].max())
    return np.clip(np.nan_to_num(worth - low, posinf=1.0, neginf=0.0) / ((top - low) or 1.0), 0.0, 1.0)
