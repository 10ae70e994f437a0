"""The functions of unit edges that a file may name: from one entry to one entry, without memory, without effects.

A traced circuit may hold other calls, of the user's own ops; what a file says is run only if it stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from provnet.circuit.blocks import Block, BlockCircuit, Call, Earlier, Input

_FUNCTIONS = (
    "_prelu_kernel _to_copy abs acos acosh alias arctan asin asinh atan atan2 atanh ceil celu clamp clamp_max "
    "clamp_min clone contiguous copysign cos cosh deg2rad detach digamma div elu erf erfc erfinv exp exp2 expm1 "
    "fake_quantize_per_tensor_affine floor fmax fmin fmod frac gelu hardshrink hardsigmoid hardswish hardtanh "
    "hypot i0 ldexp leaky_relu lgamma lift lift_fresh log log10 log1p log2 log_sigmoid log_sigmoid_forward logit "
    "maximum minimum mish mul mvlgamma nan_to_num neg polygamma positive pow prelu rad2deg reciprocal remainder "
    "relu relu6 round rsqrt selu sgn sigmoid sign silu sin sinc sinh softplus softshrink softsign special_entr "
    "special_expit special_i1 special_i1e special_log_ndtr special_ndtr special_ndtri "
    "sqrt square tan tanh tanhshrink threshold true_divide trunc"
)
FUNCTIONS = frozenset(_FUNCTIONS.split())
"""ATen ops, without the overload."""

STEPS = FUNCTIONS | frozenset({"add", "sub", "rsub"})
"""What a function that takes several ops may be made of."""

ROW_STEPS = STEPS | frozenset({"linalg_vector_norm", "mean", "norm", "std", "std_mean", "sum", "var", "var_mean"})
"""What a function that mixes the entries of a row, and takes several ops, may be made of."""

ROW_FUNCTIONS = frozenset(
    {
        *("_softmax", "_safe_softmax", "softmax", "_log_softmax", "log_softmax"),
        *("native_layer_norm", "layer_norm", "native_group_norm", "group_norm", "_fused_rms_norm", "rms_norm"),
        "native_batch_norm",
    }
)
"""ATen ops that mix the entries of a row, whose derivative is taken by running them again."""

_OVERLOADS = "default int Tensor Scalar Tensor_Scalar Tensor_Tensor Tensor_mode Scalar_mode Scalar_Tensor decimals "
_OVERLOADS += "dim dim_IntList correction ScalarOpt_dim"
OVERLOADS = frozenset(_OVERLOADS.split())
"""Those that return a new tensor. The others write into one, or draw."""

LONGEST = 64
"""The most ops that a function may take."""

LARGEST = 1 << 53
"""The largest number that a file may give to a function: above it floats are no longer whole numbers apart."""


def may_run(call: Call) -> bool:
    """Return whether a file may hold this call."""
    return not any(call_faults(call))


def without_own_functions(circuit: BlockCircuit) -> BlockCircuit:
    """Return a circuit whose calls a file may hold: unit edges of a user's own ops forget how they are run.

    They still pass relevance on; rules that want their derivative say that it is not known.
    """
    return replace(circuit, blocks=tuple(map(_without_own_function, circuit.blocks)))


def _without_own_function(block: Block) -> Block:
    forms = {name: _without_own_function(form) for name, form in block.forms.items()}
    call = block.call if block.call is None or may_run(block.call) else None
    if call is block.call and all(forms[name] is form for name, form in block.forms.items()):
        return block
    return replace(block, call=call, forms=forms)


def call_faults(call: Call) -> Iterator[str]:
    """Yield why a call is not one of a function of unit edges with plain arguments."""
    yield from _steps_faults(call, STEPS) if call.before else _faults(call, FUNCTIONS | ROW_FUNCTIONS)


def row_call_faults(call: Any) -> Iterator[str]:
    """Yield why a call is not one of a function that mixes the entries of a row, with plain arguments."""
    if not isinstance(call, Call):
        yield f"{call!r} is no call"
    else:
        yield from _steps_faults(call, ROW_STEPS) if call.before else _faults(call, ROW_FUNCTIONS)


def _steps_faults(call: Call, known: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with a function that takes several ops."""
    if len(call.before) >= LONGEST or any(step.before for step in call.before):
        yield f"its function {call.op} is no list of less than {LONGEST} ops"
    for number, step in enumerate((*call.before, call)):
        yield from _step_faults(step, number, known)


def _step_faults(step: Call, number: int, known: frozenset[str]) -> Iterator[str]:
    """Yield what is wrong with the step `number` of a function that takes several ops."""
    yield from _name_faults(step, known)
    given = [*step.args, *step.kwargs.values()]
    if not any(isinstance(value, Input | Earlier) for value in given):
        yield f"its step {step.op} depends on nothing"
    if any(isinstance(value, Earlier) and not (0 <= value.number < number and value.result > -1) for value in given):
        yield f"its step {step.op} reads a step that does not come before it"
    yield from _argument_faults(step, given)


def _faults(call: Call, known: frozenset[str]) -> Iterator[str]:
    if named := list(_name_faults(call, known)):
        yield from named
        return
    given = [*call.args, *call.kwargs.values()]
    count = sum(isinstance(value, Input) for value in given)
    if count < 1 or (count > 1 and call.op.removeprefix("aten.") in ROW_FUNCTIONS):
        yield f"its function {call.op} wants its input once"
    yield from _argument_faults(call, [value for value in given if not isinstance(value, Input)])


def _name_faults(call: Call, known: frozenset[str]) -> Iterator[str]:
    if call.op.removeprefix("aten.") not in known or call.overload not in OVERLOADS:
        yield f"its function {call.op}.{call.overload} is none that a file may name"


def _argument_faults(call: Call, given: list[Any]) -> Iterator[str]:
    if not all(isinstance(value, Input | Earlier) or _plain(value) for value in given):
        yield f"its function {call.op} has an argument that is no plain number, text or tensor"


def _plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_plain(part) for part in value)
    if isinstance(value, int | float):
        return not abs(value) > LARGEST or value in (float("inf"), float("-inf"))
    return value is None or isinstance(value, str) or hasattr(value, "numel")
