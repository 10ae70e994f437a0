"""Input that is refused before, or right after, a run. Every message says what came, what was wanted, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from provnet.capture.imprint import Imprint
from provnet.capture.sound_weights import known_sound, remember_sound
from provnet.capture.sources import is_finite
from provnet.capture.special_tensors import kind_of
from provnet.errors import (
    CrossExampleError,
    DeviceError,
    InputError,
    NonFiniteError,
    OptionError,
    TraceError,
    TrainingModeError,
)


def check_model(model: Any, modules: Mapping[str, nn.Module]) -> Imprint | None:
    """Return the imprint of a module's parameters and buffers, None for a function's, or if some are of other kinds.

    Raises: `InputError`, `TrainingModeError`, `CrossExampleError` or `NonFiniteError` if the model will not do.
    """
    if not callable(model):
        raise InputError(f"a model is an nn.Module or a function, but {type(model).__name__} came.")
    _check_training(modules)
    owned = [
        (f"{path}.{name}" if path else name, tensor, name in module._parameters)
        for path, module in modules.items()
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    ]
    if not all(_is_usual(tensor) for _, tensor, _ in owned):
        _check_each(owned)
        return None
    distinct = {id(tensor): tensor for _, tensor, _ in owned}
    if not isinstance(model, nn.Module):
        if not _all_finite(distinct.values()):
            _check_each(owned)
        return None
    firsts: dict[str, Tensor] = {}
    for name, tensor, _ in owned:
        if distinct.pop(id(tensor), None) is not None:
            firsts[name] = tensor
    known = known_sound(model, firsts)
    if known is not None:
        return known
    if not _all_finite(firsts.values()):
        _check_each(owned)
    return remember_sound(model, firsts)


def _is_usual(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and not tensor.is_meta and kind_of(tensor) is None


def _check_each(owned: Iterable[tuple[str, Tensor, bool]]) -> None:
    for name, tensor, is_parameter in owned:
        _check_owned(name, tensor, is_parameter)


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether the sums of all tensors are finite, which says that all entries are; False may mean nothing.

    One look at all sums: a deep net has a hundred small tensors, and a look at each costs more than its sum.
    """
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.is_floating_point():
            by_device.setdefault(tensor.device, []).append(tensor.detach().sum().float())
    return all(bool(torch.isfinite(torch.stack(sums)).all()) for sums in by_device.values())


def _check_training(modules: Mapping[str, nn.Module]) -> None:
    # In evaluation it has no running statistics to use, so model.eval() is no way out.
    always = [p for p, m in modules.items() if isinstance(m, _BatchNorm) and m.running_mean is None]
    if always:
        raise CrossExampleError(
            f"batch norm without running statistics ({_listed(always)}) takes them from the batch, so that examples "
            "are not independent. Use track_running_stats=True, or another kind of normalisation."
        )
    random = [path for path, module in modules.items() if module.training and _is_random(module)]
    if random:
        raise TrainingModeError(
            f"the model is in training mode, where {_listed(random)} would drop out, or use the batch's statistics. "
            "Call model.eval() first."
        )


def _is_random(module: nn.Module) -> bool:
    if isinstance(module, _BatchNorm | nn.RReLU):
        return True
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.MultiheadAttention) and module.dropout > 0


def _check_owned(name: str, tensor: Tensor, is_parameter: bool) -> None:
    what = "parameter" if is_parameter else "buffer"
    if is_lazy(tensor) or tensor.is_meta:
        raise InputError(f"the {what} {name!r} has no values yet. Load the weights, or run the model once, first.")
    if kind_of(tensor) in ("sparse", "nested") or is_finite(tensor):
        return
    # An attention mask adds -inf where nothing may pass: no fault.
    masked = torch.isneginf(tensor)
    if not is_parameter and bool((masked | (tensor == 0)).all()):
        return
    raise NonFiniteError(
        f"the {what} {name!r} holds {int((~torch.isfinite(tensor)).sum())} NaN or Inf among its {tensor.numel()} "
        "entries. Load sound weights: nothing that is computed from these has a meaning."
    )


def check_sources(
    tensors: Mapping[str, Tensor], numbers: Mapping[str, Tensor], modules: Mapping[str, nn.Module], batch_dim: int
) -> None:
    """Check sources among the arguments: floating `tensors`, and `numbers` that may be looked up.

    Raises: `InputError`, `DeviceError`, `NonFiniteError` or `OptionError`.
    """
    if isinstance(batch_dim, bool) or not isinstance(batch_dim, int):
        raise OptionError(f"batch_dim={batch_dim!r}: give the number of the axis that carries examples, such as 0.")
    _check_device({**tensors, **numbers}, modules)
    for name, tensor in tensors.items() if tensors else numbers.items():
        kind = kind_of(tensor)
        if kind is not None:
            raise InputError(f"the source {name!r} is a {kind} tensor: only ordinary dense real tensors can be traced.")
        if not 0 <= batch_dim < tensor.dim():
            raise InputError(
                f"the source {name!r} has shape {tuple(tensor.shape)}, without an axis {batch_dim} for examples. "
                "Add one: x.unsqueeze(0), or say where it is: batch_dim=."
            )
        if tensor.numel() == 0:
            raise InputError(f"the source {name!r} is empty, of shape {tuple(tensor.shape)}. Pass one example or more.")
        if not is_finite(tensor):
            bad = int((~torch.isfinite(tensor)).sum())
            raise NonFiniteError(
                f"the source {name!r} holds {bad} NaN or Inf among its {tensor.numel()} entries. Clean the input first."
            )
    count_examples(tensors, batch_dim)


def count_examples(sources: Mapping[str, Tensor], batch_dim: int) -> int:
    """Return the number of examples, 1 without sources. Raises `InputError` if the sources differ in it."""
    for name, tensor in sources.items():
        if tensor.dim() <= batch_dim:
            raise InputError(
                f"the source {name!r} has shape {tuple(tensor.shape)}, without an axis {batch_dim} for examples. Say "
                "which axis of the sources holds the examples: batch_dim=."
            )
    sizes = {name: tensor.shape[batch_dim] for name, tensor in sources.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(
            f"the sources differ in their number of examples along axis {batch_dim}: {sizes}. Pass the same number of "
            "each, or name only some as sources: sources=[…]."
        )
    return next(iter(sizes.values()), 1)


def check_other_arguments(arguments: list[tuple[str, Tensor]]) -> None:
    """Raise `NonFiniteError` for a NaN in an argument that is no source (a mask may hold -inf), `DeviceError` for one
    without values."""
    for name, tensor in arguments:
        if tensor.is_meta:
            raise DeviceError(f"the argument {name!r} is on the meta device, so it has no values. Pass one that has.")
        if kind_of(tensor) is None and tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise NonFiniteError(f"the argument {name!r} holds NaN. Clean the input first.")


def _check_device(sources: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> None:
    devices = {p.device for module in modules.values() for p in module._parameters.values() if p is not None}
    for name, tensor in sources.items():
        if tensor.is_meta or (devices and tensor.device not in devices):
            where = ", ".join(sorted(map(str, devices))) or "a device that holds data"
            raise DeviceError(
                f"the source {name!r} is on {tensor.device}, but the model is on {where}. Move one: x.to(device)."
            )


def check_outputs(
    outputs: Mapping[str, Tensor],
    independent: list[str],
    made_by: list[str],
    numbers: list[str],
    complex_ones: Sequence[str] = (),
) -> None:
    """Raise `TraceError` if no output depends on a source, `NonFiniteError` if one that does is not finite.

    `outputs` are those that do, `independent` the names of the other tensors that the model returned, `made_by` the
    ops whose results on a traced tensor count as constant and lead to them, `numbers` the integer arguments,
    `complex_ones` the names of outputs that depend on a source and are complex.
    """
    if not outputs and not independent:
        raise TraceError("the model returned no tensor, so there is nothing to explain. Let it return its output.")
    if not outputs and complex_ones:
        raise TraceError(
            f"the output ({_listed(list(complex_ones))}) is complex, and relevance starts at real numbers. Return its "
            "parts, torch.view_as_real(z), or its length, z.abs()."
        )
    if not outputs:
        raise TraceError(
            f"the output ({_listed(independent)}) does not depend on any source by a differentiable way: it is "
            "constant, of integers, or was computed outside of torch. Return scores, and compute them with torch."
            + (f" What {_listed(made_by)} makes of a traced tensor counts as constant." if made_by else "")
            + _no_lookup(numbers)
        )
    for name, tensor in outputs.items():
        if not is_finite(tensor):
            bad = int((~torch.isfinite(tensor)).sum())
            raise NonFiniteError(
                f"the model's {name!r} holds {bad} NaN or Inf among its {tensor.numel()} entries, though its input and "
                "weights are finite. Look for overflow (half precision?) or a division by zero in the model."
            )


def _no_lookup(numbers: list[str]) -> str:
    if not numbers:
        return ""
    return (
        f" The integers in {_listed(numbers)} are explained where an embedding looks them up; if the model computes "
        f"with them as numbers, name them: sources={numbers}."
    )


def _listed(names: list[str], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
