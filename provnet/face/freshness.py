"""Whether what a circuit refers to is still what it was: the model's tensors, and those that were recorded."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from provnet.circuit.blocks import BlockCircuit, Kept
from provnet.errors import StaleCircuitError
from provnet.torch_backend.imprint import Imprint
from provnet.torch_backend.settings import plain_torch

WAY_OUT = "Trace again, or trace with copy=True"


class Freshness:
    """What the tensors of a circuit held when it was made. See docs/staleness.md for what is noticed.

    Torch's own counter tells of most writes, for nothing; the bits tell of those that it does not count.
    """

    @plain_torch()
    def __init__(self, circuit: BlockCircuit, whole: bool = False, before: Freshness | None = None) -> None:
        """`whole`: compare every bit of large tensors too. `before`: of a circuit that has just been checked, whose
        imprint of the model's tensors serves this one too, if they are the same."""
        self._kept = circuit.kept
        if before is not None and _same_tensors(before._kept, self._kept):
            self._weights = before._weights
        else:
            self._weights = Imprint({kept.name: kept.handle for kept in circuit.kept}, whole)
        self._recorded = Imprint(_recorded(circuit), whole)

    def check(self) -> None:
        """Raise `StaleCircuitError` if any of the tensors was changed."""
        for kept in self._kept:
            if kept.version is not None and kept.handle._version != kept.version:
                raise StaleCircuitError(
                    f"{kept.name!r} was changed in place after tracing (version {kept.version}, now "
                    f"{kept.handle._version}), so activations and weights no longer belong together. {WAY_OUT}."
                )
        changed = self._weights.changed()
        if changed:
            raise StaleCircuitError(
                f"{_listed(changed)} changed after tracing, by a way that torch does not count (.data, numpy, a fused "
                f"optimiser, inference mode), so activations and weights no longer belong together. {WAY_OUT}."
            )
        self.check_recorded()

    def check_recorded(self) -> None:
        """Raise `StaleCircuitError` if a recorded tensor was changed: by whoever got hold of it, a hook say."""
        changed = self._recorded.changed()
        if changed:
            raise StaleCircuitError(
                f"the recorded {_listed(changed)} changed after tracing: the circuit holds the tensor itself, and so "
                "does a hook, an attribute of the model or another variable. Trace again, and change a copy: t.clone()."
            )


def _same_tensors(some: Sequence[Kept], others: Sequence[Kept]) -> bool:
    """Return whether two circuits refer to the same tensors of a model, by the same names."""
    return len(some) == len(others) and all(
        one.name == other.name and one.handle is other.handle for one, other in zip(some, others, strict=True)
    )


def _recorded(circuit: BlockCircuit) -> dict[str, Tensor]:
    """Return the tensors that the run made and the circuit reads, by name; those of a lean circuit that it keeps."""
    found = {held.name: held.handle for held in circuit.activations.values()}
    found |= {f"winners of {block.path}": block.places for block in circuit.blocks}
    if circuit.lean is not None:
        names = {value: held.name for value, held in circuit.activations.items()}
        found |= {names.get(value, f"value {value}"): tensor for value, tensor in circuit.lean.kept.items()}
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


def _listed(names: list[str], most: int = 3) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
