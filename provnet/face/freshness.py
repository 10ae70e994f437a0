"""Whether what a circuit refers to is still what it was: the model's tensors, and those that were recorded."""

from __future__ import annotations

from collections.abc import Container

from torch import Tensor

from provnet.capture.imprint import Imprint
from provnet.circuit.blocks import BlockCircuit
from provnet.errors import StaleCircuitError
from provnet.torch_backend.settings import plain_torch

WAY_OUT = "Trace again, or trace with copy=True"


class Freshness:
    """What the tensors of a circuit held when it was made. See docs/staleness.md for what is noticed.

    Torch's own counter tells of most writes, for nothing; the bits tell of those that it does not count.
    """

    @plain_torch()
    def __init__(
        self,
        circuit: BlockCircuit,
        whole: bool,
        found: Imprint | None,
        unshared: Container[int],
        known: Freshness | None = None,
    ) -> None:
        """`whole`: compare every bit of large tensors too. `found`: the imprint of the model's own tensors, if there
        is one. `unshared`: where memory lies that nobody else can write to. `known`: of another batch, whose weights
        were looked at a moment ago."""
        self._kept = circuit.kept
        if known is not None and known.holds_those_of(circuit):
            self._names, self._own, self._others = known._names, known._own, known._others
        else:
            own = known.imprint if known is not None else None if whole else found
            self._names = {kept.name for kept in circuit.kept if own is not None and own.covers(kept.name, kept.handle)}
            self._own = own if self._names else None
            others = {kept.name: kept.handle for kept in circuit.kept if kept.name not in self._names}
            self._others = Imprint(others, whole)
        recorded = _recorded(circuit).items()
        watched = {name: held for name, held in recorded if held.untyped_storage().data_ptr() not in unshared}
        self._recorded = Imprint(watched, whole)

    @property
    def imprint(self) -> Imprint:
        """The imprint of the model's own tensors; if there are two, that with which this was made."""
        return self._others if self._own is None else self._own

    def holds_those_of(self, circuit: BlockCircuit) -> bool:
        """Return whether a circuit refers to the very tensors that are held here."""
        pairs = zip(self._kept, circuit.kept, strict=False)
        return len(self._kept) == len(circuit.kept) and all(
            one.handle is other.handle and (one.name, one.version) == (other.name, other.version)
            for one, other in pairs
        )

    def check(self) -> None:
        """Raise `StaleCircuitError` if any of the tensors was changed."""
        self.check_weights()
        self.check_recorded()

    def check_weights(self) -> None:
        """Raise `StaleCircuitError` if one of the model's tensors was changed."""
        for kept in self._kept:
            if kept.version is not None and kept.handle._version != kept.version:
                raise StaleCircuitError(
                    f"{kept.name!r} was changed in place after tracing (version {kept.version}, now "
                    f"{kept.handle._version}), so activations and weights no longer belong together. {WAY_OUT}."
                )
        changed = [] if self._own is None else self._own.changed(self._names)
        changed += self._others.changed()
        if changed:
            raise StaleCircuitError(
                f"{_listed(changed)} changed after tracing, by a way that torch does not count (.data, numpy, a fused "
                f"optimiser, inference mode), so activations and weights no longer belong together. {WAY_OUT}."
            )

    def check_recorded(self) -> None:
        """Raise `StaleCircuitError` if a recorded tensor was changed: by whoever got hold of it, a hook say."""
        changed = self._recorded.changed()
        if changed:
            raise StaleCircuitError(
                f"the recorded {_listed(changed)} changed after tracing: the circuit holds the tensor itself, and so "
                "does a hook, an attribute of the model or another variable. Trace again, and change a copy: t.clone()."
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
