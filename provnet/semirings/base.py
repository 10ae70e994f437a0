"""What a semiring is: an algebra on tensors. Subclass it in one file; state a flag only if it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provnet.errors import DTypeError, UnsupportedOperationError, ValuationError
from provnet.notebook import card
from provnet.registry import SEMIRING_SHELVES, Registry
from provnet.semirings.scalar import FAMILIES, FOLDS, operation

SYNONYMS = {
    "max-plus": ("arctic",),
    "łukasiewicz": ("lukasiewicz",),
    "bool": ("boolean",),
    "or-and": ("boolean",),
    "count": ("counting",),
    "natural": ("counting",),
    "naturals": ("counting",),
    "nat": ("counting",),
    "reals": ("real",),
    "sum-product": ("real", "non-negative"),
    "probability": ("real", "non-negative"),
    "max-product": ("viterbi", "max-times"),
    "max-min": ("bottleneck", "fuzzy"),
    "min-max": ("security",),
    "log-sum-exp": ("log",),
    "integer": ("counting", "modular-integer"),
    "integers": ("counting", "modular-integer"),
}
"""What papers and other tools call the semirings."""

REGISTRY: Registry[type[Semiring]] = Registry("semiring", SYNONYMS, SEMIRING_SHELVES)
FINITE = torch.finfo(torch.float64).max
S = TypeVar("S", bound="type[Semiring]")
Overflow = Literal["raise", "float64", "exact", "promote"]
"""How counts are held that outgrow a machine word: see `Counting`."""


def register(name: str) -> Callable[[S], S]:
    """Return a decorator that files a class under `name`, and tells the class its name. Raises `OptionError`."""

    def file(entry: S) -> S:
        entry.name = name
        REGISTRY.register(name)(entry)
        return entry

    return file


def fingerprint(value: object) -> object:
    """Return what tells two attribute values apart: of a tensor its elements, for its repr is rounded and cut short."""
    if isinstance(value, Tensor):
        return (str(value.dtype), tuple(value.shape), repr(value.tolist()))
    if isinstance(value, tuple | list):
        return tuple(fingerprint(part) for part in value)
    key = getattr(value, "key", None)
    return key() if callable(key) else repr(value)


FLAGS = ("commutative", "ring", "idempotent", "absorptive", "times_idempotent", "naturally_ordered", "selective")
"""The laws beyond those of every semiring that one may state."""


class Semiring:
    """(K, plus, times, zero, one) on tensors of elements.

    An element is one number, or a small tensor on the trailing axes `element_shape`. `dtype` None means: the floating
    dtype of the evaluation. The law tests run over every registered semiring; simplification and the fast routes rely
    on the flags, each of which defaults to *no*.
    """

    name: str = ""
    zero: float | int | bool | Tensor
    one: float | int | bool | Tensor
    dtype: torch.dtype | None = None
    element_shape: tuple[int, ...] = ()
    annotation: str = "identity"
    """The name of the default annotation function."""
    question: str = ""
    """What it answers on a network with its default annotation function, one sentence for the documents."""
    examples: Sequence[Any] = ()
    """Elements for the law tests to combine."""
    exact: bool = True
    """Whether the laws hold on `examples` to the last bit, not only up to rounding."""

    family: str | None = None
    """What a fast route may take plus and times for: "sum-product", "max-times", …; None: only themselves.

    It follows from `scalar`. A subclass with a plus or times of its own does not inherit it.
    """
    scalar: tuple[str, str] | None = None
    """Plus and times of two numbers x and y, as expressions (see `semirings.scalar`). All else follows from them unless
    the class has its own: `plus`, `times`, `sum`, `family`, and the kernels that are generated.

    A subclass with a plus or times of its own does not inherit it.
    """
    bounds: tuple[float, float] | None = None
    """The least and the greatest number of the carrier, where it is an interval; `FINITE` stands for "not infinite"."""

    differentiable: bool = False
    """Whether plus, times and sum give autograd the derivatives of the algebra, none of them NaN on the carrier."""

    wraps: bool = False
    """Whether elements are int64 sums and products that would wrap in silence: the evaluator bounds them beforehand."""

    counts: bool = False
    """Whether elements are counts: whole numbers that add up, in int64, in float64 or as residues."""

    residues: bool = False
    """Whether counts among its elements are residues: an evaluation gives them primes enough, `decode` joins them."""

    commutative: bool = True
    ring: bool = False
    idempotent: bool = False  # x plus x = x
    absorptive: bool = False  # one plus x = one
    times_idempotent: bool = False  # x times x = x
    naturally_ordered: bool = False
    selective: bool = False  # x plus y is x or y

    def _repr_html_(self) -> str:
        stated = [flag for flag in FLAGS if getattr(self, flag)]
        lines = [line for line in (self.question, (type(self).__doc__ or "").strip().split("\n")[0]) if line]
        rows = [["zero", self.zero], ["one", self.one], ["default Θ", self.annotation], ["flags", ", ".join(stated)]]
        return card(repr(self), lines, ["", ""], rows)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = frozenset(vars(cls))
        changed = bool({"plus", "times"} & own)
        if changed and "scalar" not in own:
            cls.scalar = None  # else it would inherit a wrong shortcut
        if (changed or "scalar" in own) and "family" not in own:
            cls.family = None
        if "scalar" in own and cls.scalar is not None:
            _derive(cls, cls.scalar, own)
        if "plus" in own and "sum" not in own:
            cls.sum = Semiring.sum
        if {"plus", "times", "sum"} & own and "differentiable" not in own:
            cls.differentiable = False

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def sum(self, x: Tensor, dim: int) -> Tensor:
        """Fold `x` along `dim` (counted from the front) with plus, in a fixed order; `zero` over nothing.

        The general fold halves the axis, so it takes log2 steps. Subclasses may call a reduction that gives the same.
        """
        if x.shape[dim] == 0:
            shape = x.shape[:dim] + x.shape[dim + 1 :]
            return self.full(shape[: len(shape) - len(self.element_shape)], self.zero, x)
        while (size := x.shape[dim]) > 1:
            half = size // 2
            folded = self.plus(x.narrow(dim, 0, half), x.narrow(dim, half, half))
            x = torch.cat([folded, x.narrow(dim, 2 * half, 1)], dim) if size % 2 else folded
        return x.squeeze(dim)

    def element_dtype(self, floating: torch.dtype) -> torch.dtype:
        """Return the dtype of elements in an evaluation whose floating dtype is `floating`."""
        return self.dtype or floating

    def full(self, shape: tuple[int, ...] | torch.Size, element: float | int | bool | Tensor, like: Tensor) -> Tensor:
        """Return elements of `shape`, all equal to `element`, with the dtype and on the device of `like`."""
        if isinstance(element, Tensor):
            return element.to(like.device, like.dtype).expand((*shape, *self.element_shape)).clone()
        return torch.full((*shape, *self.element_shape), element, dtype=like.dtype, device=like.device)

    def exact_values(self, floating: torch.dtype = torch.float64) -> Tensor:
        """Return elements to try the laws on, [n, *element_shape]: zero, one and `examples`."""
        dtype = self.element_dtype(floating)
        like = torch.empty((), dtype=dtype)
        ends = [self.full((1,), self.zero, like), self.full((1,), self.one, like)]
        rest = [torch.tensor(example, dtype=dtype).expand(1, *self.element_shape) for example in self.examples]
        return torch.cat([*ends, *rest])

    def outside(self, x: Tensor) -> str | None:
        """Return what is wrong with elements that the carrier does not hold, None if it holds them all. One pass."""
        if not x.numel() or x.dtype == torch.bool:
            return None
        low, high = (float(end) for end in x.detach().aminmax())
        if low != low or high != high:
            return "it holds no NaN"
        least, greatest = self.bounds or (-float("inf"), float("inf"))
        if least <= low and high <= greatest:
            return None
        ends = [("finite" if abs(end) == FINITE else f"{end:g}") for end in (least, greatest)]
        return f"it holds numbers from {ends[0]} to {ends[1]}, these go from {low:g} to {high:g}"

    # -- counts outgrow every machine word. What is said here is of a semiring that holds none. ------------------------

    @property
    def largest(self) -> int:
        """The largest count up to which every count is told apart; 0 where there are none."""
        return 0

    def ladder(self) -> tuple[Semiring, ...]:
        """Return the semirings to evaluate in, one after the other: where a count does not fit, the next is tried."""
        return (self,)

    @property
    def promotes(self) -> bool:
        """Whether elements are plain counts in int64 that go on in float64 where they do not fit: the two are then the
        ladder. Subclasses that change ⊕ or ⊗ do not inherit it."""
        return False

    def held(self, overflow: Overflow) -> Semiring:
        """Return the semiring with its counts held in another way, itself if it has none.

        Of a semiring of one's own that only adds int64 there is one other way, "float64".
        """
        if not self.wraps or overflow != "float64":
            return self
        found = copy(self)
        found.dtype, found.wraps = torch.float64, False
        return found

    def with_primes(self, bits: int) -> Semiring:
        """Return the semiring with as many primes as counts below 2^bits need, itself if it holds no residues."""
        return self

    def encode(self, whole: Tensor) -> Tensor:
        """Return elements of `held("raise")`, whose counts are int64, as elements of this semiring."""
        return whole

    def decode(self, elements: Tensor) -> NDArray[Any]:
        """Return elements as an array of Python objects, counts as integers of any size: residues take no axis."""
        return np.asarray(elements.detach().cpu().numpy(), dtype=object)

    def parts(self, annotation: Any, *elements: Tensor) -> list[tuple[Semiring, Any, tuple[Tensor, ...]]]:
        """Return the semirings that are evaluated beside each other within this one, each with its Θ and its share of
        the elements: itself, unless it is a product."""
        return [(self, annotation, elements)]

    # -- what elements are allowed -------------------------------------------------------------------------------------

    def require(self, elements: Tensor, what: str) -> None:
        """Check that `elements` lie in the carrier: dtype, trailing axes, values. `what` names them in errors.

        Raises: `DTypeError`, `ValuationError`.
        """
        floating = elements.dtype if elements.is_floating_point() else torch.float64
        if elements.dtype != self.element_dtype(floating):
            raise DTypeError(f"{what} is {elements.dtype}; the semiring {self.name!r} takes {self.dtype or 'floats'}.")
        axes = len(self.element_shape)
        if elements.dim() < axes or tuple(elements.shape[elements.dim() - axes :]) != self.element_shape:
            raise ValuationError(
                f"{what} has shape {tuple(elements.shape)}; elements of {self.name!r} end in {self.element_shape}."
            )
        if problem := self.outside(elements):
            raise ValuationError(
                f"{what} leaves the carrier of the semiring {self.name!r}: {problem}. "
                f"Use its own annotation function, {self.annotation!r}, or another semiring."
            )

    def offers(self, operation: str) -> bool:
        """Return whether it has the optional operation "star", "monus" or "residual"."""
        return getattr(type(self), operation) is not getattr(Semiring, operation)

    def star(self, x: Tensor) -> Tensor:
        """Return one plus x plus x times x plus …, where it exists."""
        raise self._without("star")

    def monus(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the least d with x <= y plus d, where it exists."""
        raise self._without("monus")

    def residual(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the largest r with y times r <= x, where it exists."""
        raise self._without("residual")

    def _without(self, operation: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(
            f"the semiring {self.name!r} has no {operation}. Use one that has: docs/semirings lists them."
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def key(self) -> tuple[object, ...]:
        """Return what tells two instances apart: jobs with equal keys share their work."""
        return (type(self), *sorted((k, fingerprint(v)) for k, v in vars(self).items()))


def _derive(cls: type[Semiring], texts: tuple[str, str], own: frozenset[str]) -> None:
    """Give a class what its expressions say, but for what is its own. Raises: `OptionError` for other expressions."""
    methods: dict[str, Any] = {name: _method(name, text) for name, text in zip(("plus", "times"), texts, strict=True)}
    if "plus" not in own:
        methods["sum"] = _sum(texts[0])
    for name in methods.keys() - own:
        setattr(cls, name, methods[name])
    if not {"plus", "times", "family"} & own:
        family = FAMILIES.get(texts)
        # Routes for (max, ×) rely on numbers that are not negative.
        cls.family = None if family == "max-times" and (cls.bounds is None or cls.bounds[0] < 0) else family


def _method(name: str, text: str) -> Callable[[Semiring, Tensor, Tensor], Tensor]:
    compute = operation(text)

    def method(self: Semiring, x: Tensor, y: Tensor) -> Tensor:
        return compute(x, y)

    method.__name__ = name
    return method


def _sum(plus: str) -> Callable[[Semiring, Tensor, int], Tensor]:
    """Return the fold along an axis of a plus that is an expression: torch's own, or by halves."""
    fold = FOLDS.get(plus)

    def sum_(self: Semiring, x: Tensor, dim: int) -> Tensor:
        """Fold with plus, [.., n, ..] -> [.., ..]: the fold by halves but for rounding; `zero` over nothing."""
        return fold(x, dim) if fold is not None and x.shape[dim] else Semiring.sum(self, x, dim)

    return sum_
