"""Interpolations: every mode, sizes and factors, corners aligned or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import provnet
from tests.nonlinear_cases import seeded
from tests.rules.one_function import keeps_its_promises

CASES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "linear": ((2, 2, 3), lambda x: F.interpolate(x, size=5, mode="linear")),
    "bilinear, by a factor": ((2, 2, 2, 3), lambda x: F.interpolate(x, scale_factor=2.4, mode="bilinear")),
    "bilinear, smaller": ((2, 1, 4, 5), lambda x: F.interpolate(x, size=(3, 2), mode="bilinear")),
    "corners": ((2, 2, 2, 3), lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", align_corners=True)),
    "trilinear": ((2, 1, 2, 2, 2), lambda x: F.interpolate(x, size=(3, 2, 3), mode="trilinear")),
    "bicubic": ((2, 1, 3, 2), lambda x: F.interpolate(x, size=(4, 5), mode="bicubic")),
    "antialias": ((2, 1, 5, 4), lambda x: F.interpolate(x, size=(2, 3), mode="bilinear", antialias=True)),
    "bicubic antialias": ((2, 1, 5, 4), lambda x: F.interpolate(x, size=(3, 2), mode="bicubic", antialias=True)),
}


@pytest.mark.guarantee("an interpolation is the sum of neighbours that torch computes: its gradient is autograd's")
@pytest.mark.parametrize("name", CASES)
def test_interpolations(name: str) -> None:
    shape, function = CASES[name]
    keeps_its_promises(function, seeded(60, *shape))


def test_an_interpolation_is_saved(tmp_path: Path) -> None:
    shape, function = CASES["corners"]
    circuit = provnet.trace(torch.nn.Sequential(torch.nn.Upsample(size=(3, 3), mode="bilinear")), seeded(61, *shape))
    provnet.save(circuit, tmp_path / "circuit")
    again = provnet.load(tmp_path / "circuit")
    assert isinstance(again, provnet.Circuit)
    wanted = circuit.evaluate("viterbi", (0, 1, 2)).inputs
    assert torch.equal(again.evaluate("viterbi", (0, 1, 2)).inputs, wanted)
    assert function(seeded(61, *shape)).shape[-1] == 5


@pytest.mark.parametrize("semiring", ["real", "viterbi", "boolean", "counting", "tropical", "bottleneck"])
def test_routes_agree(semiring: str) -> None:
    shape, function = CASES["bilinear, by a factor"]
    circuit = provnet.trace(function, seeded(62, *shape))
    for rule in ("epsilon", "gamma", "alpha-beta"):
        auto, reference = (
            circuit.evaluate(semiring, (0, 1, 1), rule, route=route).inputs for route in ("auto", "reference")
        )
        torch.testing.assert_close(auto, reference)
