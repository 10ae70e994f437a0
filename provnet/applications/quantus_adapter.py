"""provnet as an explanation function for Quantus, whose metrics then judge any semiring and rule.

Quantus calls `explain_func(model=…, inputs=…, targets=…, **explain_func_kwargs)` with numpy arrays, and takes an array
of the shape of the inputs. Nothing of Quantus is imported here: it is the optional extra `quantus`.
Source: Hedström et al. 2023, Quantus: an explainable AI toolkit, JMLR 24(34).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provnet.errors import InputError, OptionError
from provnet.face import trace
from provnet.semirings.base import Semiring
from provnet.semirings.lookup import get as get_semiring

Explainer = Callable[..., NDArray[np.floating[Any]]]


def explanation_function(semiring: str | Semiring = "real", **options: Any) -> Explainer:
    """Return a function for Quantus' `explain_func=`: the relevance of inputs in a semiring.

    semiring   by name or object. Costs c (tropical) come back as exp(−c), 0 where there is no path, so that high is
               relevant and not all is negative, as Quantus demands.
    options    for `Circuit.evaluate` (rule=, annotation=, …). `explain_func_kwargs` add to them, and win.
    The model is traced anew at each call, for Quantus' metrics change inputs and even weights.
    Raises: `OptionError` for a semiring whose elements are no numbers, here or in `explain_func_kwargs`.
    Example: `quantus.PixelFlipping()(model, x, y, explain_func=explanation_function("viterbi"))`
    """
    _numbers(get_semiring(semiring))

    def explain_func(model: Any, inputs: Any, targets: Any, **given: Any) -> NDArray[np.floating[Any]]:
        asked = {"semiring": semiring, **options, **given}
        asked.pop("device", None)  # Quantus passes its own along; inputs go where the model is.
        algebra = get_semiring(asked.pop("semiring"))
        _numbers(algebra)
        like = next(model.parameters(), torch.zeros(()))
        x = torch.as_tensor(np.asarray(inputs)).to(like.device, like.dtype)
        classes = torch.as_tensor(np.asarray(targets)).reshape(-1)
        if len(classes) != len(x) or classes.is_floating_point():
            raise InputError(
                f"targets of shape {list(np.shape(targets))} came for {len(x)} examples; expected one class for each."
            )
        found = trace(model, x).evaluate(algebra, classes.tolist(), **asked).inputs
        return _high_is_relevant(algebra, found).detach().cpu().numpy()

    return explain_func


def _numbers(semiring: Semiring) -> None:
    if semiring.element_shape or isinstance(semiring.zero, torch.Tensor):
        raise OptionError(f"elements of {semiring.name!r} are no numbers, which Quantus ranks. Take another semiring.")


def _high_is_relevant(semiring: Semiring, found: Any) -> torch.Tensor:
    """Return relevance as finite floats in which high is relevant."""
    values = torch.as_tensor(found)
    values = values if values.is_floating_point() else values.double()
    if semiring.zero == float("inf"):
        return (-values).exp()
    finite = torch.isfinite(values)
    lowest = values[finite].min() - 1 if bool(finite.any()) else values.new_zeros(())
    return torch.where(finite, values, lowest)
