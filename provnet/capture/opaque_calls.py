"""Modules that are kept whole: a call becomes one op, "provnet.opaque", whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from provnet.capture.storage_identity import is_plain, storage_key
from provnet.capture.store import Emit, Store
from provnet.capture.structure import replace_tensors, tensors_in
from provnet.errors import OptionError, TraceError, UnknownNameError

MODES = ("identity", "uniform", "jacobian")

Opaque = str | nn.Module | type[nn.Module] | Iterable[str | nn.Module | type[nn.Module]] | Mapping[Any, Any]


class Whole(nn.Module):
    """A function as a module: `opaque` names modules, so this is how a function is kept whole."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = function


def whole_function(
    model: Any, modules: Mapping[str, nn.Module], opaque: Opaque
) -> tuple[Any, dict[str, nn.Module], Opaque]:
    """Return model, modules and `opaque`, where a function that `opaque` calls "" has become a module of that path."""
    if not isinstance(opaque, str | nn.Module | Mapping | type):
        opaque = tuple(opaque)
    named = opaque == "" if isinstance(opaque, str | nn.Module | type) else "" in opaque
    if isinstance(model, nn.Module) or not callable(model) or not named:
        return model, dict(modules), opaque
    whole = Whole(model)
    # A method's owner goes by "" so far.
    owned = {path or "self": module for path, module in modules.items()}
    return whole, {"": whole, **owned}, opaque


@dataclass(frozen=True, eq=False)
class Replay:
    """Runs the module again: the same arguments in, its tensors out (one alone, several as a tuple)."""

    module: nn.Module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outputs = [tensor for _, tensor in tensors_in(self.module(*args, **kwargs))]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


@dataclass(eq=False)
class OpaqueCall:
    """An opaque call under way. It may use what it is given, and hand on what it returns, and nothing else."""

    path: str
    module: nn.Module
    args: Any
    kwargs: Any
    active: bool
    given: set[Hashable]
    depth: int
    made: dict[Hashable, StorageWeakRef] = field(default_factory=dict)


@dataclass(eq=False)
class OpaqueCalls:
    """Watches the calls of the modules that `modes` holds by id. Storages they keep to themselves are `hidden`."""

    store: Store
    emit: Emit
    modes: dict[int, Any] = field(default_factory=dict)
    current: OpaqueCall | None = None
    hidden: dict[Hashable, tuple[StorageWeakRef, str]] = field(default_factory=dict)

    def enter(self, path: str, module: nn.Module, args: Any, kwargs: Any, depth: int) -> None:
        """Begin an opaque call if `module` is opaque and not inside another such."""
        if self.current is not None or id(module) not in self.modes:
            return
        given = [tensor for _, tensor in tensors_in((*args, kwargs))]
        active = any(self.store.find(tensor) is not None for tensor in given)
        if active:
            _refuse_complex(path, given, "gets")
            args, kwargs = replace_tensors(args, self.store.ref), replace_tensors(kwargs, self.store.ref)
        keys = {storage_key(tensor) for tensor in given if is_plain(tensor)}
        self.current = OpaqueCall(path, module, args, kwargs, active, keys, depth)

    def leave(self, output: Any, depth: int) -> None:
        """End the opaque call that began at this depth of calls, and write it down."""
        call = self.current
        if call is None or depth != call.depth:
            return
        self.current = None
        if not call.active:
            return
        outputs = [tensor for _, tensor in tensors_in(output)]
        _refuse_complex(call.path, outputs, "returns")
        known = [self.store.find(tensor) is not None for tensor in outputs]
        ids = tuple(
            None if old else self.store.add(tensor, tensor.is_floating_point(), kind="computed")
            for tensor, old in zip(outputs, known, strict=True)
        )
        if not all(known):
            mode = self.modes[id(call.module)]
            self.emit("provnet.opaque", Replay(call.module), call.args, call.kwargs, ids, mode)
        returned = {storage_key(tensor) for tensor in outputs if is_plain(tensor)}
        self.hidden.update((key, (ref, call.path)) for key, ref in call.made.items() if key not in returned)

    def run(self, func: Callable[..., Any], args: Any, kwargs: Any, active: list[Tensor], targets: list[Tensor]) -> Any:
        """Run one op inside the call, and see that it neither reads nor writes what is not the module's own."""
        call = self.current
        assert call is not None
        for tensor in active:
            if storage_key(tensor) not in call.given:
                raise TraceError(
                    f"the opaque module {call.path!r} reads a traced tensor of shape {tuple(tensor.shape)} that is "
                    "none of its arguments. Pass it as an argument, or do not declare this module opaque."
                )
        for tensor in targets:
            if self._is_known(tensor):
                raise TraceError(
                    f"the opaque module {call.path!r} writes, in place, to a tensor that exists outside of it "
                    f"(shape {tuple(tensor.shape)}). Make it write to a copy, or do not declare it opaque."
                )
        result = func(*args, **kwargs)
        if call.active:
            for _, tensor in tensors_in(result):
                if is_plain(tensor) and tensor.is_floating_point() and not self._is_known(tensor):
                    call.made[storage_key(tensor)] = StorageWeakRef(tensor.untyped_storage())
        return result

    def _is_known(self, tensor: Tensor) -> bool:
        key = storage_key(tensor)
        return key in self.store.memories or key in self.store.owned

    def refuse_hidden(self, tensors: list[Tensor], place: str) -> None:
        """Refuse what an opaque module made of its input, and kept: nobody knows how it depends on the source."""
        self.hidden = {key: found for key, found in self.hidden.items() if not found[0].expired()}
        for tensor in tensors:
            found = self.hidden.get(storage_key(tensor)) if is_plain(tensor) else None
            if found is not None:
                raise TraceError(
                    f"a tensor of shape {tuple(tensor.shape)} is used (in {place!r}) that the opaque module "
                    f"{found[1]!r} computed but did not return. Return it, or do not declare this module opaque."
                )


def _refuse_complex(path: str, tensors: list[Tensor], does: str) -> None:
    """Refuse what has no real Jacobian."""
    found = next((tensor for tensor in tensors if tensor.is_complex()), None)
    if found is not None:
        raise TraceError(
            f"the opaque module {path!r} {does} a complex tensor of shape {tuple(found.shape)}. Declare a module "
            "around it opaque that gets and returns real ones, or hand over the parts: torch.view_as_real(z)."
        )


def opaque_modes(opaque: Opaque, modules: Mapping[str, nn.Module]) -> dict[int, Any]:
    """Return id(module) -> mode for the modules that `opaque` names; bare means "jacobian".

    They are named by path, as objects, or by class. What names a module itself goes before its classes, and the most
    specific class goes before those that it inherits from.
    Raises: `UnknownNameError` if the model has no such module, `OptionError` for a mode that is not known.
    """
    if isinstance(opaque, str | nn.Module | type):
        opaque = (opaque,)
    pairs = opaque.items() if isinstance(opaque, Mapping) else ((key, "jacobian") for key in opaque)
    found: dict[int, Any] = {}
    by_class: dict[type, Any] = {}
    for key, mode in pairs:
        if mode not in MODES and not callable(mode):
            raise OptionError(f"opaque= wants one of {', '.join(MODES)} or a function for {key!r}, but {mode!r} came.")
        if isinstance(key, type):
            if not any(isinstance(module, key) for module in modules.values()):
                raise _unknown(f"the class {key.__name__}", modules)
            by_class[key] = mode
            continue
        module = key if isinstance(key, nn.Module) else modules.get(key)
        if module is None or all(module is not known for known in modules.values()):
            raise _unknown(repr(key) if isinstance(key, str) else f"a {type(key).__name__}", modules)
        found[id(module)] = mode
    for module in modules.values():
        closest = next((cls for cls in type(module).__mro__ if cls in by_class), None)
        if closest is not None:
            found.setdefault(id(module), by_class[closest])
    return found


def _unknown(name: str, modules: Mapping[str, nn.Module]) -> UnknownNameError:
    known = ", ".join(f"{path or repr('')} ({type(module).__name__})" for path, module in modules.items())
    return UnknownNameError(f"opaque= names {name}, which is no module of the model. Known: {known}.")
