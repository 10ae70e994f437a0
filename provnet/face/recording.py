"""What a circuit keeps of its recording, so that the same ops can be run on another batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from provnet.capture.autograd_graph import alike
from provnet.capture.checks import check_outputs, check_sources, count_examples
from provnet.capture.execution import Execution, Value
from provnet.capture.holders import unshared
from provnet.capture.other_batch import Shapes, for_batch, values_on
from provnet.capture.record import record_again
from provnet.capture.unseen import ValueNeededError, without_values
from provnet.circuit.blocks import BlockCircuit
from provnet.errors import InputError, ProvnetError, ReplayError, StaleCircuitError
from provnet.rules.build import build
from provnet.rules.lean_circuit import lean_circuit
from provnet.rules.ops.example_layout import Layout


@dataclass(frozen=True)
class _Owned:
    """One of the model's tensors as it was when the model was recorded."""

    tensor: Tensor
    version: int | None
    memory: int

    def is_still(self, tensor: Tensor | None) -> bool:
        """Return whether a tensor lies where this one lay, and was not written to as far as torch counts."""
        if tensor is None or tensor.layout is not torch.strided:
            return False
        version = None if tensor.is_inference() else tensor._version
        return version == self.version and tensor.untyped_storage().data_ptr() == self.memory


@dataclass(frozen=True, eq=False)
class _Sized:
    """The recording for one batch size. `template` is the circuit without activations; None where it depends on values,
    and is built for each batch. `unchecked`: the model's own output has not been seen."""

    execution: Execution
    shapes: Shapes
    unchecked: bool
    template: BlockCircuit | None = None


@dataclass(eq=False)
class Recording:
    """The ops of one execution without its activations.

    layouts     where each active value holds its examples.
    execution   sources and computed values are unseen tensors; constants are held.
    """

    execution: Execution
    layouts: Mapping[int, Layout]
    batch_norm: Literal["fused", "kept"]
    lean: bool
    owned: Mapping[str, _Owned]
    _kept: dict[int, _Sized] = field(default_factory=dict)
    """What is known of each batch size that came."""

    # -- another batch -------------------------------------------------------------------------------------------------

    def circuit_on(self, inputs: Mapping[str, Tensor], check: bool) -> tuple[BlockCircuit, frozenset[int]]:
        """Return the circuit of the recorded ops on other sources, by name, and where memory of its tensors lies that
        nobody else can write to. Raises: see `Circuit.on`."""
        self._refuse_fixed()
        self._refuse_changed()
        inputs = {name: tensor.detach().clone() for name, tensor in inputs.items()}
        sized = self._sized(self._checked(inputs))
        found = values_on(sized.execution, inputs, sized.shapes, self.execution.batch)
        # Objects of our own: an opaque module may have kept those that it gave.
        values = {number: tensor.detach() for number, tensor in found.items()}
        outputs = {name: values[number] for name, number in self.execution.outputs.items()}
        check_outputs(outputs, [], [], [])
        if check or sized.unchecked:
            self._compare(inputs, outputs)
            self._kept[sized.execution.batch] = sized = replace(sized, unchecked=False, template=self._template(sized))
        found.clear()  # those that ran the ops may refer to it still
        del inputs
        alone = unshared(values.values())
        if sized.template is not None and not self.lean:
            return self._shown(sized.template, sized.execution, values), alone
        execution = _filled(sized.execution, values)
        template = sized.template
        circuit = build(execution, self.batch_norm) if template is None else self._shown(template, execution, values)
        return (lean_circuit(execution, circuit) if self.lean else circuit), alone

    def _sized(self, batch: int) -> _Sized:
        if batch not in self._kept:
            shapes = {
                number: layout.shape_for(tuple(self.execution.values[number].tensor.shape), batch)
                for number, layout in self.layouts.items()
            }
            sized = _Sized(for_batch(self.execution, batch, shapes), shapes, batch != self.execution.batch)
            self._kept[batch] = sized if sized.unchecked else replace(sized, template=self._template(sized))
        return self._kept[batch]

    def _template(self, sized: _Sized) -> BlockCircuit | None:
        try:
            return build(sized.execution, self.batch_norm)
        except (ValueNeededError, RuntimeError):  # some rule looks at values: it must see those of each batch
            return None

    def _shown(self, template: BlockCircuit, execution: Execution, values: Mapping[int, Tensor]) -> BlockCircuit:
        """Return a circuit with the values of an execution as its activations, all else being the template's."""
        activations = {}
        for number, held in template.activations.items():
            found = values[number] if number in values else execution.tensor(number)
            activations[number] = held.showing(self.layouts[number].split(found, execution.batch)[0])
        blocks = template.blocks
        if any(block.places is not None for block in blocks):
            places: dict[int | None, Any] = {
                op.outputs[0]: op.outputs[1] for op in execution.ops if len(op.outputs) > 1
            }
            blocks = tuple(
                block if block.places is None else replace(block, places=values[places[block.output]])
                for block in blocks
            )
        return replace(template, activations=activations, blocks=blocks)

    # -- refusals ------------------------------------------------------------------------------------------------------

    def _refuse_fixed(self) -> None:
        if self.execution.fixed:
            reasons = "; ".join(self.execution.fixed)
            raise ReplayError(
                f"the recorded ops hold for their own input only: {reasons}. Trace each batch: provnet.trace(model, x)."
            )

    def _refuse_changed(self) -> None:
        if not self.owned:
            return
        model = self.execution.call.model
        if not isinstance(model, nn.Module):
            return
        now = {
            f"{path}.{name}" if path else name: tensor
            for path, module in model.named_modules()
            for name, tensor in (*module._parameters.items(), *module._buffers.items())
        }
        if all(name in now and then.is_still(now[name]) for name, then in self.owned.items()):
            return
        now = dict((*model.named_parameters(), *model.named_buffers()))  # what the model itself says
        for name, then in self.owned.items():
            if name not in now or not then.is_still(now[name]):
                raise StaleCircuitError(
                    f"{name!r} was changed or replaced after tracing, so the recorded ops are no longer the model's. "
                    "Trace again, or trace with copy=True to keep the old weights."
                )

    def _checked(self, inputs: Mapping[str, Tensor]) -> int:
        """Return the number of examples. Raises `InputError` for sources that do not fit the recorded ones."""
        axis = self.execution.batch_dim
        for name, number in self.execution.sources.items():
            recorded, came = self.execution.values[number].tensor, inputs[name]
            if came.dtype != recorded.dtype or came.device != recorded.device:
                raise InputError(
                    f"the source {name!r} is {came.dtype} on {came.device}; it was recorded as {recorded.dtype} on "
                    f"{recorded.device}. Convert it, or trace it anew."
                )
            if _example(came, axis) != _example(recorded, axis):
                raise InputError(
                    f"the source {name!r} has the shape {list(came.shape)}; it was recorded as {list(recorded.shape)}, "
                    f"and only the number of examples, axis {axis}, may differ. Trace the new shape with provnet.trace."
                )
        check_sources(inputs, {}, {}, axis)
        return count_examples(inputs, axis)

    def _compare(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Hold the replayed outputs against the model's own. Raises `ReplayError` if they differ."""
        try:
            fresh = record_again(self.execution.call, inputs)
        except ProvnetError as error:
            raise ReplayError(f"the model itself does not take this batch: {error}") from error
        then, now = ([(op.name, op.label) for op in one.ops] for one in (self.execution, fresh))
        if then != now:
            raise ReplayError(
                f"with {fresh.batch} examples the model runs other ops than with {self.execution.batch}: "
                f"{len(now)} in place of {len(then)}, or in another order. Trace the new batch with provnet.trace."
            )
        for name, output in outputs.items():
            own = fresh.tensor(fresh.outputs[name]) if name in fresh.outputs else None
            if own is None or own.shape != output.shape or not alike(output, own):
                raise ReplayError(
                    f"on this batch the model's {name!r} differs from what its recorded ops give: it does something "
                    "else for another number of examples, or has changed since (weights written behind autograd's "
                    "back, a mode, a hook). Trace the new batch with provnet.trace."
                )


def recording_of(
    execution: Execution, layouts: Mapping[int, Layout], batch_norm: Any, lean: bool, copy: bool
) -> Recording:
    """Return what is kept of an execution for other batches. With `copy` the model's own tensors are not watched."""
    model = None if execution.call is None else execution.call.model
    owned = {} if copy or not isinstance(model, nn.Module) else _owned_by(model)
    return Recording(without_values(execution), layouts, batch_norm, lean, owned)


def _owned_by(model: nn.Module) -> dict[str, _Owned]:
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {
        name: _Owned(t, None if t.is_inference() else t._version, t.untyped_storage().data_ptr())
        for name, t in tensors
        if t.layout is torch.strided
    }


def _filled(execution: Execution, values: Mapping[int, Tensor]) -> Execution:
    held: dict[int, Value] = {
        number: replace(value, tensor=values[number]) if number in values else value
        for number, value in execution.values.items()
    }
    return replace(execution, values=held)


def _example(tensor: Tensor, axis: int) -> tuple[int, ...] | None:
    shape = tuple(tensor.shape)
    return (*shape[:axis], *shape[axis + 1 :]) if axis < len(shape) else None
