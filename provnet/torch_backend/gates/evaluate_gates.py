"""Evaluate explicit gates in a semiring: the homomorphism that extends a valuation of variables ([GKT07] Prop. 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from provnet.circuit.gates import PLUS, GateStore
from provnet.circuit.variables import names_of, numbers_of
from provnet.errors import DTypeError, NonFiniteError, UnsupportedOperationError, ValuationError
from provnet.semirings.base import Semiring
from provnet.semirings.boolean import Boolean
from provnet.semirings.carrier import into_carrier
from provnet.torch_backend.counts.bounds import refusal
from provnet.torch_backend.counts.residues import check_residues
from provnet.torch_backend.gates.gate_plan import GatePlan, GateStep, make_plan
from provnet.torch_backend.gates.kernel import LINE as KERNEL_LINE
from provnet.torch_backend.gates.kernel import family_of, kernel

MEMORY = 1 << 28
"""Bytes of values held at a time, 256 MiB: a larger batch is cut. One example is never cut."""

LINE = 128
"""Bytes a row on the CPU, 32 columns of float32: a level then stays in the cache. 64 valuations of 220,000 gates took
41 ms so, and 73 ms at once."""

_PLANS: WeakKeyDictionary[GateStore, dict[tuple[torch.device, bool], GatePlan]] = WeakKeyDictionary()


def plan_of(store: GateStore, device: torch.device, every: bool = False) -> GatePlan:
    """Return the store's plan on `device`, for its roots or for every gate; made once, kept as long as the store."""
    plans = _PLANS.setdefault(store, {})
    home, key = (torch.device("cpu"), every), (device, every)
    if key not in plans:
        if home not in plans:
            plans[home] = make_plan(store, np.arange(len(store)) if every else store.root_gates)
        plans[key] = plans[home].to(device)
    return plans[key]


def evaluate_gates(
    store: GateStore, semiring: Semiring, valuation: Tensor, device: torch.device | str | None = None
) -> Tensor:
    """Return the value of every root, under a valuation of the variables.

    Args: `valuation`, [variables, *element_shape] or [batch, variables, *element_shape], holds semiring elements in the
    order of `store.variables`; `device` is where to compute, by default where the valuation lies.
    Returns: [roots, *element_shape], with a leading batch axis if the valuation has one, of the valuation's dtype.
    Raises: `ValuationError` for another shape, or a dtype that does not hold the semiring's elements; `NonFiniteError`
    if a NaN comes in or out; `DTypeError` if plus or times change the dtype; `CountOverflowError` if a count exceeds
    int64, or what residues tell apart; `UnsupportedOperationError` if the circuit was simplified by a law that the
    semiring lacks.
    Memory: rows * batch elements, cut to 256 MiB by batch; `gate_rows` says how few rows do.
    The fold's order is fixed, so results repeat to the bit.
    On a CPU, families of numbers run as compiled code (`gates/kernel.py`) where numba is installed, one thread.
    Source: jagged diagonals; [GKT07] for the homomorphism.
    """
    check_assumption(store, semiring)
    batched = _check(store, semiring, valuation)
    values = valuation.detach() if device is None else valuation.detach().to(device)
    plan = plan_of(store, values.device)
    values = values if batched else values.unsqueeze(0)
    result = _evaluate(plan, semiring, values)
    _check_nan(valuation, result, semiring)
    _check_overflow(plan, semiring, values, result)
    _check_counts(store, plan, semiring, values)
    check_residues(semiring, values, lambda rough, given: _evaluate(plan, rough, given))
    return result if batched else result.squeeze(0)


def _check_counts(store: GateStore, plan: GatePlan, semiring: Semiring, values: Tensor) -> None:
    """Raise `CountOverflowError` if an int64 count of a root wrapped: float64, which does not, gives its size.

    What wraps on the way is of no matter, for int64 arithmetic is that of the integers modulo 2^64.
    """
    for part, _, (counts,) in semiring.parts(None, values):
        if not part.wraps or counts.dtype != torch.int64:
            continue
        sizes = _evaluate(plan, part.held("float64"), counts.to(torch.float64)).abs()
        fits = (sizes.flatten(2).amax(2) if part.element_shape else sizes) < 0.999 * 2.0**63
        if not bool(fits.all()):  # a NaN, infinity times zero, does not fit
            raise refusal(str(store.roots[int((~fits).any(0).nonzero()[0])]), "gates")


def evaluate_every_gate(store: GateStore, semiring: Semiring, valuation: Tensor) -> Tensor:
    """Return the value of every gate, not only of the roots, under one valuation: [gates, *element_shape].

    Args and errors: as `evaluate_gates`, without a batch axis. For tracebacks, which need to know what every ⊕ chose
    from.
    """
    check_assumption(store, semiring)
    if _check(store, semiring, valuation):
        raise ValuationError(f"the valuation has shape {tuple(valuation.shape)}: give one, without a batch axis.")
    plan = plan_of(store, valuation.device, every=True)
    found = _evaluate(plan, semiring, valuation.detach().unsqueeze(0)).squeeze(0)
    _check_nan(valuation, found, semiring)
    return found


def check_assumption(store: GateStore, semiring: Semiring) -> None:
    """Raise `UnsupportedOperationError` if the store was simplified by a law that the semiring does not state."""
    lacking = sorted(flag for flag in store.assumption if not getattr(semiring, flag, False))
    if lacking:
        raise UnsupportedOperationError(
            f"the circuit was simplified for semirings that are {' and '.join(lacking)}, and {semiring.name!r} does "
            f"not state {'that flag' if len(lacking) == 1 else 'those flags'}. Evaluate the circuit as it was before "
            "`simplify`, or simplify it for this semiring."
        )


def _check(store: GateStore, semiring: Semiring, valuation: Tensor) -> bool:
    """Check shape and dtype of a valuation; return whether it has a batch axis."""
    element, count = tuple(semiring.element_shape), len(store.variables)
    ends = valuation.shape[valuation.dim() - len(element) :] == torch.Size(element)
    leading = valuation.dim() - len(element)
    if not ends or leading not in (1, 2) or valuation.shape[leading - 1] != count:
        wanted = ", ".join(map(str, (count, *element)))
        raise ValuationError(
            f"the valuation has shape {tuple(valuation.shape)}; the circuit has {count} variables, {semiring.name!r} "
            f"elements of shape {element}: give [{wanted}], or [batch, {wanted}] for several at once."
        )
    wrong = valuation.dtype != semiring.dtype if semiring.dtype is not None else valuation.dtype == torch.bool
    if wrong:
        wanted = str(semiring.dtype) if semiring.dtype is not None else "numbers"
        raise ValuationError(
            f"the valuation's dtype is {valuation.dtype}; {semiring.name!r} has elements of dtype {wanted}. Nothing is "
            "cast in silence: annotate for this semiring, or convert the tensor yourself."
        )
    return leading == 2


def _check_nan(valuation: Tensor, result: Tensor, semiring: Semiring) -> None:
    if not (result.is_floating_point() or result.is_complex()):
        return
    if _has_nan(valuation):
        raise NonFiniteError("the valuation holds NaN: give every variable a number.")
    if _has_nan(result):
        raise NonFiniteError(
            f"{semiring.name!r} made a NaN out of a valuation without one: infinite elements do not suit it "
            "(∞ · 0, ∞ − ∞), or a product overflowed. Use finite elements or a wider dtype."
        )


def _check_overflow(plan: GatePlan, semiring: Semiring, values: Tensor, result: Tensor) -> None:
    """Raise `NonFiniteError` if a root is infinite because a sum or a product left the floats.

    An infinity is right where it came in, where it is `one`, and where it is `zero` and no path has a value other than
    zero, which the Booleans say.
    """
    if not result.is_floating_point() or not bool((wrong := result.isinf()).any()):
        return
    zero, one = (semiring.full((), end, result) for end in (semiring.zero, semiring.one))
    given = values[values.isinf() & (values != zero)]
    wrong &= result != one
    for infinity in given.unique().tolist():
        wrong &= result != infinity
    if not semiring.element_shape and bool((wrong & (result == zero)).any()):
        wrong &= (result != zero) | _evaluate(plan, Boolean(), values != zero)
    elif semiring.element_shape:
        wrong &= result != zero
    if bool(wrong.any()):
        raise NonFiniteError(
            f"a sum or a product overflowed {result.dtype} in the semiring {semiring.name!r}: a root is infinite. "
            "Use smaller elements, a wider dtype, or a semiring of logarithms."
        )


def _has_nan(x: Tensor) -> bool:
    # The sum of a NaN is one, and is read four times as fast; but inf - inf is a NaN too.
    return bool(torch.isnan(x.sum())) and bool(torch.isnan(x).any())


def _evaluate(plan: GatePlan, semiring: Semiring, valuation: Tensor) -> Tensor:
    """Return [batch, wanted gates, …] for a valuation [batch, variables, …]."""
    if plan.variables is not None:
        valuation = valuation.index_select(1, plan.variables)
    family = family_of(semiring, valuation)
    if family is not None:
        return _compiled(plan, semiring, family, valuation)
    width = max(plan.rows * valuation.element_size() * torch.Size(semiring.element_shape).numel(), 1)
    columns = max(MEMORY // width, 1)
    if valuation.device.type == "cpu":
        columns = min(columns, max(LINE * plan.rows // width, 1))
    parts = [_by_torch(plan, semiring, part) for part in valuation.split(columns)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _compiled(plan: GatePlan, semiring: Semiring, family: str, valuation: Tensor) -> Tensor:
    """Return what `_by_torch` does, to the bit, by a kernel: a few valuations at a time, in the same rows."""
    batch, leaves = valuation.shape
    width, size = KERNEL_LINE // valuation.element_size(), valuation.element_size()
    while width > 1 and (width >= 2 * batch or width * plan.rows * size > MEMORY):
        width //= 2
    evaluate = kernel(family, valuation.dtype, width)
    values = valuation.new_empty((plan.rows, width))
    values[0], values[1] = semiring.zero, semiring.one
    if batch < width:  # columns that nobody reads: denormal numbers there would take their time
        values[2 : 2 + leaves] = semiring.zero
    result = valuation.new_empty((batch, len(plan.wanted)))
    addresses = values.data_ptr(), plan.runs.data_ptr(), len(plan.runs), plan.wires.data_ptr()
    for start in range(0, batch, width):
        part = valuation[start : start + width]
        values[2 : 2 + leaves, : len(part)] = part.t()
        evaluate(*addresses, getattr(semiring, "p", 0))
        result[start : start + width] = values.index_select(0, plan.wanted)[:, : len(part)].t()
    return result


def _by_torch(plan: GatePlan, semiring: Semiring, valuation: Tensor) -> Tensor:
    """Return [batch, wanted gates, …] by torch's operations: any semiring, any device. Values: [rows, batch, …]."""
    batch = valuation.shape[0]
    inside = valuation.transpose(0, 1)
    values = valuation.new_empty((plan.rows, batch, *semiring.element_shape))
    values[0], values[1] = (semiring.full((batch,), e, valuation) for e in (semiring.zero, semiring.one))
    values[2 : 2 + inside.shape[0]] = inside
    if batch == 1:  # torch's binary operations are faster without an axis of one
        values = values.squeeze(1)
    for step in plan.steps:
        _step(step, semiring, values)
    found = values.index_select(0, plan.wanted)
    return found.unsqueeze(0) if batch == 1 else found.transpose(0, 1)


def _step(step: GateStep, semiring: Semiring, values: Tensor) -> None:
    """Evaluate a step's gates into their rows. A gate is written as soon as its last operand is in: what the others
    have so far is a prefix, and nothing is copied twice."""
    combine = semiring.plus if step.kind == PLUS else semiring.times
    result = values.index_select(0, step.operands[0])
    for rows in step.operands[1:]:
        if len(rows) < len(result):
            values[step.start + len(rows) : step.start + len(result)] = result[len(rows) :]
            result = result[: len(rows)]
        operand = values.index_select(0, rows)
        result = combine(result, operand)
        if result.dtype != values.dtype or result.shape != operand.shape:
            raise DTypeError(
                f"{combine.__name__} of {semiring.name!r} made {result.dtype} of shape {tuple(result.shape)} out "
                f"of {values.dtype} of shape {tuple(operand.shape)}: it must keep both. Nothing is cast in silence."
            )
    values[step.start : step.start + len(result)] = result


def as_tensor(
    store: GateStore,
    mapping: Mapping[Any, Any],
    semiring: Semiring,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return a valuation given as {variable or its name: element} as one tensor, [variables, *element_shape].

    `dtype` is for a semiring that has none of its own; None means torch's default floating dtype.
    Raises: `ValuationError` if a variable has no value or a key is no variable; the message names them.
    """
    numbers = numbers_of(store.variables)
    given = {str(key): value for key, value in mapping.items()}
    missing = [name for name in names_of(store.variables) if name not in given]
    extra = [name for name in given if name not in numbers]
    if missing or extra:
        problems = [
            f"{what} {len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for what, names in (("gives no value to", missing), ("has keys that are no variables:", extra))
            if names
        ]
        raise ValuationError(
            f"the valuation {' and '.join(problems)}. The circuit has {len(numbers)} variables; `variables` lists them."
        )
    floating = dtype or torch.get_default_dtype()
    elements = [given[name] for name in names_of(store.variables)]
    shape = (len(elements), *semiring.element_shape)
    found = into_carrier(semiring, elements, floating, "the valuation").to(device)
    if elements and tuple(found.shape) != shape:
        raise ValuationError(
            f"the valuation's elements have shape {tuple(found.shape[1:])}; {semiring.name!r} wants "
            f"{tuple(semiring.element_shape)}."
        )
    return found.reshape(shape)
