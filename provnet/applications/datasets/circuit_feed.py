"""One circuit after the other for the batches of a dataset: replayed where that is possible, traced anew where not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from provnet.errors import InputError, ReplayError, TargetError
from provnet.face import Circuit, trace
from provnet.face.neuron_names import output_named
from provnet.torch_backend.blocks.rows import rows


class CircuitFeed:
    """Gives the circuit of each batch. The first is traced; the others are put on it (`Circuit.on`), if they can be."""

    def __init__(self, model: Any, options: Mapping[str, Any]) -> None:
        self._model, self._options = model, options
        self._circuit: Circuit | None = None
        self._shape: torch.Size | None = None
        self._replays = True
        self._device = _device_of(model)

    def on(self, examples: Tensor, number: int) -> Circuit:
        """Return the circuit of one batch. Raises: as `trace`, naming the batch where its shape does not fit."""
        x = examples if self._device is None else examples.to(self._device)
        if self._shape is not None and x.shape[1:] != self._shape:
            raise InputError(
                f"batch {number} has examples of shape {list(x.shape[1:])}, the first had {list(self._shape)}. Give "
                "all examples one size."
            )
        if self._circuit is not None and self._replays:
            try:
                return self._circuit.on(x)
            except ReplayError:
                self._replays = False
        found = trace(self._model, x, **self._options)
        self._circuit, self._shape = self._circuit or found, x.shape[1:]
        return found


def _device_of(model: Any) -> torch.device | None:
    return next((p.device for p in model.parameters()), None) if isinstance(model, nn.Module) else None


def scores_of(circuit: Circuit) -> Tensor:
    """Return the recorded scores, [batch, classes]. Raises `TargetError` where an output is no row of classes."""
    output = circuit.session.data.activations[output_named(circuit.session.data, None)]
    if output.size != (output.shape[-1] if output.shape else 0):
        raise TargetError(
            f"the output has the shape {output.shape} an example, so no example has one class. Sweep with by=None and "
            "a target that fits."
        )
    return rows(output, circuit.batch, output.handle.dtype)


def checked_labels(labels: Tensor | None, classes: int, number: int) -> Tensor:
    """Return the labels of a batch. Raises `InputError` if there are none, or one is no class."""
    if labels is None:
        raise InputError("the data has no labels, and the sweep needs them. Give (examples, labels).")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"batch {number} has the labels {int(labels.min())} to {int(labels.max())}; the model has the classes 0 to "
            f"{classes - 1}. Check the labels."
        )
    return labels
