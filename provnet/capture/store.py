"""What is known of memory while an execution runs: which value each storage shows, and how it came to be.

Values are functional, memory is not. A value whose storage is about to be written gets a copy of its own first. Other
views of a storage that was written are read again only when somebody asks for them: as index maps (`windows.py`) over
the storage's **base**, one value that shows every place of it once, and the writes that are **pending** since.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from provnet.capture.execution import Ref, ValueKind
from provnet.capture.storage_identity import (
    StorageGeometry,
    as_pairs,
    flat,
    geometry,
    is_plain,
    is_whole,
    numbering,
    overlap,
    show,
    storage_key,
)
from provnet.capture.windows import read_window, write_window
from provnet.errors import TraceError


class Emit(Protocol):
    """Who is told of an op: name, replayable function, arguments by reference, outputs, mode if it is opaque."""

    def __call__(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        outputs: tuple[int | None, ...],
        opaque: Any = None,
    ) -> None: ...


@dataclass(eq=False)
class StoreEntry:
    """A value in the making. Its tensor is exchanged for a copy before somebody writes over it."""

    tensor: Tensor
    kind: ValueKind
    active: bool
    name: str | None = None
    version: int | None = None
    owner: Tensor | None = None
    live: Tensor | None = None
    origin: ConstantOrigin | None = None


@dataclass(frozen=True, eq=False)
class ConstantOrigin:
    """The op that made a constant of a traced tensor.

    choice   it chose or compared (a mask, an index), and did not compute a number
    """

    op: str
    frame: Any
    choice: bool


@dataclass(eq=False)
class Memory:
    """One storage. Holding it keeps its address from being given to another.

    fresh     what is true now: geometry -> value
    live      values whose tensors lie on this storage
    base      a value that shows every place once, as it was before the pending writes; or a constant `snapshot` of it
    pending   writes since then, in order
    """

    storage: torch.UntypedStorage
    fresh: dict[StorageGeometry, int] = field(default_factory=dict)
    live: dict[int, StorageGeometry] = field(default_factory=dict)
    base: tuple[StorageGeometry, int] | None = None
    snapshot: Tensor | None = None
    pending: dict[StorageGeometry, int] = field(default_factory=dict)
    active: bool = False


class Store:
    """All values so far and the storages that they lie on. `emit` is told of each index map that becomes needful."""

    def __init__(self, emit: Emit) -> None:
        self.entries: list[StoreEntry] = []
        self.memories: dict[Hashable, Memory] = {}
        self.owned: dict[Hashable, list[tuple[str, ValueKind, Tensor]]] = {}
        self.has_origins = False
        self.born: set[Hashable] = set()
        self.saved: dict[Hashable, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._emit = emit
        self._places: dict[int, tuple[Tensor, Hashable, StorageGeometry]] = {}

    def own(self, modules: Mapping[str, nn.Module]) -> None:
        """Learn the model's tensors by storage. What is tied goes by its first name."""
        for path, module in modules.items():
            held: tuple[tuple[ValueKind, Mapping[str, Any]], ...] = (
                ("parameter", module._parameters),
                ("buffer", module._buffers),
                ("constant", vars(module)),
            )
            for kind, tensors in held:
                for name, tensor in tensors.items():
                    if isinstance(tensor, Tensor) and is_plain(tensor):
                        full = f"{path}.{name}" if path else name
                        self.owned.setdefault(storage_key(tensor), []).append((full, kind, tensor.detach()))

    # --- looking up ---------------------------------------------------------------------------------------------------

    def _place(self, tensor: Tensor) -> tuple[Hashable, StorageGeometry]:
        """Return a plain tensor's storage and geometry. Each is asked of torch once an op: see `look_again`."""
        found = self._places.get(id(tensor))
        if found is None:  # the tensor is held so that its id is its own
            shown = as_pairs(tensor) if tensor.is_complex() else tensor
            found = self._places[id(tensor)] = (tensor, storage_key(tensor), geometry(shown))
        return found[1:]

    def look_again(self) -> None:
        """Forget where tensors lie: they may have been given other memory, or another shape, since."""
        self._places.clear()

    def known(self, tensor: Tensor) -> int | None:
        """Return the id of the value that `tensor` shows now, if that is recorded already."""
        if not is_plain(tensor):
            return None
        key, where = self._place(tensor)
        memory = self.memories.get(key)
        return None if memory is None else memory.fresh.get(where)

    def find(self, tensor: Tensor) -> int | None:
        """Return the id of the active value that `tensor` shows now, None if it shows none."""
        if not is_plain(tensor):
            return None
        key, where = self._place(tensor)
        memory = self.memories.get(key)
        if memory is None:
            return None
        found = memory.fresh.get(where)
        if found is None and memory.active and tensor.numel():
            found = self._read(memory, as_pairs(tensor) if tensor.is_complex() else tensor)
        return found if found is not None and self.entries[found].active else None

    def origin(self, tensor: Tensor) -> ConstantOrigin | None:
        """Return where the constant that `tensor` shows comes from, None if it depends on no source."""
        found = self.known(tensor) if self.has_origins else None
        return None if found is None else self.entries[found].origin

    def freeze(self, tensor: Tensor, origin: ConstantOrigin) -> int:
        """Record a constant that was made of a traced tensor."""
        value = self.add(tensor, active=False, kind="computed")
        self.entries[value].origin = origin
        self.has_origins = True
        return value

    def is_stale(self, tensor: Tensor) -> bool:
        """Return whether `tensor` shows memory that depends on a source, but no value that is recorded already."""
        if not is_plain(tensor):
            return False
        key, where = self._place(tensor)
        memory = self.memories.get(key)
        known = memory is None or not memory.active or where in memory.fresh
        return not known and tensor.numel() > 0

    def ref(self, tensor: Tensor) -> Ref:
        """Return a reference to the value that `tensor` shows; an unknown one becomes a constant or parameter."""
        found = self.find(tensor)
        if found is None:
            found = self.known(tensor)
        return Ref(self.add(tensor, active=False) if found is None else found)

    # --- recording ----------------------------------------------------------------------------------------------------

    def add(self, tensor: Tensor, active: bool, kind: ValueKind | None = None, name: str | None = None) -> int:
        """Record what `tensor` shows now as a new value and return its id."""
        version, owner = None, None
        if kind is None and not active:
            kind, name, version, owner = self._owner(tensor)
        live = None
        if tensor.requires_grad and kind != "computed":  # a source is copied, for the model may write over it
            live = tensor.clone() if active else tensor
        entry = StoreEntry(tensor.detach(), kind or "computed", active, name, version, owner, live)
        where, memory = self._place(tensor)[1], self._memory(tensor)
        memory.fresh[where] = len(self.entries)
        memory.live[len(self.entries)] = where
        memory.active |= active
        self.entries.append(entry)
        return len(self.entries) - 1

    def entry(self, tensor: Tensor, kind: ValueKind = "source") -> int:
        """Record an active value that no tensor of the model shows, such as another layout of one that it does."""
        self.entries.append(StoreEntry(tensor.detach(), kind, active=True))
        return len(self.entries) - 1

    def settle_integers(self) -> None:
        """Say that integers are constants: dependence was followed through them only to find where they lead."""
        for entry in self.entries:
            entry.active = entry.active and (entry.tensor.is_floating_point() or entry.tensor.is_complex())

    def alias(self, tensor: Tensor, value: int) -> None:
        """Say that `tensor` shows an already recorded value (which may lie elsewhere in memory)."""
        memory = self._memory(tensor)
        memory.fresh[geometry(tensor)] = value
        memory.active |= self.entries[value].active

    def constant(self, tensor: Tensor) -> int:
        """Record a tensor of the recorder's own, which nobody else can write."""
        self.entries.append(StoreEntry(tensor, "constant", active=False))
        return len(self.entries) - 1

    def _memory(self, tensor: Tensor) -> Memory:
        key = self._place(tensor)[0]
        memory = self.memories.get(key)
        if memory is None:
            memory = self.memories[key] = Memory(tensor.untyped_storage())
        return memory

    def is_parameter(self, tensor: Any) -> bool:
        """Return whether a tensor shows one of the model's parameters."""
        return isinstance(tensor, Tensor) and self._owner(tensor)[0] == "parameter"

    def _owner(self, tensor: Tensor) -> tuple[ValueKind, str | None, int | None, Tensor | None]:
        """Tell which of the model's tensors an inactive one shows, whole or through a view, and a version to watch.

        It is that of the model's own tensor: what is detached inside a dispatch mode has a counter of its own.
        """
        for name, kind, owner in self.owned.get(storage_key(tensor), ()) if is_plain(tensor) else ():
            first = owner.storage_offset()
            if first <= tensor.storage_offset() < first + max(owner.numel(), 1):
                return kind, name, _version(owner), owner
        return "constant", None, _version(tensor), tensor

    # --- writing ------------------------------------------------------------------------------------------------------

    def before_write(self, tensor: Tensor, active: bool) -> None:
        """Save what a write to `tensor` will destroy. `active`: whether what is written depends on a source."""
        key = storage_key(tensor)
        self.save(tensor)
        memory = self._memory(tensor) if active else self.memories.get(key)
        if memory is None:
            return
        where = geometry(tensor)
        if any(other.dtype is not where.dtype for other in memory.fresh):
            raise TraceError(
                f"a tensor of dtype {where.dtype} is written whose memory is also seen as another dtype. "
                "Write to a tensor that was converted: x.to(dtype)."
            )
        if (active or memory.active) and not is_whole(where, memory.storage):
            self._ensure_base(memory, where.dtype)
        for value, shown in list(memory.live.items()):
            if overlap(where, shown):
                self._detach(memory, value)

    def bear(self, tensors: Iterable[Any]) -> None:
        """Note that the memory of some tensors is this run's own: nobody finds it changed afterwards."""
        self.born.update(self._place(t)[0] for t in tensors if isinstance(t, Tensor) and is_plain(t))

    def save(self, tensor: Tensor) -> None:
        """Save what lies in memory that was there before the run: the model's, or whoever's it closes over."""
        key = storage_key(tensor)
        if key not in self.born and key not in self.saved:
            storage = tensor.untyped_storage()
            self.saved[key] = (storage, storage.clone())

    def _detach(self, memory: Memory, value: int) -> None:
        """Give a value a copy of its own."""
        entry = self.entries[value]
        entry.tensor, entry.owner, entry.version = entry.tensor.clone(), None, None
        del memory.live[value]

    def after_write(self, tensor: Tensor, value: int | None) -> None:
        """Say which active value was written to `tensor`; None: one that depends on no source."""
        memory = self.memories.get(storage_key(tensor))
        if memory is None:
            return
        where = geometry(tensor)
        if is_whole(where, memory.storage):
            memory.fresh, memory.pending, memory.snapshot = {}, {}, None
            memory.base = None if value is None else (where, value)
            memory.active = value is not None
        else:
            memory.fresh = {other: v for other, v in memory.fresh.items() if not overlap(where, other)}
            if value is None and memory.active:
                value = self.add(tensor, active=False, kind="constant")
            if value is not None:
                memory.pending.pop(where, None)
                memory.pending[where] = value
        if value is not None:
            self.alias(tensor, value)

    def restore(self) -> None:
        """Undo what the execution wrote to tensors that were there before it."""
        for key, (storage, saved) in self.saved.items():
            memory = self.memories.get(key)
            if memory is not None:
                for value in list(memory.live):
                    self._detach(memory, value)
            storage.copy_(saved)
        self.saved.clear()
        self.look_again()

    def close(self) -> None:
        """Let go of all values and of whoever is told of ops."""
        self.entries, self.memories, self.owned = [], {}, {}
        del self._emit

    # --- reading again ------------------------------------------------------------------------------------------------

    def _ensure_base(self, memory: Memory, dtype: torch.dtype) -> None:
        if memory.base is not None or memory.snapshot is not None:
            return
        for where, value in memory.fresh.items():
            if is_whole(where, memory.storage):
                memory.base = (where, value)
                return
        # No recorded value shows all of it: start from what lies there, with the recorded ones written over it.
        memory.snapshot = show(memory.storage, flat(memory.storage, dtype)).clone()
        memory.pending = {where: value for where, value in memory.fresh.items() if self.entries[value].active}

    def _flush(self, memory: Memory, wanted: StorageGeometry) -> tuple[StorageGeometry, int]:
        """Bring the base up to date and return it. A constant base takes the wanted form, if that shows all of it."""
        self._ensure_base(memory, wanted.dtype)
        if memory.snapshot is not None:
            form = wanted if is_whole(wanted, memory.storage) else flat(memory.storage, wanted.dtype)
            content = memory.snapshot.as_strided(form.shape, form.stride, form.offset)
            memory.base, memory.snapshot = (form, self.constant(content)), None
        if memory.base is None:
            raise TraceError("a storage without a base was read: a fault of provnet. Please report this model.")
        where, base = memory.base
        if memory.pending:
            numbers = numbering(where, memory.storage)
            windows = [self._index(numbers, window) for window in memory.pending]
            values = [Ref(value) for value in memory.pending.values()]
            new = self.add(show(memory.storage, where), any(self.entries[r.id].active for r in (Ref(base), *values)))
            self._emit("provnet.write_window", write_window, (Ref(base), windows, values), {}, (new,))
            memory.base, memory.pending = (where, new), {}
        else:
            memory.fresh.setdefault(where, base)
        return memory.base

    def _index(self, numbers: Tensor, window: StorageGeometry) -> Ref:
        return Ref(self.constant(numbers.as_strided(window.shape, window.stride, window.offset).clone()))

    def _read(self, memory: Memory, tensor: Tensor) -> int:
        """Return the value that a view shows which was made before the last write, or behind the recorder's back."""
        wanted = geometry(tensor)
        if any(other.dtype is not wanted.dtype for other in memory.fresh):
            raise TraceError(
                f"the memory of a traced tensor is read as another dtype, {wanted.dtype}. Convert it: x.to(dtype)."
            )
        where, base = self._flush(memory, wanted)
        if wanted in memory.fresh:
            return memory.fresh[wanted]
        numbers = numbering(where, memory.storage)
        index = self._index(numbers, wanted)
        new = self.add(tensor, self.entries[base].active)
        self._emit("provnet.read_window", read_window, (Ref(base), index), {}, (new,))
        return new


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version
