"""One where the coefficient, or the share of the strongest input, reaches a threshold."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Literal, SupportsFloat

import torch
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings.annotations.base import Annotation, Edges, register
from provnet.semirings.annotations.by_path import choose
from provnet.semirings.annotations.max_normalised import largest, max_normalised
from provnet.semirings.base import Semiring


@register("threshold")
class Threshold(Annotation):
    """Θ(d) = 1 iff d >= θ, else 0: for Boolean, counting and their kin. Source: GSM25 section 3.2, Gro24 2.2.1.

    theta     one number, or a mapping of paths or globs -> number for blocks that differ; `default` for the others.
    strict    d > θ instead. absolute: |d| instead of d. default: θ where no pattern of the mapping fits.
    of        "coefficient": d. "share": |p_jk| / max_j' |p_j'k| over the neuron's whole set of inputs, bias included, a
              number from 0 to 1; it does not depend on cancellation in z. Where all contributions are 0 none passes.
    θ is rounded to the dtype of d (the nearest float, so that θ = 0.7 admits d = 0.7 in float32 too), but never to 0:
    a positive θ below the smallest float still refuses d = 0.
    Raises: `OptionError` for a θ that is NaN or no number, or for shares not from 0 to 1, or an unknown `of`.
    Example: `circuit.evaluate("boolean", annotation=Threshold(0.8, of="share"))`
    """

    form = "threshold"

    def __init__(
        self,
        theta: float | Mapping[str, float] = 1e-9,
        *,
        strict: bool = False,
        absolute: bool = False,
        default: float = 1e-9,
        of: Literal["coefficient", "share"] = "coefficient",
    ) -> None:
        self.by_path: dict[str, float] = {}
        if isinstance(theta, Mapping):
            self.by_path = {str(pattern): number(value, f"θ of {pattern!r}") for pattern, value in theta.items()}
            theta = default
        self.theta = number(theta, "θ")
        if of not in ("coefficient", "share"):
            raise OptionError(f"of={of!r} is unknown; a threshold is of the 'coefficient' or of the 'share'.")
        self.of: Literal["coefficient", "share"] = of
        self.uses = "p" if of == "share" else "d"
        self.strict, self.absolute = strict, absolute or of == "share"  # shares have no sign
        for value in (self.theta, *self.by_path.values()):
            if of == "share" and not 0 <= value <= 1:
                raise OptionError(f"θ is {value}, and shares go from 0 to 1: give a number among them.")

    def at(self, path: str) -> Threshold:
        """Return the annotation function of the block `path`, with one θ."""
        if not self.by_path:
            return self
        theta = choose(self.by_path, path, self.theta)
        return type(self)(theta, strict=self.strict, absolute=self.absolute, of=self.of)

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
        """Return where coefficients d (or shares) pass, a mask of the same shape.

        Raises: `OptionError` if θ differs by layer.
        """
        if self.by_path:
            raise OptionError(f"θ differs by layer ({', '.join(self.by_path)}). Choose one first: at(path).")
        d, theta = (d.abs() if self.absolute else d), self.rounded(d.dtype)
        return d > theta if self.strict else d >= theta

    def measured(self, edges: Edges) -> Tensor:
        """Return what is compared with θ, [..., slots]."""
        return max_normalised(edges) if self.of == "share" else edges.d

    def lost(self, edges: Edges) -> Tensor | None:
        """Return where a neuron loses its whole relevance: none of its inputs has a coefficient, or a share."""
        if self.of == "coefficient":
            return super().lost(edges)
        silent = largest(edges) == 0
        return silent if bool(silent.any()) else None

    def value(self, edges: Edges, semiring: Semiring, dtype: torch.dtype) -> Tensor:
        passes = self.passes(self.measured(edges))
        if self.of == "share":
            passes &= (largest(edges) > 0).unsqueeze(-1)  # shares of nothing reach no θ, not even 0
        if not semiring.element_shape and semiring.zero == 0 and semiring.one == 1:
            return passes.to(dtype)
        like = torch.empty((), dtype=dtype, device=passes.device)
        one, zero = semiring.full((), semiring.one, like), semiring.full((), semiring.zero, like)
        return torch.where(passes[(...,) + (None,) * len(semiring.element_shape)], one, zero)

    def __repr__(self) -> str:
        theta = {**self.by_path, "default": self.theta} if self.by_path else self.theta
        signs = ("strict",) if self.of == "share" else ("strict", "absolute")
        options = "".join(f", {name}=True" for name in signs if getattr(self, name))
        options += ", of='share'" if self.of == "share" else ""
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
