"""Models whose weights were looked at and hold neither NaN nor Inf: what has not changed is not looked at again.

To read all weights of a large model takes a good part of its forward pass. So it is done once for each state of them:
torch's counters tell of most writes, an `Imprint` of those that torch does not count, as far as it notices them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary, ref

from torch import Tensor, nn

from provnet.capture.imprint import Imprint, Pattern


@dataclass(frozen=True, eq=False)
class _Sound:
    """A state of a model's tensors in which they were found to be sound. It holds none of them."""

    tensors: Mapping[str, ref[Tensor]]
    states: Mapping[str, tuple[int, int]]
    pattern: Pattern


_SOUND: WeakKeyDictionary[nn.Module, _Sound] = WeakKeyDictionary()


def known_sound(model: nn.Module, tensors: Mapping[str, Tensor]) -> Imprint | None:
    """Return the imprint of a model's tensors, by name, if they are what was found to be sound; else None."""
    known = _SOUND.get(model)
    if known is None or known.tensors.keys() != tensors.keys():
        return None
    if any(known.tensors[name]() is not tensor for name, tensor in tensors.items()):
        return None
    return known.pattern.shown_by(tensors) if _states(tensors) == known.states else None


def remember_sound(model: nn.Module, tensors: Mapping[str, Tensor]) -> Imprint:
    """Remember that a model's tensors are sound, and return their imprint."""
    imprint, states = Imprint(tensors), _states(tensors)
    if states is not None:
        found = {name: ref(tensor) for name, tensor in tensors.items()}
        _SOUND[model] = _Sound(found, states, imprint.pattern)
    return imprint


def _states(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, int]] | None:
    """Return name -> (how often it was written, where it lies); None if torch does not count that for some of them."""
    if any(tensor.is_inference() for tensor in tensors.values()):
        return None
    return {name: (tensor._version, tensor.data_ptr()) for name, tensor in tensors.items()}
