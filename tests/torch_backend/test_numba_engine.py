"""The numba kernels against plain loops over edges."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import Wiring, dense
from provnet.torch_backend.contractions import geometry, numba_engine, numba_source
from provnet.torch_backend.contractions.base import Direction
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS
from provnet.torch_backend.contractions.contraction_memory import room, rooms_kept
from provnet.torch_backend.contractions.least_passing import least_passing
from provnet.torch_backend.contractions.numba_engine import NUMBA, NumbaEngine
from provnet.torch_backend.contractions.numba_source import spelled
from provnet.torch_backend.contractions.workers import run
from tests.contraction_cases import CASES, looped, operands_of, wirings

pytestmark = pytest.mark.skipif(not NUMBA, reason="numba is not installed: pip install 'provnet[fast]'")

ROOT = Path(__file__).resolve().parents[2]
BOTH = ("max-times", "counting")
"""Compiled in float64 too: every type costs seconds."""


def agree(name: str, wiring: Wiring, direction: Direction, batch: int, dtype: torch.dtype, seed: int) -> None:
    case = CASES[name]
    operands = operands_of(case, wiring, direction, batch, dtype, seed)
    found, wanted = NumbaEngine().contract(case.body, operands), looped(case, wiring, operands)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    if case.sums:
        # Sums of up to a hundred terms of the size of one, in another order.
        precision = 200 * torch.finfo(wanted.dtype).eps
        torch.testing.assert_close(found, wanted, rtol=precision, atol=precision)
    else:
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.guarantee("A numba kernel gives what a loop over the edges gives: to the bit, but for sums of floats.")
@settings(max_examples=40)
@given(wirings(), st.sampled_from((0, 1, 3, 9)), st.data(), st.integers(0, 999))
def test_kernels_give_what_a_loop_over_edges_gives(
    name: str, direction: Direction, wiring: Wiring, batch: int, data: st.DataObject, seed: int
):
    dtype = data.draw(st.sampled_from((torch.float32, torch.float64))) if name in BOTH else torch.float32
    agree(name, wiring, direction, batch, dtype, seed)


@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.parametrize("name", ["max-times", "max-times, a test of life", "counting"])
def test_small_groups_whose_only_tap_lies_in_the_padding(name: str, direction: Direction):
    agree(name, convolution(2, 2, 2, (1,), (1,), (1,), (3,), (1,), (1,)), direction, 3, torch.float32, 0)


@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.parametrize(
    "wiring",
    [
        convolution(3, 20, 1, (7, 8), (4, 4), (3, 3), (2, 2), (1, 1), (1, 1)),
        convolution(6, 6, 6, (5, 5), (5, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
        convolution(2, 2, 1, (6, 6), (2, 2), (2, 2), (3, 3), (0, 0), (2, 2)),
        dense(1, 300, 70),
        dense(1, 70, 300),
        dense(40, 9, 5),
    ],
    ids=["strided", "depthwise", "unread places", "wide", "tall", "rows"],
)
def test_layers_cut_into_small_tiles(wiring: Wiring, direction: Direction, monkeypatch: pytest.MonkeyPatch):
    """Several blocks of far ends, tiles of places and channels, lists in turns, threads: all at once."""
    small = (("WIDTH", 8), ("BLOCK", 16), ("PLACES", 5), ("LISTED", 4096), ("SMALL", 0), ("SMALL_GROUP", 0))
    for name, value in small:
        monkeypatch.setattr(numba_engine, name, value)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for batch in (2, 9):
        agree("counting", wiring, direction, batch, torch.float32, 5)
        agree("max-times", wiring, direction, batch, torch.float32, 5)


def test_numbers_in_a_text_take_the_type_of_what_they_meet():
    types = {"v": torch.float32, "w": torch.float32, "s1": torch.int64, "s0": torch.float64, "a": torch.float32}
    assert spelled("max(v, 0)", types) == "greatest(v, float32(0.0))"
    assert spelled("v if w > -1 else 2", types) == "v if w > float32(-1.0) else float32(2.0)"
    assert spelled("s1 + 1", types) == "s1 + 1"
    assert spelled("a * s0 - 1", types) == "a * s0 - float64(1.0)"


@given(st.integers(0, 10**6), st.booleans(), st.sampled_from((1e-9, 0.1, 1 / 3, 2.0, -0.25)))
def test_least_passing_is_least(seed: int, strict: bool, theta: float):
    generator = torch.Generator().manual_seed(seed)
    for dtype in (torch.float32, torch.float64):
        z = (torch.rand(500, generator=generator, dtype=dtype) * 4 - 2) * 10 ** (seed % 7 - 3)
        z[z == 0] = 1
        number = torch.tensor(theta, dtype=dtype).item()
        slow = least_passing(z.abs(), number, strict)
        assert torch.equal(NumbaEngine().least_passing(z, torch.ones_like(z, dtype=torch.bool), number, strict), slow)
        below = torch.nextafter(slow, torch.full_like(slow, -torch.inf))
        at, next_to = slow / z.abs(), below / z.abs()
        assert bool((at > number if strict else at >= number).all())
        assert not bool((next_to > number if strict else next_to >= number).any())


def test_rooms_are_used_again_only_while_they_are_kept():
    with rooms_kept():
        first = room("x", "float32", 64)
        with rooms_kept():
            assert room("x", "int32", 8).ctypes.data == first.ctypes.data
        assert room("x", "float32", 64).ctypes.data == first.ctypes.data
        assert first.ctypes.data % 64 == 0
    one, other = room("x", "float32", 64), room("x", "float32", 64)
    assert one.ctypes.data != other.ctypes.data


@pytest.mark.guarantee("After an interrupt no thread of a contraction is still at work")
def test_an_interrupt_waits_for_the_other_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    main, ended, begun = threading.get_ident(), [], threading.Event()

    def task() -> None:
        if threading.get_ident() == main:
            begun.wait(5)
            raise KeyboardInterrupt
        begun.set()
        threading.Event().wait(0.2)
        ended.append(1)

    with pytest.raises(KeyboardInterrupt):
        run([task] * 50)
    count = len(ended)
    threading.Event().wait(0.4)
    assert 1 <= count == len(ended) < 10


@pytest.mark.slow
def test_a_forked_child_has_workers_of_its_own():
    operands = operands_of(CASES["max-times"], dense(1, 2000, 1500), "pull", 4, torch.float32, 0)
    NumbaEngine().contract(MAX_TIMES_ABS, operands)  # with threads
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            found = NumbaEngine().contract(MAX_TIMES_ABS, operands)
            os.write(write, str(float(found.sum())).encode())
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert float(os.read(read, 100)) == float(NumbaEngine().contract(MAX_TIMES_ABS, operands).sum())


SCRIPT = """
import torch, provnet
torch.manual_seed(0)
r = provnet.trace(torch.nn.Linear(6, 5), torch.rand(1, 6)).evaluate("viterbi", target=0, engine="numba")
assert {step.route for step in r.plan} <= {"living", "max-times"}, r.plan
print(r.inputs.tolist())
"""


@pytest.mark.slow
@pytest.mark.guarantee("Two processes may compile the same kernel at the same time")
def test_two_processes_may_start_at_once(tmp_path: Path):
    options: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, "PROVNET_CACHE": str(tmp_path)}, "text": True}
    started = [
        subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        for _ in range(2)
    ]
    outs = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], outs
    assert outs[0][0] == outs[1][0]
    assert list(tmp_path.rglob("*.nbi")), "numba keeps what it compiled beside the generated module"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_replaced(tmp_path: Path):
    tmp_path.chmod(0o500)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PROVNET_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_bodies_without_a_join_pack_their_weights():
    case = CASES["max-times"]
    alone = replace(case, body=replace(case.body, join=None))
    operands = operands_of(alone, dense(1, 40, 30), "push", 2, torch.float32, 1)
    assert torch.equal(NumbaEngine().contract(alone.body, operands), looped(alone, dense(1, 40, 30), operands))


def test_the_first_compilation_is_announced_on_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = type(sys)("kernels")
    module.__file__ = str(tmp_path / "kernels.py")
    for terminal, kept, said in ((True, False, True), (False, False, False), (True, True, False)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        if kept:
            (tmp_path / "__pycache__").mkdir()
            (tmp_path / "__pycache__" / "kernels.contract-1.py311.nbi").touch()
        assert numba_source._announced(module, "counting") is module
        assert ("compiling the kernels for counting" in capsys.readouterr().err) is said


@pytest.mark.parametrize("name", ["max-times", "counting", "bottleneck"])
@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.guarantee("Groups folded in pieces that lie side by side give what a loop over the edges gives.")
def test_small_groups_in_pieces(name: str, direction: Direction, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(geometry, "SHORT", 0)
    geometry._runs.cache_clear()
    for wiring in (
        convolution(3, 3, 3, (5, 9), (5, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
        convolution(2, 4, 2, (7,), (3,), (3,), (2,), (0,), (1,)),
        convolution(2, 2, 2, (2, 2), (1, 1), (3, 3), (3, 3), (1, 1), (1, 1)),
    ):
        shape = geometry.geometry_of(wiring)
        assert shape is not None
        for pull in (True, False):
            table = shape.pulling() if pull else shape.pushing()
            again = np.full_like(table, -1)
            for tap, near, far, count in shape.runs(pull):
                again[tap, near : near + count] = far + np.arange(count)
            assert np.array_equal(again, table)
        agree(name, wiring, direction, 2, torch.float32, 3)
    geometry._runs.cache_clear()


def test_short_pieces_are_left_to_the_table():
    wide = geometry.geometry_of(convolution(2, 2, 2, (40,), (40,), (3,), (1,), (1,), (1,)))
    strided = geometry.geometry_of(convolution(2, 2, 2, (40,), (20,), (3,), (2,), (1,), (1,)))
    assert wide is not None and strided is not None
    assert len(wide.runs(True)) == 3 and len(strided.runs(True)) == 0 and len(strided.runs(False)) == 0
