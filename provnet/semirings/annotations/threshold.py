"""One where the coefficient reaches a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import SupportsFloat

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.annotations.by_path import choose
from provnet.semirings.base import Semiring


@register("threshold")
class Threshold(Annotation):
    """Θ(d) = 1 iff d >= θ, else 0: for Boolean, counting and their kin. Source: GSM25 section 3.2, Gro24 2.2.1.

    theta     one number, or a mapping of paths or globs -> number for blocks that differ; `default` for the others.
    strict    d > θ instead. absolute: |d| instead of d. default: θ where no pattern of the mapping fits.
    θ is rounded to the dtype of d (the nearest float, so that θ = 0.7 admits d = 0.7 in float32 too), but never to 0:
    a positive θ below the smallest float still refuses d = 0.
    Raises: `OptionError` for a θ that is NaN or no number.
    """

    form = "threshold"

    def __init__(
        self,
        theta: float | Mapping[str, float] = 1e-9,
        *,
        strict: bool = False,
        absolute: bool = False,
        default: float = 1e-9,
    ) -> None:
        self.by_path: dict[str, float] = {}
        if isinstance(theta, Mapping):
            self.by_path = {str(pattern): number(value, f"θ of {pattern!r}") for pattern, value in theta.items()}
            theta = default
        self.theta = number(theta, "θ")
        self.strict, self.absolute = strict, absolute

    def at(self, path: str) -> Threshold:
        """Return the annotation function of the block `path`, with one θ."""
        if not self.by_path:
            return self
        return type(self)(choose(self.by_path, path, self.theta), strict=self.strict, absolute=self.absolute)

    def patterns(self) -> tuple[str, ...]:
        return tuple(self.by_path)

    def rounded(self, dtype: torch.dtype) -> float:
        """Return θ as the number of `dtype` that d is compared with."""
        near = torch.tensor(self.theta, dtype=torch.float64).to(dtype).item()
        if near == 0 and self.theta != 0 and (self.theta < 0) == self.strict:
            tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
            return tiny if self.theta > 0 else -tiny
        return near

    def passes(self, d: Tensor) -> Tensor:
        """Return where coefficients d pass, a mask of the same shape. Raises `OptionError` if θ differs by layer."""
        if self.by_path:
            raise OptionError(f"θ differs by layer ({', '.join(self.by_path)}). Choose one first: at(path).")
        d, theta = (d.abs() if self.absolute else d), self.rounded(d.dtype)
        return d > theta if self.strict else d >= theta

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        passes = self.passes(edges.d)
        if not semiring.element_shape and semiring.zero == 0 and semiring.one == 1:
            return passes.to(dtype)
        like = torch.empty((), dtype=dtype, device=passes.device)
        one, zero = semiring.full((), semiring.one, like), semiring.full((), semiring.zero, like)
        return torch.where(passes[(...,) + (None,) * len(semiring.element_shape)], one, zero)

    def __repr__(self) -> str:
        theta = {**self.by_path, "default": self.theta} if self.by_path else self.theta
        options = "".join(f", {name}=True" for name in ("strict", "absolute") if getattr(self, name))
        return f"{type(self).__name__}({theta}{options})"


def number(value: SupportsFloat, what: str) -> float:
    """Return `value` as a float. Raises `OptionError` if it is NaN or no number."""
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{what} is {value!r}; give a number, or a mapping of paths to numbers.") from error
    if isnan(found):
        raise OptionError(f"{what} is NaN, which no coefficient reaches; give a number.")
    return found
