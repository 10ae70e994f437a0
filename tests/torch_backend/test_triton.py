"""The Triton kernels against plain loops over edges. They run on a CUDA device, or in Triton's interpreter:

TRITON_INTERPRET=1 python -m pytest tests/torch_backend/test_triton.py        (which is `make triton`)
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import provnet
from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import Wiring, dense
from provnet.errors import DeviceError, DTypeError, OptionError
from provnet.torch_backend import contractions
from provnet.torch_backend.contractions import triton_engine
from provnet.torch_backend.contractions.base import Direction
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS, Body
from provnet.torch_backend.contractions.least_passing import least_passing
from provnet.torch_backend.contractions.triton_engine import TRITON, TritonEngine
from provnet.torch_backend.contractions.triton_launch import Launch
from tests import contraction_cases
from tests.contraction_cases import CASES, Case, looped, wirings

ROOT = Path(__file__).resolve().parents[2]
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda")
operands_of = partial(contraction_cases.operands_of, device=DEVICE.type)

kernels = pytest.mark.skipif(
    not TRITON or not (INTERPRETED or DEVICE.type == "cuda"),
    reason="needs triton, and a CUDA device or TRITON_INTERPRET=1: `make triton`",
)


def agree(case: Case, found: Tensor, wanted: Tensor) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    if case.sums:
        # Sums of up to a hundred terms of the size of one, in another order.
        precision = 200 * torch.finfo(wanted.dtype).eps
        torch.testing.assert_close(found.cpu(), wanted, rtol=precision, atol=precision)
    else:
        assert torch.equal(found.cpu(), wanted)


# The interpreter takes a millisecond a far end and program, so tiles are not much smaller than the layers.
LAUNCHES = (
    None,
    Launch(places=16, channels=2, step=2, warps=1, share=4),
    Launch(places=8, channels=4, step=4, warps=1, share=4),
    Launch(places=32, channels=16, step=1, warps=1, share=64),
)


@kernels
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.guarantee("A Triton kernel gives what a loop over the edges gives: to the bit, but for sums of floats.")
@settings(max_examples=20)
@given(
    wirings(),
    st.sampled_from((1, 3)),
    st.sampled_from((torch.float32, torch.float64)),
    st.sampled_from(LAUNCHES),
    st.integers(0, 999),
)
def test_kernels_give_what_a_loop_over_edges_gives(
    name: str,
    direction: Direction,
    wiring: Wiring,
    batch: int,
    dtype: torch.dtype,
    launch: Launch | None,
    seed: int,
):
    case = CASES[name]
    operands = operands_of(case, wiring, direction, batch, dtype, seed)
    if launch is not None and case.body.join is None:
        launch = replace(launch, share=64)
    agree(case, TritonEngine(launch).contract(case.body, operands), looped(case, wiring, operands))


@kernels
@pytest.mark.parametrize("direction", ["pull", "push"])
@pytest.mark.parametrize(
    "wiring",
    [
        convolution(3, 20, 1, (7, 8), (4, 4), (3, 3), (2, 2), (1, 1), (1, 1)),
        convolution(17, 5, 1, (4, 5), (4, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
        convolution(6, 6, 6, (5, 5), (5, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
        convolution(2, 2, 1, (6, 6), (2, 2), (2, 2), (3, 3), (0, 0), (2, 2)),
        dense(1, 70, 33),
        dense(40, 9, 5),
    ],
    ids=["strided", "1x1", "depthwise", "unread places", "dense", "rows"],
)
def test_usual_layers_cut_as_on_a_device(wiring: Wiring, direction: Direction):
    """With the default launch, the tiles are wider than these layers."""
    case = CASES["counting"]
    operands = operands_of(case, wiring, direction, 2, torch.float32, 5)
    agree(case, TritonEngine().contract(case.body, operands), looped(case, wiring, operands))


@kernels
@pytest.mark.parametrize("name", CASES)
def test_where_nothing_is_alive_v_stays_zero(name: str):
    case = CASES[name]
    operands = operands_of(case, dense(1, 5, 6), "pull", 2, torch.float32, 0, reached=0)
    found = TritonEngine().contract(case.body, operands)
    assert torch.equal(found, torch.full_like(found, operands.zero))


@kernels
@pytest.mark.parametrize("direction", ["pull", "push"])
def test_no_examples_give_no_elements(direction: Direction):
    operands = operands_of(CASES["max-times"], dense(2, 5, 6), direction, 0, torch.float64, 0)
    found = TritonEngine().contract(MAX_TIMES_ABS, operands)
    assert (found.shape, found.dtype) == ((0, 10 if direction == "pull" else 12), torch.float64)


@kernels
@pytest.mark.guarantee("Counts in 64-bit integers are exact in Triton kernels, beyond what floats hold.")
def test_counts_beyond_two_to_the_53_are_exact():
    case = CASES["counting"]
    operands = operands_of(case, dense(1, 3, 40), "pull", 1, torch.float32, 1)
    counts = torch.full((1, 40), 2**55 + 1, dtype=torch.int64, device=DEVICE)
    operands = replace(operands, scalars=(torch.full_like(operands.scalars[0], -inf), counts))
    found = TritonEngine(Launch(1, 4, 2, 1, 8)).contract(case.body, operands)
    assert found.tolist() == [[(2**55 + 1) * int(operands.reached.sum())] * 3]


@kernels
def test_a_large_batch_is_taken_in_turns(monkeypatch: pytest.MonkeyPatch):
    case = CASES["bottleneck"]
    wiring = convolution(2, 3, 1, (5,), (5,), (3,), (1,), (1,), (1,))
    operands = operands_of(case, wiring, "pull", 3, torch.float32, 2)
    whole = TritonEngine().contract(case.body, operands)
    monkeypatch.setattr("provnet.torch_backend.contractions.triton_engine.PACKED", 130)
    assert torch.equal(TritonEngine().contract(case.body, operands), whole)
    agree(case, whole, looped(case, wiring, operands))


@kernels
@pytest.mark.parametrize("direction", ["pull", "push"])
def test_operands_need_not_lie_closely(direction: Direction):
    case = CASES["counting"]
    operands = operands_of(case, dense(1, 6, 6), direction, 3, torch.float32, 3)
    assert operands.near is not None
    wanted = TritonEngine().contract(case.body, operands)
    spread = lambda x: torch.stack((x, x), -1).flatten(-2)[..., ::2]  # noqa: E731
    apart = replace(
        operands,
        weights=spread(operands.weights),
        scalars=tuple(map(spread, operands.scalars)),
        reached=spread(operands.reached),
        near=spread(operands.near),
    )
    assert torch.equal(TritonEngine().contract(case.body, apart), wanted)


@kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_of_the_text_have_the_precision_of_what_they_meet(dtype: torch.dtype):
    body = Body("literal", "max(v, 0.1 * w + c0 + 1 / 3)")
    operands = operands_of(Case(body, max), dense(1, 4, 4), "pull", 1, dtype, 3)
    operands = replace(operands, constants=(0.7,), reached=torch.ones_like(operands.reached), zero=-9)
    number = lambda x: torch.tensor(x, dtype=dtype)  # noqa: E731
    wanted = (number(0.1) * operands.weights.cpu() + number(0.7) + number(1.0) / 3).reshape(4, 4).amax(0)
    assert torch.equal(TritonEngine().contract(body, operands).cpu()[0], wanted)


@kernels
def test_what_kernels_do_not_take_is_refused():
    operands = operands_of(CASES["reach"], dense(1, 4, 4), "pull", 1, torch.float32, 3)
    body, near = CASES["reach"].body, operands.near
    assert near is not None
    engine = TritonEngine()
    half = replace(operands, weights=operands.weights.half(), near=near.half())
    with pytest.raises(DTypeError, match="float16"):
        engine.contract(body, half)
    with pytest.raises(DTypeError, match="one type"):
        engine.contract(body, replace(operands, near=near.double()))
    with pytest.raises(OptionError, match="no near end came"):
        engine.contract(body, replace(operands, near=None))
    with pytest.raises(OptionError, match="0 and a near end came"):
        engine.contract(body, replace(operands, scalars=()))
    with pytest.raises(DeviceError, match="one device"):
        engine.contract(body, replace(operands, reached=operands.reached.to("meta")))


@kernels
@settings(max_examples=30)
@given(
    st.sampled_from((torch.float32, torch.float64)),
    st.sampled_from((1e-9, 0.1, 1 / 3, 1.0, 7.3, -0.2, -1e-5)),
    st.booleans(),
    st.integers(0, 99),
)
def test_the_least_that_passes_is_found_to_the_bit(dtype: torch.dtype, theta: float, strict: bool, seed: int):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((3, 40), generator=generator, dtype=dtype) * 10 ** torch.randint(-9, 9, (3, 1), generator=generator)
    z = z.masked_fill(torch.rand((3, 40), generator=generator) < 0.1, 0).to(DEVICE)
    number = float(torch.tensor(theta, dtype=dtype))
    apart = torch.stack((z, -z), -1)[..., 1]
    found = TritonEngine().least_passing(apart, z != 0, number, strict)[z != 0].cpu()
    wanted = least_passing(z[z != 0].abs().cpu(), number, strict)
    assert torch.equal(found, wanted)
    # By its definition: it passes, and the float before it does not.
    size, before = z[z != 0].abs().cpu(), torch.nextafter(found, torch.tensor(-inf, dtype=dtype))
    passes = (lambda p: p / size > number) if strict else (lambda p: p / size >= number)
    assert passes(found).all() and not passes(before).any()


class Small(nn.Module):
    """Two convolutions, a pooling and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 2 * 2, 5),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@kernels
@pytest.mark.parametrize("name", ["boolean", "counting", "viterbi"])
def test_a_network_is_explained_as_by_definition(name: str, monkeypatch: pytest.MonkeyPatch):
    engine = TritonEngine()
    asked: list[str] = []
    contract = engine.contract
    monkeypatch.setattr(engine, "contract", lambda body, o: (asked.append(body.name), contract(body, o))[1])
    torch.manual_seed(0)
    model, x = Small().to(DEVICE), torch.randn(2, 2, 8, 8, device=DEVICE)
    circuit = provnet.trace(model, x)
    with contractions.engine_chosen(engine):
        found = circuit.evaluate(name, target=3).inputs
    assert len(asked) >= 3, "all three layers"
    wanted = circuit.evaluate(name, target=3, route="reference").inputs
    if name == "viterbi":
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)  # 8 ulp a block
    else:
        assert torch.equal(found, wanted)


@pytest.mark.skipif(INTERPRETED or not TRITON, reason="needs triton, outside its interpreter")
def test_a_cpu_is_taken_only_by_the_interpreter(monkeypatch: pytest.MonkeyPatch):
    engine = TritonEngine()
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not engine.takes(torch.device("cpu"))
    monkeypatch.setattr(triton_engine, "can_build", lambda: True)
    for capability, taken in (((6, 1), False), ((7, 0), True), ((9, 0), True)):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda _, found=capability: found)
        assert engine.takes(torch.device("cuda")) == taken
    monkeypatch.setattr(triton_engine, "can_build", lambda: False)
    assert not engine.takes(torch.device("cuda"))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert engine.takes(torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED or not TRITON, reason="needs triton, outside its interpreter")
def test_all_of_it_in_the_interpreter(tmp_path: Path):
    """Triton reads its variable once, when it is imported: a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    variables = {**os.environ, "TRITON_INTERPRET": "1", "PROVNET_CACHE": str(tmp_path)}
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=600)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
