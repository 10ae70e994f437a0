"""Which of the arguments are sources, and what they are called."""

from __future__ import annotations

import cmath
import inspect
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from provnet.capture.structure import distinct, replace_tensors, tensors_in
from provnet.errors import InputError, TraceError, UnknownNameError

Sources = str | int | Tensor | Iterable[str | int | Tensor] | None


def own_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], graph: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return copies of the arguments' tensors in the same structure, so that neither side can write over the other's.

    A tensor that is given twice stays one tensor. `graph`: autograd knows where the copies come from.
    """
    copies: dict[int, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        if id(tensor) not in copies:
            copies[id(tensor)] = tensor.clone() if graph else tensor.detach().clone()
        return copies[id(tensor)]

    return tuple(replace_tensors(a, copy) for a in args), {k: replace_tensors(a, copy) for k, a in kwargs.items()}


def named_arguments(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
    """Return (name, tensor) for every tensor among the arguments, by the names of the parameters of `forward`.

    Where there is no signature, or the arguments do not fit it, positional ones are "input[0]", "input[1]", ….
    """
    try:
        bound = inspect.signature(model.forward if isinstance(model, nn.Module) else model).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return list(
            distinct([*tensors_in(args, "input"), *(pair for k, a in kwargs.items() for pair in tensors_in(a, k))])
        )
    found: list[tuple[str, Tensor]] = []
    for name, value in bound.arguments.items():
        if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            found += [pair for k, a in value.items() for pair in tensors_in(a, k)]
        else:
            found += tensors_in(value, name)
    return list(distinct(found))


@dataclass(frozen=True, eq=False)
class Chosen:
    """What is to be explained.

    tensors   floating arguments by name; a single one, with nothing else beside it, is called "input"
    numbers   integer arguments by name: where they become floating, in an embedding say, the result is the source
    modules   path -> the calls whose outputs are sources, None for all calls
    explicit  the caller named the integers, so that a cast makes them a source too
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, Tensor] = field(default_factory=dict)
    modules: Mapping[str, set[int] | None] = field(default_factory=dict)
    explicit: bool = False


def choose_sources(
    arguments: list[tuple[str, Tensor]], given: list[Tensor], sources: Sources, modules: Container[str] = ()
) -> Chosen:
    """Return the sources: by default all floating tensors and what integers look up, masks and positions apart.

    `sources` holds names ("x"; "x[0]" for one of several within), positions among the tensors, the tensors that the
    caller gave (`given`, in the order of `arguments`), or paths of modules ("encoder", "encoder#1" for the second call)
    whose output is a source. An argument is a mask or holds positions if its name says so.
    Raises: `TraceError` if no argument is a tensor, `InputError` if none can be a source, `UnknownNameError`.
    """
    if sources is None:
        return _default(arguments)
    wanted = [sources] if isinstance(sources, str | int | Tensor) else list(sources)
    inside: dict[str, set[int] | None] = {}
    chosen: set[int] = set()
    for want in wanted:
        if isinstance(want, str) and not _positions(want, arguments) and _module_call(want, modules, inside):
            continue
        chosen.update(_matching(want, arguments, given))
    if not chosen and not inside:
        raise TraceError("sources= is empty, so there is nothing to explain. Leave it out to take all inputs.")
    tensors, numbers = _by_kind([arguments[i] for i in sorted(chosen)])
    alone = not numbers and not inside
    return Chosen(_named(tensors, alone), numbers, inside, explicit=True)


def _default(arguments: list[tuple[str, Tensor]]) -> Chosen:
    if not arguments:
        raise TraceError(
            "no argument is a tensor, so there is no source to explain. Pass the model's input as tensors."
        )
    usable = [(n, t) for n, t in arguments if t.dtype is not torch.bool and not t.is_complex()]
    content = [(name, tensor) for name, tensor in usable if not says_where(name)]
    tensors, numbers = _by_kind(content or [pair for pair in usable if pair[1].is_floating_point()])
    if not tensors and not numbers:
        dtypes = ", ".join(f"{name}: {tensor.dtype}" for name, tensor in arguments)
        raise InputError(
            f"no argument is a floating tensor, or one of integers that can be looked up, so there is no source "
            f"({dtypes}). Convert the input (x.float()), or name the sources: sources=['…']."
        )
    return Chosen(_named(tensors, alone=not numbers), numbers)


def says_where(name: str) -> bool:
    """Return whether an argument's name says that it holds a mask or positions, and so nothing to be explained.

    Example:
        >>> [says_where(name) for name in ("attention_mask", "position_ids", "input_ids", "x[mask]")]
        [True, True, False, True]
    """
    words = set(re.split(r"[^a-z]+", name.lower()))
    return not words.isdisjoint({"mask", "masks", "position", "positions", "pos"})


def _by_kind(pairs: list[tuple[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the floating tensors and the others, each tensor once, by its first name."""
    unique: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in pairs:
        unique.setdefault(id(tensor), (name, tensor))
    floats = {name: t for name, t in unique.values() if t.is_floating_point() or t.is_complex() or t.is_quantized}
    return floats, {name: tensor for name, tensor in unique.values() if name not in floats}


def _named(tensors: dict[str, Tensor], alone: bool) -> dict[str, Tensor]:
    return {"input": next(iter(tensors.values()))} if alone and len(tensors) == 1 else tensors


def _positions(want: str, arguments: list[tuple[str, Tensor]]) -> list[int]:
    return [i for i, (name, _) in enumerate(arguments) if name == want or name.startswith(f"{want}[")]


def _module_call(want: str, modules: Container[str], inside: dict[str, set[int] | None]) -> bool:
    """Add the module call that `want` names, "path" or "path#1", and return whether there is such a module."""
    path, sign, call = want.rpartition("#")
    if want and want in modules:
        inside[want] = None
        return True
    if not sign or path not in modules or not call.isdecimal():
        return False
    calls = inside.setdefault(path, set())
    if calls is not None:
        calls.add(int(call))
    return True


def _matching(want: str | int | Tensor, arguments: list[tuple[str, Tensor]], given: list[Tensor]) -> list[int]:
    if isinstance(want, Tensor):
        found = [i for i, tensor in enumerate(given) if tensor is want]
    elif isinstance(want, int):
        found = [want] if 0 <= want < len(arguments) else []
    else:
        found = _positions(want, arguments)
    if not found:
        shown = f"a tensor of shape {tuple(want.shape)}" if isinstance(want, Tensor) else repr(want)
        names = ", ".join(name for name, _ in arguments)
        raise UnknownNameError(
            f"sources= names {shown}, which is no tensor argument and no module's path. Known: {names}. Of modules the "
            "output is a source: sources=['path.to.module']."
        )
    return found


def is_finite(tensor: Tensor) -> bool:
    """Return whether no entry is NaN or Inf. A sum is finite only if its terms are, and costs one pass."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
        return True
    return cmath.isfinite(tensor.sum().item()) or bool(torch.isfinite(tensor).all())
