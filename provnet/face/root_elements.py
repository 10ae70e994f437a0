"""An answer for every root: a mapping, which one tensor backs where elements are numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from provnet.circuit.gates import Neuron, spelled
from provnet.errors import UnknownNameError, UnsupportedOperationError
from provnet.face.spelling import path_and_index

SHOWN_ROOTS = 10
"""Roots that are printed."""


class Elements(Mapping[Neuron, Any]):
    """Root -> element, in the order of the roots. Takes names too. Numbers are backed by one `tensor`."""

    def __init__(self, roots: Sequence[Neuron], elements: Tensor | Sequence[Any], shown: Callable[[Any], Any]) -> None:
        self.roots, self._elements = tuple(roots), elements
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
        return self._shown(self._elements[known[wanted]])

    @property
    def tensor(self) -> Tensor:
        """The elements, [roots, *element_shape]. Raises: `UnsupportedOperationError` for elements that are symbols."""
        if not isinstance(self._elements, Tensor):
            raise UnsupportedOperationError("symbols are not held in a tensor: read each by its root.")
        return self._elements

    def __iter__(self) -> Iterator[Neuron]:
        return iter(self.roots)

    def __len__(self) -> int:
        return len(self.roots)

    def __repr__(self) -> str:
        shown = [f"{root}: {self[root]}" for root in self.roots[:SHOWN_ROOTS]]
        more = len(self) - len(shown)
        return "{" + ", ".join(shown) + (f", … {more:,} more" if more else "") + "}"
