"""What is written for Triton, without Triton: expressions as torch reads them, launches, how operands are laid out."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from provnet.circuit.windowed import Convolution
from provnet.circuit.wiring import Dense, dense
from provnet.errors import DTypeError, MissingProgramWarning, OptionError
from provnet.torch_backend.contractions.base import Direction
from provnet.torch_backend.contractions.body import Body
from provnet.torch_backend.contractions.triton_engine import can_build
from provnet.torch_backend.contractions.triton_expression import TYPES, written
from provnet.torch_backend.contractions.triton_launch import FEW, Launch, Size, launch_of
from provnet.torch_backend.contractions.triton_operands import (
    ContractionEnds,
    columns_of,
    packed_scalar,
    packed_weights,
    table_on,
)
from provnet.torch_backend.contractions.triton_source import Signature, source_of
from tests.contraction_cases import CASES, operands_of, wirings

LANGUAGE: Any = SimpleNamespace(
    minimum=torch.minimum,
    maximum=torch.maximum,
    abs=torch.abs,
    exp=torch.exp,
    log=torch.log,
    sqrt=torch.sqrt,
    sqrt_rn=torch.sqrt,
    where=torch.where,
    full=lambda shape, value, dtype: torch.full(shape, value, dtype=dtype),
    div_rn=torch.div,
    **{name.removeprefix("tl."): dtype for dtype, name in TYPES.items()},
)
NAMES: tuple[str, ...] = ("v", "a", "w", "s0", "s1")


def read(text: str, types: dict[str, torch.dtype], result: torch.dtype, values: dict[str, Any]) -> Tensor:
    """Return what an expression gives in torch, written for Triton with w's type as the weights'."""
    spelled = written(Body("test", text).tree, types, types["w"], result)
    held = {name: torch.tensor(value, dtype=types[name]) for name, value in values.items()}
    return eval(spelled, {"tl": LANGUAGE, "float": float}, held)


numbers = st.sampled_from(("0", "1", "2", "0.5", "3.25", *NAMES))
expressions = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        st.tuples(st.sampled_from(("min", "max")), inner, inner).map(lambda x: f"{x[0]}({x[1]}, {x[2]})"),
        inner.map("abs({0})".format),
        inner.map("(-{0})".format),
        st.tuples(inner, st.sampled_from(("<", "<=", ">", ">=", "==", "!=")), inner, inner, inner).map(
            lambda x: f"({x[3]} if {x[0]} {x[1]} {x[2]} else {x[4]})"
        ),
        st.tuples(inner, inner, inner, st.sampled_from(("and", "or")), inner, inner).map(
            lambda x: f"({x[0]} if {x[1]} < {x[2]} and {x[2]} < {x[4]} {x[3]} {x[5]} != 0 else {x[1]})"
        ),
    ),
    max_leaves=8,
)


@given(expressions, st.lists(st.sampled_from((-2.0, -0.5, 0.0, 0.75, 1.0, 3.0)), min_size=5, max_size=5))
def test_what_is_written_is_what_the_body_says(text: str, drawn: list[float]):
    """Quarters and halves, so that only divisions round, and they alike."""
    values = dict(zip(NAMES, drawn, strict=True))
    try:
        wanted = eval(text, {"__builtins__": {"min": min, "max": max, "abs": abs}}, values)
    except ZeroDivisionError:
        assume(False)
    found = read(text, dict.fromkeys(NAMES, torch.float64), torch.float64, values)
    # In the text every branch is read, and a division by zero that is not chosen leaves no trace.
    assert (found.dtype, float(found)) == (torch.float64, wanted)


REAL, WHOLE = torch.float32, torch.int64
MIXED = {"v": WHOLE, "w": REAL, "s0": REAL, "s1": WHOLE}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("v + (s1 if w >= s0 else 0)", 2**60 + 3),
        ("v + (1 if w >= s0 else 0)", 2**60 + 2),
        ("v + (2 if w >= s0 else -1) * 2", 2**60 + 5),
        ("v + (-1)", 2**60),
        ("v + (w >= s0) + (w >= s0)", 2**60 + 3),
        ("max(v, 1)", 2**60 + 1),
        ("v + 4294967296", 2**60 + 2**32 + 1),
        ("v + (4294967296 if w >= s0 else 0)", 2**60 + 2**32 + 1),
        ("v if 1 else 0", 2**60 + 1),
        ("v - abs(w >= s0)", 2**60),
    ],
)
def test_counts_never_pass_through_floats(text: str, wanted: int):
    found = read(text, MIXED, WHOLE, {"v": 2**60 + 1, "w": 2.0, "s0": 1.0, "s1": 2})
    assert (found.dtype, int(found)) == (WHOLE, wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("v + w", 1 << 60),  # as torch would: the whole number becomes real
        ("s1 / 2", 1),
        ("s1 * 0.5 * 4", 6),
        ("exp(s1 - 3)", 1),
        ("sqrt(s1 + 1)", 2),
    ],
)
def test_whole_numbers_become_real_where_they_must(text: str, wanted: int):
    assert int(read(text, MIXED, WHOLE, {"v": 1 << 60, "w": 2.0, "s0": 1.0, "s1": 3})) == wanted


def test_a_number_takes_the_precision_of_what_it_meets():
    double = dict.fromkeys(NAMES, torch.float64)
    assert float(read("0.1 * w", double, torch.float64, {"w": 1.0})) == 0.1
    assert math.isinf(float(read("w + 1e400", double, torch.float64, {"w": 1.0})))


@pytest.mark.parametrize(
    ("text", "v", "wanted"), [("v or w > s0", 0, 1), ("v and w > s0", 1, 1), ("v and w > s0", 0, 0), ("w", 0, 1)]
)
def test_truth_values_are_kept_as_0_and_1(text: str, v: int, wanted: int):
    types = {"v": torch.bool, "w": REAL, "s0": REAL}
    spelled = written(Body("test", text).tree, types, REAL, torch.bool)
    held = {"v": torch.tensor(v, dtype=torch.int8), "w": torch.tensor(2.0), "s0": torch.tensor(1.0)}
    found = eval(spelled, {"tl": LANGUAGE}, held)
    assert (found.dtype, int(found)) == (torch.int8, wanted)


def test_single_precision_is_divided_and_rooted_as_ieee_says():
    text = written(Body("test", "sqrt(w) / s0").tree, {"w": REAL, "s0": REAL}, REAL, REAL)
    assert text == "tl.div_rn(tl.sqrt_rn(w), s0)"


def test_without_a_compiler_there_are_no_kernels_and_a_warning_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.warns(MissingProgramWarning, match="a C compiler"):
        assert not can_build.__wrapped__()
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    with pytest.warns(MissingProgramWarning, match=r"Python\.h"):
        assert not can_build.__wrapped__()
    (tmp_path / "Python.h").touch()
    assert can_build.__wrapped__()


def test_what_cannot_be_written_is_refused():
    with pytest.raises(OptionError, match="reads 'a', but it is not given; there are v, w"):
        written(Body("test", "a * w").tree, {"v": REAL, "w": REAL}, REAL, REAL)
    with pytest.raises(DTypeError, match=r"w is torch\.bfloat16"):
        written(Body("test", "w").tree, {"w": torch.bfloat16}, REAL, REAL)
    with pytest.raises(OptionError, match="no Triton form"):
        written(ast.parse("[w]", mode="eval").body, {"w": REAL}, REAL, REAL)
    with pytest.raises(OptionError, match="should be 2 numbers"):
        Body("test", "v + s0 + s1", scalars=2, unreached=(0,))


@pytest.mark.parametrize("name", CASES)
def test_a_generated_module_holds_the_body_and_nothing_is_left_of_the_template(name: str):
    case = CASES[name]
    scalars = (REAL, case.second or REAL)[: case.body.scalars]
    source = source_of(case.body, Signature(case.element or REAL, REAL, scalars))
    ast.parse(source)
    assert f"NAME = {case.body.name!r}" in source and "# <" not in source and "# </" not in source
    assert source.count("updated = ") == 4 and "s0 * w)\n" not in source


sizes = st.builds(
    Size,
    ends=st.integers(1, 10**6),
    groups=st.integers(1, 64),
    channels=st.integers(1, 30000),
    far=st.integers(1, 30000),
    taps=st.integers(1, 27),
    words=st.integers(1, 5),
)


@given(sizes, st.integers(1, 200), st.booleans())
def test_launches_are_of_whole_tiles_and_steps(size: Size, processors: int, divisible: bool):
    launch = launch_of(size, processors, divisible)
    assert all(n & (n - 1) == 0 for n in (launch.places, launch.channels, launch.step, launch.warps))
    assert launch.share % launch.step == 0 and launch.share > 0
    assert divisible or launch.share >= size.far
    # A thread a place (see triton_launch), and near ends stay in registers.
    assert size.ends <= FEW or launch.places == 32 * launch.warps
    assert launch.places * launch.channels * size.words <= 64 * 32 * launch.warps


@given(sizes)
def test_parts_fill_a_device_and_are_worth_joining(size: Size):
    launch = launch_of(size, 132, True)
    parts = -(-size.far // launch.share)
    programs = parts * -(-size.ends // launch.places) * size.groups * -(-size.channels // launch.channels)
    assert parts == 1 or (programs * launch.warps <= 132 * 12 and launch.share * size.taps >= 64)


def test_small_layers_are_cut_into_parts_and_large_ones_are_not():
    small = Size(ends=196, groups=1, channels=512, far=512, taps=9, words=1)
    assert launch_of(small, 132, True) == Launch(places=32, channels=64, step=4, warps=1, share=20)
    large = Size(ends=32 * 50176, groups=1, channels=64, far=64, taps=9, words=1)
    assert launch_of(large, 132, True) == Launch(places=128, channels=64, step=4, warps=4, share=64)


@given(wirings(), st.sampled_from(("pull", "push")), st.integers(1, 3), st.sampled_from((1, 2, 16)), st.integers(0, 9))
def test_operands_are_laid_out_edge_by_edge(
    wiring: Dense | Convolution, direction: Direction, batch: int, tile: int, seed: int
):
    """Every edge of the wiring finds its weight and its far end where the kernel looks; the rest is fill."""
    operands = operands_of(CASES["max-times"], wiring, direction, batch, torch.float64, seed)
    g = operands.geometry
    ends, rows = ContractionEnds.of(g, direction), batch * g.per_example
    far = -(-ends.far // 4) * 4
    weights = packed_weights(operands, ends, far, tile)
    scalar = packed_scalar(operands.scalars[0], ends, rows, far, -7)
    table = table_on(g, direction, torch.device("cpu"))
    assert weights.shape[3] % tile == 0 and weights.shape[:3] == (g.groups, g.taps, far)
    assert scalar.shape == (g.groups, far, columns_of(ends, rows)) and scalar.shape[2] > rows * ends.far_places
    assert (scalar[:, :, rows * ends.far_places :] == -7).all() and (scalar[:, ends.far :] == -7).all()
    assert not weights[:, :, ends.far :].any() and not weights[..., ends.channels :].any()
    listed = {}
    for output in range(wiring.outputs):
        for slot in range(wiring.fan):
            source, present, weight = wiring.source(output, slot)
            if present:
                near, beyond = (source, output) if direction == "pull" else (output, source)
                listed.setdefault((near, beyond), []).append(float(operands.weights[weight]))
    found: dict[tuple[int, int], list[float]] = {}
    for row in range(g.per_example):
        for group in range(g.groups):
            for tap, place in torch.cartesian_prod(torch.arange(g.taps), torch.arange(ends.places)).tolist():
                if (far_place := int(table[tap, place])) < 0:
                    continue
                for n in range(ends.channels):
                    near = ((row * g.groups + group) * ends.channels + n) * ends.places + place
                    for k in range(ends.far):
                        beyond = ((row * g.groups + group) * ends.far + k) * ends.far_places + far_place
                        found.setdefault((near, beyond), []).append(float(weights[group, tap, k, n]))
                        for b in range(batch):
                            column = (b * g.per_example + row) * ends.far_places + far_place
                            assert scalar[group, k, column] == operands.scalars[0][b, beyond]
    assert {edge: sorted(w) for edge, w in found.items()} == {edge: sorted(w) for edge, w in listed.items()}


def test_weights_that_lie_right_are_not_copied():
    operands = operands_of(CASES["max-times"], dense(1, 32, 8), "pull", 1, torch.float32, 0)
    ends = ContractionEnds.of(operands.geometry, "pull")
    assert packed_weights(operands, ends, 8, 32).data_ptr() == operands.weights.data_ptr()
    assert packed_weights(operands, ends, 12, 32).data_ptr() != operands.weights.data_ptr()


def test_weights_that_lie_otherwise_are_copied_to_whole_rows_on_even_addresses():
    operands = operands_of(CASES["max-times"], dense(1, 32, 32), "push", 1, torch.float32, 0)
    ends = ContractionEnds.of(operands.geometry, "push")
    assert packed_weights(operands, ends, 32, 32).is_contiguous()
    shifted = replace(operands, direction="pull", weights=torch.zeros(32 * 32 + 1)[1:])
    assert packed_weights(shifted, ends, 32, 32).data_ptr() % 64 == 0
