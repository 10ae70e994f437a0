"""A user's semiring that also says what it does to single numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from provnet.errors import OptionError
from provnet.semirings import make
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
