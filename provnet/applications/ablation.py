"""What a model does without some of its neurons: masks at modules' outputs, measured, and made permanent."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from provnet.applications.datasets.batches import batches_of
from provnet.errors import InputError, OptionError, UnknownNameError


@contextmanager
def ablated(model: nn.Module, masks: Mapping[str, Tensor], value: float | Mapping[str, Tensor] = 0.0) -> Iterator[None]:
    """Run a block in which the outputs of some modules keep only the neurons of a mask; the model is left as it was.

    masks   module path -> Boolean of the shape of one example's output, or of its first axis (channels).
    value   what the others are set to: a number, or path -> a tensor such as the mean activation.
    The change is made behind the module, so a neuron's bias goes with it.
    Raises: `UnknownNameError` for a module that the model lacks, `OptionError` for a mask that fits no output.
    Example: `with ablated(model, {"1": mask}): scores = model(x)`
    """
    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for path, mask in masks.items():
            if path not in modules:
                raise UnknownNameError(f"the model has no module {path!r}. It has {', '.join(filter(None, modules))}.")
            other = value.get(path, torch.zeros(())) if isinstance(value, Mapping) else torch.tensor(value)
            stack.callback(modules[path].register_forward_hook(_hook(path, mask, other)).remove)
        yield


def _hook(path: str, mask: Tensor, value: Tensor) -> Any:
    if mask.dtype != torch.bool:
        raise OptionError(f"the mask of {path!r} is {mask.dtype}; expected Booleans, True for what is kept.")

    def keep(module: nn.Module, inputs: Any, output: Any) -> Tensor:
        shape = output.shape[1:] if isinstance(output, Tensor) else None
        if shape is None or tuple(mask.shape) not in (tuple(shape), tuple(shape[:1])):
            came = "no tensor" if shape is None else f"{list(shape)} an example"
            raise OptionError(f"the mask of {path!r} has the shape {list(mask.shape)}, and its output is {came}.")
        chosen = mask.reshape(*mask.shape, *(1,) * (len(shape) - mask.dim())).to(output.device)
        return torch.where(chosen, output, value.to(output.device, output.dtype))

    return keep


@dataclass(frozen=True)
class Score:
    """How well a model does on labelled data: the share of right predictions, and the mean cross-entropy in nats."""

    accuracy: float
    loss: float
    examples: int


def score(model: nn.Module, data: Any, batch_size: int = 256) -> Score:
    """Return a model's accuracy and cross-entropy on (examples, labels), as `provnet.sweep` takes data.

    Raises: `InputError` if there are no labels, or one is no class.
    """
    right, loss, count = 0, 0.0, 0
    with torch.no_grad():
        for number, (x, y) in batches_of(data, batch_size, keeps_order=False):
            scores = model(x)
            if y is None or not 0 <= int(y.min()) <= int(y.max()) < scores.shape[1]:
                raise InputError(f"batch {number} has no labels from 0 to {scores.shape[1] - 1}, which a score needs.")
            right += int((scores.argmax(1) == y).sum())
            loss += float(nn.functional.cross_entropy(scores.double(), y, reduction="sum"))
            count += len(x)
    return Score(right / count, loss / count, count)


def masked_copy(model: nn.Module, masks: Mapping[str, Tensor], bias: Literal["remove", "keep"] = "remove") -> nn.Module:
    """Return a copy of the model whose linear and convolution layers have lost some of their outputs.

    The masks are those of `torch.nn.utils.prune`: `prune.remove` makes them permanent.
    masks   module path -> [outputs], True for what is kept.
    bias    "remove": a lost neuron gives 0. "keep": it loses its weights and gives its bias.
    Raises: `UnknownNameError`, `OptionError`.
    """
    if bias not in ("remove", "keep"):
        raise OptionError(f"bias={bias!r}; expected 'remove' or 'keep'.")
    made = copy.deepcopy(model)
    for path, mask in masks.items():
        layer = _layer(made, path, mask)
        weight: Any = layer.weight
        prune.custom_from_mask(layer, "weight", mask.reshape(-1, *(1,) * (weight.dim() - 1)).expand_as(weight).clone())
        if bias == "remove" and layer.bias is not None:
            prune.custom_from_mask(layer, "bias", mask)
    return made


def _layer(model: nn.Module, path: str, mask: Tensor) -> Any:
    layer: Any = dict(model.named_modules()).get(path)
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        raise UnknownNameError(
            f"{path!r} is no linear layer or convolution of the model, so it has no outputs to lose."
        )
    if mask.dtype != torch.bool or tuple(mask.shape) != (layer.weight.shape[0],):
        raise OptionError(
            f"the mask of {path!r} is {mask.dtype} of shape {list(mask.shape)}; expected {layer.weight.shape[0]} "
            "Booleans, one for each output."
        )
    return layer


def smaller(model: nn.Sequential, masks: Mapping[str, Tensor]) -> nn.Sequential:
    """Return a sequential model rebuilt without some outputs of its layers, and without the weights that read them.

    It computes what `masked_copy` computes, in less time. Between a layer and the next may stand what passes zeros on
    as zeros, neuron by neuron or channel by channel: ReLU and its kin, pooling, flattening, dropout. A batch norm there
    loses the same channels, shift and all: the model is then that with these channels `ablated` behind the batch norm.
    masks   path of a layer -> [outputs], True for what is kept; at least one.
    Raises: `OptionError` for a model, or a module between two layers, that it cannot see through; `UnknownNameError`.
    """
    if not isinstance(model, nn.Sequential):
        raise OptionError(f"a {type(model).__name__} is no nn.Sequential: which layer reads which is not known.")
    for path, mask in masks.items():
        _layer(model, path, mask)
        if not bool(mask.any()):
            raise OptionError(f"the mask of {path!r} keeps nothing, and a layer needs at least one output.")
    parts: dict[str, nn.Module] = {}
    kept: Tensor | None = None
    for path, module in model.named_children():
        made = copy.deepcopy(module)
        if isinstance(made, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            made = _narrowed(path, made, kept, masks.get(path))
            kept = masks.get(path)
        elif isinstance(made, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            made = made if kept is None else _narrow_norm(made, kept)
        elif kept is not None and not isinstance(made, _PASSES):
            raise OptionError(
                f"{path!r} ({type(made).__name__}) stands between a pruned layer and the next; whether it keeps zeros "
                "is not known. Use masked_copy, or leave that layer whole."
            )
        parts[path] = made
    if kept is not None:
        raise OptionError("the last layer's outputs are the model's own and cannot be taken away. Leave it out.")
    found = nn.Sequential()
    for path, module in parts.items():
        found.add_module(path, module)
    return found.train(model.training)


_PASSES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)


def _narrowed(path: str, layer: Any, before: Tensor | None, after: Tensor | None) -> Any:
    if before is not None:
        if getattr(layer, "groups", 1) != 1:
            raise OptionError(f"{path!r} is a grouped convolution, whose inputs cannot be taken away one by one.")
        each, rest = divmod(layer.weight.shape[1], len(before))  # positions of a channel that were flattened
        if rest:
            raise OptionError(f"{path!r} reads {layer.weight.shape[1]} inputs, no multiple of {len(before)} channels.")
        layer.weight = nn.Parameter(layer.weight.detach()[:, before.repeat_interleave(each)].clone())
    if after is not None:
        layer.weight = nn.Parameter(layer.weight.detach()[after].clone())
        layer.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach()[after].clone())
    sizes = ("in_features", "out_features") if isinstance(layer, nn.Linear) else ("in_channels", "out_channels")
    setattr(layer, sizes[0], layer.weight.shape[1] * getattr(layer, "groups", 1))
    setattr(layer, sizes[1], layer.weight.shape[0])
    return layer


def _narrow_norm(norm: Any, kept: Tensor) -> Any:
    norm.num_features = int(kept.sum())
    for name in ("weight", "bias"):
        held = getattr(norm, name)
        setattr(norm, name, None if held is None else nn.Parameter(held.detach()[kept].clone()))
    for name in ("running_mean", "running_var"):
        held = getattr(norm, name)
        setattr(norm, name, None if held is None else held[kept].clone())
    return norm
