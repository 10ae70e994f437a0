"""The large size of a circuit: blocks, tensor-shaped bundles of gates, one per recorded operation.

VGG-16 has 15.5e9 edges an image, so a block never lists them: its wiring computes them. Tensors are handles here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from provnet.circuit.weights import Handle, Memory, Ones, Stored, Weight
from provnet.circuit.wiring import Wiring, side_by_side
from provnet.errors import UnknownNameError

Kind = Literal["affine", "selection", "elementwise", "index"]
Role = Literal["linear", "product", "pooling", "sum", "scale", "softmax", "norm", "none"]


LISTED = 20
"""Names of tensors that a message lists."""


@dataclass(frozen=True, eq=False)
class Activation:
    """One recorded tensor that depends on a source, seen as `size` neurons an example.

    shape   of one example, the examples' axis removed; neurons are counted row-major over it.
    handle  the recorded tensor in its own layout, examples on axis `axis`; where that axis carries more than examples
            (a batch merged with tokens), index i on it belongs to example i // inner, and `shape` keeps `inner`.
    padding [size], True where an entry is padding and no neuron: what an op padded with zeros (a maximum counts these
            in), or a masked score. Its edges are absent. [batch, size] where examples differ in it. None: there is none
    names   every name it goes by, the canonical one first; "path:in" names are kept in `BlockCircuit.names` only.
    """

    id: int
    names: tuple[str, ...]
    shape: tuple[int, ...]
    handle: Handle
    axis: int = 0
    inner: int = 1
    padding: NDArray[np.bool_] | None = None

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def size(self) -> int:
        return prod(self.shape)

    def showing(self, handle: Handle) -> Activation:
        """Return the same tensor of another batch."""
        return Activation(self.id, self.names, self.shape, handle, self.axis, self.inner, self.padding)


@dataclass(frozen=True)
class Input:
    """Stands in a call's arguments where the activation stood."""


@dataclass(frozen=True)
class Earlier:
    """Stands in a call's arguments for a result of another call, `Call.before[number]`."""

    number: int
    result: int = 0


@dataclass(frozen=True, eq=False)
class Call:
    """How the function of unit edges is run again: an ATen op, its overload, its arguments as plain data.

    before   calls that run first, in this order, for a function that takes several ops: x·σ(1.702 x) is a `mul` whose
             `before` holds a `mul` and a `sigmoid`. Each has an empty `before` of its own.
    """

    op: str
    overload: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    before: tuple[Call, ...] = ()

    def with_handles(self, convert: Callable[[Handle], Handle]) -> Call:
        """Return the call with each tensor among its arguments replaced."""
        named = {name: convert(value) for name, value in self.kwargs.items()}
        before = tuple(step.with_handles(convert) for step in self.before)
        return replace(self, args=tuple(map(convert, self.args)), kwargs=named, before=before)


@dataclass(frozen=True, eq=False)
class Operand:
    """One activation that feeds a block: through which slots, with which weights on them.

    scale   [batch, rows]: p_jk = (a_j * scale_r) * w_jk, where r is the row of neuron j, of `rows` equal ones: a norm
            whose standard deviation is held constant. None: p_jk = a_j * w_jk.
    """

    input: int
    wiring: Wiring
    weight: Weight = field(default_factory=Ones)
    scale: Handle = None


@dataclass(frozen=True, eq=False)
class Block:
    """One operation's gates: output neuron k is fed through the slots of its operands, which stand side by side, and by
    a bias, the last slot, where `bias` is given.

    kind     affine: p_jk = a_j * w_jk. selection: one of the slots wins. elementwise: unit edges, one to one.
             index: unit edges, some neurons fanning out or left behind.
    role     which propagation rule applies by default: `linear` takes the rule that is given by itself; `product` takes
             it where it only stabilises; poolings, sums and scales keep plain proportions unless a composite says
             otherwise, as do softmaxes and norms; `none` has no coefficients.
    sink     the name under which relevance that the block does not pass on is reported.
    bias     flat after reshape(-1), with an axis of examples before if `bias_by_example`; indexed by
             `wiring.bias(output)`.
    bias_memory   as `Stored.memory`.
    annotation   the name of an annotation function that stands in place of the evaluation's, with the number of slots
             as denominators: what the authors' code gives poolings. None: the evaluation's.
    convention, forms   the convention that picks among forms of this block, and the others: its value -> block. A form
             has the same output. The derivative's form is among them where the default is not the derivative.
    remark   one short sentence for tables, such as which factor of a product is the gate.
    copies   how many slots share the relevance of one contribution: 2 where both factors of a product have the whole
             product as their contribution, and half of its relevance each. Denominators are `copies` times the output.
    places   of a max pooling, in the layout of its output: where in its plane each window's first maximum lies, as the
             model's own op said. None: it did not say.
    bias_name       the name of the op that made the bias of a traced tensor (a sign that is added): its sink's name.
    output_is_sum   of an affine block: whether its output is the sum of its contributions. If not, as where a bias was
             left out, or a module is kept whole and said to be fed by all inputs alike, denominators are sums of
             contributions all the same.
    classes  for each of the modules that `module` names, the full names of the classes that it is an instance of, the
             most specific first. Empty: not known (a circuit from an older file).
    function what a unit edge computes ("relu", "gelu"), and `call` how to compute it: rules that give unit edges a
             coefficient look here.
    """

    path: str
    op: str
    module: str
    kind: Kind
    role: Role
    operands: tuple[Operand, ...]
    output: int
    bias: Handle = None
    bias_by_example: bool = False
    bias_memory: Memory | None = None
    copies: int = 1
    function: str | None = None
    call: Call | None = None
    parameters: tuple[str, ...] = ()
    places: Handle = None
    output_is_sum: bool = True
    bias_name: str | None = None
    classes: tuple[tuple[str, ...], ...] = ()
    annotation: str | None = None
    convention: str | None = None
    forms: Mapping[str, Block] = field(default_factory=dict)
    remark: str = ""
    sink: str = ""

    @property
    def has_coefficients(self) -> bool:
        """Whether its edges are variables. Unit edges are none."""
        return self.kind in ("affine", "selection")

    @property
    def counted(self) -> int:
        """How often the slots count each contribution to the output: once by every factor of a product."""
        return len(self.operands) if self.role == "product" else 1

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """The activations that feed it, operand by operand."""
        return tuple(operand.input for operand in self.operands)

    @property
    def reads(self) -> tuple[int, ...]:
        """The activations that its edges are computed from, in any form: those that feed it, and those that are
        weights."""
        partners = [i for operand in self.operands if (i := operand.weight.partner) is not None]
        other = [i for form in self.forms.values() for i in form.reads]
        return tuple(dict.fromkeys((*self.inputs, *partners, *other)))

    @cached_property
    def wiring(self) -> Wiring:
        """The wiring of all slots, over the neurons of the operands counted one operand after the other."""
        parts = tuple(operand.wiring for operand in self.operands)
        return parts[0] if len(parts) == 1 else side_by_side(parts)

    @property
    def weight(self) -> Weight:
        """The weight of the only operand; of several, that of the first one that has any."""
        held = (operand.weight for operand in self.operands)
        return next((weight for weight in held if not weight.ones), Ones())

    @property
    def shared_weight(self) -> Stored | None:
        """The weight of the only operand, if it is a tensor that all examples share."""
        return self.weight.stored if len(self.operands) == 1 else None

    @property
    def weight_by_example(self) -> bool:
        """Whether the weights of some operand differ from example to example."""
        return any(operand.weight.by_example for operand in self.operands)


@dataclass(frozen=True, eq=False)
class Kept:
    """A tensor of the model that the circuit refers to, with the version it had when it was recorded.

    version   None: torch counts none, as of a tensor made in inference mode.
    """

    name: str
    handle: Handle
    version: int | None


@dataclass(frozen=True, eq=False)
class BlockCircuit:
    """The provenance circuit of one execution, before any rule, annotation function or semiring.

    blocks   in the order of execution, so that every block stands behind those that feed it.
    names    every name of a tensor -> activation id; "path:in" for a module's input.
    absent   names of tensors that have no relevance of their own -> why, and the way out (a convolution that is fused
             with its batch norm; the bare name of a module that is called twice).
    rule     a propagation rule as JSON that goes with the circuit, for whoever loads it; it changes nothing here.
    parameters   name -> where it lies in memory, of the parameters whose relevance was asked for when it was traced.
    lean     what makes activations again whose handles are promises of tensors; None: all handles are tensors.
    """

    model: str
    batch: int
    activations: Mapping[int, Activation]
    blocks: tuple[Block, ...]
    sources: tuple[int, ...]
    outputs: tuple[int, ...]
    names: Mapping[str, int]
    absent: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()
    rule: str | None = None
    parameters: Mapping[str, Memory] = field(default_factory=dict)
    lean: Handle = None

    def find(self, name: str) -> int:
        """Return the id of the activation called `name`. Raises `UnknownNameError`, with the reason if known."""
        if name in self.names:
            return self.names[name]
        if name in self.absent:
            raise UnknownNameError(self.absent[name])
        inside = [known for known in self.names if known.startswith(f"{name}@")]  # a looked-up source: "tokens@embed"
        near = inside or get_close_matches(name, self.names, n=3)
        known = sorted(self.names)
        some = ", ".join(known) if len(known) <= LISTED else f"{', '.join(known[:LISTED])}, …: circuit.keys() lists all"
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Known: {some}."
        sources = ", ".join(repr(self.activations[source].name) for source in self.sources)
        raise UnknownNameError(f"no recorded tensor is called {name!r}. Sources: {sources}. {hint}")

    def input_size(self, block: Block) -> int:
        """Return the number of neurons an example that feed `block`, its inputs concatenated."""
        return sum(self.activations[i].size for i in block.inputs)
