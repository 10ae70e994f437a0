"""What Triton makes of the kernels for a GPU, read and not run: its compiler needs no device."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from provnet.torch_backend.contractions.body import MAX_TIMES_ABS, Body
from provnet.torch_backend.contractions.triton_engine import FUSION, TRITON
from provnet.torch_backend.contractions.triton_launch import Size, launch_of
from tests.contraction_cases import CASES, Case

if not TRITON:
    pytest.skip("needs triton: `make triton`", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

triton: Any = importlib.import_module("triton")
if tuple(map(int, triton.__version__.split(".")[:2])) != (3, 6):
    pytest.skip(f"reads what Triton 3.6 writes, not {triton.__version__}", allow_module_level=True)

compiler: Any = importlib.import_module("triton.compiler")
backend: Any = importlib.import_module("triton.backends.compiler")
source: Any = importlib.import_module("provnet.torch_backend.contractions.triton_source")

NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.int64: "i64", torch.bool: "i8"}
CAPABILITY = 90  # an H100 or H200


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVNET_CACHE", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compiled(
    case: Case, weight: torch.dtype, kernel: str = "fold", channels: int = 16, capability: int = CAPABILITY
) -> str:
    """Return the PTX of a case's kernel, launched as for a large layer."""
    element = case.element or weight
    scalars = tuple((weight, case.second or weight)[: case.body.scalars])
    module = source.kernels(case.body, source.Signature(element, weight, scalars))
    function = getattr(module, kernel)
    words = NAMES[weight], NAMES[element]
    types = {"out": f"*{words[1]}", "parts_at": f"*{words[1]}", "start": f"*{words[1]}", "table": "*i32"}
    types |= {"reached": "*i32", "near": f"*{words[0]}", "weights": f"*{words[0]}", "numbers": f"*{words[0]}"}
    types |= {"s0_at": f"*{NAMES[scalars[0]]}", "s1_at": f"*{NAMES[scalars[-1]]}"}
    constants = {"SIZE": 1024}
    if kernel == "fold":
        constants = {"PLACES": 128, "CHANNELS": channels, "STEP": 2, "SCALARS": len(scalars)}
        constants |= {"NEAR": case.body.near, "REACHED": case.body.unreached is None}
    names = function.arg_names
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    aligned = [i for i, name in enumerate(names) if name in types or name in ("padded", "columns")]
    return ptx(function, signature, constants, aligned, capability)


def ptx(
    function: Any,
    signature: dict[str, str],
    constants: dict[str, Any],
    aligned: list[int],
    capability: int = CAPABILITY,
) -> str:
    text = compiler.ASTSource(
        fn=function,
        signature=signature,
        constexprs={(function.arg_names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    options = {"num_warps": 4, **FUSION}
    return triton.compile(text, target=backend.GPUTarget("cuda", capability, 32), options=options).asm["ptx"]


@pytest.mark.parametrize("weight", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.guarantee(
    "A GPU's kernels round every product by itself, divide as IEEE says, use no tf32 and no atomics."
)
def test_kernels_compile_to_the_arithmetic_that_is_meant(name: str, weight: torch.dtype):
    found = compiled(CASES[name], weight)
    # The library's double logarithm has fused steps of its own.
    assert CASES[name].body.name == "softened" or not re.search(r"\bfma\.", found)
    assert not re.search(r"\b(atom|red|mma|wgmma)\.", found)
    assert not re.search(r"div\.(full|approx)|sqrt\.approx|tf32|\.ftz\.f32\s+%f\d+, %f\d+, %f\d+;", found)
    assert ("div.rn" in found) == (CASES[name].body.name == "bottleneck")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.body.join is not None])
def test_what_joins_parts_compiles(name: str):
    assert "st.global" in compiled(CASES[name], torch.float32, "joined")


def test_a_square_root_is_rounded_as_ieee_says():
    body = Body("root", "v + sqrt(s0) * w")
    assert "sqrt.rn.f32" in compiled(Case(body, max), torch.float32)
    assert "sqrt.rn.f64" in compiled(Case(body, max), torch.float64)


def loop_of(ptx: str) -> list[str]:
    """Return the instructions of the least stretch with products between a label and a jump back to it."""
    lines = [line.strip() for line in ptx.splitlines()]
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if line.startswith("$L")}
    loops = []
    for i, line in enumerate(lines):
        jump = re.search(r"bra(?:\.uni)?\s+(\$L\w+);", line)
        if jump and labels.get(jump[1], i) < i:
            loops.append([x for x in lines[labels[jump[1]] : i] if re.match(r"(@\S+ )?[a-z]", x)])
    return min((loop for loop in loops if any("mul.rn.f32" in x for x in loop)), key=len)


def test_the_inner_loop_does_little_beside_its_arithmetic():
    """A product and a maximum an edge, of 64 channels and two far ends a thread, and half an instruction else."""
    inner = loop_of(compiled(Case(MAX_TIMES_ABS, max), torch.float32, channels=64))
    assert sum("mul.rn.f32" in x for x in inner) == sum("max.f32" in x for x in inner) == 128
    assert len(inner) < 2.6 * 128


@pytest.mark.parametrize("capability", [75, 80, 89])
def test_older_devices_are_compiled_for(capability: int):
    found = compiled(CASES["counting"], torch.float32, capability=capability)
    assert f".target sm_{capability}" in found and not re.search(r"\bfma\.", found)


@pytest.mark.parametrize(("dtype", "divided"), [(torch.float32, "div.rn.f32"), (torch.float64, "div.rn.f64")])
def test_the_least_that_passes_is_divided_as_ieee_says(dtype: torch.dtype, divided: str):
    function = importlib.import_module("provnet.torch_backend.contractions.triton_least").least
    kind, constants = f"*{NAMES[dtype]}", {"STRICT": False, "NEGATIVE": False, "SIZE": 1024}
    signature = {name: "constexpr" if name in constants else kind for name in function.arg_names} | {"total": "i32"}
    found = ptx(function, signature, constants, [0, 1])
    assert divided in found and "div.full" not in found


def test_a_large_layer_is_launched_as_it_was_measured():
    launch = launch_of(Size(ends=50176, groups=1, channels=64, far=64, taps=9, words=1), 132, True)
    assert (launch.places, launch.channels, launch.warps, launch.share) == (128, 64, 4, 64)
