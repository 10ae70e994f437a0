"""What tensors held at one time, to be held against them later: changes that torch does not count are seen so.

A write through `.data`, numpy, a fused optimiser or inference mode leaves a tensor's `_version` as it was. So bits are
kept and compared: all of them where the tensors are small together, else one line of memory in each stretch of lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
class _Piece:
    """Some of one tensor's memory: `index` None: all of `bytes`; else these of its lines, [lines, bytes a line]."""

    name: str
    bytes: Tensor
    index: Tensor | None

    @property
    def size(self) -> int:
        return self.bytes.numel() if self.index is None else len(self.index) * LINE

    def read(self) -> Tensor:
        if self.index is None:
            return self.bytes
        return self.bytes.index_select(0, self.index).view(torch.uint8).view(-1)


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
            self._storages = [(name, held.untyped_storage()) for name, held in shown.items()]
            self._needed = [storage.nbytes() for _, storage in self._storages]
            self._groups = list(_grouped(shown, whole))
            self._held = [_gathered(group).clone() for group in self._groups]

    def changed(self) -> list[str]:
        """Return the names of tensors that do not hold any more what they held, in the order they were given in."""
        gone = [n for (n, s), size in zip(self._storages, self._needed, strict=True) if s.nbytes() < size]
        if gone:
            return gone
        with _alone():
            pairs = zip(self._groups, self._held, strict=True)
            return list(dict.fromkeys(name for group, held in pairs for name in _differing(group, held)))


def _grouped(shown: Mapping[str, Tensor], whole: bool) -> Iterator[list[_Piece]]:
    """Yield pieces of tensors on one device, about `GROUP` bytes at a time."""
    groups: dict[torch.device, list[_Piece]] = {}
    sizes: dict[torch.device, int] = {}
    draws = torch.Generator()
    draws.seed()
    for name, held in shown.items():
        group, step = groups.setdefault(held.device, []), 1 if whole else min(STRETCH, held.numel() // EACH)
        for piece in _pieces(name, held, step, draws):
            group.append(piece)
            sizes[held.device] = sizes.get(held.device, 0) + piece.size
            if sizes[held.device] >= GROUP:
                yield list(group)
                group.clear()
                sizes[held.device] = 0
    yield from (group for group in groups.values() if group)


def _pieces(name: str, held: Tensor, step: int, draws: torch.Generator) -> Iterator[_Piece]:
    if step <= 1:
        yield from (_Piece(name, part, None) for part in held.split(GROUP))
        return
    lines = held[: held.numel() // LINE * LINE].view(-1, LINE)
    if held.storage_offset() % 8 == 0:
        lines = lines.view(torch.int64)  # gathered in half the time
    first = torch.arange(0, len(lines), step)
    room = (len(lines) - first).clamp(max=step)
    chosen = first + (torch.rand(len(first), generator=draws, dtype=torch.float64) * room).long()
    yield from (_Piece(name, lines, part) for part in chosen.to(held.device).split(GROUP // LINE))


def _has_bits(tensor: Tensor) -> bool:
    return is_plain(tensor) and tensor.numel() > 0


def _bytes_of(tensor: Tensor) -> Tensor:
    """Return the memory from a tensor's first entry to its last, as bytes; a view that autograd does not know of."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    empty = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    width = tensor.element_size()
    return empty.set_(tensor.untyped_storage(), int(tensor.storage_offset()) * width, ((last + 1) * width,), (1,))


def _gathered(group: list[_Piece]) -> Tensor:
    """Return what the pieces hold, one after another, as 64-bit numbers: these compare eight times as fast as bytes."""
    parts = [piece.read() for piece in group]
    rest = -sum(piece.size for piece in group) % 8
    if rest:
        parts.append(torch.zeros(rest, dtype=torch.uint8, device=parts[0].device))
    joined = torch.cat(parts) if len(parts) > 1 or parts[0].storage_offset() % 8 else parts[0]
    return joined.view(torch.int64)


def _differing(group: list[_Piece], held: Tensor) -> Iterator[str]:
    if torch.equal(_gathered(group), held):
        return
    first, bytes_held = 0, held.view(torch.uint8)
    for piece in group:
        if not torch.equal(piece.read(), bytes_held[first : first + piece.size]):
            yield piece.name
        first += piece.size


@contextmanager
def _alone() -> Iterator[None]:
    """Run where no recorder of an outer trace sees that memory is read as bytes, and no gradient is kept."""
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(_disable_current_modes())
        yield
