"""The table of all semirings against the model alone, zennit, captum and the authors' loops, in one process.

`python -m tests.benchmarks.bench_table [part …] [--write] [--from FILE …]`. Without parts: all of them. JSON lines on
stdout. --write puts the table into docs/benchmarks.md, from this run's lines or, with --from, from files of lines.

mlp1, mlp256, vgg, resnet   every question by the compiled routes, against the model and other tools
mlp256-torch, vgg-torch, resnet-torch   the same by torch alone, fewer rounds
memory, memory-torch        memory of one evaluation of VGG-16, above model and recorded activations
loops                       a Python loop over neurons, by a slice (see `loops`), and what provnet needs for the same
sweep                       100 thresholds against one evaluation in Bottleneck
batch8, batch8-vgg          milliseconds an image in a batch of 8, against 1: ResNet-18, VGG-16
batch32, batch32:NAME       VGG-16, batch 32, one process a semiring: peak of memory, milliseconds an image
user                        a semiring made of two torch functions, against the named one without compiled kernels

Runs are interleaved: every round has each way once, and figures are medians. Times of provnet are of the whole way,
trace and evaluation; `evaluate` is the second part of it, `again` a second evaluation of the same circuit.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import provnet
from provnet import annotations, rules
from provnet.errors import CountOverflowError
from provnet.semirings.counting import Counting
from provnet.torch_backend import contractions
from tests.benchmarks import table_page
from tests.benchmarks.bench_rules import resnet18
from tests.benchmarks.clock import REPORTED, interleaved, laps, report
from tests.benchmarks.loops import FOLDS, extrapolated, layers_of
from tests.benchmarks.rivals import ABSENT, baselines, forward, others
from tests.nets import perceptron, vgg16

Ways = dict[str, Callable[[], Any]]
Ask = Mapping[str, Any]

QUESTIONS: dict[str, Ask] = {
    "real, rule 0": {"semiring": "real"},
    "real, ε": {"semiring": "real", "rule": rules.Epsilon(1e-6)},
    "real, gamma": {"semiring": "real", "rule": rules.Gamma(0.25)},
    "real, z^B composite": {"semiring": "real", "rule": rules.EpsilonGammaBox(-3, 3)},
    "Boolean": {"semiring": "boolean"},
    "Viterbi": {"semiring": "viterbi"},
    "counting": {"semiring": Counting("promote")},
    "counting, float64": {"semiring": Counting("float64")},
    "tropical": {"semiring": "tropical"},
    "Bottleneck": {"semiring": "bottleneck"},
}
SEMIRINGS = ("Boolean", "Viterbi", "counting", "counting, float64", "tropical", "Bottleneck")
SIX = ("real, rule 0", "Boolean", "Viterbi", "counting, float64", "tropical", "Bottleneck")
TARGET = 3


# --- networks ---------------------------------------------------------------------------------------------------------


def mlp(batch: int) -> tuple[nn.Module, Tensor]:
    """Return the perceptron 784-300-100-10 and inputs of which a fifth are not 0, as of digits."""
    torch.manual_seed(0)
    return frozen(perceptron(784, 300, 100, 10)), torch.rand(batch, 784) * (torch.rand(batch, 784) > 0.8)


def images(model: nn.Module, batch: int, pixels: int = 224) -> tuple[nn.Module, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return frozen(model), torch.randn(batch, 3, pixels, pixels, generator=generator).clamp(-3, 3)


def frozen(model: nn.Module) -> nn.Module:
    """Return the model with parameters that ask for no gradient: the baseline's gradient is that of the input."""
    return model.requires_grad_(False).eval()


def seeded_resnet18() -> nn.Module:
    torch.manual_seed(0)
    return resnet18()


# --- ways -------------------------------------------------------------------------------------------------------------


def ours(model: nn.Module, x: Tensor, ask: Ask, again: bool = True) -> dict[str, float]:
    """Run provnet the whole way and return the seconds of its parts."""
    start = time.perf_counter()
    circuit = provnet.trace(model, x)
    traced = time.perf_counter()
    circuit.evaluate(target=TARGET, **ask)
    done = time.perf_counter()
    parts = {"whole": done - start, "evaluate": done - traced}
    if again:
        circuit.evaluate(target=TARGET, **ask)
        parts["again"] = time.perf_counter() - done
    return parts


def provnets(model: nn.Module, x: Tensor, names: Any = QUESTIONS, again: bool = True) -> Ways:
    return {f"provnet {name}": partial(ours, model, x, QUESTIONS[name], again) for name in names}


@contextmanager
def torch_alone() -> Iterator[None]:
    """Leave every block to torch, as where numba is not installed."""
    with contractions.engine_chosen("torch"):
        yield


def fitting(model: nn.Module, x: Tensor) -> Ways:
    """Return the way to exact int64 counts, at the least of a few thresholds at which they fit."""
    circuit = provnet.trace(model, x)
    for theta in (1e-9, 1e-4, 1e-3, 1e-2, 3e-2, 0.1):
        ask = {"semiring": Counting(), "annotation": annotations.Threshold(theta)}
        try:
            circuit.evaluate(target=TARGET, **ask)
        except CountOverflowError:
            continue
        return {f"provnet counting, int64, θ = {theta:g}": partial(ours, model, x, ask)}
    return {}


# --- parts ------------------------------------------------------------------------------------------------------------


def compare(network: str, model: nn.Module, x: Tensor, rounds: int, box: bool = True, torch_only: bool = False) -> None:
    """Report every question on a network. `torch_only`: by torch alone, without other tools."""
    ways: Ways = baselines(model, x)
    missing: list[str] = []
    if not torch_only:
        found, missing = others(model, x, box)
        ways |= found
    for tool in missing:
        report("table", network=network, way=tool, skipped=f"not installed: {ABSENT[tool]}")
    questions = [name for name in QUESTIONS if box or "z^B" not in name]
    if torch_only:
        questions = [name for name in questions if name != "counting"]  # its first try is float64's time twice
    ways |= provnets(model, x, questions, again=not torch_only)
    if not torch_only:
        ways |= fitting(model, x)
    engine = "torch" if torch_only else "numba"
    taken = laps(ways, rounds, warm=0 if torch_only and rounds == 1 else 1)
    forward, gradient = taken["forward"]["whole"], taken["forward + gradient"]["whole"]
    for way, parts in taken.items():
        figures = {("ms" if part == "whole" else f"{part}_ms"): seconds * 1e3 for part, seconds in parts.items()}
        report(
            "table",
            network=network,
            engine=engine,
            way=way,
            **figures,
            times_forward=parts["whole"] / forward,
            times_forward_and_gradient=parts["whole"] / gradient,
        )


def mlp1() -> None:
    compare("MLP b1", *mlp(1), rounds=101, box=False)


def mlp256(torch_only: bool = False) -> None:
    compare("MLP b256", *mlp(256), rounds=5 if torch_only else 21, box=False, torch_only=torch_only)


def vgg(torch_only: bool = False) -> None:
    compare("VGG-16 b1", *images(vgg16(), 1), rounds=1 if torch_only else 3, torch_only=torch_only)


def resnet(torch_only: bool = False) -> None:
    compare("ResNet-18 b1", *images(seeded_resnet18(), 1), rounds=1 if torch_only else 7, torch_only=torch_only)


def memory(torch_only: bool = False) -> None:
    model, x = images(vgg16(), 1)
    for name in QUESTIONS:
        if name == "counting":
            continue
        circuit = provnet.trace(model, x)
        if not torch_only:
            provnet.trace(model, x).evaluate(target=TARGET, **QUESTIONS[name])  # compilers take memory of their own
        gc.collect()
        found = circuit.evaluate(target=TARGET, measure_memory=True, **QUESTIONS[name])
        extra = None if found.peak_memory is None else found.peak_memory / 1e6
        report("memory", network="VGG-16 b1", engine="torch" if torch_only else "numba", way=name, extra_mb=extra)


def loops() -> None:
    model, x = images(vgg16(), 1)
    layers = layers_of(model, x)
    loop = {name: interleaved_loop(layers, fold) for name, fold in FOLDS.items()}
    taken = {"numba": laps(provnets(model, x, SEMIRINGS[:4], again=False), 3)}
    with torch_alone():
        taken["torch"] = laps(provnets(model, x, ("Boolean", "Viterbi", "counting, float64"), again=False), 1, warm=0)
    for name, seconds in loop.items():
        row = name.split(",")[0]
        report("loops", network="VGG-16 b1", way=name, loop_s=seconds, **ratios(seconds, row, taken))


def interleaved_loop(layers: Any, fold: Callable[..., Any]) -> float:
    """Return the median of three slices' extrapolations: the loop itself would take minutes."""
    return sorted(extrapolated(layers, fold) for _ in range(3))[1]


def ratios(seconds: float, row: str, taken: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Return how many times as fast provnet's whole way is."""
    wanted = "counting, float64" if row == "counting" else row
    return {f"times_faster_{engine}": seconds / ways[f"provnet {wanted}"]["whole"] for engine, ways in taken.items()}


def sweep() -> None:
    for network, (model, x), rounds in (("MLP b256", mlp(256), 5), ("VGG-16 b1", images(vgg16(), 1), 3)):
        circuit = provnet.trace(model, x)
        thetas = [annotations.Threshold(float(t)) for t in torch.logspace(-6, -1, 100)]
        ways: Ways = {
            "Bottleneck": partial(circuit.evaluate, "bottleneck", TARGET),
            "Boolean": partial(circuit.evaluate, "boolean", TARGET),
            "100 thresholds": partial(circuit.evaluate, "boolean", TARGET, annotation=thetas),
        }
        taken = interleaved(ways, rounds)
        for way, seconds in taken.items():
            report("sweep", network=network, way=way, ms=seconds * 1e3, times=seconds / taken["Bottleneck"])


def batch8(network: str, make: Callable[[], nn.Module], rounds: int) -> None:
    model = make()
    inputs = {batch: images(model, batch)[1] for batch in (1, 8)}
    ways: Ways = {}
    for batch, x in inputs.items():
        ways[f"forward b{batch}"] = partial(forward, model, x)
        ways |= {f"{name} b{batch}": partial(ours, model, x, QUESTIONS[name], False) for name in SIX}
    taken = laps(ways, rounds)
    for name in ("forward", *SIX):
        alone, together = taken[f"{name} b1"], taken[f"{name} b8"]
        figures = {"ms": alone["whole"] * 1e3, "ms_image": together["whole"] / 8 * 1e3}
        for part, seconds in alone.items():
            figures["ratio" if part == "whole" else f"{part}_ratio"] = together[part] / 8 / seconds
        report("batch8", network=network, way=name, **figures)


def batch32() -> None:
    """Run one process a semiring, so that each has a peak of its own; none may take longer than five minutes."""
    for name in SIX:
        command = [sys.executable, "-m", "tests.benchmarks.bench_table", f"batch32:{name}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            report("batch32", way=name, skipped="took longer than 300 s")
            continue
        if done.returncode:
            report("batch32", way=name, skipped=f"exit code {done.returncode}: {done.stderr.splitlines()[-1]}")
        for line in done.stdout.splitlines():
            REPORTED.append(json.loads(line))
            print(line, flush=True)


def batch32_of(name: str, batch: int = 32) -> None:
    model, x = images(vgg16(), batch)
    with torch.no_grad():
        provnet.trace(model, x[:1]).evaluate(target=TARGET, **QUESTIONS[name])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        parts = ours(model, x, QUESTIONS[name], again=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {f"{part}_ms_image": seconds * 1e3 / batch for part, seconds in parts.items()}
    report("batch32", way=name, batch=batch, peak_gb=peak * 1024 / 1e9, before_gb=before * 1024 / 1e9, **figures)


def user() -> None:
    """Made semirings have no declared family: they are folded by their own functions."""
    make = partial(provnet.semirings.make, name="made")
    made = {
        "Viterbi": make(torch.maximum, torch.mul, 0.0, 1.0, annotation="max-normalised", idempotent=True),
        "Boolean": make(torch.logical_or, torch.logical_and, False, True, dtype=torch.bool, annotation="threshold"),
        "tropical": make(torch.minimum, torch.add, torch.inf, 0.0, annotation="neg-log", idempotent=True),
        "Bottleneck": make(torch.maximum, torch.minimum, -torch.inf, torch.inf, annotation="identity", idempotent=True),
        "counting, float64": make(torch.add, torch.mul, 0.0, 1.0, dtype=torch.float64, annotation="threshold"),
    }
    nets = (("MLP b256", *mlp(256), 5), ("VGG-16 at 64 pixels, b1", *images(vgg16(pixels=64), 1, 64), 1))
    for network, model, x, rounds in nets:
        circuit = provnet.trace(model, x)
        ways: Ways = {f"named {name}": partial(circuit.evaluate, target=TARGET, **QUESTIONS[name]) for name in made}
        ways |= {f"made {name}": partial(circuit.evaluate, semiring, TARGET) for name, semiring in made.items()}
        with torch_alone():
            taken = interleaved(ways, rounds)
        for name in made:
            named, own = taken[f"named {name}"], taken[f"made {name}"]
            report("user", network=network, way=name, named_ms=named * 1e3, made_ms=own * 1e3, ratio=own / named)


def alone(part: Callable[..., None]) -> Callable[[], None]:
    """Return a part with every block left to torch."""

    def run() -> None:
        with torch_alone():
            part(torch_only=True)

    return run


PARTS: dict[str, Callable[[], None]] = {
    "mlp1": mlp1,
    "mlp256": mlp256,
    "vgg": vgg,
    "resnet": resnet,
    "mlp256-torch": alone(mlp256),
    "vgg-torch": alone(vgg),
    "resnet-torch": alone(resnet),
    "memory": memory,
    "memory-torch": alone(memory),
    "loops": loops,
    "sweep": sweep,
    "batch8": partial(batch8, "ResNet-18", seeded_resnet18, 3),
    "batch8-vgg": partial(batch8, "VGG-16", vgg16, 1),
    "batch32": batch32,
    "user": user,
}


def main(arguments: list[str]) -> None:
    write, files = "--write" in arguments, []
    if "--from" in arguments:
        at = arguments.index("--from")
        files, arguments = arguments[at + 1 :], arguments[:at]
    parts = [argument for argument in arguments if argument != "--write"]
    for part in parts or ([] if files else list(PARTS)):
        if part.startswith("batch32:"):
            batch32_of(part.removeprefix("batch32:"))
        else:
            PARTS[part]()
            gc.collect()
    lines = [json.loads(line) for file in files for line in Path(file).read_text("utf-8").splitlines()] or REPORTED
    if write:
        table_page.write(lines)


if __name__ == "__main__":
    main([argument for argument in sys.argv[1:] if argument])
