"""Without numba, Triton and their companions everything works, in plain torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import importlib.util, sys

absent = {"numba", "llvmlite", "platformdirs", "triton"}
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.split(".")[0] in absent else found(name, *rest)
sys.modules.update(dict.fromkeys(absent))  # an import of one raises

import torch, provnet

torch.manual_seed(0)
parts = torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 64, 10)
circuit = provnet.trace(torch.nn.Sequential(*parts).eval(), torch.rand(4, 3, 8, 8))
for semiring in provnet.semirings.names():
    if semiring in ("k-best", "product", "graded"):
        continue  # wide ones take long, and no route of theirs is compiled
    plan = circuit.evaluate(semiring, target=3).plan
    assert not {"edges", "passing"} & {step.route for step in plan}
    assert not any("numba" in step.why for step in plan)
gates = circuit.gates(target=3, at=(circuit.sources[0], 1, 2, 3))
print(gates.evaluate("viterbi", gates.valuation("viterbi")))
"""


@pytest.mark.slow
@pytest.mark.guarantee("numba and the extra `gpu` may be absent: plain torch gives the answers, and says so once")
def test_every_semiring_evaluates_without_the_extras():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "input[1, 2, 3]" in done.stdout
    assert done.stderr.count("numba is not installed") == 1
