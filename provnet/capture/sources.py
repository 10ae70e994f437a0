"""Which of the arguments are sources, and what they are called."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

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


def choose_sources(
    arguments: list[tuple[str, Tensor]], given: list[Tensor], sources: Sources, modules: Mapping[str, nn.Module]
) -> dict[str, Tensor]:
    """Return name -> tensor for the sources: all floating tensors, or those that `sources` names.

    `sources` holds names ("x"; "x[0]" for one of several within), positions among the tensors, or the tensors that the
    caller gave (`given`, in the order of `arguments`). A single source is called "input".
    Raises: `TraceError` if no argument is a tensor, `InputError` if none is floating, `UnknownNameError`.
    """
    if not arguments:
        raise TraceError(
            "no argument is a tensor, so there is no source to explain. Pass the model's input as tensors."
        )
    if sources is None:
        chosen = [i for i, (_, tensor) in enumerate(arguments) if tensor.is_floating_point()]
        if not chosen:
            _refuse_integers(arguments, modules)
    else:
        wanted = [sources] if isinstance(sources, str | int | Tensor) else list(sources)
        chosen = sorted({i for want in wanted for i in _matching(want, arguments, given)})
        if not chosen:
            raise TraceError("sources= is empty, so there is nothing to explain. Leave it out to take all inputs.")
    unique: dict[int, tuple[str, Tensor]] = {}
    for i in chosen:
        unique.setdefault(id(arguments[i][1]), arguments[i])
    if len(unique) == 1:
        return {"input": next(iter(unique.values()))[1]}
    return dict(unique.values())


def _refuse_integers(arguments: list[tuple[str, Tensor]], modules: Mapping[str, nn.Module]) -> NoReturn:
    """Refuse arguments of which none is floating. Quantities can be converted; what is looked up in a table cannot."""
    dtypes = ", ".join(f"{name}: {tensor.dtype}" for name, tensor in arguments)
    problem = f"no argument is a floating tensor, so there is no source ({dtypes})."
    tables = [path for path, module in modules.items() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    if tables:
        raise InputError(
            f"{problem} The model looks numbers up in the table {tables[0]!r}, and which row is read has no share "
            f"of anything. Embed them first, model.get_submodule({tables[0]!r})(x), and trace the rest of the model on "
            "that."
        )
    raise InputError(f"{problem} Convert the input: x.float().")


def _matching(want: str | int | Tensor, arguments: list[tuple[str, Tensor]], given: list[Tensor]) -> list[int]:
    if isinstance(want, Tensor):
        found = [i for i, tensor in enumerate(given) if tensor is want]
    elif isinstance(want, int):
        found = [want] if 0 <= want < len(arguments) else []
    else:
        found = [i for i, (name, _) in enumerate(arguments) if name == want or name.startswith(f"{want}[")]
    if not found:
        shown = f"a tensor of shape {tuple(want.shape)}" if isinstance(want, Tensor) else repr(want)
        names = ", ".join(name for name, _ in arguments)
        raise UnknownNameError(f"sources= names {shown}, which is no tensor argument. Known: {names}.")
    return found


def is_finite(tensor: Tensor) -> bool:
    """Tell whether no entry is NaN or Inf. A sum is finite only if its terms are, and costs one pass."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
        return True
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
