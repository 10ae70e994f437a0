"""VGG-16 on a GPU: `python -m tests.benchmarks.bench_gpu [kernels|vgg]`. Says so and stops where there is no GPU.

kernels  edges a second of the Triton kernels by themselves, on layers of VGG-16
vgg      milliseconds an image, batch 1 and 32, of each semiring, against forward and forward + input gradient, in one
         run, and the peak of memory beyond model and recorded activations. Targets at batch 32: Viterbi at most 4,
         counting at most 6, real at most 1.2 times forward + gradient
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import provnet
from provnet.circuit.windowed import convolution
from provnet.circuit.wiring import Wiring, dense
from provnet.errors import CountOverflowError
from provnet.semirings.counting import Counting
from provnet.torch_backend.contractions.base import Direction, Operands
from provnet.torch_backend.contractions.body import MAX_TIMES_ABS, Body
from provnet.torch_backend.contractions.geometry import geometry_of
from provnet.torch_backend.contractions.triton_engine import TritonEngine
from tests.benchmarks.clock import interleaved, report
from tests.nets import vgg16

COUNT = Body("count", "v + (s1 if a * w >= s0 else 0)", 2, near=True, join="v + s0", unreached=(torch.inf, 0))
REACH = Body("reach", "1 if a * w >= s0 else v", near=True, join="max(v, s0)", unreached=(torch.nan,))
LAYERS = {
    "conv1_2": convolution(64, 64, 1, (224, 224), (224, 224), (3, 3), (1, 1), (1, 1), (1, 1)),
    "conv3_2": convolution(256, 256, 1, (56, 56), (56, 56), (3, 3), (1, 1), (1, 1), (1, 1)),
    "conv5_2": convolution(512, 512, 1, (14, 14), (14, 14), (3, 3), (1, 1), (1, 1), (1, 1)),
    "fc1": dense(1, 25088, 4096),
}


def finished(way: Callable[[], Any]) -> Callable[[], None]:
    """Return a way that ends when the device has done its work."""

    def run() -> None:
        way()
        torch.cuda.synchronize()

    return run


def contraction(body: Body, wiring: Wiring, batch: int, direction: Direction, element: torch.dtype) -> Operands:
    geometry = geometry_of(wiring)
    assert geometry is not None
    near, far = (wiring.inputs, wiring.outputs) if direction == "pull" else (wiring.outputs, wiring.inputs)
    make = lambda *shape: torch.randn(shape, device="cuda")  # noqa: E731
    scalars = (make(batch, far).abs(), torch.ones(batch, far, dtype=element, device="cuda"))
    return Operands(
        geometry,
        direction,
        make(geometry.groups * geometry.near * geometry.far * geometry.taps),
        scalars[: body.scalars],
        torch.rand(batch, far, device="cuda") < 0.5,
        make(batch, near) if body.near else None,
        dtype=element,
    )


def kernels(rounds: int = 7) -> None:
    engine = TritonEngine()
    asked: list[tuple[str, Body, Direction, torch.dtype]] = [
        ("max-times, pull", MAX_TIMES_ABS, "pull", torch.float32),
        ("max-times, push", MAX_TIMES_ABS, "push", torch.float32),
        ("max-times float64", MAX_TIMES_ABS, "pull", torch.float64),
        ("reach", REACH, "pull", torch.float32),
        ("count int64", COUNT, "pull", torch.int64),
        ("count float32", COUNT, "pull", torch.float32),
    ]
    for layer, wiring in LAYERS.items():
        for batch in (1, 32):
            ways: dict[str, Callable[[], None]] = {}
            for name, body, way, element in asked:
                operands = contraction(body, wiring, batch, way, element)
                ways[name] = finished(lambda body=body, operands=operands: engine.contract(body, operands))
            taken = interleaved(ways, rounds, warm=2)
            rates = {name: wiring.edges * batch / seconds / 1e9 for name, seconds in taken.items()}
            device_report("Triton kernels, Gedge/s", layer=layer, batch=batch, **rates)
            torch.cuda.empty_cache()


def vgg(rounds: int = 5) -> None:
    model = vgg16().cuda().eval()
    for batch in (1, 32):
        x = torch.randn(batch, 3, 224, 224, device="cuda")
        ways = {"forward": lambda x=x: forward(model, x), "forward+gradient": lambda x=x: gradient(model, x)}
        plain = interleaved({name: finished(way) for name, way in ways.items()}, rounds, warm=2)
        for name, seconds in plain.items():
            device_report("VGG-16", batch=batch, way=name, ms_image=seconds * 1e3 / batch)
        circuit = provnet.trace(model, x)
        for name in ("real", "boolean", "viterbi"):
            explained(circuit, batch, name, name, None, plain, rounds)
        for name, semiring in (("counting int64", Counting()), ("counting float64", Counting("float64"))):
            counted(circuit, batch, name, semiring, plain, rounds)
        del circuit
        torch.cuda.empty_cache()


@torch.no_grad()
def forward(model: torch.nn.Module, x: Tensor) -> None:
    model(x)


def gradient(model: torch.nn.Module, x: Tensor) -> None:
    leaf = x.detach().requires_grad_()
    (found,) = torch.autograd.grad(model(leaf).amax(1).sum(), leaf)
    assert found.shape == x.shape


def counted(
    circuit: provnet.Circuit, batch: int, name: str, semiring: Counting, plain: dict[str, float], rounds: int
) -> None:
    """Report the least of a few thresholds at which the counts fit."""
    for theta in (1e-9, 1e-3, 1e-2, 3e-2, 0.1):
        try:
            circuit.evaluate(semiring, target=3, annotation=provnet.annotations.Threshold(theta))
        except CountOverflowError:
            continue
        return explained(
            circuit, batch, f"{name}, θ = {theta}", semiring, provnet.annotations.Threshold(theta), plain, rounds
        )
    return device_report("VGG-16", batch=batch, way=name, skipped="counts overflow at every threshold that was tried")


def explained(
    circuit: provnet.Circuit,
    batch: int,
    name: str,
    semiring: Any,
    annotation: Any,
    plain: dict[str, float],
    rounds: int,
) -> None:
    ask = finished(lambda: circuit.evaluate(semiring, target=3, annotation=annotation))
    ask()  # compiles
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    taken = interleaved({name: ask}, rounds, warm=0)[name]
    device_report(
        "VGG-16",
        batch=batch,
        way=name,
        ms_image=taken * 1e3 / batch,
        times_forward=taken / plain["forward"],
        times_gradient=taken / plain["forward+gradient"],
        total_ms_image=(taken + plain["forward"]) * 1e3 / batch,
        peak_mb=(torch.cuda.max_memory_allocated() - before) / 1e6,
    )


def device_report(benchmark: str, **figures: Any) -> None:
    report(benchmark, **figures, device=torch.cuda.get_device_name())


if __name__ == "__main__":
    if not torch.cuda.is_available():
        report("GPU", skipped="no CUDA device here")
    elif not TritonEngine().takes(torch.device("cuda")):
        report("GPU", skipped="triton is not installed: pip install 'provnet[gpu]'")
    else:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        for chosen in sys.argv[1:] or ["kernels", "vgg"]:
            {"kernels": kernels, "vgg": vgg}[chosen]()
