"""What a compiled contraction does at each edge: one expression of numbers, from which kernels are generated."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from provnet.errors import OptionError
from provnet.semirings import scalar

SMALL, LARGE = 2.0**-70, 2.0**40
"""The ends of what is `ordinary`: neither a quotient nor what is left of a division is denormal between them."""

NAMES = frozenset({"v", "a", "w", "s0", "s1", "s2", "c0", "c1"})


@dataclass(frozen=True)
class Body:
    """v ← update at every edge (j, k) whose far end is reached, in the order of k within a fixed blocking.

    v       the element of the near end so far, from the contraction's `zero` on
    a       the near end's activation (only if `near` says so)
    w       the edge's weight
    s0, s1, s2
            numbers of the far end: `scalars` says how many there are. Three are for `Engine.in_registers` alone
    c0, c1  numbers of the whole contraction
    join    v and s0, two folds of different edges, as one; None if the body cannot tell
    unreached
            scalars with which `update` gives v back, whatever finite a and w are: a GPU gives them to far ends that are
            not reached, and saves a test at every edge. None if there are none
    ordinary
            whether p = a w, where it is not near 0, and s0 lie between SMALL and LARGE in size. Then a quotient by s0
            may be made of products, to the same bits; where |p| is less, of what is at most SMALL / s0 in size
    The near end is the input when relevance is pulled, the output when contributions are pushed forward.
    `update` may not depend on the order of edges beyond rounding.
    """

    name: str
    update: str
    scalars: int = 1
    near: bool = False
    join: str | None = None
    unreached: tuple[float, ...] | None = None
    ordinary: bool = False
    tree: ast.expr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", checked(self.update))
        if self.join is not None:
            checked(self.join, frozenset({"v", "s0"}))
        if self.unreached is not None and not len(self.unreached) == self.scalars > 0:
            raise OptionError(
                f"unreached={self.unreached} of body {self.name!r} should be {self.scalars} numbers, or None."
            )


def checked(text: str, names: frozenset[str] = NAMES) -> ast.expr:
    """Return the syntax tree of a body's expression. Raises `OptionError` (see `semirings.scalar`)."""
    return scalar.checked(text, names)


COEFFICIENT, CONTRIBUTION = ast.parse("a * w / s0", mode="eval").body, ast.parse("a * w", mode="eval").body


def edge_body(
    name: str, plus: str, times: str, element: str, unreached: tuple[float, float] | None = None, ordinary: bool = False
) -> Body:
    """Return the definition itself: v ⊕ Θ(d) ⊗ R, with p = a w, d = p / s0, and s1 the relevance R.

    plus, times   expressions of x and y; element   one of p, d, c0, c1, and m, by which s0 stands for the neuron's
    largest contribution instead of its denominator.   unreached, ordinary   see `Body`
    """
    names = frozenset({"x", "y"})
    parts: dict[str, ast.expr] = {"d": COEFFICIENT, "p": CONTRIBUTION, "m": ast.Name("s0", ast.Load())}
    theta = scalar.substituted(scalar.checked(element, frozenset({"p", "d", "m", "c0", "c1"})), parts)
    relevance, so_far = ast.Name("s1", ast.Load()), ast.Name("v", ast.Load())
    message = scalar.substituted(scalar.checked(times, names), {"x": theta, "y": relevance})
    update = scalar.substituted(scalar.checked(plus, names), {"x": so_far, "y": message})
    joined = scalar.substituted(scalar.checked(plus, names), {"x": so_far, "y": ast.Name("s0", ast.Load())})
    return Body(
        name,
        ast.unparse(update),
        scalars=2,
        near=True,
        join=ast.unparse(joined),
        unreached=unreached,
        ordinary=ordinary,
    )


# Of their v, which starts from 0 or more, 0 * w takes nothing away.
MAX_TIMES = Body("max_times", "max(v, s0 * w)", join="max(v, s0)", unreached=(0.0,))
MAX_TIMES_ABS = Body("max_times_abs", "max(v, s0 * abs(w))", join="max(v, s0)", unreached=(0.0,))
# An edge's score in one go, whatever the sign of a; of far ends that are not reached 0 * inf may be NaN, which no
# maximum takes.
SCORE = Body("score", "max(v, a * w * s0)", near=True, join="max(v, s0)", unreached=(0.0,))
