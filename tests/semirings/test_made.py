"""A user's semiring that also says what it does to single numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from provnet.errors import OptionError
from provnet.semirings import make
from provnet.semirings.base import Semiring
from provnet.semirings.scalar import CALLS, checked, on_tensors

WIDEST: dict[str, Any] = {"name": "widest", "idempotent": True}
INF = float("inf")


def test_a_text_that_says_the_same_is_taken():
    made = make(torch.maximum, torch.minimum, -INF, INF, scalar=("max(x, y)", "min(x, y)"), **WIDEST)
    assert made.scalar == ("max(x, y)", "min(x, y)")
    assert make(torch.maximum, torch.minimum, -INF, INF, **WIDEST).scalar is None


@pytest.mark.guarantee("an expression that is not what the user's functions do is refused, with the pair that shows it")
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("min(x, y)", "min(x, y)"), r"gives -inf for x = -inf and y = inf, where the function gives inf"),
        (("max(x, y)", "x + y"), r"x \+ y"),
        (("max(x, y)", "minimum(x, y)"), "not known"),
        (("max(x, z)", "min(x, y)"), "not known"),
        (("max(x, y)", "min(x, y) if"), "no expression"),
        (("max(x, y)", "__import__('os').getcwd()"), "not known"),
    ],
)
def test_another_text_is_refused(texts: tuple[str, str], message: str):
    with pytest.raises(OptionError, match=message):
        make(torch.maximum, torch.minimum, -INF, INF, scalar=texts, **WIDEST)


def test_only_single_floats_have_a_text():
    with pytest.raises(OptionError, match="single floating-point numbers"):
        make(torch.bitwise_or, torch.bitwise_and, 0, -1, dtype=torch.int64, idempotent=True, scalar=("x", "y"))


VALUES = st.floats(-4, 4, width=32)


@given(VALUES, VALUES)
def test_a_text_means_on_tensors_what_it_means_in_python(x: float, y: float):
    names = frozenset({"x", "y"})
    texts = (
        "max(x, y) - min(x, y)",
        "-x * (y + 0.5) / 2",
        "abs(x) if x > y and y != 0 else y",
        "x if x <= y or y == 0 else sqrt(abs(y))",
        "exp(x) - log(abs(y) + 1)",
    )
    scope = {name: getattr(__import__("math"), name) for name in CALLS if name in ("exp", "log", "sqrt")}
    for text in texts:
        tensors = {"x": torch.tensor(x, dtype=torch.float64), "y": torch.tensor(y, dtype=torch.float64)}
        found = float(on_tensors(checked(text, names), tensors))
        assert found == pytest.approx(
            eval(text, {**scope, "x": x, "y": y}), rel=1e-14, abs=1e-14
        )  # the tests' own text


def test_a_class_is_what_its_expressions_say():
    """Plus, times, the fold and the family come from one text; what a class says for itself stays."""

    class Steps(Semiring):
        """(numbers, max, +): the greatest sum of steps."""

        zero, one = -INF, 0.0
        scalar = ("max(x, y)", "x + y")

    class Twice(Steps):
        def times(self, x: Tensor, y: Tensor) -> Tensor:
            return x + 2 * y

    class Added(Steps):
        def plus(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    x, y = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    assert torch.equal(Steps().plus(x, y), torch.maximum(x, y))
    assert torch.equal(Steps().times(x, y), x + y)
    assert Steps().sum(torch.stack([x, y]), 0).tolist() == [1.0, 3.0]
    assert Steps().sum(x[:0], 0) == -INF
    assert (Steps.family, Steps.scalar) == ("max-plus", ("max(x, y)", "x + y"))
    assert (Twice.family, Twice.scalar) == (Added.family, Added.scalar) == (None, None)
    assert torch.equal(Twice().times(x, y), x + 2 * y)
    assert torch.equal(Twice().plus(x, y), torch.maximum(x, y))
    assert Added().sum(torch.stack([x, y]), 0).tolist() == [1.5, 1.0]  # no fold of another plus is inherited
    with pytest.raises(OptionError, match="not known"):
        type("Odd", (Semiring,), {"scalar": ("x + z", "x * y")})


def test_products_of_numbers_below_zero_take_no_route_for_best_paths():
    assert type("Any", (Semiring,), {"scalar": ("max(x, y)", "x * y")}).family is None
    assert type("From0", (Semiring,), {"scalar": ("max(x, y)", "x * y"), "bounds": (0.0, 1.0)}).family == "max-times"
