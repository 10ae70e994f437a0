"""What tensors held at one time, to be held against them later: changes that torch does not count are seen so.

A write through `.data`, numpy, a fused optimiser or inference mode leaves a tensor's `_version` as it was. So bits are
kept and compared: all of them where the tensors are small together, else one line of memory in each stretch of lines.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from provnet.capture.storage_identity import is_plain

LINE = 64
"""Bytes that are read together: a line of the cache costs as much as one number of it."""

WHOLE = 1 << 20
"""Bytes of all tensors up to which every bit is compared: some tens of microseconds."""

STRETCH = 128
"""Most lines of which one is read. 1.3 ms (median 1.7) for the 553 MB of VGG-16 on a busy machine."""

EACH = 1 << 14
"""Bytes that are read of every tensor at least, so that a channel of a small layer is not passed over."""

GROUP = 1 << 20
"""Bytes that are compared at a time: they stay in the cache between being gathered and being compared."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Some of one tensor's memory: `index` None: `size` bytes from `first` on; else these of its lines."""

    name: str
    first: int
    size: int
    index: Tensor | None

    def shown(self, memory: Tensor) -> Tensor:
        """Return a view of the tensor's bytes from which `read` takes what lies there."""
        return memory[self.first : self.first + self.size] if self.index is None else _lines(memory)

    def read(self, shown: Tensor) -> Tensor:
        """Return the bytes that lie there."""
        return shown if self.index is None else shown.index_select(0, self.index).view(torch.uint8).view(-1)


@dataclass(frozen=True, eq=False)
class Pattern:
    """Which places of some tensors are looked at, and what was found there. It holds none of the tensors.

    shapes   name -> what tells where a tensor's entries lie: bytes, and their start within eight
    """

    shapes: Mapping[str, tuple[int, int]]
    groups: list[list[_Place]]
    held: list[Tensor]

    def shown_by(self, tensors: Mapping[str, Tensor]) -> Imprint | None:
        """Return the imprint of these tensors if they hold what was found, None if they do not."""
        with _alone():
            shown = {name: _bytes_of(tensor) for name, tensor in tensors.items() if _has_bits(tensor)}
            if {name: _shape(memory) for name, memory in shown.items()} != self.shapes:
                return None
            found = Imprint.__new__(Imprint)
            found.show(self, shown)
            return None if found.changed() else found


class Imprint:
    """The bits of some tensors at the time when this was made.

    Memory: up to `WHOLE` bytes, above it about a hundredth of the tensors' own. Tensors are read where they lie, also
    after their memory was written through another view; one whose memory was given back counts as changed.
    """

    def __init__(self, tensors: Mapping[str, Tensor], whole: bool = False) -> None:
        """`whole`: compare every bit, whatever the size; a copy of all tensors is kept then."""
        with _alone():
            shown = {name: _bytes_of(tensor) for name, tensor in tensors.items() if _has_bits(tensor)}
            whole = whole or sum(map(Tensor.numel, shown.values())) <= WHOLE
            groups = list(_grouped(shown, whole))
            held = [_gathered(group, _views(group, shown)).clone() for group in groups]
            self.show(Pattern({name: _shape(memory) for name, memory in shown.items()}, groups, held), shown)

    def show(self, pattern: Pattern, shown: Mapping[str, Tensor]) -> None:
        """Take up what was found in tensors, given by their bytes."""
        self.pattern, self._shown = pattern, shown
        self._views = [_views(group, shown) for group in pattern.groups]
        self._storages = [(name, memory.untyped_storage()) for name, memory in shown.items()]
        self._needed = [storage.nbytes() for _, storage in self._storages]

    def covers(self, name: str, tensor: Tensor) -> bool:
        """Return whether a tensor's memory is that of the tensor which goes by this name here, all of it."""
        memory = self._shown.get(name)
        if memory is None or not _has_bits(tensor):
            return False
        own = _bytes_of(tensor)
        return (own.data_ptr(), own.numel()) == (memory.data_ptr(), memory.numel())

    def changed(self, names: Container[str] | None = None) -> list[str]:
        """Return the names of tensors that do not hold any more what they held, in the order they were given in.

        names   those that are asked for; None: all.
        """
        wanted = self._shown if names is None else names
        sizes = zip(self._storages, self._needed, strict=True)
        gone = [name for (name, storage), size in sizes if name in wanted and storage.nbytes() < size]
        if gone:
            return gone
        found: dict[str, None] = {}
        if not self.pattern.groups:
            return []
        with _alone():
            for group, views, held in zip(self.pattern.groups, self._views, self.pattern.held, strict=True):
                if names is None or any(place.name in wanted for place in group):
                    found |= dict.fromkeys(_differing(group, views, held))
        return [name for name in found if name in wanted]


def _shape(memory: Tensor) -> tuple[int, int]:
    return memory.numel(), int(memory.storage_offset()) % 8


def _grouped(shown: Mapping[str, Tensor], whole: bool) -> Iterator[list[_Place]]:
    """Yield places of tensors on one device, about `GROUP` bytes at a time."""
    groups: dict[torch.device, list[_Place]] = {}
    sizes: dict[torch.device, int] = {}
    draws: torch.Generator | None = None
    for name, memory in shown.items():
        group, step = groups.setdefault(memory.device, []), 1 if whole else min(STRETCH, memory.numel() // EACH)
        if step > 1 and draws is None:
            draws = torch.Generator()
            draws.seed()
        for place in _places(name, memory, step, draws):
            group.append(place)
            sizes[memory.device] = sizes.get(memory.device, 0) + place.size
            if sizes[memory.device] >= GROUP:
                yield list(group)
                group.clear()
                sizes[memory.device] = 0
    yield from (group for group in groups.values() if group)


def _places(name: str, memory: Tensor, step: int, draws: torch.Generator | None) -> Iterator[_Place]:
    if step <= 1:
        for first in range(0, memory.numel(), GROUP):
            yield _Place(name, first, min(GROUP, memory.numel() - first), None)
        return
    count = memory.numel() // LINE
    first = torch.arange(0, count, step)
    room = (count - first).clamp(max=step)
    chosen = first + (torch.rand(len(first), generator=draws, dtype=torch.float64) * room).long()
    for index in chosen.to(memory.device).split(GROUP // LINE):
        yield _Place(name, 0, len(index) * LINE, index)


def _lines(memory: Tensor) -> Tensor:
    lines = memory[: memory.numel() // LINE * LINE].view(-1, LINE)
    # As 64-bit numbers they are gathered in half the time.
    return lines.view(torch.int64) if memory.storage_offset() % 8 == 0 else lines


def _has_bits(tensor: Tensor) -> bool:
    return is_plain(tensor) and tensor.numel() > 0


def _bytes_of(tensor: Tensor) -> Tensor:
    """Return the memory from a tensor's first entry to its last, as bytes; a view that autograd does not know of."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    empty = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    width = tensor.element_size()
    return empty.set_(tensor.untyped_storage(), int(tensor.storage_offset()) * width, ((last + 1) * width,), (1,))


def _views(group: list[_Place], shown: Mapping[str, Tensor]) -> list[Tensor]:
    return [place.shown(shown[place.name]) for place in group]


def _gathered(group: list[_Place], views: list[Tensor]) -> Tensor:
    """Return what the places hold, one after another, as 64-bit numbers: these compare eight times as fast as bytes."""
    parts = [place.read(view) for place, view in zip(group, views, strict=True)]
    rest = -sum(place.size for place in group) % 8
    if rest:
        parts.append(torch.zeros(rest, dtype=torch.uint8, device=parts[0].device))
    joined = torch.cat(parts) if len(parts) > 1 or parts[0].storage_offset() % 8 else parts[0]
    return joined.view(torch.int64)


def _differing(group: list[_Place], views: list[Tensor], held: Tensor) -> Iterator[str]:
    if torch.equal(_gathered(group, views), held):
        return
    first, bytes_held = 0, held.view(torch.uint8)
    for place, view in zip(group, views, strict=True):
        if not torch.equal(place.read(view), bytes_held[first : first + place.size]):
            yield place.name
        first += place.size


@contextmanager
def _alone() -> Iterator[None]:
    """Run where no recorder of an outer trace sees that memory is read as bytes, and no gradient is kept."""
    if not (torch.is_inference_mode_enabled() or torch._C._len_torch_dispatch_stack()):
        with torch.no_grad():
            yield
        return
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(_disable_current_modes())
        yield
