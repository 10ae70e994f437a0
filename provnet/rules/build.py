"""From a recorded execution to a circuit of blocks: regions joined, rules asked, batch norms fused, tensors named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from torch import Tensor

from provnet.capture.execution import Execution, TracedOp, Value
from provnet.capture.module_names import is_parametrisation
from provnet.circuit.blocks import Activation, Block, BlockCircuit, Kept, Operand
from provnet.circuit.deferred import Deferred, raw
from provnet.circuit.weights import Memory, Stored
from provnet.errors import CrossExampleError, OptionError, TraceError
from provnet.rules.fusion import VIEWS, add_bias, can_bias, can_fuse, fuse
from provnet.rules.in_steps import steps_of
from provnet.rules.ops import KNOWN_RULES, normalisation
from provnet.rules.ops.base import REGISTRY, Op, Placed, form_of
from provnet.rules.ops.batch_of_one import in_some_layout
from provnet.rules.ops.declared import check_declared
from provnet.rules.ops.example_layout import Layout
from provnet.rules.ops.ranks import rank_of
from provnet.rules.padding import Mask, padding_of
from provnet.rules.regions import regions_of
from provnet.rules.tensor_names import TensorNames, name_values


@dataclass(eq=False)
class _Site:
    """The circuit in the making: what each op became, where each value holds its examples, what has gone and why."""

    execution: Execution
    fused: bool
    layouts: dict[int, Layout] = field(default_factory=dict)
    ranks: dict[int, int] = field(default_factory=dict)
    placed: dict[int, Placed] = field(default_factory=dict)
    makers: dict[int, tuple[TracedOp, ...]] = field(default_factory=dict)
    gone: dict[int, str] = field(default_factory=dict)
    constants: dict[int, str] = field(default_factory=dict)
    """Where an outside tensor lies in memory -> its name."""
    reads: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """What each op reads, by its index."""
    memo: dict[object, object] = field(default_factory=dict)
    """What rules keep of one op for others."""
    ops: tuple[TracedOp, ...] = ()
    """The recorded ops, with one op in place of each region that is a norm or an activation written out."""
    inside: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """The values inside each region, by the index of the op in its place."""
    containers: frozenset[str] = frozenset()
    """The paths of modules that call other modules."""

    def __post_init__(self) -> None:
        for op in self.execution.ops:
            self.reads[op.index] = op.reads
        steps = {op.index: op for op in self.execution.ops}
        for region in regions_of(self.execution):
            for op in region.ops:
                del steps[op.index], self.reads[op.index]
            steps[region.op.index], self.reads[region.op.index] = region.op, region.reads
            self.inside[region.op.index] = region.inside
            self.gone |= dict.fromkeys(region.inside, region.reason)
        self.ops = tuple(steps[index] for index in sorted(steps))
        calls = (call.path for call in self.execution.modules if not is_parametrisation(call.path))
        self.containers = frozenset(path for call in calls for path in _above(call))


def build(execution: Execution, batch_norm: Literal["fused", "kept"] = "fused") -> BlockCircuit:
    """Return the circuit of one execution.

    Args: `batch_norm="fused"` joins a batch norm in evaluation with the linear map right before it, if nothing else
    uses that map's output; `"kept"` leaves it a block of its own.
    Raises: `MissingRuleError` for an op without a rule, `CrossExampleError` for one that mixes examples, `TraceError`,
    `LimitError`, `OptionError`.
    """
    return _circuit(_placed(execution, batch_norm))


def build_with_layouts(
    execution: Execution, batch_norm: Literal["fused", "kept"] = "fused"
) -> tuple[BlockCircuit, dict[int, Layout]]:
    """Return the circuit of one execution, and where each value on the way holds its examples. Raises: as `build`."""
    site = _placed(execution, batch_norm)
    return _circuit(site), site.layouts


def _placed(execution: Execution, batch_norm: str) -> _Site:
    if batch_norm not in ("fused", "kept"):
        raise OptionError(f"batch_norm={batch_norm!r} came, 'fused' or 'kept' was wanted.")
    site = _Site(execution, batch_norm == "fused")
    for value in execution.sources.values():
        site.layouts[value] = _source_layout(execution, value)
    uses = _uses(site)
    for op in site.ops:
        _place(site, op, uses)
    _refuse_sorted_outputs(site)
    return site


def _refuse_sorted_outputs(site: _Site) -> None:
    """Refuse outputs whose rows do not lie as the examples do: row i would be taken for example i."""
    for name, value in site.execution.outputs.items():
        layout = site.layouts.get(value)
        if layout is not None and layout.order is not None:
            raise CrossExampleError(
                f"the rows of the output {name!r}, of shape {list(site.execution.tensor(value).shape)}, are sorted "
                "otherwise than the examples. Bring them back into the batch's order before the model returns them, or "
                "trace one example at a time."
            )


def _source_layout(execution: Execution, value: int) -> Layout:
    layout, shape = Layout(execution.batch_dim % max(execution.tensor(value).dim(), 1)), execution.tensor(value).shape
    if not layout.fits(tuple(shape), execution.batch):
        raise TraceError(
            f"a source has the shape {list(shape)}, without {execution.batch} examples on axis {execution.batch_dim}. "
            "Give sources with equal batches, or another batch_dim."
        )
    return layout


def _results(op: TracedOp) -> Iterator[int]:
    return (value for value in op.outputs if value is not None)


def _above(path: str) -> Iterator[str]:
    """Yield the paths of the modules that a module lies in, the model's own apart."""
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _uses(site: _Site) -> Counter[int]:
    """Return how often each value is read, an output counting as one more reader."""
    return Counter(value for reads in site.reads.values() for value in reads) + Counter(site.execution.outputs.values())


def _place(site: _Site, traced: TracedOp, uses: Counter[int]) -> None:
    """File what one op becomes: joined with what is before it, in steps of their own, or as its rule says."""
    op = Op(site.execution, traced, site.layouts, site.ranks, site.memo)
    missing = next((value for value in op.inputs if value not in site.layouts), None)
    if missing is not None:
        raise TraceError(
            f"{op} reads a tensor that no block makes: {site.gone.get(missing, 'its maker has no block')}."
        )
    if site.fused and op.name in normalisation.NAMES and traced.index not in site.execution.opaque:
        before = site.placed.get(op.inputs[0]) if op.inputs else None
        if before is not None and uses[op.inputs[0]] == 1 and can_fuse(before, op):
            _fuse(site, op, before)
            return
    if op.name == "aten.add" and traced.index not in site.execution.opaque and _join_bias(site, op, uses):
        return
    steps = steps_of(op) if op.name in REGISTRY else None
    if steps is not None and traced.index not in site.execution.opaque:
        made = {n: Value(n, tensor, "computed", active=True) for n, tensor in steps.made.items()}
        site.execution = replace(site.execution, values={**site.execution.values, **made})
        for step in steps.ops:
            _file(site, Op(site.execution, step, site.layouts, site.ranks))
        return
    _file(site, op)


def _file(site: _Site, op: Op) -> None:
    """Ask an op's rule, and file the blocks that it gives."""
    traced = op.traced
    for one in ask(op):
        site.placed[one.block.output] = one
        site.layouts[one.block.output] = one.layout
        site.ranks[one.block.output] = rank_of(one.block, site.ranks)
        site.makers[one.block.output] = (traced,)
        for value in site.inside.get(traced.index, ()):  # they have no block, but another batch has them as well
            if one.layout.fits(op.shape(value), op.batch):
                site.layouts[value] = one.layout


def ask(op: Op) -> list[Placed]:
    """Return the blocks that the op's rule, or its opaque treatment, gives."""
    index = op.traced.index
    if index in op.execution.opaque:
        rule = form_of(op.execution.opaque[index])
    elif op.name in REGISTRY:
        rule = REGISTRY.get(op.name)
    else:
        op.missing()
    empty = next((v for v in (*op.inputs, op.output) if op.tensor(v).numel() == 0), None)
    if empty is not None:
        raise TraceError(
            f"{op} has an empty tensor of shape {list(op.shape(empty))}: a circuit wants at least one neuron."
        )
    placed = in_some_layout(op, rule)
    if rule not in KNOWN_RULES:
        check_declared(op, placed)
    return placed


def _join_bias(site: _Site, add: Op, uses: Counter[int]) -> bool:
    """Join a bias with the product it is added to, through views that nothing else reads; tell whether it did."""
    passed: list[int] = []
    value = add.inputs[0]
    while (before := site.placed.get(value)) is not None and uses[value] == 1:
        passed.append(value)
        if before.block.op not in VIEWS:
            break
        value = before.block.inputs[0]
    if before is None or uses[value] != 1 or not can_bias(before, add):
        return False
    site.placed[add.output] = add_bias(before, add)
    site.layouts[add.output] = site.placed[add.output].layout
    site.makers[add.output] = (*site.makers[value], add.traced)
    for gone in passed:
        del site.placed[gone]
        site.gone[gone] = f"it is joined with the bias that {add.traced.label!r} adds. Ask for {add.traced.label!r}."
    return True


def _fuse(site: _Site, norm: Op, before: Placed) -> None:
    linear, value = before.block.output, norm.output
    site.placed[value] = fuse(before, norm)
    site.layouts[value] = before.layout
    site.makers[value] = (*site.makers[linear], norm.traced)
    del site.placed[linear]
    site.gone[linear] = (
        f"it is fused with the batch norm {norm.traced.label!r} behind it. "
        f"Trace with batch_norm='kept' to keep them apart, or ask for {norm.traced.label!r}."
    )


# --- the finished circuit ---------------------------------------------------------------------------------------------


def _circuit(site: _Site) -> BlockCircuit:
    execution = site.execution
    known = set(execution.sources.values()) | set(site.placed)
    for value in execution.outputs.values():
        if value not in known:
            site.gone.setdefault(value, "it does not depend on a source.")
    names = name_values(execution, known, site.gone)
    blocks = tuple(_finished(site).values())
    return BlockCircuit(
        model=execution.model,
        batch=execution.batch,
        activations=_activations(site, names, known, blocks),
        blocks=blocks,
        sources=tuple(execution.sources.values()),
        outputs=tuple(value for value in execution.outputs.values() if value in known),
        names=names.ids,
        absent=names.absent,
        kept=_kept(site),
    )


def _finished(site: _Site) -> dict[int, Block]:
    """Return output -> block, with paths and the names of parameters.

    A block goes by the path of the leaf module that it is in, if it is the only one there with coefficients; else by
    its op's own label, and by the number of the result where the op has several.
    """
    results = Counter(one.block.path for one in site.placed.values())
    paths = {value: _leaf_path(site, ops[0]) for value, ops in site.makers.items() if value in site.placed}
    sharing = Counter(paths[v] for v, one in site.placed.items() if one.block.has_coefficients and paths[v])
    found = {}
    for value, one in site.placed.items():
        path = paths[value]
        alone = one.block.has_coefficients and path is not None and sharing[path] == 1
        own = one.block.path
        if results[own] > 1:
            own = f"{own}[{site.makers[value][0].outputs.index(value)}]"
        owned = [kept for op in site.makers[value] for kept in _owned(site, op)]
        found[value] = replace(
            one.block,
            path=path if alone and path else own,
            parameters=tuple(dict.fromkeys(kept.name for kept in owned)),
            operands=tuple(_remembered(operand, owned) for operand in one.block.operands),
            bias_memory=_memory(one.block.bias, owned),
        )
    return found


def _remembered(operand: Operand, owned: list[Kept]) -> Operand:
    """Return an operand whose weight knows which entries of the model's tensors it shows."""
    weight = operand.weight.stored
    if weight is None:
        return operand
    values = raw(weight, "values")
    return replace(operand, weight=Stored(values, _memory(values, owned)))


def _memory(handle: Tensor | Deferred | None, owned: list[Kept]) -> Memory | None:
    """Return which entries of the model's tensors a weight shows, None if it is no view of one."""
    if isinstance(handle, Deferred):
        return None
    for kept in owned if handle is not None else ():
        owner: Tensor = kept.handle
        if handle is not None and handle.untyped_storage().data_ptr() == owner.untyped_storage().data_ptr():
            return kept.name, int(handle.storage_offset()), tuple(handle.shape), tuple(handle.stride())
    return None


def _leaf_path(site: _Site, op: TracedOp) -> str | None:
    """Return the path of the leaf module call that an op is in, None for an op in a container or outside of all."""
    if not op.path or op.path in site.containers:
        return None
    return op.call


def _owned(site: _Site, op: TracedOp) -> Iterator[Kept]:
    """Yield the parameters, buffers and outside constants that an op reads, with their versions."""
    for value in site.reads[op.index]:
        read = site.execution.values[value]
        if read.owner is not None:
            yield Kept(read.name or _constant_name(site, read.owner, op), read.owner, read.version)


def _constant_name(site: _Site, tensor: Tensor, op: TracedOp) -> str:
    """Return the name of an outside tensor: by the first op that reads it, with a number if it is not its first one."""
    memory = tensor.untyped_storage().data_ptr()
    if memory not in site.constants:
        taken = sum(name.endswith(f"in {op.label}") for name in site.constants.values())
        site.constants[memory] = f"constant {taken + 1} in {op.label}" if taken else f"a constant in {op.label}"
    return site.constants[memory]


def _kept(site: _Site) -> tuple[Kept, ...]:
    found: dict[str, Kept] = {}
    for ops in site.makers.values():
        for op in ops:
            for kept in _owned(site, op):
                found.setdefault(kept.name, kept)
    return tuple(found.values())


def _activations(site: _Site, names: TensorNames, known: set[int], blocks: tuple[Block, ...]) -> dict[int, Activation]:
    padding = _paddings(site, blocks)
    found = {}
    for value in [*site.execution.sources.values(), *(block.output for block in blocks)]:
        tensor, layout = site.execution.tensor(value), site.layouts[value]
        handle, axis = layout.split(tensor, site.execution.batch)
        found[value] = Activation(
            id=value,
            names=tuple(names.of.get(value, (f"value {value}",))),
            shape=layout.neurons(tuple(tensor.shape)),
            handle=handle,
            axis=axis,
            inner=layout.inner,
            padding=padding.get(value),
        )
    return found


def _paddings(site: _Site, blocks: tuple[Block, ...]) -> dict[int, Mask]:
    batch, padding = site.execution.batch, {}

    def rows(value: int) -> Tensor:
        return site.layouts[value].by_example(site.execution.tensor(value), batch).reshape(batch, -1)

    for block in blocks:
        mask = padding_of(block, partial(rows, block.output), padding)
        if mask is not None:
            padding[block.output] = mask
    return padding
