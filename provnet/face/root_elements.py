"""An answer for every root: a mapping that is backed by one tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from provnet.circuit.gates import Neuron, spelled
from provnet.errors import UnknownNameError
from provnet.face.spelling import path_and_index

SHOWN_ROOTS = 10
"""Roots that are printed."""


class Elements(Mapping[Neuron, Any]):
    """Root -> element, in the order of the roots, backed by one tensor [roots, *element_shape]. Takes names too."""

    def __init__(self, roots: Sequence[Neuron], tensor: Tensor, shown: Callable[[Tensor], Any]) -> None:
        self.roots, self.tensor = tuple(roots), tensor
        self._shown = shown
        self._numbers = {root: number for number, root in enumerate(self.roots)}
        self._names = {str(root): number for number, root in enumerate(self.roots)}

    def __getitem__(self, root: Neuron | str | tuple[Any, ...]) -> Any:
        known: dict[Any, int] = {**self._names} if isinstance(root, str) else {**self._numbers}
        wanted = spelled(root.strip()) if isinstance(root, str) else root
        if isinstance(wanted, tuple):
            wanted, known = str(Neuron(*path_and_index(wanted))), self._names
        if wanted not in known:
            some = ", ".join(map(str, self.roots[:SHOWN_ROOTS]))
            raise UnknownNameError(f"{root!r} is no root of these gates. Roots: {some}.")
        return self._shown(self.tensor[known[wanted]])

    def __iter__(self) -> Iterator[Neuron]:
        return iter(self.roots)

    def __len__(self) -> int:
        return len(self.roots)

    def __repr__(self) -> str:
        shown = [f"{root}: {self[root]}" for root in self.roots[:SHOWN_ROOTS]]
        more = len(self) - len(shown)
        return "{" + ", ".join(shown) + (f", … {more:,} more" if more else "") + "}"
