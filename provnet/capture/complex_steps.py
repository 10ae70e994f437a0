"""One op on complex tensors, as the recorder meets it: views and writes of pairs, ops on parts, or an op of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch._ops import OpOverload

from provnet.capture.decompose import complex_numbers, complex_parts
from provnet.capture.operations import Facts
from provnet.capture.structure import tensors_of

if TYPE_CHECKING:
    from provnet.capture.mode import Recorder


def in_pairs(
    recorder: Recorder, func: OpOverload, facts: Facts, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Run an op on complex tensors as one on pairs of real ones; `NotImplemented` if none of them is traced."""
    if not any(recorder.is_active(tensor) for tensor in tensors_of(args, kwargs)):
        return NotImplemented
    targets = facts.targets(args, kwargs)
    if func in complex_numbers.VIEWS and not args[0].is_conj():
        with recorder:
            return complex_numbers.VIEWS[func](*args, **kwargs)
    if facts.form == "metadata" or (facts.view and facts.base != "_conj"):
        return func(*args, **kwargs)
    if facts.constant and not targets:
        return NotImplemented
    if facts.base in ("copy_", "zero_", "fill_"):
        with recorder:
            complex_parts.write(facts.base, *args)
        return args[0]
    named = {name: value for name, value in kwargs.items() if name not in facts.writes}
    call = complex_numbers.PAIRS.get(facts.function)
    if call is None or facts.form == "mixed" or not complex_numbers.fits(facts.function, args):
        found = _as_one_op(recorder, facts, args, named)
    else:
        with recorder:
            found = call(*args, **named)
    with recorder:
        return targets[0].copy_(found) if targets else found


def _as_one_op(recorder: Recorder, facts: Facts, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Record an op that is not taken apart by another name, as an op from pairs to pairs: `complex.tanh`."""
    if any(isinstance(one, list | tuple) and complex_numbers.concerns(None, tuple(one), None) for one in args):
        recorder.refuse_kinds(facts, args, kwargs, ())
    result = facts.function(*args, **kwargs)
    function, pairs = complex_numbers.OnPairs.of(facts.function, args)
    shown = [complex_numbers.of_pairs(one) for one in (result if isinstance(result, tuple | list) else (result,))]
    active: list[Tensor] = [one for one in tensors_of(pairs, kwargs) if recorder.is_active(one)]
    own = replace(facts, name=f"complex.{facts.name.rpartition('.')[2]}")
    recorder.record(function, own, pairs, kwargs, shown if len(shown) > 1 else shown[0], active)
    return result
