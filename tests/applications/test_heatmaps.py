"""Pictures say what the numbers say, and are PNG files that others read."""

from __future__ import annotations

import io
from math import inf

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from provnet.applications.heatmaps import OPPOSED, RAMP, as_image, beside, colours, heatmap, png, sheet, strengths
from provnet.errors import InputError
from provnet.semirings import KBest, get

Image = pytest.importorskip("PIL.Image", reason="Pillow reads what was written: extra `demo`")


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_what_is_written_is_read(pixels: np.ndarray):
    with Image.open(io.BytesIO(png(pixels))) as found:
        np.testing.assert_array_equal(np.asarray(found), pixels)


@pytest.mark.parametrize(
    ("semiring", "elements", "wanted"),
    [
        ("real", [-4.0, 0.0, 2.0], [-1, 0, 0.5]),
        ("real", [0.0, 0.0], [0, 0]),
        ("boolean", [False, True], [0, 1]),
        ("counting", [0, 5, 10], [0, 0.5, 1]),
        ("viterbi", [0.0, 0.1, 0.2], [0, 0.5, 1]),
        ("bottleneck", [-inf, -0.5, 0.1, 0.2], [0, 0, 0.5, 1]),
        ("bottleneck", [-inf, inf], [0, 1]),
        ("tropical", [inf, inf], [0, 0]),
    ],
)
def test_strength_runs_from_the_semirings_zero_to_the_strongest(semiring: str, elements: list, wanted: list):
    np.testing.assert_allclose(strengths(get(semiring), np.array(elements)), wanted)


def test_costs_are_darker_the_cheaper_and_an_absent_path_is_paper():
    found = strengths(get("tropical"), np.array([0.0, 1.0, 2.0, inf]))
    assert found[0] == 1
    assert found[0] > found[1] > found[2] > found[3] == 0


def test_the_ends_of_the_colours():
    assert colours(np.array([0.0, 1.0])).tolist() == [list(RAMP[0]), list(RAMP[-1])]
    assert colours(np.array([-1.0, 0.0, 1.0]), opposed=True).tolist() == [list(OPPOSED[i]) for i in (0, 2, 4)]


def test_enlarging_repeats_pixels():
    pixels = heatmap(get("boolean"), np.array([[True, False]]), 3)
    assert pixels.shape == (3, 6, 3)
    assert (pixels[:, :3] == RAMP[-1]).all() and (pixels[:, 3:] == RAMP[0]).all()


def test_channels_are_joined_by_the_semirings_plus():
    best = torch.tensor([[[[0.2]], [[0.7]]]])
    assert as_image(get("viterbi"), best, 0).item() == pytest.approx(0.7)
    assert as_image(get("real"), best, 0).item() == pytest.approx(0.9)


def test_a_row_becomes_a_square_if_it_can():
    assert as_image(get("real"), torch.arange(9.0)[None], 0).shape == (3, 3)
    assert as_image(get("real"), torch.arange(8.0)[None], 0).shape == (1, 8)


def test_what_is_no_picture_is_refused():
    with pytest.raises(InputError, match="no picture"):
        as_image(get("real"), torch.zeros(1, 2, 2, 2, 2), 0)
    with pytest.raises(InputError, match="no picture"):
        as_image(KBest(2, get("viterbi")), torch.zeros(1, 4, 2), 0)


def test_sheets_hold_every_picture_with_gaps():
    one = np.zeros((2, 3, 3), np.uint8)
    found = beside([one] * 5, columns=3, gap=1)
    dark = (found == 0).all(-1)
    rows, columns = [1, 1, 0, 1, 1], [1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1]
    wanted = np.outer(rows, columns).astype(bool)
    wanted[3:, 8:] = False  # the sixth place stays white
    np.testing.assert_array_equal(dark, wanted)
    assert sheet(get("real"), torch.zeros(4, 2, 2)).shape == (2 * 224 + 4, 2 * 224 + 4, 3)
