"""Fused ops taken apart into those that have rules. They run inside the recorder, so their parts are recorded.

No switch of torch is turned for this: switches hold for all threads, and another may serve the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from provnet.capture.decompose import (
    activations,
    attention,
    hidden_products,
    linear_systems,
    losses,
    recurrent,
    several_tensors,
    traced_grids,
    traced_kernels,
)

DECOMPOSED: dict[Any, Callable[..., Any]] = {
    **activations.TABLE,
    **attention.TABLE,
    **traced_kernels.TABLE,
    **hidden_products.TABLE,
    **linear_systems.TABLE,
    **losses.TABLE,
    **recurrent.TABLE,
    **traced_grids.TABLE,
    **several_tensors.TABLE,
}
"""Op -> a function of its arguments that gives its results, or the first of them: those that a model can see."""

CONDITIONAL = {
    func: rules.applies
    for rules in (hidden_products, several_tensors, traced_grids, traced_kernels)
    for func in rules.TABLE
}
"""Op -> whether it is to be taken apart, of its arguments and of which tensors are traced. Others are always."""


def is_decomposed(func: Callable[..., Any], args: tuple[Any, ...], is_active: Callable[[Tensor], bool]) -> bool:
    """Return whether an op with an active input is to be taken apart.

    Some are only if several of their tensors are traced: with one they are maps that have rules as they are. A slope
    that is drawn is a number like others that are drawn.
    """
    if func not in DECOMPOSED:
        return False
    if func in activations.TABLE:
        return not activations.is_drawn(args)
    return func not in CONDITIONAL or CONDITIONAL[func](func, args, is_active)


def completed(func: OpOverload, results: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return the results of a decomposition with those added that it does not give, such as workspaces.

    Autograd needs their true values to go back through the fused op, so they are computed where it is on.
    """
    count = len(func._schema.returns)
    if count == 1:
        return results
    given = results if isinstance(results, tuple) else (results,)
    if len(given) == count:
        return given
    if torch.is_grad_enabled():
        return (*given, *func(*args, **kwargs)[len(given) :])
    empty = given[0].new_empty(0)
    missing = func._schema.returns[len(given) :]
    return (*given, *(empty if isinstance(r.type, torch.TensorType) else 0 for r in missing))
