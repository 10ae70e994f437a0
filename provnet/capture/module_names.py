"""Where in the model an op happens: module paths from hooks, which are all taken off again."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from provnet.capture.structure import tensors_in


class Watcher(Protocol):
    """Who knows the values of tensors, and wants to hear of module calls."""

    def active(self, tensors: Iterable[Tensor]) -> list[int | None]: ...

    def enter(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> None: ...

    def leave(self, output: Any) -> Any: ...


@dataclass(eq=False)
class Frame:
    """One call of one module, or the run itself (`path` "").

    classes  the full names of the classes that the module is an instance of, its own first
    leaf     whether the module has no modules of its own, those apart that only compute its parameters
    """

    path: str
    module: str
    leaf: bool
    classes: tuple[str, ...] = ()
    call: int = 0
    inputs: tuple[int, ...] = ()
    outputs: tuple[tuple[str, int], ...] = ()


def class_name(cls: type) -> str:
    """Return a class's full name, "torch.nn.modules.conv.Conv2d": two classes may share the last part."""
    return f"{cls.__module__}.{cls.__qualname__}"


def classes_of(module: nn.Module) -> tuple[str, ...]:
    """Return the full names of the module classes that `module` is an instance of, the most specific first."""
    return tuple(class_name(cls) for cls in type(module).__mro__ if issubclass(cls, nn.Module) and cls is not nn.Module)


def is_parametrisation(path: str) -> bool:
    """Return whether a module only computes a parameter of another one (torch.nn.utils.parametrize)."""
    return "parametrizations" in path.split(".")


def free_name(base: str, sign: str, rest: str, taken: Container[str]) -> str:
    """Return base + sign + rest, the sign doubled until no other tensor or module goes by that name.

    Example:
        >>> free_name("fc", "#", "1", {"fc#1"})
        'fc##1'
    """
    name = f"{base}{sign}{rest}"
    while name in taken:
        base += sign
        name = f"{base}{sign}{rest}"
    return name


def modules_of(model: Any) -> dict[str, nn.Module]:
    """Return path -> module for all modules that `model` consists of.

    A function's modules are those that it mentions: in its closure, among its globals, bound to it, partially applied.
    """
    if isinstance(model, nn.Module):
        return dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()
    for name, root in _roots(model):
        for path, module in root.named_modules(prefix=name):
            if id(module) not in seen:
                seen.add(id(module))
                found[path] = module
    return found


def _roots(model: Any) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(model, functools.partial):
        yield from ((f"arg{i}", a) for i, a in enumerate(model.args) if isinstance(a, nn.Module))
        yield from ((name, a) for name, a in model.keywords.items() if isinstance(a, nn.Module))
        model = model.func
    owner = getattr(model, "__self__", None)
    if isinstance(owner, nn.Module):
        yield "", owner
    for holder in (owner, model):
        if holder is not None and not isinstance(holder, nn.Module) and hasattr(holder, "__dict__"):
            yield from ((name, v) for name, v in vars(holder).items() if isinstance(v, nn.Module))
    function = inspect.unwrap(getattr(model, "__func__", model))
    if not inspect.isfunction(function):
        function = vars(type(model)).get("__call__")
    if inspect.isfunction(function):
        try:
            known = inspect.getclosurevars(function)
        except ValueError:  # it closes over a name that has no value yet
            return
        for name, value in (*known.nonlocals.items(), *known.globals.items()):
            if isinstance(value, nn.Module):
                yield name, value


@dataclass(eq=False)
class CallNames:
    """The stack of module calls that are under way, and all calls that were made. The watcher hears of both ends.

    A hook sees the calls of every thread; those of the thread that made this are listed, others pass undisturbed.
    """

    model: str
    watcher: Watcher
    calls: list[Frame] = field(default_factory=list)
    stack: list[Frame] = field(default_factory=list)
    count: dict[str, int] = field(default_factory=dict)
    blamed: tuple[BaseException, str] | None = None
    thread: int = field(default_factory=threading.get_ident)

    def __post_init__(self) -> None:
        self.stack.append(Frame("", self.model, leaf=False))

    @property
    def here(self) -> Frame:
        return self.stack[-1]

    def close(self) -> None:
        """Let go of the watcher, which may refer to this."""
        del self.watcher

    def blame(self, error: BaseException) -> None:
        """Remember the innermost place at which `error` was seen."""
        if self.blamed is None or self.blamed[0] is not error:
            self.blamed = (error, self.here.path)

    def place_of(self, error: BaseException) -> str:
        """Return the module path at which `error` was seen first."""
        return self.blamed[1] if self.blamed is not None and self.blamed[0] is error else ""

    @contextmanager
    def watching(self, modules: dict[str, nn.Module]) -> Iterator[None]:
        """Hook all modules, last among their hooks, so as to see what forward gets and what the caller gets."""
        handles = []
        try:
            for path, module in modules.items():
                if isinstance(module, torch.jit.RecursiveScriptModule):
                    continue  # takes no hooks: its ops count as its caller's
                before, after = self._hooks(path, module)
                handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
                handles.append(module.register_forward_hook(after, always_call=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, path: str, module: nn.Module) -> tuple[Callable[..., None], Callable[..., Any]]:
        leaf = all(is_parametrisation(name) for name, _ in module.named_children())
        name, classes = type(module).__name__, classes_of(module)

        def before(owner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if threading.get_ident() != self.thread:
                return
            found = self.watcher.active([tensor for _, tensor in tensors_in((*args, kwargs))])
            inputs = tuple(dict.fromkeys(value for value in found if value is not None))
            frame = Frame(path, name, leaf, classes, self.count.get(path, 0), inputs)
            self.count[path] = frame.call + 1
            self.stack.append(frame)
            self.calls.append(frame)
            self.watcher.enter(path, owner, args, kwargs)

        def after(owner: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if threading.get_ident() != self.thread:
                return None
            error = sys.exc_info()[1]
            if error is not None:
                self.blame(error)
            # A pre-hook of the model's own may have failed before ours ran: then this call has no frame.
            if self.here.path != path or len(self.stack) == 1:
                return None
            given, output = output, self.watcher.leave(output)
            named = list(tensors_in(output))
            values = self.watcher.active([tensor for _, tensor in named])
            self.here.outputs = tuple((n, v) for (n, _), v in zip(named, values, strict=True) if v is not None)
            self.stack.pop()
            return None if output is given else output

        return before, after
