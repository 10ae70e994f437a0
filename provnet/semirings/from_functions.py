"""A user's own semiring: two torch functions, zero and one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from provnet.errors import LawError, OptionError
from provnet.semirings.base import Semiring
from provnet.semirings.law_check import check_laws
from provnet.semirings.scalar import checked, on_tensors

Operation = Callable[[Tensor, Tensor], Tensor]
FLAGS = ("idempotent", "absorptive", "times_idempotent", "naturally_ordered", "selective", "commutative")


class MadeSemiring(Semiring):
    """A semiring of given functions, evaluated by the general fold. Made by `make`."""

    def __init__(self, name: str, plus: Operation, times: Operation) -> None:
        self.name, self._plus, self._times = name, plus, times
        self.carrier: Tensor | None = None

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self._plus(x, y)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return self._times(x, y)

    def outside(self, x: Tensor) -> str | None:
        if self.carrier is None:
            return super().outside(x)
        same = x.unsqueeze(x.dim() - len(self.element_shape)) == self.carrier.to(x)
        width = len(self.element_shape)
        member = (same.flatten(same.dim() - width).all(-1) if width else same).any(-1)
        return None if bool(member.all()) else f"it holds {self.carrier.tolist()}"

    def __repr__(self) -> str:
        return f"make(name={self.name!r})"


def make(
    plus: Operation,
    times: Operation,
    zero: float | int | bool | Tensor,
    one: float | int | bool | Tensor,
    *,
    name: str = "made",
    dtype: torch.dtype | None = None,
    annotation: str = "identity",
    examples: Sequence[Any] = (),
    scalar: tuple[str, str] | None = None,
    carrier: Sequence[Any] | None = None,
    **flags: bool,
) -> Semiring:
    """Return the semiring (plus, times, zero, one) of two elementwise torch functions.

    Args: `dtype` None means the evaluation's floating dtype. `zero` and `one` are numbers, or tensors of the shape of
    one element, which then lies on the trailing axes. `examples` are more elements to check the laws on;
    `carrier` lists all elements of a finite semiring, and then no others are tried. `scalar` says
    plus and times once more as expressions of two numbers x and y (see `semirings.scalar`); kernels are generated from
    it where numba or Triton is there; on VGG-16 they took a thirtieth of the functions' time.
    `annotation` is the name of the Θ that it takes by default. `flags`: idempotent, absorptive, times_idempotent,
    naturally_ordered, selective (default False), commutative (default True).
    State one only if it holds: simplification and the fast routes rely on it.
    Raises: `LawError` if a law fails on zero, one, what plus and times make of them, or `examples`: a zero that does
    not annihilate, a false flag. `DTypeError` if an operation changes the dtype. `OptionError` for an unknown flag, and
    if `scalar` is not what the functions do to those elements.

    >>> widest = make(torch.maximum, torch.minimum, float("-inf"), float("inf"), name="widest", idempotent=True,
    ...               scalar=("max(x, y)", "min(x, y)"))
    """
    made = MadeSemiring(name, plus, times)
    made.zero, made.one, made.dtype = zero, one, dtype
    made.annotation, made.examples = annotation, tuple(examples if carrier is None else carrier)
    if isinstance(zero, Tensor) or isinstance(one, Tensor):
        made.element_shape = tuple(torch.as_tensor(zero if isinstance(zero, Tensor) else one).shape)
    for flag, value in flags.items():
        if flag not in FLAGS:
            raise OptionError(f"{flag!r} is no flag of a semiring. There are {', '.join(FLAGS)}.")
        setattr(made, flag, bool(value))
    try:
        check_basics(made, closed=carrier is not None)
        made.wraps = carrier is None and adds(made)
    except IndexError as error:
        raise OptionError(
            f"plus or times of {name!r} raised {error}: the check tries zero, one, what they make, `examples`, and 3. "
            "Of a finite semiring, list the elements: carrier=range(n); then only those are tried."
        ) from error
    except RuntimeError as error:
        raise LawError(
            f"plus or times of {name!r} raised on elements [n, *element_shape] or [m, n, *element_shape]: {error}. "
            "They must take any number of leading axes, as torch.matmul does and torch.bmm does not."
        ) from error
    if carrier is not None:
        made.carrier = made.exact_values()
    if scalar is not None:
        check_scalar(made, scalar)
        made.scalar = scalar
    return made


def check_scalar(semiring: Semiring, texts: tuple[str, str]) -> None:
    """Check that expressions of x and y do what plus and times do, on all pairs of known elements, to the bit.

    Raises: `OptionError` for a text that is no such expression, or one that gives something else; it names the pair.
    """
    if semiring.element_shape or not semiring.element_dtype(torch.float64).is_floating_point:
        raise OptionError(f"scalar={texts!r}: kernels are generated for semirings of single floating-point numbers.")
    known = semiring.exact_values()
    tree_names = frozenset({"x", "y"})
    x, y = known.repeat_interleave(len(known)), known.repeat(len(known))
    for text, operation in zip(texts, (semiring.plus, semiring.times), strict=True):
        found, wanted = on_tensors(checked(text, tree_names), {"x": x, "y": y}), operation(x, y)
        # 0 times infinity is NaN in a text, and the function's own business.
        bad = ((found != wanted) & ~(found.isnan() & wanted.isnan())).nonzero().flatten().tolist()
        if bad:
            one, other, at = float(x[bad[0]]), float(y[bad[0]]), bad[0]
            raise OptionError(
                f"scalar={text!r} gives {float(found[at]):g} for x = {one:g} and y = {other:g}, where the function "
                f"gives {float(wanted[at]):g}. Say the same, or leave scalar out."
            )


def adds(semiring: Semiring) -> bool:
    """Return whether the elements are int64 whose plus is addition, which wraps: max, min and bitwise or do not."""
    if semiring.dtype != torch.int64 or semiring.element_shape:
        return False
    three = torch.tensor([3])
    return bool(semiring.plus(three, three) == 6)


def check_matrices(semiring: Semiring, known: Tensor) -> None:
    """Check that square elements commute where the semiring says so: on matrices with one entry of `one`.

    Zero and one commute with everything, so they cannot show that a matrix product does not. Raises `LawError`.
    """
    shape = semiring.element_shape
    if not semiring.commutative or len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        return
    zero, one = known[0], known[1]
    upper, lower = zero.clone(), zero.clone()
    upper[0, 1], lower[1, 0] = one[0, 0], one[0, 0]
    first, second = semiring.times(upper[None], lower[None]), semiring.times(lower[None], upper[None])
    if not torch.equal(first, second):
        raise LawError(
            f"the semiring {semiring.name!r} breaks commutativity of ⊗, x ⊗ y = y ⊗ x, at "
            f"x = {upper.tolist()}, y = {lower.tolist()}: {first[0].tolist()} against {second[0].tolist()}. State "
            "commutative=False, or mend times."
        )


def check_basics(semiring: Semiring, closed: bool = False) -> None:
    """Check the laws on zero, one, `examples`, and, unless `closed`, what plus and times make of zero and one.

    Raises as `check_laws`.
    """
    known = semiring.exact_values()
    zero, one = known[:1], known[1:2]
    semiring.plus(known[:, None], known[None])
    semiring.times(known[:, None], known[None])
    if closed:
        check_laws(semiring, known)
        return
    check_matrices(semiring, known)
    if known.dtype.is_floating_point or known.dtype in (torch.int64, torch.int32):
        two = semiring.plus(one, one)
        derived = [two, semiring.plus(two, one), semiring.times(two, two), semiring.times(zero, zero)]
    else:
        derived = [semiring.times(zero, zero)]
    same_kind = [x for x in derived if x.dtype == known.dtype and x.shape == one.shape]
    check_laws(semiring, torch.cat([known, *same_kind]))
