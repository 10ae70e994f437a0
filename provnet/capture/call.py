"""How a model was called, kept so that it can be called again with other sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from provnet.capture.structure import replace_tensors


@dataclass(frozen=True, eq=False)
class ModelCall:
    """A model and its arguments, with places left open for the sources.

    places   id of the tensor that holds a source's place -> the source's name
    numbers  the sources' positions among the tensors of the call
    options  what else `record` was told
    """

    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    places: Mapping[int, str]
    numbers: tuple[int, ...]
    options: Mapping[str, Any]

    def arguments(self, inputs: Mapping[str, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call on other sources, given by name."""

        def fill(tensor: Tensor) -> Tensor:
            return inputs[self.places[id(tensor)]] if id(tensor) in self.places else tensor

        return replace_tensors(self.args, fill), replace_tensors(dict(self.kwargs), fill)


def model_call(
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    sources: Mapping[str, Tensor],
    arguments: list[tuple[str, Tensor]],
    options: Mapping[str, Any],
) -> ModelCall:
    """Return the call without its sources; other tensors are copied, for the model may write over its own."""
    names = {id(tensor): name for name, tensor in sources.items()}
    places: dict[int, str] = {}
    copies: dict[int, Tensor] = {}

    def place(tensor: Tensor) -> Tensor:
        if id(tensor) not in copies:
            source = names.get(id(tensor))
            copies[id(tensor)] = tensor.clone() if source is None else torch.empty(0, device="meta")
            if source is not None:
                places[id(copies[id(tensor)])] = source
        return copies[id(tensor)]

    numbers = tuple(i for i, (_, tensor) in enumerate(arguments) if id(tensor) in names)
    kept = replace_tensors(args, place), replace_tensors(dict(kwargs), place)
    return ModelCall(model, *kept, places=places, numbers=numbers, options=options)
