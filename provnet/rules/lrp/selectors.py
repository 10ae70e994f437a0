"""Which blocks an entry of a composite is for: by path, module class, op, kind, depth, or a predicate.

"features.*"   a path, or a glob       nn.Conv2d   the module's class, or one that it inherits from
0, -1   the first, the last linear map       Kind("pooling")   OpName("aten.convolution")   Module("Conv2d")
Depth(1, "convolution")    Where(lambda block: ...)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from provnet.capture.module_names import class_name
from provnet.circuit.blocks import Block, BlockCircuit
from provnet.errors import OptionError, UnknownNameError


@dataclass(frozen=True)
class Selector:
    """The base. `find` never returns nothing: what fits no block is an error."""

    def fits(self, block: Block) -> bool:
        """Return whether a block is meant, by itself."""
        raise NotImplementedError

    def find(self, circuit: BlockCircuit) -> tuple[int, ...]:
        """Return the indices of the blocks that are meant. Raises `UnknownNameError` if there are none."""
        found = tuple(index for index, block in enumerate(circuit.blocks) if self.fits(block))
        if not found:
            raise UnknownNameError(f"the composite's entry {self} fits no block. {self.hint(circuit)}")
        return found

    def hint(self, circuit: BlockCircuit) -> str:
        """Return what there is to choose from."""
        return f"Blocks: {', '.join(f'{block.path} ({block.op})' for block in circuit.blocks)}."

    @property
    def broad(self) -> bool:
        """Whether a rule given so is for the linear maps only, as a rule given by itself is."""
        return False


@dataclass(frozen=True)
class Path(Selector):
    """A block's path, or a glob over paths. A glob with * ? or [ is for the linear maps among those that it fits."""

    pattern: str

    def fits(self, block: Block) -> bool:
        return fnmatchcase(block.path, self.pattern)

    def find(self, circuit: BlockCircuit) -> tuple[int, ...]:
        # A path such as "lstm[0]" is a glob too, which does not fit itself.
        exact = tuple(index for index, block in enumerate(circuit.blocks) if block.path == self.pattern)
        return exact or super().find(circuit)

    @property
    def broad(self) -> bool:
        return any(sign in self.pattern for sign in "*?")

    def __str__(self) -> str:
        return repr(self.pattern)


@dataclass(frozen=True)
class Module(Selector):
    """The class of the module that ran the op, or a class that it inherits from: by its name, "Conv2d", or by its full
    name, "torch.nn.modules.conv.Conv2d". A linear map fused with a batch norm is an instance of both."""

    cls: str

    def fits(self, block: Block) -> bool:
        return any(self._place(names) is not None for names in _classes(block))

    def closer(self, other: Module, block: Block) -> bool:
        """Return whether this class is more specific than the other one, at a block of an instance of both."""
        for names in _classes(block):
            mine, others = self._place(names), other._place(names)
            if mine is not None and others is not None and mine < others:
                return True
        return False

    def _place(self, names: tuple[str, ...]) -> int | None:
        for place, name in enumerate(names):
            # Older files know the last part of a module's own class only.
            if name == self.cls or _last(name) == self.cls or ("." not in name and name == _last(self.cls)):
                return place
        return None

    def hint(self, circuit: BlockCircuit) -> str:
        return f"Classes: {', '.join(sorted({name for b in circuit.blocks for name in b.module.split('+')}))}."

    def __str__(self) -> str:
        return f"Module({_last(self.cls)!r})"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _classes(block: Block) -> tuple[tuple[str, ...], ...]:
    return block.classes or tuple((name,) for name in block.module.split("+"))


@dataclass(frozen=True)
class OpName(Selector):
    """The op, "aten.convolution"."""

    name: str

    def fits(self, block: Block) -> bool:
        return block.op in (self.name, f"aten.{self.name}")

    def hint(self, circuit: BlockCircuit) -> str:
        return f"Ops: {', '.join(sorted({block.op for block in circuit.blocks}))}."

    def __str__(self) -> str:
        return f"OpName({self.name!r})"


KINDS: dict[str, Callable[[Block], bool]] = {
    "linear": lambda block: block.role == "linear",
    "convolution": lambda block: block.role == "linear" and "conv" in block.op,
    "dense": lambda block: block.role == "linear" and "conv" not in block.op,
    "pooling": lambda block: block.role == "pooling",
    "sum": lambda block: block.role == "sum",
    "scale": lambda block: block.role == "scale",
    "product": lambda block: block.role == "product",
    "softmax": lambda block: block.convention == "softmax",
    "norm": lambda block: block.convention == "norm",
    "batch_norm": lambda block: block.role == "scale" and block.function == "batch_norm",
    "activation": lambda block: block.kind == "elementwise",
}
"""What `Kind` knows: every linear map is a convolution or dense; averages and maxima are poolings; a batch norm that is
kept, and a constant that is added, are scales. Products are those of two traced tensors, elementwise or contracted."""


def known_kind(kind: str) -> None:
    """Raise `OptionError` for a kind that is none."""
    if kind not in KINDS:
        raise OptionError(f"no kind of block is called {kind!r}; take one of {', '.join(KINDS)}.")


@dataclass(frozen=True)
class Kind(Selector):
    """A kind of block: one of `KINDS`."""

    kind: str

    def __post_init__(self) -> None:
        known_kind(self.kind)

    def fits(self, block: Block) -> bool:
        return KINDS[self.kind](block)

    def __str__(self) -> str:
        return f"Kind({self.kind!r})"


@dataclass(frozen=True)
class Depth(Selector):
    """The k-th linear map in the order of execution, from 0; negative: from the end. `kind` counts other blocks."""

    k: int
    kind: str = "linear"

    def __post_init__(self) -> None:
        known_kind(self.kind)

    def find(self, circuit: BlockCircuit) -> tuple[int, ...]:
        found = [index for index, block in enumerate(circuit.blocks) if KINDS[self.kind](block)]
        if not -len(found) <= self.k < len(found):
            raise UnknownNameError(
                f"the composite's entry {self} fits no block: there are {len(found)} blocks of kind {self.kind!r}."
            )
        return (found[self.k],)

    def __str__(self) -> str:
        return f"Depth({self.k})" if self.kind == "linear" else f"Depth({self.k}, {self.kind!r})"


@dataclass(frozen=True)
class Where(Selector):
    """The blocks for which a function of a block says yes. It has no JSON form."""

    predicate: Callable[[Block], object]

    def fits(self, block: Block) -> bool:
        return bool(self.predicate(block))

    def __str__(self) -> str:
        return f"Where({getattr(self.predicate, '__name__', self.predicate)})"


SELECTORS: dict[str, type[Selector]] = {cls.__name__: cls for cls in (Path, Module, OpName, Kind, Depth, Where)}

IN_FILES: dict[str, type[Selector]] = {{"OpName": "Op"}.get(name, name): cls for name, cls in SELECTORS.items()}
"""The selectors by the names that they have in files."""


def selector(key: Any) -> Selector:
    """Return the selector that a composite's key is short for. Raises `OptionError` for any other kind of object."""
    if isinstance(key, Selector):
        return key
    if isinstance(key, str):
        return Path(key)
    if isinstance(key, type) and issubclass(key, nn.Module):
        return Module(class_name(key))
    if isinstance(key, int) and not isinstance(key, bool):
        return Depth(key)
    if callable(key) and not isinstance(key, type):
        return Where(key)
    raise OptionError(
        f"{key!r} chooses no blocks. Give a path or glob, a module class, a number (the k-th linear map), a function "
        f"of a block, or one of {', '.join(SELECTORS)}."
    )
