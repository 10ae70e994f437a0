"""What the benchmark table rests on: the loops are the definition, the page keeps what is not the table's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.benchmarks.clock import laps
from tests.benchmarks.loops import FOLDS, THETA, Layer, extrapolated, layers_of, loop
from tests.benchmarks.table_page import MARKS, write

MACHINE = {"threads": 2, "torch": "2.13.0", "processor": "x86_64"}


def layer_of(module: nn.Module, *shape: int) -> tuple[Layer, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(1, *shape)
    (layer,) = layers_of(module.eval(), x)
    return layer, x


def by_edges(module: nn.Conv2d, x: torch.Tensor, layer: Layer, name: str) -> np.ndarray:
    """The definition, an edge at a time: R_j = ⊕ over k of Θ(a_j w_jk / z_k) ⊗ R_k, of a 3 x 3 kernel, padding 1."""
    a, w, (rows, columns) = layer.a, layer.w, layer.a.shape[1:]
    found = np.zeros(a.shape)
    for k, i, j, c, u, v in np.ndindex(len(w), rows, columns, len(a), 3, 3):
        at = (c, i + u - 1, j + v - 1)
        if not (0 <= at[1] < rows and 0 <= at[2] < columns):
            continue
        # The rim is one wide.
        z, m, r = (float(part[k, i + 1, j + 1]) for part in (layer.z, layer.m, layer.r))
        p = float(a[at]) * float(w[k, c, u, v])
        if name == "Boolean":
            found[at] = max(found[at], p / z >= THETA and r > 0)
        elif name == "Viterbi":
            found[at] = max(found[at], abs(p) / m * r)
        else:
            found[at] += r if p / z >= THETA else 0
    return found


@pytest.mark.parametrize("name", FOLDS)
def test_loops_are_the_definition(name: str) -> None:
    """Rounding apart, 1e-5 relative: the loop's products are in float32."""
    module = nn.Conv2d(2, 3, 3, padding=1)
    layer, x = layer_of(module, 2, 4, 5)
    neurons = np.arange(layer.inputs)
    got = np.array(loop(layer, FOLDS[name], neurons), float).reshape(layer.a.shape)
    np.testing.assert_allclose(got, by_edges(module, x, layer, name), rtol=1e-5)


def test_a_slice_stands_for_all_neurons() -> None:
    layer, _ = layer_of(nn.Linear(6, 4), 6)
    assert layer.inputs == 6
    assert extrapolated([layer], FOLDS["Viterbi"], slice_of=3) > 0


def test_laps_keep_the_parts_of_each_way() -> None:
    seconds = iter([9.0, 1.0, 3.0, 2.0])
    ways: dict[str, Any] = {"parts": lambda: {"first": next(seconds), "second": 0.5}, "plain": lambda: None}
    taken = laps(ways, rounds=3, warm=1)
    assert taken["parts"] == {"first": 2.0, "second": 0.5}
    assert set(taken["plain"]) == {"whole"}


def lines(ratio: float) -> list[dict[str, Any]]:
    times = {"ms": 100.0 * ratio, "times_forward": ratio, "times_forward_and_gradient": ratio / 2}
    figures = {"network": "VGG-16 b1", "engine": "numba", "evaluate_ms": 1.0, "again_ms": 1.0}
    return [{"benchmark": "table", "way": "provnet Boolean", **figures, **times, **MACHINE}]


@pytest.mark.parametrize(("ratio", "said"), [(2.0, "met, stretch too"), (3.0, "| met |"), (4.0, "**missed**")])
def test_the_page_keeps_what_is_not_the_tables(tmp_path: Path, ratio: float, said: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n\n{MARKS[0]}\n\nold figures\n\n{MARKS[1]}\n\nbelow\n", "utf-8")
    write(lines(ratio), page)
    text = page.read_text("utf-8")
    assert text.startswith(f"above\n\n{MARKS[0]}\n") and text.endswith(f"{MARKS[1]}\n\nbelow\n")
    assert "old figures" not in text and said in text
    write(lines(ratio), page)
    assert page.read_text("utf-8") == text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no table here\n", "utf-8")
    with pytest.raises(ValueError, match="no section"):
        write(lines(1.0), page)
    assert page.read_text("utf-8") == "no table here\n"
