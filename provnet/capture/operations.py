"""What an ATen op does to memory, read off its schema once: what it writes, and which op does the same and does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch._ops import OpOverload

Form = Literal["plain", "inplace", "out", "mixed", "metadata"]

# Their results depend on the shape of a tensor, or on where it is, but not on its entries.
_CONSTANT = frozenset(
    [
        "zeros_like",
        "ones_like",
        "empty_like",
        "full_like",
        "rand_like",
        "randn_like",
        "randint_like",
        "new_zeros",
        "new_ones",
        "new_empty",
        "new_full",
        "new_empty_strided",
        "zero_",
        "normal_",
        "uniform_",
        "random_",
        "exponential_",
        "bernoulli_",
        "geometric_",
        "cauchy_",
        "log_normal_",
        "randperm",
    ]
)
# Their results depend on the entries by steps only: they count as constant, and say so. (Rounding stays near its input,
# and is a unit edge.)
_STEPS = frozenset(["sign", "sgn", "heaviside", "bernoulli", "sign_", "sgn_", "heaviside_"])
# In place, they do not look at what was there before. fill_ and copy_ put their second argument there.
_OVERWRITING = frozenset(
    ["zero_", "fill_", "copy_", "normal_", "uniform_", "random_", "exponential_", "bernoulli_", "geometric_", "cauchy_"]
)
_METADATA = frozenset(["set_", "resize_", "detach_", "resize_as_"])
# They update running statistics, and their schema does not say so.
_UNDECLARED = {"native_batch_norm": (3, 4), "cudnn_batch_norm": (3, 4), "miopen_batch_norm": (3, 4)}
# For integers (token numbers) only these carry dependence on: they route entries.
_ROUTING = frozenset(
    [
        "cat",
        "stack",
        "index",
        "index_select",
        "gather",
        "take",
        "clone",
        "_to_copy",
        "copy_",
        "flip",
        "roll",
        "repeat",
        "constant_pad_nd",
        "lift_fresh",
        "where",
        "masked_fill",
        "index_put",
        "scatter",
    ]
)

RENUMBERING = frozenset(
    [
        "add",
        "sub",
        "rsub",
        "mul",
        "remainder",
        "fmod",
        "clamp",
        "clamp_min",
        "clamp_max",
        "abs",
        "neg",
        "floor_divide",
        "minimum",
        "maximum",
        "bitwise_and",
        "bitwise_xor",
        "bitwise_or",
        "bitwise_left_shift",
        "bitwise_right_shift",
    ]
)
"""On integers these give each entry another number, as offsets into a joint table or hashes into a small one do."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What matters of an op to the recorder.

    name      the functional packet, "aten.relu" for relu_ too
    function  a functional callable that replays it
    writes    the arguments that it writes: a position, or the name of a keyword
    form      inplace: returns what it wrote. out: the same, and did not read it. mixed: returns other tensors.
              metadata: changes how a tensor shows its storage, not what lies there.
    composite  made of other ops: seen as one only where autograd is off altogether, as in inference mode
    """

    name: str
    base: str
    function: Callable[..., Any]
    writes: tuple[int | str, ...]
    form: Form
    overwrites: bool
    constant: bool
    steps: bool
    routes: bool
    renumbers: bool
    random: bool
    view: bool
    composite: bool

    def targets(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
        """Return the tensors that a call writes. Batch norm writes its running statistics only when it trains."""
        found: list[Tensor] = []
        if self.base in _UNDECLARED and not (len(args) > 5 and args[5]):
            return found
        for key in self.writes:
            value = kwargs.get(key) if isinstance(key, str) else args[key] if key < len(args) else None
            found += [t for t in (value if isinstance(value, list | tuple) else (value,)) if isinstance(t, Tensor)]
        return found

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return the arguments that a call reads. What it overwrites it does not read, unless it is given twice."""
        if not self.overwrites:
            return args, kwargs
        kept = tuple(argument for place, argument in enumerate(args) if place not in self.writes)
        return kept, {name: argument for name, argument in kwargs.items() if name not in self.writes}


@dataclass(frozen=True)
class OnCopies:
    """Replays an op that has no functional counterpart: it writes to copies. Returns what the op returns."""

    function: Callable[..., Any]
    writes: tuple[int | str, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = [a.clone() if i in self.writes and isinstance(a, Tensor) else a for i, a in enumerate(args)]
        named = {k: a.clone() if k in self.writes and isinstance(a, Tensor) else a for k, a in kwargs.items()}
        return self.function(*given, **named)


def _written(function: OpOverload) -> tuple[int | str, ...]:
    declared = tuple(
        argument.name if argument.kwarg_only else i
        for i, argument in enumerate(function._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    return declared or _UNDECLARED.get(function._schema.name.removeprefix("aten::"), ())


def _form(function: OpOverload, base: str, writes: tuple[int | str, ...]) -> Form:
    if base in _METADATA or torch.Tag.inplace_view in function.tags:
        return "metadata"
    if not writes:
        return "plain"
    returns = function._schema.returns
    if returns and any(r.alias_info is None or not r.alias_info.is_write for r in returns):
        return "mixed"
    return "out" if function._schema.arguments[-1].is_out else "inplace"


def _functional_base(base: str) -> str:
    if base.startswith("__i") and base.endswith("__"):
        return "__" + base[3:]
    return base[:-1] if base.endswith("_") and not base.endswith("__") else base


def _counterpart(function: OpOverload, functional: str, form: Form) -> Callable[..., Any] | None:
    """Find the op that computes the same and writes nothing: the same arguments but for those of `out=`."""
    packet = getattr(getattr(torch.ops, function.namespace), functional, None)
    if packet is None:
        return None
    wanted = [(a.name, str(a.type)) for a in function._schema.arguments if not a.is_out]
    for overload in packet.overloads():
        candidate = getattr(packet, overload)
        arguments = candidate._schema.arguments
        if [(a.name, str(a.type)) for a in arguments] == wanted and not any(a.is_out or _writes(a) for a in arguments):
            return candidate
    return None


def _writes(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


@cache
def facts_of(function: OpOverload) -> Facts:
    """Return what is known of an op. Cached: reading a schema costs more than recording an op."""
    namespace, _, base = function._schema.name.partition("::")
    writes = _written(function)
    form = _form(function, base, writes)
    functional, replay = base, function
    if form in ("inplace", "out", "metadata"):
        functional = _functional_base(base)
        replay = _counterpart(function, functional, form) or OnCopies(function, writes)
    elif form == "mixed":
        replay = OnCopies(function, writes)
    return Facts(
        name=f"{namespace}.{functional}",
        base=base,
        function=replay,
        writes=writes,
        form=form,
        overwrites=form == "out" or base in _OVERWRITING,
        constant=base in _CONSTANT,
        steps=base in _STEPS,
        routes=base in _ROUTING or functional in _ROUTING or function.is_view,
        renumbers=functional in RENUMBERING,
        random=torch.Tag.nondeterministic_seeded in function.tags,
        view=function.is_view,
        # Torch's own kernels only: some ops that are no composites have a decomposition in Python beside.
        composite=torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CompositeImplicitAutograd"),
    )
