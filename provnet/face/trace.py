"""From a model and its input to a `Circuit`, and the whole way in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from provnet.capture.record import record
from provnet.errors import OptionError
from provnet.face.circuit import Circuit, SemiringLike
from provnet.face.relevance import Relevance
from provnet.face.targets import Target
from provnet.rules.build import build
from provnet.torch_backend.ambient import plain_torch


def trace(
    model: Callable[..., Any],
    *args: Any,
    sources: Any = None,
    opaque: Iterable[Any] | Mapping[Any, Any] = (),
    batch_dim: int = 0,
    batch_norm: Literal["fused", "kept"] = "fused",
    check_batch: bool = False,
    lean: bool = False,
    copy: bool = False,
    model_kwargs: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Circuit:
    """Run `model(*args)` once and return its provenance circuit; the model is left as it was.

    sources      names of the inputs to explain; default: every floating tensor among the arguments.
    opaque       modules to keep whole: names or modules, or a mapping to "identity", "uniform", "jacobian" or a
    function. batch_dim    the axis of the sources that carries examples.
    batch_norm   "fused": in evaluation, one affine map with the linear map before it; "kept": a block of its own.
    check_batch  replay with NaN in half of the examples to prove that examples do not mix.
    copy         own copies of the weights, so that the model may change afterwards.
    model_kwargs, **kwargs   keyword arguments of the model (model_kwargs for names that `trace` takes itself).

    Raises: `InputError`, `NonFiniteError`, `TrainingModeError`, `MissingRuleError`, `CrossExampleError` and their kin.
    Example: `circuit = provnet.trace(model, torch.rand(8, 784))`
    """
    if batch_norm not in ("fused", "kept"):
        raise OptionError(f"batch_norm={batch_norm!r} is unknown; take 'fused' or 'kept'.")
    if lean:
        raise OptionError(
            "lean=True (activations recomputed instead of kept) is not there yet; trace fewer examples at a time."
        )
    execution = record(
        model,
        *args,
        sources=sources,
        opaque=opaque,
        batch_dim=batch_dim,
        check_batch=check_batch,
        copy=copy,
        model_kwargs={**kwargs, **(model_kwargs or {})},
    )
    with plain_torch():
        return Circuit(build(execution, batch_norm))


def explain(
    model: Callable[..., Any],
    *args: Any,
    semiring: SemiringLike = "viterbi",
    target: Target = "predicted",
    **options: Any,
) -> Relevance:
    """Trace and evaluate in one call: `provnet.explain(model, x, semiring="viterbi", target=3).inputs`.

    `options` go to `Circuit.evaluate`; trace yourself for what `trace` takes, or to ask more than one question.
    """
    return trace(model, *args).evaluate(semiring, target=target, **options)
