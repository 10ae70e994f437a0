"""Blocks through routes, operand by operand: a route knows one operand, Θ sees the slots of all.

What a route passes to an operand follows from that operand's slots and from two numbers of each output, which all
operands share: the denominator, and the largest contribution where Θ is a share of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from provnet.circuit.deferred import raw
from provnet.torch_backend.blocks.prepared import Joined, Prepared, Ready
from provnet.torch_backend.contractions.grouped import Grouped, grouped
from provnet.torch_backend.routes.base import BlockQuestion, Pulled, Route
from provnet.torch_backend.routes.max_times_route import largest_contributions

Operands = tuple[Pulled, ...]
"""What a block passes back, one for each operand; what the bias took and what was lost stand in the last one."""

View = tuple[Prepared, Grouped | None]
"""An operand as a route takes it: as it is, or with its examples as groups of one map."""


_UNMASKED: WeakKeyDictionary[Prepared, Prepared] = WeakKeyDictionary()
"""Operands that are still alive without their masks: one object, of which one map of groups is made."""


def fits(route: Route, ready: Ready, question: BlockQuestion) -> str | None:
    """Return why a route gives the exact answer for a whole block, or None if it may not."""
    if route.joins:
        return route.fits(ready, question)  # type: ignore[arg-type]  # it takes both
    if isinstance(ready, Joined) and ready.selects:
        return None
    if isinstance(ready, Prepared):
        why = route.fits(ready, question)
        if why is not None or not ready.block.weight_by_example:
            return why  # weights that examples share make no groups
    found = [_view(route, part, question) for part in ready.parts]
    whys = [None if one is None else route.fits(one[0], question) for one in found]
    return None if None in whys else whys[0]


def _view(route: Route, part: Prepared, question: BlockQuestion) -> View | None:
    """Return an operand as the route takes it, None if it does not."""
    if route.fits(part, question) is not None:
        return part, None
    found = grouped(_unmasked(part, question))
    return None if found is None or route.fits(found.prepared, question) is None else (found.prepared, found)


def _unmasked(part: Prepared, question: BlockQuestion) -> Prepared:
    """Return an operand without its masks of neurons and of weights that are none, if the question cannot tell them
    from others.

    Their contribution is 0. So causal attention keeps its fast routes.
    """
    if part.whole or not _is_blind(question, part.a[0].dtype):
        return part
    if part not in _UNMASKED:
        kept = part.weight_padding if part.weight_padding is not None and _weighs_something(part) else None
        made = {name: raw(part, name) for name in ("w", "z", "winner")}
        _UNMASKED[part] = replace(part, padding=None, weight_padding=kept, **made)
    return _UNMASKED[part]


def _is_blind(question: BlockQuestion, dtype: torch.dtype) -> bool:
    """Return whether an edge without a contribution gets the semiring's zero, as an absent one does."""
    theta, algebra = question.annotation, question.semiring
    match theta.form:
        case "normalised":
            return bool(algebra.zero == 0)
        case "neg-log":
            return bool(algebra.zero == torch.inf)
        case "threshold":
            return theta.rounded(dtype) > 0  # type: ignore[attr-defined]  # the declared form has a θ
        case "identity":
            return algebra.ring
    return False


def _weighs_something(part: Prepared) -> bool:
    """Return whether a masked weight makes a contribution: it is not 0, or a rule gives the weight 0 another one."""
    if part.extent.masked is None:
        w, weight_padding = part.w, part.weight_padding
        assert w is not None and weight_padding is not None, "a mask of weights has weights"
        made = [product.weights(w.new_zeros(())) for product in part.rule.products]
        kept = any(bool(g) for g in made if g is not None) or bool((w * weight_padding).any())
        part.extent.masked = kept
    return part.extent.masked


def pull(route: Route, ready: Ready, question: BlockQuestion, relevance: Sequence[Tensor]) -> list[Operands] | None:
    """Return what a block passes back for each tensor of relevance; None: it left the route's safe range."""
    if isinstance(ready, Joined) and route.joins:
        return route.pull(ready, question, relevance)  # type: ignore[arg-type,return-value]  # tuples of `Pulled`
    if isinstance(ready, Prepared) and (
        not ready.block.weight_by_example or route.fits(ready, question) is not None  # it fits, or it were not asked
    ):
        found = route.pull(ready, question, relevance)
        return None if found is None else [(one,) for one in found]
    views = [_view(route, part, question) for part in ready.parts]
    largest = _share_largest(ready, [view for view in views if view is not None], question)
    whole = [view[0] for view in views if view is not None and view[1] is None]
    rows = (
        route.together(whole, question, relevance)
        if len(whole) == len(views)
        else _one_by_one(route, views, question, relevance)
    )
    if rows is None:
        return None
    undefined = _undefined(ready, largest)
    return [_together(parts, question, r, undefined) for parts, r in zip(rows, relevance, strict=True)]


def _one_by_one(
    route: Route, views: Sequence[View | None], question: BlockQuestion, relevance: Sequence[Tensor]
) -> list[Operands] | None:
    """Pull through operands whose examples are groups of one map each."""
    columns: list[list[Pulled]] = []
    for view in views:
        assert view is not None, "fits has asked"
        prepared, group = view
        came = relevance if group is None else [group.outputs(r) for r in relevance]
        found = route.pull(prepared, question, came)
        if found is None:
            return None
        columns.append(found if group is None else [replace(one, inputs=group.inputs(one.inputs)) for one in found])
    return list(zip(*columns, strict=True))


def _share_largest(ready: Ready, views: list[View], question: BlockQuestion) -> Tensor | None:
    """Give every operand the largest contribution of all, where Θ is a share of it: [batch, outputs]."""
    if question.annotation.uses != "p":
        return None
    parts = [
        found if group is None else group.outputs_back(found)
        for found, group in ((largest_contributions(prepared), group) for prepared, group in views)
    ]
    largest = torch.stack(parts).amax(0)
    for prepared, group in views:
        prepared.extent.contributions = largest if group is None else group.outputs(largest)
    return largest


def _undefined(ready: Ready, largest: Tensor | None) -> Tensor:
    """Return which outputs have no edge with a value, [batch, outputs]."""
    if largest is not None:
        return largest == 0
    undefined = ready.undefined()
    return torch.zeros((), dtype=torch.bool) if undefined is None else undefined


def _together(parts: tuple[Pulled, ...], question: BlockQuestion, relevance: Tensor, undefined: Tensor) -> Operands:
    """Return what all operands get, with what was lost at outputs that none of them has an edge to."""
    semiring, lost = question.semiring, None
    if any(part.lost is not None for part in parts):
        zero = semiring.full((), semiring.zero, relevance)
        lost = semiring.sum(torch.where(undefined, relevance, zero), 1)
    plain = [
        replace(part, lost=None, total=part.total if part.inputs.shape[0] == len(relevance) else None) for part in parts
    ]
    return (*plain[:-1], replace(plain[-1], lost=lost))


def unmade(ready: Ready) -> bool:
    """Return whether an operand's weights are still promises."""
    return any(raw(part, "w") is not None for part in ready.parts)
