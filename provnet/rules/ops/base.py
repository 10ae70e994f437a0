"""What an op rule is given, and the builders that say in one line what it gives back.

    @op_rule("aten.relu")
    def relu(op: Op) -> Placed:
        return op.unit_edges()

A rule returns a `Placed` (a block and its output's layout), which `Op.unit_edges`, `Op.affine` and `Op.place` make, for
each result of the op that is an activation; or, in short, the dense weights of its only block.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch._ops import OpOverload

from provnet.capture.execution import Execution, Ref, TracedOp
from provnet.circuit.blocks import Block, Call, Earlier, Input, Kind, Operand, Role
from provnet.circuit.weights import Ones, PerExample, Stored, Weight
from provnet.circuit.wiring import OneToOne, Wiring, dense
from provnet.errors import CrossExampleError, MissingRuleError, OptionError, TraceError
from provnet.registry import Registry
from provnet.rules.ops.arguments import references, substitute
from provnet.rules.ops.example_layout import Layout, Shape


@dataclass(frozen=True, eq=False)
class Placed:
    """A block, and where its output holds the examples."""

    block: Block
    layout: Layout


Given = Placed | Sequence[Placed | None] | Tensor
OpRule = Callable[["Op"], Given]
REGISTRY: Registry[OpRule] = Registry("op rule")
FORMS: Registry[OpRule] = Registry("way to treat an op")
"""What `trace(opaque=)` and `op_rule(form=)` name: "identity", "uniform", "jacobian", "index" (see `opaque.py`)."""

_STORAGE = (torch.memory_format, torch.dtype, torch.layout, torch.device)
"""Keywords of these types say how a unit edge's result is stored, which its derivative does not depend on."""

WHOLE_NUMBERS = (
    "It reads whole numbers, which have no derivative and no share of anything. Run it before tracing, and trace the "
    "rest of the model on its result."
)
"""The way out where an op looks something up, such as the embeddings of token ids."""

R = TypeVar("R", bound=Callable[..., Any])


def op_rule(*names: str, form: str | OpRule | None = None) -> Callable[[R], R]:
    """File a rule for the ops called `names`: "aten.relu", "mylib.myop" for torch.ops.mylib.myop, without the overload.

    Without `form` this is a decorator of a function that takes an `Op` and returns what it becomes; with `form`, one of
    `FORMS` or such a function, the rule is filed at once. Public as `provnet.register_op`.
    Raises: `OptionError` if a name is taken or none is given, `UnknownNameError` for an unknown form.

    Example:
        >>> register_op("mylib.swish", form="identity")              # doctest: +SKIP
        >>> @register_op("mylib.weighted")                           # doctest: +SKIP
        ... def weighted(op):
        ...     return op.tensor(op["weight"])                       # [outputs, inputs]: one affine block
    """
    if not names:
        raise OptionError("op_rule wants the name of an op, for instance register_op('mylib.myop').")
    if form is not None:
        REGISTRY.register(*names)(form_of(form))

    def file(rule: R) -> R:
        if form is None:
            REGISTRY.register(*names)(rule)
        return rule

    return file


def form_of(form: str | OpRule) -> OpRule:
    """Return the op rule behind a name in `FORMS`, or the caller's own function."""
    return form if callable(form) else FORMS.get(form)


@dataclass(frozen=True, eq=False)
class Op:
    """One recorded op as its rule sees it: arguments by name, active values with their layout, builders of blocks."""

    execution: Execution
    traced: TracedOp
    layouts: Mapping[int, Layout]
    ranks: Mapping[int, int] = field(default_factory=dict)
    memo: dict[Any, Any] = field(default_factory=dict)
    """What rules keep of one op for others of the same circuit: twelve equal layers have twelve equal splits."""

    # -- what was called -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.traced.name

    @property
    def short(self) -> str:
        """The op's name without its library: "relu"."""
        return self.name.rpartition(".")[2]

    @property
    def batch(self) -> int:
        return self.execution.batch

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """All arguments by the names of the op's schema (of a Python function: its signature), defaults included."""
        function = self.traced.func
        while not hasattr(function, "_schema") and hasattr(function, "function"):
            function = function.function  # a replay of an op that writes, on copies
        schema = getattr(function, "_schema", None)
        if schema is None:
            bound = inspect.signature(function).bind(*self.traced.args, **self.traced.kwargs)
            bound.apply_defaults()
            return dict(bound.arguments)
        names = [argument.name for argument in schema.arguments]
        found = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        return found | dict(zip(names, self.traced.args, strict=False)) | dict(self.traced.kwargs)

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its name, None where this overload has none. Tensors stand as `Ref`."""
        return self.arguments.get(name)

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Ids of the active values among the arguments, in order, repetitions kept."""
        found = (*references(self.traced.args), *references(self.traced.kwargs))
        return tuple(ref.id for ref in found if self.active(ref))

    @property
    def output(self) -> int:
        """Id of the first result."""
        found = self.traced.outputs[0]
        if found is None:
            raise TraceError(f"{self}: its first result is no tensor, so no block can stand for it.")
        return found

    # -- tensors -------------------------------------------------------------------------------------------------------

    def active(self, argument: Any) -> bool:
        return self.execution.active(argument)

    def tensor(self, value: Ref | int) -> Tensor:
        """Return a value's recorded tensor. It is the recording's own: never write to it."""
        return self.execution.tensor(value)

    def shape(self, value: Ref | int) -> Shape:
        """Return the recorded tensor's shape, examples included."""
        return tuple(self.tensor(value).shape)

    def layout(self, value: Ref | int) -> Layout:
        """Return where an active value holds its examples."""
        return self.layouts[value.id if isinstance(value, Ref) else value]

    def rank(self, value: Ref | int) -> int:
        """Return what kind of step an active value went through last (see `ranks`)."""
        return self.ranks.get(value.id if isinstance(value, Ref) else value, 0)

    def neurons(self, value: Ref | int) -> Shape:
        """Return the shape of one example of an active value."""
        return self.layout(value).neurons(self.shape(value))

    def size(self, value: Ref | int, layout: Layout | None = None) -> int:
        """Return how many neurons one example of a value has; of a result, in the layout that it gets."""
        layout = self.layout(value) if layout is None else layout
        return prod(layout.neurons(self.shape(value)))

    def by_example(self, value: Ref | int) -> Tensor:
        """Return an active value as [batch, *neurons]."""
        return self.layout(value).by_example(self.tensor(value), self.batch)

    def replay(self, tensors: Callable[[Ref], Tensor]) -> tuple[Any, ...]:
        """Run the op again with other tensors in place of the recorded ones and return its results."""
        args, kwargs = substitute(self.traced.args, tensors), substitute(dict(self.traced.kwargs), tensors)
        results = self.traced.func(*args, **kwargs)
        return tuple(results) if isinstance(results, list | tuple) else (results,)

    # -- refusals ------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        shapes = ", ".join(str(list(self.shape(ref))) for ref in references((self.traced.args, self.traced.kwargs)))
        return f"{self.name} (at {self.traced.label!r}, in {self.traced.module or 'no module'}, shapes {shapes})"

    def crosses(self, why: str) -> NoReturn:
        """Refuse the op: `why` says how it mixes examples."""
        if self._lacks_batch_axis():
            raise CrossExampleError(
                f"{self}: {why}. The input seems to be one example without a batch axis. Add one: x.unsqueeze(0)."
            )
        raise CrossExampleError(
            f"{self} mixes examples: {why}. A circuit needs independent examples on the batch axis; trace one example "
            "at a time, with a batch axis of its own (x.unsqueeze(0)), give the right batch_dim, or put the model into "
            "evaluation mode."
        )

    def _lacks_batch_axis(self) -> bool:
        """Return whether the caller seems to have forgotten the batch axis: a source is a vector, or torch itself has
        put an axis of size one before the one that was taken for the batch.
        """
        execution = self.execution
        if execution.batch_dim != 0:
            return False
        vectors = any(execution.tensor(value).dim() == 1 for value in execution.sources.values())
        alone = (self.shape(i)[0] == 1 and self.layout(i).axis == 1 for i in self.inputs)
        return vectors or (self.batch > 1 and any(alone))

    def missing(self, why: str = "") -> NoReturn:
        """Refuse the op for want of a rule, with the ways out."""
        if self.name.startswith("complex."):
            why = "of complex numbers, seen as pairs, only sums, products, lengths and Fourier transforms have a rule"
        problem = f"no op rule for {self}{': ' + why if why else ''}. "
        apart = "a" if self.traced.func in decomposition_table else "no"
        if any(not self.tensor(i).is_floating_point() for i in self.inputs):
            raise MissingRuleError(f"{problem}{WHOLE_NUMBERS}")
        whole = "its module" if self.traced.path else "the model"
        raise MissingRuleError(
            f"{problem}Write one with provnet.register_op({self.name!r}), or "
            f"keep {whole} whole: trace(model, x, opaque={{{self.traced.path!r}: 'jacobian'}}). torch has {apart} "
            "decomposition of it into other ops."
        )

    @property
    def uniform_instead(self) -> str:
        """The way out that always is, as a message says it."""
        whole = "its module" if self.traced.path else "the model"
        return f"keep {whole} whole: trace(model, x, opaque={{{self.traced.path!r}: 'uniform'}})"

    # -- builders ------------------------------------------------------------------------------------------------------

    def place(
        self,
        kind: Kind,
        role: Role,
        wiring: Wiring,
        layout: Layout,
        *,
        inputs: Sequence[int] | None = None,
        output: int | None = None,
        weight: Tensor | Weight | None = None,
        bias: Tensor | None = None,
        weight_by_example: bool = False,
        bias_by_example: bool = False,
        function: str | None = None,
    ) -> Placed:
        """Return a block of this op with one wiring over all of its inputs, one after the other.

        By default it has all active inputs and the first result. Several inputs become operands (see `operands_of`).
        Raises: `TraceError` if the wiring does not count the neurons of the inputs or of the output.
        """
        inputs = self.inputs if inputs is None else tuple(inputs)
        output = self.output if output is None else output
        if not isinstance(weight, Weight):
            weight = _weight(weight, weight_by_example)
        sizes = [self.size(i) for i in inputs]
        self._check_sizes(sum(sizes), wiring, self.size(output, layout))
        operands = operands_of(self, inputs, sizes, wiring, weight)
        return self.block(
            kind,
            role,
            operands,
            layout,
            output=output,
            bias=bias,
            bias_by_example=bias_by_example,
            function=function,
        )

    def block(
        self,
        kind: Kind,
        role: Role,
        operands: Sequence[Operand],
        layout: Layout,
        *,
        output: int | None = None,
        bias: Tensor | None = None,
        bias_by_example: bool = False,
        copies: int = 1,
        function: str | None = None,
    ) -> Placed:
        """Return a block of this op from its operands, each an activation with a wiring and a weight of its own.

        Raises: `TraceError` if a wiring does not count the neurons of its input or of the output.
        """
        output = self.output if output is None else output
        if not layout.fits(self.shape(output), self.batch):
            self.crosses(
                f"the result {list(self.shape(output))} has no axis with the {self.batch} examples at {layout}"
            )
        for operand in operands:
            self._check_sizes(self.size(operand.input), operand.wiring, self.size(output, layout))
        found = Block(
            path=self.traced.label,
            op=self.name,
            module=self.traced.module,
            classes=(self.traced.classes,) if self.traced.classes else (),
            kind=kind,
            role=role,
            operands=tuple(operands),
            output=output,
            bias=bias,
            bias_by_example=bias_by_example,
            copies=copies,
            function=function,
            call=self.call() if kind == "elementwise" else None,
        )
        return Placed(found, layout)

    def _check_sizes(self, size_in: int, wiring: Wiring, size_out: int) -> None:
        if (wiring.inputs, wiring.outputs) != (size_in, size_out):
            raise TraceError(
                f"{self}: its rule wires {wiring.inputs} to {wiring.outputs} neurons an example, but there are "
                f"{size_in} and {size_out}. The rule of {self.name!r} must be mended."
            )

    def call(self, earlier: Mapping[int, Input | Earlier] | None = None) -> Call | None:
        """Return how to run this op again, None if it is not one ATen op with plain arguments.

        Args: `earlier` says of values which step of the same function makes them; other traced ones are the input.
        """
        function = self.traced.func
        if not isinstance(function, OpOverload) or function.namespace != "aten":
            return None
        kwargs = {name: value for name, value in self.traced.kwargs.items() if not isinstance(value, _STORAGE)}
        stands = dict.fromkeys(self.inputs, Input()) | dict(earlier or {})
        given = [_plain(self, argument, stands) for argument in (*self.traced.args, *kwargs.values())]
        parts = [part[0] for part in given if part is not None]
        if len(parts) < len(given):
            return None
        count = len(self.traced.args)
        name = function._schema.name.removeprefix("aten::")
        named = dict(zip(kwargs, parts[count:], strict=True))
        return Call(name, function._overloadname, tuple(parts[:count]), named)

    def unit_edges(
        self, value: Ref | int | None = None, function: str | None = None, output: int | None = None
    ) -> Placed:
        """Return unit edges, one to one, from an active value (the only one by default) of the output's shape."""
        source = self.only() if value is None else value.id if isinstance(value, Ref) else value
        output = self.output if output is None else output
        if self.shape(source) != self.shape(output):
            self.missing(f"unit edges need equal shapes, the result is {list(self.shape(output))}")
        size = self.size(source)
        return self.place(
            "elementwise",
            "none",
            OneToOne(size, size),
            self.layout(source),
            inputs=(source,),
            output=output,
            function=function or self.short,
        )

    def affine(
        self,
        wiring: Wiring,
        weight: Tensor | Weight | None = None,
        bias: Tensor | None = None,
        *,
        role: Role = "linear",
        **more: Any,
    ) -> Placed:
        """Return an affine block, p_jk = a_j * w_jk, whose output lies as its first input does (or give `layout`)."""
        layout = more.pop("layout", None) or self.layout(self.inputs[0])
        return self.place("affine", role, wiring, layout, weight=weight, bias=bias, **more)

    def only(self) -> int:
        """Return the only active input; several are refused."""
        if len(set(self.inputs)) != 1 or len(self.inputs) != 1:
            self.missing(f"{len(self.inputs)} of its inputs depend on a source, and the rule takes one")
        return self.inputs[0]

    def number(self, value: float, like: Tensor) -> Tensor:
        """Return numbers as a flat tensor of the dtype and on the device of `like`."""
        return torch.tensor([value], dtype=like.dtype, device=like.device)


def _weight(values: Tensor | None, by_example: bool) -> Weight:
    if values is None:
        return Ones()
    return PerExample(values) if by_example else Stored(values)


def operands_of(
    op: Op, inputs: Sequence[int], sizes: Sequence[int], wiring: Wiring, weight: Weight
) -> tuple[Operand, ...]:
    """Return the operands of a wiring over several inputs, one after the other: look-ups and dense maps are cut apart.

    Raises: `TraceError` for another wiring over several inputs.
    """
    if len(inputs) == 1:
        return (Operand(inputs[0], wiring, weight),)
    wirings = wiring.cut(sizes)
    if wirings is None:
        raise TraceError(
            f"{op}: its rule gives one {type(wiring).__name__} for {len(inputs)} inputs. Give each input an "
            "operand of its own: op.block(kind, role, [Operand(input, wiring, weight), ...], layout)."
        )
    starts = accumulate(sizes, initial=0)
    return tuple(
        Operand(value, part, weight.columns(first, size))
        for value, part, first, size in zip(inputs, wirings, starts, sizes, strict=False)
    )


def _plain(op: Op, argument: Any, stands: Mapping[int, Input | Earlier]) -> tuple[Any] | None:
    """Return (an op's argument as plain data,), or None if it is neither a number, text, nor a tensor."""
    if isinstance(argument, Ref):
        return (stands[argument.id] if op.active(argument) else _as_held(op, argument),)
    if isinstance(argument, list | tuple):
        parts = [_plain(op, part, stands) for part in argument]
        whole = [part[0] for part in parts if part is not None]
        return (tuple(whole),) if len(whole) == len(parts) else None
    return (argument,) if argument is None or isinstance(argument, bool | int | float | str) else None


def _as_held(op: Op, constant: Ref) -> Tensor:
    """Return a constant as it goes with the only activation, whose rows a circuit holds example by example."""
    values, source = op.tensor(constant).detach(), op.inputs[0]
    layout, rank = op.layout(source), len(op.shape(source))
    axis = layout.axis - (rank - values.dim())
    if layout.order is None or axis < 0 or values.shape[axis] == 1:
        return values
    return replace(layout, axis=axis).sorted(values)


def blocks_of(op: Op, given: Given) -> list[Placed]:
    """Return what a rule gave as a list of blocks. Weights [out, in] or [batch, out, in] become one affine block.

    Raises: `TraceError` for weights of another shape, or for anything else than blocks.
    """
    if isinstance(given, Tensor):
        return [_weighted(op, given)]
    found = [given] if isinstance(given, Placed) else [one for one in given if one is not None]
    if not all(isinstance(one, Placed) for one in found):
        raise TraceError(f"the op rule of {op} gave {found!r}; return what op.unit_edges, op.affine or op.place give.")
    if not found:
        op.missing("its rule gave no block")
    return found


def _weighted(op: Op, weight: Tensor) -> Placed:
    size_in, size_out = sum(map(op.size, op.inputs)), op.size(op.output, op.layout(op.inputs[0]))
    shapes = ((size_out, size_in), (op.batch, size_out, size_in))
    if tuple(weight.shape) not in shapes:
        raise TraceError(
            f"the op rule of {op} gave weights of shape {list(weight.shape)}; {list(shapes[0])} (outputs, inputs) or "
            f"{list(shapes[1])} (examples before) was wanted."
        )
    return op.affine(dense(1, size_in, size_out), weight, role="sum", weight_by_example=weight.dim() == 3)
